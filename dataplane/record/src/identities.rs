//! The private halves of recipients.

use std::fmt;
use std::io::Read;

use zeroize::Zeroizing;

use crate::key::{KeyError, SessionKey};

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
        let mut key = SessionKey::blank();
        plain
            .read_exact(key.bytes_mut())
            .map_err(|err| damaged(err.to_string()))?;
        let mut beyond = [0; 1];
        match plain.read(&mut beyond) {
            Ok(0) => Ok(key),
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
