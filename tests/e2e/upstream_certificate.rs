//! How Weir signs in upstream: a certificate for one session, one login, one minute.

use std::collections::HashSet;

use weir_tests::World;

/// sshd's own log must lead to the recording.
#[test]
fn sshd_logs_user_session_and_serial() {
    let world = World::start();
    world.exec("true").succeed();
    let session = world.weir().only_session();
    let accepted = world.sshd().log_lines("Accepted publickey");
    let [line] = accepted.as_slice() else {
        panic!("{accepted:?}")
    };
    assert!(
        line.starts_with(&format!(
            "Accepted publickey for {} from 127.0.0.1 port ",
            world.login()
        )),
        "{line}"
    );
    let (_, id) = line.split_once(" ID ").expect("a key id");
    let (id, serial) = id
        .split_once(" (serial ")
        .expect("a key id without spaces, then the serial");
    assert!(
        id.contains("alice") && id.contains(session.id()) && !id.contains(' '),
        "{line}"
    );
    let serial: u64 = serial.split(')').next().unwrap().parse().expect("a serial");
    assert_ne!(serial, 0, "{line}");
}

/// sshd itself hands the certificate out: what `ssh-keygen -L` says of it is what a target could rely on.
#[test]
fn the_certificate_is_narrow() {
    let world = World::builder().sshd("ExposeAuthInfo yes").start();
    let mut serials = HashSet::new();
    for _ in 0..3 {
        let shown = world.exec("cut -d ' ' -f 2- $SSH_USER_AUTH").succeed();
        world.write("shown-cert.pub", &shown.stdout);
        let text = world.bash("ssh-keygen -L -f shown-cert.pub").succeed().out();
        let section = |title: &str| section(&text, title);
        assert!(
            text.contains("Type: ssh-ed25519-cert-v01@openssh.com user certificate"),
            "{text}"
        );
        assert_eq!(section("Principals:"), [world.login()], "{text}");
        assert_eq!(
            section("Critical Options:"),
            ["source-address 127.0.0.1/32"],
            "{text}"
        );
        assert!(seconds_valid(&world, &text) <= 120, "{text}");
        let serial = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Serial: "))
            .unwrap()
            .to_owned();
        assert!(serials.insert(serial), "a serial twice: {text}");
    }
}

/// The lines that are indented below a title.
fn section(text: &str, title: &str) -> Vec<String> {
    let after = text.lines().skip_while(|line| line.trim() != title).skip(1);
    let indent = |line: &str| line.len() - line.trim_start().len();
    let below = after
        .take_while(|line| indent(line) > 8)
        .map(|line| line.trim().to_owned());
    below.collect()
}

/// From now to the end of `Valid: from A to B`; the beginning may lie back for clocks that differ.
fn seconds_valid(world: &World, text: &str) -> i64 {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Valid: from "))
        .expect("a validity");
    let (_, until) = line.split_once(" to ").expect("two times");
    let script = format!("echo $(( $(date -d {until} +%s) - $(date +%s) ))");
    world
        .bash(&script)
        .succeed()
        .out()
        .trim()
        .parse()
        .expect("a number of seconds")
}
