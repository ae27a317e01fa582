//! Events to a file that is rotated.
//!
//! A batch is on disk before the cursor moves, so a kill between the two leaves events that the store would give again: the
//! newest files say which those are. A line that was torn is cut off.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use weir_store::AuditEvent;

use super::{BATCH_BYTES, FIRST_PAUSE, Feed, FileConfig, longer};
use crate::audit_log::AuditLog;

/// How much of what is there is read back: many times what a batch writes, of which at most one is beyond the cursor.
const TAIL_BYTES: u64 = 16 * BATCH_BYTES as u64;

pub(super) async fn run(file: RotatedFile, mut feed: Feed) {
    let place = feed.place.clone();
    let mut sent_seq = place.cursor().await;
    // Out only while a thread that may block writes to it.
    let mut at_rest = Some(file);
    let mut pause = FIRST_PAUSE;
    while let Some(events) = feed.after(sent_seq).await {
        let last = events.last().map_or(sent_seq, |(seq, _)| *seq);
        let mut file = at_rest.take().expect("the file is back after each write");
        let written = tokio::task::spawn_blocking(move || {
            let result = file.append(&events);
            (file, result)
        });
        let (file, result) = written.await.expect("appending to a file does not panic");
        match result {
            Ok(()) => {
                sent_seq = last;
                pause = FIRST_PAUSE;
                place.sent(sent_seq);
                place.is_well();
                place.is_safe(sent_seq).await;
            }
            Err(error) => {
                let problem = format!("{}: {error}", file.config.path.display());
                place.pause_after(&problem, pause).await;
                pause = longer(pause);
            }
        }
        at_rest = Some(file);
    }
}

/// The file, and those that it was before.
pub(super) struct RotatedFile {
    config: FileConfig,
    current: Current,
    /// Of events at the ends of the files, which may come again after a start.
    written: HashSet<String>,
}

struct Current {
    file: File,
    /// Where the last whole line ends.
    length: u64,
    began: SystemTime,
}

impl RotatedFile {
    pub(super) fn open(config: FileConfig) -> io::Result<RotatedFile> {
        let current = Current::open(&config.path)?;
        let written = newest_ids(&config)?;
        Ok(RotatedFile {
            config,
            current,
            written,
        })
    }

    /// Appends events, each to the file that it belongs to, and waits until they are on disk. After an error it may be called
    /// again with the same events.
    fn append(&mut self, events: &[(u64, AuditEvent)]) -> io::Result<()> {
        if !self.current.is_at(&self.config.path)? {
            // Whoever has renamed it rotates it, or has taken it away.
            self.current = Current::open(&self.config.path)?;
        }
        let mut lines = Vec::new();
        let mut is_repeated = false;
        for (_, event) in events {
            if self.written.contains(&event.id) {
                is_repeated = true;
                continue;
            }
            let line = AuditLog::lines(std::slice::from_ref(event));
            if self.is_full(lines.len() as u64, line.len() as u64) {
                self.current.append(&lines)?;
                self.remember(&lines);
                lines.clear();
                self.rotate()?;
            }
            lines.extend_from_slice(&line);
        }
        self.current.append(&lines)?;
        if !is_repeated {
            // The store has come to what was never here.
            self.written.clear();
        }
        Ok(())
    }

    /// What is on disk of a batch that is not is not written again.
    fn remember(&mut self, lines: &[u8]) {
        self.written.extend(ids(lines));
    }

