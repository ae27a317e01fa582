//! The player without its terminal: position, speed, pause, seek. Time is an argument.
//!
//! Invariant: frames before `next` have been drawn; those after it have not.

use std::ops::Range;
use std::time::Duration;

use super::keys::Key;
use super::reel::Reel;

/// What is to be drawn now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    /// These frames, after what is there.
    Frames(Range<usize>),
    /// All of these frames on an empty screen.
    Again(Range<usize>),
}

/// A reel being played.
#[derive(Debug)]
pub(crate) struct Deck {
    reel: Reel,
    next: usize,
    speed: f64,
    motion: Motion,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Motion {
    /// At `position` when the clock showed `since`.
    Playing {
        since: Duration,
        position: Duration,
    },
    Paused {
        position: Duration,
    },
}

/// How far the arrows go.
const LEAP: Duration = Duration::from_secs(5);
const SLOWEST: f64 = 1.0 / 64.0;
const FASTEST: f64 = 1024.0;

impl Deck {
    /// Plays from the begin, at clock time `now`.
    pub(crate) fn new(reel: Reel, speed: f64, now: Duration) -> Self {
        let motion = Motion::Playing {
            since: now,
            position: Duration::ZERO,
        };
        Deck {
            reel,
            next: 0,
            speed,
            motion,
        }
    }

    pub(crate) fn reel(&self) -> &Reel {
        &self.reel
    }

    pub(crate) fn speed(&self) -> f64 {
        self.speed
    }

    pub(crate) fn is_paused(&self) -> bool {
        matches!(self.motion, Motion::Paused { .. })
    }

    /// Where on the reel it is.
    pub(crate) fn position(&self, now: Duration) -> Duration {
        match self.motion {
            Motion::Playing { since, position } => {
                let passed = now.saturating_sub(since).as_secs_f64() * self.speed;
                // Past the end there is nothing to be exact about, and the product may be too large to be a time.
                let passed = Duration::try_from_secs_f64(passed).unwrap_or(self.reel.length());
                position.saturating_add(passed).min(self.reel.length())
            }
            Motion::Paused { position } => position,
        }
    }

    /// Whether all has been drawn and the end's own time has come.
    pub(crate) fn is_finished(&self, now: Duration) -> bool {
        !self.is_paused() && self.next == self.reel.frames().len() && self.position(now) >= self.reel.length()
    }

    /// The frames whose time has come.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Draw> {
        if self.is_paused() {
            return None;
        }
        let end = self.first_after(self.position(now));
        (end > self.next).then(|| Draw::Frames(std::mem::replace(&mut self.next, end)..end))
    }

    /// How long nothing will be due; none while paused.
    pub(crate) fn until_due(&self, now: Duration) -> Option<Duration> {
        if self.is_paused() {
            return None;
        }
        let at = self
            .reel
            .frames()
            .get(self.next)
            .map_or(self.reel.length(), |frame| frame.at);
        let wait = at.saturating_sub(self.position(now)).as_secs_f64() / self.speed;
        // Rounded up: a wait that ends a hair early would be followed by one of nothing.
        Some(
            Duration::try_from_secs_f64(wait)
                .unwrap_or(Duration::MAX)
                .saturating_add(Duration::from_micros(1)),
        )
    }

    /// Obeys a key other than [`Key::Quit`], and says what that draws.
    pub(crate) fn key(&mut self, key: Key, now: Duration) -> Option<Draw> {
        let position = self.position(now);
        match key {
            Key::Pause if self.is_paused() => {
                self.motion = Motion::Playing { since: now, position };
                // The status line goes away with it.
                Some(Draw::Again(0..self.next))
            }
            Key::Pause => {
                self.motion = Motion::Paused { position };
                None
            }
            Key::Step if self.is_paused() => self.step(),
            Key::Back => Some(self.seek(position.saturating_sub(LEAP), now)),
            Key::Forward => Some(self.seek(position.saturating_add(LEAP), now)),
            Key::Tenth(tenth) => Some(self.seek(self.reel.length() * u32::from(tenth) / 10, now)),
            Key::Faster => {
                self.change_speed(2.0, now);
                None
            }
            Key::Slower => {
                self.change_speed(0.5, now);
                None
            }
            Key::Step | Key::Quit => None,
        }
    }

