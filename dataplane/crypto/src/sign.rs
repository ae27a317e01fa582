//! Signatures as raw primitives: Ed25519 (RFC 8032), ECDSA (FIPS 186-5), RSA PKCS#1 v1.5 with SHA-2 (RFC 8017).
//!
//! Encodings here are the plain ones: an ECDSA signature is `r || s`, each as long as the group order; points
//! are uncompressed; RSA numbers are big-endian. What SSH wraps around them is `weir-ssh`'s business.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::agreement::UNCOMPRESSED;
use crate::random::{Random, SystemRandom};
use crate::{Unauthentic, backend};

mod rsa;

pub(crate) use rsa::CrtComponents;
pub use rsa::RsaComponents;

/// A NIST curve over a prime field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NistCurve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl NistCurve {
    /// Length of a scalar, and of one coordinate, in bytes.
    #[must_use]
    pub const fn scalar_len(self) -> usize {
        match self {
            NistCurve::P256 => 32,
            NistCurve::P384 => 48,
            NistCurve::P521 => 66,
        }
    }

    /// Length of an uncompressed point in bytes.
    #[must_use]
    pub const fn point_len(self) -> usize {
        1 + 2 * self.scalar_len()
    }
}

/// A key, an algorithm and a hash that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// Ed25519, signatures of 64 bytes.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, signatures of 64 bytes.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384, signatures of 96 bytes.
    EcdsaP384Sha384,
    /// ECDSA on P-521 with SHA-512, signatures of 132 bytes.
    EcdsaP521Sha512,
    /// RSA PKCS#1 v1.5 with SHA-256, signatures as long as the modulus.
    RsaSha256,
    /// RSA PKCS#1 v1.5 with SHA-512, signatures as long as the modulus.
    RsaSha512,
}

impl SignatureScheme {
    /// Whether keys of the kind of `key` sign under this scheme.
    #[must_use]
    pub fn fits(self, key: &PublicKey<'_>) -> bool {
        match key {
            PublicKey::Ed25519(_) => self == SignatureScheme::Ed25519,
            PublicKey::Ecdsa { curve, .. } => self == SignatureScheme::for_curve(*curve),
            PublicKey::Rsa { .. } => {
                matches!(self, SignatureScheme::RsaSha256 | SignatureScheme::RsaSha512)
            }
        }
    }

    /// The one scheme that RFC 5656 §6.2.1 pairs with each curve.
    #[must_use]
    pub const fn for_curve(curve: NistCurve) -> Self {
        match curve {
            NistCurve::P256 => SignatureScheme::EcdsaP256Sha256,
            NistCurve::P384 => SignatureScheme::EcdsaP384Sha384,
            NistCurve::P521 => SignatureScheme::EcdsaP521Sha512,
        }
    }
}

/// A borrowed public key, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// An encoded Edwards point.
    Ed25519(&'a [u8; 32]),
    /// A point of a NIST curve.
    Ecdsa {
        /// Its curve.
        curve: NistCurve,
        /// The point, uncompressed.
        point: &'a [u8],
    },
    /// An RSA key. Leading zero bytes, as SSH's mpint has them, are permitted in both numbers.
    Rsa {
        /// The modulus, big-endian.
        n: &'a [u8],
        /// The exponent, big-endian.
        e: &'a [u8],
    },
}

/// A public key that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedPublicKey {
    /// An encoded Edwards point.
    Ed25519([u8; 32]),
    /// A point of a NIST curve.
    Ecdsa {
        /// Its curve.
        curve: NistCurve,
        /// The point, uncompressed.
        point: Vec<u8>,
    },
    /// An RSA key, without leading zero bytes.
    Rsa {
        /// The modulus, big-endian.
        n: Vec<u8>,
        /// The exponent, big-endian.
        e: Vec<u8>,
    },
}

impl OwnedPublicKey {
    /// The same key, borrowed.
    #[must_use]
    pub fn as_borrowed(&self) -> PublicKey<'_> {
        match self {
            OwnedPublicKey::Ed25519(point) => PublicKey::Ed25519(point),
            OwnedPublicKey::Ecdsa { curve, point } => PublicKey::Ecdsa { curve: *curve, point },
            OwnedPublicKey::Rsa { n, e } => PublicKey::Rsa { n, e },
        }
    }
}

/// Verifies `signature` over `message`.
///
/// # Errors
/// If the signature is not the key's, if scheme and key do not go together, or if the key is not acceptable: a point
/// that is compressed or off its curve, an RSA modulus of fewer than 2048 or more than 8192 bits.
pub fn verify(
    scheme: SignatureScheme,
    key: &PublicKey<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), Unauthentic> {
    if !scheme.fits(key) {
        return Err(Unauthentic);
    }
    match *key {
        PublicKey::Ed25519(point) => backend::verify_ed25519(point, message, signature),
        PublicKey::Ecdsa { curve, point } => {
            check_point(curve, point).map_err(|_| Unauthentic)?;
            if signature.len() != 2 * curve.scalar_len() {
                return Err(Unauthentic);
            }
            backend::verify_ecdsa(curve, point, message, signature)
        }
        PublicKey::Rsa { n, e } => {
            let (n, e) = rsa::check_public(n, e).map_err(|_| Unauthentic)?;
            let mut padded = [0; rsa::MAX_MODULUS_LEN];
            let signature = rsa::full_length(signature, n.len(), &mut padded)?;
            backend::verify_rsa(scheme, n, e, message, signature)
        }
    }
}