    /// Whether the next line belongs to a new file, when `pending` bytes are about to be written to this one. A line that is
    /// longer than a file may be has one of its own.
    fn is_full(&self, pending: u64, line: u64) -> bool {
        let limit = self.config.rotate_size_bytes;
        let held = self.current.length + pending;
        let is_large = limit > 0 && held > 0 && held + line > limit;
        let age = SystemTime::now()
            .duration_since(self.current.began)
            .unwrap_or_default();
        let limit = self.config.rotate_age;
        let is_old = !limit.is_zero() && self.current.length > 0 && age >= limit;
        is_large || is_old
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.config.path;
        for number in (0..self.config.keep).rev() {
            let from = match number {
                0 => path.clone(),
                number => former(path, number),
            };
            match fs::rename(from, former(path, number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.config.keep == 0 {
            fs::remove_file(path)?;
        }
        self.current = Current::open(path)?;
        Ok(())
    }
}

impl Current {
    fn open(path: &Path) -> io::Result<Current> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let metadata = file.metadata()?;
        let tail = tail(&mut file, metadata.len())?;
        let torn = tail.len() - whole(&tail);
        let length = metadata.len() - torn as u64;
        if torn > 0 {
            file.set_len(length)?;
        }
        if length == 0 {
            // It may have been made just now, and others renamed for it.
            File::open(directory_of(path))?.sync_all()?;
        }
        let began = match length {
            0 => SystemTime::now(),
            // Not every file system knows; what it was last changed at is then as good as it gets.
            _ => metadata.created().or_else(|_| metadata.modified())?,
        };
        Ok(Current { file, length, began })
    }

    /// Whether the path still leads to this file.
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match fs::metadata(path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.length == 0 {
            self.began = SystemTime::now();
        }
        match self.file.write_all(lines).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // The lines come again as a whole. Should this fail too, the next start cuts off what is torn.
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }
}

/// The file that was current `number` rotations ago.
fn former(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn tail(file: &mut File, length: u64) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Where the last whole line ends.
fn whole(tail: &[u8]) -> usize {
    tail.iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |last| last + 1)
}

/// The ids in the newest [`TAIL_BYTES`], over as many files as they are in.
fn newest_ids(config: &FileConfig) -> io::Result<HashSet<String>> {
    let mut newest = HashSet::new();
    let mut read = 0;
    for number in 0..=config.keep {
        let path = match number {
            0 => config.path.clone(),
            number => former(&config.path, number),
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        newest.extend(ids(&tail(&mut file, length)?));
        read += length;
        if read >= TAIL_BYTES {
            break;
        }
    }
    Ok(newest)
}

fn ids(lines: &[u8]) -> impl Iterator<Item = String> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }

    lines
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Id>(line).ok())
        .map(|line| line.id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config(directory: &tempfile::TempDir) -> FileConfig {
        FileConfig {
            path: directory.path().join("audit.jsonl"),
            rotate_size_bytes: 2000,
            rotate_age: Duration::ZERO,
            keep: 3,
        }
    }

    fn events(range: std::ops::Range<u64>) -> Vec<(u64, AuditEvent)> {
        let event = |seq: u64| AuditEvent {
            id: format!("e{seq}"),
            kind: "exec".to_owned(),
            detail: "{}".to_owned(),
            ..AuditEvent::default()
        };
        range.map(|seq| (seq, event(seq))).collect()
    }

    fn ids_in(path: &Path) -> Vec<String> {
        ids(&fs::read(path).unwrap()).collect()
    }

    #[test]
    fn a_file_that_would_be_too_large_becomes_a_former_one_and_old_ones_go() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(&directory);
        let mut file = RotatedFile::open(config.clone()).unwrap();
        for first in (0..30).step_by(10) {
            file.append(&events(first..first + 10)).unwrap();
        }
        let mut all = Vec::new();
        for path in [
            former(&config.path, 3),
            former(&config.path, 2),
            former(&config.path, 1),
            config.path.clone(),
        ] {
            assert!(fs::metadata(&path).unwrap().len() <= 2000, "{}", path.display());
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            all.extend(ids_in(&path));
        }
        assert!(!former(&config.path, 4).exists());
        // In order, none twice, and the newest of all.
        let newest: Vec<_> = (30 - all.len()..30).map(|n| format!("e{n}")).collect();
        assert!(all.len() > 15, "{}", all.len());
        assert_eq!(all, newest);
    }

    #[test]
    fn an_old_file_is_rotated_by_the_next_event_and_a_line_that_is_too_long_has_one_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let config = FileConfig {
            rotate_age: Duration::from_nanos(1),
            rotate_size_bytes: 0,
            ..config(&directory)
        };
        let mut file = RotatedFile::open(config.clone()).unwrap();
        file.append(&events(0..1)).unwrap();
        file.append(&events(1..2)).unwrap();
        assert_eq!(ids_in(&former(&config.path, 1)), ["e0"]);
        assert_eq!(ids_in(&config.path), ["e1"]);

        let tiny = FileConfig {
            rotate_age: Duration::ZERO,
            rotate_size_bytes: 1,
            ..config
        };
        let mut file = RotatedFile::open(tiny.clone()).unwrap();
        file.append(&events(2..4)).unwrap();
        assert_eq!(ids_in(&former(&tiny.path, 1)), ["e2"]);
        assert_eq!(ids_in(&tiny.path), ["e3"]);
    }

    #[test]
    fn what_a_kill_left_beyond_the_cursor_is_not_written_again_and_a_torn_line_is() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(&directory);
        let mut file = RotatedFile::open(config.clone()).unwrap();
        file.append(&events(0..24)).unwrap();
        assert!(
            former(&config.path, 2).exists(),
            "some of them are in former files"
        );
        drop(file);
        let mut torn = OpenOptions::new().append(true).open(&config.path).unwrap();
        torn.write_all(b"{\"id\":\"e24\",\"ti").unwrap();

        let mut file = RotatedFile::open(config.clone()).unwrap();
        file.append(&events(0..26)).unwrap();
        let mut all = ids_in(&former(&config.path, 2));
        all.extend(ids_in(&former(&config.path, 1)));
        all.extend(ids_in(&config.path));
        assert_eq!(all, (0..26).map(|n| format!("e{n}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_others_rename_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(&directory);
        let mut file = RotatedFile::open(config.clone()).unwrap();
        file.append(&events(0..2)).unwrap();
        let elsewhere = directory.path().join("rotated");
        fs::rename(&config.path, &elsewhere).unwrap();
        file.append(&events(2..4)).unwrap();
        fs::remove_file(&config.path).unwrap();
        file.append(&events(4..5)).unwrap();
        assert_eq!(ids_in(&elsewhere), ["e0", "e1"]);
        assert_eq!(ids_in(&config.path), ["e4"]);
    }
}
