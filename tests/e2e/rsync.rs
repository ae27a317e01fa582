//! `rsync` over `ssh`: a dialogue in both directions at once.

use weir_tests::World;

use crate::claims::transparent;

transparent!(a_tree_is_mirrored_and_then_updated_by_its_differences);

fn a_tree_is_mirrored_and_then_updated_by_its_differences(world: &World) {
    world.far_dir("far");
    let seen = world
        .bash(
            "mkdir -p tree/deep; head -c 20000000 /dev/urandom > tree/data
             for i in $(seq 200); do echo $i > tree/deep/$i; done
             rsync -a --checksum -e 'ssh -F config' tree/ target:$PWD/far/
             diff -r tree far
             printf changed | dd of=tree/data bs=1 seek=10000000 conv=notrunc status=none; rm tree/deep/7
             rsync -a --checksum --no-whole-file --delete --stats -e 'ssh -F config' tree/ target:$PWD/far/
             diff -r tree far
             rsync -a --checksum -e 'ssh -F config' target:$PWD/far/ back
             diff -r tree back",
        )
        .succeed();
    let sent = seen
        .out()
        .lines()
        .find_map(|line| line.strip_prefix("Literal data: ").map(str::to_owned));
    let literal: u64 = sent
        .expect("--stats says it")
        .replace(',', "")
        .trim_end_matches(" bytes")
        .parse()
        .unwrap();
    assert!(literal < 1_000_000, "the differences alone were {literal} bytes");
}