fn check_point(curve: NistCurve, point: &[u8]) -> Result<(), KeyRejected> {
    // RFC 5656 §3.1: "point compression MAY be used". OpenSSH refuses compressed points, and so does this, because the
    // backends differ in what they accept.
    let uncompressed = point.len() == curve.point_len() && point[0] == UNCOMPRESSED;
    if uncompressed {
        Ok(())
    } else {
        Err(KeyRejected("point is not an uncompressed one of its curve"))
    }
}

/// A private key. Clones share one key; the key is erased with the last of them (by AWS-LC entirely; *ring*
/// does not erase what it has expanded).
#[derive(Clone)]
pub struct PrivateKey(Arc<Inner>);

struct Inner {
    pair: backend::KeyPair,
    public: OwnedPublicKey,
    /// Kept for Ed25519, whose holder may have to write the key to a file again.
    seed: Option<Zeroizing<[u8; 32]>>,
}

impl PrivateKey {
    /// The Ed25519 key of a 32-byte seed.
    #[must_use]
    pub fn ed25519_from_seed(seed: &[u8; 32]) -> Self {
        let (pair, public) = backend::KeyPair::ed25519(seed);
        PrivateKey::new(pair, OwnedPublicKey::Ed25519(public), Some(Zeroizing::new(*seed)))
    }

    /// A fresh Ed25519 key, from the backend's own generator.
    #[must_use]
    pub fn generate_ed25519() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom.fill(seed.as_mut());
        PrivateKey::ed25519_from_seed(&seed)
    }

    /// An ECDSA key from its scalar (big-endian, leading zero bytes permitted) and its uncompressed point.
    ///
    /// # Errors
    /// If the scalar is out of range or does not belong to the point.
    pub fn ecdsa_from_scalar(curve: NistCurve, scalar: &[u8], point: &[u8]) -> Result<Self, KeyRejected> {
        check_point(curve, point)?;
        let significant = strip_leading_zeros(scalar);
        let mut padded = Zeroizing::new([0; 66]);
        let padded = &mut padded[..curve.scalar_len()];
        let start = padded
            .len()
            .checked_sub(significant.len())
            .ok_or(KeyRejected("scalar is longer than its curve's order"))?;
        padded[start..].copy_from_slice(significant);
        let pair = backend::KeyPair::ecdsa(curve, padded, point)?;
        Ok(PrivateKey::new(
            pair,
            OwnedPublicKey::Ecdsa {
                curve,
                point: point.to_vec(),
            },
            None,
        ))
    }

    /// An RSA key from what OpenSSH's private key format holds.
    ///
    /// # Errors
    /// If the numbers do not belong together, or the modulus is not within the backend's limits: 2048 to 8192 bits
    /// with AWS-LC; with *ring* 2048 to 4096 bits, an exponent of 65537 or more, and `p > q`.
    pub fn rsa_from_components(components: &RsaComponents<'_>) -> Result<Self, KeyRejected> {
        let (n, e) = rsa::check_public(components.n, components.e)?;
        let pair = backend::KeyPair::rsa(&rsa::CrtComponents::derive(components)?)?;
        Ok(PrivateKey::new(
            pair,
            OwnedPublicKey::Rsa {
                n: n.to_vec(),
                e: e.to_vec(),
            },
            None,
        ))
    }

    fn new(pair: backend::KeyPair, public: OwnedPublicKey, seed: Option<Zeroizing<[u8; 32]>>) -> Self {
        PrivateKey(Arc::new(Inner { pair, public, seed }))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &OwnedPublicKey {
        &self.0.public
    }

    /// The seed of an Ed25519 key, for writing it to a file. `None` for other keys.
    #[must_use]
    pub fn ed25519_seed(&self) -> Option<Zeroizing<[u8; 32]>> {
        self.0.seed.clone()
    }

    /// Signs `message`. ECDSA signatures differ from call to call, the others do not.
    ///
    /// # Errors
    /// If the key does not sign under `scheme`, or the backend fails.
    pub fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, SignError> {
        if !scheme.fits(&self.0.public.as_borrowed()) {
            return Err(SignError::WrongScheme(scheme));
        }
        self.0
            .pair
            .sign(scheme, message)
            .map_err(|Unauthentic| SignError::Failed)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.public_key() {
            OwnedPublicKey::Ed25519(_) => "ed25519".to_owned(),
            OwnedPublicKey::Ecdsa { curve, .. } => format!("ecdsa {curve:?}"),
            OwnedPublicKey::Rsa { n, .. } => format!("rsa {}", n.len() * 8),
        };
        write!(f, "PrivateKey({kind}, ..)")
    }
}

/// Key material that cannot be used, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRejected(pub(crate) &'static str);

impl fmt::Display for KeyRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key rejected: {}", self.0)
    }
}

impl std::error::Error for KeyRejected {}

/// Why a signature was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// The key is of another kind than the scheme wants.
    WrongScheme(SignatureScheme),
    /// The backend refused, which a valid key does not make it do.
    Failed,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignError::WrongScheme(scheme) => write!(f, "the key cannot sign under {scheme:?}"),
            SignError::Failed => f.write_str("signing failed"),
        }
    }
}

impl std::error::Error for SignError {}

/// Big-endian numbers compare by what follows their leading zero bytes.
fn strip_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
