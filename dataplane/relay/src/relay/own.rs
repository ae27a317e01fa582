//! Channels that the proxy opens toward the client itself, such as one to its agent.
//!
//! To the client they look like the target's. Their numbers come from a range that the target may
//! not use, and nothing about them reaches the target.
//!
//! ```text
//!   open_own ──▶ OPEN ──▶ client ── CONFIRMATION ──▶ Opened ⇄ Data, Writable ──▶ Eof, Closed
//!                                └─ FAILURE ───────▶ Refused
//! ```
//!
//! Cost: [`Own`] and a place in the table for each; the owner keeps the bytes.

use std::ops::Range;

use weir_ssh::wire::{Writer, msg};

use super::window::PIECE_MAX;
use crate::{
    Actions, ChannelKind, OwnEvent, Refused, Relay, Side,
    table::{Channel, Slot, flag},
};

/// The first of the numbers kept for own channels. Ends number their channels from 0 or from a
/// small offset, so 65,536 at the upper end are never missed.
pub(super) const NUMBER_FIRST: u32 = 0xffff_0000;

/// Own channels at the same time.
pub(super) const OWN_MAX: usize = 16;

/// Pieces that one call sends, against a client that takes a byte at a time.
const PIECES_MAX: usize = 16;

/// A channel that the proxy opened toward the client; the number that the client knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnChannel(u32);

/// The flow control of an own channel.
#[derive(Debug)]
pub(super) struct Own {
    number: u32,
    /// Bytes that the client still takes.
    to_client: u32,
    /// Bytes that the client may still send.
    from_client: u32,
}

impl Relay {
    /// Opens a channel of the type `name` toward the client, who may send `window` bytes before
    /// [`own_consumed`](Relay::own_consumed) gives it more. How that goes is told by [`OwnEvent`].
    ///
    /// # Errors
    /// [`Refused::TooMany`] if 16 own channels, or [`CHANNELS_MAX`](crate::CHANNELS_MAX) in all, are open.
    pub fn open_own(
        &mut self,
        name: &str,
        window: u32,
        actions: &mut Actions,
    ) -> Result<OwnChannel, Refused> {
        if self.own.len() >= OWN_MAX || self.table.is_full() {
            return Err(Refused::TooMany);
        }
        let number = self.free_number();
        let mut channel = Channel::new(self.new_id(), ChannelKind::Other, Side::Target, number);
        channel.set(flag::OWN);
        self.table.insert(channel);
        self.own.push(Own {
            number,
            to_client: 0,
            from_client: window,
        });
        actions.send(Side::Client, |out| {
            out.put_u8(msg::CHANNEL_OPEN);
            out.put_string(name);
            out.put_u32(number);
            out.put_u32(window);
            out.put_u32(PIECE_MAX);
        });
        Ok(OwnChannel(number))
    }

    /// Sends what of `data` the client's window and maximum packet allow, and says how much that
    /// was; the rest may follow after [`OwnEvent::Writable`].
    pub fn own_send(&mut self, channel: OwnChannel, data: &[u8], actions: &mut Actions) -> usize {
        let Some(slot) = self.open_slot(channel) else {
            return 0;
        };
        let piece = self.table[slot].client_maximum_packet.clamp(1, PIECE_MAX) as usize;
        let client_number = self.table[slot].number(Side::Client);
        let own = self.own_mut(channel.0);
        let length = data.len().min(own.to_client as usize).min(piece * PIECES_MAX);
        for piece in data[..length].chunks(piece) {
            actions.send(Side::Client, |out| {
                out.put_u8(msg::CHANNEL_DATA);
                out.put_u32(client_number);
                out.put_string(piece);
            });
        }
        own.to_client -= u32::try_from(length).expect("cut to a window of 32 bits");
        length
    }

    /// Lets the client send `bytes` more.
    pub fn own_consumed(&mut self, channel: OwnChannel, bytes: u32, actions: &mut Actions) {
        if let Some(slot) = self.open_slot(channel)
            && bytes > 0
        {
            let own = self.own_mut(channel.0);
            own.from_client = own.from_client.saturating_add(bytes);
            actions.send_adjust(Side::Client, self.table[slot].number(Side::Client), bytes);
        }
    }

