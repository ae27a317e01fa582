//! How far long work is, on standard error, where a person watches.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::termios::tcgetwinsize;

use crate::output::{size, span};

/// A line that follows the work and is gone at its end. Silent where standard error is no terminal.
pub(crate) struct Progress {
    what: String,
    /// 0 where that is not known.
    total_bytes: u64,
    done_bytes: u64,
    begin: Instant,
    drawn: Option<Instant>,
    /// The line stands on the screen.
    stands: bool,
    watched: bool,
}

/// Progress on which several count.
#[derive(Clone)]
pub(crate) struct Meter(Arc<Mutex<Progress>>);

impl Meter {
    /// As [`Progress::new`].
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Meter(Arc::new(Mutex::new(Progress::new(what))))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that is over sooner needs no line.
const PATIENCE: Duration = Duration::from_millis(400);
/// As often as a person can follow.
const BETWEEN: Duration = Duration::from_millis(100);
/// Before that a rate is a guess.
const MEASURED: Duration = Duration::from_secs(1);
/// Characters within the bar.
const BAR: usize = 24;

impl Progress {
    /// Work of unknown length. `what` says what is being done: "verifying".
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let watched = io::stderr().is_terminal();
        Progress {
            what: what.into(),
            total_bytes: 0,
            done_bytes: 0,
            begin: Instant::now(),
            drawn: None,
            stands: false,
            watched,
        }
    }

    /// Work on so many bytes.
    pub(crate) fn of(what: impl Into<String>, total_bytes: u64) -> Self {
        let mut progress = Self::new(what);
        progress.expect(total_bytes);
        progress
    }

    /// The work is on so many bytes.
    pub(crate) fn expect(&mut self, total_bytes: u64) {
        self.total_bytes = total_bytes;
    }

    /// Says anew what is being done.
    pub(crate) fn rename(&mut self, what: impl Into<String>) {
        self.what = what.into();
    }

    /// Counts `bytes` more as done.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        if !self.watched || self.drawn.unwrap_or(self.begin).elapsed() < self.interval() {
            return;
        }
        self.drawn = Some(Instant::now());
        self.stands = true;
        let line = self.line(self.begin.elapsed());
        // A line that wraps could not be drawn over.
        let width = tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col.max(2)));
        let line: String = line.chars().take(width - 1).collect();
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }

    /// Bytes that are done.
    pub(crate) fn done_bytes(&self) -> u64 {
        self.done_bytes
    }

    /// Makes room for something else on the screen; the line comes again when it is due.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.stands) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn interval(&self) -> Duration {
        if self.drawn.is_some() { BETWEEN } else { PATIENCE }
    }

    fn line(&self, elapsed: Duration) -> String {
        let (what, done) = (&self.what, self.done_bytes.min(self.total_bytes));
        let rate = self.rate(elapsed);
        let Some(percent) = (u128::from(done) * 100).checked_div(self.total_bytes.into()) else {
            let rate = rate.map_or(String::new(), |rate| format!("  {}/s", size(rate)));
            return format!("{what}  {}{rate}", size(self.done_bytes));
        };
        let filled = usize::try_from(percent).unwrap_or(0) * BAR / 100;
        let bar: String = (0..BAR).map(|at| if at < filled { '=' } else { ' ' }).collect();
        let mut line = format!(
            "{what} [{bar}] {percent:>3} %  {} of {}",
            size(done),
            size(self.total_bytes)
        );
        if let Some(rate) = rate {
            let left = Duration::from_secs((self.total_bytes - done).div_ceil(rate.max(1)));
            line.push_str(&format!("  {}/s  {} left", size(rate), span(left)));
        }
        line
    }

    /// Bytes a second so far.
    fn rate(&self, elapsed: Duration) -> Option<u64> {
        let rate = u128::from(self.done_bytes) * 1000 / elapsed.as_millis().max(1);
        (elapsed >= MEASURED).then(|| u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_of_how_much_how_fast_and_how_long_yet() {
        let mut progress = Progress::new("verifying");
        progress.watched = false;
        progress.expect(4 << 20);
        progress.advance(1 << 20);
        let bar = format!("[{}{}]", "=".repeat(6), " ".repeat(18));
        let begun = format!("verifying {bar}  25 %  1.0 MiB of 4.0 MiB");
        assert_eq!(progress.line(Duration::from_millis(999)), begun);
        let measured = format!("{begun}  512.0 KiB/s  6.0s left");
        assert_eq!(progress.line(Duration::from_secs(2)), measured);
        // An object may have been replaced by a longer one meanwhile.
        progress.advance(9 << 20);
        assert!(
            progress
                .line(Duration::from_secs(2))
                .contains("100 %  4.0 MiB of 4.0 MiB")
        );
    }

    #[test]
    fn work_of_unknown_length_says_what_is_done() {
        let mut progress = Progress::new("searching");
        progress.watched = false;
        progress.rename("searching recording 7");
        progress.advance(2048);
        assert_eq!(progress.line(Duration::ZERO), "searching recording 7  2.0 KiB");
        let later = progress.line(Duration::from_secs(2));
        assert_eq!(later, "searching recording 7  2.0 KiB  1.0 KiB/s");
    }
}
