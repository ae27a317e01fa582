//! SHA-2 (FIPS 180-4).

use std::fmt;

use crate::backend;

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl HashAlgorithm {
    /// Length of the digest in bytes.
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            HashAlgorithm::Sha256 => 32,
            HashAlgorithm::Sha384 => 48,
            HashAlgorithm::Sha512 => 64,
        }
    }
}

/// The digest of the concatenation of `parts`.
#[must_use]
pub fn hash(algorithm: HashAlgorithm, parts: &[&[u8]]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// A digest under way.
#[derive(Clone)]
pub struct Hasher(backend::Hasher);

impl Hasher {
    /// Starts a digest of nothing.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Hasher(backend::Hasher::new(algorithm))
    }

    /// Appends `data` to what is hashed.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of all that was appended.
    #[must_use]
    pub fn finish(self) -> Digest {
        let mut digest = Digest {
            bytes: [0; 64],
            len: 0,
        };
        digest.len = self.0.finish(&mut digest.bytes);
        digest
    }
}

impl fmt::Debug for Hasher {
    /// Prints no state: what is hashed may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(..)")
    }
}

/// A digest of 32 to 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    bytes: [u8; 64],
    len: usize,
}

/// A digest of secrets is itself one: keys are made of it.
impl zeroize::Zeroize for Digest {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Digest {
    /// As `sha256sum` and its like print it. Not for digests that are secrets: the text is not zeroised.
    pub fn to_hex(&self) -> String {
        self.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Digest {
    /// Prints no bytes: exchange hashes and keys are digests too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({} bytes)", self.len)
    }
}
