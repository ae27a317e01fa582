//! The audit log: one JSON object per line, appended and synced before the store learns of the events.
//!
//! ```json
//! {"id":"01J…","time":"2026-11-20T13:26:00.000001Z","time_us":1795181160000001,"kind":"session.start","cluster":"weir",
//!  "session":"01J…","user":"alice","login":"root","node":"web1","node_address":"10.0.0.7:22",
//!  "client_address":"192.0.2.1:4711","data_plane":"embedded","recording_mode":"async","detail":{…}}
//! ```
//!
//! A crash can leave a torn last line, which is cut off at the next start: its event was never acknowledged.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use weir_api::audit::Line;
use weir_store::AuditEvent;

use crate::convert::{event_of_line, line_of};
use crate::error::OpenError;

/// How much of the end is read back at the start: many times what one batch writes, and the store can lack no more
/// than some batches.
const TAIL_BYTES: u64 = 8 * 1024 * 1024;

/// The open log.
pub(crate) struct AuditLog {
    file: File,
    /// Where the last whole line ends; what a failed write left beyond is cut off before the next.
    length: u64,
}

impl AuditLog {
    /// Opens the log, cuts off a torn last line, and gives the newest events, oldest first, so that the store can be
    /// told of those that it lacks.
    pub(crate) fn open(path: &Path) -> Result<(AuditLog, Vec<AuditEvent>), OpenError> {
        let open = || {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)?;
            let length = file.metadata()?.len();
            let start = length.saturating_sub(TAIL_BYTES);
            file.seek(SeekFrom::Start(start))?;
            let mut tail = Vec::new();
            (&mut file).take(TAIL_BYTES).read_to_end(&mut tail)?;
            let whole = tail
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |last| last + 1);
            let torn = tail.len() - whole;
            if torn > 0 {
                tracing::warn!(
                    bytes = torn,
                    "audit log ends in the middle of a line, which is cut off"
                );
                file.set_len(length - torn as u64)?;
            }
            tail.truncate(whole);
            // Where the tail begins in mid-line, that first line is older than what matters here.
            let events = tail.split(|byte| *byte == b'\n').filter_map(parse).collect();
            Ok((
                AuditLog {
                    file,
                    length: length - torn as u64,
                },
                events,
            ))
        };
        open().map_err(OpenError::file(path, "open the audit log"))
    }

    /// Whether all of it was read back.
    pub(crate) fn is_short(&self) -> bool {
        self.length <= TAIL_BYTES
    }

    /// The events as lines.
    pub(crate) fn lines(events: &[AuditEvent]) -> Vec<u8> {
        let mut lines = Vec::with_capacity(events.len() * 512);
        for event in events {
            serde_json::to_writer(&mut lines, &line_of(event)).expect("a line always has a JSON form");
            lines.push(b'\n');
        }
        lines
    }

    /// Appends whole lines and waits until they are on disk.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let write = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        match write {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // The lines come again as a whole. If even this fails, the start after next cuts them off.
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<AuditEvent> {
    serde_json::from_slice::<Line<'_>>(line).ok().map(event_of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, detail: &str) -> AuditEvent {
        AuditEvent {
            id: id.to_owned(),
            time_us: 1_795_181_160_000_001,
            kind: "exec".to_owned(),
            detail: detail.to_owned(),
            ..AuditEvent::default()
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_its_detail() {
        let lines = AuditLog::lines(&[
            event("a", "{ \"command\": \"x\\ny\" }"),
            event("d", "{\n}"),
            event("b", "not json\n"),
            AuditEvent {
                time_us: u64::MAX,
                ..event("c", "")
            },
        ]);
        let text = String::from_utf8(lines).unwrap();
        assert_eq!(text.lines().count(), 4);
        assert!(
            text.contains(r#""time":"2026-11-20T13:26:00.000001Z","time_us":1795181160000001"#),
            "{text}"
        );
        assert!(text.contains(r#""detail":{ "command": "x\ny" }}"#), "{text}");
        assert!(text.contains(r#""detail":"{\n}"}"#), "{text}");
        assert!(text.contains(r#""detail":"not json\n"}"#), "{text}");
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_others_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let (mut log, events) = AuditLog::open(&path).unwrap();
        assert!(events.is_empty());
        let written = [event("a", "{\"x\":1}"), event("b", "text")];
        log.append(&AuditLog::lines(&written)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        log.append(b"{\"id\":\"torn").unwrap();
        drop(log);

        let (mut log, events) = AuditLog::open(&path).unwrap();
        assert_eq!(events, written);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        log.append(&AuditLog::lines(&[event("c", "{}")])).unwrap();
        drop(log);
        assert_eq!(AuditLog::open(&path).unwrap().1.len(), 3);
    }
}
