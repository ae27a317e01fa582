//! Opening what the peer has sealed.

use weir_crypto::Unauthentic;

use super::{AEAD_TAG_LEN, Alignment, Cipher, DirectionKeys, LENGTH_LEN, MIN_PADDING, Usage};
use crate::error::{Error, Misbehaviour};
use crate::hop::Packet;

/// Opens packets in place, in the order in which they were sealed.
pub(crate) struct Opener {
    cipher: Cipher,
    pub(crate) usage: Usage,
}

/// What [`Opener::open`] found.
pub(crate) enum Opened {
    /// The buffer was left as it is; it must hold so many bytes.
    NeedMore { at_least: usize },
    /// One packet, of so many bytes on the wire.
    Packet { consumed: usize, packet: Packet },
}

impl Opener {
    /// An opener for packets without protection.
    pub(crate) fn new() -> Opener {
        Opener {
            cipher: Cipher::Clear,
            usage: Usage::default(),
        }
    }

    /// Puts new keys in use.
    pub(crate) fn install(&mut self, keys: DirectionKeys, reset_sequence: bool) {
        self.cipher = keys.0;
        self.usage.renew(reset_sequence);
    }

    /// Opens the packet at the front of `buf` in place. `limit` bounds its length field.
    pub(crate) fn open(&mut self, buf: &mut [u8], limit: u32) -> Result<Opened, Error> {
        let Some(length) = self.length(buf, limit)? else {
            return Ok(Opened::NeedMore {
                at_least: self.bytes_for_length(),
            });
        };
        let body_end = LENGTH_LEN + length;
        let frame_end = body_end + self.cipher.tag_len();
        let Some(frame) = buf.get_mut(..frame_end) else {
            return Ok(Opened::NeedMore { at_least: frame_end });
        };
        if self.usage.is_used_up() {
            return Err(Misbehaviour::KeysUsedUp.into());
        }
        let sequence = self.usage.sequence;
        self.cipher
            .unseal(sequence, frame, body_end)
            .map_err(|Unauthentic| Misbehaviour::Mac { sequence })?;
        self.usage.count(frame_end);

        let padding = frame[LENGTH_LEN];
        // RFC 4253 §6: packet_length = 1 + payload + padding; a message number is the least of payloads.
        let payload_len = (length - 1).saturating_sub(usize::from(padding));
        if usize::from(padding) < MIN_PADDING || payload_len == 0 {
            return Err(Misbehaviour::Padding { padding, length }.into());
        }
        let payload = LENGTH_LEN + 1..LENGTH_LEN + 1 + payload_len;
        Ok(Opened::Packet {
            consumed: frame_end,
            packet: Packet {
                payload,
                body: LENGTH_LEN..body_end,
            },
        })
    }

    /// Bytes from which the length can be told.
    fn bytes_for_length(&self) -> usize {
        match self.cipher {
            Cipher::Mac { .. } => 16,
            _ => LENGTH_LEN,
        }
    }

    /// The checked length field; `None` if too little of the packet is there.
    fn length(&mut self, buf: &[u8], limit: u32) -> Result<Option<usize>, Error> {
        let field = match &mut self.cipher {
            Cipher::Clear | Cipher::Gcm { .. } | Cipher::Etm { .. } => buf.first_chunk().copied(),
            Cipher::ChaCha { key } => buf
                .first_chunk()
                .map(|&field| key.decrypt_length(self.usage.sequence, field)),
            // The keystream goes on from call to call, so the block is kept until the packet is whole.
            Cipher::Mac {
                cipher, first_block, ..
            } => {
                if let (None, Some(&block)) = (&first_block, buf.first_chunk::<16>()) {
                    cipher.apply(first_block.insert(block));
                }
                first_block
                    .as_ref()
                    .and_then(|block| block.first_chunk().copied())
            }
        };
        let Some(length) = field.map(u32::from_be_bytes) else {
            return Ok(None);
        };
        check_length(length, limit, self.cipher.alignment()).map(Some)
    }
}

impl Cipher {
    /// Authenticates and decrypts a whole frame, of which the body ends at `body_end`.
    #[inline]
    fn unseal(&mut self, sequence: u32, frame: &mut [u8], body_end: usize) -> Result<(), Unauthentic> {
        match self {
            Cipher::Clear => {}
            Cipher::Gcm { key, nonce } => {
                let (length, sealed) = frame.split_at_mut(LENGTH_LEN);
                key.open_in_place(&nonce.0, length, sealed)?;
                nonce.advance();
            }
            Cipher::ChaCha { key } => {
                key.open_in_place(sequence, frame)?;
            }
            Cipher::Etm { cipher, mac, .. } => {
                let (sealed, tag) = frame.split_at_mut(body_end);
                mac.verify(&[&sequence.to_be_bytes(), sealed], tag)?;
                cipher.apply(&mut sealed[LENGTH_LEN..]);
            }
            Cipher::Mac {
                cipher,
                mac,
                first_block,
                ..
            } => {
                let (sealed, tag) = frame.split_at_mut(body_end);
                let (start, rest) = sealed.split_at_mut(16);
                let block = first_block
                    .take()
                    .expect("the length was read from the first block");
                start.copy_from_slice(&block);
                cipher.apply(rest);
                mac.verify(&[&sequence.to_be_bytes(), sealed], tag)?;
            }
        }
        Ok(())
    }
}

/// Bounds a length field before anything is done with it.
fn check_length(length: u32, limit: u32, alignment: Alignment) -> Result<usize, Error> {
    // RFC 4253 §6: "The minimum size of a packet is 16 (or the cipher block size, whichever is larger)";
    // OpenSSH sends 8 bytes where the length field is not counted, so what binds is alignment and padding.
    let smallest = 1 + 1 + MIN_PADDING;
    let expected = match usize::try_from(length) {
        Ok(bytes) if length <= limit && bytes >= smallest && alignment.fits(bytes) => return Ok(bytes),
        Ok(bytes) if length <= limit && bytes >= smallest => "a multiple of the cipher's block",
        _ => "a length between 6 bytes and this side's limit",
    };
    Err(Misbehaviour::PacketLength { length, expected }.into())
}

const _: () = assert!(AEAD_TAG_LEN == weir_crypto::aes_gcm::TAG_LEN);
