//! Private keys: making signatures, and OpenSSH's private key file (PROTOCOL.key).

use std::fmt;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use weir_crypto::digest::{self, HashAlgorithm};
use weir_crypto::sign::{self, NistCurve, RsaComponents};
use zeroize::Zeroizing;

use super::signature::encode;
use super::{KeyError, KeyType, PublicKey, SignatureAlgorithm, printable};
use crate::wire::{Reader, WireError, Writer};

/// A key that signs. Cheap to clone; zeroised when the last clone is dropped; `Debug` shows the public half.
#[derive(Clone)]
pub struct SigningKey {
    private: sign::PrivateKey,
    public: PublicKey,
    /// `string type` and the private fields, as they stand in a file.
    section: Arc<Zeroizing<Vec<u8>>>,
}

/// Why the text of a private key file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// The text is not between the two lines of an OpenSSH private key.
    #[error("not an openssh private key file (`{BEGIN}` … `{END}`)")]
    NotAKeyFile,
    /// The file asks for a passphrase.
    #[error("the private key is encrypted with {0}; write it without a passphrase (ssh-keygen -p)")]
    Encrypted(String),
    /// The file does not have the form that PROTOCOL.key describes.
    #[error("malformed private key file: {0}")]
    Malformed(&'static str),
    /// Kinds of keys that cannot be loaded: DSA, security keys, several keys in one file.
    #[error("unsupported private key: {0}")]
    Unsupported(String),
    /// The public half cannot be used.
    #[error(transparent)]
    Public(#[from] KeyError),
    /// The two halves do not belong together.
    #[error("the private key does not belong to its public key")]
    Mismatch,
}

impl From<WireError> for PrivateKeyError {
    fn from(error: WireError) -> PrivateKeyError {
        match error {
            WireError::Trailing(_) => PrivateKeyError::Malformed("bytes follow the key"),
            _ => PrivateKeyError::Malformed("it ends in the middle of a value"),
        }
    }
}

/// The key does not make signatures of the algorithm that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key of type {key} cannot sign with {algorithm}")]
pub struct SigningError {
    /// The kind of key.
    pub key: KeyType,
    /// What was asked for.
    pub algorithm: SignatureAlgorithm,
}

impl SigningKey {
    /// A new Ed25519 key, from the cryptography library's own generator.
    pub fn generate_ed25519() -> SigningKey {
        let seed = sign::PrivateKey::generate_ed25519().ed25519_seed();
        SigningKey::ed25519_from_seed(&seed.expect("an ed25519 key has a seed"))
    }

    /// The Ed25519 key of a seed (RFC 8032 §5.1.5).
    pub fn ed25519_from_seed(seed: &[u8; 32]) -> SigningKey {
        let private = sign::PrivateKey::ed25519_from_seed(seed);
        let public = PublicKey::from_numbers(private.public_key().clone());
        let mut section = Zeroizing::new(Vec::with_capacity(4 + 11 + 4 + 32 + 4 + 64));
        section.put_string(KeyType::Ed25519.name());
        let raw = &public.blob()[public.blob().len() - 32..];
        section.put_string(raw);
        section.put_u32(64);
        section.put_bytes(seed);
        section.put_bytes(raw);
        SigningKey {
            private,
            public,
            section: section.into(),
        }
    }

    /// Reads the text of an unencrypted OpenSSH private key file with one Ed25519, ECDSA or RSA key.
    ///
    /// # Errors
    /// [`PrivateKeyError`].
    pub fn from_openssh(text: &str) -> Result<SigningKey, PrivateKeyError> {
        let file = decode_armor(text)?;
        let mut reader = Reader::new(&file);
        if reader.bytes(MAGIC.len()).ok() != Some(MAGIC) {
            return Err(PrivateKeyError::Malformed(
                "it does not begin with openssh-key-v1",
            ));
        }
        let (cipher, kdf) = (reader.string()?, reader.string()?);
        let _kdf_options = reader.string()?;
        if (cipher, kdf) != (b"none", b"none") {
            return Err(PrivateKeyError::Encrypted(printable(cipher)));
        }
        match reader.u32()? {
            1 => {}
            keys => return Err(PrivateKeyError::Unsupported(format!("{keys} keys in one file"))),
        }
        let public = PublicKey::from_blob(reader.string()?)?;
        let private = reader.string()?;
        reader.finish()?;
        decode_private_section(private, public)
    }

    /// The key as the text of an unencrypted OpenSSH private key file.
    pub fn to_openssh(&self, comment: &str) -> Zeroizing<String> {
        let mut private = Zeroizing::new(Vec::with_capacity(self.section.len() + comment.len() + 32));
        // The two check numbers tell a wrong passphrase; without one they only have to be equal.
        let check = digest::hash(HashAlgorithm::Sha256, &[self.public.blob()]);
        private.put_bytes(&check.as_ref()[..4]);
        private.put_bytes(&check.as_ref()[..4]);
        private.put_bytes(&self.section);
        private.put_string(comment);
        // "the padding … bytes 1, 2, 3, …": to the block size of no cipher, 8.
        for pad in 1.. {
            if private.len().is_multiple_of(8) {
                break;
            }
            private.put_u8(pad);
        }
        let mut file = Zeroizing::new(Vec::with_capacity(private.len() + self.public.blob().len() + 64));
        file.put_bytes(MAGIC);
        file.put_string("none");
        file.put_string("none");
        file.put_string("");
        file.put_u32(1);
        file.put_string(self.public.blob());
        file.put_string(&private[..]);

        let base64 = Zeroizing::new(Base64::encode_string(&file));
        let mut text = Zeroizing::new(String::with_capacity(base64.len() * 71 / 70 + 80));
        text.push_str(BEGIN);
        text.push('\n');
        for (i, c) in base64.chars().enumerate() {
            if i > 0 && i % LINE == 0 {
                text.push('\n');
            }
            text.push(c);
        }
        text.push('\n');
        text.push_str(END);
        text.push('\n');
        text
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message`; the answer is a signature blob.
    ///
    /// # Errors
    /// [`SigningError`] if `algorithm` is of another kind of key.
    pub fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let refused = SigningError {
            key: self.public.key_type(),
            algorithm,
        };
        if algorithm.key_type() != self.public.key_type() {
            return Err(refused);
        }
        let raw = self
            .private
            .sign(algorithm.scheme(), message)
            .map_err(|_| refused)?;
        Ok(encode(algorithm, &raw))
    }

    /// Signs `message` with the best algorithm of the key's type (RSA: SHA-512).
    ///
    /// # Panics
    /// Never: every kind of key that can be loaded signs with the algorithms of its type.
    pub fn sign_with_best(&self, message: &[u8]) -> Vec<u8> {
        let best = self.public.key_type().signature_algorithms()[0];
        self.sign(best, message)
            .expect("a key signs with an algorithm of its own type")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SigningKey({} {})",
            self.public.key_type(),
            self.public.fingerprint()
        )
    }
}

/// The armour around the base64 text.
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
/// Characters in a line of base64, as ssh-keygen writes it.
const LINE: usize = 70;
const MAGIC: &[u8] = b"openssh-key-v1\0";

fn decode_armor(text: &str) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let body = text
        .trim()
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END))
        .ok_or(PrivateKeyError::NotAKeyFile)?;
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.split_ascii_whitespace());
    let file = Base64::decode_vec(&base64).map_err(|_| PrivateKeyError::Malformed("it is not base64"))?;
    Ok(Zeroizing::new(file))
}

fn decode_private_section(section: &[u8], public: PublicKey) -> Result<SigningKey, PrivateKeyError> {
    let mut reader = Reader::new(section);
    if reader.u32()? != reader.u32()? {
        return Err(PrivateKeyError::Malformed("its two check numbers differ"));
    }
    let start = reader.position();
    let name = reader.string()?;
    if name != public.key_type().name().as_bytes() {
        return Err(PrivateKeyError::Mismatch);
    }
    let private = match public.key_type() {
        KeyType::Ed25519 => decode_ed25519(&mut reader)?,
        KeyType::Ecdsa(curve) => decode_ecdsa(&mut reader, curve)?,
        KeyType::Rsa => decode_rsa(&mut reader)?,
        kind => {
            return Err(PrivateKeyError::Unsupported(format!(
                "{kind} lives in its security key"
            )));
        }
    };
    let fields = Zeroizing::new(reader.since(start).to_vec());
    let _comment = reader.string()?;
    if !reader
        .rest()
        .iter()
        .zip(1u8..)
        .all(|(&pad, number)| pad == number)
    {
        return Err(PrivateKeyError::Malformed("its padding is not 1, 2, 3, …"));
    }
    if *private.public_key() != public.numbers {
        return Err(PrivateKeyError::Mismatch);
    }
    let key = SigningKey {
        private,
        public,
        section: fields.into(),
    };
    // Not every backend notices RSA numbers that do not belong together before it has signed with them.
    let best = key.public.key_type().signature_algorithms()[0];
    let trial = key.sign(best, b"trial").map_err(|_| PrivateKeyError::Mismatch)?;
    key.public
        .verify(best, b"trial", &trial)
        .map_err(|_| PrivateKeyError::Mismatch)?;
    Ok(key)
}

fn decode_ed25519(reader: &mut Reader<'_>) -> Result<sign::PrivateKey, PrivateKeyError> {
    let _public = reader.string()?;
    // "the 64 bytes of seed and public key", as the reference implementation of Ed25519 stores them.
    let (seed, _) = reader
        .string()?
        .split_first_chunk::<32>()
        .ok_or(PrivateKeyError::Malformed("its seed is shorter than 32 bytes"))?;
    Ok(sign::PrivateKey::ed25519_from_seed(seed))
}

fn decode_ecdsa(reader: &mut Reader<'_>, curve: NistCurve) -> Result<sign::PrivateKey, PrivateKeyError> {
    let _curve_name = reader.string()?;
    let point = reader.string()?;
    let scalar = reader.mpint()?;
    sign::PrivateKey::ecdsa_from_scalar(curve, scalar, point).map_err(|_| PrivateKeyError::Mismatch)
}

fn decode_rsa(reader: &mut Reader<'_>) -> Result<sign::PrivateKey, PrivateKeyError> {
    let (n, e, d) = (reader.mpint()?, reader.mpint()?, reader.mpint()?);
    let (iqmp, p, q) = (reader.mpint()?, reader.mpint()?, reader.mpint()?);
    let components = RsaComponents { n, e, d, iqmp, p, q };
    sign::PrivateKey::rsa_from_components(&components).map_err(|_| PrivateKeyError::Mismatch)
}
