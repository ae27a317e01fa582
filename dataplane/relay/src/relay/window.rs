//! The client's window, where the relay puts in or takes out bytes of its own.
//!
//! Windows are settled between the two ends. Text that the relay writes to the user uses up window
//! which the target believes to have, and a target that fills it to the end would overrun the
//! client: OpenSSH then drops data or disconnects. So a small reserve is kept from each session's
//! window from the start:
//!
//! ```text
//!   client's window  = what the target knows of + reserve
//!   open             reserve = 1/16 of the initial window, at most 2 KiB
//!   text of n bytes  reserve - n, or refused
//!   adjust of m      fills the reserve first, the rest passes
//! ```

use weir_ssh::wire::{Reader, Writer, msg};

use crate::{
    Actions, ChannelId, ChannelKind, Error, Flow, Refused, Relay, SessionEvent, Side,
    table::{Channel, flag},
};

/// Bytes of a client's window that are kept for messages to the user.
const RESERVE_MAX: u16 = 2048;

/// Largest piece of data that the relay makes; any implementation takes it (RFC 4253 §6.1).
pub(super) const PIECE_MAX: u32 = 32 * 1024;

/// `SSH_EXTENDED_DATA_STDERR` (RFC 4254 §5.2).
const STDERR: u32 = 1;

/// What to keep of an initial window. A small one, such as dropbear's 24 KiB, loses a sixteenth.
pub(super) fn reserve_of(window: u32) -> u16 {
    u16::try_from(window / 16).map_or(RESERVE_MAX, |part| part.min(RESERVE_MAX))
}

impl Relay {
    /// `CHANNEL_WINDOW_ADJUST` (RFC 4254 §5.2).
    pub(super) fn window_adjust(
        &mut self,
        from: Side,
        payload: &[u8],
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        let mut reader = Reader::new(&payload[1..]);
        let mut read = || Ok((reader.u32()?, reader.u32()?));
        let (recipient, bytes) = read().map_err(Error::malformed(from, payload))?;
        let Some(slot) = self.table.find(from.other(), recipient) else {
            return Ok(Flow::Stop);
        };
        let channel = &mut self.table[slot];
        if channel.has(flag::OWN) {
            self.own_writable(from, slot, bytes, actions);
            return Ok(Flow::Stop);
        }
        if !channel.carries(from) {
            return Ok(Flow::Stop);
        }
        if from == Side::Target || channel.reserve == channel.reserve_full {
            return Ok(Flow::Forward);
        }
        let missing = channel.reserve_full - channel.reserve;
        let kept = u16::try_from(bytes).map_or(missing, |bytes| bytes.min(missing));
        channel.reserve += kept;
        let passed = bytes - u32::from(kept);
        if passed > 0 {
            actions.send_adjust(Side::Target, recipient, passed);
        }
        Ok(Flow::Stop)
    }

    /// Writes a text of the proxy's own to the user: on the terminal if the session has one, else
    /// on its error output, so that what a program writes stays as it is. The recorder is told by
    /// [`SessionEvent::Message`].
    ///
    /// # Errors
    /// [`Refused::NotOpen`] if this is no session channel that takes data, [`Refused::NoRoom`] if
    /// the text does not fit into the client's window as it is kept for this (2 KiB, less for clients
    /// with a small window, and what was used for earlier texts comes back as the client reads).
    pub fn inject(&mut self, channel: ChannelId, text: &str, actions: &mut Actions) -> Result<(), Refused> {
        let slot = self.table.find_id(channel).ok_or(Refused::NotOpen)?;
        let channel = &mut self.table[slot];
        let ended = channel.has(flag::EOF_FROM[Side::Target.index()]);
        if channel.kind != ChannelKind::Session || !channel.carries(Side::Target) || ended {
            return Err(Refused::NotOpen);
        }
        let text = channel.line_ends(text);
        if text.len() > channel.room() {
            return Err(Refused::NoRoom);
        }
        let to_error_output = !channel.has(flag::TERMINAL);
        channel.write(text, to_error_output, actions);
        Ok(())
    }

    /// The caller has not forwarded this payload of data, though it could have: gives the sender its
    /// window back in the receiver's place. Anything else than data of an open channel is ignored.
    pub fn swallowed(&mut self, from: Side, payload: &[u8], actions: &mut Actions) {
        let mut reader = Reader::new(payload);
        let mut read = || {
            let message = reader.u8()?;
            let recipient = reader.u32()?;
            if message == msg::CHANNEL_EXTENDED_DATA {
                reader.u32()?;
            }
            let data = reader.string()?;
            Ok::<_, weir_ssh::wire::WireError>((message, recipient, data.len()))
        };
        let Ok((msg::CHANNEL_DATA | msg::CHANNEL_EXTENDED_DATA, recipient, length)) = read() else {
            return;
        };
        let Some(slot) = self.table.find(from.other(), recipient) else {
            return;
        };
        let channel = &self.table[slot];
        let closed = channel.has(flag::CLOSED_TO[from.index()]);
        if channel.carries(from) && !closed && length > 0 {
            let length = u32::try_from(length).expect("a packet is shorter than 4 GiB");
            actions.send_adjust(from, channel.number(from), length);
        }
    }
}

impl Channel {
    /// Bytes that may be written to the client now.
    fn room(&self) -> usize {
        let piece = self.client_maximum_packet.min(PIECE_MAX);
        usize::from(self.reserve).min(usize::try_from(piece).unwrap_or(usize::MAX))
    }

    /// A terminal in raw mode wants CR before LF.
    fn line_ends(&self, text: &str) -> String {
        if self.has(flag::TERMINAL) {
            text.replace('\n', "\r\n")
        } else {
            text.to_owned()
        }
    }

    /// Writes a line to the client's error output, cut to the room there is.
    pub(super) fn write_error(&mut self, line: &str, actions: &mut Actions) {
        let end = self.line_ends("\n");
        let Some(room) = self.room().checked_sub(end.len()) else {
            return;
        };
        let text = format!("{}{end}", &line[..line.floor_char_boundary(room)]);
        self.write(text, true, actions);
    }

    fn write(&mut self, text: String, to_error_output: bool, actions: &mut Actions) {
        let length = u16::try_from(text.len()).expect("a text that fits into the reserve");
        self.reserve -= length;
        let number = self.number(Side::Client);
        actions.send(Side::Client, |out| {
            out.put_u8(if to_error_output {
                msg::CHANNEL_EXTENDED_DATA
            } else {
                msg::CHANNEL_DATA
            });
            out.put_u32(number);
            if to_error_output {
                out.put_u32(STDERR);
            }
            out.put_string(&text);
        });
        actions.events.push(SessionEvent::Message {
            channel: self.id,
            text,
        });
    }
}
