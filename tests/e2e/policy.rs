//! What a role does not grant is denied with a sentence, and the rest of the session goes on.

use weir_tests::world::free_port;
use weir_tests::{Terminal, World};

#[test]
fn a_terminal_that_is_not_granted_is_denied() {
    let world = restricted("pty = false");
    let seen = world.ssh().args(["-tt", "target", "echo ran"]).run();
    assert!(seen.err().contains("PTY allocation request failed"), "{seen}");
    assert_eq!(world.exec("echo ran").succeed().out(), "ran\n");
}

#[test]
fn a_command_that_is_not_granted_is_denied() {
    let world = restricted("exec = false");
    let seen = world.exec("echo ran").run();
    assert!(seen.code() != 0 && seen.stdout.is_empty(), "{seen}");
    let mut terminal = Terminal::start(["ssh", "-F", &world.path_text("config"), "target"], 24, 80);
    terminal.type_in("echo shell''-works; exit\n");
    terminal.expect("shell-works");
}

#[test]
fn forwarding_that_is_not_granted_is_denied() {
    let world = restricted("");
    let port = free_port();
    let remote = format!("127.0.0.1:{port}:127.0.0.1:1");
    let seen = world.ssh().args(["-R", &remote, "target", "echo ran"]).succeed();
    assert_eq!(seen.out(), "ran\n");
    assert!(
        seen.err()
            .contains(&format!("remote port forwarding failed for listen port {port}")),
        "{seen}"
    );
    let seen = world
        .ssh()
        .args(["-W", "127.0.0.1:1", "target"])
        .run()
        .ended_with(255);
    assert!(seen.err().contains("port forwarding not allowed"), "{seen}");
}

#[test]
fn roles_are_read_anew_for_each_session() {
    let world = restricted("exec = true");
    world.exec("true").succeed();
    world.put_role("name = \"narrow\"\n[allow]\nlogins = \"*\"\nnode_labels = { env = \"prod\" }\n");
    let seen = world.exec("true").run().ended_with(255);
    assert!(seen.err().contains("is not authorized to login"), "{seen}");
}

/// A world whose user has one role: all logins and nodes, and these lines.
fn restricted(lines: &str) -> World {
    let world = World::start();
    world.put_role(&format!(
        "name = \"narrow\"\n[allow]\nlogins = \"*\"\nnode_labels = {{ \"*\" = \"*\" }}\n{lines}\n"
    ));
    world.weir().admin(&["users", "rm", "alice"]);
    world.weir().admin(&[
        "users",
        "add",
        "alice",
        "--logins",
        world.login(),
        "--roles",
        "narrow",
    ]);
    world.bash("rm id-cert.pub").succeed();
    world.sign("alice", "id");
    world
}
