//! The lines of a recording as a reader sees them, each with the times at which it was written.
//!
//! Of everything that is printed, terminal or not, control sequences and other control characters than tab are left out;
//! what runs as a subsystem speaks a protocol of programs, and is left out whole. Commands are lines too, and so is what was done to
//! files.
//!
//! Invariant: what is kept of a channel is one line of each of its streams, of at most [`MAX_LINE_LEN`] bytes with no more
//! times than bytes, and of at most 64 channels.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Duration;

use super::text::Stripper;
use super::{ExportError, Followed, MAX_CHANNELS};
use crate::event::{Entry, Event, Stream};
use crate::reader::Reader;

/// A longer line is given in pieces of this length in bytes.
pub const MAX_LINE_LEN: usize = 16 * 1024;
/// So many bytes of a piece stand at the begin of the next once more: what is no longer is whole in one of them.
pub const MAX_MATCH_LEN: usize = 1024;

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output, or the terminal.
    Output,
    /// Standard error.
    ErrorOutput,
    /// It is the command that was started.
    Command,
    /// It tells what was done to a file.
    Transfer,
}

impl Source {
    /// As exports name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Output => "output",
            Source::ErrorOutput => "error_output",
            Source::Command => "command",
            Source::Transfer => "transfer",
        }
    }
}

/// A line, or a piece of a long one.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The channel.
    pub channel: u32,
    /// Where it comes from.
    pub source: Source,
    /// Its bytes, without the line's end.
    pub bytes: &'a [u8],
    /// So many of them ended the piece before.
    pub repeated: usize,
    /// From which byte on which time holds; the first entry is for byte 0.
    times: &'a [(usize, Duration)],
}

impl Line<'_> {
    /// When the byte at `position` was written, since the session's start.
    #[must_use]
    pub fn time_at(&self, position: usize) -> Duration {
        let after = self.times.partition_point(|(from, _)| *from <= position);
        self.times[after.saturating_sub(1)].1
    }
}

