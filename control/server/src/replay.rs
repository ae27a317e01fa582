//! Which proofs have been taken.
//!
//! A proof is a user's signature over one SSH session; it is good for one certificate. It bears no time of its own,
//! but names the user's certificate, and is worth nothing once that has expired. So proofs are remembered by the hour in which
//! their certificate ends, and an hour that has passed is forgotten as a whole.
//!
//! Invariant: `len` is the sum of the hours' sizes and never above `capacity`. When it is reached, proofs are
//! refused rather than forgotten early. Cost: some 32 bytes each.

use std::collections::{BTreeMap, HashSet};

use weir_crypto::digest::{HashAlgorithm, hash};

const SECONDS_PER_HOUR: u64 = 3600;

/// 16 bytes of SHA-256: to find two sessions that agree in them takes 2⁶⁴ tries, and gains a refusal.
pub(crate) type ProofDigest = [u8; 16];

/// The proofs that must not be taken again.
#[derive(Debug)]
pub(crate) struct ProofMemory {
    by_hour: BTreeMap<u64, HashSet<ProofDigest>>,
    len: usize,
    capacity: usize,
}

/// Why a proof is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// It has been taken before.
    Repeated,
    /// There is no room to remember it.
    Full,
}

impl ProofMemory {
    pub(crate) fn new(capacity: usize) -> ProofMemory {
        ProofMemory {
            by_hour: BTreeMap::new(),
            len: 0,
            capacity,
        }
    }

    /// Takes a proof, once. `expires`: when the user's certificate ends; both times in seconds since 1970-01-01 UTC.
    pub(crate) fn take(&mut self, proof: ProofDigest, expires: u64, now: u64) -> Result<(), NotTaken> {
        self.forget_before(now);
        let hour = expires / SECONDS_PER_HOUR;
        if self
            .by_hour
            .get(&hour)
            .is_some_and(|proofs| proofs.contains(&proof))
        {
            return Err(NotTaken::Repeated);
        }
        if self.len >= self.capacity {
            return Err(NotTaken::Full);
        }
        self.by_hour.entry(hour).or_default().insert(proof);
        self.len += 1;
        Ok(())
    }

    fn forget_before(&mut self, now: u64) {
        let this_hour = now / SECONDS_PER_HOUR;
        while let Some(entry) = self.by_hour.first_entry()
            && *entry.key() < this_hour
        {
            self.len -= entry.remove().len();
        }
    }
}

/// What is remembered of the proof for the SSH session with this identifier (the exchange hash, RFC 4253 §7.2).
///
/// The session is hashed, not the signature: an ECDSA signature can be turned into another valid one by anybody, and a
/// second signature over the same session is no second sign-in either.
pub(crate) fn proof_digest(session_identifier: &[u8]) -> ProofDigest {
    let digest = hash(HashAlgorithm::Sha256, &[b"weir proof\0", session_identifier]);
    let mut shortened = ProofDigest::default();
    shortened.copy_from_slice(&digest.as_ref()[..16]);
    shortened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_taken_once_as_long_as_its_certificate_lives() {
        let mut memory = ProofMemory::new(10);
        let (one, two) = (proof_digest(b"one"), proof_digest(b"two"));
        assert_eq!(memory.take(one, 7_300, 100), Ok(()));
        assert_eq!(memory.take(two, 7_300, 100), Ok(()));
        assert_eq!(memory.take(one, 7_300, 7_299), Err(NotTaken::Repeated));
    }

    #[test]
    fn what_has_expired_makes_room_and_nothing_else_does() {
        let mut memory = ProofMemory::new(2);
        assert_eq!(memory.take([1; 16], 3_000, 0), Ok(()));
        assert_eq!(memory.take([2; 16], 9_000, 0), Ok(()));
        assert_eq!(memory.take([3; 16], 9_000, 3_599), Err(NotTaken::Full));
        assert_eq!(memory.take([2; 16], 9_000, 3_599), Err(NotTaken::Repeated));
        assert_eq!(memory.take([3; 16], 9_000, 3_600), Ok(()));
        assert_eq!(memory.len, 2);
    }
}
