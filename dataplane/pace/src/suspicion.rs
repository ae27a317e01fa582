//! What a run of drops says about a source address.
//!
//! ```text
//!   drop with nothing else in flight        6th in a row                     one more
//!   ────────────────────────────────▶ run ───────────────▶ pauses 1, 2, 4 … ──────────▶ suspected: alert, once
//!            pauses below 50 ms · 2ⁿ     │                        │                        │
//!                                        └────── any handshake that is let in ends it ─────┘
//! ```
//!
//! sshd that is merely crowded drops by chance, and soon lets one in; a ban (`PerSourcePenalties`) drops all, for 15 s and more,
//! and in the same words. Before 9.8 there are no bans, and `Exceeded MaxStartups` is said by those versions only.

use std::time::Duration;

use crate::{
    Timestamp,
    config::Config,
    outcome::DropForm,
    retry::{Random, around, doubled, full_jitter},
};

#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    run: u32,
    not_before: Timestamp,
}

impl Suspicion {
    /// Nothing starts before.
    pub(crate) fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// A ban is suspected.
    pub(crate) fn is_raised(&self, config: &Config) -> bool {
        self.run > config.ban_after
    }

    /// A handshake was dropped with nothing else in flight. True when that is what raises the suspicion.
    pub(crate) fn dropped(
        &mut self,
        now: Timestamp,
        form: DropForm,
        config: &Config,
        rng: Random<'_>,
    ) -> bool {
        self.run += 1;
        if form == DropForm::ExceededMaxStartups {
            self.run = self.run.min(config.ban_after - 1);
        }
        let pause = match self.run.checked_sub(config.ban_after) {
            Some(n) => around(rng, doubled(config.ban_probe_base, n, config.longest_ban_probe())),
            // One drop is chance; the caller's own retry is put off anyway.
            None if self.run == 1 => Duration::ZERO,
            None => full_jitter(rng, config.retry_base, self.run - 2, config.retry_limit),
        };
        self.not_before = now + pause;
        self.run == config.ban_after + 1
    }

    /// The port was refused: `n` times in a row.
    pub(crate) fn put_off(&mut self, now: Timestamp, n: u32, config: &Config, rng: Random<'_>) {
        let pause = full_jitter(rng, config.retry_base, n, config.retry_limit / 2);
        self.not_before = self.not_before.max(now + pause);
    }

    /// sshd let a handshake in, whatever became of it.
    pub(crate) fn let_in(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.run == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Duration::from_secs(100);

    /// The pauses after each of `drops`, with the middle of every random range.
    fn pauses(config: &Config, form: DropForm, drops: usize) -> (Vec<u128>, Vec<usize>) {
        let (mut suspicion, mut alerts) = (Suspicion::default(), Vec::new());
        let pauses = (1..=drops).map(|drop| {
            if suspicion.dropped(NOW, form, config, &mut || 1 << 63) {
                alerts.push(drop);
            }
            (suspicion.not_before() - NOW).as_millis()
        });
        (pauses.collect(), alerts)
    }

    #[test]
    fn probes_of_a_suspected_ban_grow_apart_and_one_alert_is_raised() {
        let patient = Config {
            wait_limit: Duration::from_mins(5),
            ..Config::default()
        };
        let (pauses, alerts) = pauses(&patient, DropForm::NotAllowed, 12);
        assert_eq!(
            pauses,
            [0, 25, 50, 100, 200, 1000, 2000, 4000, 8000, 15000, 15000, 15000]
        );
        assert_eq!(alerts, [7]);
    }

    #[test]
    fn who_waits_thirty_seconds_sees_eight_probes() {
        let (pauses, _) = pauses(&Config::default(), DropForm::Closed, 30);
        assert_eq!(pauses[5..9], [1000, 2000, 3750, 3750]);
    }

    #[test]
    fn server_that_knows_no_bans_is_not_suspected() {
        let (pauses, alerts) = pauses(&Config::default(), DropForm::ExceededMaxStartups, 50);
        assert!(alerts.is_empty());
        assert!(pauses.iter().all(|pause| *pause <= 2000));
    }

    #[test]
    fn handshake_that_is_let_in_ends_the_suspicion() {
        let (config, mut suspicion) = (Config::default(), Suspicion::default());
        for _ in 0..10 {
            suspicion.dropped(NOW, DropForm::NotAllowed, &config, &mut || 0);
        }
        assert!(suspicion.is_raised(&config));
        suspicion.let_in();
        assert!(!suspicion.is_raised(&config) && suspicion.is_fresh());
        assert_eq!(suspicion.not_before(), Duration::ZERO);
    }
}