/// Calls `each` with every line of a recording in the order in which they end, until it breaks.
///
/// # Errors
/// If the recording cannot be read. Of a recording that is cut off all lines are given first.
pub fn lines<R: Read>(
    reader: &mut Reader<R>,
    mut each: impl FnMut(&Line<'_>) -> ControlFlow<()>,
) -> Result<(), ExportError> {
    let mut channels = Channels::default();
    let mut stopped = false;
    while !stopped {
        match reader.next_entry() {
            Ok(Some(entry)) => stopped = channels.entry(&entry, &mut each).is_break(),
            Ok(None) => {
                let _ = channels.finish(&mut each);
                return Ok(());
            }
            Err(err) => {
                let _ = channels.finish(&mut each);
                return Err(err.into());
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Channels(Vec<Channel>, Followed);

struct Channel {
    number: u32,
    has_terminal: bool,
    is_subsystem: bool,
    output: Unfinished,
    error_output: Unfinished,
}

/// A line whose end has not come yet.
#[derive(Default)]
struct Unfinished {
    stripper: Stripper,
    bytes: Vec<u8>,
    repeated: usize,
    times: Vec<(usize, Duration)>,
}

impl Channels {
    fn entry(
        &mut self,
        entry: &Entry<'_>,
        each: &mut impl FnMut(&Line<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.1.hides(entry) {
            return ControlFlow::Continue(());
        }
        if let Some(operation) = entry.event.line() {
            let mut line = Unfinished::default();
            return line.take(entry, operation.as_bytes(), Source::Transfer, each);
        }
        match entry.event {
            Event::Terminal { .. } => self.channel(entry.channel, each)?.has_terminal = true,
            Event::Subsystem { .. } => self.channel(entry.channel, each)?.is_subsystem = true,
            Event::Exec { command } => {
                let mut line = Unfinished::default();
                return line.take(entry, command, Source::Command, each);
            }
            Event::Closed => {
                if let Some(index) = self.index(entry.channel) {
                    return self.0.remove(index).finish(each);
                }
            }
            event => {
                if let Some((stream @ (Stream::Output | Stream::ErrorOutput), data)) = event.data() {
                    let channel = self.channel(entry.channel, each)?;
                    if !channel.is_subsystem {
                        return channel.data(entry, stream, data, each);
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn index(&self, number: u32) -> Option<usize> {
        self.0.iter().position(|channel| channel.number == number)
    }

    fn channel(
        &mut self,
        number: u32,
        each: &mut impl FnMut(&Line<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<(), &mut Channel> {
        let index = match self.index(number) {
            Some(index) => index,
            None => {
                if self.0.len() == MAX_CHANNELS {
                    self.0.remove(0).finish(each)?;
                }
                self.0.push(Channel {
                    number,
                    has_terminal: false,
                    is_subsystem: false,
                    output: Unfinished::default(),
                    error_output: Unfinished::default(),
                });
                self.0.len() - 1
            }
        };
        ControlFlow::Continue(&mut self.0[index])
    }

    fn finish(&mut self, each: &mut impl FnMut(&Line<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.0.drain(..).try_for_each(|mut channel| channel.finish(each))
    }
}

impl Channel {
    fn data(
        &mut self,
        entry: &Entry<'_>,
        stream: Stream,
        data: &[u8],
        each: &mut impl FnMut(&Line<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // A terminal shows both in one place.
        if stream == Stream::Output || self.has_terminal {
            self.output.put(entry, data, Source::Output, each)
        } else {
            self.error_output.put(entry, data, Source::ErrorOutput, each)
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(&Line<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.output.end(self.number, Source::Output, each)?;
        self.error_output.end(self.number, Source::ErrorOutput, each)
    }
}

impl Unfinished {
    /// A whole text of lines.
    fn take(
        &mut self,
        entry: &Entry<'_>,
        text: &[u8],
        source: Source,
        each: &mut impl FnMut(&Line<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.put(entry, text, source, each)?;
        self.end(entry.channel, source, each)
    }

    fn put(
        &mut self,
        entry: &Entry<'_>,
        data: &[u8],
        source: Source,
        each: &mut impl FnMut(&Line<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut rest = data;
        while !rest.is_empty() {
            let room = MAX_LINE_LEN - self.bytes.len();
            let part = &rest[..rest.len().min(room)];
            let end = part.iter().position(|&byte| byte == b'\n');
            let part = end.map_or(part, |end| &part[..end]);
            self.note_time(entry.at);
            self.stripper.strip(part, &mut self.bytes);
            rest = &rest[part.len()..];
            if end.is_some() {
                // What ends within a sequence is in no line: the stripper sees the line's end and leaves it out.
                let before = self.bytes.len();
                self.stripper.strip(b"\n", &mut self.bytes);
                rest = &rest[1..];
                if self.bytes.len() > before {
                    self.bytes.truncate(before);
                    self.end(entry.channel, source, each)?;
                }
            } else if self.bytes.len() == MAX_LINE_LEN {
                self.give(entry.channel, source, each)?;
                self.keep_tail();
            }
        }
        ControlFlow::Continue(())
    }

    /// What comes next is written at `at`. No byte has two times.
    fn note_time(&mut self, at: Duration) {
        match self.times.last_mut() {
            Some((from, time)) if *from == self.bytes.len() => *time = at,
            Some((_, time)) if *time == at => {}
            _ => self.times.push((self.bytes.len(), at)),
        }
    }

    /// The line is over.
    fn end(
        &mut self,
        channel: u32,
        source: Source,
        each: &mut impl FnMut(&Line<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.bytes.len() > self.repeated {
            self.give(channel, source, each)?;
        }
        self.bytes.clear();
        self.times.clear();
        self.repeated = 0;
        ControlFlow::Continue(())
    }

    fn give(
        &self,
        channel: u32,
        source: Source,
        each: &mut impl FnMut(&Line<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        each(&Line {
            channel,
            source,
            bytes: &self.bytes,
            repeated: self.repeated,
            times: &self.times,
        })
    }

    /// A piece was given: its end is the begin of the next.
    fn keep_tail(&mut self) {
        let gone = self.bytes.len() - MAX_MATCH_LEN;
        self.bytes.drain(..gone);
        self.repeated = MAX_MATCH_LEN;
        let first = self
            .times
            .partition_point(|(from, _)| *from <= gone)
            .saturating_sub(1);
        self.times.drain(..first);
        for (from, _) in &mut self.times {
            *from = from.saturating_sub(gone);
        }
    }
}
