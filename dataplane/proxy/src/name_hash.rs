//! Names as numbers.

use weir_crypto::digest::{self, HashAlgorithm};

/// The first eight bytes of the name's SHA-256: the same on every machine and with every version, and nobody finds a name
/// that shares its number with a given other.
pub(crate) fn name_hash(name: &str) -> u64 {
    let digest = digest::hash(HashAlgorithm::Sha256, &[name.as_bytes()]);
    let first = digest
        .as_ref()
        .first_chunk()
        .expect("a SHA-256 digest has 32 bytes");
    u64::from_be_bytes(*first)
}
