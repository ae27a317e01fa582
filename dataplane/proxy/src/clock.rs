//! The clock that the pure parts are handed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_ssh::Timestamp;

/// Monotonic time since the start of the process, and the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.epoch.elapsed())
    }

    /// Time left until `due`; zero when it has passed.
    pub(crate) fn until(&self, due: Timestamp) -> Duration {
        due.0.saturating_sub(self.epoch.elapsed())
    }

    /// Microseconds since 1970-01-01 UTC.
    pub(crate) fn wall_us() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Seconds since 1970-01-01 UTC.
    pub(crate) fn wall_secs() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
    }
}
