//! The session key, and how it is wrapped to the recipients' `age` keys.
//!
//! A data plane holds a session's key only while the session lives: what it has finished it cannot read again.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use weir_crypto::aes_gcm::AesGcm;
use weir_crypto::random::Random;
use zeroize::Zeroizing;

/// The AES-256 key of one recording. Zeroised on drop, never printed.
#[derive(Clone)]
pub struct SessionKey(Zeroizing<[u8; 32]>);

impl SessionKey {
    /// Draws a key.
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        random.fill(&mut *key);
        SessionKey(key)
    }

    /// Takes key bytes as they are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        SessionKey(Zeroizing::new(bytes))
    }

    /// The key's bytes, for somebody who may read this one recording.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }

    pub(crate) fn cipher(&self) -> AesGcm {
        AesGcm::new(&*self.0)
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

/// The parsed `age` recipients of recordings. Cheap to clone.
#[derive(Clone)]
pub struct Recipients(Arc<[age::x25519::Recipient]>);

impl Recipients {
    /// Parses `age1…` public keys.
    ///
    /// # Errors
    /// If there is none, or one is not such a key.
    pub fn parse<S: AsRef<str>>(keys: &[S]) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::NoRecipients);
        }
        let parse = |key: &S| {
            let text = key.as_ref().trim();
            text.parse().map_err(|reason| KeyError::BadRecipient {
                text: text.to_owned(),
                reason,
            })
        };
        keys.iter().map(parse).collect::<Result<_, _>>().map(Recipients)
    }

    /// The session key in a complete binary `age` file for these recipients.
    ///
    /// # Errors
    /// If `age` refuses to encrypt.
    pub fn wrap(&self, key: &SessionKey) -> Result<Vec<u8>, KeyError> {
        let recipients = self.0.iter().map(|recipient| recipient as &dyn age::Recipient);
        let refused = |err: String| KeyError::Wrap(err);
        let encryptor =
            age::Encryptor::with_recipients(recipients).map_err(|err| refused(err.to_string()))?;
        let mut wrapped = Vec::with_capacity(320);
        let mut writer = encryptor
            .wrap_output(&mut wrapped)
            .map_err(|err| refused(err.to_string()))?;
        writer
            .write_all(&*key.0)
            .and_then(|()| writer.finish().map(drop))
            .map_err(|err| refused(err.to_string()))?;
        Ok(wrapped)
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipients({})", self.0.len())
    }
}

/// The private halves with which an operator reads recordings.
pub struct Identities(Vec<age::x25519::Identity>);

impl Identities {
    /// Parses an `age` identity file: `AGE-SECRET-KEY-1…` lines, `#` comments, empty lines.
    ///
    /// # Errors
    /// If there is no identity, or a line is something else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let identities = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                line.parse()
                    .map_err(|err: &str| KeyError::BadIdentity(err.to_owned()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if identities.is_empty() {
            return Err(KeyError::BadIdentity("the file holds no key".to_owned()));
        }
        Ok(Identities(identities))
    }

    /// Draws a new identity: the text of its private key, to be kept by the operator, and of its public key.
    #[must_use]
    pub fn generate() -> (Zeroizing<String>, String) {
        use age::secrecy::ExposeSecret;
        let identity = age::x25519::Identity::generate();
        let private = Zeroizing::new(identity.to_string().expose_secret().to_owned());
        (private, identity.to_public().to_string())
    }

    /// Opens what [`Recipients::wrap`] made.
    ///
    /// # Errors
    /// If no identity fits, or the file has been altered.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<SessionKey, KeyError> {
        let damaged = |err: String| KeyError::Damaged(err);
        let decryptor = age::Decryptor::new_buffered(wrapped).map_err(|err| damaged(err.to_string()))?;
        let identities = self.0.iter().map(|identity| identity as &dyn age::Identity);
        let mut plain = match decryptor.decrypt(identities) {
            Ok(plain) => plain,
            Err(age::DecryptError::NoMatchingKeys) => return Err(KeyError::NotForUs),
            Err(err) => return Err(damaged(err.to_string())),
        };
        let mut key = Zeroizing::new([0; 32]);
        plain
            .read_exact(&mut *key)
            .map_err(|err| damaged(err.to_string()))?;
        let mut beyond = [0; 1];
        match plain.read(&mut beyond) {
            Ok(0) => Ok(SessionKey(key)),
            Ok(_) => Err(damaged("it is longer than a key".to_owned())),
            Err(err) => Err(damaged(err.to_string())),
        }
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
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
    use weir_crypto::random::SystemRandom;

    use super::*;

    #[test]
    fn a_key_is_opened_by_each_recipient_and_by_nobody_else() {
        let (private_a, public_a) = Identities::generate();
        let (private_b, public_b) = Identities::generate();
        let (private_c, _) = Identities::generate();
        let key = SessionKey::generate(&mut SystemRandom);
        let wrapped = Recipients::parse(&[public_a, public_b])
            .unwrap()
            .wrap(&key)
            .unwrap();
        for private in [private_a, private_b] {
            let text = format!("# created by hand\n\n{}\n", *private);
            let opened = Identities::parse(&text).unwrap().unwrap(&wrapped).unwrap();
            assert_eq!(*opened.0, *key.0);
        }
        let stranger = Identities::parse(&private_c).unwrap();
        assert_eq!(stranger.unwrap(&wrapped).unwrap_err(), KeyError::NotForUs);
    }

    #[test]
    fn every_flipped_byte_of_a_wrapped_key_is_noticed() {
        let (private, public) = Identities::generate();
        let identities = Identities::parse(&private).unwrap();
        let key = SessionKey::generate(&mut SystemRandom);
        let wrapped = Recipients::parse(&[public]).unwrap().wrap(&key).unwrap();
        for at in 0..wrapped.len() {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert!(identities.unwrap(&altered).is_err(), "byte {at}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_was_expected() {
        assert_eq!(
            Recipients::parse::<&str>(&[]).unwrap_err(),
            KeyError::NoRecipients
        );
        let err = Recipients::parse(&["ssh-ed25519 AAAA"]).unwrap_err();
        assert!(err.to_string().contains("expecting an age public key"), "{err}");
        assert!(Identities::parse("# nothing\n").is_err());
        assert!(Identities::parse("hello").is_err());
    }

    #[test]
    fn a_session_key_is_not_printed() {
        let key = SessionKey::from_bytes([0x41; 32]);
        assert_eq!(format!("{key:?}"), "SessionKey(..)");
    }
}
