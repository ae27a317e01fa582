//! What is told of a recording behind its last sealed chunk, by whoever has its chain and not its key.
//!
//! A session may go on although nobody is left who could seal what it does. How long it did, and how much passed, is known to the
//! thread that carried it. The next start, which ends the recording, puts that before the end.

use std::time::Duration;

use crate::chunk::{EventBuffer, Walk};
use crate::event::Event;
use crate::wire::Malformed;

/// No note is longer, in bytes.
pub const MAX_NOTE_LEN: usize = 1024;

/// How much of a reason is kept, in bytes.
const REASON_MAX: usize = 256;

/// A gap at the end of a recording, told in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    bytes: Vec<u8>,
    until: Duration,
}

impl Note {
    /// Nothing was recorded between `from` and `to` since the session's start, in which `bytes` of channel data passed and
    /// `events` other things happened. Of the reason the first 256 bytes are kept.
    #[must_use]
    pub fn gap(from: Duration, to: Duration, bytes: u64, events: u64, reason: &str) -> Note {
        let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
        let event = Event::Gap {
            from,
            to,
            bytes,
            events,
            reason: reason.as_bytes(),
        };
        let mut payload = Vec::new();
        event.encode_payload(&mut payload);
        let mut buffer = EventBuffer::default();
        let at_us = u64::try_from(to.as_micros()).unwrap_or(u64::MAX);
        // An empty buffer takes every event.
        let _ = buffer.push(at_us, 0, event.kind(), &payload);
        Note {
            bytes: buffer.bytes().to_vec(),
            until: Duration::from_micros(at_us),
        }
    }

    /// Takes what [`as_bytes`](Note::as_bytes) gave.
    ///
    /// # Errors
    /// If it is not one gap and nothing else.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Note, Malformed> {
        if bytes.len() > MAX_NOTE_LEN {
            return Err(Malformed("note"));
        }
        let mut walk = Walk::default();
        let until = match walk.next(&bytes)? {
            Some(entry) if matches!(entry.event, Event::Gap { .. }) => entry.at,
            _ => return Err(Malformed("note")),
        };
        match walk.is_done(&bytes) {
            true => Ok(Note { bytes, until }),
            false => Err(Malformed("note")),
        }
    }

    /// The events of a chunk, with nothing around them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Where the gap, and with it the session, ended, since its start.
    #[must_use]
    pub fn until(&self) -> Duration {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    const NOTE: (Duration, Duration) = (Duration::from_millis(3), Duration::from_secs(60));

    #[test]
    fn a_note_comes_back() {
        let note = Note::gap(NOTE.0, NOTE.1, 4096, 2, "the recorder has stopped");
        assert_eq!(Note::from_bytes(note.as_bytes().to_vec()).unwrap(), note);
        assert_eq!(note.until(), NOTE.1);
        let long = "\u{e9}x".repeat(1000);
        let note = Note::gap(Duration::MAX, Duration::MAX, u64::MAX, u64::MAX, &long);
        assert!(note.as_bytes().len() <= MAX_NOTE_LEN);
        assert!(Note::from_bytes(note.as_bytes().to_vec()).is_ok());
    }

    #[test]
    fn what_is_no_gap_is_no_note() {
        let note = Note::gap(NOTE.0, NOTE.1, 1, 2, "why").as_bytes().to_vec();
        for len in 0..note.len() {
            assert!(Note::from_bytes(note[..len].to_vec()).is_err(), "cut at {len}");
        }
        assert!(Note::from_bytes([&note[..], &note[..]].concat()).is_err());
        let mut output = EventBuffer::default();
        assert!(output.push(5, 0, EventKind::OUTPUT, b"never seen"));
        assert!(Note::from_bytes(output.bytes().to_vec()).is_err());
        assert!(Note::from_bytes(vec![0; MAX_NOTE_LEN + 1]).is_err());
    }
}
