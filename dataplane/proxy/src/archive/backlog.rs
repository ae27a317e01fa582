//! What waits for the store, for those who watch.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ulid::Ulid;

use super::Upload;
use crate::clock::Clock;

/// Recordings that have ended and are not yet safe in the store. Some hundred bytes for each.
pub(crate) struct Backlog {
    /// The spool's directory.
    dir: PathBuf,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Recorded bytes and when it began to wait.
    recordings: HashMap<Ulid, (u64, u64)>,
    by_age: BTreeSet<(u64, Ulid)>,
    bytes: u64,
    problem: Option<String>,
}

/// What was seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Recordings that wait.
    pub(crate) recordings: u64,
    /// What was recorded in them, before it was compressed and sealed.
    pub(crate) bytes: u64,
    /// For how long the oldest has waited, microseconds.
    pub(crate) oldest_us: u64,
    /// What the spool takes on disk, and what is free beside it.
    pub(crate) spool_bytes: u64,
    pub(crate) free_bytes: u64,
    /// Why the store took nothing when it was last asked.
    pub(crate) problem: Option<String>,
}

impl Backlog {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Backlog {
            dir,
            waiting: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, upload: &Upload) {
        let since = upload.recovered_us.unwrap_or_else(Clock::wall_us);
        let bytes = upload.end.plaintext_bytes;
        let mut waiting = self.lock();
        if waiting
            .recordings
            .insert(upload.session, (bytes, since))
            .is_none()
        {
            waiting.by_age.insert((since, upload.session));
            waiting.bytes = waiting.bytes.saturating_add(bytes);
        }
    }

    pub(super) fn remove(&self, session: Ulid) {
        let mut waiting = self.lock();
        if let Some((bytes, since)) = waiting.recordings.remove(&session) {
            waiting.by_age.remove(&(since, session));
            waiting.bytes = waiting.bytes.saturating_sub(bytes);
        }
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        self.lock().problem = problem;
    }

    pub(super) fn len(&self) -> usize {
        self.lock().recordings.len()
    }

    /// Reads the spool's directory: some hundred files where the store has been away for hours.
    pub(crate) fn look(&self) -> Look {
        let (spool_bytes, free_bytes) = self.disk().unwrap_or_default();
        let waiting = self.lock();
        let oldest = waiting.by_age.first().map(|(since, _)| *since);
        Look {
            recordings: waiting.recordings.len() as u64,
            bytes: waiting.bytes,
            oldest_us: oldest.map_or(0, |since| Clock::wall_us().saturating_sub(since)),
            spool_bytes,
            free_bytes,
            problem: waiting.problem.clone(),
        }
    }

    /// Bytes that the spool takes, and that are free for whoever is not root.
    fn disk(&self) -> io::Result<(u64, u64)> {
        let mut taken = 0;
        for entry in std::fs::read_dir(&self.dir)? {
            // One that is deleted meanwhile takes nothing. Blocks of stat(2) have 512 bytes.
            taken += entry?.metadata().map_or(0, |metadata| metadata.blocks() * 512);
        }
        let disk = rustix::fs::statvfs(&self.dir)?;
        Ok((taken, disk.f_bavail.saturating_mul(disk.f_frsize)))
    }
}
