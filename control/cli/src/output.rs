//! Standard output: tables for people, JSON for programs, and a quiet end when the reader leaves.

use std::io::{self, BufWriter, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::failure::{OutputClosed, printable};

/// Buffered standard output whose broken pipe is told from every other failure.
///
/// Flush it: what is still buffered when it is dropped is written too, but its failure is lost.
pub(crate) fn stdout() -> BufWriter<Stdout> {
    BufWriter::with_capacity(64 * 1024, Stdout(io::stdout().lock()))
}

/// Standard output itself.
pub(crate) struct Stdout(io::StdoutLock<'static>);

impl Write for Stdout {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf).map_err(closed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(closed)
    }
}

fn closed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::other(OutputClosed),
        kind => io::Error::new(kind, format!("standard output cannot be written: {error}")),
    }
}

/// A table that is printed in parts, each as wide as it must be and never narrower than the part before.
///
/// Where words of its head are parted by line ends, they stand one above the other.
pub(crate) struct Table<const N: usize> {
    head: Option<[&'static str; N]>,
    widths: [usize; N],
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(head: [&'static str; N]) -> Self {
        Table {
            widths: head.map(|words| words.lines().map(str::len).max().unwrap_or(0)),
            head: Some(head),
        }
    }

    /// Prints `rows`, after the head if it is the first part.
    pub(crate) fn print(&mut self, out: &mut impl Write, rows: &[[String; N]]) -> io::Result<()> {
        let rows: Vec<[String; N]> = rows
            .iter()
            .map(|row| row.each_ref().map(|cell| printable(cell)))
            .collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if let Some(head) = self.head.take() {
            let height = |words: &&str| words.lines().count();
            let lines = head.iter().map(height).max().unwrap_or(0);
            for line in 0..lines {
                // The last lines of all heads are the same line.
                let words = |words: &'static str| {
                    (line + height(&words))
                        .checked_sub(lines)
                        .and_then(|n| words.lines().nth(n))
                };
                self.line(out, &head.map(|head| words(head).unwrap_or_default()))?;
            }
        }
        let shown = |cell: &String| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell.clone()
            }
        };
        rows.iter()
            .try_for_each(|row| self.line(out, &row.each_ref().map(shown)))
    }

    fn line(&self, out: &mut impl Write, cells: &[impl AsRef<str>; N]) -> io::Result<()> {
        let mut line = String::new();
        for (width, cell) in self.widths.iter().zip(cells) {
            let cell = cell.as_ref();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(
                ' ',
                width.saturating_sub(cell.chars().count()) + 2,
            ));
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// A JSON array that is printed in parts, one element per line.
pub(crate) struct Array {
    empty: bool,
}

impl Array {
    pub(crate) fn new() -> Self {
        Array { empty: true }
    }

    pub(crate) fn push(&mut self, out: &mut impl Write, element: &impl Serialize) -> anyhow::Result<()> {
        out.write_all(if self.empty { b"[\n" } else { b",\n" })?;
        self.empty = false;
        out.write_all(serde_json::to_string(element)?.as_bytes())?;
        Ok(())
    }

    pub(crate) fn end(self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(if self.empty { b"[]\n" } else { b"\n]\n" })
    }
}

/// RFC 3339 in UTC with microseconds, of microseconds since 1970.
pub(crate) fn rfc3339(time_us: u64) -> String {
    humantime::format_rfc3339_micros(instant(time_us)).to_string()
}

/// A time for people: `2026-11-20 13:30:05Z`. Empty for 0, which stands for "not yet".
pub(crate) fn date(time_us: u64) -> String {
    if time_us == 0 {
        return String::new();
    }
    humantime::format_rfc3339_seconds(instant(time_us))
        .to_string()
        .replace('T', " ")
}

/// A length of time for people, rounded to what the eye takes in.
pub(crate) fn span(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match seconds {
        0..10 => format!("{seconds}.{:01}s", millis / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A short time for people, to two digits or more.
pub(crate) fn brief(duration: Duration) -> String {
    match duration.as_micros() {
        0 => "0s".to_owned(),
        micros @ 1..1_000 => format!("{micros}µs"),
        micros @ 1_000..10_000 => format!("{}.{}ms", micros / 1_000, micros / 100 % 10),
        micros @ 10_000..1_000_000 => format!("{}ms", micros / 1_000),
        micros @ 1_000_000..10_000_000 => format!("{}.{}s", micros / 1_000_000, micros / 100_000 % 10),
        _ => span(duration),
    }
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// The last moment that RFC 3339 can write, for times that no clock ever showed.
const LAST_US: u64 = 253_402_300_799_999_999;

fn instant(time_us: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(time_us.min(LAST_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_grow_with_later_parts() {
        let mut out = Vec::new();
        let mut table = Table::new(["NAME", "ADDRESS"]);
        table.print(&mut out, &[["a".into(), "x".into()]]).unwrap();
        table
            .print(
                &mut out,
                &[["longer".into(), String::new()], ["b\x1b".into(), "y".into()]],
            )
            .unwrap();
        let expected = "NAME  ADDRESS\na     x\nlonger   -\nb\\u{1b}  y\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn words_of_a_head_stand_one_above_the_other() {
        let mut out = Vec::new();
        let mut table = Table::new(["NODE", "IN\nFLIGHT", "UP"]);
        table
            .print(&mut out, &[["a".into(), "3".into(), String::new()]])
            .unwrap();
        let expected = "      IN\nNODE  FLIGHT  UP\na     3       -\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn arrays_are_json_at_every_length() {
        for length in 0..3 {
            let mut out = Vec::new();
            let mut array = Array::new();
            for n in 0..length {
                array.push(&mut out, &n).unwrap();
            }
            array.end(&mut out).unwrap();
            let read: Vec<u32> = serde_json::from_slice(&out).unwrap();
            assert_eq!(read, (0..length).collect::<Vec<_>>());
        }
    }

    #[test]
    fn times_and_sizes_read_as_people_write_them() {
        assert_eq!(rfc3339(1_795_181_405_000_123), "2026-11-20T13:30:05.000123Z");
        assert_eq!(date(1_795_181_405_000_123), "2026-11-20 13:30:05Z");
        assert_eq!(date(0), "");
        rfc3339(u64::MAX);
        assert_eq!(span(Duration::from_millis(1_290)), "1.2s");
        assert_eq!(span(Duration::from_secs(61)), "1m01s");
        assert_eq!(span(Duration::from_secs(7_260)), "2h01m");
        let briefs = [0, 950, 1_250, 45_300, 999_999, 1_290_000, 12_000_000].map(Duration::from_micros);
        assert_eq!(
            briefs.map(brief),
            ["0s", "950µs", "1.2ms", "45ms", "999ms", "1.2s", "12s"]
        );
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(1 << 30), "1.0 GiB");
    }
}
