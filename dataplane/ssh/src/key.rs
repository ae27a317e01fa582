//! Keys and signatures in the encodings of SSH.
//!
//! Everything is decoded here, strictly, and used through `weir-crypto`. The `ssh-key` crate was tried first (0.6.7) and
//! takes a length prefix that reaches beyond the blob, so that one key has many blobs and fingerprints; it checks
//! certificates over a re-encoding of what it understood; and it refuses ECDSA scalars with a leading zero byte, which
//! ssh-keygen writes for one P-256 key in 256 and every second P-521 key. The tests hold a key of each kind.

mod algorithm;
mod host;
mod private;
mod signature;

use std::fmt;

use base64ct::{Base64, Base64Unpadded, Encoding};
use weir_crypto::digest::{self, HashAlgorithm};
use weir_crypto::sign::{NistCurve, OwnedPublicKey};

use crate::wire::{Reader, WireError, Writer};

pub use algorithm::{KeyType, PublicKeyAlgorithm, SignatureAlgorithm};
pub use host::{HostKey, HostKeyError, verify_host_signature};
pub use private::{PrivateKeyError, SigningError, SigningKey};
pub use signature::{SignatureError, Verified};

/// Shortest RSA modulus accepted, in bits: what NIST SP 800-131A still allows, and what the design asks for.
pub const MIN_RSA_BITS: usize = 2048;

/// Longest RSA modulus accepted, in bits: what both backends verify; a longer one only costs CPU time.
pub const MAX_RSA_BITS: usize = 8192;

/// A plain public key (no certificate), decoded and with its blob.
///
/// Only canonical encodings are accepted, so two equal keys have equal blobs: comparing blobs or their
/// fingerprints compares keys.
#[derive(Clone)]
pub struct PublicKey {
    kind: KeyType,
    numbers: OwnedPublicKey,
    /// Of a security key: what it was made for, `ssh:` as a rule.
    application: Option<String>,
    blob: Vec<u8>,
}

/// Why a public key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The blob does not have the form its type asks for.
    #[error("malformed {0} key")]
    Malformed(KeyType),
    /// The blob is of a type that is not supported, or holds no type at all.
    #[error("unsupported key type {0:?}")]
    UnknownType(String),
    /// The modulus is too short to be safe, or too long to be worth the work.
    #[error("rsa key of {0} bits while expecting {MIN_RSA_BITS} to {MAX_RSA_BITS}")]
    RsaBits(usize),
    /// A line that should hold `type base64 comment` does not.
    #[error("not a public key in openssh's one-line form")]
    NotALine,
}

impl PublicKey {
    /// Decodes a key blob (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4, PROTOCOL.u2f).
    ///
    /// # Errors
    /// [`KeyError`] for unknown types (certificates and DSA among them), bytes that are missing, left over or not in
    /// canonical form, compressed or misplaced curve points, and RSA keys of a bad size.
    pub fn from_blob(blob: &[u8]) -> Result<PublicKey, KeyError> {
        let mut reader = Reader::new(blob);
        let name = reader.string().unwrap_or(&[]);
        let Some(kind) = KeyType::from_name(name) else {
            return Err(KeyError::UnknownType(printable(name)));
        };
        let malformed = |_: WireError| KeyError::Malformed(kind);
        let numbers = read_numbers(&mut reader, kind)?;
        let application = match kind.is_security_key() {
            true => Some(reader.text().map_err(malformed)?.to_owned()),
            false => None,
        };
        reader.finish().map_err(malformed)?;
        // Lengths of numbers and of their sign are the writer's choice in a careless encoding, and a second blob of
        // the same key would have a second fingerprint: one that nobody has locked out, say.
        if encode_blob(kind, &numbers, application.as_deref()) != blob {
            return Err(KeyError::Malformed(kind));
        }
        Ok(PublicKey {
            kind,
            numbers,
            application,
            blob: blob.to_vec(),
        })
    }

    fn from_numbers(numbers: OwnedPublicKey) -> PublicKey {
        let kind = match &numbers {
            OwnedPublicKey::Ed25519(_) => KeyType::Ed25519,
            OwnedPublicKey::Ecdsa { curve, .. } => KeyType::Ecdsa(*curve),
            OwnedPublicKey::Rsa { .. } => KeyType::Rsa,
        };
        let blob = encode_blob(kind, &numbers, None);
        PublicKey {
            kind,
            numbers,
            application: None,
            blob,
        }
    }

