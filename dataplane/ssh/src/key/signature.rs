//! Signature blobs: `string algorithm`, `string signature`, and for security keys flags and a counter.

use weir_crypto::digest::{self, HashAlgorithm};
use weir_crypto::sign;

use super::{KeyType, PublicKey, SignatureAlgorithm, printable};
use crate::wire::{Reader, WireError, Writer};

/// What a signature that verified says beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How it was made.
    pub algorithm: SignatureAlgorithm,
    /// The security key checked a PIN or a biometric before it signed. Never set for other keys.
    pub user_verified: bool,
}

/// Why a signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The blob does not have the form of a signature.
    #[error("malformed signature: {0}")]
    Malformed(#[from] WireError),
    /// The numbers in the signature do not fit the key.
    #[error("malformed {0} signature")]
    BadNumbers(SignatureAlgorithm),
    /// The signature is of another algorithm than agreed, one that the key does not make, or SHA-1.
    #[error("got a signature of {got:?} while expecting {expected}")]
    WrongAlgorithm {
        /// The name in the signature.
        got: String,
        /// The names that would do.
        expected: String,
    },
    /// The security key signed without a touch.
    #[error("the security key signed without the user's touch")]
    NoUserPresence,
    /// The signature was not made by this key over this message.
    #[error("the signature does not verify")]
    Unauthentic,
}

/// PROTOCOL.u2f, `SSH_SK_USER_PRESENCE_REQD`: somebody touched the key.
const USER_PRESENT: u8 = 0x01;
/// PROTOCOL.u2f, `SSH_SK_USER_VERIFICATION_REQD`: by PIN or biometric.
const USER_VERIFIED: u8 = 0x04;

impl PublicKey {
    /// Checks a signature that must be of exactly `algorithm`, the one agreed or named in the request.
    ///
    /// # Errors
    /// [`SignatureError`]; for security keys also if nobody touched the key.
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Verified, SignatureError> {
        self.verify_one_of(&[algorithm], message, signature)
    }

    /// Checks a signature by any algorithm of this key; with RSA that is SHA-2 only.
    ///
    /// # Errors
    /// As for [`verify`](PublicKey::verify).
    pub fn verify_any(&self, message: &[u8], signature: &[u8]) -> Result<Verified, SignatureError> {
        self.verify_one_of(self.key_type().signature_algorithms(), message, signature)
    }

    fn verify_one_of(
        &self,
        accepted: &[SignatureAlgorithm],
        message: &[u8],
        blob: &[u8],
    ) -> Result<Verified, SignatureError> {
        let mut reader = Reader::new(blob);
        let name = reader.string()?;
        let algorithm = SignatureAlgorithm::from_name(name)
            .filter(|named| accepted.contains(named) && named.key_type() == self.key_type())
            .ok_or_else(|| SignatureError::WrongAlgorithm {
                got: printable(name),
                expected: accepted
                    .iter()
                    .map(|algorithm| algorithm.name())
                    .collect::<Vec<_>>()
                    .join(" or "),
            })?;
        let encoded = reader.string()?;
        let seal = match algorithm.key_type().is_security_key() {
            true => Some((reader.u8()?, reader.u32()?)),
            false => None,
        };
        reader.finish()?;

        let key = self.numbers.as_borrowed();
        let raw = decode_numbers(algorithm, &key, encoded)?;
        let verify = |message: &[u8]| {
            sign::verify(algorithm.scheme(), &key, message, &raw).map_err(|_| SignatureError::Unauthentic)
        };
        match (seal, &self.application) {
            (Some((flags, counter)), Some(application)) => {
                verify(&security_key_message(application, flags, counter, message))?;
                if flags & USER_PRESENT == 0 {
                    return Err(SignatureError::NoUserPresence);
                }
                Ok(Verified {
                    algorithm,
                    user_verified: flags & USER_VERIFIED != 0,
                })
            }
            _ => {
                verify(message)?;
                Ok(Verified {
                    algorithm,
                    user_verified: false,
                })
            }
        }
    }
}

/// What a security key signs in place of `message` (PROTOCOL.u2f, "SSH U2F signatures").
pub(super) fn security_key_message(application: &str, flags: u8, counter: u32, message: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(32 + 1 + 4 + 32);
    signed.put_bytes(digest::hash(HashAlgorithm::Sha256, &[application.as_bytes()]).as_ref());
    signed.put_u8(flags);
    signed.put_u32(counter);
    signed.put_bytes(digest::hash(HashAlgorithm::Sha256, &[message]).as_ref());
    signed
}

/// From the encoding inside the blob to what the primitive takes.
fn decode_numbers(
    algorithm: SignatureAlgorithm,
    key: &sign::PublicKey<'_>,
    encoded: &[u8],
) -> Result<Vec<u8>, SignatureError> {
    let bad = || SignatureError::BadNumbers(algorithm);
    match key {
        sign::PublicKey::Ed25519(_) if encoded.len() == 64 => Ok(encoded.to_vec()),
        sign::PublicKey::Ed25519(_) => Err(bad()),
        // RFC 5656 §3.1.2: mpint r, mpint s; the primitive takes both at full width.
        sign::PublicKey::Ecdsa { curve, .. } => {
            let mut numbers = Reader::new(encoded);
            let (r, s) = (numbers.mpint()?, numbers.mpint()?);
            numbers.finish()?;
            let mut raw = Vec::with_capacity(2 * curve.scalar_len());
            for number in [r, s] {
                let zeros = curve.scalar_len().checked_sub(number.len()).ok_or_else(bad)?;
                raw.resize(raw.len() + zeros, 0);
                raw.extend_from_slice(number);
            }
            Ok(raw)
        }
        // RFC 8332 §3: as long as the modulus; some signers drop leading zeros, and the primitive accepts that.
        sign::PublicKey::Rsa { n, .. } if encoded.len() <= n.len() => Ok(encoded.to_vec()),
        sign::PublicKey::Rsa { .. } => Err(bad()),
    }
}

/// The signature blob of what the primitive made.
pub(super) fn encode(algorithm: SignatureAlgorithm, raw: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(algorithm.name().len() + raw.len() + 20);
    blob.put_string(algorithm.name());
    match algorithm.key_type() {
        KeyType::Ecdsa(_) | KeyType::SkEcdsaP256 => blob.put_nested(|blob| {
            let (r, s) = raw.split_at(raw.len() / 2);
            blob.put_mpint(r);
            blob.put_mpint(s);
        }),
        _ => blob.put_string(raw),
    }
    blob
}
