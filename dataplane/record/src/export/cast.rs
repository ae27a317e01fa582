//! asciicast v3 (<https://docs.asciinema.org/manual/asciicast/v3/>): a header, then `[interval, code, data]` lines.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde::Serialize;

use super::{Characters, ExportError, Followed, MAX_CHANNELS, Part, gap};
use crate::event::{Entry, Event};
use crate::reader::Reader;

/// The size of a terminal that nobody asked for: what a command without one is shown in.
const DEFAULT_SIZE: (u32, u32) = (80, 24);
/// Columns and rows beyond which a player would be asked for memory by somebody's word alone.
const MAX_SIZE: u32 = 1000;
/// Gaps that wait for a channel to be shown; with more, the header is written without one.
const MAX_GAPS: usize = 64;

/// Writes one channel of a part of a recording as asciicast v3, for `channel` or else for the first on which anything was
/// started, written or resized in the part: a player has one terminal, while a connection may carry many.
///
/// Output and error output become `o`, input `i`, resizes `r`; the exit status becomes a last `x` (128 and the signal's
/// number after an exit by signal, as shells count it). Of a channel whose file transfers were followed a line for each
/// operation is shown, and not its protocol's bytes; where nobody recorded stands a marker `m`. Times are exact to the
/// microsecond and do not drift; they begin with the part, and the header has the terminal as it was then.
///
/// # Errors
/// If the recording cannot be read or the output not be written. Of a recording that is cut off all is written first.
pub fn cast<R: Read, W: Write>(
    reader: &mut Reader<R>,
    channel: Option<u32>,
    part: Part,
    out: &mut W,
) -> Result<(), ExportError> {
    let started = Duration::from_micros(reader.envelope().started_us);
    let mut cast = Cast {
        out,
        chosen: channel,
        timestamp: started.saturating_add(part.from).as_secs(),
        channels: Vec::new(),
        title: None,
        begun: false,
        has_events: false,
        last: part.from,
        exit: None,
        text: String::new(),
        followed: Followed::default(),
        gaps: Vec::new(),
    };
    let ended = part.walk(reader, |entry, is_wanted| cast.entry(entry, is_wanted))?;
    cast.finish()?;
    ended
}

#[derive(Serialize)]
struct Header<'a> {
    version: u8,
    term: Term<'a>,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
}

#[derive(Serialize)]
struct Term<'a> {
    cols: u32,
    rows: u32,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
}

struct Cast<'w, W> {
    out: &'w mut W,
    chosen: Option<u32>,
    timestamp: u64,
    /// What is known of the channels that are open, until one of them is shown.
    channels: Vec<Channel>,
    title: Option<String>,
    begun: bool,
    has_events: bool,
    last: Duration,
    exit: Option<(Duration, u32)>,
    text: String,
    followed: Followed,
    /// Gaps in the part before anything was shown, at most [`MAX_GAPS`].
    gaps: Vec<(Duration, String)>,
}

/// A channel as the header has to tell it, and as its next byte finds it.
struct Channel {
    number: u32,
    size: (u32, u32),
    term: Option<String>,
    command: Option<String>,
    streams: [Characters; 3],
}

impl Channel {
    fn new(number: u32) -> Self {
        Channel {
            number,
            size: DEFAULT_SIZE,
            term: None,
            command: None,
            streams: Default::default(),
        }
    }

    /// Takes note of what is not shown.
    fn note(&mut self, event: &Event<'_>) {
        match *event {
            Event::Terminal {
                term, columns, rows, ..
            } => {
                self.size = size(columns, rows);
                self.term = Some(String::from_utf8_lossy(term).into_owned());
            }
            Event::Resize { columns, rows, .. } => self.size = size(columns, rows),
            Event::Exec { command } => self.command = Some(String::from_utf8_lossy(command).into_owned()),
            Event::Output(data) => self.streams[0].skip(data),
            Event::ErrorOutput(data) => self.streams[1].skip(data),
            Event::Input(data) => self.streams[2].skip(data),
            _ => {}
        }
    }
}

