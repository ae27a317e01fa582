//! What the caller has to do about one packet.

use std::ops::Range;

use weir_ssh::wire::{Writer, msg};

use crate::{OwnChannel, SessionEvent, Side, event::ChannelId};

/// Capacity in bytes above which the packets' buffer is given back.
const KEPT_BYTES: usize = 64 * 1024;

/// Events whose room is kept; a packet of a file transfer can bring thousands.
const KEPT_EVENTS: usize = 16;

/// What one call of the [`Relay`](crate::Relay) asks of its caller. Reused from packet to packet:
/// one for each worker is enough.
///
/// The order in which to act:
/// 1. [`events`](Actions::events) and [`tap`](Actions::tap) go to the recorder, which must take
///    them before anything below is sent;
/// 2. the packet itself, if the answer was [`Flow::Forward`](crate::Flow::Forward);
/// 3. [`packets`](Actions::packets), each sealed on its hop, in order.
///
/// One packet yields at most its own size plus 4 KiB of packets, and the replies that it sets
/// free, whose number is bounded; so a caller that reads no further while a hop's transmit buffer
/// is full bounds that too.
#[derive(Debug, Default)]
pub struct Actions {
    /// The part of this packet that is recorded.
    pub tap: Option<Tap>,
    /// What happened on a channel that the proxy opened itself.
    pub own: Option<OwnEvent>,
    /// What happened, in order.
    pub events: Vec<SessionEvent>,
    packets: Vec<(Side, Range<usize>)>,
    bytes: Vec<u8>,
}

/// Recorded bytes within the payload that was given to the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// The channel.
    pub channel: ChannelId,
    /// The stream.
    pub stream: Stream,
    /// Where the bytes are in the payload.
    pub range: Range<usize>,
}

/// A direction of a recorded channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, or the terminal.
    Output,
    /// Standard error.
    ErrorOutput,
    /// What the client sends.
    Input,
}

/// Something the client did on a channel that the proxy opened itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnEvent {
    /// The client accepted it.
    Opened(OwnChannel),
    /// The client refused it.
    Refused(OwnChannel, String),
    /// The client sent the bytes at this range of the payload.
    Data(OwnChannel, Range<usize>),
    /// The client's window has grown.
    Writable(OwnChannel),
    /// The client sends nothing more.
    Eof(OwnChannel),
    /// The channel is gone.
    Closed(OwnChannel),
}

impl Actions {
    /// Nothing to do.
    pub fn new() -> Actions {
        Actions::default()
    }

    /// Forgets everything; capacity is kept within reason.
    /// [`Relay::packet`](crate::Relay::packet) begins with it.
    pub fn clear(&mut self) {
        self.tap = None;
        self.own = None;
        self.events.clear();
        self.events.shrink_to(KEPT_EVENTS);
        self.packets.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }

    /// Payloads to be sealed, each with the side that it goes to, in order.
    pub fn packets(&self) -> impl Iterator<Item = (Side, &[u8])> {
        self.packets
            .iter()
            .map(|(to, range)| (*to, &self.bytes[range.clone()]))
    }

    /// Whether any packet is to be sent.
    pub fn has_packets(&self) -> bool {
        !self.packets.is_empty()
    }

    /// Adds a packet that `write` fills.
    pub(crate) fn send(&mut self, to: Side, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.packets.push((to, start..self.bytes.len()));
    }

    /// Adds a packet that consists of a message number and a channel number.
    pub(crate) fn send_channel(&mut self, to: Side, message: u8, number: u32) {
        self.send(to, |out| {
            out.put_u8(message);
            out.put_u32(number);
        });
    }

    /// Adds a `CHANNEL_WINDOW_ADJUST` (RFC 4254 §5.2).
    pub(crate) fn send_adjust(&mut self, to: Side, number: u32, bytes: u32) {
        self.send(to, |out| {
            out.put_u8(msg::CHANNEL_WINDOW_ADJUST);
            out.put_u32(number);
            out.put_u32(bytes);
        });
    }
}
