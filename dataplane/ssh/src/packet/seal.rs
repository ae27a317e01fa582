//! Sealing what goes to the peer.

use weir_crypto::random::Random;

use super::{AEAD_TAG_LEN, Cipher, DirectionKeys, LENGTH_LEN, MAX_OWN_PADDING, Usage};
use crate::error::Error;
use crate::wire::Writer;

/// Seals packets, in order, into the buffer from which they are sent.
pub(crate) struct Sealer {
    cipher: Cipher,
    pub(crate) usage: Usage,
}

impl Sealer {
    /// A sealer for packets without protection.
    pub(crate) fn new() -> Sealer {
        Sealer {
            cipher: Cipher::Clear,
            usage: Usage::default(),
        }
    }

    /// Puts new keys in use.
    pub(crate) fn install(&mut self, keys: DirectionKeys, reset_sequence: bool) {
        self.cipher = keys.0;
        self.usage.renew(reset_sequence);
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
