//! Which of a session's channels is shown while it goes on, and what of it.
//!
//! As when it is played: the channel that was asked for, else the first terminal, else all that is text. When that
//! terminal is closed, the next one takes its place. What is kept is a few bytes for each channel that is open.

use std::collections::HashMap;

use weir_record::{Entry, Event, Stream};

use crate::command::play::unrecorded;
use crate::output::size;

#[derive(Debug)]
pub(super) struct Stage {
    asked: Option<u32>,
    /// Line ends are made whole for a screen that is in raw mode.
    is_raw: bool,
    /// The terminal that is shown.
    shown: Option<u32>,
    open: HashMap<u32, Channel>,
    new_size: Option<(u32, u32)>,
    exit: Option<String>,
}

#[derive(Debug, Default)]
struct Channel {
    has_terminal: bool,
    is_subsystem: bool,
    is_followed: bool,
}

impl Stage {
    pub(super) fn new(asked: Option<u32>, is_raw: bool) -> Self {
        Stage {
            asked,
            is_raw,
            shown: None,
            open: HashMap::new(),
            new_size: None,
            exit: None,
        }
    }

    /// What is to be shown of what happened.
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> Option<Vec<u8>> {
        if let Some(is_followed) = entry.event.is_followed() {
            // What was done to files is shown in words, and not the protocol's bytes.
            let channel = self.channel(entry.channel);
            channel.is_followed = is_followed;
            channel.is_subsystem &= !is_followed;
        }
        if let Some(line) = entry.event.line() {
            return self.is_wanted(entry.channel).then(|| self.lines(line.as_bytes()));
        }
        match entry.event {
            Event::Terminal { columns, rows, .. } => {
                self.channel(entry.channel).has_terminal = true;
                self.shown.get_or_insert(entry.channel);
                self.resize(entry.channel, columns, rows);
            }
            Event::Resize { columns, rows, .. } => self.resize(entry.channel, columns, rows),
            Event::Subsystem { .. } => self.channel(entry.channel).is_subsystem = true,
            Event::Output(_)
                if self
                    .open
                    .get(&entry.channel)
                    .is_some_and(|channel| channel.is_followed) => {}
            Event::Output(data) | Event::ErrorOutput(data) => return self.text(entry.channel, data),
            Event::LimitReached {
                stream: Stream::Output | Stream::ErrorOutput,
                limit,
            } => {
                let note = format!(
                    "\n[weir: what comes after the first {} is not recorded]\n",
                    size(limit)
                );
                return self.is_wanted(entry.channel).then(|| self.lines(note.as_bytes()));
            }
            // It concerns every channel.
            Event::Gap {
                from,
                to,
                bytes,
                reason,
                ..
            } => {
                let note = unrecorded(to.saturating_sub(from), bytes, reason);
                return Some(self.lines(note.as_bytes()));
            }
            Event::ExitStatus(status) if self.is_wanted(entry.channel) => {
                self.exit = Some(format!("exit status {status}"));
            }
            Event::ExitSignal { signal, .. } if self.is_wanted(entry.channel) => {
                self.exit = Some(format!("ended by SIG{}", String::from_utf8_lossy(signal)));
            }
            Event::Closed => {
                self.open.remove(&entry.channel);
                self.shown = self.shown.filter(|shown| *shown != entry.channel);
            }
            _ => {}
        }
        None
    }

    /// The size of the terminal that is shown, where it has changed.
    pub(super) fn new_size(&mut self) -> Option<(u32, u32)> {
        self.new_size.take()
    }

    /// How what was shown last ended.
    pub(super) fn exit(&mut self) -> Option<String> {
        self.exit.take()
    }

    fn channel(&mut self, number: u32) -> &mut Channel {
        self.open.entry(number).or_default()
    }

    fn is_wanted(&self, channel: u32) -> bool {
        match (self.asked, self.shown) {
            (Some(asked), _) => asked == channel,
            (None, Some(shown)) => shown == channel,
            (None, None) => !self
                .open
                .get(&channel)
                .is_some_and(|channel| channel.is_subsystem),
        }
    }

