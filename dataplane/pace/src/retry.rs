//! Delays drawn at random, so that those who failed together do not come back together.

use std::time::Duration;

/// A source of uniformly distributed 64-bit numbers.
pub type Random<'a> = &'a mut dyn FnMut() -> u64;

/// The delay before retry `n` (from 0): uniform below `base · 2ⁿ`, at most `limit` ("full jitter").
pub(crate) fn full_jitter(rng: Random<'_>, base: Duration, n: u32, limit: Duration) -> Duration {
    below(rng, doubled(base, n, limit))
}

/// `base · 2ⁿ`, at most `limit`.
pub(crate) fn doubled(base: Duration, n: u32, limit: Duration) -> Duration {
    base.saturating_mul(1 << n.min(31)).min(limit)
}

/// Uniform in `0..bound`.
pub(crate) fn below(rng: Random<'_>, bound: Duration) -> Duration {
    nanos((bound.as_nanos() * u128::from(rng() >> 32)) >> 32)
}

/// Uniform between half of `middle` and one and a half of it.
pub(crate) fn around(rng: Random<'_>, middle: Duration) -> Duration {
    middle / 2 + below(rng, middle)
}

/// `time · numerator / denominator`.
pub(crate) fn scaled(time: Duration, numerator: u64, denominator: u64) -> Duration {
    nanos(time.as_nanos().saturating_mul(u128::from(numerator)) / u128::from(denominator.max(1)))
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(50);
    const LIMIT: Duration = Duration::from_secs(2);

    #[test]
    fn retry_delay_is_spread_over_a_range_that_doubles_up_to_the_limit() {
        for (n, bound) in [(0, 50), (1, 100), (2, 200), (5, 1600), (6, 2000), (40, 2000)] {
            let bound = Duration::from_millis(bound);
            assert_eq!(full_jitter(&mut || 0, BASE, n, LIMIT), Duration::ZERO);
            let longest = full_jitter(&mut || u64::MAX, BASE, n, LIMIT);
            assert!(
                longest < bound && longest > bound.mul_f64(0.999),
                "{n}: {longest:?}"
            );
            let middle = full_jitter(&mut || 1 << 63, BASE, n, LIMIT);
            assert_eq!(middle, bound / 2);
        }
    }

    #[test]
    fn long_times_saturate() {
        assert_eq!(scaled(Duration::MAX, 3, 1), Duration::from_nanos(u64::MAX));
        assert_eq!(scaled(LIMIT, 3, 4), Duration::from_millis(1500));
    }
}
