//! How many handshakes with one target may be in flight.
//!
//! ```text
//!   size W ──┐ success while full: +1 per round (below `threshold`: +1 each)
//!            │ drop: · 0.7, and at most what is still in flight
//!   ceiling ─┤ what was in flight when a drop showed that one more is too many; holds 1 s, 2 s, 4 s
//!   cap ─────┘ this data plane's share of `start - 1`; never exceeded
//!
//!   limit = min(W, ceiling, cap)
//! ```
//!
//! A drop at `k` in flight makes the ceiling `k - 1`, not `k`: what has been shown to be too many is tried again only by
//! the probe when the ceiling's time is over, else each return to the ceiling would cost a drop and a fall of the window.
//! Drops of handshakes that were admitted before the last fall tell of the same crowd: they lower the window to what
//! the target has kept, and multiply it no further. So a burst against `MaxStartups 2` finds 2 within a round trip.
//!
//! **Fractions are time.** A limit of 4.5 is four slots and a fifth that is open half of the time: after it has been
//! used for a while it stays shut for as long, more or less at random. With more data planes than slots each has a
//! fraction only, and still gets its turn.

use std::time::Duration;

use crate::{
    Timestamp,
    retry::{Random, around, scaled},
};

/// One handshake in flight; sizes are in parts of it.
pub(crate) const SLOT: u64 = 1 << 20;

/// The first time for which a ceiling holds; doubled each time that a probe finds it again.
///
/// Long against a handshake, so that probes cost little; short against the minutes for which people feel a slow login.
const FIRST_HOLD: Duration = Duration::from_secs(1);
/// A target that is limited for good costs one hidden retry in this time. Where the limit was somebody else's crowd, the room
/// that they left goes unused for so long: held for 8 s, a tenth is lost where others come and go; for a minute, half.
const LONGEST_HOLD: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    /// Below it the size grows by a slot for each success: it has been this large before.
    threshold: u64,
    /// Boxed: most targets never have one.
    ceiling: Option<Box<Ceiling>>,
    /// When it fell last.
    fell_at: Option<Timestamp>,
    slice: Slice,
}

#[derive(Debug)]
struct Ceiling {
    slots: u64,
    hold: Duration,
    until: Timestamp,
}

/// The slot that is open for a part of the time.
#[derive(Debug, Default)]
struct Slice {
    taken_at: Option<Timestamp>,
    opens_at: Timestamp,
}

impl Window {
    /// A window of `first` slots that grows fast up to `threshold`.
    pub(crate) fn new(first: u64, threshold: u64) -> Self {
        Self {
            size: first.max(SLOT),
            threshold,
            ceiling: None,
            fell_at: None,
            slice: Slice::default(),
        }
    }

    /// Handshakes that may be in flight, in parts of [`SLOT`].
    pub(crate) fn limit(&self, now: Timestamp, cap: u64) -> u64 {
        let held = self.ceiling.as_ref().filter(|ceiling| now < ceiling.until);
        let ceiling = held.map_or(u64::MAX, |ceiling| ceiling.slots * SLOT);
        self.size.max(least(cap)).min(cap).min(ceiling)
    }

    /// The ceiling in slots, while it holds.
    pub(crate) fn ceiling(&self, now: Timestamp) -> Option<u64> {
        let held = self.ceiling.as_ref().filter(|ceiling| now < ceiling.until);
        held.map(|ceiling| ceiling.slots)
    }

    /// May one more than `in_flight` start now?
    pub(crate) fn admits(&self, now: Timestamp, in_flight: u64, cap: u64) -> bool {
        let (whole, part) = self.slots(now, cap);
        in_flight < whole || (in_flight == whole && part > 0 && now >= self.slice.opens_at)
    }

    /// When one more than `in_flight` may start though nothing ends; none if something has to end first.
    pub(crate) fn opens_at(&self, now: Timestamp, in_flight: u64, cap: u64) -> Option<Timestamp> {
        let (whole, part) = self.slots(now, cap);
        (in_flight == whole && part > 0 && now < self.slice.opens_at).then_some(self.slice.opens_at)
    }

    /// `in_flight` have become that many by an admission.
    pub(crate) fn taken(&mut self, now: Timestamp, in_flight: u64, cap: u64) {
        if in_flight > self.slots(now, cap).0 {
            self.slice.taken_at.get_or_insert(now);
        }
    }

