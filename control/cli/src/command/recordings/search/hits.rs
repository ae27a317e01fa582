//! What a search finds and how it went.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::time::Duration;

use regex::bytes::Regex;
use serde::Serialize;
use weir_api::dataplane::SessionRecord;
use weir_record::export::Line;

use crate::failure::{printable, sentence};
use crate::output::{Array, Stdout, date, rfc3339, size, stdout};
use crate::progress::Meter;

/// Characters of a line that are printed, the match among them.
const SHOWN: usize = 200;
/// Of these so many before it.
const BEFORE: usize = 60;

/// Prints hits, up to a limit.
pub(super) struct Hits {
    out: BufWriter<Stdout>,
    json: bool,
    array: Array,
    left: Option<usize>,
    found: u64,
    progress: Meter,
}

/// One element of `weir recordings search --json`; the names are an interface.
#[derive(Serialize)]
struct Hit<'a> {
    id: &'a str,
    user: &'a str,
    login: &'a str,
    node: &'a str,
    /// When it was written, RFC 3339.
    time: String,
    /// The same since the session's start, microseconds.
    time_us: u64,
    channel: u32,
    /// `output`, `error_output` or `command`.
    source: &'static str,
    /// What matched.
    text: String,
    line: String,
}

impl Hits {
    pub(super) fn new(json: bool, limit: Option<usize>, progress: Meter) -> Self {
        Hits {
            out: stdout(),
            json,
            array: Array::new(),
            left: limit,
            found: 0,
            progress,
        }
    }

    /// Whether no more are wanted.
    pub(super) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// Looks for `pattern` in one line, and prints the first place where it is: a line is one hit.
    pub(super) fn find(
        &mut self,
        session: &SessionRecord,
        line: &Line<'_>,
        pattern: &Regex,
    ) -> anyhow::Result<()> {
        // What ends within the repeated bytes was found in the piece before.
        let Some(place) = pattern
            .find_iter(line.bytes)
            .find(|place| place.end() > line.repeated)
        else {
            return Ok(());
        };
        let at = line.time_at(place.start());
        let time_us = session.start_us.saturating_add(micros(at));
        let shown = excerpt(line.bytes, place.start());
        self.found += 1;
        self.left = self.left.map(|left| left - 1);
        self.progress.lock().clear();
        if self.json {
            let hit = Hit {
                id: &session.id,
                user: &session.user,
                login: &session.login,
                node: &session.node,
                time: rfc3339(time_us),
                time_us: micros(at),
                channel: line.channel,
                source: line.source.as_str(),
                text: String::from_utf8_lossy(place.as_bytes()).into_owned(),
                line: shown,
            };
            self.array.push(&mut self.out, &hit)?;
        } else {
            let (id, date, into) = (&session.id, date(time_us), into(at));
            writeln!(
                self.out,
                "{id}  {date}  {into:>8}  {}",
                printable(shown.trim_end())
            )?;
        }
        // Somebody may be waiting for this one.
        Ok(self.out.flush()?)
    }

    /// How many were found.
    pub(super) fn end(mut self) -> anyhow::Result<u64> {
        self.progress.lock().clear();
        if self.json {
            self.array.end(&mut self.out)?;
        }
        self.out.flush()?;
        Ok(self.found)
    }
}

/// The part of a line that is worth printing for a match that begins at `start`.
fn excerpt(line: &[u8], start: usize) -> String {
    let mut from = start.saturating_sub(BEFORE);
    // Not from within a character.
    while from > 0 && line[from] & 0xc0 == 0x80 {
        from -= 1;
    }
    let text = String::from_utf8_lossy(&line[from..]);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if from > 0 {
        shown.insert(0, '…');
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How far into a session, in whole seconds and as `--from` takes it.
fn into(at: Duration) -> String {
    let seconds = at.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest:02}s"),
        (hours, minutes) => format!("{hours}h{minutes:02}m{rest:02}s"),
    }
}

/// How the search went, recording by recording.
#[derive(Default)]
pub(super) struct Tally {
    begun: u64,
    searched: u64,
    /// Recordings that cannot be opened, by the reason.
    locked: BTreeMap<String, u64>,
    unread: u64,
}

/// Reasons that are told apart.
const MAX_REASONS: usize = 8;

impl Tally {
    /// Another recording is looked at; returns which.
    pub(super) fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    pub(super) fn searched(&mut self) {
        self.searched += 1;
    }

    /// Weir has no key for it.
    pub(super) fn locked(&mut self, why: &str) {
        let why = if self.locked.len() < MAX_REASONS || self.locked.contains_key(why) {
            why
        } else {
            "other reasons"
        };
        *self.locked.entry(why.to_owned()).or_default() += 1;
    }

    /// It was not searched to its end.
    pub(super) fn unread(&mut self, id: &str, error: &anyhow::Error) {
        self.unread += 1;
        let _ = writeln!(
            std::io::stderr(),
            "weir: recording {id} was not searched to its end: {}",
            sentence(error)
        );
    }

    /// Tells how many were searched and how many were not; what could not be read is a failure.
    pub(super) fn conclude(&self, found: u64, searched_bytes: u64) -> anyhow::Result<()> {
        let _ = writeln!(std::io::stderr(), "{}", self.summary(found, searched_bytes));
        anyhow::ensure!(
            self.unread == 0,
            "{} not searched to the end: `weir recordings verify` says what is wrong",
            counted(self.unread, "recording was", "recordings were")
        );
        Ok(())
    }

    fn summary(&self, found: u64, searched_bytes: u64) -> String {
        let mut line = format!(
            "{} in {}, {} stored",
            counted(found, "hit", "hits"),
            counted(self.searched, "recording", "recordings"),
            size(searched_bytes)
        );
        for (why, count) in &self.locked {
            line.push_str(&format!("; {count} skipped: {}", printable(why)));
        }
        line
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_has_the_match_and_whole_characters() {
        assert_eq!(excerpt(b"short", 2), "short");
        let line = "ü".repeat(500);
        let shown = excerpt(line.as_bytes(), 501);
        assert_eq!(shown.chars().count(), SHOWN + 2);
        assert!(shown.starts_with("…ü") && shown.ends_with("ü…"), "{shown}");
    }

    #[test]
    fn times_can_be_given_to_export_again() {
        for (seconds, text) in [(0, "0s"), (65, "1m05s"), (3_725, "1h02m05s")] {
            let at = Duration::from_secs(seconds);
            assert_eq!(into(at + Duration::from_millis(999)), text);
            let moment = crate::moment::moment(text).unwrap();
            assert_eq!(moment.into_session(0), Some(at));
        }
    }

    #[test]
    fn the_summary_tells_what_was_left_out_and_why() {
        let mut tally = Tally::default();
        tally.searched();
        for number in 0..20 {
            tally.locked(&format!("reason {number}"));
        }
        tally.locked("reason 1");
        let summary = tally.summary(2, 2048);
        assert!(
            summary.starts_with("2 hits in 1 recording, 2.0 KiB stored; 12 skipped: other reasons"),
            "{summary}"
        );
        assert!(summary.contains("; 2 skipped: reason 1;"), "{summary}");
    }
}
