//! Randomness as an argument: protocol code takes `&mut dyn Random`, so that tests can replay a run.

use std::convert::Infallible;

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

/// The same generator for the crates that speak `rand_core`.
pub(crate) struct LibraryRng;

impl rand_core::TryRng for LibraryRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        backend::fill_random(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        backend::fill_random(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        backend::fill_random(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for LibraryRng {}

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
}
