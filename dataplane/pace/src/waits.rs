//! How long callers waited.
//!
//! Who is admitted at once is not written down: they are the first admissions that no other bucket has. So a login at an idle
//! target touches no memory for this, and a target has a histogram only from the first wait on.

use std::{array, time::Duration};

/// How long callers waited until they were admitted for the first time. Who gives up before is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// The longest wait of each bucket but the last, which has none; ascending. The first is zero: admitted at once.
    pub bounds: &'static [Duration],
    /// Callers whose wait was within a bound and above the one before; one more than there are bounds.
    pub counts: [u64; Waits::BUCKETS],
    /// All waits together.
    pub sum: Duration,
}

impl Waits {
    /// The number of buckets, that of the longest waits included.
    pub const BUCKETS: usize = BOUNDS.len() + 1;

    pub(crate) fn of(first_admissions: u64, waited: Option<&Histogram>) -> Self {
        let mut waits = Self::default();
        waits.counts[0] = first_admissions;
        if let Some(Histogram { counts, sum }) = waited {
            waits.sum = *sum;
            waits.counts[0] -= counts.iter().sum::<u64>();
            waits.counts[1..].copy_from_slice(counts);
        }
        waits
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let counts = self.counts;
        self.counts = array::from_fn(|bucket| counts[bucket] + other.counts[bucket]);
        self.sum += other.sum;
    }
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            bounds: &BOUNDS,
            counts: [0; Self::BUCKETS],
            sum: Duration::ZERO,
        }
    }
}

/// From what nobody notices to the default wait limit.
const BOUNDS: [Duration; 11] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// The waits that were not zero.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [u64; BOUNDS.len()],
    sum: Duration,
}

impl Histogram {
    /// Adds the wait of who was not admitted at once.
    pub(crate) fn add(&mut self, waited: Duration) {
        if let Some(bucket) = BOUNDS.partition_point(|bound| *bound < waited).checked_sub(1) {
            self.counts[bucket] += 1;
            self.sum += waited;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_in_the_bucket_of_the_bound_that_it_does_not_pass() {
        let mut histogram = Histogram::default();
        let ms = Duration::from_millis;
        for waited in [ms(0), ms(10), ms(11), ms(30_000), ms(30_001), ms(90_000)] {
            histogram.add(waited);
        }
        assert_eq!(histogram.count(), 5);
        let waits = Waits::of(8, Some(&histogram));
        assert_eq!(waits.counts, [3, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(waits.sum, ms(150_022));
        assert_eq!(waits.bounds.len() + 1, waits.counts.len());
        assert!(waits.bounds.is_sorted());
    }

    #[test]
    fn who_is_admitted_at_once_needs_no_histogram() {
        let mut waits = Waits::of(3, None);
        waits.add(&Waits::of(4, None));
        assert_eq!((waits.counts[0], waits.sum), (7, Duration::ZERO));
    }
}
