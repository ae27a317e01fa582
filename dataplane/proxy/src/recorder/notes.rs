//! What sessions leave in the spool when the recorder's thread is gone: files that tell the next start of their gaps.
//!
//! `<session>.note` holds a [`Note`] and is there whole or not at all. It goes when the recording that it belongs to is in the
//! store. Files are written by a thread of their own, since the threads that carry sessions must not wait for a disk; it
//! is there only while there is something to write. What waits for it is bounded: a session leaves one note, at its end.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ulid::Ulid;
use weir_record::{MAX_NOTE_LEN, Note};

use crate::private_file;
use crate::spool::{self, segment};

pub(crate) struct Notes {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    left: Vec<(Ulid, Note)>,
    writer: Option<JoinHandle<()>>,
    is_writing: bool,
}

impl Notes {
    pub(super) fn new(dir: PathBuf) -> Arc<Notes> {
        Arc::new(Notes {
            dir,
            state: Mutex::default(),
        })
    }

    /// Never blocks on the disk.
    pub(super) fn leave(self: &Arc<Self>, session: Ulid, note: Note) {
        let mut state = self.state();
        state.left.push((session, note));
        if state.is_writing {
            return;
        }
        let notes = Arc::clone(self);
        let writer = std::thread::Builder::new()
            .name("recorder-notes".to_owned())
            .spawn(move || notes.write());
        match writer {
            Ok(writer) => (state.writer, state.is_writing) = (Some(writer), true),
            // The next one tries again.
            Err(error) => {
                tracing::error!(%error, "no thread can be started to write down what is not recorded")
            }
        }
    }

    /// Waits until all that was left is written.
    pub(super) fn finish(&self) {
        let writer = self.state().writer.take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes notes panicked");
        }
    }

    fn write(&self) {
        loop {
            let mut state = self.state();
            let left = std::mem::take(&mut state.left);
            if left.is_empty() {
                state.is_writing = false;
                return;
            }
            drop(state);
            for (session, note) in left {
                if let Err(error) = write(&self.dir, session, &note) {
                    tracing::error!(%session, %error, "that a part of a session is missing cannot be put into its recording");
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(dir: &Path, session: Ulid) -> PathBuf {
    dir.join(format!("{session}.note"))
}

fn write(dir: &Path, session: Ulid, note: &Note) -> io::Result<()> {
    private_file::write(&path(dir, session), note.as_bytes())?;
    segment::sync_dir(dir)
}

/// The note that a session left in a spool, if it did.
pub(crate) fn read(dir: &Path, session: Ulid) -> io::Result<Option<Note>> {
    let file = match File::open(path(dir, session)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_NOTE_LEN as u64 + 1), &mut bytes)?;
    match Note::from_bytes(bytes) {
        Ok(note) => Ok(Some(note)),
        Err(error) => {
            tracing::warn!(%session, %error, "a note in the spool is not one, and is left out");
            Ok(None)
        }
    }
}

/// The sessions that have left notes in a spool.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Ulid>> {
    spool::named(dir, ".note", |name| Ulid::from_string(name).ok())
}

/// The recording is in the store, or there is none.
pub(crate) fn remove(dir: &Path, session: Ulid) {
    drop(std::fs::remove_file(path(dir, session)));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn notes_are_written_beside_those_who_leave_them_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::new(dir.path().to_owned());
        let left: Vec<_> = (1..200)
            .map(|n: u64| {
                let note = Note::gap(Duration::ZERO, Duration::from_secs(n), n, 0, "stopped");
                (Ulid::from_parts(n, 1), note)
            })
            .collect();
        for (session, note) in &left {
            notes.leave(*session, note.clone());
        }
        notes.finish();
        assert_eq!(list(dir.path()).unwrap().len(), left.len());
        for (session, note) in left {
            assert_eq!(read(dir.path(), session).unwrap(), Some(note));
            remove(dir.path(), session);
            assert_eq!(read(dir.path(), session).unwrap(), None);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_note_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let session = Ulid::from_parts(1, 2);
        for bytes in [&b""[..], b"not a note", &[0; 100_000]] {
            std::fs::write(path(dir.path(), session), bytes).unwrap();
            assert_eq!(read(dir.path(), session).unwrap(), None);
        }
    }
}
