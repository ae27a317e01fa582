//! A pool of source addresses: to sshd each user is an address of its own, in its log and in its penalties.

use std::collections::HashSet;
use std::fs;

use weir_tests::sshd::Release;
use weir_tests::{World, eventually};

#[test]
fn one_users_penalties_are_not_anothers() {
    let principals = tempfile::tempdir().unwrap();
    let line = format!("AuthorizedPrincipalsFile {}/%u", principals.path().display());
    let world = World::builder()
        .release(Release::Ten)
        .sshd(&line)
        .sshd("LogLevel VERBOSE")
        .config("[sources]\npool = [\"127.0.77.0/28\"]\nby = \"user\"")
        .start();
    fs::write(principals.path().join(world.login()), world.login()).unwrap();
    world.new_user("carol", "nobody");

    // New to the target, as carol is: her failures would hold it back, were they from one address.
    let refused: Vec<_> = (0..8)
        .map(|_| world.ssh_as("carol").args(["target", "true"]).spawn())
        .collect();
    let carols = |world: &World| addresses(world, "user nobody ");
    eventually("sshd refuses carol", || {
        (!carols(&world).is_empty()).then_some(())
    });
    for _ in 0..5 {
        world.exec("true").succeed();
    }
    drop(refused);
    let (alices, carols) = (addresses(&world, "Accepted publickey"), carols(&world));
    eprintln!("alice from {alices:?}, carol from {carols:?}");
    assert_eq!((alices.len(), carols.len()), (1, 1), "each has one address");
    assert!(alices.is_disjoint(&carols), "or this shows nothing: {alices:?}");
    let ours = |address: &String| address.starts_with("127.0.77.");
    assert!(alices.iter().chain(&carols).all(ours), "{alices:?} {carols:?}");
    assert!(world.sshd().log_lines("drop connection").is_empty());
}

/// The addresses in the lines of sshd's log that contain `needle`.
fn addresses(world: &World, needle: &str) -> HashSet<String> {
    let lines = world.sshd().log_lines(needle);
    let address = |line: &String| {
        let mut words = line.split(' ').skip_while(|word| !word.starts_with("127."));
        words.next().map(str::to_owned)
    };
    lines.iter().filter_map(address).collect()
}
