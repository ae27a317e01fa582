//! What passes from one hop to the other, and what does not.
//!
//! ```text
//!              attach                        packets pass
//!   Holding ───────────▶ Relaying            end to end
//!      │
//!      │ refuse
//!      └──────▶ Refusing                     each open is refused with the reason
//! ```
//!
//! Invariants:
//! - A message about a channel passes only between the channel's confirmation and the CLOSE that
//!   was sent to its receiver: nothing is ever sent to a channel that its receiver does not know.
//! - Each request that wants a reply and passes is counted, and a reply passes only if it is
//!   awaited; a reply made here is sent when all forwarded requests before it have been answered.
//! - Memory is bounded by [`CHANNELS_MAX`] channels, [`HELD_MAX`] kept replies,
//!   [`OWN_MAX`](own::OWN_MAX) own channels and what the decoders of [`transfers`](crate::transfers) may keep. No payload
//!   is.

mod globals;
mod opening;
mod own;
mod requests;
mod window;

#[cfg(test)]
mod tests;

use weir_ssh::wire::{Reader, WireError, msg};

use crate::{
    Actions, ChannelId, Decision, Error, Policy, SessionEvent, Side, Stream, Tap,
    policy::Ask,
    replies::Replies,
    table::{Channel, Slot, Table, flag},
    transfers::Followed,
};

use self::own::Own;
pub use self::{opening::OpenFailure, own::OwnChannel};

/// Replies made here that may wait for the other end's, over the whole connection.
///
/// OpenSSH pipelines a session's requests (a terminal, some dozens of variables, a program) and its
/// remote forwards; thousands unanswered are an attempt on our memory.
const HELD_MAX: u32 = 4096;

/// What is to be done with the packet that was given to [`Relay::packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Seal it as it is on the other hop.
    Forward,
    /// It ends here.
    Stop,
    /// It is too early for it: give it again after [`Relay::attach`] or [`Relay::refuse`]. A caller
    /// that has no own channels open simply reads no further on that hop until then; one that has
    /// keeps the packets that wait, in order and bounded, and reads on.
    Wait,
    /// It ends here, and the hop that it came from answers `UNIMPLEMENTED` with its sequence number
    /// (RFC 4253 §11.4).
    Unimplemented,
}

/// What the relay has to know of the upstream connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Whether the target advertised `ping@openssh.com`.
    pub answers_ping: bool,
}

/// Why there is no upstream connection, for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason code.
    pub code: OpenFailure,
    /// The reason in words.
    pub reason: String,
}

/// The relay of one user's connection, between two authenticated hops.
#[derive(Debug)]
pub struct Relay {
    mode: Mode,
    table: Table,
    next_channel: u32,
    /// Replies to global requests that client and target await, by [`Side::index`].
    globals: [Replies; 2],
    /// Replies kept, in `globals` and all channels together.
    held: u32,
    /// Pings forwarded and not yet answered, by [`Side::index`] of who sent them.
    pings: [u32; 2],
    /// Which end answers `ping@openssh.com`, by [`Side::index`].
    answers_ping: [bool; 2],
    own: Vec<Own>,
    next_own: u32,
    /// Most connections transfer no files.
    followed: Option<Box<Followed>>,
}

#[derive(Debug)]
enum Mode {
    Holding,
    Relaying,
    Refusing(Box<Refusal>),
}

impl Relay {
    /// A relay whose client is authenticated while its target is still being dialled. Until
    /// [`attach`](Relay::attach) or [`refuse`](Relay::refuse), channel opens and global requests
    /// have to wait; nothing else can have a meaning yet, except on own channels.
    ///
    /// `client_answers_ping`: whether the client advertised `ping@openssh.com`. The proxy
    /// advertises it to the client in any case.
    pub fn new(client_answers_ping: bool) -> Relay {
        Relay {
            mode: Mode::Holding,
            table: Table::default(),
            next_channel: 0,
            globals: Default::default(),
            held: 0,
            pings: [0; 2],
            answers_ping: [client_answers_ping, false],
            own: Vec::new(),
            next_own: own::NUMBER_FIRST,
            followed: None,
        }
    }

    /// The target is authenticated: packets pass from now on.
    ///
    /// # Panics
    /// If called twice, or after [`refuse`](Relay::refuse).
    pub fn attach(&mut self, upstream: Upstream) {
        assert!(self.is_holding(), "a relay gets its target once");
        self.answers_ping[Side::Target.index()] = upstream.answers_ping;
        self.mode = Mode::Relaying;
    }

    /// There will be no target: the client's channels are refused with the reason from now on.
    ///
    /// # Panics
    /// If called twice, or after [`attach`](Relay::attach).
    pub fn refuse(&mut self, refusal: Refusal) {
        assert!(self.is_holding(), "a relay that has a target keeps it");
        self.mode = Mode::Refusing(Box::new(refusal));
    }

    /// Whether packets have to wait.
    pub fn is_holding(&self) -> bool {
        matches!(self.mode, Mode::Holding)
    }

