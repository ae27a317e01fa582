//! ChaCha20-Poly1305 as in RFC 8439 §2.8, for what is sealed once under a key of its own.

use crate::backend;

/// Length of the key in bytes.
pub const KEY_LEN: usize = 32;
/// Length of the nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// Length of the authentication tag in bytes.
pub const TAG_LEN: usize = 16;

/// Encrypts `data` in place, without associated data, and returns the tag.
///
/// The caller must never seal two messages under the same key and nonce.
#[must_use = "without its tag the ciphertext cannot be opened"]
pub fn seal_in_place(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], data: &mut [u8]) -> [u8; TAG_LEN] {
    backend::chacha20_poly1305_seal(key, nonce, data)
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    /// RFC 8439 §2.8.2 without its associated data, as OpenSSL 3 seals it.
    #[test]
    fn it_seals_as_others_do() {
        let key = hex!("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
        let nonce = hex!("070000004041424344454647");
        let mut data =
            *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                          sunscreen would be it.";
        let tag = seal_in_place(&key, &nonce, &mut data);
        assert_eq!(data[..16], hex!("d31a8d34648e60db7b86afbc53ef7ec2"));
        assert_eq!(tag, hex!("6a23a4681fd59456aea1d29f82477216"));
    }
}
