//! Secrets at rest: authorities' private keys, and what else the control plane must keep to itself.
//!
//! ```text
//! offset  bytes
//!      0     12  "weir-sealed" and the version of this format, 1
//!     12     12  nonce, random
//!     24      n  the secret, AES-256-GCM; of an authority, the text of an OpenSSH private key file
//!   24+n     16  its tag
//! ```
//!
//! The associated data is the first 12 bytes and the *label*, which the caller chooses: what the secret is for, and its name.
//! A secret opens under its own label only, so whoever can write the database cannot make the host authority sign for
//! users. A few secrets are sealed under one key in a lifetime; random nonces stay far below their bound of 2³².

use std::fmt;

use weir_crypto::aes_gcm::AesGcm;
use weir_crypto::random::Random;
use weir_ssh::key::{PrivateKeyError, SigningKey};
use zeroize::Zeroizing;

use crate::signer::KeySigner;

/// The key under which secrets are stored. Erased when dropped, as far as the cryptography library does so.
pub struct KeyEncryptionKey(AesGcm);

impl KeyEncryptionKey {
    /// From 32 bytes that nobody can guess; not a passphrase.
    pub fn new(key: &[u8; 32]) -> KeyEncryptionKey {
        KeyEncryptionKey(AesGcm::new(key))
    }

    /// Encrypts `secret`, bound to `label`.
    pub fn seal(&self, label: &str, secret: &[u8], random: &mut dyn Random) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut sealed = vec![0; HEADER.len() + NONCE_LEN + secret.len() + TAG_LEN];
        sealed[..HEADER.len()].copy_from_slice(HEADER);
        sealed[HEADER.len()..][..NONCE_LEN].copy_from_slice(&nonce);
        let room = &mut sealed[HEADER.len() + NONCE_LEN..];
        self.0.seal_to(&nonce, &associated_data(label), secret, room);
        sealed
    }

    /// Decrypts what [`seal`](KeyEncryptionKey::seal) made for the same label.
    ///
    /// # Errors
    /// [`OpenError::Format`] and [`OpenError::Unauthentic`].
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let rest = sealed.strip_prefix(HEADER).ok_or(OpenError::Format)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Format)?;
        let mut room = Zeroizing::new(ciphertext.to_vec());
        let opened = self.0.open_in_place(nonce, &associated_data(label), &mut room);
        let length = opened.map_err(|_| OpenError::Unauthentic)?.len();
        room.truncate(length);
        Ok(room)
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyEncryptionKey(..)")
    }
}

/// A private key as it is stored: useless without its key-encryption key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey(Vec<u8>);

/// Why something sealed does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The bytes are not in the format of this module, or in one that came later.
    #[error("not a sealed secret of format 1")]
    Format,
    /// Sealed under another key-encryption key or another label, or altered since.
    #[error("stored secret cannot be decrypted: wrong key-encryption key, or it was altered")]
    Unauthentic,
    /// What was sealed is not a private key.
    #[error("sealed authority key: {0}")]
    Key(#[from] PrivateKeyError),
}

const HEADER: &[u8; 12] = b"weir-sealed\x01";
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

impl SealedKey {
    /// Encrypts the key of `signer` under `key`, bound to `label`.
    pub fn seal(
        signer: &KeySigner,
        key: &KeyEncryptionKey,
        label: &str,
        random: &mut dyn Random,
    ) -> SealedKey {
        SealedKey(key.seal(label, signer.key().to_openssh("").as_bytes(), random))
    }

    /// Decrypts it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, key: &KeyEncryptionKey, label: &str) -> Result<KeySigner, OpenError> {
        let secret = key.open(label, &self.0)?;
        let text = std::str::from_utf8(&secret).map_err(|_| PrivateKeyError::NotAKeyFile)?;
        Ok(KeySigner::new(SigningKey::from_openssh(text)?))
    }

    /// A key that was stored. Whether it is one shows when it is opened.
    pub fn from_bytes(bytes: Vec<u8>) -> SealedKey {
        SealedKey(bytes)
    }

    /// What is to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn associated_data(label: &str) -> Vec<u8> {
    [HEADER, label.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use weir_crypto::random::SystemRandom;

    use super::*;
    use crate::signer::Signer;

    const LABEL: &str = "user/01J9Z";

    fn sealed(key: &KeyEncryptionKey) -> (KeySigner, SealedKey) {
        let signer = KeySigner::generate();
        let sealed = SealedKey::seal(&signer, key, LABEL, &mut SystemRandom);
        (signer, sealed)
    }

    #[test]
    fn a_key_comes_back_under_its_own_key_and_label_alone() {
        let key = KeyEncryptionKey::new(&[1; 32]);
        let (signer, sealed) = sealed(&key);
        let stored = SealedKey::from_bytes(sealed.as_bytes().to_vec());
        let opened = stored.open(&key, LABEL).unwrap();
        assert_eq!(opened.public_key(), signer.public_key());
        let other = KeyEncryptionKey::new(&[2; 32]);
        assert_eq!(sealed.open(&other, LABEL).unwrap_err(), OpenError::Unauthentic);
        assert_eq!(
            sealed.open(&key, "host/01J9Z").unwrap_err(),
            OpenError::Unauthentic
        );
    }

    #[test]
    fn nothing_of_the_key_shows_in_what_is_stored() {
        let key = KeyEncryptionKey::new(&[1; 32]);
        let (signer, sealed) = sealed(&key);
        let text = signer.key().to_openssh("");
        for window in text.as_bytes().windows(16) {
            assert!(!sealed.as_bytes().windows(16).any(|stored| stored == window));
        }
        assert_eq!(format!("{key:?}"), "KeyEncryptionKey(..)");
    }

    #[test]
    fn a_stored_key_that_was_altered_or_cut_does_not_open() {
        let key = KeyEncryptionKey::new(&[1; 32]);
        let (_, sealed) = sealed(&key);
        let stored = sealed.as_bytes();
        for at in 0..stored.len() {
            let mut altered = stored.to_vec();
            altered[at] ^= 1;
            assert!(
                SealedKey::from_bytes(altered).open(&key, LABEL).is_err(),
                "byte {at}"
            );
            assert!(
                SealedKey::from_bytes(stored[..at].to_vec())
                    .open(&key, LABEL)
                    .is_err(),
                "cut at {at}"
            );
        }
        assert_eq!(
            SealedKey::from_bytes(Vec::new()).open(&key, LABEL).unwrap_err(),
            OpenError::Format
        );
    }
}