    /// `in_flight` are left. The slice is shut for a while if it was in use, at most for about `longest` while W is not below the cap.
    pub(crate) fn vacated(
        &mut self,
        now: Timestamp,
        in_flight: u64,
        cap: u64,
        longest: Duration,
        rng: Random<'_>,
    ) {
        let (whole, part) = self.slots(now, cap);
        let Some(taken_at) = self.slice.taken_at else {
            return;
        };
        if in_flight > whole {
            return;
        }
        self.slice.taken_at = None;
        if part > 0 {
            let used = now.saturating_sub(taken_at);
            let shut = if whole == 0 {
                // What the share leaves to the others is bounded, so that who waits here gets a turn; drops lengthen it beyond.
                let due = scaled(used, SLOT - cap, cap).min(longest);
                scaled(due, cap, part)
            } else {
                scaled(used, SLOT - part, part)
            };
            self.slice.opens_at = now + around(rng, shut);
        }
    }

    /// Keeps the slice shut until `at`.
    pub(crate) fn postpone(&mut self, at: Timestamp) {
        self.slice.opens_at = self.slice.opens_at.max(at);
    }

    /// A handshake has succeeded; `full` says whether the window was what held others back.
    pub(crate) fn succeeded(&mut self, now: Timestamp, full: bool, cap: u64) {
        if !full {
            return;
        }
        let step = if self.size < SLOT {
            cap.min(SLOT) / 4
        } else if self.size < self.threshold {
            SLOT
        } else {
            SLOT * SLOT / self.size
        };
        // What has grown past the limit unused would be let loose all at once when the limit rises.
        self.size = (self.size + step).min(self.limit_without_size(now, cap));
    }

    /// sshd dropped a handshake that was admitted at `admitted_at`, while `in_flight` were, itself included.
    pub(crate) fn dropped(&mut self, now: Timestamp, admitted_at: Timestamp, in_flight: u64, cap: u64) {
        let kept = in_flight.saturating_sub(1).max(1);
        let falls = self.fell_at.is_none_or(|fell_at| admitted_at >= fell_at);
        let (slots, hold) = match &self.ceiling {
            Some(known) if !falls => (known.slots.min(kept), known.hold),
            Some(known) if known.slots.abs_diff(kept) <= 1 => (kept, (known.hold * 2).min(LONGEST_HOLD)),
            _ => (kept, FIRST_HOLD),
        };
        if falls {
            self.size = self.limit(now, cap) / 10 * 7;
            self.fell_at = Some(now);
        }
        self.size = self.size.min(kept * SLOT).max(least(cap));
        self.threshold = self.size;
        self.ceiling = Some(Box::new(Ceiling {
            slots,
            hold,
            until: now + hold,
        }));
    }

    /// The target is away: one at a time, until it is seen to be back. From then on it grows to half of what it was at once.
    pub(crate) fn collapse(&mut self, now: Timestamp, cap: u64) {
        self.threshold = self.threshold.max(self.limit(now, cap) / 2);
        self.size = self.size.min(SLOT);
    }

    /// Nothing has been learnt that a new window would not have.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fell_at.is_none()
    }

    fn limit_without_size(&self, now: Timestamp, cap: u64) -> u64 {
        let ceiling = self.ceiling(now).map_or(u64::MAX, |slots| slots * SLOT);
        cap.min(ceiling)
    }

    /// Whole slots, and the part of a slot that is open for a part of the time.
    ///
    /// A window on its way from 6 to 7 has no use for that: fractions are sliced only of a share, or where there is no whole slot.
    fn slots(&self, now: Timestamp, cap: u64) -> (u64, u64) {
        let limit = self.limit(now, cap);
        let (whole, part) = (limit / SLOT, limit % SLOT);
        if limit == cap || whole == 0 {
            (whole, part)
        } else {
            (whole, 0)
        }
    }
}

