//! The envelope in front of a recording's chunks: which session, whose signature to expect, and the wrapped key.
//!
//! It is a link of the chain like any chunk (chunk 0 holds its hash), but not one of the chunks: a key that is wrapped
//! anew for other recipients replaces the envelope, and no chunk. See [`Draft`](crate::Draft) for how.

use ulid::Ulid;

use crate::chain::Hash;
use crate::rewrap::{self, Replacement, ReplacementFault};
use crate::wire::{Cursor, Malformed};

/// No envelope is longer; room for some hundred recipients.
pub const MAX_ENVELOPE_LEN: usize = 64 * 1024;

pub(crate) const MAGIC: [u8; 7] = *b"WEIRREC";
/// As it is written.
const FIRST: u8 = 1;
/// As it is after its key was wrapped anew.
pub(crate) const REPLACED: u8 = 2;
/// Magic, version and length.
pub(crate) const PREFIX_LEN: usize = 12;
pub(crate) const FIXED_LEN: usize = 76;

/// What the writer of a recording knows when it opens it.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The session's identifier.
    pub session: Ulid,
    /// Start of the session, microseconds since 1970-01-01 UTC.
    pub started_us: u64,
    /// Ed25519 public key that will sign the end.
    pub signer: [u8; 32],
    /// The session key as [`Recipients::wrap`](crate::Recipients::wrap) gave it.
    pub wrapped_key: &'a [u8],
}

impl Opening<'_> {
    /// Appends the envelope to `out`.
    ///
    /// # Panics
    /// If the wrapped key does not fit [`MAX_ENVELOPE_LEN`].
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let len = FIXED_LEN + self.wrapped_key.len();
        assert!(len <= MAX_ENVELOPE_LEN, "a wrapped key fits the envelope");
        self.put(FIRST, len, 0, out);
    }

    /// All that both versions have.
    pub(crate) fn put(&self, version: u8, len: usize, generation: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.push(version);
        put_len(out, len);
        out.extend_from_slice(&generation.to_le_bytes());
        out.extend_from_slice(&self.session.to_bytes());
        out.extend_from_slice(&self.started_us.to_le_bytes());
        out.extend_from_slice(&self.signer);
        put_len(out, self.wrapped_key.len());
        out.extend_from_slice(self.wrapped_key);
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("an envelope is short");
    out.extend_from_slice(&len.to_le_bytes());
}

/// The envelope of a recording that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The session's identifier.
    pub session: Ulid,
    /// Start of the session, microseconds since 1970-01-01 UTC.
    pub started_us: u64,
    /// Ed25519 public key of the data plane that began the recording.
    pub signer: [u8; 32],
    /// An `age` file with the session key.
    pub wrapped_key: Vec<u8>,
    /// Where the key was wrapped anew: what ties this envelope to the first one.
    pub replacement: Option<Replacement>,
    /// Of its bytes.
    hash: Hash,
}

/// How long the envelope is that begins with `prefix`.
pub(crate) fn envelope_len(prefix: &[u8; PREFIX_LEN]) -> Result<usize, EnvelopeFault> {
    let (magic, rest) = prefix.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(EnvelopeFault::NotARecording);
    }
    let least = match rest[0] {
        FIRST => FIXED_LEN,
        REPLACED => FIXED_LEN + rewrap::TAIL_LEN,
        other => return Err(EnvelopeFault::Version(other)),
    };
    let len = u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
    if (least..=MAX_ENVELOPE_LEN).contains(&len) {
        Ok(len)
    } else {
        Err(EnvelopeFault::Malformed(Malformed("envelope length")))
    }
}

