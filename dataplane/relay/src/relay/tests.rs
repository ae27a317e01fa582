//! A relay between two scripted ends.

mod channels;
mod denials;
mod followed;
mod hostile;
mod own;
mod replies;
mod terminals;
mod upstream;

use weir_ssh::wire::{Reader, Writer, msg};

use super::*;
use crate::{CHANNELS_MAX, ChannelKind, Endpoints, Program, Recording, TerminalSize, transfers::Transfers};

type Bytes = Vec<u8>;

/// A policy made of two functions.
struct Rules {
    denies: fn(&Ask<'_>) -> Option<&'static str>,
    records: fn(Option<&Program<'_>>) -> Recording,
    transfers: Transfers,
    tells: fn(&[u8]) -> bool,
}

impl Policy for Rules {
    fn decide(&self, ask: &Ask<'_>) -> Decision {
        (self.denies)(ask).map_or(Decision::Allow, |reason| Decision::Deny(reason.to_owned()))
    }

    fn recording(&self, program: Option<&Program<'_>>) -> Recording {
        (self.records)(program)
    }

    fn transfers(&self) -> Transfers {
        self.transfers
    }

    fn tells_value(&self, name: &[u8]) -> bool {
        (self.tells)(name)
    }
}

const OUTPUT: Recording = Recording {
    output: true,
    input: false,
};

/// The relay with what it asked for last.
struct Rig {
    relay: Relay,
    actions: Actions,
    rules: Rules,
}

/// What reached the ends because of one packet.
#[derive(Debug, Default, PartialEq)]
struct Delivered {
    client: Vec<Bytes>,
    target: Vec<Bytes>,
}

impl Delivered {
    fn to(&mut self, side: Side) -> &mut Vec<Bytes> {
        match side {
            Side::Client => &mut self.client,
            Side::Target => &mut self.target,
        }
    }
}

impl Rig {
    fn new(denies: fn(&Ask<'_>) -> Option<&'static str>) -> Rig {
        let mut relay = Relay::new(false);
        relay.attach(Upstream { answers_ping: true });
        Rig {
            relay,
            actions: Actions::new(),
            rules: Rules {
                denies,
                records: |_| OUTPUT,
                transfers: Transfers::default(),
                tells: |_| false,
            },
        }
    }

    /// Everything is allowed and output recorded.
    fn open() -> Rig {
        Rig::new(|_| None)
    }

    /// With a confirmed session: number 0 at the client, 5 at the target, and no reserve.
    fn with_session() -> Rig {
        let mut rig = Rig::open();
        rig.session(0, 5, 0);
        rig
    }

    fn session(&mut self, client: u32, target: u32, window: u32) {
        self.deliver(Side::Client, &open("session", client, window, &[]));
        self.deliver(Side::Target, &confirm(client, target));
    }

    fn try_send(&mut self, from: Side, payload: &[u8]) -> Result<Flow, Error> {
        self.relay.packet(from, payload, &self.rules, &mut self.actions)
    }

    fn send(&mut self, from: Side, payload: &[u8]) -> Flow {
        self.try_send(from, payload).expect("a packet without fault")
    }

    /// Sends, and gives what the ends get.
    fn deliver(&mut self, from: Side, payload: &[u8]) -> Delivered {
        let flow = self.send(from, payload);
        self.outcome(flow, from, payload)
    }

    fn outcome(&self, flow: Flow, from: Side, payload: &[u8]) -> Delivered {
        let mut delivered = Delivered::default();
        if flow == Flow::Forward {
            delivered.to(from.other()).push(payload.to_vec());
        }
        for (to, packet) in self.actions.packets() {
            delivered.to(to).push(packet.to_vec());
        }
        delivered
    }

    #[track_caller]
    fn passes(&mut self, from: Side, payload: &[u8]) {
        assert_eq!(
            self.send(from, payload),
            Flow::Forward,
            "{payload:?} from the {from}"
        );
        assert!(!self.actions.has_packets());
    }

    #[track_caller]
    fn is_dropped(&mut self, from: Side, payload: &[u8]) {
        assert_eq!(
            self.send(from, payload),
            Flow::Stop,
            "{payload:?} from the {from}"
        );
        assert!(!self.actions.has_packets());
    }

    #[track_caller]
    fn is_answered(&mut self, from: Side, payload: &[u8], answer: &[u8]) {
        let delivered = self.deliver(from, payload);
        let mut expected = Delivered::default();
        expected.to(from).push(answer.to_vec());
        assert_eq!(delivered, expected, "{payload:?} from the {from}");
    }

    fn events(&self) -> &[SessionEvent] {
        &self.actions.events
    }
}

fn message(number: u8, fill: impl FnOnce(&mut Bytes)) -> Bytes {
    let mut out = vec![number];
    fill(&mut out);
    out
}

fn open(kind: &str, number: u32, window: u32, rest: &[u8]) -> Bytes {
    message(msg::CHANNEL_OPEN, |out| {
        out.put_string(kind);
        out.put_u32(number);
        out.put_u32(window);
        out.put_u32(32768);
        out.put_bytes(rest);
    })
}

fn confirm(recipient: u32, number: u32) -> Bytes {
    message(msg::CHANNEL_OPEN_CONFIRMATION, |out| {
        out.put_u32(recipient);
        out.put_u32(number);
        out.put_u32(1 << 21);
        out.put_u32(32768);
    })
}

fn open_failure(recipient: u32, code: u32, reason: &str) -> Bytes {
    message(msg::CHANNEL_OPEN_FAILURE, |out| {
        out.put_u32(recipient);
        out.put_u32(code);
        out.put_string(reason);
        out.put_string("");
    })
}

fn data(recipient: u32, bytes: &[u8]) -> Bytes {
    message(msg::CHANNEL_DATA, |out| {
        out.put_u32(recipient);
        out.put_string(bytes);
    })
}

fn error_output(recipient: u32, bytes: impl AsRef<[u8]>) -> Bytes {
    message(msg::CHANNEL_EXTENDED_DATA, |out| {
        out.put_u32(recipient);
        out.put_u32(1);
        out.put_string(bytes);
    })
}

fn adjust(recipient: u32, bytes: u32) -> Bytes {
    message(msg::CHANNEL_WINDOW_ADJUST, |out| {
        out.put_u32(recipient);
        out.put_u32(bytes);
    })
}

/// `CHANNEL_EOF`, `CHANNEL_CLOSE`, `CHANNEL_SUCCESS` or `CHANNEL_FAILURE`.
fn about(number: u8, recipient: u32) -> Bytes {
    message(number, |out| out.put_u32(recipient))
}

fn request(recipient: u32, name: &str, want_reply: bool, rest: &[u8]) -> Bytes {
    message(msg::CHANNEL_REQUEST, |out| {
        out.put_u32(recipient);
        out.put_string(name);
        out.put_bool(want_reply);
        out.put_bytes(rest);
    })
}

fn global(name: &str, want_reply: bool, rest: &[u8]) -> Bytes {
    message(msg::GLOBAL_REQUEST, |out| {
        out.put_string(name);
        out.put_bool(want_reply);
        out.put_bytes(rest);
    })
}

fn strings(parts: &[&str]) -> Bytes {
    let mut out = Bytes::new();
    parts.iter().for_each(|part| out.put_string(part));
    out
}

fn host_port(host: &str, port: u32) -> Bytes {
    let mut out = strings(&[host]);
    out.put_u32(port);
    out
}

fn direct_tcpip(number: u32, host: &str, port: u32) -> Bytes {
    let rest = [host_port(host, port), host_port("127.0.0.1", 40000)].concat();
    open("direct-tcpip", number, 1 << 21, &rest)
}

fn forwarded_tcpip(number: u32, address: &str, port: u32) -> Bytes {
    let rest = [host_port(address, port), host_port("127.0.0.1", 40000)].concat();
    open("forwarded-tcpip", number, 0, &rest)
}

fn pty(recipient: u32, columns: u32, rows: u32) -> Bytes {
    let mut rest = strings(&["xterm"]);
    [columns, rows, columns * 8, rows * 16]
        .into_iter()
        .for_each(|value| rest.put_u32(value));
    rest.put_string("");
    request(recipient, "pty-req", true, &rest)
}

fn exec(recipient: u32, command: &str) -> Bytes {
    request(recipient, "exec", true, &strings(&[command]))
}

const SUCCESS: [u8; 1] = [msg::REQUEST_SUCCESS];
const FAILURE: [u8; 1] = [msg::REQUEST_FAILURE];
