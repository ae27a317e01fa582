//! HMAC with SHA-2 (RFC 2104, RFC 4231; in SSH: RFC 6668).

use std::fmt;

use crate::{Unauthentic, backend, constant_time_eq};

/// The hash that an HMAC is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HmacAlgorithm {
    /// HMAC-SHA-256, a tag of 32 bytes.
    Sha256,
    /// HMAC-SHA-512, a tag of 64 bytes.
    Sha512,
}

impl HmacAlgorithm {
    /// Length of the tag, and of the key in SSH, in bytes.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        match self {
            HmacAlgorithm::Sha256 => 32,
            HmacAlgorithm::Sha512 => 64,
        }
    }
}

/// A key with both of its padded blocks hashed already. Boxed: AWS-LC keeps three hash states.
pub struct HmacKey(Box<backend::HmacKey>);

impl HmacKey {
    /// Prepares `key`, which may have any length.
    #[must_use]
    pub fn new(algorithm: HmacAlgorithm, key: &[u8]) -> Self {
        HmacKey(Box::new(backend::HmacKey::new(algorithm, key)))
    }

    /// The tag of the concatenation of `parts`.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> Tag {
        let mut tag = Tag {
            bytes: [0; 64],
            len: 0,
        };
        tag.len = self.0.sign(parts, &mut tag.bytes);
        tag
    }

    /// Checks `tag` over the concatenation of `parts` in constant time.
    ///
    /// # Errors
    /// If the tag is not the right one, or not of the full length.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> Result<(), Unauthentic> {
        if constant_time_eq(self.sign(parts).as_ref(), tag) {
            Ok(())
        } else {
            Err(Unauthentic)
        }
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey(..)")
    }
}

/// An HMAC tag. It has no `PartialEq` on purpose: [`HmacKey::verify`] compares in constant time.
#[derive(Clone, Copy)]
pub struct Tag {
    bytes: [u8; 64],
    len: usize,
}

impl AsRef<[u8]> for Tag {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({} bytes)", self.len)
    }
}