impl Envelope {
    /// Reads a whole envelope.
    ///
    /// # Errors
    /// If it is not one, or of a version that this one does not know.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeFault> {
        let prefix = bytes.first_chunk().ok_or(EnvelopeFault::NotARecording)?;
        if envelope_len(prefix)? != bytes.len() {
            return Err(EnvelopeFault::Malformed(Malformed("envelope length")));
        }
        Self::fields(bytes).map_err(EnvelopeFault::Malformed)
    }

    /// Reads the envelope that stands at the start of `bytes`, the first [`MAX_ENVELOPE_LEN`] bytes of a recording say.
    ///
    /// # Errors
    /// As [`Envelope::parse`], and if the envelope is not there as a whole.
    pub fn parse_start(bytes: &[u8]) -> Result<Self, EnvelopeFault> {
        let prefix = bytes.first_chunk().ok_or(EnvelopeFault::NotARecording)?;
        let envelope = bytes
            .get(..envelope_len(prefix)?)
            .ok_or(EnvelopeFault::Malformed(Malformed("envelope length")))?;
        Self::parse(envelope)
    }

    /// How many bytes it has.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no envelope is empty")]
    pub fn len(&self) -> usize {
        let tail = self.replacement.as_ref().map_or(0, |_| rewrap::TAIL_LEN);
        FIXED_LEN + self.wrapped_key.len() + tail
    }

    /// The hash that chunk 0 must name as its predecessor's: of the first envelope of all.
    #[must_use]
    pub fn original(&self) -> Hash {
        self.replacement
            .as_ref()
            .map_or(self.hash, |replacement| replacement.original)
    }

    /// How often the key has been wrapped anew.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.replacement
            .as_ref()
            .map_or(0, |replacement| replacement.generation)
    }

    /// Whether a replaced envelope is as its maker made it, and with `key`, whether that one had the session key. Whose
    /// signature it is remains the caller's question.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, key: Option<&crate::SessionKey>) -> Result<(), ReplacementFault> {
        self.replacement
            .as_ref()
            .map_or(Ok(()), |replacement| replacement.check(key))
    }

    fn fields(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut p = Cursor::new(&bytes[PREFIX_LEN - 5..]);
        let is_replaced = p.u8("version")? == REPLACED;
        p.u32("length")?;
        let generation = p.u32("reserved bytes")?;
        if is_replaced != (generation > 0) {
            return Err(Malformed("reserved bytes"));
        }
        let session = Ulid::from_bytes(p.array("session")?);
        let started_us = p.u64("start")?;
        let signer = p.array("signer")?;
        let wrapped_len = p.u32("wrapped key")? as usize;
        let wrapped_key = p.take(wrapped_len, "wrapped key")?.to_vec();
        let replacement = if is_replaced {
            Some(Replacement::read(&mut p, generation, bytes)?)
        } else {
            None
        };
        if p.remaining() != 0 {
            return Err(Malformed("wrapped key"));
        }
        Ok(Envelope {
            replacement,
            hash: Hash::of(&[bytes]),
            session,
            started_us,
            signer,
            wrapped_key,
        })
    }
}

/// Why bytes are no envelope that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// Something else begins here.
    #[error("this is not a recording")]
    NotARecording,
    /// A later format.
    #[error("got a recording of version {0} while expecting version 1 or 2")]
    Version(u8),
    /// It begins like an envelope and is none.
    #[error(transparent)]
    Malformed(Malformed),
    /// Its key was wrapped anew by somebody who may not.
    #[error("the envelope was altered: {0}")]
    Replacement(#[from] ReplacementFault),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> Vec<u8> {
        let mut out = Vec::new();
        let opening = Opening {
            session: Ulid::from_parts(5, 6),
            started_us: 7,
            signer: [8; 32],
            wrapped_key: b"wrapped",
        };
        opening.encode(&mut out);
        out
    }

    #[test]
    fn an_envelope_comes_back() {
        let bytes = encoded();
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!(envelope.session, Ulid::from_parts(5, 6));
        assert_eq!((envelope.started_us, envelope.signer), (7, [8; 32]));
        assert_eq!(envelope.wrapped_key, b"wrapped");
    }

    #[test]
    fn an_envelope_is_found_in_front_of_what_follows() {
        let mut bytes = encoded();
        let envelope = Envelope::parse(&bytes).unwrap();
        let len = bytes.len();
        bytes.extend_from_slice(b"chunks");
        assert_eq!(Envelope::parse_start(&bytes), Ok(envelope));
        assert!(matches!(
            Envelope::parse_start(&bytes[..len - 1]),
            Err(EnvelopeFault::Malformed(_))
        ));
    }

    #[test]
    fn other_files_versions_and_lengths_are_told_apart() {
        let bytes = encoded();
        assert_eq!(
            Envelope::parse(b"GIF89a and more bytes"),
            Err(EnvelopeFault::NotARecording)
        );
        let mut later = bytes.clone();
        later[7] = 3;
        assert_eq!(Envelope::parse(&later), Err(EnvelopeFault::Version(3)));
        for cut in 0..bytes.len() {
            assert!(Envelope::parse(&bytes[..cut]).is_err());
        }
        let mut huge = bytes;
        huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Envelope::parse(&huge), Err(EnvelopeFault::Malformed(_))));
    }
}