    /// The connection has ended, however: tells of the files that were still being transferred, and of the forwards that were
    /// open. `actions` is cleared first.
    pub fn end(&mut self, actions: &mut Actions) {
        actions.clear();
        if let Some(mut followed) = self.followed.take() {
            followed.end_all(&mut actions.events);
        }
        let channels = self.table.take_all().into_iter();
        let forwards = channels.filter(|channel| channel.forward.is_some() && channel.has(flag::CONFIRMED));
        actions.events.extend(forwards.map(closed));
    }

    /// Channels open or in opening.
    pub fn channels(&self) -> usize {
        self.table.len()
    }

    /// Decides about one payload that came from `from`. `actions` is cleared first; the order in
    /// which to follow it stands with [`Actions`].
    ///
    /// # Errors
    /// If the peer broke the protocol; the connection has to end.
    pub fn packet(
        &mut self,
        from: Side,
        payload: &[u8],
        policy: &dyn Policy,
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        actions.clear();
        let &message = payload
            .first()
            .ok_or_else(|| Error::malformed(from, payload)(EMPTY))?;
        if matches!(message, msg::CHANNEL_OPEN | msg::GLOBAL_REQUEST)
            && let Some(flow) = self.without_target(from, payload, actions)?
        {
            return Ok(flow);
        }
        match message {
            msg::CHANNEL_DATA => self.data(from, payload, DATA_HEADER, actions),
            msg::CHANNEL_EXTENDED_DATA => self.data(from, payload, EXTENDED_DATA_HEADER, actions),
            msg::CHANNEL_WINDOW_ADJUST => self.window_adjust(from, payload, actions),
            msg::CHANNEL_OPEN => self.open(from, payload, policy, actions),
            msg::CHANNEL_OPEN_CONFIRMATION => self.open_confirmation(from, payload, actions),
            msg::CHANNEL_OPEN_FAILURE => self.open_failure(from, payload, actions),
            msg::CHANNEL_EOF => self.eof(from, payload, actions),
            msg::CHANNEL_CLOSE => self.close(from, payload, actions),
            msg::CHANNEL_REQUEST => self.channel_request(from, payload, policy, actions),
            msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE => self.channel_reply(from, payload, actions),
            msg::GLOBAL_REQUEST => self.global_request(from, payload, policy, actions),
            msg::REQUEST_SUCCESS | msg::REQUEST_FAILURE => Ok(self.global_reply(from, actions)),
            msg::PING => self.ping(from, payload, actions),
            msg::PONG => Ok(self.pong(from)),
            // These belong to one hop, which has dealt with them: transport, service and
            // authentication. RFC 4252 §5.1: later authentication requests "SHOULD be silently ignored".
            1..=79 => Ok(Flow::Stop),
            _ => Ok(Flow::Unimplemented),
        }
    }

    /// What happens to a channel open or a global request if there is no target. All else needs no
    /// care then: it is about channels that the table does not know, or replies nobody awaits.
    fn without_target(
        &self,
        from: Side,
        payload: &[u8],
        actions: &mut Actions,
    ) -> Result<Option<Flow>, Error> {
        match &self.mode {
            Mode::Relaying => return Ok(None),
            Mode::Holding => return Ok(Some(Flow::Wait)),
            Mode::Refusing(refusal) if payload[0] == msg::CHANNEL_OPEN => {
                opening::refuse_all(from, payload, refusal, actions)?;
            }
            Mode::Refusing(_) => globals::refuse_all(from, payload, actions)?,
        }
        Ok(Some(Flow::Stop))
    }

    /// `CHANNEL_DATA`, `CHANNEL_EXTENDED_DATA` (RFC 4254 §5.2). The bytes begin at `header`, after
    /// their length.
    ///
    /// Passed as it is, never split or merged: OpenSSH drops data above the channel's maximum packet
    /// and disconnects above its window, both of which the ends have settled with each other. Data
    /// after EOF passes too, since error output may follow the EOF of the output.
    fn data(
        &mut self,
        from: Side,
        payload: &[u8],
        header: usize,
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        let malformed = Error::malformed(from, payload);
        let Some((head, data)) = payload.split_at_checked(header) else {
            return Err(malformed(WireError::Truncated("data message")));
        };
        let length = usize::try_from(u32_at(head, header - 4)).unwrap_or(usize::MAX);
        if length > data.len() {
            return Err(malformed(WireError::Truncated("string")));
        }
        if length < data.len() {
            return Err(malformed(WireError::Trailing(data.len() - length)));
        }
        let Some(slot) = self.table.find(from.other(), u32_at(head, 1)) else {
            return Ok(Flow::Stop);
        };
        let channel = &mut self.table[slot];
        if channel.carries(from) {
            if let Some(forward) = &mut channel.forward {
                forward.bytes[from.index()] += length as u64;
            }
            if channel.is_recorded(from) {
                let stream = match (from, header) {
                    (Side::Client, _) => Stream::Input,
                    (Side::Target, DATA_HEADER) => Stream::Output,
                    (Side::Target, _) => Stream::ErrorOutput,
                };
                actions.tap = Some(Tap {
                    channel: channel.id,
                    stream,
                    range: header..payload.len(),
                });
            }
            if header == DATA_HEADER
                && channel.has(flag::FOLLOWED)
                && let Some(followed) = &mut self.followed
            {
                followed.data(channel.id, from, &payload[header..], &mut actions.events);
            }
            return Ok(Flow::Forward);
        }
        if channel.has(flag::OWN) {
            self.own_data(from, slot, header..payload.len(), actions);
        }
        Ok(Flow::Stop)
    }

