//! The last chunk: how the session ended, signed by the data plane together with the whole chain before it.
//!
//! It is in clear, because a recording that a crash left open is ended by somebody who no longer has its key.

use std::time::Duration;

use weir_crypto::sign::{OwnedPublicKey, PrivateKey, PublicKey, SignError, SignatureScheme, verify};

use crate::chain::Hash;
use crate::chunk::{ChunkHead, HEAD_LEN, Kind};
use crate::wire::{Cursor, Malformed};

/// Length of the last chunk.
pub const END_LEN: usize = SIGNED_LEN + 64;

/// All but the signature.
const SIGNED_LEN: usize = HEAD_LEN + 4 + 8 + 8 + 32;
/// In front of the hash that is signed, so that the signature can never be taken for one over something else.
const CONTEXT: &[u8] = b"weir recording end v1\0";

/// How a recorded session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The session ended and all of it was recorded.
    Complete,
    /// The data plane ended before the session did, or the recording was given up; what came before is whole.
    Interrupted,
}

impl Status {
    /// As listings name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Complete => "complete",
            Status::Interrupted => "interrupted",
        }
    }
}

/// What the last chunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How the session ended.
    pub status: Status,
    /// From the session's start to its end; unknown where the data plane did not live to see it.
    pub duration: Option<Duration>,
    /// Chunks of events before the end.
    pub chunks: u64,
    /// Bytes of all chunks' plaintext.
    pub plaintext_bytes: u64,
    /// The Ed25519 public key that signed.
    pub signer: [u8; 32],
}

/// The data plane's key for recordings: one that can sign ends, and its public half.
#[derive(Clone, Debug)]
pub struct Signer {
    key: PrivateKey,
    public: [u8; 32],
}

impl Signer {
    /// Takes an Ed25519 key; `None` for one of another kind.
    #[must_use]
    pub fn new(key: PrivateKey) -> Option<Self> {
        match *key.public_key() {
            OwnedPublicKey::Ed25519(public) => Some(Signer { key, public }),
            _ => None,
        }
    }

    /// The public key under which ends verify.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign(SignatureScheme::Ed25519, message)
    }
}

/// No length is known.
const UNKNOWN: u64 = u64::MAX;

impl End {
    /// Reads a last chunk whose signature is under the key that it names itself; `None` for anything else.
    #[must_use]
    pub fn parse(chunk: &[u8]) -> Option<End> {
        let head = ChunkHead::parse(chunk.first_chunk()?).ok()?;
        if head.kind != Kind::End || chunk.len() != END_LEN {
            return None;
        }
        Self::decode(&head, chunk).ok()
    }

    /// Appends the last chunk to `out`; number and hash of the chain are in `head`.
    pub(crate) fn encode(
        &self,
        head: ChunkHead,
        signer: &Signer,
        out: &mut Vec<u8>,
    ) -> Result<(), SignError> {
        let start = out.len();
        out.extend_from_slice(&head.encode());
        let status = match self.status {
            Status::Complete => 1,
            Status::Interrupted => 2,
        };
        out.extend_from_slice(&[status, 0, 0, 0]);
        let duration_us = self
            .duration
            .map_or(UNKNOWN, |d| u64::try_from(d.as_micros()).unwrap_or(UNKNOWN - 1));
        out.extend_from_slice(&duration_us.to_le_bytes());
        out.extend_from_slice(&self.plaintext_bytes.to_le_bytes());
        out.extend_from_slice(&signer.public);
        let message = signed_message(&out[start..]);
        match signer.sign(&message) {
            Ok(signature) => {
                out.extend_from_slice(&signature);
                assert_eq!(out.len() - start, END_LEN, "an Ed25519 signature has 64 bytes");
                Ok(())
            }
            Err(err) => {
                out.truncate(start);
                Err(err)
            }
        }
    }

    pub(crate) fn head(number: u64, session: ulid::Ulid, previous: Hash) -> ChunkHead {
        ChunkHead {
            len: u32::try_from(END_LEN).expect("a chunk is short"),
            kind: Kind::End,
            number,
            session,
            previous,
            plaintext_len: 0,
        }
    }

    /// Reads the last chunk and checks the signature under the key that it names itself: whether that is the right
    /// key is the caller's question.
    pub(crate) fn decode(head: &ChunkHead, chunk: &[u8]) -> Result<End, EndFault> {
        let (signed, signature) = chunk
            .split_at_checked(SIGNED_LEN)
            .ok_or(EndFault::Malformed(Malformed("end")))?;
        let end = Self::fields(head, &signed[HEAD_LEN..]).map_err(EndFault::Malformed)?;
        verify(
            SignatureScheme::Ed25519,
            &PublicKey::Ed25519(&end.signer),
            &signed_message(signed),
            signature,
        )
        .map_err(|_| EndFault::Signature)?;
        Ok(end)
    }

    fn fields(head: &ChunkHead, bytes: &[u8]) -> Result<End, Malformed> {
        let mut p = Cursor::new(bytes);
        let status = match p.array::<4>("status")? {
            [1, 0, 0, 0] => Status::Complete,
            [2, 0, 0, 0] => Status::Interrupted,
            _ => return Err(Malformed("status")),
        };
        let duration_us = p.u64("duration")?;
        Ok(End {
            status,
            duration: (duration_us != UNKNOWN).then(|| Duration::from_micros(duration_us)),
            chunks: head.number,
            plaintext_bytes: p.u64("plaintext bytes")?,
            signer: p.array("signer")?,
        })
    }
}

fn signed_message(signed: &[u8]) -> Vec<u8> {
    [CONTEXT, &Hash::of(&[signed]).0].concat()
}

/// Why a last chunk proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndFault {
    #[error(transparent)]
    Malformed(Malformed),
    #[error("its signature does not verify")]
    Signature,
}