    fn step(&mut self) -> Option<Draw> {
        let at = self.reel.frames().get(self.next)?.at;
        self.motion = Motion::Paused { position: at };
        // All of that moment, for what is written at once belongs together.
        self.next = self.first_after(at);
        Some(Draw::Again(0..self.next))
    }

    fn seek(&mut self, position: Duration, now: Duration) -> Draw {
        let position = position.min(self.reel.length());
        self.motion = match self.motion {
            Motion::Playing { .. } => Motion::Playing { since: now, position },
            Motion::Paused { .. } => Motion::Paused { position },
        };
        self.next = self.first_after(position);
        Draw::Again(0..self.next)
    }

    fn change_speed(&mut self, factor: f64, now: Duration) {
        if let Motion::Playing { .. } = self.motion {
            self.motion = Motion::Playing {
                since: now,
                position: self.position(now),
            };
        }
        self.speed = (self.speed * factor).clamp(SLOWEST, FASTEST);
    }

    /// Number of the first frame that is later than `position`.
    fn first_after(&self, position: Duration) -> usize {
        self.reel.frames().partition_point(|frame| frame.at <= position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A frame at each of 0, 1, … 20 s.
    fn deck(speed: f64) -> Deck {
        let mut reel = Reel::new(None);
        for at in 0..=20 {
            reel.output(s(at), b"x");
        }
        Deck::new(reel, speed, s(100))
    }

    #[test]
    fn frames_come_when_due_at_any_speed() {
        for (speed, now, frames) in [(1.0, 103, 0..4), (4.0, 103, 0..13), (0.5, 103, 0..2)] {
            assert_eq!(
                deck(speed).due(s(now)),
                Some(Draw::Frames(frames)),
                "speed {speed}"
            );
        }
    }

    #[test]
    fn waking_when_told_draws_every_frame_once() {
        for speed in [0.3, 1.0, 7.0, 1000.0] {
            let mut deck = deck(speed);
            let mut now = s(100);
            let mut drawn = 0;
            for _ in 0..200 {
                if let Some(Draw::Frames(range)) = deck.due(now) {
                    assert_eq!(range.start, drawn);
                    drawn = range.end;
                }
                if deck.is_finished(now) {
                    break;
                }
                now += deck.until_due(now).unwrap();
            }
            assert_eq!(drawn, 21, "speed {speed}");
            assert!(deck.is_finished(now));
        }
    }

    #[test]
    fn a_pause_stops_time_and_steps_go_frame_by_frame() {
        let mut deck = deck(1.0);
        deck.due(s(102));
        deck.key(Key::Pause, s(102));
        assert_eq!(deck.due(s(500)), None);
        assert_eq!(deck.until_due(s(500)), None);
        assert_eq!(deck.position(s(500)), s(2));
        assert_eq!(deck.key(Key::Step, s(500)), Some(Draw::Again(0..4)));
        assert_eq!(deck.position(s(500)), s(3));
        assert_eq!(deck.key(Key::Pause, s(600)), Some(Draw::Again(0..4)));
        assert_eq!(deck.due(s(601)), Some(Draw::Frames(4..5)));
    }

    #[test]
    fn seeking_draws_from_the_begin_and_stays_within_the_reel() {
        let mut deck = deck(1.0);
        deck.due(s(110));
        assert_eq!(deck.key(Key::Back, s(110)), Some(Draw::Again(0..6)));
        assert_eq!(deck.key(Key::Back, s(110)), Some(Draw::Again(0..1)));
        assert_eq!(deck.key(Key::Back, s(110)), Some(Draw::Again(0..1)));
        assert_eq!(deck.key(Key::Tenth(5), s(110)), Some(Draw::Again(0..11)));
        for _ in 0..5 {
            deck.key(Key::Forward, s(110));
        }
        assert_eq!(deck.position(s(110)), s(20));
        assert!(deck.is_finished(s(110)));
    }

    #[test]
    fn a_change_of_speed_keeps_the_position() {
        let mut deck = deck(1.0);
        deck.key(Key::Faster, s(104));
        assert_eq!(deck.position(s(104)), s(4));
        assert_eq!(deck.position(s(106)), s(8));
        for _ in 0..100 {
            deck.key(Key::Faster, s(106));
        }
        assert!(deck.speed() <= FASTEST);
        assert_eq!(deck.position(Duration::MAX), s(20));
    }

    #[test]
    fn an_empty_reel_is_over_at_once() {
        let deck = Deck::new(Reel::new(None), 1.0, s(5));
        assert!(deck.is_finished(s(5)));
    }
}
