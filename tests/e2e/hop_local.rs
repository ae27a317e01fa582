//! What belongs to one hop stays on it.

use weir_tests::World;

/// The target's host keys are not Weir's to vouch for: a client that believed them would refuse Weir's own next time.
#[test]
fn the_targets_host_keys_do_not_reach_the_client() {
    let world = World::start();
    let before = world.read("known_hosts");
    let seen = world
        .ssh()
        .args(["-v", "-o", "UpdateHostKeys=yes", "target", "true"])
        .succeed();
    assert!(!seen.err().contains("client_input_hostkeys"), "{seen}");
    assert_eq!(world.read("known_hosts"), before);
}

/// An OpenSSH client turns `eow@openssh.com` and `no-more-sessions@openssh.com` on by this name.
#[test]
fn weir_names_itself_so_that_openssh_uses_its_extensions() {
    let world = World::start();
    let seen = world.ssh().args(["-v", "target", "true"]).succeed();
    assert!(
        seen.err().contains("remote software version OpenSSH_9.9 Weir_"),
        "{seen}"
    );
}

/// Keepalives pass end to end, and are answered.
#[test]
fn keepalives_are_answered() {
    let world = World::start();
    let seen = world
        .ssh()
        .args([
            "-o",
            "ServerAliveInterval=1",
            "-o",
            "ServerAliveCountMax=1",
            "target",
            "sleep 3.5; echo alive",
        ])
        .succeed();
    assert_eq!(seen.out(), "alive\n");
}
