//! Recordings in the forms that other programs read. Each is written as a stream, in constant memory.

mod cast;
mod json;
mod lines;
mod text;

use std::io::{self, Read};
use std::time::Duration;

use crate::event::{Entry, Event, Stream};
use crate::reader::{ReadError, Reader};

pub use cast::cast;
pub use json::json;
pub use lines::{Line, MAX_LINE_LEN, MAX_MATCH_LEN, Source, lines};
pub use text::text;

/// A stretch of a session: from `from` on, up to and without `to`, both since its start. Stretches laid end to end are
/// the whole.
///
/// What comes before is read, since a chunk's time is sealed with it and a terminal's state is made by all that came
/// before; nothing behind `to` is read, not even the signed end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub from: Duration,
    /// Where it ends; `None` is the end of the recording.
    pub to: Option<Duration>,
}

impl Part {
    /// All of it.
    pub const WHOLE: Part = Part {
        from: Duration::ZERO,
        to: None,
    };

    fn is_over(&self, at: Duration) -> bool {
        self.to.is_some_and(|to| at >= to)
    }

    /// Calls `each` with every entry up to the part's end, and with whether it is in the part or before it.
    ///
    /// Returns what is to be told once all that came before has been written.
    fn walk<R: Read>(
        &self,
        reader: &mut Reader<R>,
        mut each: impl FnMut(&Entry<'_>, bool) -> io::Result<()>,
    ) -> Result<Result<(), ExportError>, ExportError> {
        let mut last = Duration::ZERO;
        loop {
            match reader.next_entry() {
                Ok(Some(entry)) if self.is_over(begin(&entry)) => return Ok(Ok(())),
                Ok(Some(entry)) => {
                    last = last.max(entry.at);
                    each(&entry, entry.at >= self.from)?;
                }
                Ok(None) if last < self.from => return Ok(Err(ExportError::Beyond { last })),
                Ok(None) => return Ok(Ok(())),
                Err(err @ ReadError::Cut { .. }) => return Ok(Err(err.into())),
                Err(err) => return Err(err.into()),
            }
        }
    }
}

/// When what the entry tells began: a gap is written where it ended, and is told in each part that it reaches into.
fn begin(entry: &Entry<'_>) -> Duration {
    match entry.event {
        Event::Gap { from, .. } => from.min(entry.at),
        _ => entry.at,
    }
}

/// Why an export stopped. What was written until then is right as far as it goes.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The recording cannot be read on.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error("the export cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The part begins behind the end.
    #[error("the recording's last event is at {last:?}, before what is asked for begins")]
    Beyond {
        /// The time of that event, since the start.
        last: Duration,
    },
}

impl ExportError {
    /// Whether the recording merely lacks its end, all else having been exported.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self, ExportError::Read(ReadError::Cut { .. }))
    }
}

/// Channels whose state is kept by an export; the oldest makes way. A connection rarely has ten at once.
const MAX_CHANNELS: usize = 64;

/// The channels whose output is a protocol of file transfers at present.
#[derive(Debug, Default)]
struct Followed(Vec<u32>);

impl Followed {
    /// Whether the entry is of such a protocol's bytes, which say nothing to people. To be asked of every entry.
    fn hides(&mut self, entry: &Entry<'_>) -> bool {
        if let Some(is_followed) = entry.event.is_followed() {
            self.0.retain(|channel| *channel != entry.channel);
            if is_followed {
                if self.0.len() == MAX_CHANNELS {
                    self.0.remove(0);
                }
                self.0.push(entry.channel);
            }
        }
        let is_protocol = matches!(entry.event.data(), Some((Stream::Output | Stream::Input, _)));
        is_protocol && self.0.contains(&entry.channel)
    }
}

/// What a reader is told where nobody recorded, if that is what the event says: one line, without control characters.
fn gap(event: &Event<'_>) -> Option<String> {
    let Event::Gap {
        from,
        to,
        bytes,
        events,
        reason,
    } = *event
    else {
        return None;
    };
    let reason = String::from_utf8_lossy(reason).replace(char::is_control, " ");
    let length =
        Duration::from_millis(u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX));
    Some(format!(
        "weir: not recorded for {length:?}, {bytes} bytes and {events} other events: {reason}"
    ))
}

/// Makes whole characters of a stream of bytes that is divided anywhere. Bytes that are no UTF-8 become U+FFFD.
#[derive(Debug, Default)]
struct Characters {
    /// The beginning of a character whose rest has not come yet.
    begun: Vec<u8>,
}

impl Characters {
    /// Appends the characters that `data` completes to `out`.
    fn push(&mut self, data: &[u8], out: &mut String) {
        let joined;
        let mut rest = if self.begun.is_empty() {
            data
        } else {
            self.begun.extend_from_slice(data);
            joined = std::mem::take(&mut self.begun);
            &joined[..]
        };
        loop {
            match std::str::from_utf8(rest) {
                Ok(whole) => return out.push_str(whole),
                Err(err) => {
                    let (valid, after) = rest.split_at(err.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(valid));
                    let Some(bad) = err.error_len() else {
                        self.begun = after.to_vec();
                        return;
                    };
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[bad..];
                }
            }
        }
    }

    /// Goes over `data` that is not shown, so that the next character is whole if it can be.
    fn skip(&mut self, data: &[u8]) {
        // No character has more bytes than these.
        const TAIL: usize = 4;
        let tail = data.last_chunk::<TAIL>().map_or(data, |tail| &tail[..]);
        if tail.len() == TAIL {
            self.begun.clear();
        }
        self.push(tail, &mut String::new());
    }

    /// What is left of a character that never became whole.
    fn finish(&mut self, out: &mut String) {
        if !self.begun.is_empty() {
            self.begun.clear();
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn characters_divided_anywhere_are_whole_again(text in ".{0,40}", cuts in prop::collection::vec(0usize..120, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut characters = Characters::default();
            let mut out = String::new();
            for pair in cuts.windows(2) {
                characters.push(&bytes[pair[0]..pair[1]], &mut out);
            }
            characters.finish(&mut out);
            prop_assert_eq!(out, text);
        }
    }

    proptest! {
        #[test]
        fn what_follows_skipped_bytes_begins_with_a_whole_character(
            text in ".{0,20}", skipped in prop::collection::vec(0usize..80, 1..5),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = skipped.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut characters = Characters::default();
            let mut before = 0;
            for &cut in &cuts {
                characters.skip(&bytes[before..cut]);
                before = cut;
            }
            let mut out = String::new();
            characters.push(&bytes[before..], &mut out);
            characters.finish(&mut out);
            let whole = (0..=before).rev().find(|&at| text.is_char_boundary(at)).unwrap();
            prop_assert_eq!(out, &text[whole..]);
        }
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced_and_nothing_is_lost_around_them() {
        let mut characters = Characters::default();
        let mut out = String::new();
        characters.push(b"a\xffb\xe2\x82", &mut out);
        characters.push(b"c\xf0", &mut out);
        characters.finish(&mut out);
        assert_eq!(out, "a\u{fffd}b\u{fffd}c\u{fffd}");
    }
}
