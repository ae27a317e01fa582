//! Streamlined NTRU Prime 761, the post-quantum half of `sntrup761x25519-sha512`.
//!
//! OpenSSH 9.0 to 9.8 ask for it first. Neither backend has it; both take it from the `sntrup` crate.

use std::fmt;

use sntrup::{Sntrup761Params, SntrupKem};

use super::SharedSecret;
use crate::Unauthentic;
use crate::random::PooledRandom;

/// Length of an encapsulation key in bytes.
pub const PUBLIC_KEY_LEN: usize = 1158;
/// Length of a ciphertext in bytes.
pub const CIPHERTEXT_LEN: usize = 1039;

/// The private half, held by the side that decapsulates (in SSH, the client).
pub struct DecapsulationKey {
    private: sntrup::DecapsulationKey<Sntrup761Params>,
    public: sntrup::EncapsulationKey<Sntrup761Params>,
}

impl DecapsulationKey {
    /// A fresh key pair.
    #[must_use]
    pub fn generate() -> Self {
        let (public, private) = SntrupKem::generate_key(&mut PooledRandom::default());
        DecapsulationKey { private, public }
    }

    /// The encapsulation key to send.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    /// The secret inside `ciphertext`. A forged ciphertext yields a secret that the forger does not know
    /// (implicit rejection), so the exchange fails later.
    ///
    /// # Errors
    /// If `ciphertext` does not have [`CIPHERTEXT_LEN`] bytes.
    pub fn decapsulate(self, ciphertext: &[u8]) -> Result<SharedSecret, Unauthentic> {
        let ciphertext = sntrup::Ciphertext::try_from(ciphertext).map_err(|_| Unauthentic)?;
        Ok(SharedSecret::copy_of(
            self.private.decapsulate(&ciphertext).as_ref(),
        ))
    }
}

impl fmt::Debug for DecapsulationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sntrup761::DecapsulationKey(..)")
    }
}

/// Makes a secret for the holder of `public_key`; returns the ciphertext to send and the secret.
///
/// # Errors
/// If the key does not have [`PUBLIC_KEY_LEN`] bytes.
pub fn encapsulate(public_key: &[u8]) -> Result<(Vec<u8>, SharedSecret), Unauthentic> {
    let public =
        sntrup::EncapsulationKey::<Sntrup761Params>::try_from(public_key).map_err(|_| Unauthentic)?;
    let (ciphertext, secret) = public.encapsulate(&mut PooledRandom::default());
    Ok((
        ciphertext.as_ref().to_vec(),
        SharedSecret::copy_of(secret.as_ref()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_ciphertext_decapsulates_to_its_secret() {
        let vector = |name: &str| {
            let lines = include_str!("../../tests/vectors/sntrup761.txt").lines();
            let hex = lines
                .filter_map(|line| line.split_once(' '))
                .find(|(key, _)| *key == name)
                .unwrap()
                .1;
            let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(digit).collect::<Vec<u8>>()
        };
        let private = sntrup::DecapsulationKey::try_from(vector("sk")).unwrap();
        let public = private.encapsulation_key();
        let (ciphertext, secret) = encapsulate(public.as_ref()).unwrap();
        let key = || DecapsulationKey {
            private: private.clone(),
            public: public.clone(),
        };
        assert_eq!(key().decapsulate(&vector("ct")).unwrap().as_ref(), vector("ss"));
        assert_eq!(key().decapsulate(&ciphertext).unwrap().as_ref(), secret.as_ref());
    }
}
