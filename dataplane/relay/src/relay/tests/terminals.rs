//! The proxy's own words on the user's terminal, and the windows they are taken from.

use Side::{Client, Target};

use super::*;
use crate::Refused;

/// The window that the target is told when a client opens a session.
fn announced(rig: &mut Rig, number: u32, window: u32) -> u32 {
    let delivered = rig.deliver(Client, &open("session", number, window, b"rest"));
    let [opened] = &delivered.target[..] else {
        panic!("one packet to the target")
    };
    let mut reader = Reader::new(&opened[1..]);
    assert_eq!(reader.string(), Ok(&b"session"[..]));
    assert_eq!(reader.u32(), Ok(number));
    let announced = reader.u32().unwrap();
    assert_eq!(reader.u32(), Ok(32768));
    assert_eq!(reader.rest(), b"rest");
    announced
}

#[test]
fn a_little_of_a_sessions_window_is_kept() {
    let mut rig = Rig::open();
    assert_eq!(announced(&mut rig, 0, 1 << 21), (1 << 21) - 2048);
    assert_eq!(announced(&mut rig, 1, 24 * 1024), 24 * 1024 - 1536);
    assert_eq!(announced(&mut rig, 2, u32::MAX), u32::MAX - 2048);
    assert_eq!(announced(&mut rig, 3, 15), 15);
    rig.passes(Client, &direct_tcpip(4, "h", 1));
}

#[test]
fn injected_bytes_are_taken_out_of_later_adjustments() {
    let mut rig = Rig::open();
    rig.session(0, 5, 1 << 21);
    let channel = ChannelId(0);
    rig.passes(Client, &adjust(5, 700));

    rig.actions.clear();
    rig.relay.inject(channel, "bye\n", &mut rig.actions).unwrap();
    assert_eq!(
        rig.outcome(Flow::Stop, Client, &[]).client,
        [error_output(0, "bye\n")]
    );
    assert_eq!(
        rig.events(),
        [SessionEvent::Message {
            channel,
            text: "bye\n".to_owned()
        }]
    );

    rig.is_dropped(Client, &adjust(5, 3));
    assert_eq!(rig.deliver(Client, &adjust(5, 100)).target, [adjust(5, 99)]);
    rig.passes(Client, &adjust(5, 100));
}

#[test]
fn a_message_on_a_terminal_has_its_line_ends() {
    let mut rig = Rig::open();
    rig.session(0, 5, 1 << 21);
    rig.passes(Client, &pty(5, 80, 24));
    let size = TerminalSize {
        columns: 80,
        rows: 24,
        width_px: 640,
        height_px: 384,
    };
    let pty = SessionEvent::Pty {
        channel: ChannelId(0),
        term: "xterm".to_owned(),
        size,
        echo: true,
    };
    assert_eq!(rig.events(), [pty]);
    rig.actions.clear();
    rig.relay
        .inject(ChannelId(0), "a\nb\n", &mut rig.actions)
        .unwrap();
    assert_eq!(
        rig.outcome(Flow::Stop, Client, &[]).client,
        [data(0, b"a\r\nb\r\n")]
    );

    let resized: Bytes = [100u32, 40, 801, 642]
        .into_iter()
        .flat_map(u32::to_be_bytes)
        .collect();
    rig.passes(Client, &request(5, "window-change", false, &resized));
    let size = TerminalSize {
        columns: 100,
        rows: 40,
        width_px: 801,
        height_px: 642,
    };
    assert_eq!(
        rig.events(),
        [SessionEvent::Resize {
            channel: ChannelId(0),
            size
        }]
    );
}

#[test]
fn a_message_never_exceeds_the_window_nor_an_end() {
    let mut rig = Rig::open();
    rig.session(0, 5, 1 << 21);
    let inject = |rig: &mut Rig, id, text: &str| rig.relay.inject(ChannelId(id), text, &mut Actions::new());
    assert_eq!(inject(&mut rig, 0, &"x".repeat(2049)), Err(Refused::NoRoom));
    assert_eq!(inject(&mut rig, 0, &"x".repeat(2048)), Ok(()));
    assert_eq!(inject(&mut rig, 0, "x"), Err(Refused::NoRoom));
    rig.is_dropped(Client, &adjust(5, 10));
    assert_eq!(inject(&mut rig, 0, "x"), Ok(()));

    rig.passes(Target, &about(msg::CHANNEL_EOF, 0));
    assert_eq!(inject(&mut rig, 0, "x"), Err(Refused::NotOpen));
    assert_eq!(inject(&mut rig, 7, "x"), Err(Refused::NotOpen));
    rig.session(1, 6, 0);
    assert_eq!(inject(&mut rig, 1, "x"), Err(Refused::NoRoom));
    rig.passes(Target, &about(msg::CHANNEL_CLOSE, 1));
    assert_eq!(inject(&mut rig, 1, ""), Err(Refused::NotOpen));
}

#[test]
fn swallowed_bytes_are_given_back_to_their_sender() {
    let mut rig = Rig::with_session();
    let swallowed = |rig: &mut Rig, from, payload: &[u8]| {
        rig.actions.clear();
        rig.relay.swallowed(from, payload, &mut rig.actions);
        rig.outcome(Flow::Stop, from, payload)
    };
    let given = swallowed(&mut rig, Client, &data(5, b"12345"));
    assert_eq!(
        given,
        Delivered {
            client: vec![adjust(0, 5)],
            target: vec![]
        }
    );
    let given = swallowed(&mut rig, Target, &error_output(0, "123"));
    assert_eq!(
        given,
        Delivered {
            client: vec![],
            target: vec![adjust(5, 3)]
        }
    );
    assert_eq!(
        swallowed(&mut rig, Target, &about(msg::CHANNEL_EOF, 0)),
        Delivered::default()
    );
    assert_eq!(swallowed(&mut rig, Target, &data(9, b"x")), Delivered::default());
    rig.passes(Target, &about(msg::CHANNEL_CLOSE, 0));
    assert_eq!(swallowed(&mut rig, Client, &data(5, b"x")), Delivered::default());
}

#[test]
fn whether_a_terminal_was_asked_to_echo_is_told() {
    let mode = |opcode: u8, value: u32| [&[opcode][..], &value.to_be_bytes()].concat();
    let ospeed = mode(129, 38400);
    for (modes, expected) in [
        ([mode(53, 1), vec![0]].concat(), true),
        ([ospeed.clone(), mode(53, 0), vec![0]].concat(), false),
        ([ospeed.clone(), mode(53, 7)].concat(), true),
        // Behind the end, and behind what is not known, nothing counts; what is not said is as usual.
        ([vec![0], mode(53, 0)].concat(), true),
        ([mode(200, 0), mode(53, 0)].concat(), true),
        (ospeed, true),
        (vec![53, 0, 0], true),
    ] {
        let mut rig = Rig::with_session();
        let mut rest = strings(&["xterm"]);
        [80, 24, 0, 0].into_iter().for_each(|value| rest.put_u32(value));
        rest.put_string(&modes);
        rig.passes(Client, &request(5, "pty-req", true, &rest));
        assert!(
            matches!(rig.events(), [SessionEvent::Pty { echo, .. }] if *echo == expected),
            "{modes:?}"
        );
    }
}
