//! Which events have come before.
//!
//! The newest ids are in memory. That decides for an event that was made since all of them are: whatever was delivered of
//! it is among them. Only what is older, or does not say when it was made, is looked up in the store.
//!
//! Invariant: every id that came at or after `complete_since_ms` is in `known`, which has the ids of `order`.

use std::collections::{HashSet, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use ulid::{ULID_LEN, Ulid};

/// Ids that are remembered.
const LIMIT: usize = 16_384;

/// How far a data plane's clock may be ahead of ours: certificates of a minute would not work beyond that.
const CLOCKS_APART_MS: u64 = 60_000;

#[derive(Default)]
pub(super) struct RecentIds {
    known: HashSet<Box<str>>,
    /// With the time when each came, oldest first out.
    order: VecDeque<(Box<str>, u64)>,
    complete_since_ms: u64,
}

/// Whether an event has come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Yes,
    No,
    /// The store knows.
    Perhaps,
}

impl RecentIds {
    /// Those that the end of the log has; `is_all` if that is the whole log.
    pub(super) fn of_log(ids: Vec<String>, is_all: bool) -> RecentIds {
        let now_ms = now_ms();
        let mut recent = RecentIds::default();
        for id in ids {
            recent.see(&id, now_ms);
        }
        if !is_all {
            recent.complete_since_ms = now_ms;
        }
        recent
    }

    /// Looks for an id that comes now, and remembers it.
    pub(super) fn see(&mut self, id: &str, now_ms: u64) -> Seen {
        if self.known.contains(id) {
            return Seen::Yes;
        }
        if self.order.len() == LIMIT
            && let Some((oldest, came_ms)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
            self.complete_since_ms = self.complete_since_ms.max(came_ms + 1);
        }
        self.known.insert(id.into());
        self.order.push_back((id.into(), now_ms));
        let is_decided = self.complete_since_ms == 0
            || made_ms(id).is_some_and(|made_ms| made_ms > self.complete_since_ms + CLOCKS_APART_MS);
        if is_decided { Seen::No } else { Seen::Perhaps }
    }
}

/// When an id was made: it is a ULID, or begins with one, which an event of a session may well outlive by hours.
fn made_ms(id: &str) -> Option<u64> {
    let ulid = id.get(..ULID_LEN)?;
    Ulid::from_string(ulid).ok().map(|ulid| ulid.timestamp_ms())
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(made_ms: u64, n: u128) -> String {
        Ulid::from_parts(made_ms, n).to_string()
    }

    #[test]
    fn memory_decides_what_it_has_all_of_and_the_store_the_rest() {
        let mut recent = RecentIds::default();
        let old = id(1_000, 0);
        assert_eq!(recent.see(&old, 1_000), Seen::No);
        assert_eq!(recent.see(&old, 1_000), Seen::Yes);
        let later = 2_000 + CLOCKS_APART_MS;
        for n in 0..LIMIT as u128 {
            assert_eq!(recent.see(&id(later, n + 1), later), Seen::No);
        }
        // It has been pushed out, and with it the certainty about everything of its time.
        assert_eq!(recent.see(&old, later), Seen::Perhaps);
        assert_eq!(recent.see(&format!("{old}-end"), later), Seen::Perhaps);
        assert_eq!(recent.see("no ULID", later), Seen::Perhaps);
        let late = later + CLOCKS_APART_MS + 2;
        assert_eq!(recent.see(&id(late, 7), late), Seen::No);
        assert_eq!(recent.order.len(), LIMIT);
        assert_eq!(recent.known.len(), LIMIT);
    }

    #[test]
    fn after_a_start_all_that_is_older_is_looked_up_unless_the_log_was_read_whole() {
        let fresh = id(now_ms() - 1, 1);
        let mut whole = RecentIds::of_log(vec!["a".to_owned()], true);
        assert_eq!(whole.see("a", 1), Seen::Yes);
        assert_eq!(whole.see(&fresh, 1), Seen::No);
        let mut cut = RecentIds::of_log(vec!["a".to_owned()], false);
        assert_eq!(cut.see("a", 1), Seen::Yes);
        assert_eq!(cut.see(&fresh, 1), Seen::Perhaps);
    }
}
