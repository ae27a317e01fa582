//! How far long work is, on standard error, where a person watches.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::output::size;

/// A line that follows the work and is gone at its end. Silent where standard error is no terminal.
pub(crate) struct Progress {
    what: &'static str,
    total_bytes: u64,
    done_bytes: u64,
    begin: Instant,
    drawn: Option<Instant>,
    watched: bool,
}

/// Work that is over sooner needs no line.
const PATIENCE: Duration = Duration::from_millis(400);
/// As often as a person can follow.
const BETWEEN: Duration = Duration::from_millis(100);

impl Progress {
    /// Work on `total_bytes`, 0 where that is not known. `what` says what is being done: "verifying".
    pub(crate) fn new(what: &'static str, total_bytes: u64) -> Self {
        let watched = io::stderr().is_terminal();
        Progress {
            what,
            total_bytes,
            done_bytes: 0,
            begin: Instant::now(),
            drawn: None,
            watched,
        }
    }

    /// Counts `bytes` more as done.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        if !self.watched || self.drawn.unwrap_or(self.begin).elapsed() < self.interval() {
            return;
        }
        self.drawn = Some(Instant::now());
        let _ = write!(io::stderr(), "\r{}\x1b[K", self.line());
    }

    /// Shows nothing from here on.
    pub(crate) fn hide(&mut self) {
        self.watched = false;
    }

    fn interval(&self) -> Duration {
        if self.drawn.is_some() { BETWEEN } else { PATIENCE }
    }

    fn line(&self) -> String {
        let done = size(self.done_bytes);
        let percent = u128::from(self.done_bytes.min(self.total_bytes)) * 100;
        match percent.checked_div(self.total_bytes.into()) {
            Some(percent) => format!("{} {percent} %  {done} of {}", self.what, size(self.total_bytes)),
            None => format!("{} {done}", self.what),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_of_how_much() {
        let mut progress = Progress::new("verifying", 2048);
        progress.watched = false;
        progress.advance(1024);
        assert_eq!(progress.line(), "verifying 50 %  1.0 KiB of 2.0 KiB");
        let unknown = Progress::new("exporting", 0);
        assert_eq!(unknown.line(), "exporting 0 B");
    }
}