    /// Reads `type base64 comment`, the form of `id.pub` and of `authorized_keys` without options.
    ///
    /// # Errors
    /// [`KeyError`] as for [`from_blob`](PublicKey::from_blob), and if the line does not have that form.
    pub fn from_openssh(line: &str) -> Result<PublicKey, KeyError> {
        let (name, blob) = decode_line(line).ok_or(KeyError::NotALine)?;
        let key = PublicKey::from_blob(&blob)?;
        if key.kind.name() != name {
            return Err(KeyError::NotALine);
        }
        Ok(key)
    }

    /// `type base64 comment`, without a line end; the comment is left out if empty.
    pub fn to_openssh(&self, comment: &str) -> String {
        encode_line(self.kind.name(), &self.blob, comment)
    }

    /// The key in wire format.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The kind of key.
    pub fn key_type(&self) -> KeyType {
        self.kind
    }

    /// `SHA256:` and the unpadded base64 of the blob's hash, as OpenSSH prints it.
    pub fn fingerprint(&self) -> String {
        fingerprint_sha256(&self.blob)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.blob == other.blob
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind, self.fingerprint())
    }
}

fn read_numbers(reader: &mut Reader<'_>, kind: KeyType) -> Result<OwnedPublicKey, KeyError> {
    let malformed = |_: WireError| KeyError::Malformed(kind);
    match kind {
        KeyType::Ed25519 | KeyType::SkEd25519 => {
            let point = reader.string().map_err(malformed)?;
            Ok(OwnedPublicKey::Ed25519(
                point.try_into().map_err(|_| KeyError::Malformed(kind))?,
            ))
        }
        KeyType::Ecdsa(_) | KeyType::SkEcdsaP256 => {
            let _name_of_curve = reader.string().map_err(malformed)?;
            let (curve, point) = (kind.curve(), reader.string().map_err(malformed)?);
            // RFC 5656 §3.1: compression "MAY be used"; OpenSSH refuses it.
            if point.len() != curve.point_len() || point[0] != UNCOMPRESSED {
                return Err(KeyError::Malformed(kind));
            }
            Ok(OwnedPublicKey::Ecdsa {
                curve,
                point: point.to_vec(),
            })
        }
        KeyType::Rsa => {
            let (e, n) = (
                reader.mpint().map_err(malformed)?,
                reader.mpint().map_err(malformed)?,
            );
            let bits = bit_length(n);
            if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
                return Err(KeyError::RsaBits(bits));
            }
            Ok(OwnedPublicKey::Rsa {
                n: n.to_vec(),
                e: e.to_vec(),
            })
        }
    }
}

/// The one blob of a key.
fn encode_blob(kind: KeyType, numbers: &OwnedPublicKey, application: Option<&str>) -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_string(kind.name());
    match numbers {
        OwnedPublicKey::Ed25519(point) => blob.put_string(point),
        OwnedPublicKey::Ecdsa { curve, point } => {
            blob.put_string(match curve {
                NistCurve::P256 => "nistp256",
                NistCurve::P384 => "nistp384",
                NistCurve::P521 => "nistp521",
            });
            blob.put_string(point);
        }
        OwnedPublicKey::Rsa { n, e } => {
            blob.put_mpint(e);
            blob.put_mpint(n);
        }
    }
    if let Some(application) = application {
        blob.put_string(application);
    }
    blob
}

/// `SHA256:` and the unpadded base64 of the hash of `blob`. For a certificate, give the blob of the
/// key in it: that is what OpenSSH prints for both.
pub fn fingerprint_sha256(blob: &[u8]) -> String {
    let hash = digest::hash(HashAlgorithm::Sha256, &[blob]);
    format!("SHA256:{}", Base64Unpadded::encode_string(hash.as_ref()))
}

/// Type name and blob of a line `type base64 comment`.
pub(crate) fn decode_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let mut words = line.split_ascii_whitespace();
    let (name, base64) = (words.next()?, words.next()?);
    Some((name, Base64::decode_vec(base64).ok()?))
}

pub(crate) fn encode_line(name: &str, blob: &[u8], comment: &str) -> String {
    let separator = if comment.is_empty() { "" } else { " " };
    format!("{name} {}{separator}{comment}", Base64::encode_string(blob))
}

/// A peer's string for a message: bounded and free of control characters.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const SHOWN: usize = 128;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// SEC 1 §2.3.3: the first byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;

/// Bits of a number without leading zero bytes.
fn bit_length(magnitude: &[u8]) -> usize {
    magnitude
        .first()
        .map_or(0, |first| magnitude.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
