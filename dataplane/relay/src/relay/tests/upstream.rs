//! Before there is a target, when there is none, and what belongs to one hop.

use Side::{Client, Target};

use super::*;

fn ping(text: &str) -> Bytes {
    message(msg::PING, |out| out.put_string(text))
}

fn pong(text: &str) -> Bytes {
    message(msg::PONG, |out| out.put_string(text))
}

fn holding() -> Rig {
    Rig {
        relay: Relay::new(false),
        ..Rig::open()
    }
}

#[test]
fn opens_and_requests_wait_for_the_target() {
    let mut rig = holding();
    let first = [
        global("no-more-sessions@openssh.com", false, &[]),
        open("session", 0, 0, &[]),
    ];
    for packet in &first {
        assert_eq!(rig.send(Client, packet), Flow::Wait);
    }
    rig.is_answered(Client, &ping("a"), &pong("a"));
    rig.is_dropped(Client, &SUCCESS);
    rig.is_dropped(Client, &data(0, b"x"));
    assert!(rig.relay.is_holding());
    rig.relay.attach(Upstream { answers_ping: true });
    for packet in &first {
        rig.passes(Client, packet);
    }
    rig.passes(Target, &confirm(0, 0));
}

#[test]
fn without_a_target_everything_is_refused_with_the_reason() {
    let mut rig = holding();
    let reason = "target host web9 is offline or does not exist".to_owned();
    rig.relay.refuse(Refusal {
        code: OpenFailure::ConnectFailed,
        reason: reason.clone(),
    });
    rig.is_dropped(Client, &global("no-more-sessions@openssh.com", false, &[]));
    rig.is_answered(Client, &global("keepalive@openssh.com", true, &[]), &FAILURE);
    for number in [0, 1, 0] {
        rig.is_answered(
            Client,
            &open("session", number, 9, &[]),
            &open_failure(number, 2, &reason),
        );
        let what = "session".to_owned();
        assert_eq!(
            rig.events(),
            [SessionEvent::Denied {
                channel: None,
                what,
                reason: reason.clone()
            }]
        );
    }
    rig.is_answered(Client, &direct_tcpip(2, "h", 1), &open_failure(2, 2, &reason));
    rig.is_answered(Client, &ping("b"), &pong("b"));
    rig.is_dropped(Client, &data(0, b"x"));
    rig.is_dropped(Client, &request(0, "shell", true, &[]));
}

#[test]
fn pings_are_answered_by_whom_they_are_meant_for_in_order() {
    let mut rig = Rig::open();
    rig.passes(Client, &ping("1"));
    rig.passes(Client, &ping("2"));
    rig.passes(Target, &pong("1"));
    rig.passes(Target, &pong("2"));
    rig.is_dropped(Target, &pong("3"));
    rig.is_answered(Target, &ping("4"), &pong("4"));
    rig.is_dropped(Client, &pong("4"));

    let mut rig = Rig::open();
    rig.relay = Relay::new(true);
    rig.relay.attach(Upstream { answers_ping: false });
    rig.is_answered(Client, &ping("1"), &pong("1"));
    rig.passes(Target, &ping("2"));
    rig.passes(Client, &pong("2"));
}

#[test]
fn keepalives_pass_end_to_end() {
    let mut rig = Rig::with_session();
    rig.passes(Target, &global("keepalive@openssh.com", true, &[]));
    rig.passes(Client, &FAILURE);
    rig.passes(Client, &global("keepalive@openssh.com", true, &[]));
    rig.passes(Target, &FAILURE);
    rig.passes(Target, &request(0, "keepalive@openssh.com", true, &[]));
    rig.passes(Client, &about(msg::CHANNEL_FAILURE, 5));
}

#[test]
fn host_keys_stay_on_their_hop() {
    let mut rig = Rig::open();
    rig.is_dropped(
        Target,
        &global("hostkeys-00@openssh.com", false, &strings(&["key"])),
    );
    rig.passes(Target, &global("keepalive@openssh.com", true, &[]));
    rig.is_dropped(
        Target,
        &global("hostkeys-00@openssh.com", true, &strings(&["key"])),
    );
    let delivered = rig.deliver(Client, &SUCCESS);
    assert_eq!(delivered.target, [SUCCESS.to_vec(), FAILURE.to_vec()]);
    rig.is_answered(
        Client,
        &global("hostkeys-prove-00@openssh.com", true, &strings(&["key"])),
        &FAILURE,
    );
}

#[test]
fn messages_of_one_hop_never_cross() {
    let mut rig = Rig::with_session();
    for from in [Client, Target] {
        for number in 1..80 {
            rig.is_dropped(from, &[number, 0, 0, 0, 0]);
        }
        for number in (83..90).chain(101..192).chain(194..=255).chain([0]) {
            assert_eq!(rig.send(from, &[number, 0, 0, 0, 5]), Flow::Unimplemented);
            assert!(!rig.actions.has_packets());
        }
    }
}
