//! AES-GCM with 96-bit nonces and 128-bit tags (NIST SP 800-38D), as RFC 5647 and the recording format use it.

use std::fmt;

use crate::{Unauthentic, backend};

/// Length of the nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// Length of the authentication tag in bytes.
pub const TAG_LEN: usize = 16;

/// An AES-128-GCM or AES-256-GCM key, expanded once, usable for both directions.
///
/// The caller must never seal two messages under the same nonce.
pub struct AesGcm(backend::AesGcm);

impl AesGcm {
    /// Expands `key`.
    ///
    /// # Panics
    /// If `key` is not 16 or 32 bytes long.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        assert!(
            matches!(key.len(), 16 | 32),
            "an AES-GCM key has 16 or 32 bytes, got {}",
            key.len()
        );
        AesGcm(backend::AesGcm::new(key))
    }

    /// Verifies and decrypts `ciphertext || tag` in place; returns the plaintext, which is `TAG_LEN` shorter.
    ///
    /// # Errors
    /// If the tag does not verify or the input is shorter than a tag. The buffer must not be used then.
    pub fn open_in_place<'a>(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext_and_tag: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unauthentic> {
        self.0.open_in_place(nonce, aad, ciphertext_and_tag)
    }

    /// Encrypts `plaintext` into `out` and puts the tag behind it.
    ///
    /// AWS-LC reads the one buffer and writes the other in a single pass; *ring* encrypts in place only, so there
    /// the plaintext is copied first.
    ///
    /// # Panics
    /// If `out` is not exactly `TAG_LEN` longer than `plaintext`.
    pub fn seal_to(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plaintext: &[u8], out: &mut [u8]) {
        assert_eq!(
            out.len(),
            plaintext.len() + TAG_LEN,
            "the output holds the ciphertext and its tag"
        );
        let (ciphertext, tag) = out.split_at_mut(plaintext.len());
        self.0.seal_to(nonce, aad, plaintext, ciphertext, tag);
    }

    /// Encrypts `data` in place and returns the tag.
    #[must_use = "without its tag the ciphertext cannot be opened"]
    pub fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.0.seal_in_place(nonce, aad, data)
    }
}

impl fmt::Debug for AesGcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesGcm(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_to_and_in_place_agree_and_open_again() {
        for key_len in [16, 32] {
            let cipher = AesGcm::new(&vec![7; key_len]);
            for len in [0, 1, 15, 16, 17, 255, 4096, 32768 + 28] {
                let plain: Vec<u8> = (0u8..251).cycle().take(len).collect();
                let mut apart = vec![0; len + TAG_LEN];
                cipher.seal_to(&[9; 12], b"aad", &plain, &mut apart);
                let mut in_place = plain.clone();
                let tag = cipher.seal_in_place(&[9; 12], b"aad", &mut in_place);
                assert_eq!(apart, [&in_place[..], &tag].concat());
                assert_eq!(cipher.open_in_place(&[9; 12], b"aad", &mut apart).unwrap(), plain);
            }
        }
    }
}