    /// `CHANNEL_EOF` (RFC 4254 §5.3).
    fn eof(&mut self, from: Side, payload: &[u8], actions: &mut Actions) -> Result<Flow, Error> {
        let Some(slot) = self.addressed(from, payload)? else {
            return Ok(Flow::Stop);
        };
        let seen = flag::EOF_FROM[from.index()];
        let channel = &mut self.table[slot];
        if channel.has(flag::OWN) {
            self.own_eof(from, slot, actions);
            return Ok(Flow::Stop);
        }
        if !channel.carries(from) || channel.has(seen) {
            return Ok(Flow::Stop);
        }
        channel.set(seen);
        Ok(Flow::Forward)
    }

    /// `CHANNEL_CLOSE` (RFC 4254 §5.3): "The channel is considered closed for a party when it has
    /// both sent and received SSH_MSG_CHANNEL_CLOSE, and the party may then reuse the channel number."
    fn close(&mut self, from: Side, payload: &[u8], actions: &mut Actions) -> Result<Flow, Error> {
        let Some(slot) = self.addressed(from, payload)? else {
            return Ok(Flow::Stop);
        };
        let channel = &mut self.table[slot];
        if channel.has(flag::OWN) {
            self.own_closed(from, slot, actions);
            return Ok(Flow::Stop);
        }
        if !channel.has(flag::CONFIRMED) {
            return Ok(Flow::Stop);
        }
        channel.set(flag::CLOSE_FROM[from.index()]);
        let flow = if channel.carries(from) {
            Flow::Forward
        } else {
            Flow::Stop
        };
        channel.set(flag::CLOSED_TO[from.other().index()]);
        // Nothing follows a CLOSE, so what its receiver still awaits will not come.
        self.held -= channel.replies(from.other()).held();
        channel.replies(from.other()).clear();
        if channel.has(flag::CLOSE_FROM[from.other().index()]) {
            self.remove(slot, actions);
        }
        Ok(flow)
    }

    fn remove(&mut self, slot: Slot, actions: &mut Actions) {
        let channel = self.table.remove(slot);
        self.held -= channel.held_replies();
        if channel.has(flag::FOLLOWED)
            && let Some(followed) = &mut self.followed
        {
            followed.end(channel.id, &mut actions.events);
        }
        actions.events.push(closed(channel));
    }

    /// The channel that a message from `from` is about. The receiver's number follows the message number.
    fn addressed(&self, from: Side, payload: &[u8]) -> Result<Option<Slot>, Error> {
        let number = Reader::new(&payload[1..])
            .u32()
            .map_err(Error::malformed(from, payload))?;
        Ok(self.table.find(from.other(), number))
    }

    /// Asks the policy, and tells the record if it says no.
    fn permit(
        ask: &Ask<'_>,
        channel: Option<ChannelId>,
        policy: &dyn Policy,
        actions: &mut Actions,
    ) -> Result<(), String> {
        let Decision::Deny(reason) = policy.decide(ask) else {
            return Ok(());
        };
        actions.events.push(SessionEvent::Denied {
            channel,
            what: ask.to_string(),
            reason: reason.clone(),
        });
        Err(reason)
    }

    /// Counts an answer that has to wait.
    fn hold(&mut self, requester: Side) -> Result<(), Error> {
        self.held += 1;
        if self.held > HELD_MAX {
            return Err(Error::RepliesOutstanding {
                by: requester,
                count: self.held as usize,
            });
        }
        Ok(())
    }
}

/// What is told of a channel that is no more.
fn closed(channel: Channel) -> SessionEvent {
    let opener = channel.opener();
    match channel.forward {
        None => SessionEvent::ChannelClosed { channel: channel.id },
        Some(forward) => SessionEvent::ForwardClosed {
            channel: channel.id,
            kind: channel.kind,
            opener,
            destination: forward.destination,
            endpoints: forward.endpoints,
            bytes: forward.bytes,
        },
    }
}

/// Message number, recipient, length.
const DATA_HEADER: usize = 9;
/// Message number, recipient, type, length.
const EXTENDED_DATA_HEADER: usize = 13;
const EMPTY: WireError = WireError::Truncated("byte");

/// A number whose bytes are known to be there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
