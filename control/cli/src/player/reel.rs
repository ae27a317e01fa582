//! A recording laid out for replay: what is drawn when.

use std::ops::Range;
use std::time::Duration;

/// What is drawn at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Since the begin, with pauses already shortened.
    pub(crate) at: Duration,
    /// Where its bytes stand in [`Reel::bytes`].
    pub(crate) bytes: Range<usize>,
}

/// A whole recording in memory, in the order in which it is drawn.
///
/// Everything is kept because going back means drawing from the begin: a terminal has no other way to an earlier
/// picture.
#[derive(Debug)]
pub(crate) struct Reel {
    bytes: Vec<u8>,
    frames: Vec<Frame>,
    idle_limit: Option<Duration>,
    /// Time of the last event as recorded, and as played.
    last: (Duration, Duration),
    /// Columns and rows of the terminal at its begin; none where there was no terminal.
    size: Option<(u32, u32)>,
}

impl Reel {
    /// An empty reel on which no pause is longer than `idle_limit`.
    pub(crate) fn new(idle_limit: Option<Duration>) -> Self {
        Reel {
            bytes: Vec::new(),
            frames: Vec::new(),
            idle_limit,
            last: Default::default(),
            size: None,
        }
    }

    /// Adds output that was recorded at `at`; times that run backward are taken as standing still.
    pub(crate) fn output(&mut self, at: Duration, bytes: &[u8]) {
        let at = self.advance(at);
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.frames.push(Frame {
            at,
            bytes: begin..self.bytes.len(),
        });
    }

    /// Notes that the terminal had this size; the first one counts as the recording's.
    pub(crate) fn resize(&mut self, columns: u32, rows: u32) {
        self.size.get_or_insert((columns, rows));
    }

    /// Lets time pass without anything drawn.
    pub(crate) fn advance(&mut self, at: Duration) -> Duration {
        let gap = at.saturating_sub(self.last.0);
        let played = self.last.1 + self.idle_limit.map_or(gap, |limit| gap.min(limit));
        self.last = (self.last.0.max(at), played);
        played
    }

    /// When the last event plays.
    pub(crate) fn length(&self) -> Duration {
        self.last.1
    }

    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        self.size
    }

    /// The bytes of the frames in `range`, which lie side by side.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        match (
            self.frames.get(range.start),
            range.end.checked_sub(1).and_then(|last| self.frames.get(last)),
        ) {
            (Some(first), Some(last)) if range.start < range.end => {
                &self.bytes[first.bytes.start..last.bytes.end]
            }
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pauses_are_cut_to_the_limit_and_the_rest_keeps_its_rhythm() {
        let mut reel = Reel::new(Some(ms(2000)));
        for at in [100, 600, 60_600, 61_000] {
            reel.output(ms(at), b"x");
        }
        let times: Vec<_> = reel.frames().iter().map(|frame| frame.at).collect();
        assert_eq!(times, [ms(100), ms(600), ms(2600), ms(3000)]);
        reel.advance(ms(100_000));
        assert_eq!(reel.length(), ms(5000));
    }

    #[test]
    fn time_never_runs_backward() {
        let mut reel = Reel::new(None);
        reel.output(ms(500), b"a");
        reel.output(ms(400), b"b");
        reel.output(ms(600), b"c");
        let times: Vec<_> = reel.frames().iter().map(|frame| frame.at).collect();
        assert_eq!(times, [ms(500), ms(500), ms(600)]);
        assert_eq!(reel.bytes(1..3), b"bc");
        assert_eq!(reel.bytes(3..9), b"");
    }
}
