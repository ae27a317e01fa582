//! What policy denies, and how each end learns of it.

use Side::{Client, Target};

use super::*;
use crate::{PORT_FORWARDING_DENIED, X11_FORWARDING_DENIED};

fn denied(what: &str, reason: &str) -> SessionEvent {
    SessionEvent::Denied {
        channel: None,
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}

#[test]
fn each_kind_of_channel_is_asked_about() {
    let mut rig = Rig::new(|ask| match ask {
        Ask::Session => None,
        Ask::X11Channel => Some(X11_FORWARDING_DENIED),
        _ => Some(PORT_FORWARDING_DENIED),
    });
    let forwarding = open_failure(3, 1, PORT_FORWARDING_DENIED);
    rig.is_answered(Client, &direct_tcpip(3, "::1", 22), &forwarding);
    assert_eq!(
        rig.events(),
        [denied("direct-tcpip [::1]:22", PORT_FORWARDING_DENIED)]
    );
    let socket = strings(&["/run/docker.sock", ""]);
    rig.is_answered(
        Client,
        &open("direct-streamlocal@openssh.com", 3, 0, &socket),
        &forwarding,
    );
    assert_eq!(
        rig.events(),
        [denied(
            "direct-streamlocal /run/docker.sock",
            PORT_FORWARDING_DENIED
        )]
    );
    rig.is_answered(Client, &open("tun@openssh.com", 3, 0, &[0; 8]), &forwarding);
    rig.is_answered(Client, &open("x11", 3, 0, &host_port("h", 1)), &forwarding);
    rig.is_answered(Client, &open("what@ever", 3, 0, &[]), &forwarding);
    assert_eq!(
        rig.events(),
        [denied("channel what@ever", PORT_FORWARDING_DENIED)]
    );

    rig.is_answered(Target, &forwarded_tcpip(3, "h", 1), &forwarding);
    rig.is_answered(
        Target,
        &open("forwarded-streamlocal@openssh.com", 3, 0, &socket),
        &forwarding,
    );
    rig.is_answered(Target, &open("auth-agent@openssh.com", 3, 0, &[]), &forwarding);
    rig.is_answered(Target, &open("agent-connect", 3, 0, &[]), &forwarding);
    rig.is_answered(Target, &open("session", 3, 0, &[]), &forwarding);
    rig.is_answered(
        Target,
        &open("x11", 3, 0, &host_port("h", 1)),
        &open_failure(3, 1, X11_FORWARDING_DENIED),
    );
    assert_eq!(rig.relay.channels(), 0);
    rig.passes(Client, &open("session", 3, 0, &[]));
}

#[test]
fn each_request_that_needs_leave_is_asked_about() {
    let mut rig = Rig::new(|ask| match ask {
        Ask::Session | Ask::Program(_) => None,
        _ => Some("no"),
    });
    rig.session(0, 5, 0);
    let failure = about(msg::CHANNEL_FAILURE, 0);
    rig.is_answered(Client, &pty(5, 80, 24), &failure);
    rig.is_answered(
        Client,
        &request(5, "env", true, &strings(&["A", "secret"])),
        &failure,
    );
    let what = "env A".to_owned();
    let reason = "no".to_owned();
    assert_eq!(
        rig.events(),
        [SessionEvent::Denied {
            channel: Some(ChannelId(0)),
            what,
            reason
        }]
    );
    rig.is_answered(Client, &request(5, "x11-req", true, &[]), &failure);
    rig.is_answered(
        Client,
        &request(5, "auth-agent-req@openssh.com", true, &[]),
        &failure,
    );
    rig.is_answered(Client, &request(5, "agent-req", true, &[]), &failure);
    rig.is_dropped(Client, &request(5, "x11-req", false, &[]));
    rig.passes(Client, &request(5, "shell", true, &[]));

    for name in ["tcpip-forward", "cancel-tcpip-forward"] {
        rig.is_answered(Client, &global(name, true, &host_port("", 80)), &FAILURE);
        rig.is_dropped(Client, &global(name, false, &host_port("", 80)));
    }
    for name in [
        "streamlocal-forward@openssh.com",
        "cancel-streamlocal-forward@openssh.com",
    ] {
        rig.is_answered(Client, &global(name, true, &strings(&["/s"])), &FAILURE);
        rig.is_dropped(Client, &global(name, false, &strings(&["/s"])));
    }
}

#[test]
fn allowed_remote_forwards_are_told() {
    let mut rig = Rig::open();
    rig.passes(
        Client,
        &global("tcpip-forward", true, &host_port("localhost", 8080)),
    );
    let address = "localhost:8080".to_owned();
    assert_eq!(
        rig.events(),
        [SessionEvent::RemoteForward {
            address,
            cancel: false
        }]
    );
    rig.passes(
        Client,
        &global("cancel-streamlocal-forward@openssh.com", true, &strings(&["/s"])),
    );
    assert_eq!(
        rig.events(),
        [SessionEvent::RemoteForward {
            address: "/s".to_owned(),
            cancel: true
        }]
    );
}

/// What a client sees of a denied program.
fn ending(reply: bool, sentence: &str) -> Vec<Bytes> {
    let mut packets = vec![
        error_output(0, sentence),
        request(0, "exit-status", false, &255u32.to_be_bytes()),
        about(msg::CHANNEL_EOF, 0),
        about(msg::CHANNEL_CLOSE, 0),
    ];
    if reply {
        packets.insert(0, about(msg::CHANNEL_SUCCESS, 0));
    }
    packets
}

fn without_exec() -> Rig {
    let mut rig =
        Rig::new(|ask| matches!(ask, Ask::Program(Program::Exec { .. })).then_some("commands not allowed"));
    rig.session(0, 5, 1 << 21);
    rig
}

#[test]
fn a_denied_program_ends_with_the_sentence_on_its_error_output() {
    for reply in [true, false] {
        let mut rig = without_exec();
        let delivered = rig.deliver(Client, &request(5, "exec", reply, &strings(&["id"])));
        assert_eq!(delivered.client, ending(reply, "commands not allowed\n"));
        assert_eq!(delivered.target, [about(msg::CHANNEL_CLOSE, 5)]);

        // Both ends close as if the other had done it, and hear no more of the channel.
        rig.is_dropped(Client, &data(5, b"stdin"));
        rig.is_dropped(Target, &data(0, b"never"));
        rig.is_dropped(Client, &about(msg::CHANNEL_CLOSE, 5));
        rig.is_dropped(Target, &about(msg::CHANNEL_CLOSE, 0));
        assert_eq!(
            rig.events(),
            [SessionEvent::ChannelClosed {
                channel: ChannelId(0)
            }]
        );
        assert_eq!(rig.relay.channels(), 0);
    }
}

#[test]
fn a_denied_program_waits_for_the_replies_before_it() {
    let mut rig = without_exec();
    rig.passes(Client, &pty(5, 80, 24));
    rig.is_dropped(Client, &exec(5, "id"));
    let success = about(msg::CHANNEL_SUCCESS, 0);
    let delivered = rig.deliver(Target, &success);
    assert_eq!(delivered.client[0], success);
    assert_eq!(delivered.client[1..], ending(true, "commands not allowed\r\n"));
    assert_eq!(delivered.target, [about(msg::CHANNEL_CLOSE, 5)]);
}

#[test]
fn a_denied_program_beside_a_running_one_fails_plainly() {
    let mut rig = without_exec();
    rig.passes(Client, &request(5, "shell", false, &[]));
    rig.is_answered(Client, &exec(5, "id"), &about(msg::CHANNEL_FAILURE, 0));
    rig.passes(Target, &data(0, b"$ "));
}

#[test]
fn a_denied_program_on_a_channel_that_closed_meanwhile_is_silent() {
    let mut rig = without_exec();
    rig.passes(Client, &pty(5, 80, 24));
    rig.is_dropped(Client, &exec(5, "id"));
    rig.passes(Target, &about(msg::CHANNEL_CLOSE, 0));
    rig.is_dropped(Target, &about(msg::CHANNEL_SUCCESS, 0));
    rig.passes(Client, &about(msg::CHANNEL_CLOSE, 5));
    assert_eq!(rig.relay.held, 0);

    // The client closed first: it is told the end, the target nothing twice.
    rig.session(0, 5, 1 << 21);
    rig.passes(Client, &pty(5, 80, 24));
    rig.is_dropped(Client, &exec(5, "id"));
    rig.passes(Client, &about(msg::CHANNEL_CLOSE, 5));
    let delivered = rig.deliver(Target, &about(msg::CHANNEL_SUCCESS, 0));
    assert_eq!(delivered.client.last(), Some(&about(msg::CHANNEL_CLOSE, 0)));
    assert_eq!(delivered.target, Vec::<Bytes>::new());
    rig.is_dropped(Target, &about(msg::CHANNEL_CLOSE, 0));
    assert_eq!(rig.relay.channels(), 0);
}

#[test]
fn a_sentence_is_cut_to_the_window_that_is_kept() {
    let mut rig = Rig::new(|ask| matches!(ask, Ask::Program(_)).then_some("äöü"));
    // A sixteenth of 64: four bytes, one of them for the line's end, and no half characters.
    rig.session(0, 5, 64);
    let delivered = rig.deliver(Client, &request(5, "shell", true, &[]));
    assert_eq!(delivered.client, ending(true, "ä\n"));
}
