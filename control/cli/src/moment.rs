//! Times as people type them: a length of time, or a point of time in RFC 3339.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What was typed; what a length of time counts from, its user knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Span(Duration),
    At(SystemTime),
}

/// Reads `90s`, `1m30s`, `2026-11-20T13:30:05Z`, `2026-11-20 13:30:05` or `2026-11-20`, points of time in UTC.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    // The begin of a day is what is meant by a day.
    let day = format!("{text}T00:00:00Z");
    let point = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&day));
    if let Ok(at) = point {
        return Ok(Moment::At(at));
    }
    humantime::parse_duration(text).map(Moment::Span).map_err(|_| {
        "expected a length of time such as 1m30s, or a time such as 2026-11-20T13:30:05Z".to_owned()
    })
}

impl Moment {
    /// How far into a session that began at `started_us` it is; none where it is before.
    pub(crate) fn into_session(self, started_us: u64) -> Option<Duration> {
        match self {
            Moment::Span(span) => Some(span),
            Moment::At(at) => at
                .duration_since(UNIX_EPOCH)
                .ok()?
                .checked_sub(Duration::from_micros(started_us)),
        }
    }

    /// Microseconds since 1970, where a length of time is one before `now`.
    pub(crate) fn before(self, now: SystemTime) -> u64 {
        let at = match self {
            Moment::Span(span) => now.checked_sub(span).unwrap_or(UNIX_EPOCH),
            Moment::At(at) => at,
        };
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_points_of_time_are_told_apart() {
        let started_us = 1_795_181_405_000_000;
        for (text, seconds) in [
            ("90s", 90),
            ("1m30s", 90),
            ("1h", 3600),
            ("2026-11-20T13:31:35Z", 90),
            ("2026-11-20 13:31:35", 90),
            ("2026-11-21", 37_795),
        ] {
            let into = moment(text).unwrap().into_session(started_us);
            assert_eq!(into, Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(
            moment("2026-11-20T13:30:00Z").unwrap().into_session(started_us),
            None
        );
        for text in ["", "90", "soon", "2026-13-01", "1m30"] {
            assert!(moment(text).unwrap_err().contains("1m30s"), "{text}");
        }
    }

    #[test]
    fn a_length_of_time_counts_back_from_now() {
        let now = UNIX_EPOCH + Duration::from_secs(7_200);
        assert_eq!(moment("1h").unwrap().before(now), 3_600_000_000);
        assert_eq!(moment("9h").unwrap().before(now), 0);
        assert_eq!(moment("1970-01-01T00:00:05Z").unwrap().before(now), 5_000_000);
    }
}
