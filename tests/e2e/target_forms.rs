//! The ways to name a target: `login@node@proxy` and `login%node@proxy`.

use weir_tests::World;

#[test]
fn at_sign_and_percent_sign_name_the_same_target() {
    let mut world = World::start();
    world.add_node("second.example", &["SetEnv NODE=second SHLVL=9".to_owned()]);
    let (login, port) = (world.login(), world.weir().address().port());
    for (name, answer) in [("web1", ""), ("second.example", "second")] {
        for form in [
            format!("ssh -F config -p {port} {login}@{name}@127.0.0.1 'echo node=$NODE'"),
            format!("ssh -F config -p {port} {login}%{name}@127.0.0.1 'echo node=$NODE'"),
            format!("ssh -F config -p {port} -l {login}@{name} 127.0.0.1 'echo node=$NODE'"),
            format!("ssh -F config ssh://{login}%25{name}@127.0.0.1:{port} 'echo node=$NODE'"),
        ] {
            let seen = world.bash(&form).succeed();
            assert_eq!(seen.out(), format!("node={answer}\n"), "{seen}");
        }
    }
}

#[test]
fn a_style_is_the_targets_to_understand() {
    let world = World::builder().sshd("LogLevel DEBUG1").start();
    let (login, port) = (world.login(), world.weir().address().port());
    world
        .bash(&format!(
            "ssh -F config -p {port} -l {login}:totp@web1 127.0.0.1 true"
        ))
        .succeed();
    // sshd writes the name down before it cuts the style off: it came as it was typed.
    let log = world.sshd().log();
    let request = format!("userauth-request for user {login}:totp service ssh-connection method publickey");
    assert!(log.contains(&request), "{log}");
    assert_eq!(world.weir().only_session().text("login"), world.login());
}

#[test]
fn a_target_may_name_itself_in_its_operators_language() {
    let world = World::builder().sshd("VersionAddendum Grüße").start();
    assert_eq!(world.exec("echo ok").succeed().out(), "ok\n");
}

#[test]
fn the_index_names_user_login_and_node() {
    let world = World::start();
    world.exec("true").succeed();
    let session = world.weir().only_session();
    assert_eq!(session.text("user"), "alice");
    assert_eq!(session.text("login"), world.login());
    assert_eq!(session.text("node"), "web1");
}
