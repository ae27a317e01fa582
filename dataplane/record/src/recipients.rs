//! The public keys to which session keys are wrapped.
//!
//! `age` does all of the wrapping but its last step, the seal of the 32 bytes of plaintext. Its writer collects plaintext in
//! a buffer that it gives back to the allocator as it is, with the session key in it, where it would outlive the session. So
//! the key of the file is taken down while `age` wraps it, and the plaintext is sealed here, in its place in the file.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::iter;
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use age_core::format::{FileKey, Stanza};
use weir_crypto::chacha20poly1305;
use weir_crypto::digest::{HashAlgorithm, hash};
use zeroize::Zeroizing;

use crate::key::{KeyError, SessionKey};
use crate::scrub::scrub_stack;

/// As many fit the envelope, at some hundred bytes each.
const MAX_RECIPIENTS: usize = 512;

/// The parsed `age` recipients of recordings. Cheap to clone.
#[derive(Clone)]
pub struct Recipients(Arc<[age::x25519::Recipient]>);

impl Recipients {
    /// Parses `age1…` public keys.
    ///
    /// # Errors
    /// If there is none, there are too many, or one is not such a key.
    pub fn parse<S: AsRef<str>>(keys: &[S]) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::NoRecipients);
        }
        if keys.len() > MAX_RECIPIENTS {
            return Err(KeyError::TooManyRecipients {
                got: keys.len(),
                most: MAX_RECIPIENTS,
            });
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
        let file = self.age_file(key);
        scrub_stack();
        file
    }

    #[inline(never)]
    fn age_file(&self, key: &SessionKey) -> Result<Vec<u8>, KeyError> {
        let refused = |err: String| KeyError::Wrap(err);
        let witness = Witness {
            recipients: &self.0,
            file_key: RefCell::new(None),
        };
        let encryptor = age::Encryptor::with_recipients(iter::once(&witness as &dyn age::Recipient))
            .map_err(|err| refused(err.to_string()))?;
        let mut file = Vec::with_capacity(320);
        // It has written the header and the nonce, and is given nothing to seal.
        drop(
            encryptor
                .wrap_output(&mut file)
                .map_err(|err| refused(err.to_string()))?,
        );
        let file_key = witness
            .file_key
            .into_inner()
            .ok_or_else(|| refused("age has wrapped no key".to_owned()))?;
        seal_payload(&file_key, key, &mut file);
        Ok(file)
    }

    /// Which recipients these are, whatever their order: something to compare and nothing to read.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut keys: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut digest = [0; 32];
        digest.copy_from_slice(hash(HashAlgorithm::Sha256, &[keys.join("\n").as_bytes()]).as_ref());
        digest
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipients({})", self.0.len())
    }
}

/// All recipients as one, that remembers what was wrapped to them.
struct Witness<'a> {
    recipients: &'a [age::x25519::Recipient],
    file_key: RefCell<Option<FileKey>>,
}

impl age::Recipient for Witness<'_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let mut stanzas = Vec::with_capacity(self.recipients.len());
        for recipient in self.recipients {
            stanzas.append(&mut recipient.wrap_file_key(file_key)?.0);
        }
        let copy = FileKey::init_with_mut(|copy| copy.copy_from_slice(file_key.expose_secret()));
        self.file_key.replace(Some(copy));
        Ok((stanzas, HashSet::new()))
    }
}

/// Appends the one chunk of the file's payload (<https://c2sp.org/age#payload>).
fn seal_payload(file_key: &FileKey, key: &SessionKey, file: &mut Vec<u8>) {
    let nonce = &file[file.len() - PAYLOAD_NONCE_LEN..];
    let payload_key = Zeroizing::new(age_core::primitives::hkdf(
        nonce,
        b"payload",
        file_key.expose_secret(),
    ));
    // Sealed in a place that is erased: the file gets the ciphertext alone.
    let mut sealed = Zeroizing::new(*key.bytes());
    let tag = chacha20poly1305::seal_in_place(&payload_key, &FIRST_AND_LAST, &mut *sealed);
    file.extend_from_slice(&*sealed);
    file.extend_from_slice(&tag);
}

const PAYLOAD_NONCE_LEN: usize = 16;
/// Eleven bytes that count chunks, and one that marks the last.
const FIRST_AND_LAST: [u8; chacha20poly1305::NONCE_LEN] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

#[cfg(test)]
mod tests {
    use weir_crypto::random::SystemRandom;

    use super::*;
    use crate::identities::Identities;

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
            assert_eq!(opened.bytes(), key.bytes());
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

    /// Two hundred fit; a list that could burst the envelope is refused before any session is.
    #[test]
    fn more_recipients_than_an_envelope_holds_are_refused() {
        let (_, public) = Identities::generate();
        let key = SessionKey::generate(&mut SystemRandom);
        let most = vec![&public; MAX_RECIPIENTS];
        let wrapped = Recipients::parse(&most).unwrap().wrap(&key).unwrap();
        assert!(
            wrapped.len() < crate::MAX_ENVELOPE_LEN - 1024,
            "{}",
            wrapped.len()
        );
        let refused = Recipients::parse(&vec![&public; MAX_RECIPIENTS + 1]).unwrap_err();
        assert!(refused.to_string().contains("at most 512"), "{refused}");
    }

    #[test]
    fn recipients_are_told_apart_whatever_their_order() {
        let [a, b] = [(); 2].map(|()| Identities::generate().1);
        let digest = |keys: &[&String]| Recipients::parse(keys).unwrap().digest();
        assert_eq!(digest(&[&a, &b]), digest(&[&b, &a, &b]));
        assert_ne!(digest(&[&a, &b]), digest(&[&a]));
    }
}
