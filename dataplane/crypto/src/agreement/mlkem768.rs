//! ML-KEM-768 (FIPS 203), the post-quantum half of `mlkem768x25519-sha256`.

use std::fmt;

use super::SharedSecret;
use crate::{Unauthentic, backend};

/// Length of an encapsulation key in bytes.
pub const PUBLIC_KEY_LEN: usize = 1184;
/// Length of a ciphertext in bytes.
pub const CIPHERTEXT_LEN: usize = 1088;

/// The private half, held by the side that decapsulates (in SSH, the client).
pub struct DecapsulationKey {
    private: backend::MlKem768,
    public: Vec<u8>,
}

impl DecapsulationKey {
    /// A fresh key pair.
    ///
    /// # Panics
    /// If the backend cannot generate one, for lack of entropy or memory.
    #[must_use]
    pub fn generate() -> Self {
        let (private, public) = backend::MlKem768::generate();
        debug_assert_eq!(public.len(), PUBLIC_KEY_LEN);
        DecapsulationKey { private, public }
    }

    /// The encapsulation key to send.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// The secret inside `ciphertext`. A forged ciphertext yields a secret that the forger does not know
    /// (implicit rejection), so the exchange fails later.
    ///
    /// # Errors
    /// If `ciphertext` does not have [`CIPHERTEXT_LEN`] bytes.
    pub fn decapsulate(self, ciphertext: &[u8]) -> Result<SharedSecret, Unauthentic> {
        if ciphertext.len() != CIPHERTEXT_LEN {
            return Err(Unauthentic);
        }
        self.private.decapsulate(ciphertext)
    }
}

impl fmt::Debug for DecapsulationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mlkem768::DecapsulationKey(..)")
    }
}

/// Makes a secret for the holder of `public_key`; returns the ciphertext to send and the secret.
///
/// # Errors
/// If the key does not have [`PUBLIC_KEY_LEN`] bytes or holds a coefficient that is not reduced (FIPS 203 §7.2).
pub fn encapsulate(public_key: &[u8]) -> Result<(Vec<u8>, SharedSecret), Unauthentic> {
    if public_key.len() != PUBLIC_KEY_LEN {
        return Err(Unauthentic);
    }
    backend::mlkem768_encapsulate(public_key)
}
