//! `weir play`: a recording laid out and played, or written at full speed where there is no terminal.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use weir_record::{Entry, Event, Reader, Stream};

use super::watch;
use crate::arguments::Play;
use crate::client::converse;
use crate::output::{size, stdout};
use crate::player::{self, Reel};
use crate::progress::Meter;
use crate::recording::{Recording, RecordingAction};

pub(crate) fn run(data: &Path, play: Play) -> anyhow::Result<()> {
    let watched = io::stdout().is_terminal();
    let (header, recording) = match Recording::open(data, play.id.clone(), RecordingAction::Play) {
        Ok(opened) => opened,
        // One that is not there yet may be watched while it is made.
        Err(refused) => match Recording::watch(data, play.id.clone()) {
            Ok(live) => {
                let _ = writeln!(io::stderr(), "the session still goes on: it is shown as it does");
                return watch::follow(&play.id, live, play.identity.as_deref(), play.channel);
            }
            Err(_) => return Err(refused),
        },
    };
    let progress = Meter::new("loading");
    progress.lock().expect(header.size_bytes);
    let opener = header.opener(play.identity.as_deref())?;
    let mut reader = Reader::open(recording.counted(&progress), opener.unlock())?;
    let mut tracks = Tracks::default();
    // What was recorded before a fault is as good as ever: it is played, and the fault told after it.
    let ended = loop {
        match reader.next_entry() {
            Ok(Some(entry)) => tracks.add(&entry),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop((reader, progress));

    let chosen = tracks.choose(play.channel);
    if chosen.is_empty() {
        let hint = "`weir recordings export ID --format json` shows what happened";
        let _ = writeln!(io::stderr(), "nothing was printed that could be played: {hint}");
    } else if watched {
        let reel = tracks.reel(&chosen, play.idle_limit);
        drop(tracks);
        converse(player::play(reel, play.speed))?;
    } else {
        let _ = writeln!(
            io::stderr(),
            "standard output is no terminal: written at full speed"
        );
        let mut out = stdout();
        for piece in tracks.pieces(&chosen).filter(|piece| !piece.is_note) {
            out.write_all(&tracks.bytes[piece.bytes.clone()])?;
        }
        out.flush()?;
    }
    Ok(ended?)
}

/// All that was printed, with the channel that printed it.
#[derive(Default)]
struct Tracks {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    tracks: Vec<Track>,
    /// The track of each open channel: numbers are used again after a channel's end.
    open: HashMap<u32, usize>,
    end: Duration,
}

struct Piece {
    at: Duration,
    /// Of all if none is given.
    track: Option<usize>,
    bytes: Range<usize>,
    /// Weir's own words, which nobody printed.
    is_note: bool,
}

/// One channel, from its first event to its close.
#[derive(Clone, Debug, Default)]
struct Track {
    channel: u32,
    has_terminal: bool,
    /// A protocol of programs, and nothing that was ever meant for a screen.
    is_subsystem: bool,
    /// What it printed is a protocol of file transfers, and is shown as one line for each operation.
    is_followed: bool,
    printed: bool,
    sizes: Vec<(u32, u32)>,
}

impl Tracks {
    fn add(&mut self, entry: &Entry<'_>) {
        self.end = self.end.max(entry.at);
        if let Some(is_followed) = entry.event.is_followed() {
            let track = self.track(entry.channel);
            self.tracks[track].is_followed = is_followed;
            self.tracks[track].is_subsystem &= !is_followed;
        }
        if let Some(line) = entry.event.line() {
            self.print(entry, line.as_bytes(), false);
        }
        match entry.event {
            Event::Meta(_) => {}
            Event::Output(data) => {
                let track = self.track(entry.channel);
                if !self.tracks[track].is_followed {
                    self.print(entry, data, false);
                }
            }
            Event::ErrorOutput(data) => self.print(entry, data, false),
            Event::Terminal { columns, rows, .. } => {
                let track = self.track(entry.channel);
                self.tracks[track].has_terminal = true;
                self.tracks[track].sizes.push((columns, rows));
            }
            Event::Resize { columns, rows, .. } => {
                let track = self.track(entry.channel);
                self.tracks[track].sizes.push((columns, rows));
            }
            Event::Subsystem { .. } => {
                let track = self.track(entry.channel);
                self.tracks[track].is_subsystem = true;
            }
            Event::LimitReached {
                stream: Stream::Output | Stream::ErrorOutput,
                limit,
            } => {
                let note = format!(
                    "\n[weir: what came after the first {} was not recorded]\n",
                    size(limit)
                );
                self.print(entry, note.as_bytes(), true);
            }
            Event::Gap {
                from,
                to,
                bytes,
                reason,
                ..
            } => {
                let note = unrecorded(to.saturating_sub(from), bytes, reason);
                self.piece(entry.at, None, note.as_bytes(), true);
            }
            Event::Closed => {
                self.open.remove(&entry.channel);
            }
            _ => {}
        }
    }

    fn print(&mut self, entry: &Entry<'_>, data: &[u8], is_note: bool) {
        let track = self.track(entry.channel);
        self.tracks[track].printed = true;
        self.piece(entry.at, Some(track), data, is_note);
    }

    fn piece(&mut self, at: Duration, track: Option<usize>, data: &[u8], is_note: bool) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.pieces.push(Piece {
            at,
            track,
            bytes: begin..self.bytes.len(),
            is_note,
        });
    }

    fn track(&mut self, channel: u32) -> usize {
        *self.open.entry(channel).or_insert_with(|| {
            self.tracks.push(Track {
                channel,
                ..Track::default()
            });
            self.tracks.len() - 1
        })
    }

    /// The tracks to play: those of `channel`; else the first terminal; else all that wrote text.
    fn choose(&self, channel: Option<u32>) -> Vec<usize> {
        let all = || self.tracks.iter().enumerate().filter(|(_, track)| track.printed);
        let numbers = |(number, _): (usize, &Track)| number;
        if let Some(channel) = channel {
            return all()
                .filter(|(_, track)| track.channel == channel)
                .map(numbers)
                .collect();
        }
        match all().find(|(_, track)| track.has_terminal) {
            Some((number, _)) => vec![number],
            None => all()
                .filter(|(_, track)| !track.is_subsystem)
                .map(numbers)
                .collect(),
        }
    }

    fn pieces<'a>(&'a self, chosen: &'a [usize]) -> impl Iterator<Item = &'a Piece> {
        let pieces = self.pieces.iter();
        pieces.filter(|piece| piece.track.is_none_or(|track| chosen.contains(&track)))
    }

    fn reel(&self, chosen: &[usize], idle_limit: Option<Duration>) -> Reel {
        let mut reel = Reel::new(idle_limit);
        for &track in chosen {
            for &(columns, rows) in &self.tracks[track].sizes {
                reel.resize(columns, rows);
            }
        }
        let mut line = Vec::new();
        for piece in self.pieces(chosen) {
            let bytes = &self.bytes[piece.bytes.clone()];
            if piece.track.is_some_and(|track| self.tracks[track].has_terminal) {
                reel.output(piece.at, bytes);
            } else {
                // No terminal driver has turned line ends into what a raw screen needs.
                line.clear();
                for &byte in bytes {
                    if byte == b'\n' {
                        line.push(b'\r');
                    }
                    line.push(byte);
                }
                reel.output(piece.at, &line);
            }
        }
        reel.advance(self.end);
        reel
    }
}

/// What is told of a stretch that nobody recorded.
pub(super) fn unrecorded(length: Duration, bytes: u64, reason: &[u8]) -> String {
    let reason = String::from_utf8_lossy(reason).replace(char::is_control, " ");
    let seconds = length.as_secs_f64();
    format!(
        "\n[weir: {} in {seconds:.1} s were not recorded: {reason}]\n",
        size(bytes)
    )
}

#[cfg(test)]
mod tests {
    use weir_record::{FileAction, FileOperation, TransferProtocol};

    use super::*;

    fn entry(channel: u32, at_ms: u64, event: Event<'_>) -> Entry<'_> {
        Entry {
            at: Duration::from_millis(at_ms),
            channel,
            event,
        }
    }

    fn tracks(entries: &[Entry<'_>]) -> Tracks {
        let mut tracks = Tracks::default();
        for entry in entries {
            tracks.add(entry);
        }
        tracks
    }

    const TERMINAL: Event<'static> = Event::Terminal {
        term: b"xterm",
        columns: 80,
        rows: 24,
        width_px: 0,
        height_px: 0,
    };

    #[test]
    fn the_first_terminal_is_played_alone_and_others_on_request() {
        let tracks = tracks(&[
            entry(0, 0, Event::Exec { command: b"true" }),
            entry(0, 1, Event::Output(b"zero")),
            entry(1, 2, TERMINAL),
            entry(1, 3, Event::Output(b"one")),
            entry(2, 4, TERMINAL),
            entry(2, 5, Event::Output(b"two")),
        ]);
        assert_eq!(tracks.choose(None), [1]);
        assert_eq!(tracks.choose(Some(2)), [2]);
        assert_eq!(tracks.choose(Some(7)), [0_usize; 0]);
        let reel = tracks.reel(&[1], None);
        assert_eq!(reel.bytes(0..1), b"one");
        assert_eq!(reel.size(), Some((80, 24)));
    }

    #[test]
    fn a_stretch_that_nobody_recorded_is_told_on_whatever_is_played() {
        let tracks = tracks(&[
            entry(1, 0, TERMINAL),
            entry(1, 1, Event::Output(b"before")),
            entry(
                0,
                2500,
                Event::Gap {
                    from: Duration::from_millis(1),
                    to: Duration::from_millis(2500),
                    bytes: 4096,
                    events: 0,
                    reason: b"no space\x1b[2J",
                },
            ),
            entry(1, 2600, Event::Output(b"after")),
        ]);
        let chosen = tracks.choose(None);
        let reel = tracks.reel(&chosen, None);
        assert_eq!(
            String::from_utf8_lossy(reel.bytes(0..3)),
            "before\r\n[weir: 4.0 KiB in 2.5 s were not recorded: no space [2J]\r\nafter"
        );
        assert_eq!(tracks.choose(Some(0)), [0_usize; 0], "it is no channel's output");
    }

    #[test]
    fn a_channel_number_that_is_used_again_is_another_track() {
        let tracks = tracks(&[
            entry(0, 0, TERMINAL),
            entry(0, 1, Event::Output(b"first")),
            entry(0, 2, Event::Closed),
            entry(0, 3, Event::Exec { command: b"id" }),
            entry(0, 4, Event::Output(b"second")),
        ]);
        assert_eq!(tracks.choose(None), [0]);
        assert_eq!(tracks.choose(Some(0)), [0, 1]);
    }

    #[test]
    fn a_transfer_plays_as_lines_and_not_as_its_protocol() {
        let begin = FileOperation::begin(TransferProtocol::Sftp);
        let remove = FileOperation {
            action: FileAction::Remove,
            path: b"/tmp/x",
            ..begin
        };
        let tracks = tracks(&[
            entry(0, 0, Event::Subsystem { name: b"sftp" }),
            entry(0, 0, Event::FileOperation(begin)),
            entry(0, 1, Event::Output(b"\0\0\0\x05")),
            entry(0, 2, Event::FileOperation(remove)),
            entry(0, 3, Event::ErrorOutput(b"err\n")),
        ]);
        let reel = tracks.reel(&tracks.choose(None), None);
        assert_eq!(reel.bytes(0..2), b"sftp remove /tmp/x\r\nerr\r\n");
    }

    #[test]
    fn without_a_terminal_everything_but_subsystems_plays_with_full_line_ends() {
        let tracks = tracks(&[
            entry(0, 0, Event::Subsystem { name: b"sftp" }),
            entry(0, 1, Event::Output(b"\0\0\0\x05")),
            entry(1, 2, Event::Output(b"out\n")),
            entry(1, 3, Event::ErrorOutput(b"err\n")),
        ]);
        let chosen = tracks.choose(None);
        assert_eq!(chosen, [1]);
        let reel = tracks.reel(&chosen, None);
        assert_eq!(reel.bytes(0..2), b"out\r\nerr\r\n");
    }
}