    /// Weir's own words.
    fn lines(&self, text: &[u8]) -> Vec<u8> {
        if self.is_raw {
            whole_lines(text)
        } else {
            text.to_vec()
        }
    }

    fn resize(&mut self, channel: u32, columns: u32, rows: u32) {
        if self.is_wanted(channel) {
            self.new_size = Some((columns, rows));
        }
    }

    fn text(&self, channel: u32, data: &[u8]) -> Option<Vec<u8>> {
        if !self.is_wanted(channel) {
            return None;
        }
        let has_terminal = self
            .open
            .get(&channel)
            .is_some_and(|channel| channel.has_terminal);
        Some(if self.is_raw && !has_terminal {
            whole_lines(data)
        } else {
            data.to_vec()
        })
    }
}

/// No terminal driver has turned line ends into what a raw screen needs.
fn whole_lines(data: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(data.len());
    for &byte in data {
        if byte == b'\n' {
            lines.push(b'\r');
        }
        lines.push(byte);
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shown(stage: &mut Stage, channel: u32, event: Event<'_>) -> Option<String> {
        let at = Duration::ZERO;
        let shown = stage.entry(&Entry { at, channel, event });
        shown.map(|text| String::from_utf8(text).unwrap())
    }

    const TERMINAL: Event<'static> = Event::Terminal {
        term: b"xterm",
        columns: 100,
        rows: 30,
        width_px: 0,
        height_px: 0,
    };

    #[test]
    fn one_terminal_after_the_other_is_shown() {
        let mut stage = Stage::new(None, true);
        assert_eq!(shown(&mut stage, 0, Event::Output(b"a\n")).unwrap(), "a\r\n");
        shown(&mut stage, 1, TERMINAL);
        assert_eq!(stage.new_size(), Some((100, 30)));
        shown(&mut stage, 2, TERMINAL);
        assert_eq!(stage.new_size(), None);
        assert_eq!(shown(&mut stage, 1, Event::Output(b"b\n")).unwrap(), "b\n");
        for other in [0, 2] {
            assert_eq!(shown(&mut stage, other, Event::Output(b"c")), None);
        }
        shown(&mut stage, 1, Event::ExitStatus(3));
        shown(&mut stage, 0, Event::ExitStatus(0));
        shown(&mut stage, 1, Event::Closed);
        assert_eq!(stage.exit().unwrap(), "exit status 3");
        shown(&mut stage, 3, TERMINAL);
        assert_eq!(shown(&mut stage, 3, Event::Output(b"d")).unwrap(), "d");
        assert_eq!(stage.open.len(), 2, "what is closed is forgotten");
    }

    #[test]
    fn a_stretch_that_nobody_recorded_is_told_whatever_is_shown() {
        let gap = Event::Gap {
            from: Duration::from_millis(1_000),
            to: Duration::from_millis(3_500),
            bytes: 4096,
            events: 1,
            reason: b"no space\x1b[2J",
        };
        let mut stage = Stage::new(Some(2), true);
        assert_eq!(
            shown(&mut stage, 0, gap).unwrap(),
            "\r\n[weir: 4.0 KiB in 2.5 s were not recorded: no space [2J]\r\n"
        );
    }

    #[test]
    fn what_was_asked_for_is_shown_and_programs_protocols_are_not() {
        let mut stage = Stage::new(Some(2), false);
        shown(&mut stage, 1, TERMINAL);
        assert_eq!(shown(&mut stage, 1, Event::Output(b"a")), None);
        assert_eq!(shown(&mut stage, 2, Event::Output(b"b\n")).unwrap(), "b\n");
        let mut stage = Stage::new(None, false);
        shown(&mut stage, 0, Event::Subsystem { name: b"sftp" });
        assert_eq!(shown(&mut stage, 0, Event::Output(b"binary")), None);
    }
}
