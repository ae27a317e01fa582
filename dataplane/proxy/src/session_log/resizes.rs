use std::time::Duration;

use weir_api::audit::Resize;

/// Sizes of terminals that the audit log is told of, each at least so long after the one before.
const INTERVAL: Duration = Duration::from_secs(1);

/// The same once a session has told [`MANY`]: nobody looks at so many, and a program can send them for a day.
const LATER_INTERVAL: Duration = Duration::from_secs(60);

const MANY: u32 = 60;

/// Thins out the changes of a terminal's size: who drags a window makes dozens in a second, a program any number.
#[derive(Debug, Default)]
pub(super) struct Resizes {
    told: u32,
    last_at: Option<Duration>,
    /// The newest that was not told, and how many were not before it.
    held: Option<Resize>,
}

impl Resizes {
    /// Whether a change is told, and then with the number of those before that were not. `at`: since the session's start.
    pub(super) fn take(&mut self, resize: Resize, at: Duration) -> Option<Resize> {
        let interval = if self.told < MANY {
            INTERVAL
        } else {
            LATER_INTERVAL
        };
        let skipped = self.held.take().map_or(0, |held| held.skipped + 1);
        let resize = Resize { skipped, ..resize };
        if self.last_at.is_some_and(|last_at| at < last_at + interval) {
            self.held = Some(resize);
            return None;
        }
        self.told += 1;
        self.last_at = Some(at);
        Some(resize)
    }

    /// The newest change, if it was not told.
    pub(super) fn rest(&mut self) -> Option<Resize> {
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(columns: u32) -> Resize {
        Resize {
            columns,
            ..Resize::default()
        }
    }

    #[test]
    fn of_changes_that_follow_closely_the_first_and_the_last_are_told() {
        let mut resizes = Resizes::default();
        let ms = Duration::from_millis;
        assert_eq!(resizes.take(to(1), ms(5_000)), Some(to(1)));
        assert_eq!(resizes.take(to(2), ms(5_001)), None);
        assert_eq!(resizes.take(to(3), ms(5_999)), None);
        let fourth = resizes.take(to(4), ms(6_000)).unwrap();
        assert_eq!((fourth.columns, fourth.skipped), (4, 2));
        assert_eq!(resizes.rest(), None);
        assert_eq!(resizes.take(to(5), ms(6_001)), None);
        assert_eq!(resizes.take(to(6), ms(6_002)), None);
        let last = resizes.rest().unwrap();
        assert_eq!((last.columns, last.skipped), (6, 1));
    }

    #[test]
    fn a_day_of_them_is_some_hundred_events() {
        let mut resizes = Resizes::default();
        let told = (0..86_400 * 10_u32)
            .filter_map(|tenth| resizes.take(to(tenth), Duration::from_millis(100) * tenth))
            .count();
        assert_eq!(told, 60 + 1_439);
    }
}
