//! The `sftp` program: every request of its own, files whole in both directions.

use std::time::Duration;

use weir_tests::World;

use crate::claims::transparent;

transparent!(
    put_and_get_keep_every_byte,
    directories_names_and_modes_are_handled,
    a_missing_file_is_said_so
);

fn put_and_get_keep_every_byte(world: &World) {
    let far = world.far_dir("far").display().to_string();
    world
        .bash("head -c 30000000 /dev/urandom > data; : > empty")
        .succeed();
    let batch =
        format!("put data {far}/data\nput empty {far}/empty\nget {far}/data back\nget {far}/empty void\n");
    sftp(world, &batch).succeed();
    world
        .bash("cmp data far/data; cmp data back; test ! -s void; test -f void")
        .succeed();
}

fn directories_names_and_modes_are_handled(world: &World) {
    let far = world.far_dir("far").display().to_string();
    world.write("file", "contents\n");
    let batch = format!(
        "cd {far}\nmkdir sub\nput file sub/a\nrename sub/a sub/b\nchmod 640 sub/b\nln -s b sub/link\nln sub/b sub/hard\n\
         ls -l sub\ndf .\nput -r sub copy\nmkdir gone\nrmdir gone\nput file gone\nrm gone\npwd\n"
    );
    // `put -r` reads a near directory.
    world.bash("mkdir sub; echo nested > sub/nested").succeed();
    let seen = sftp(world, &batch).succeed();
    assert!(
        seen.out().contains(&format!("Remote working directory: {far}")),
        "{seen}"
    );
    world
        .bash(
            "cd far; cmp ../file sub/b; test \"$(stat -c %a sub/b)\" = 640; test \"$(readlink sub/link)\" = b
             test sub/hard -ef sub/b; test ! -e gone; test \"$(cat copy/nested)\" = nested",
        )
        .succeed();
}

fn a_missing_file_is_said_so(world: &World) {
    let seen = sftp(world, "get /no/such/file\n").run().ended_with(1);
    assert!(
        seen.err().contains("not found") || seen.err().contains("No such file"),
        "{seen}"
    );
}

fn sftp(world: &World, batch: &str) -> weir_tests::Job {
    world
        .job("sftp")
        .args(["-F", "config", "-b", "-", "target"])
        .input(batch)
        .limit(Duration::from_secs(60))
}
