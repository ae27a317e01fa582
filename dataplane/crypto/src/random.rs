//! Randomness as an argument: protocol code takes `&mut dyn Random`, so that tests can replay a run.

use std::convert::Infallible;
use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::backend;

/// A source of bytes that nobody can predict.
///
/// Long-lived and ephemeral private keys never come from here: their generation draws on the backend's own
/// generator, so that a replayed test source cannot end up in a key.
pub trait Random {
    /// Fills `out` entirely.
    fn fill(&mut self, out: &mut [u8]);
}

/// The backend's generator, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    /// # Panics
    /// If the operating system refuses entropy: there is no safe way to go on.
    fn fill(&mut self, out: &mut [u8]) {
        backend::fill_random(out);
    }
}

/// The same generator, asked for a kilobyte at a time.
///
/// Asking costs about as much as sealing a small packet, and a packet wants a few bytes of padding. What has been handed
/// out is erased from the pool. A process that forks and goes on in both halves must not keep one.
#[derive(Default)]
pub struct PooledRandom {
    /// Filled from the end: the first `unused` bytes have not been handed out.
    pool: Zeroizing<Vec<u8>>,
    unused: usize,
}

impl PooledRandom {
    const POOL_BYTES: usize = 1024;
}

impl Random for PooledRandom {
    /// # Panics
    /// If the operating system refuses entropy: there is no safe way to go on.
    fn fill(&mut self, out: &mut [u8]) {
        if out.len() > Self::POOL_BYTES {
            return backend::fill_random(out);
        }
        if self.unused < out.len() {
            self.pool.resize(Self::POOL_BYTES, 0);
            backend::fill_random(&mut self.pool);
            self.unused = Self::POOL_BYTES;
        }
        let handed_out = &mut self.pool[self.unused - out.len()..self.unused];
        out.copy_from_slice(handed_out);
        handed_out.zeroize();
        self.unused -= out.len();
    }
}

impl fmt::Debug for PooledRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PooledRandom(..)")
    }
}

/// For the crates that speak `rand_core`, some of which draw a word at a time.
impl rand_core::TryRng for PooledRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.fill(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for PooledRandom {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ_and_fill_the_whole_buffer() {
        let (mut a, mut b) = ([0; 64], [0; 64]);
        SystemRandom.fill(&mut a);
        SystemRandom.fill(&mut b);
        assert_ne!(a, b);
        assert_ne!(a[48..], [0; 16]);
        SystemRandom.fill(&mut []);
    }
    #[test]
    fn the_pool_never_hands_out_a_byte_twice() {
        let mut random = PooledRandom::default();
        let mut seen = std::collections::HashSet::new();
        for len in (8..300).chain([1023, 1024, 1025, 4096]) {
            let mut out = vec![0; len];
            random.fill(&mut out);
            for draw in out.chunks_exact(8) {
                assert!(
                    seen.insert(draw.to_vec()),
                    "a draw of {len} bytes repeats {draw:02x?}"
                );
            }
        }
        assert!(random.pool[random.unused..].iter().all(|byte| *byte == 0));
    }
}
