//! Reading a recording's events, as a stream and in constant memory.

use std::fmt;
use std::io::{self, Read};

use weir_crypto::aes_gcm::AesGcm;

use crate::chain::{Hash, Links};
use crate::chunk::{ChunkHead, HEAD_LEN, Kind, Walk};
use crate::end::End;
use crate::envelope::{Envelope, EnvelopeFault};
use crate::event::Entry;
use crate::key::{KeyError, Unlock};
use crate::note::Note;
use crate::source::{Front, Item, Source};
use crate::wire::Malformed;

/// Why reading cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input failed.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It does not begin with an envelope of this version.
    #[error(transparent)]
    Envelope(#[from] EnvelopeFault),
    /// The session key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A chunk is not the one that belongs here, or has been altered; `verify` says more.
    #[error("chunk {number} is not what was recorded: {fault}")]
    Chunk {
        /// The number of the chunk that was expected.
        number: u64,
        /// What is wrong with what stands there.
        fault: ChunkFault,
    },
    /// The recording stops without its signed end; all events before have been given.
    #[error("the recording is cut off after {chunks} chunks")]
    Cut {
        /// Whole chunks before the cut.
        chunks: u64,
    },
    /// More bytes follow the signed end.
    #[error("bytes follow the end of the recording")]
    Trailing,
}

/// What is wrong with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkFault {
    /// Its head is none.
    #[error("no chunk can be read there")]
    Unreadable,
    /// Head or chain do not fit.
    #[error("it does not follow what comes before it")]
    Misplaced,
    /// Its seal does not open.
    #[error("its seal does not verify")]
    Seal,
    /// What was sealed is not in the format.
    #[error(transparent)]
    Contents(#[from] Malformed),
    /// The last chunk's signature does not verify.
    #[error("its signature does not verify")]
    Signature,
}

/// Gives a recording's events in order. Every chunk's place and seal is checked before its events are given.
///
/// Memory: two buffers of at most [`MAX_CHUNK_LEN`](crate::MAX_CHUNK_LEN), whatever the input says.
pub struct Reader<R> {
    source: Source<R>,
    envelope: Envelope,
    links: Links,
    opener: Opener,
    walk: Walk,
    end: Option<End>,
}

impl<R: Read> Reader<R> {
    /// Reads the envelope and opens the session key.
    ///
    /// # Errors
    /// If the input is no recording or the key cannot be had.
    pub fn open(input: R, unlock: Unlock<'_>) -> Result<Self, ReadError> {
        let mut source = Source::new(input);
        match source.envelope()? {
            Front::Envelope => {}
            Front::Torn => return Err(ReadError::Cut { chunks: 0 }),
            Front::Fault(fault) => return Err(fault.into()),
        }
        let (envelope, links) = Links::start(source.bytes())?;
        let key = unlock.key(&envelope.wrapped_key)?;
        envelope.check(Some(&key)).map_err(EnvelopeFault::from)?;
        let opener = Opener::new(key.cipher());
        Ok(Reader {
            source,
            envelope,
            links,
            opener,
            walk: Walk::default(),
            end: None,
        })
    }

    /// The recording's envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// How the recording ended, once all its events have been given. That its signature verifies has been checked,
    /// whose it is has not.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The next event; `None` after the signed end.
    ///
    /// # Errors
    /// At the first thing that is not as it was recorded. [`ReadError::Cut`] comes after all events of a recording that
    /// was not ended. An error is final.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        while self.walk.is_done(self.opener.plaintext()) {
            if self.end.is_some() || !self.load()? {
                return Ok(None);
            }
        }
        let number = self.links.next_number().saturating_sub(1);
        self.walk
            .next(self.opener.plaintext())
            .map_err(|malformed| ReadError::Chunk {
                number,
                fault: malformed.into(),
            })
    }

    /// Reads the next chunk; false if it is the end.
    fn load(&mut self) -> Result<bool, ReadError> {
        let number = self.links.next_number();
        let fault = |fault| ReadError::Chunk { number, fault };
        let head = match self.source.next()? {
            Item::Chunk(head) => head,
            Item::Unreadable => return Err(fault(ChunkFault::Unreadable)),
            Item::Torn | Item::Nothing => return Err(ReadError::Cut { chunks: number }),
        };
        let chunk = self.source.bytes();
        let kind = self
            .links
            .follow(chunk)
            .map_err(|_| fault(ChunkFault::Misplaced))?;
        if kind == Kind::End {
            self.end = Some(End::decode(&head, chunk).map_err(|_| fault(ChunkFault::Signature))?);
            return match self.source.next()? {
                Item::Nothing => Ok(false),
                _ => Err(ReadError::Trailing),
            };
        }
        self.opener.open(&head, chunk).map_err(fault)?;
        self.walk = Walk::default();
        Ok(true)
    }
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("session", &self.envelope.session)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

/// Opens seals and unpacks, into a buffer that it keeps.
pub(crate) struct Opener {
    cipher: AesGcm,
    unpacker: zstd::bulk::Decompressor<'static>,
    plaintext: Vec<u8>,
}

impl Opener {
    pub(crate) fn new(cipher: AesGcm) -> Self {
        let unpacker = zstd::bulk::Decompressor::new().expect("zstd allocates a context");
        Opener {
            cipher,
            unpacker,
            plaintext: Vec::new(),
        }
    }

    /// The plaintext of the chunk that was opened last.
    pub(crate) fn plaintext(&self) -> &[u8] {
        &self.plaintext
    }

    /// Opens a chunk in place, of sealed events or a note; its bytes are not to be used afterwards.
    pub(crate) fn open(&mut self, head: &ChunkHead, chunk: &mut [u8]) -> Result<(), ChunkFault> {
        self.plaintext.clear();
        if head.kind == Kind::Note {
            self.plaintext = note(chunk)?.into_bytes();
            return Ok(());
        }
        let (associated, sealed) = chunk.split_at_mut(HEAD_LEN);
        let body = self
            .cipher
            .open_in_place(&head.nonce(), associated, sealed)
            .map_err(|_| ChunkFault::Seal)?;
        if head.kind == Kind::Stored {
            self.plaintext.extend_from_slice(body);
            return Ok(());
        }
        // The output's length is the head's, which is bounded: no frame makes zstd allocate more.
        let len = head.plaintext_len as usize;
        self.plaintext.resize(len, 0);
        match self.unpacker.decompress_to_buffer(body, &mut self.plaintext[..]) {
            Ok(unpacked) if unpacked == len => Ok(()),
            _ => {
                self.plaintext.clear();
                Err(ChunkFault::Contents(Malformed("compressed events")))
            }
        }
    }

    /// Whether the plaintext consists of events.
    pub(crate) fn check_contents(&self) -> Result<(), ChunkFault> {
        let mut walk = Walk::default();
        while walk.next(&self.plaintext)?.is_some() {}
        Ok(())
    }
}

/// Takes a note out of its chunk. What is recorded stands under a seal: nothing else passes for an event in clear.
pub(crate) fn note(chunk: &[u8]) -> Result<Note, ChunkFault> {
    let bytes = chunk.get(HEAD_LEN..).unwrap_or_default();
    Ok(Note::from_bytes(bytes.to_vec())?)
}

impl Hash {
    /// As `sha256sum` prints it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
