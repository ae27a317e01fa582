//! asciicast v3 (<https://docs.asciinema.org/manual/asciicast/v3/>): a header, then `[interval, code, data]` lines.

use std::io::{Read, Write};
use std::time::Duration;

use serde::Serialize;

use super::{Characters, ExportError, Followed, gap};
use crate::event::{Entry, Event};
use crate::reader::{ReadError, Reader};

/// The size of a terminal that nobody asked for: what a command without one is shown in.
const DEFAULT_SIZE: (u32, u32) = (80, 24);

/// Writes one channel of a recording as asciicast v3, for `channel` or else for the first on which anything was started
/// or written: a player has one terminal, while a connection may carry many.
///
/// Output and error output become `o`, input `i`, resizes `r`; the exit status becomes a last `x` (128 and the signal's
/// number after an exit by signal, as shells count it). Of a channel whose file transfers were followed a line for each
/// operation is shown, and not its protocol's bytes; where nobody recorded stands a marker `m`. Times are exact to the
/// microsecond and do not drift.
///
/// # Errors
/// If the recording cannot be read or the output not be written. Of a recording that is cut off all is written first.
pub fn cast<R: Read, W: Write>(
    reader: &mut Reader<R>,
    channel: Option<u32>,
    out: &mut W,
) -> Result<(), ExportError> {
    let mut cast = Cast::new(channel, reader.envelope().started_us / 1_000_000, out);
    let ended = loop {
        match reader.next_entry() {
            Ok(Some(entry)) => cast.entry(&entry)?,
            Ok(None) => break Ok(()),
            Err(err @ ReadError::Cut { .. }) => break Err(err),
            Err(err) => return Err(err.into()),
        }
    };
    cast.finish()?;
    Ok(ended?)
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
    channel: Option<u32>,
    timestamp: u64,
    size: (u32, u32),
    term: Option<String>,
    command: Option<String>,
    title: Option<String>,
    begun: bool,
    last: Duration,
    exit: Option<(Duration, u32)>,
    streams: [Characters; 3],
    text: String,
    followed: Followed,
    /// Gaps before anything was shown.
    gaps: Vec<(Duration, String)>,
}

impl<'w, W: Write> Cast<'w, W> {
    fn new(channel: Option<u32>, timestamp: u64, out: &'w mut W) -> Self {
        Cast {
            out,
            channel,
            timestamp,
            size: DEFAULT_SIZE,
            term: None,
            command: None,
            title: None,
            begun: false,
            last: Duration::ZERO,
            exit: None,
            streams: Default::default(),
            text: String::new(),
            followed: Followed::default(),
            gaps: Vec::new(),
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), ExportError> {
        if let Event::Meta(fields) = entry.event {
            let (login, node) = (fields.get("login"), fields.get("node"));
            self.title = login.zip(node).map(|(login, node)| format!("{login}@{node}"));
            return Ok(());
        }
        if let Some(note) = gap(&entry.event) {
            // It concerns every channel, and waits for the first that is shown.
            match self.begun {
                true => self.line(entry.at, "m", &note)?,
                false => self.gaps.push((entry.at, note)),
            }
            return Ok(());
        }
        let shown = match entry.event {
            Event::Terminal { .. } | Event::Shell | Event::Exec { .. } | Event::Subsystem { .. } => true,
            event => event.data().is_some(),
        };
        if shown && self.channel.is_none() {
            self.channel = Some(entry.channel);
        }
        if self.followed.hides(entry) || self.channel != Some(entry.channel) {
            return Ok(());
        }
        if let Some(line) = entry.event.line() {
            return self.line(entry.at, "o", &line.replace('\n', "\r\n"));
        }
        match entry.event {
            Event::Terminal {
                term, columns, rows, ..
            } if !self.begun => {
                self.size = (columns, rows);
                self.term = Some(String::from_utf8_lossy(term).into_owned());
            }
            Event::Terminal { columns, rows, .. } | Event::Resize { columns, rows, .. } => {
                self.line(entry.at, "r", &format!("{columns}x{rows}"))?;
            }
            Event::Exec { command } if !self.begun => {
                self.command = Some(String::from_utf8_lossy(command).into_owned());
            }
            Event::Output(data) => self.data(entry.at, 0, "o", data)?,
            Event::ErrorOutput(data) => self.data(entry.at, 1, "o", data)?,
            Event::Input(data) => self.data(entry.at, 2, "i", data)?,
            Event::ExitStatus(status) => self.exit = Some((entry.at, status)),
            Event::ExitSignal { signal, .. } => self.exit = Some((entry.at, 128 + signal_number(signal))),
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, at: Duration, stream: usize, code: &str, data: &[u8]) -> Result<(), ExportError> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.streams[stream].push(data, &mut text);
        if !text.is_empty() {
            self.line(at, code, &text)?;
        }
        self.text = text;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ExportError> {
        for (stream, code) in [(0, "o"), (1, "o"), (2, "i")] {
            let mut text = String::new();
            self.streams[stream].finish(&mut text);
            if !text.is_empty() {
                self.line(self.last, code, &text)?;
            }
        }
        if let Some((at, status)) = self.exit {
            self.line(at, "x", &status.to_string())?;
        }
        self.header()?;
        self.out.flush()?;
        Ok(())
    }

    fn header(&mut self) -> Result<(), ExportError> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let header = Header {
            version: 3,
            term: Term {
                cols: self.size.0,
                rows: self.size.1,
                kind: self.term.as_deref(),
            },
            timestamp: self.timestamp,
            command: self.command.as_deref(),
            title: self.title.as_deref(),
        };
        serde_json::to_writer(&mut *self.out, &header).map_err(std::io::Error::from)?;
        self.out.write_all(b"\n")?;
        for (at, note) in std::mem::take(&mut self.gaps) {
            self.line(at, "m", &note)?;
        }
        Ok(())
    }

    fn line(&mut self, at: Duration, code: &str, data: &str) -> Result<(), ExportError> {
        self.header()?;
        let interval = at.saturating_sub(self.last);
        self.last = self.last.max(at);
        write!(
            self.out,
            "[{}.{:06}, \"{code}\", ",
            interval.as_secs(),
            interval.subsec_micros()
        )?;
        serde_json::to_writer(&mut *self.out, data).map_err(std::io::Error::from)?;
        self.out.write_all(b"]\n")?;
        Ok(())
    }
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
