//! Key agreement: X25519 (RFC 7748), ECDH on the NIST curves (SEC 1, SP 800-56A), and two post-quantum key
//! encapsulation mechanisms.
//!
//! Every private half is used once, consumed by the step that uses it, and erased by the library that owns it.
//! Generation draws on the backend's own generator.

use std::fmt;

use zeroize::Zeroizing;

use crate::{Unauthentic, backend};

pub mod mlkem768;
pub mod sntrup761;

/// A group for Diffie-Hellman.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// Curve25519, u-coordinates of 32 bytes.
    X25519,
    /// secp256r1, uncompressed points of 65 bytes.
    P256,
    /// secp384r1, uncompressed points of 97 bytes.
    P384,
    /// secp521r1, uncompressed points of 133 bytes.
    P521,
}

impl Curve {
    /// Length of a public value in bytes.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Curve::X25519 => 32,
            Curve::P256 => 65,
            Curve::P384 => 97,
            Curve::P521 => 133,
        }
    }
}

/// The private half of one agreement.
pub struct EphemeralKey {
    curve: Curve,
    private: backend::EphemeralKey,
    public: Vec<u8>,
}

impl EphemeralKey {
    /// A fresh key.
    ///
    /// # Panics
    /// If the backend cannot generate one, for lack of entropy or memory.
    #[must_use]
    pub fn generate(curve: Curve) -> Self {
        let (private, public) = backend::EphemeralKey::generate(curve);
        debug_assert_eq!(public.len(), curve.public_len());
        EphemeralKey {
            curve,
            private,
            public,
        }
    }

    /// The public value to send: a u-coordinate, or an uncompressed point.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Agrees with the peer's public value. The secret is the shared u-coordinate as it stands (X25519), or the
    /// x-coordinate of the shared point, big-endian and of the field's full length.
    ///
    /// # Errors
    /// If `peer` is not of the curve's length, not an uncompressed point on the curve, or (X25519) of small order.
    pub fn agree(self, peer: &[u8]) -> Result<SharedSecret, Unauthentic> {
        if peer.len() != self.curve.public_len() {
            return Err(Unauthentic);
        }
        // Only the uncompressed form: the backends differ in what else they accept, and SSH peers send nothing else.
        if self.curve != Curve::X25519 && peer[0] != UNCOMPRESSED {
            return Err(Unauthentic);
        }
        let secret = self.private.agree(self.curve, peer)?;
        // RFC 8731 §3: "clients and servers MUST also abort if the shared secret is all-zero". Both backends check;
        // this does not depend on them.
        if self.curve == Curve::X25519 && crate::constant_time_eq(secret.as_ref(), &[0; 32]) {
            return Err(Unauthentic);
        }
        Ok(secret)
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EphemeralKey")
            .field("curve", &self.curve)
            .finish_non_exhaustive()
    }
}

/// What two sides have agreed on. Erased when dropped, never printed.
pub struct SharedSecret(Zeroizing<Vec<u8>>);

impl SharedSecret {
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        SharedSecret(Zeroizing::new(bytes.to_vec()))
    }
}

impl AsRef<[u8]> for SharedSecret {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

/// SEC 1 §2.3.3: the first byte of an uncompressed point.
pub(crate) const UNCOMPRESSED: u8 = 4;
