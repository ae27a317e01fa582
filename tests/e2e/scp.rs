//! `scp` both ways, by SFTP and by its old protocol.

use weir_tests::World;

use crate::claims::transparent;

transparent!(
    new_scp_copies_both_ways,
    old_scp_copies_both_ways,
    old_scp_says_what_is_missing
);

fn new_scp_copies_both_ways(world: &World) {
    copies_both_ways(world, "");
}

fn old_scp_copies_both_ways(world: &World) {
    copies_both_ways(world, "-O");
}

fn copies_both_ways(world: &World, protocol: &str) {
    world.far_dir("far");
    let script = format!(
        "mkdir -p tree/deep; head -c 20000000 /dev/urandom > tree/data; : > tree/empty; echo x > 'tree/deep/a b'
         chmod 751 tree/data; touch -d '2020-02-02 02:02:02' tree/data
         scp {protocol} -q -F config -rp tree target:$PWD/far/
         scp {protocol} -q -F config -rp target:$PWD/far/tree back
         diff -r tree far/tree; diff -r tree back
         test \"$(stat -c '%a %Y' tree/data)\" = \"$(stat -c '%a %Y' back/data)\"",
    );
    let seen = world.bash(&script).succeed();
    assert!(seen.stderr.is_empty(), "{seen}");
}

fn old_scp_says_what_is_missing(world: &World) {
    let seen = world
        .job("scp")
        .args(["-O", "-F", "config", "target:/no/such/file", "."])
        .run()
        .ended_with(1);
    assert!(
        seen.err().contains("/no/such/file: No such file or directory"),
        "{seen}"
    );
}
