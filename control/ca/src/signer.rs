//! Who holds an authority's private key.

use weir_ssh::key::{PublicKey, SigningKey};

/// Signs for one authority. Where the private half is, and what it takes to use it, is the implementation's affair.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message` and answers a signature blob (RFC 4253 §6.6); RSA keys sign with SHA-2.
    ///
    /// May block on a token or a network: call it where that harms nobody.
    ///
    /// # Errors
    /// [`SignerError`] if the key cannot be used at the moment.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// The key cannot be used at the moment; the text says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authority key cannot sign: {0}")]
pub struct SignerError(pub String);

/// A key in this process's memory.
#[derive(Clone, Debug)]
pub struct KeySigner(SigningKey);

impl KeySigner {
    /// A new Ed25519 key, from the cryptography library's own generator.
    pub fn generate() -> KeySigner {
        KeySigner(SigningKey::generate_ed25519())
    }

    /// A key from elsewhere, of an authority that is brought along for example.
    pub fn new(key: SigningKey) -> KeySigner {
        KeySigner(key)
    }

    pub(crate) fn key(&self) -> &SigningKey {
        &self.0
    }
}

impl Signer for KeySigner {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign_with_best(message))
    }
}
