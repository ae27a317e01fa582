//! How often a store is asked that does not take recordings.
//!
//! Two clocks: each recording waits longer after each failure of its own, so that one that can never be put does not hold up
//! others; and after a failure the whole store is left alone for a while, then asked by one recording, so that however
//! many wait it is not run over. When one comes through, two follow, then four.

use std::time::Duration;

use tokio::time::Instant;
use weir_crypto::random::{Random, SystemRandom};

/// The first wait and the longest; doubled in between.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

pub(super) struct Patience {
    most: usize,
    /// Uploads that may be under way.
    width: usize,
    /// In a row; those of uploads that were under way together are one.
    failures: u32,
    pause_until: Option<Instant>,
    prefers_fresh: bool,
}

impl Patience {
    pub(super) fn new(most: usize) -> Self {
        Patience {
            most,
            width: most,
            failures: 0,
            pause_until: None,
            prefers_fresh: false,
        }
    }

    /// Whether another upload may begin, with so many under way.
    pub(super) fn permits(&self, now: Instant, under_way: usize) -> bool {
        under_way < self.width && self.pause_until.is_none_or(|until| until <= now)
    }

    /// Whether the next should be one that was not tried yet: the last that failed was, and may be to blame itself.
    pub(super) fn prefers_fresh(&self) -> bool {
        self.prefers_fresh
    }

    /// When something that is due at `at` may begin, if that is a matter of time.
    pub(super) fn wake(&self, at: Instant) -> Option<Instant> {
        let at = self.pause_until.map_or(at, |until| until.max(at));
        (at > Instant::now()).then_some(at)
    }

    /// An upload came through. Returns whether that is news.
    pub(super) fn succeeded(&mut self) -> bool {
        self.width = (self.width * 2).min(self.most);
        self.pause_until = None;
        self.prefers_fresh = false;
        std::mem::take(&mut self.failures) > 0
    }

    /// The store did not take a recording, which was tried for the first time or not.
    pub(super) fn failed(&mut self, now: Instant, was_fresh: bool) {
        self.width = 1;
        self.prefers_fresh = !was_fresh;
        if self.pause_until.is_none_or(|until| until <= now) {
            self.pause_until = Some(now + delay(self.failures));
            self.failures = self.failures.saturating_add(1);
        }
    }
}

/// How long to wait after so many failures before this one: between half and all of what doubling gives, by chance, so that
/// what failed together does not come again together.
pub(super) fn delay(failures: u32) -> Duration {
    let full = BACKOFF.0.saturating_mul(1 << failures.min(16)).min(BACKOFF.1);
    let mut chance = [0; 2];
    SystemRandom.fill(&mut chance);
    full / 2 + full / 2 * u32::from(u16::from_le_bytes(chance)) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_minute_and_are_not_all_alike() {
        for failures in 0..80 {
            let full = Duration::from_secs(1 << failures.min(6)).min(Duration::from_secs(60));
            let waits: Vec<_> = (0..50).map(|_| delay(failures)).collect();
            assert!(
                waits.iter().all(|wait| (full / 2..=full).contains(wait)),
                "{waits:?}"
            );
            assert!(waits.iter().any(|wait| wait != &waits[0]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_first_when_the_store_was_away_and_others_follow() {
        let mut patience = Patience::new(4);
        let now = Instant::now();
        assert!(patience.permits(now, 3) && !patience.permits(now, 4));
        // Four that were under way together are one failure.
        for _ in 0..4 {
            patience.failed(now, true);
        }
        assert!(!patience.permits(now, 0));
        let later = now + BACKOFF.0;
        assert!(patience.permits(later, 0) && !patience.permits(later, 1));
        patience.failed(later, true);
        assert!(!patience.permits(later + BACKOFF.0 - Duration::from_millis(1), 0));
        assert!(patience.succeeded());
        assert!(patience.permits(later, 1) && !patience.permits(later, 2));
        assert!(!patience.succeeded(), "once is news");
        assert!(patience.permits(later, 3) && !patience.permits(later, 4));
    }
}
