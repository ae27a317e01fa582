//! The session key.
//!
//! A data plane holds a session's key only while the session lives: what it has finished it cannot read again. So a key has
//! one place on the heap, which is erased when it goes, and what computing with it leaves on the stack is overwritten.

use std::fmt;

use weir_crypto::aes_gcm::AesGcm;
use weir_crypto::hmac::{HmacAlgorithm, HmacKey};
use weir_crypto::random::Random;
use zeroize::Zeroizing;

use crate::identities::Identities;
use crate::scrub::scrub_stack;

/// The AES-256 key of one recording. Zeroised on drop, never printed.
// Boxed: what is moved is the address, and no copy of the key stays where it was.
#[derive(Clone)]
pub struct SessionKey(Box<Zeroizing<[u8; 32]>>);

impl SessionKey {
    /// Draws a key.
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut key = Self::blank();
        random.fill(key.bytes_mut());
        scrub_stack();
        key
    }

    /// Takes key bytes as they are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut key = Self::blank();
        *key.bytes_mut() = bytes;
        key
    }

    /// The key's bytes, for somebody who may read this one recording.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.bytes())
    }

    /// To be filled in place.
    pub(crate) fn blank() -> Self {
        SessionKey(Box::new(Zeroizing::new([0; 32])))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }

    pub(crate) fn cipher(&self) -> AesGcm {
        let cipher = AesGcm::new(self.bytes());
        scrub_stack();
        cipher
    }

    /// HMAC-SHA-256 under the key. `context` says of what, so that one thing's code is never another's.
    pub(crate) fn authenticate(&self, context: &[u8], message: &[u8]) -> [u8; 32] {
        let mut code = [0; 32];
        let tag = HmacKey::new(HmacAlgorithm::Sha256, self.bytes()).sign(&[context, message]);
        code.copy_from_slice(tag.as_ref());
        scrub_stack();
        code
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// Why a session key could not be wrapped or unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The operator wrote something that is not an `age` recipient.
    #[error("got recipient {text:?} while expecting an age public key such as age1…: {reason}")]
    BadRecipient {
        /// As written.
        text: String,
        /// What the parser missed.
        reason: &'static str,
    },
    /// Nothing to wrap to: nobody could ever read the recording.
    #[error("no age recipient is configured for recordings: nobody could read them")]
    NoRecipients,
    /// The envelope would not hold them all.
    #[error(
        "got {got} age recipients for recordings while expecting at most {most}: let several people share one"
    )]
    TooManyRecipients {
        /// How many were written.
        got: usize,
        /// How many there may be.
        most: usize,
    },
    /// `age` refuses to encrypt.
    #[error("the session key cannot be wrapped: {0}")]
    Wrap(String),
    /// What should be an `age` identity file is not.
    #[error("got no age identity (AGE-SECRET-KEY-1…): {0}")]
    BadIdentity(String),
    /// None of the identities is a recipient of this recording.
    #[error("none of the given age identities can open this recording")]
    NotForUs,
    /// The wrapped key has been altered or is not one.
    #[error("the wrapped session key is damaged: {0}")]
    Damaged(String),
}

/// With what a recording's seals are opened.
#[derive(Clone, Copy, Debug)]
pub enum Unlock<'a> {
    /// The session key itself.
    Key(&'a SessionKey),
    /// Private keys to which it may have been wrapped.
    Identities(&'a Identities),
}

impl Unlock<'_> {
    pub(crate) fn key(&self, wrapped: &[u8]) -> Result<SessionKey, KeyError> {
        match self {
            Unlock::Key(key) => Ok((*key).clone()),
            Unlock::Identities(identities) => identities.unwrap(wrapped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_key_is_not_printed() {
        let key = SessionKey::from_bytes([0x41; 32]);
        assert_eq!(format!("{key:?}"), "SessionKey(..)");
    }
}
