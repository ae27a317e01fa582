//! A chunk's head, and the plaintext that goes into one.

use std::time::Duration;

use ulid::Ulid;

use crate::chain::Hash;
use crate::event::{Entry, Event, EventKind, MAX_PAYLOAD_LEN};
use crate::note::MAX_NOTE_LEN;
use crate::wire::{Cursor, Malformed, put_varint, varint_len};

/// Bytes in front of a chunk's sealed part.
pub const HEAD_LEN: usize = 68;
/// A chunk is closed once its plaintext has this length.
pub const TARGET_PLAINTEXT_LEN: usize = 64 * 1024;
/// No chunk's plaintext is longer: the target, and one event of the greatest length that did not fit before it.
pub const MAX_PLAINTEXT_LEN: usize = TARGET_PLAINTEXT_LEN + MAX_PAYLOAD_LEN;
/// No chunk is longer; what claims to be is refused before anything is allocated.
pub const MAX_CHUNK_LEN: usize = HEAD_LEN + MAX_PLAINTEXT_LEN + TAG_LEN;

pub(crate) const TAG_LEN: usize = weir_crypto::aes_gcm::TAG_LEN;

/// Kind, two varints of at most ten and five bytes, a length of at most three.
const MAX_EVENT_HEADER_LEN: usize = 1 + 10 + 5 + 3;
/// Data is not divided to use up less room than this: a chunk more costs less than an event more.
const MIN_PIECE_LEN: usize = 1024;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sealed events as they are.
    Stored,
    /// Sealed events in a zstd frame.
    Zstd,
    /// The [`End`](crate::End), in clear and signed.
    End,
    /// A [`Note`](crate::Note), in clear.
    Note,
}

impl Kind {
    const fn codes(self) -> [u8; 2] {
        match self {
            Kind::Stored => [1, 0],
            Kind::Zstd => [1, 1],
            Kind::End => [2, 0],
            Kind::Note => [3, 0],
        }
    }
}

/// The clear head of a chunk: where it belongs. It is the associated data of the chunk's seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHead {
    /// Length of the whole chunk, head included.
    pub len: u32,
    /// What follows the head.
    pub kind: Kind,
    /// Place in the recording, from 0.
    pub number: u64,
    /// The recording's identifier.
    pub session: Ulid,
    /// SHA-256 of the chunk before, of the envelope for chunk 0.
    pub previous: Hash,
    /// Length of the events once opened and unpacked.
    pub plaintext_len: u32,
}

/// Bytes that cannot be the head of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunk head: {0}")]
pub struct MalformedHead(&'static str);

impl ChunkHead {
    /// Reads a head and checks all that can be known from it alone.
    ///
    /// # Errors
    /// If its fields contradict each other or exceed the format's bounds.
    pub fn parse(bytes: &[u8; HEAD_LEN]) -> Result<Self, MalformedHead> {
        let mut p = Cursor::new(bytes);
        let head = Self::fields(&mut p).map_err(|_| MalformedHead("its kind is not known"))?;
        let (len, plaintext_len) = (head.len as usize, head.plaintext_len as usize);
        if len > MAX_CHUNK_LEN || plaintext_len > MAX_PLAINTEXT_LEN {
            return Err(MalformedHead("it is longer than any chunk"));
        }
        let sealed_len = len.checked_sub(HEAD_LEN + TAG_LEN);
        let fits = match head.kind {
            Kind::Stored => plaintext_len > 0 && sealed_len == Some(plaintext_len),
            Kind::Zstd => sealed_len.is_some_and(|sealed| sealed > 0 && sealed < plaintext_len),
            Kind::End => plaintext_len == 0 && len == crate::end::END_LEN,
            Kind::Note => (1..=MAX_NOTE_LEN).contains(&plaintext_len) && len == HEAD_LEN + plaintext_len,
        };
        if fits {
            Ok(head)
        } else {
            Err(MalformedHead("its lengths contradict each other"))
        }
    }

    fn fields(p: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let len = p.u32("length")?;
        let codes = p.array::<4>("kind")?;
        let kind = [Kind::Stored, Kind::Zstd, Kind::End, Kind::Note]
            .into_iter()
            .find(|kind| codes[..2] == kind.codes() && codes[2..] == [0, 0])
            .ok_or(Malformed("kind"))?;
        Ok(ChunkHead {
            len,
            kind,
            number: p.u64("number")?,
            session: Ulid::from_bytes(p.array("session")?),
            previous: Hash(p.array("previous")?),
            plaintext_len: p.u32("plaintext length")?,
        })
    }

    pub(crate) fn encode(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.kind.codes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.session.to_bytes());
        bytes[32..64].copy_from_slice(&self.previous.0);
        bytes[64..].copy_from_slice(&self.plaintext_len.to_le_bytes());
        bytes
    }

    /// The nonce of the chunk's seal. A key seals one recording, in which no number comes twice.
    pub(crate) fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.number.to_be_bytes());
        nonce
    }
}

