//! How a segment holds the parts of many sessions' recordings: each in a frame that can be believed or not.
//!
//! ```text
//! offset  bytes
//!      0      8  check: the first bytes of SHA-256 over (bytes 8 to 24, segment's number, SHA-256 of the payload)
//!      8      4  length of the payload
//!     12      1  kind
//!     13      3  zero
//!     16      8  where the same session's frame before stands: segment and offset, both 0 for none
//!     24      …  payload
//! ```
//!
//! The payload's hash is the one that chains the recording, so a frame costs no further pass over its bytes. Zeros,
//! which is what a preallocated segment ends with, are no frame.

use ulid::Ulid;
use weir_record::{Hash, MAX_CHUNK_LEN};

pub(crate) const HEAD_LEN: usize = 24;
/// A frame's payload is an envelope, a chunk, or a mark.
pub(crate) const MAX_PAYLOAD_LEN: usize = MAX_CHUNK_LEN;

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The envelope with which a recording begins.
    Envelope,
    /// A chunk, also the last.
    Chunk,
    /// The session's identifier: its recording is in the store, its frames are waste.
    Archived,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            FrameKind::Envelope => 1,
            FrameKind::Chunk => 2,
            FrameKind::Archived => 3,
        }
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) kind: FrameKind,
    pub(crate) len: u32,
    pub(crate) previous: Option<Location>,
}

impl FrameHead {
    pub(crate) fn encode(&self, segment: u32, payload: Hash) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        let (previous_segment, previous_offset) = self
            .previous
            .map_or((0, 0), |location| (location.segment, location.offset));
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12] = self.kind.code();
        bytes[16..20].copy_from_slice(&previous_segment.to_le_bytes());
        bytes[20..24].copy_from_slice(&previous_offset.to_le_bytes());
        let check = check(&bytes, segment, payload);
        bytes[..8].copy_from_slice(&check);
        bytes
    }

    /// Reads a head without believing it: only its shape is checked.
    pub(crate) fn parse(bytes: &[u8; HEAD_LEN]) -> Option<FrameHead> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let kind = [FrameKind::Envelope, FrameKind::Chunk, FrameKind::Archived]
            .into_iter()
            .find(|kind| bytes[12..16] == [kind.code(), 0, 0, 0])?;
        let len = word(8);
        if len == 0 || len as usize > MAX_PAYLOAD_LEN {
            return None;
        }
        let previous = Location {
            segment: word(16),
            offset: word(20),
        };
        Some(FrameHead {
            kind,
            len,
            previous: (previous.segment != 0).then_some(previous),
        })
    }
}

/// Whether a frame was written whole, into this segment.
pub(crate) fn is_whole(head: &[u8; HEAD_LEN], segment: u32, payload: &[u8]) -> bool {
    head[..8] == check(head, segment, Hash::of(&[payload]))
}

fn check(head: &[u8; HEAD_LEN], segment: u32, payload: Hash) -> [u8; 8] {
    let Hash(hash) = Hash::of(&[&head[8..], &segment.to_le_bytes(), &payload.0]);
    let mut check = [0; 8];
    check.copy_from_slice(&hash[..8]);
    check
}

/// The session that a payload belongs to: envelopes and chunks name it at the same place, a mark is nothing else.
pub(crate) fn session_of(kind: FrameKind, payload: &[u8]) -> Option<Ulid> {
    let at = match kind {
        FrameKind::Envelope | FrameKind::Chunk => 16,
        FrameKind::Archived => 0,
    };
    payload
        .get(at..)?
        .first_chunk()
        .map(|bytes| Ulid::from_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_only_unaltered_and_in_its_segment() {
        let payload = [7; 40];
        let head = FrameHead {
            kind: FrameKind::Chunk,
            len: 40,
            previous: Some(Location {
                segment: 3,
                offset: 99,
            }),
        };
        let bytes = head.encode(4, Hash::of(&[&payload]));
        assert_eq!(FrameHead::parse(&bytes), Some(head));
        assert!(is_whole(&bytes, 4, &payload));
        assert!(!is_whole(&bytes, 5, &payload));
        for at in 0..HEAD_LEN {
            let mut altered = bytes;
            altered[at] ^= 1;
            assert!(
                FrameHead::parse(&altered).is_none() || !is_whole(&altered, 4, &payload),
                "byte {at}"
            );
        }
        for at in 0..payload.len() {
            let mut altered = payload;
            altered[at] ^= 1;
            assert!(!is_whole(&bytes, 4, &altered));
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(FrameHead::parse(&[0; HEAD_LEN]), None);
    }
}
