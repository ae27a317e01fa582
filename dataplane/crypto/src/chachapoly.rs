//! `chacha20-poly1305@openssh.com`, after OpenSSH's PROTOCOL.chacha20poly1305.
//!
//! A frame is `packet_length (4) || body || tag (16)`. The length is encrypted under a key of its own, so that it
//! can be read before the packet has arrived; the tag covers the encrypted length and the encrypted body.

use std::fmt;

use crate::{Unauthentic, backend};

/// Length of the key material in bytes: K_2 (body and tag), then K_1 (length).
pub const KEY_LEN: usize = 64;
/// Length of the authentication tag in bytes.
pub const TAG_LEN: usize = 16;
/// Length of the packet-length field in bytes.
pub const LENGTH_LEN: usize = 4;

/// The two ChaCha20 keys of one direction.
pub struct ChaChaPoly(backend::ChaChaPoly);

impl ChaChaPoly {
    /// Takes the first 32 bytes as K_2, which encrypts the body and derives the Poly1305 key, and the last 32 as
    /// K_1, which encrypts the packet length.
    #[must_use]
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        ChaChaPoly(backend::ChaChaPoly::new(key))
    }

    /// Decrypts the packet length of packet `seq`. The result is **not** authenticated: bound it before use.
    #[must_use]
    pub fn decrypt_length(&self, seq: u32, encrypted: [u8; LENGTH_LEN]) -> [u8; LENGTH_LEN] {
        self.0.decrypt_length(seq, encrypted)
    }

    /// Verifies the whole frame of packet `seq`, decrypts its body in place and returns it. The length field stays
    /// encrypted.
    ///
    /// # Errors
    /// If the tag does not verify or the frame is shorter than length and tag.
    pub fn open_in_place<'a>(&self, seq: u32, frame: &'a mut [u8]) -> Result<&'a mut [u8], Unauthentic> {
        let body_end = frame
            .len()
            .checked_sub(TAG_LEN)
            .filter(|end| *end >= LENGTH_LEN)
            .ok_or(Unauthentic)?;
        let (sealed, tag) = frame.split_at_mut(body_end);
        let tag = <&[u8; TAG_LEN]>::try_from(&*tag).map_err(|_| Unauthentic)?;
        self.0.open_in_place(seq, sealed, tag)?;
        Ok(&mut sealed[LENGTH_LEN..])
    }

    /// Encrypts the frame of packet `seq` in place: the last [`TAG_LEN`] bytes are room for the tag.
    ///
    /// # Panics
    /// If the frame is shorter than length and tag.
    pub fn seal_in_place(&self, seq: u32, frame: &mut [u8]) {
        assert!(
            frame.len() >= LENGTH_LEN + TAG_LEN,
            "a frame has room for a length and a tag"
        );
        let (plain, tag) = frame.split_at_mut(frame.len() - TAG_LEN);
        tag.copy_from_slice(&self.0.seal_in_place(seq, plain));
    }
}

impl fmt::Debug for ChaChaPoly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChaChaPoly(..)")
    }
}