/// What no drop takes away: one slot, or an eighth of a share that is less than one.
fn least(cap: u64) -> u64 {
    if cap >= SLOT { SLOT } else { cap.div_ceil(8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NOW: Timestamp = Duration::from_secs(100);
    const CAP: u64 = 9 * SLOT;

    fn window() -> Window {
        Window::new(8 * SLOT, 8 * SLOT)
    }

    fn round(window: &mut Window, now: Timestamp) {
        for _ in 0..window.limit(now, CAP) / SLOT {
            window.succeeded(now, true, CAP);
        }
    }

    #[test]
    fn window_grows_by_one_in_a_round_of_successes_and_stops_at_the_cap() {
        let mut window = window();
        round(&mut window, NOW);
        assert!(window.limit(NOW, CAP) > 8 * SLOT + SLOT * 9 / 10);
        for _ in 0..20 {
            round(&mut window, NOW);
        }
        assert_eq!(window.limit(NOW, CAP), CAP);
        assert!(window.is_fresh());
    }

    #[test]
    fn window_that_is_not_full_does_not_grow() {
        let mut window = window();
        for _ in 0..100 {
            window.succeeded(NOW, false, CAP);
        }
        assert_eq!(window.limit(NOW, CAP), 8 * SLOT);
    }

    #[test]
    fn burst_against_two_slots_finds_two_at_once_and_goes_on_probing() {
        let mut window = window();
        for in_flight in (3..=8).rev() {
            window.dropped(NOW, NOW - MS, in_flight, CAP);
        }
        assert_eq!(window.limit(NOW, CAP), 2 * SLOT);
        assert_eq!(window.ceiling(NOW), Some(2));
        // A round takes 100 ms; whenever three are in flight one is dropped.
        let (mut now, mut drops) = (NOW, 0);
        while now < NOW + Duration::from_mins(10) {
            now += 100 * MS;
            round(&mut window, now);
            if window.limit(now, CAP) >= 3 * SLOT {
                window.dropped(now + MS, now, 3, CAP);
                drops += 1;
            }
            assert!(
                window.limit(now + MS, CAP) >= 2 * SLOT,
                "a probe costs no capacity"
            );
        }
        assert!(drops <= 150, "{drops} drops in ten minutes");
    }

    #[test]
    fn ceiling_is_left_behind_when_the_others_have_gone() {
        let mut window = window();
        window.dropped(NOW, NOW - MS, 4, CAP);
        assert_eq!(window.limit(NOW, CAP), 3 * SLOT);
        let later = NOW + FIRST_HOLD;
        for _ in 0..20 {
            round(&mut window, later);
        }
        assert_eq!(window.limit(later, CAP), CAP);
    }

    #[test]
    fn one_crowd_lowers_the_window_once() {
        let mut window = window();
        window.dropped(NOW, NOW - MS, 8, CAP);
        let fallen = window.limit(NOW, CAP);
        assert_eq!(fallen, 8 * SLOT / 10 * 7);
        window.dropped(NOW + MS, NOW - MS, 8, CAP);
        assert_eq!(window.limit(NOW, CAP), fallen);
        window.dropped(NOW + MS, NOW, 8, CAP);
        assert_eq!(window.limit(NOW, CAP), fallen / 10 * 7);
    }

    #[test]
    fn half_a_slot_is_open_half_of_the_time() {
        let cap = 9 * SLOT / 2;
        let mut window = Window::new(8 * SLOT, 8 * SLOT);
        let (mut now, mut open, mut seed) = (NOW, Duration::ZERO, 7_u64);
        let mut rng = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        };
        while now < NOW + Duration::from_secs(1000) {
            assert!(window.admits(now, 3, cap), "four are always open");
            if window.admits(now, 4, cap) {
                window.taken(now, 5, cap);
                assert!(!window.admits(now, 5, cap));
                open += 100 * MS;
                now += 100 * MS;
                window.vacated(now, 4, cap, NOW, &mut rng);
            } else {
                now = window.opens_at(now, 4, cap).unwrap();
            }
        }
        let part = open.as_secs_f64() / 1000.0;
        assert!((0.45..0.55).contains(&part), "{part}");
    }

    #[test]
    fn share_far_below_one_slot_still_gets_its_turn() {
        let cap = 9 * SLOT / 1000;
        let mut window = window();
        assert!(window.admits(NOW, 0, cap), "at once after silence");
        window.taken(NOW, 1, cap);
        let longest = Duration::from_secs(7);
        window.vacated(NOW + 100 * MS, 0, cap, longest, &mut || u64::MAX / 2);
        assert!(!window.admits(NOW + 101 * MS, 0, cap));
        let opens_at = window.opens_at(NOW + 101 * MS, 0, cap).unwrap();
        assert!(opens_at <= NOW + longest + 200 * MS, "{opens_at:?}");
        assert!(window.admits(opens_at, 0, cap));
        // Drops shrink a fraction too.
        let before = window.limit(NOW, cap);
        window.dropped(opens_at, opens_at, 1, cap);
        assert!(window.limit(NOW, cap) < before);
        for _ in 0..100 {
            window.dropped(opens_at, opens_at, 1, cap);
        }
        assert!(window.limit(NOW, cap) >= cap / 8);
    }

    #[test]
    fn target_that_was_away_is_met_with_one_and_then_soon_with_many() {
        let mut window = window();
        window.collapse(NOW, CAP);
        assert_eq!(window.limit(NOW, CAP), SLOT);
        for _ in 0..4 {
            window.succeeded(NOW, true, CAP);
        }
        assert_eq!(window.limit(NOW, CAP), 5 * SLOT);
    }
}