    /// Ends the channel, if it is open: EOF, then CLOSE, since OpenSSH waits at exit for an agent
    /// channel that was closed without EOF. [`OwnEvent::Closed`] follows when the client agrees.
    pub fn own_finish(&mut self, channel: OwnChannel, actions: &mut Actions) {
        if let Some(slot) = self.open_slot(channel) {
            let number = self.table[slot].number(Side::Client);
            actions.send_channel(Side::Client, msg::CHANNEL_EOF, number);
            actions.send_channel(Side::Client, msg::CHANNEL_CLOSE, number);
            self.table[slot].set(flag::CLOSED_TO[Side::Client.index()]);
        }
    }

    pub(super) fn own_opened(&mut self, slot: Slot, window: u32, actions: &mut Actions) {
        let number = self.table[slot].number(Side::Target);
        self.own_mut(number).to_client = window;
        actions.own = Some(OwnEvent::Opened(OwnChannel(number)));
    }

    pub(super) fn own_refused(&mut self, slot: Slot, reason: String, actions: &mut Actions) {
        let number = self.forget_own(slot);
        actions.own = Some(OwnEvent::Refused(OwnChannel(number), reason));
    }

    pub(super) fn own_data(&mut self, from: Side, slot: Slot, range: Range<usize>, actions: &mut Actions) {
        let channel = &self.table[slot];
        if from != Side::Client || !channel.has(flag::CONFIRMED) || range.is_empty() {
            return;
        }
        let closed = channel.has(flag::CLOSED_TO[Side::Client.index()]);
        let number = channel.number(Side::Target);
        let own = self.own_mut(number);
        // RFC 4254 §5.2: data beyond the window may be ignored.
        let taken = u32::try_from(range.len())
            .ok()
            .and_then(|bytes| own.from_client.checked_sub(bytes));
        if let Some(left) = taken
            && !closed
        {
            own.from_client = left;
            actions.own = Some(OwnEvent::Data(OwnChannel(number), range));
        }
    }

    pub(super) fn own_writable(&mut self, from: Side, slot: Slot, bytes: u32, actions: &mut Actions) {
        let channel = &self.table[slot];
        if from == Side::Client && channel.has(flag::CONFIRMED) {
            let number = channel.number(Side::Target);
            let own = self.own_mut(number);
            own.to_client = own.to_client.saturating_add(bytes);
            actions.own = Some(OwnEvent::Writable(OwnChannel(number)));
        }
    }

    pub(super) fn own_eof(&mut self, from: Side, slot: Slot, actions: &mut Actions) {
        let channel = &self.table[slot];
        if from == Side::Client && channel.has(flag::CONFIRMED) {
            actions.own = Some(OwnEvent::Eof(OwnChannel(channel.number(Side::Target))));
        }
    }

    /// No request is known on own channels.
    pub(super) fn own_request(from: Side, channel: &Channel, actions: &mut Actions) {
        let closed = channel.has(flag::CLOSED_TO[Side::Client.index()]);
        if from == Side::Client && channel.has(flag::CONFIRMED) && !closed {
            actions.send_channel(Side::Client, msg::CHANNEL_FAILURE, channel.number(Side::Client));
        }
    }

    pub(super) fn own_closed(&mut self, from: Side, slot: Slot, actions: &mut Actions) {
        let channel = &self.table[slot];
        if from != Side::Client || !channel.has(flag::CONFIRMED) {
            return;
        }
        if !channel.has(flag::CLOSED_TO[Side::Client.index()]) {
            actions.send_channel(Side::Client, msg::CHANNEL_CLOSE, channel.number(Side::Client));
        }
        let number = self.forget_own(slot);
        actions.own = Some(OwnEvent::Closed(OwnChannel(number)));
    }

    fn forget_own(&mut self, slot: Slot) -> u32 {
        let number = self.table.remove(slot).number(Side::Target);
        self.own.retain(|own| own.number != number);
        number
    }

    /// The channel's place if bytes may go to the client.
    fn open_slot(&self, channel: OwnChannel) -> Option<Slot> {
        let slot = self.table.find(Side::Target, channel.0)?;
        let channel = &self.table[slot];
        (channel.has(flag::CONFIRMED) && !channel.has(flag::CLOSED_TO[Side::Client.index()])).then_some(slot)
    }

    fn own_mut(&mut self, number: u32) -> &mut Own {
        let own = self.own.iter_mut().find(|own| own.number == number);
        own.expect("each channel flagged as own has its flow control")
    }

    fn free_number(&mut self) -> u32 {
        loop {
            let number = self.next_own;
            self.next_own = number.checked_add(1).unwrap_or(NUMBER_FIRST);
            if self.table.find(Side::Target, number).is_none() {
                return number;
            }
        }
    }
}