/// The plaintext of a chunk that is being filled.
///
/// It costs what its storage costs: a session without pending events holds an empty one.
#[derive(Debug, Default)]
pub struct EventBuffer {
    bytes: Vec<u8>,
    last_us: u64,
}

impl EventBuffer {
    /// Gathers events in `storage`, which is emptied first.
    #[must_use]
    pub fn with_storage(mut storage: Vec<u8>) -> Self {
        storage.clear();
        EventBuffer {
            bytes: storage,
            last_us: 0,
        }
    }

    /// Gives the storage back, emptied.
    #[must_use]
    pub fn into_storage(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }

    /// Whether there is nothing to seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of plaintext so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that fit without a new allocation.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets what was gathered, keeps the storage.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends one event; false if the chunk must be sealed first. An empty buffer takes every event.
    ///
    /// Times are microseconds since the session's start and never run backwards: an earlier one becomes the last.
    ///
    /// # Panics
    /// If the payload is longer than [`MAX_PAYLOAD_LEN`].
    #[must_use = "an event that did not fit is not recorded"]
    pub fn push(&mut self, at_us: u64, channel: u32, kind: EventKind, payload: &[u8]) -> bool {
        assert!(
            payload.len() <= MAX_PAYLOAD_LEN,
            "an event's payload is no longer than an SSH packet"
        );
        let fits = self.bytes.len() + MAX_EVENT_HEADER_LEN + payload.len() <= TARGET_PLAINTEXT_LEN;
        if !fits && !self.bytes.is_empty() {
            return false;
        }
        self.put(at_us, channel, kind, payload);
        true
    }

    /// Appends as much of a stream's `data` as the chunk has room for and returns how much that was; where it is not
    /// all, the chunk must be sealed before the rest is offered. Never 0 for an empty buffer and some data.
    #[must_use = "data that did not fit is not recorded"]
    pub fn push_data(&mut self, at_us: u64, channel: u32, kind: EventKind, data: &[u8]) -> usize {
        let room = TARGET_PLAINTEXT_LEN.saturating_sub(self.bytes.len() + MAX_EVENT_HEADER_LEN);
        let len = data.len().min(room);
        if len < data.len() && len < MIN_PIECE_LEN {
            return 0;
        }
        self.put(at_us, channel, kind, &data[..len]);
        len
    }

    fn put(&mut self, at_us: u64, channel: u32, kind: EventKind, payload: &[u8]) {
        if self.bytes.is_empty() {
            put_varint(&mut self.bytes, at_us);
            self.last_us = at_us;
        }
        let delta = at_us.saturating_sub(self.last_us);
        self.last_us += delta;
        self.bytes.push(kind.0);
        put_varint(&mut self.bytes, delta);
        put_varint(&mut self.bytes, u64::from(channel));
        put_varint(&mut self.bytes, payload.len() as u64);
        self.bytes.extend_from_slice(payload);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes that an event with this payload needs at most, for those who account for memory.
    #[must_use]
    pub const fn encoded_len(payload_len: usize) -> usize {
        1 + 10 + 5 + varint_len(payload_len as u64) + payload_len
    }
}

/// Walks over the events of a chunk's plaintext by position, so that the plaintext stays with its owner.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walk {
    position: usize,
    at_us: u64,
}

impl Walk {
    pub(crate) fn is_done(&self, plaintext: &[u8]) -> bool {
        self.position >= plaintext.len()
    }

