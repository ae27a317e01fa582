//! Each requester sees one reply for each request that wants one, in the order of the requests.

use Side::{Client, Target};
use proptest::prelude::*;

use super::*;

/// Where replies are ordered: the whole connection, or one channel. Channel `n` has number `n` at
/// the client and `n + 10` at the target.
#[derive(Clone, Copy, Debug)]
enum Scope {
    Connection,
    Channel(u32),
}

#[derive(Clone, Debug)]
enum Step {
    Ask {
        from: Side,
        scope: Scope,
        denied: bool,
        want_reply: bool,
    },
    Reply {
        from: Side,
        scope: Scope,
        success: bool,
    },
    /// Traffic in between must not matter.
    Data {
        from: Side,
        channel: u32,
    },
}

const SCOPES: [Scope; 3] = [Scope::Connection, Scope::Channel(0), Scope::Channel(1)];

fn step() -> impl Strategy<Value = Step> {
    let side = || prop_oneof![3 => Just(Client), 1 => Just(Target)];
    let scope = || prop::sample::select(&SCOPES[..]);
    prop_oneof![
        5 => (side(), scope(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(from, scope, denied, want_reply)| Step::Ask { from, scope, denied, want_reply }),
        4 => (side(), scope(), any::<bool>())
            .prop_map(|(asker, scope, success)| Step::Reply { from: asker.other(), scope, success }),
        1 => (side(), 0u32..2).prop_map(|(from, channel)| Step::Data { from, channel }),
    ]
}

/// What one requester knows in one scope.
#[derive(Default)]
struct Requester {
    /// The reply to each request that wants one, once it is settled.
    expected: Vec<Option<bool>>,
    observed: Vec<bool>,
}

impl Requester {
    fn due(&self) -> Vec<bool> {
        self.expected.iter().map_while(|reply| *reply).collect()
    }
}

fn number_at(side: Side, channel: u32) -> u32 {
    if side == Client { channel } else { channel + 10 }
}

fn ask(from: Side, scope: Scope, denied: bool, want_reply: bool) -> Bytes {
    match (scope, from) {
        (Scope::Connection, Client) => global("tcpip-forward", want_reply, &host_port("", u32::from(denied))),
        (Scope::Connection, Target) => {
            let name = if denied {
                "hostkeys-00@openssh.com"
            } else {
                "keepalive@openssh.com"
            };
            global(name, want_reply, &[])
        }
        (Scope::Channel(channel), Client) => {
            let name = if denied { "DENIED" } else { "LANG" };
            request(
                number_at(Target, channel),
                "env",
                want_reply,
                &strings(&[name, ""]),
            )
        }
        (Scope::Channel(channel), Target) => request(
            number_at(Client, channel),
            "keepalive@openssh.com",
            want_reply,
            &[],
        ),
    }
}

fn reply(from: Side, scope: Scope, success: bool) -> Bytes {
    match scope {
        Scope::Connection => {
            if success {
                SUCCESS.to_vec()
            } else {
                FAILURE.to_vec()
            }
        }
        Scope::Channel(channel) => {
            let message = if success {
                msg::CHANNEL_SUCCESS
            } else {
                msg::CHANNEL_FAILURE
            };
            about(message, number_at(from.other(), channel))
        }
    }
}

/// The scope and content of a packet, if it is a reply that reached `side`.
fn as_reply(side: Side, packet: &[u8]) -> Option<(usize, bool)> {
    Some(match packet[0] {
        msg::REQUEST_SUCCESS => (0, true),
        msg::REQUEST_FAILURE => (0, false),
        msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE => {
            let number = u32_at(packet, 1) - number_at(side, 0);
            (1 + number as usize, packet[0] == msg::CHANNEL_SUCCESS)
        }
        _ => return None,
    })
}

fn place(scope: Scope) -> usize {
    match scope {
        Scope::Connection => 0,
        Scope::Channel(channel) => 1 + channel as usize,
    }
}

proptest! {
    #[test]
    fn replies_keep_the_order_of_their_requests(steps in prop::collection::vec(step(), 1..120)) {
        let mut rig = Rig::new(|ask| {
            matches!(ask, Ask::TcpipForward { port: 1, .. } | Ask::Env { name: b"DENIED", .. }).then_some("no")
        });
        rig.session(0, 10, 0);
        rig.session(1, 11, 0);
        let mut requesters: [[Requester; 3]; 2] = Default::default();
        for step in steps {
            let (from, payload) = match step {
                Step::Ask { from, scope, denied, want_reply } => {
                    let denied = denied && !matches!((from, scope), (Target, Scope::Channel(_)));
                    if want_reply {
                        requesters[from.index()][place(scope)].expected.push(denied.then_some(false));
                    }
                    (from, ask(from, scope, denied, want_reply))
                }
                Step::Reply { from, scope, success } => {
                    // With nothing to reply to this is a reply that nobody asked for.
                    let asker = &mut requesters[from.other().index()][place(scope)];
                    if let Some(open) = asker.expected.iter_mut().find(|reply| reply.is_none()) {
                        *open = Some(success);
                    }
                    (from, reply(from, scope, success))
                }
                Step::Data { from, channel } => (from, data(number_at(from.other(), channel), b"x")),
            };
            let mut delivered = rig.deliver(from, &payload);
            for side in [Client, Target] {
                for packet in delivered.to(side).iter() {
                    if let Some((scope, success)) = as_reply(side, packet) {
                        requesters[side.index()][scope].observed.push(success);
                    }
                }
                // Not only in order: each reply comes as soon as it can.
                for requester in &requesters[side.index()] {
                    prop_assert_eq!(&requester.observed, &requester.due());
                }
            }
        }
    }
}

#[test]
fn a_hoard_of_unanswered_denials_ends_the_connection() {
    let mut rig = Rig::new(|ask| matches!(ask, Ask::Env { .. }).then_some("no"));
    rig.session(0, 5, 0);
    rig.passes(Client, &request(5, "x", true, &[]));
    let denied = request(5, "env", true, &strings(&["A", "b"]));
    for _ in 0..4096 {
        rig.is_dropped(Client, &denied);
    }
    assert_eq!(
        rig.try_send(Client, &denied),
        Err(Error::RepliesOutstanding {
            by: Client,
            count: 4097
        })
    );
}

#[test]
fn replies_held_by_closed_channels_are_not_counted_on() {
    let mut rig = Rig::new(|ask| matches!(ask, Ask::Env { .. }).then_some("no"));
    for round in 0..100 {
        rig.session(0, 5, 0);
        rig.passes(Client, &request(5, "x", true, &[]));
        for _ in 0..100 {
            rig.is_dropped(Client, &request(5, "env", true, &strings(&["A", "b"])));
        }
        let (first, last) = if round % 2 == 0 {
            ((Client, 5), (Target, 0))
        } else {
            ((Target, 0), (Client, 5))
        };
        rig.passes(first.0, &about(msg::CHANNEL_CLOSE, first.1));
        rig.passes(last.0, &about(msg::CHANNEL_CLOSE, last.1));
    }
    assert_eq!(rig.relay.held, 0);
}
