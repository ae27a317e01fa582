//! Plain text: what was written, without what only a terminal understands.

use std::io::{Read, Write};

use super::{ExportError, Followed, MAX_CHANNELS, Part, gap};
use crate::event::{Entry, Event, Stream};
use crate::reader::Reader;

/// Writes output and error output of `part`, of `channel` or of all in the order of time.
///
/// Without a terminal the bytes are those that the command wrote. With one, control sequences (ECMA-48), carriage
/// returns and other control characters than tab and newline are left out, so that the text can be read and searched. A channel
/// whose file transfers were followed is a line for each operation, and not its protocol's bytes. Where nobody recorded, a line in
/// brackets says so.
///
/// # Errors
/// If the recording cannot be read or the output not be written. Of a recording that is cut off all is written first.
pub fn text<R: Read, W: Write>(
    reader: &mut Reader<R>,
    channel: Option<u32>,
    part: Part,
    out: &mut W,
) -> Result<(), ExportError> {
    let mut terminals = Terminals::default();
    let mut followed = Followed::default();
    let mut plain = Vec::new();
    let ended = part.walk(reader, |entry, is_wanted| {
        let is_chosen = channel.is_none_or(|channel| channel == entry.channel);
        // A gap concerns every channel.
        let is_shown = (is_chosen && !followed.hides(entry)) || gap(&entry.event).is_some();
        if !is_shown {
            Ok(())
        } else if is_wanted {
            if let Some(line) = entry.event.line() {
                out.write_all(line.as_bytes())?;
            }
            terminals.entry(entry, &mut plain, out)
        } else {
            terminals.entry(entry, &mut plain, &mut std::io::sink())
        }
    })?;
    out.flush()?;
    ended
}

/// The channels that have a terminal, and where each is within a control sequence.
#[derive(Default)]
struct Terminals(Vec<(u32, Stripper)>);

impl Terminals {
    fn entry<W: Write>(
        &mut self,
        entry: &Entry<'_>,
        plain: &mut Vec<u8>,
        out: &mut W,
    ) -> std::io::Result<()> {
        match entry.event {
            Event::Terminal { .. } => {
                self.0.retain(|(channel, _)| *channel != entry.channel);
                if self.0.len() == MAX_CHANNELS {
                    self.0.remove(0);
                }
                self.0.push((entry.channel, Stripper::Text));
            }
            Event::Closed => self.0.retain(|(channel, _)| *channel != entry.channel),
            event => {
                if let Some(note) = gap(&event) {
                    writeln!(out, "\n[{note}]")?;
                }
                if let Some((Stream::Output | Stream::ErrorOutput, data)) = event.data() {
                    match self.0.iter_mut().find(|(channel, _)| *channel == entry.channel) {
                        None => out.write_all(data)?,
                        Some((_, stripper)) => {
                            plain.clear();
                            stripper.strip(data, plain);
                            out.write_all(plain)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where a terminal's input stream is (ECMA-48 §5.4 and §5.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stripper {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and intermediate bytes: one final byte follows.
    Intermediate,
    /// After CSI: parameters, then a final byte of 0x40 to 0x7e.
    Control,
    /// After OSC, DCS, SOS, PM or APC: up to ST, or BEL as xterm has it.
    Command,
    /// Within such a string after an ESC, which begins ST.
    CommandEscape,
}

impl Stripper {
    pub(super) fn strip(&mut self, data: &[u8], out: &mut Vec<u8>) {
        for &byte in data {
            *self = self.step(byte, out);
        }
    }

    fn step(self, byte: u8, out: &mut Vec<u8>) -> Self {
        const ESC: u8 = 0x1b;
        const BEL: u8 = 0x07;
        match (self, byte) {
            (Stripper::Command, BEL) | (Stripper::CommandEscape, b'\\') => Stripper::Text,
            (Stripper::Command, ESC) => Stripper::CommandEscape,
            (Stripper::Command | Stripper::CommandEscape, _) => Stripper::Command,
            (_, ESC) => Stripper::Escape,
            (Stripper::Text, b'\n' | b'\t' | 0x20..=0x7e | 0x80..) => {
                out.push(byte);
                Stripper::Text
            }
            (Stripper::Text, _) => Stripper::Text,
            (Stripper::Escape, b'[') => Stripper::Control,
            (Stripper::Escape, b']' | b'P' | b'X' | b'^' | b'_') => Stripper::Command,
            (Stripper::Escape | Stripper::Intermediate, 0x20..=0x2f) => Stripper::Intermediate,
            (Stripper::Escape | Stripper::Intermediate, _) | (Stripper::Control, 0x40..=0x7e) => {
                Stripper::Text
            }
            (Stripper::Control, _) => Stripper::Control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_are_left_out_wherever_they_are_divided() {
        let screen = b"\x1b]0;title\x07\x1b[1;31mred\x1b[0m\r\nplain\ttab\x1b(B \xc3\xa9\x08\x1bP1$r\x1b\\end\x1b]2;t\x1b\\!\n";
        for cut in 0..=screen.len() {
            let mut stripper = Stripper::Text;
            let mut out = Vec::new();
            stripper.strip(&screen[..cut], &mut out);
            stripper.strip(&screen[cut..], &mut out);
            assert_eq!(
                String::from_utf8_lossy(&out),
                "red\nplain\ttab \u{e9}end!\n",
                "cut at {cut}"
            );
        }
    }
}
