//! Chunks made of events, each bound to the one before it.
//!
//! [`Links`] is the chain without its key: enough to check heads and hashes, and to end a recording that a crash left
//! open. [`Chain`] adds the key and seals. A chain at rest holds no buffer and no compressor: both belong to the thread
//! that writes and are lent for the moment of sealing.

use std::fmt;

use ulid::Ulid;
use weir_crypto::aes_gcm::AesGcm;
use weir_crypto::digest::{HashAlgorithm, hash};
use weir_crypto::sign::SignError;

use crate::chunk::{ChunkHead, EventBuffer, HEAD_LEN, Kind, TAG_LEN};
use crate::end::{End, Signer, Status};
use crate::envelope::{Envelope, EnvelopeFault, Opening};
use crate::key::SessionKey;
use crate::note::Note;

/// SHA-256 of a link of the chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of the concatenation of `parts`.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(hash(HashAlgorithm::Sha256, parts).as_ref());
        Hash(out)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

/// The keyless state of a chain: which chunk comes next and what it must name as its predecessor.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    session: Ulid,
    next: u64,
    previous: Hash,
    plaintext_bytes: u64,
}

/// A chunk that is not the next one of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// It is no chunk.
    #[error("got bytes that are no chunk while expecting chunk {expected}")]
    Malformed {
        /// The number that should have come.
        expected: u64,
    },
    /// It belongs to another recording or comes elsewhere in this one.
    #[error("got chunk {got} of another place while expecting chunk {expected}")]
    Elsewhere {
        /// The number it carries.
        got: u64,
        /// The number that should have come.
        expected: u64,
    },
    /// The recording has ended already.
    #[error("got a chunk after the end")]
    Ended,
}

impl Links {
    /// Begins a chain at an envelope's bytes.
    ///
    /// # Errors
    /// If they are no envelope.
    pub fn start(envelope: &[u8]) -> Result<(Envelope, Self), EnvelopeFault> {
        let parsed = Envelope::parse(envelope)?;
        let links = Links {
            session: parsed.session,
            next: 0,
            previous: parsed.original(),
            plaintext_bytes: 0,
        };
        Ok((parsed, links))
    }

    /// Takes the next chunk; returns whether it was one, or the end.
    ///
    /// # Errors
    /// If it is not the next link. The chain stays as it was.
    pub fn follow(&mut self, chunk: &[u8]) -> Result<Kind, BrokenChain> {
        let expected = self.next;
        let head = chunk
            .first_chunk()
            .and_then(|head| ChunkHead::parse(head).ok())
            .filter(|head| head.len as usize == chunk.len())
            .ok_or(BrokenChain::Malformed { expected })?;
        if head.session != self.session || head.number != expected || head.previous != self.previous {
            return Err(BrokenChain::Elsewhere {
                got: head.number,
                expected,
            });
        }
        if head.kind != Kind::End {
            self.advance(&head, Hash::of(&[chunk]));
        }
        Ok(head.kind)
    }

    /// Tells something in clear: appends a chunk to `out`.
    pub fn note(&mut self, note: &Note, out: &mut Vec<u8>) {
        let plaintext = note.as_bytes();
        // A note is bounded, far below 4 GiB.
        let plaintext_len = u32::try_from(plaintext.len()).unwrap_or(u32::MAX);
        let head = ChunkHead {
            len: plaintext_len.saturating_add(u32::try_from(HEAD_LEN).unwrap_or(u32::MAX)),
            kind: Kind::Note,
            number: self.next,
            session: self.session,
            previous: self.previous,
            plaintext_len,
        };
        let encoded = head.encode();
        out.extend_from_slice(&encoded);
        out.extend_from_slice(plaintext);
        self.advance(&head, Hash::of(&[&encoded, plaintext]));
    }

    /// Ends the recording: appends the last chunk to `out`.
    ///
    /// # Errors
    /// If the key cannot sign; `out` is as before then.
    pub fn end(
        &self,
        status: Status,
        duration: Option<std::time::Duration>,
        signer: &Signer,
        out: &mut Vec<u8>,
    ) -> Result<End, SignError> {
        let end = End {
            status,
            duration,
            chunks: self.next,
            plaintext_bytes: self.plaintext_bytes,
            signer: signer.public_key(),
        };
        end.encode(End::head(self.next, self.session, self.previous), signer, out)?;
        Ok(end)
    }

    /// The recording's identifier.
    #[must_use]
    pub fn session(&self) -> Ulid {
        self.session
    }

    /// The number of the next chunk, which is the count of those before it.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Bytes of plaintext in the chunks so far.
    #[must_use]
    pub fn plaintext_bytes(&self) -> u64 {
        self.plaintext_bytes
    }

