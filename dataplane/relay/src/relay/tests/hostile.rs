//! Ends that send what they like.

use Side::{Client, Target};
use proptest::prelude::*;

use super::*;

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Client), Just(Target)]
}

/// Every kind of message, well formed, about few numbers so that they meet.
fn any_message() -> impl Strategy<Value = Bytes> {
    const KINDS: [&str; 6] = [
        "session",
        "direct-tcpip",
        "forwarded-tcpip",
        "x11",
        "auth-agent@openssh.com",
        "unheard",
    ];
    const REQUESTS: [&str; 8] = [
        "shell",
        "exec",
        "subsystem",
        "env",
        "pty-req",
        "exit-status",
        "window-change",
        "unheard",
    ];
    const GLOBALS: [&str; 4] = [
        "tcpip-forward",
        "hostkeys-00@openssh.com",
        "keepalive@openssh.com",
        "no-more-sessions@openssh.com",
    ];
    let number = || 0u32..4;
    let rest = || host_port("0123456789abcdef", 80).repeat(3);
    prop_oneof![
        4 => (prop::sample::select(&KINDS[..]), number(), prop::sample::select(vec![0, 4096u32]))
            .prop_map(move |(kind, n, window)| open(kind, n, window, &rest())),
        6 => (number(), number()).prop_map(|(recipient, n)| confirm(recipient, n)),
        1 => number().prop_map(|n| open_failure(n, 2, "no")),
        2 => number().prop_map(|n| data(n, b"data")),
        1 => number().prop_map(|n| error_output(n, "data")),
        1 => number().prop_map(|n| adjust(n, 10)),
        6 => (96u8..=100, number()).prop_map(|(message, n)| match message {
            msg::CHANNEL_REQUEST => about(msg::CHANNEL_CLOSE, n),
            other => about(other, n),
        }),
        4 => (number(), prop::sample::select(&REQUESTS[..]), any::<bool>())
            .prop_map(move |(n, name, want)| request(n, name, want, &rest())),
        1 => (prop::sample::select(&GLOBALS[..]), any::<bool>())
            .prop_map(move |(name, want)| global(name, want, &rest())),
        1 => prop::sample::select(vec![81u8, 82, 192, 193]).prop_map(|n| vec![n, 0, 0, 0, 0]),
    ]
}

/// A channel as its two ends see it, by [`Side::index`].
#[derive(Debug)]
struct Seen {
    opener: Side,
    numbers: [Option<u32>; 2],
    close_sent: [bool; 2],
    close_received: [bool; 2],
}

#[derive(Debug, Default)]
struct Model {
    channels: Vec<Seen>,
}

impl Model {
    fn at(&mut self, side: Side, number: u32) -> Option<usize> {
        self.channels
            .iter()
            .position(|seen| seen.numbers[side.index()] == Some(number))
    }

    /// `from` has sent this and the relay found no fault with it.
    fn sent(&mut self, from: Side, packet: &[u8], forwarded: bool) {
        let number = || u32_at(packet, 1);
        match packet[0] {
            msg::CHANNEL_OPEN => {
                let mut reader = Reader::new(&packet[1..]);
                reader.string().unwrap();
                let mut numbers = [None; 2];
                numbers[from.index()] = reader.u32().ok();
                self.channels.push(Seen {
                    opener: from,
                    numbers,
                    close_sent: [false; 2],
                    close_received: [false; 2],
                });
            }
            msg::CHANNEL_OPEN_CONFIRMATION if forwarded => {
                let at = self
                    .at(from.other(), number())
                    .expect("a confirmation of an open channel");
                assert_eq!(self.channels[at].opener, from.other());
                assert_eq!(self.channels[at].numbers[from.index()], None);
                self.channels[at].numbers[from.index()] = Some(u32_at(packet, 5));
            }
            msg::CHANNEL_CLOSE => {
                if let Some(at) = self.at(from.other(), number())
                    && self.channels[at].numbers.iter().all(Option::is_some)
                {
                    self.channels[at].close_sent[from.index()] = true;
                }
            }
            _ => {}
        }
    }

    /// `side` gets this: it must be about a channel that it knows.
    fn received(&mut self, side: Side, packet: &[u8]) {
        if !(91..=100).contains(&packet[0]) {
            return;
        }
        let number = u32_at(packet, 1);
        let at = self
            .at(side, number)
            .unwrap_or_else(|| panic!("the {side} knows no channel {number}: {packet:?}"));
        let seen = &mut self.channels[at];
        let confirmed = seen.numbers.iter().all(Option::is_some);
        match packet[0] {
            // The model enters the other number when the confirmation is sent, just before.
            msg::CHANNEL_OPEN_CONFIRMATION => assert!(confirmed && seen.opener == side),
            msg::CHANNEL_OPEN_FAILURE => {
                assert!(!confirmed && seen.opener == side);
                self.channels.swap_remove(at);
            }
            message => {
                assert!(confirmed, "the {side} gets {message} before the confirmation");
                assert!(
                    !seen.close_received[side.index()],
                    "the {side} gets {message} after CLOSE"
                );
                seen.close_received[side.index()] |= message == msg::CHANNEL_CLOSE;
            }
        }
    }

