//! What both decoders tell, and what they add up.

use crate::{ChannelId, SessionEvent};

use super::{FileAction, FileOperation, Outcome, TransferProtocol, TransferSummary};

/// Bytes that are kept of a peer's words.
const NOTE_MAX: usize = 1024;

/// The voice of one channel's decoder.
pub(super) struct Teller {
    channel: ChannelId,
    /// Added to by the decoders.
    pub(super) totals: TransferSummary,
    /// Faults that have been told of, as bits of [`Once`].
    told: u8,
}

/// Faults that are told of once.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Once {
    TooManyRequests = 1,
    UnknownHandle = 1 << 1,
}

impl Teller {
    pub(super) fn new(channel: ChannelId, protocol: TransferProtocol) -> Teller {
        Teller {
            channel,
            totals: TransferSummary {
                protocol,
                is_whole: true,
                files: 0,
                unfinished: 0,
                bytes_read: 0,
                bytes_written: 0,
                operations: 0,
                failures: 0,
                unmatched: 0,
            },
            told: 0,
        }
    }

    pub(super) fn channel(&self) -> ChannelId {
        self.channel
    }

    pub(super) fn protocol(&self) -> TransferProtocol {
        self.totals.protocol
    }

    /// An operation of this protocol, to be filled in.
    pub(super) fn operation(&self, action: FileAction) -> FileOperation {
        FileOperation::new(self.protocol(), action)
    }

    pub(super) fn tell(&mut self, mut operation: FileOperation, events: &mut Vec<SessionEvent>) {
        let note = &mut operation.note;
        note.truncate(note.floor_char_boundary(NOTE_MAX));
        if operation.action == FileAction::File {
            match operation.outcome {
                Outcome::Unfinished => self.totals.unfinished += 1,
                Outcome::Done | Outcome::Failed(_) => self.totals.files += 1,
            }
        }
        events.push(SessionEvent::FileOperation {
            channel: self.channel,
            operation: Box::new(operation),
        });
    }

    /// Something is not followed, and the rest still is.
    pub(super) fn tell_once(&mut self, once: Once, why: &str, events: &mut Vec<SessionEvent>) {
        let bit = once as u8;
        if self.told & bit == 0 {
            self.told |= bit;
            self.unfollowed(why, events);
        }
    }

    /// Something is not followed, or nothing from here on.
    pub(super) fn unfollowed(&mut self, why: &str, events: &mut Vec<SessionEvent>) {
        self.totals.is_whole = false;
        let mut operation = self.operation(FileAction::Unfollowed);
        operation.outcome = Outcome::Unfinished;
        operation.note = why.to_owned();
        self.tell(operation, events);
    }

    pub(super) fn summary(&self) -> SessionEvent {
        SessionEvent::TransferSummary {
            channel: self.channel,
            summary: Box::new(self.totals),
        }
    }
}