    pub(crate) fn next<'a>(&mut self, plaintext: &'a [u8]) -> Result<Option<Entry<'a>>, Malformed> {
        let rest = plaintext.get(self.position..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let mut p = Cursor::new(rest);
        if self.position == 0 {
            self.at_us = p.varint("chunk time")?;
        }
        let kind = EventKind(p.u8("event kind")?);
        let delta = p.varint("event time")?;
        let at_us = self.at_us.checked_add(delta).ok_or(Malformed("event time"))?;
        let channel = p.varint_u32("event channel")?;
        let event = Event::decode(kind, p.string("event payload")?)?;
        self.at_us = at_us;
        self.position = plaintext.len() - p.remaining();
        Ok(Some(Entry {
            at: Duration::from_micros(at_us),
            channel,
            event,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk(plaintext: &[u8]) -> Vec<(u64, u32, EventKind, Vec<u8>)> {
        let mut walk = Walk::default();
        let mut seen = Vec::new();
        while let Some(entry) = walk.next(plaintext).unwrap() {
            let mut payload = Vec::new();
            entry.event.encode_payload(&mut payload);
            let at = u64::try_from(entry.at.as_micros()).unwrap();
            seen.push((at, entry.channel, entry.event.kind(), payload));
        }
        seen
    }

    #[test]
    fn a_head_comes_back_and_contradictions_are_refused() {
        let head = ChunkHead {
            len: 68 + 10 + 16,
            kind: Kind::Stored,
            number: 7,
            session: Ulid::from_parts(1, 2),
            previous: Hash([9; 32]),
            plaintext_len: 10,
        };
        assert_eq!(ChunkHead::parse(&head.encode()), Ok(head));
        for wrong in [
            ChunkHead {
                len: 68 + 11 + 16,
                ..head
            },
            ChunkHead { len: 0, ..head },
            ChunkHead {
                len: u32::MAX,
                plaintext_len: u32::MAX,
                ..head
            },
            ChunkHead {
                kind: Kind::Zstd,
                ..head
            },
            ChunkHead {
                kind: Kind::End,
                ..head
            },
            ChunkHead {
                plaintext_len: 0,
                len: 68 + 16,
                ..head
            },
        ] {
            assert!(ChunkHead::parse(&wrong.encode()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn time_never_runs_backwards() {
        let mut events = EventBuffer::default();
        assert!(events.push(50, 0, EventKind::SHELL, &[]));
        assert!(events.push(40, 0, EventKind::CLOSED, &[]));
        assert!(events.push(60, 0, EventKind::CLOSED, &[]));
        let times: Vec<_> = walk(events.bytes()).into_iter().map(|event| event.0).collect();
        assert_eq!(times, [50, 50, 60]);
    }

    #[test]
    fn the_greatest_event_fits_an_empty_buffer_and_a_legal_chunk() {
        let payload = vec![7; MAX_PAYLOAD_LEN];
        let mut events = EventBuffer::default();
        assert!(events.push(0, 0, EventKind::SHELL, &[]));
        assert!(!events.push(0, 0, EventKind::EXEC, &payload));
        events.clear();
        assert!(events.push(u64::MAX, u32::MAX, EventKind::EXEC, &payload));
        assert!(events.len() <= MAX_PLAINTEXT_LEN);
    }

    proptest! {
        #[test]
        fn data_divided_over_chunks_is_whole(pieces in prop::collection::vec((0u64..9, 0usize..90_000), 1..12)) {
            let mut sent = Vec::new();
            let mut got = Vec::new();
            let mut events = EventBuffer::default();
            let mut at = 0;
            for (index, (delta, len)) in pieces.into_iter().enumerate() {
                at += delta;
                let data: Vec<u8> = (0..len).map(|i| (i ^ index).to_le_bytes()[0]).collect();
                sent.extend_from_slice(&data);
                let mut rest = &data[..];
                while !rest.is_empty() {
                    let taken = events.push_data(at, 3, EventKind::OUTPUT, rest);
                    rest = &rest[taken..];
                    prop_assert!(events.len() <= TARGET_PLAINTEXT_LEN);
                    if !rest.is_empty() {
                        got.extend(walk(events.bytes()).into_iter().flat_map(|event| event.3));
                        events.clear();
                    }
                }
            }
            got.extend(walk(events.bytes()).into_iter().flat_map(|event| event.3));
            prop_assert_eq!(sent, got);
        }

        #[test]
        fn hostile_plaintext_ends_in_an_error_or_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut walk = Walk::default();
            let mut events = 0;
            while let Ok(Some(_)) = walk.next(&bytes) {
                events += 1;
                prop_assert!(events <= bytes.len());
            }
        }
    }
}