    /// The hash of the last link.
    #[must_use]
    pub fn previous(&self) -> Hash {
        self.previous
    }

    pub(crate) fn advance(&mut self, head: &ChunkHead, hash: Hash) {
        self.next += 1;
        self.previous = hash;
        self.plaintext_bytes = self.plaintext_bytes.saturating_add(u64::from(head.plaintext_len));
    }
}

/// The chain of a recording that is being written, with its key.
pub struct Chain {
    links: Links,
    cipher: AesGcm,
    /// Chunks in a row that zstd could not make smaller, at most [`MAX_SKIP`].
    incompressible: u8,
    /// Chunks to store before zstd is tried again.
    skip: u8,
}

/// While data does not compress, one chunk in this many is tried.
const MAX_SKIP: u8 = 15;

impl Chain {
    /// Begins a recording: appends the envelope to `out`.
    #[must_use]
    pub fn begin(opening: &Opening<'_>, key: &SessionKey, out: &mut Vec<u8>) -> Self {
        let start = out.len();
        opening.encode(out);
        Chain {
            links: Links {
                session: opening.session,
                next: 0,
                previous: Hash::of(&[&out[start..]]),
                plaintext_bytes: 0,
            },
            cipher: key.cipher(),
            incompressible: 0,
            skip: 0,
        }
    }

    /// Makes a chunk of the gathered events: appends it to `out`, empties `events`, returns the chunk's hash.
    ///
    /// # Panics
    /// If there are no events.
    pub fn seal(&mut self, packer: &mut Packer, events: &mut EventBuffer, out: &mut Vec<u8>) -> Hash {
        assert!(!events.is_empty(), "a chunk holds at least one event");
        let plaintext = events.bytes();
        let packed = if self.skip > 0 {
            self.skip -= 1;
            None
        } else {
            let packed = packer.pack(plaintext);
            self.note(plaintext.len(), packed.is_some());
            packed
        };
        let (kind, body) = packed.map_or((Kind::Stored, plaintext), |packed| (Kind::Zstd, packed));
        let len = HEAD_LEN + body.len() + TAG_LEN;
        let head = ChunkHead {
            len: u32::try_from(len).expect("a chunk is short"),
            kind,
            number: self.links.next,
            session: self.links.session,
            previous: self.links.previous,
            plaintext_len: u32::try_from(plaintext.len()).expect("a chunk is short"),
        };
        let start = out.len();
        out.extend_from_slice(&head.encode());
        out.resize(start + len, 0);
        let (associated, sealed) = out[start..].split_at_mut(HEAD_LEN);
        self.cipher.seal_to(&head.nonce(), associated, body, sealed);
        let hash = Hash::of(&[&out[start..]]);
        self.links.advance(&head, hash);
        events.clear();
        hash
    }

    /// The chain without its key.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    fn note(&mut self, len: usize, smaller: bool) {
        if smaller {
            self.incompressible = 0;
        } else if len >= Packer::MIN_LEN {
            self.incompressible = (self.incompressible * 2 + 1).min(MAX_SKIP);
            self.skip = self.incompressible;
        }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

/// The compression context of a thread that writes recordings. Nothing of one chunk helps or harms the next.
pub struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

impl Packer {
    /// Below this zstd's frame eats what it saves, and its set-up costs more than the seal.
    pub const MIN_LEN: usize = 192;

    /// A context of zstd's level 1: recordings are written far more often than read.
    ///
    /// # Panics
    /// If zstd cannot allocate its context.
    #[must_use]
    pub fn new() -> Self {
        let mut compressor = zstd::bulk::Compressor::new(1).expect("zstd allocates a context of level 1");
        // The head says the length, the seal finds damage: zstd's own fields for both would be written twice.
        for parameter in [
            zstd::zstd_safe::CParameter::ContentSizeFlag(false),
            zstd::zstd_safe::CParameter::ChecksumFlag(false),
        ] {
            compressor
                .set_parameter(parameter)
                .expect("zstd knows these parameters");
        }
        Packer {
            compressor,
            scratch: Vec::new(),
        }
    }

    /// The zstd frame of `plaintext`, if that is worth it: smaller by a thirty-second at least.
    fn pack(&mut self, plaintext: &[u8]) -> Option<&[u8]> {
        if plaintext.len() < Self::MIN_LEN {
            return None;
        }
        let limit = plaintext.len() - plaintext.len() / 32;
        if self.scratch.len() < limit {
            self.scratch.resize(limit, 0);
        }
        let len = self
            .compressor
            .compress_to_buffer(plaintext, &mut self.scratch[..limit])
            .ok()?;
        Some(&self.scratch[..len])
    }
}

impl Default for Packer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer(..)")
    }
}