    fn settle(&mut self) {
        self.channels.retain(|seen| seen.close_sent != [true; 2]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nobody_ever_hears_of_a_channel_that_it_does_not_know(
        packets in prop::collection::vec((side(), any_message()), 1..300)
    ) {
        let mut rig = Rig::new(|ask| matches!(
            ask,
            Ask::Program(Program::Subsystem { .. }) | Ask::Env { .. } | Ask::X11Channel
        ).then_some("no"));
        let mut model = Model::default();
        for (from, packet) in packets {
            let before = rig.relay.channels();
            match rig.try_send(from, &packet) {
                Ok(flow) => {
                    model.sent(from, &packet, flow == Flow::Forward);
                    let mut delivered = rig.outcome(flow, from, &packet);
                    for side in [Client, Target] {
                        delivered.to(side).iter().for_each(|packet| model.received(side, packet));
                    }
                    model.settle();
                }
                // The connection would end here; a faulty packet must not have changed anything.
                Err(error) => {
                    prop_assert_eq!(error.fault(), from);
                    prop_assert_eq!(rig.relay.channels(), before);
                }
            }
            prop_assert_eq!(rig.relay.channels(), model.channels.len());
        }
    }

    #[test]
    fn any_bytes_give_an_error_or_a_drop(
        packets in prop::collection::vec((side(), 78u8..=102, prop::collection::vec(0u8..8, 0..60)), 1..40)
    ) {
        let mut rig = Rig::with_session();
        for (from, number, rest) in packets {
            let payload = message(number, |out| out.put_bytes(&rest));
            if let Err(error) = rig.try_send(from, &payload) {
                prop_assert_eq!(error.fault(), from);
            }
        }
    }

    #[test]
    fn a_message_cut_short_is_its_senders_fault(packet in any_message(), from in side(), cut in 0usize..80) {
        let mut rig = Rig::with_session();
        let cut = cut.min(packet.len());
        if let Err(error) = rig.try_send(from, &packet[..cut]) {
            prop_assert_eq!(error.fault(), from);
        }
    }
}

#[test]
fn data_whose_length_lies_is_malformed() {
    let mut rig = Rig::with_session();
    for (length, expected) in [
        (4u32, WireError::Truncated("string")),
        (u32::MAX, WireError::Truncated("string")),
        (2, WireError::Trailing(1)),
    ] {
        let lying = message(msg::CHANNEL_DATA, |out| {
            out.put_u32(5);
            out.put_u32(length);
            out.put_bytes(b"abc");
        });
        let error = Error::Malformed {
            by: Client,
            message: msg::CHANNEL_DATA,
            source: expected,
        };
        assert_eq!(rig.try_send(Client, &lying), Err(error));
    }
    assert!(matches!(
        rig.try_send(Target, &[]),
        Err(Error::Malformed {
            by: Target,
            message: 0,
            ..
        })
    ));
}

#[test]
fn replies_nobody_asked_for_are_dropped() {
    let mut rig = Rig::with_session();
    for (from, number) in [(Client, 5), (Target, 0)] {
        rig.is_dropped(from, &SUCCESS);
        rig.is_dropped(from, &FAILURE);
        rig.is_dropped(from, &about(msg::CHANNEL_SUCCESS, number));
        rig.is_dropped(from, &about(msg::CHANNEL_FAILURE, number));
        rig.is_dropped(from, &confirm(number, 9));
        rig.is_dropped(from, &open_failure(number, 1, ""));
    }
    // Nor do they count for what comes later.
    rig.passes(Client, &exec(5, "id"));
    rig.passes(Target, &about(msg::CHANNEL_SUCCESS, 0));
    rig.is_dropped(Target, &about(msg::CHANNEL_SUCCESS, 0));
}

#[test]
fn a_flood_of_channels_leaves_nothing_behind() {
    let mut rig = Rig::open();
    for round in 0..3 {
        for number in 0..5000 {
            rig.deliver(Client, &direct_tcpip(number, "h", 1));
        }
        assert_eq!(rig.relay.channels(), CHANNELS_MAX, "round {round}");
        for number in 0..5000 {
            rig.deliver(Target, &open_failure(number, 2, "no"));
        }
        assert_eq!(rig.relay.channels(), 0);
    }
}

#[test]
fn a_number_taken_twice_is_the_fault_of_who_took_it() {
    let mut rig = Rig::with_session();
    rig.passes(Client, &open("session", 1, 0, &[]));
    let fault = Error::NumberInUse {
        by: Target,
        number: 5,
    };
    assert_eq!(rig.try_send(Target, &confirm(1, 5)), Err(fault.clone()));
    assert_eq!(
        rig.try_send(Target, &open("x11", 5, 0, &host_port("h", 1))),
        Err(fault)
    );
}