impl<W: Write> Cast<'_, W> {
    fn entry(&mut self, entry: &Entry<'_>, is_wanted: bool) -> io::Result<()> {
        if let Event::Meta(fields) = entry.event {
            let (login, node) = (fields.get("login"), fields.get("node"));
            self.title = login.zip(node).map(|(login, node)| format!("{login}@{node}"));
            return Ok(());
        }
        if let Some(note) = gap(&entry.event) {
            // It concerns every channel, and waits for the first that is shown.
            if is_wanted && (self.begun || self.gaps.len() == MAX_GAPS) {
                self.line(entry.at, "m", &note)?;
            } else if is_wanted {
                self.gaps.push((entry.at, note));
            }
            return Ok(());
        }
        let shown = match entry.event {
            Event::Terminal { .. }
            | Event::Resize { .. }
            | Event::Shell
            | Event::Exec { .. }
            | Event::Subsystem { .. } => true,
            event => event.data().is_some(),
        };
        if is_wanted && shown && self.chosen.is_none() {
            self.chosen = Some(entry.channel);
        }
        if self.followed.hides(entry) {
            return Ok(());
        }
        if is_wanted && self.chosen == Some(entry.channel) {
            self.show(entry)
        } else if !self.begun {
            match entry.event {
                Event::Closed => self.channels.retain(|known| known.number != entry.channel),
                event => self.channel(entry.channel).note(&event),
            }
            Ok(())
        } else {
            Ok(())
        }
    }

    fn show(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        if let Some(line) = entry.event.line() {
            return self.line(entry.at, "o", &line.replace('\n', "\r\n"));
        }
        match entry.event {
            Event::Terminal { .. } | Event::Exec { .. } if !self.begun => {
                self.channel(entry.channel).note(&entry.event);
                Ok(())
            }
            Event::Terminal { columns, rows, .. } | Event::Resize { columns, rows, .. } => {
                let (columns, rows) = size(columns, rows);
                self.line(entry.at, "r", &format!("{columns}x{rows}"))
            }
            Event::Output(data) => self.data(entry, 0, "o", data),
            Event::ErrorOutput(data) => self.data(entry, 1, "o", data),
            Event::Input(data) => self.data(entry, 2, "i", data),
            Event::ExitStatus(status) => {
                self.exit = Some((entry.at, status));
                Ok(())
            }
            Event::ExitSignal { signal, .. } => {
                self.exit = Some((entry.at, 128 + signal_number(signal)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn channel(&mut self, number: u32) -> &mut Channel {
        let known = self.channels.iter().position(|known| known.number == number);
        let index = known.unwrap_or_else(|| {
            if self.channels.len() == MAX_CHANNELS {
                // The oldest makes way, but for the one that was asked for.
                let chosen = self
                    .chosen
                    .is_some_and(|chosen| chosen == self.channels[0].number);
                self.channels.remove(usize::from(chosen));
            }
            self.channels.push(Channel::new(number));
            self.channels.len() - 1
        });
        &mut self.channels[index]
    }

    fn data(&mut self, entry: &Entry<'_>, stream: usize, code: &str, data: &[u8]) -> io::Result<()> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.channel(entry.channel).streams[stream].push(data, &mut text);
        if !text.is_empty() {
            self.line(entry.at, code, &text)?;
        }
        self.text = text;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(number) = self.chosen {
            for (stream, code) in [(0, "o"), (1, "o"), (2, "i")] {
                let mut text = String::new();
                self.channel(number).streams[stream].finish(&mut text);
                if !text.is_empty() {
                    self.line(self.last, code, &text)?;
                }
            }
        }
        if let Some((at, status)) = self.exit {
            // Readers take a signed number, as Windows has them.
            self.line(at, "x", &status.cast_signed().to_string())?;
        }
        if !self.has_events {
            // A recording without events is none to a player.
            self.line(self.last, "o", "")?;
        }
        self.out.flush()
    }

    fn header(&mut self) -> io::Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let number = self.chosen.unwrap_or(0);
        // From here on no other is of interest.
        self.channels.retain(|known| known.number == number);
        let (timestamp, title) = (self.timestamp, self.title.take());
        let Channel {
            size, term, command, ..
        } = self.channel(number);
        let header = Header {
            version: 3,
            term: Term {
                cols: size.0,
                rows: size.1,
                kind: term.as_deref(),
            },
            timestamp,
            command: command.as_deref(),
            title: title.as_deref(),
        };
        let header = serde_json::to_string(&header)?;
        writeln!(self.out, "{header}")?;
        for (at, note) in std::mem::take(&mut self.gaps) {
            self.line(at, "m", &note)?;
        }
        Ok(())
    }

    fn line(&mut self, at: Duration, code: &str, data: &str) -> io::Result<()> {
        self.header()?;
        self.has_events = true;
        let interval = at.saturating_sub(self.last);
        self.last = self.last.max(at);
        write!(
            self.out,
            "[{}.{:06}, \"{code}\", ",
            interval.as_secs(),
            interval.subsec_micros()
        )?;
        serde_json::to_writer(&mut *self.out, data)?;
        self.out.write_all(b"]\n")
    }
}

/// A terminal's size as a player takes it. 0 is what a client says that has no terminal itself.
fn size(columns: u32, rows: u32) -> (u32, u32) {
    let side = |said: u32, default: u32| if said == 0 { default } else { said.min(MAX_SIZE) };
    (side(columns, DEFAULT_SIZE.0), side(rows, DEFAULT_SIZE.1))
}

/// The numbers of the signals that RFC 4254 §6.10 names, as Linux on most machines counts them.
fn signal_number(name: &[u8]) -> u32 {
    match name {
        b"HUP" => 1,
        b"INT" => 2,
        b"QUIT" => 3,
        b"ILL" => 4,
        b"ABRT" => 6,
        b"FPE" => 8,
        b"KILL" => 9,
        b"USR1" => 10,
        b"SEGV" => 11,
        b"USR2" => 12,
        b"PIPE" => 13,
        b"ALRM" => 14,
        b"TERM" => 15,
        _ => 127,
    }
}
