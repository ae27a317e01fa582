//! How much of a target belongs to this data plane.
//!
//! Nobody counts centrally: each data plane knows how many there are and keeps to its part. The part may
//! be a fraction of a slot, which the [window](crate::window) turns into a fraction of the time.

use std::time::Duration;

use crate::{
    hint::{Hint, MaxStartups},
    retry::scaled,
    window::SLOT,
};

/// One of `planes` equal shares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    planes: u32,
}

impl Share {
    pub(crate) fn of(planes: u32) -> Self {
        Self {
            planes: planes.max(1),
        }
    }

    pub(crate) fn planes(self) -> u32 {
        self.planes
    }

    /// Handshakes that may be in flight, in parts of [`SLOT`]: `start - 1` over the number of data planes.
    ///
    /// One below `start`, so that who connects directly still finds a slot.
    pub(crate) fn cap(self, hint: &Hint, presumed: MaxStartups) -> u64 {
        let start = hint.max_startups.unwrap_or(presumed).start;
        let all = start.saturating_sub(1).max(1);
        let all = hint.window.map_or(all, |window| all.min(window.max(1)));
        (u64::from(all) * SLOT / u64::from(self.planes)).max(1)
    }

    /// The time over which the first handshakes after silence or trouble are spread, for handshakes that take `typical`.
    ///
    /// Where shares are fractions, a slot that has not been used for long is open on every data plane, and
    /// a moment that makes users of all of them come at once (the full hour, the end of an outage) would open
    /// them all. `start` and a quarter of what lies between it and `full` may come together; the others come no faster than
    /// `start - 1` slots take them, since the target may have no more cores than keep those busy.
    pub(crate) fn spread(self, hint: &Hint, presumed: MaxStartups, typical: Duration) -> Duration {
        let limits = hint.max_startups.unwrap_or(presumed);
        let together = limits.start + (limits.full - limits.start) / 4;
        let others = self.planes.saturating_sub(together);
        let slots = limits.start.saturating_sub(1).max(1);
        scaled(typical, u64::from(others), u64::from(slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPICAL: Duration = Duration::from_millis(100);

    fn cap(planes: u32, hint: &Hint) -> u64 {
        Share::of(planes).cap(hint, MaxStartups::DEFAULT)
    }

    #[test]
    fn shares_add_up_to_one_less_than_start() {
        let hint = Hint::default();
        assert_eq!(cap(1, &hint), 9 * SLOT);
        assert_eq!(cap(2, &hint), 9 * SLOT / 2);
        for planes in [1, 2, 7, 9, 10, 1000] {
            assert!(cap(planes, &hint) * u64::from(planes) <= 9 * SLOT);
        }
        assert!(cap(u32::MAX, &hint) > 0, "a share is never nothing");
    }

    #[test]
    fn hints_bound_the_share() {
        let hint = |max: &str, window| Hint {
            max_startups: MaxStartups::parse(max),
            window,
            ..Hint::default()
        };
        assert_eq!(cap(1, &hint("200:30:400", None)), 199 * SLOT);
        assert_eq!(cap(2, &hint("200:30:400", Some(20))), 10 * SLOT);
        assert_eq!(cap(1, &hint("1", None)), SLOT, "one is needed to get anywhere");
    }

    #[test]
    fn who_comes_first_is_put_off_only_where_data_planes_are_many() {
        let spread = |planes| Share::of(planes).spread(&Hint::default(), MaxStartups::DEFAULT, TYPICAL);
        assert_eq!(spread(1), Duration::ZERO);
        assert_eq!(spread(32), Duration::ZERO);
        assert_eq!(spread(1000).as_secs(), 10, "ninety in a second");
        let tuned = Hint {
            max_startups: MaxStartups::parse("200:30:400"),
            ..Hint::default()
        };
        let wide = Share::of(1000).spread(&tuned, MaxStartups::DEFAULT, TYPICAL);
        assert!(wide < Duration::from_millis(400), "{wide:?}");
    }
}
