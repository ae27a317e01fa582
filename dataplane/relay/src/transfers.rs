//! File transfers, read in passing.
//!
//! A [`Decoder`] is given the data of one session channel, both directions, in the pieces in which they pass, and tells
//! what was done to which file. It alters and delays nothing and copies no contents: those are skipped by their length,
//! and hashed on the way if that is asked for.
//!
//! ```text
//!   CHANNEL_DATA ─▶ Decoder ─┬─▶ Following          once, when the channel's program is started
//!                            ├─▶ FileOperation      for each file from open to close, each other change, each fault
//!                            └─▶ TransferSummary    once, when the channel ends
//! ```
//!
//! What it cannot follow it says once, and is silent from then on but for the files that were open and the summary;
//! the session goes on.
//!
//! Invariant: one channel takes at most 4096 requests in flight, 1024 open files, 2 MiB of names in both, and less than
//! 64 KiB of what is not yet whole. Beyond that it counts and says so once.

mod content;
pub mod program;
mod report;
mod scp;
mod sftp;
mod teller;

use std::fmt;

use crate::{ChannelId, SessionEvent, Side};

pub use report::{
    ContentHash, FileAction, FileName, FileOperation, Outcome, TransferProtocol, TransferSummary,
};

use program::CopyProgram;
use scp::Scp;
use sftp::Sftp;
use teller::Teller;

/// Decoders that one connection has at once. sshd allows ten sessions on a connection by default.
const DECODERS_MAX: usize = 32;

/// What of file transfers is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// What is done to files.
    pub operations: bool,
    /// SHA-256 of what is read and written, too.
    pub hashes: bool,
}

/// Follows the file transfers of one channel.
pub struct Decoder {
    protocol: Protocol,
    /// It went where this cannot follow.
    is_lost: bool,
    teller: Teller,
}

enum Protocol {
    Sftp(Box<Sftp>),
    Scp(Box<Scp>),
}

impl Decoder {
    /// A decoder for what `program` will say on `channel`.
    pub fn new(channel: ChannelId, program: &CopyProgram<'_>, hashes: bool) -> Decoder {
        let (protocol, name) = match program {
            CopyProgram::Sftp => (
                Protocol::Sftp(Box::new(Sftp::new(hashes))),
                TransferProtocol::Sftp,
            ),
            CopyProgram::Scp(half) => (
                Protocol::Scp(Box::new(Scp::new(half, hashes))),
                TransferProtocol::Scp,
            ),
        };
        Decoder {
            protocol,
            is_lost: false,
            teller: Teller::new(channel, name),
        }
    }

    /// The channel that it follows.
    pub fn channel(&self) -> ChannelId {
        self.teller.channel()
    }

    /// What is told when it begins.
    pub fn begin(&self) -> SessionEvent {
        SessionEvent::Following {
            channel: self.channel(),
            protocol: self.teller.protocol(),
        }
    }

    /// Takes the next bytes that `from` has sent.
    pub fn data(&mut self, from: Side, data: &[u8], events: &mut Vec<SessionEvent>) {
        if self.is_lost {
            return;
        }
        let followed = match &mut self.protocol {
            Protocol::Sftp(sftp) => sftp.data(from, data, &mut self.teller, events),
            Protocol::Scp(scp) => scp.data(from, data, &mut self.teller, events),
        };
        if let Err(Fault(why)) = followed {
            self.give_up(&format!("{from}: {why}"), events);
        }
    }

    /// Follows nothing more.
    fn give_up(&mut self, why: &str, events: &mut Vec<SessionEvent>) {
        self.is_lost = true;
        self.teller.unfollowed(why, events);
    }

    /// The channel has ended: tells what is unfinished, and the summary.
    pub fn finish(mut self, events: &mut Vec<SessionEvent>) {
        match &mut self.protocol {
            Protocol::Sftp(sftp) => sftp.finish(&mut self.teller, events),
            Protocol::Scp(scp) => scp.finish(&mut self.teller, events),
        }
        events.push(self.teller.summary());
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("channel", &self.channel())
            .finish_non_exhaustive()
    }
}

/// Why a stream cannot be followed further.
#[derive(Debug, PartialEq, Eq)]
struct Fault(String);

impl Fault {
    fn new(why: impl Into<String>) -> Fault {
        Fault(why.into())
    }
}

/// The decoders of a connection.
#[derive(Debug, Default)]
pub(crate) struct Followed(Vec<Decoder>);

impl Followed {
    /// Begins to follow what was just started on the channel; whether it is followed from now on.
    pub(crate) fn begin(
        &mut self,
        channel: ChannelId,
        program: &CopyProgram<'_>,
        hashes: bool,
        events: &mut Vec<SessionEvent>,
    ) -> bool {
        let mut decoder = Decoder::new(channel, program, hashes);
        events.push(decoder.begin());
        if self.0.len() >= DECODERS_MAX {
            let why = format!("{DECODERS_MAX} channels of this connection are followed already");
            decoder.give_up(&why, events);
            decoder.finish(events);
            return false;
        }
        self.0.reserve_exact(1);
        self.0.push(decoder);
        true
    }

    pub(crate) fn data(
        &mut self,
        channel: ChannelId,
        from: Side,
        data: &[u8],
        events: &mut Vec<SessionEvent>,
    ) {
        let decoder = self.0.iter_mut().find(|decoder| decoder.channel() == channel);
        if let Some(decoder) = decoder {
            decoder.data(from, data, events);
        }
    }

    pub(crate) fn end(&mut self, channel: ChannelId, events: &mut Vec<SessionEvent>) {
        if let Some(at) = self.0.iter().position(|decoder| decoder.channel() == channel) {
            self.0.swap_remove(at).finish(events);
        }
    }

    pub(crate) fn end_all(&mut self, events: &mut Vec<SessionEvent>) {
        for decoder in std::mem::take(&mut self.0) {
            decoder.finish(events);
        }
    }
}
