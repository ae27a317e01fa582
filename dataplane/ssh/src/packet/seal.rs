//! Sealing what goes to the peer.

use std::fmt;

use weir_crypto::random::Random;

use super::{AEAD_TAG_LEN, Cipher, DirectionKeys, GcmNonce, LENGTH_LEN, MAX_OWN_PADDING, Usage};
use crate::error::Error;
use crate::wire::Writer;

/// Seals packets, in order, into the buffer from which they are sent.
pub(crate) struct Sealer {
    cipher: Cipher,
    pub(crate) usage: Usage,
    /// How often keys have been put in use.
    installed: u32,
}

/// Where sealing stood at a moment: what was sealed since can be taken back as long as none of it has been sent.
#[derive(Clone, Copy)]
pub struct SealPoint {
    installed: u32,
    usage: Usage,
    cipher: CipherPoint,
}

#[derive(Clone, Copy)]
enum CipherPoint {
    /// The sequence number is all there is.
    Sequence,
    Nonce(GcmNonce),
    Keystream(u64),
}

impl fmt::Debug for SealPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealPoint")
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer for packets without protection.
    pub(crate) fn new() -> Sealer {
        Sealer {
            cipher: Cipher::Clear,
            usage: Usage::default(),
            installed: 0,
        }
    }

    /// Puts new keys in use.
    pub(crate) fn install(&mut self, keys: DirectionKeys, reset_sequence: bool) {
        self.cipher = keys.0;
        self.usage.renew(reset_sequence);
        self.installed = self.installed.wrapping_add(1);
    }

    /// Where sealing stands now.
    pub(crate) fn point(&self) -> SealPoint {
        SealPoint {
            installed: self.installed,
            usage: self.usage,
            cipher: match &self.cipher {
                Cipher::Clear | Cipher::ChaCha { .. } => CipherPoint::Sequence,
                Cipher::Gcm { nonce, .. } => CipherPoint::Nonce(*nonce),
                Cipher::Etm { cipher, .. } | Cipher::Mac { cipher, .. } => {
                    CipherPoint::Keystream(cipher.position())
                }
            },
        }
    }

    /// Goes back to `point`, as if nothing had been sealed since. Nonces and keystream are used again, which gives nothing
    /// away only because nobody has seen what they were used for. False if other keys are in use now.
    #[must_use]
    pub(crate) fn rewind(&mut self, point: &SealPoint) -> bool {
        if point.installed != self.installed {
            return false;
        }
        match (&mut self.cipher, point.cipher) {
            (Cipher::Gcm { nonce, .. }, CipherPoint::Nonce(earlier)) => *nonce = earlier,
            (Cipher::Etm { cipher, .. } | Cipher::Mac { cipher, .. }, CipherPoint::Keystream(position)) => {
                cipher.rewind(position);
            }
            (_, CipherPoint::Sequence) => {}
            _ => return false,
        }
        self.usage = point.usage;
        true
    }

    /// Appends a packet with random padding.
    pub(crate) fn seal(
        &mut self,
        random: &mut dyn Random,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.check_usage()?;
        let padding = self.cipher.alignment().padding(payload.len());
        let length = 1 + payload.len() + padding;
        let start = out.len();
        out.reserve(LENGTH_LEN + length + self.cipher.tag_len());
        out.put_u32(field(length)?);
        out.put_u8(u8::try_from(padding).expect("own padding is shorter than two blocks"));
        out.put_bytes(payload);
        let mut bytes = [0; MAX_OWN_PADDING];
        random.fill(&mut bytes[..padding]);
        out.put_bytes(&bytes[..padding]);
        self.protect(start, out);
        Ok(())
    }

    /// Appends a packet whose padding length, payload and padding stand in `body`, as another opener has left
    /// them. The padding stays if it fits: its author has chosen it freely, as this side would have.
    #[inline]
    pub(crate) fn reseal(
        &mut self,
        random: &mut dyn Random,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if !self.cipher.alignment().fits(body.len()) {
            return self.seal(random, payload_of(body)?, out);
        }
        self.check_usage()?;
        let length = field(body.len())?;
        let start = out.len();
        out.reserve(LENGTH_LEN + body.len() + self.cipher.tag_len());
        out.put_u32(length);
        if let Cipher::Gcm { key, nonce } = &mut self.cipher {
            out.resize(start + LENGTH_LEN + body.len() + AEAD_TAG_LEN, 0);
            key.seal_to(
                &nonce.0,
                &length.to_be_bytes(),
                body,
                &mut out[start + LENGTH_LEN..],
            );
            nonce.advance();
            self.usage.count(out.len() - start);
        } else {
            out.put_bytes(body);
            self.protect(start, out);
        }
        Ok(())
    }

    /// Encrypts the frame that begins at `start`, and appends its authentication code.
    fn protect(&mut self, start: usize, out: &mut Vec<u8>) {
        let sequence = self.usage.sequence;
        match &mut self.cipher {
            Cipher::Clear => {}
            Cipher::Gcm { key, nonce } => {
                let (length, body) = out[start..].split_at_mut(LENGTH_LEN);
                let tag = key.seal_in_place(&nonce.0, length, body);
                nonce.advance();
                out.put_bytes(&tag);
            }
            Cipher::ChaCha { key } => {
                out.put_bytes(&[0; AEAD_TAG_LEN]);
                key.seal_in_place(sequence, &mut out[start..]);
            }
            Cipher::Etm { cipher, mac, .. } => {
                cipher.apply(&mut out[start + LENGTH_LEN..]);
                let tag = mac.sign(&[&sequence.to_be_bytes(), &out[start..]]);
                out.put_bytes(tag.as_ref());
            }
            Cipher::Mac { cipher, mac, .. } => {
                let tag = mac.sign(&[&sequence.to_be_bytes(), &out[start..]]);
                cipher.apply(&mut out[start..]);
                out.put_bytes(tag.as_ref());
            }
        }
        self.usage.count(out.len() - start);
    }

    fn check_usage(&self) -> Result<(), Error> {
        match self.usage.is_used_up() {
            true => Err(Error::Misuse("the keys are used up and were not exchanged")),
            false => Ok(()),
        }
    }
}

fn field(length: usize) -> Result<u32, Error> {
    u32::try_from(length).map_err(|_| Error::Misuse("a packet is shorter than 4 GiB"))
}

fn payload_of(body: &[u8]) -> Result<&[u8], Error> {
    let split = body.split_first().and_then(|(&padding, rest)| {
        let payload = rest.len().checked_sub(usize::from(padding))?;
        rest.get(..payload).filter(|payload| !payload.is_empty())
    });
    split.ok_or(Error::Misuse("the body of a packet holds a payload"))
}
