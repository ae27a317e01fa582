//! Waiting for a condition instead of for time.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for a loaded two-core machine, short enough to end a broken run soon.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at. Costs nothing noticeable, and adds at most this to a test.
const INTERVAL: Duration = Duration::from_millis(10);

/// Polls `probe` until it gives a value; panics with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, probe)
}

/// Polls `probe` until it gives a value; panics with `what` after `limit`.
pub fn eventually_within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(INTERVAL);
    }
}
