//! Disks that fail or stand still on demand, by the directory that is on them, and a journal of all that was asked of one.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use rustix::io::Errno;

/// Every write and every new segment fails until the fault is taken back.
static LASTING: Mutex<Option<HashMap<PathBuf, Errno>>> = Mutex::new(None);
/// The next sync fails, and only that.
static ONCE: Mutex<Option<HashMap<PathBuf, Errno>>> = Mutex::new(None);

/// No segment can be made: what is reserved is still written.
static FULL: Mutex<Option<HashMap<PathBuf, Errno>>> = Mutex::new(None);

/// Syncs stand still until they are let go, and the thread that writes with them.
static STALLS: Mutex<Option<HashMap<PathBuf, Arc<Syncs>>>> = Mutex::new(None);

#[derive(Default)]
struct Syncs {
    /// How many have come, and how many of them may go on.
    counts: Mutex<(usize, usize)>,
    changed: Condvar,
}

/// A disk whose syncs stand still until this is dropped.
pub(crate) struct Stall {
    dir: PathBuf,
    syncs: Arc<Syncs>,
}

pub(crate) fn stall(dir: &Path) -> Stall {
    let syncs = Arc::<Syncs>::default();
    STALLS
        .lock()
        .unwrap()
        .get_or_insert_default()
        .insert(dir.to_owned(), Arc::clone(&syncs));
    Stall {
        dir: dir.to_owned(),
        syncs,
    }
}

impl Stall {
    /// Waits until the sync of that number, counted from 1, stands still.
    pub(crate) fn reached(&self, number: usize) {
        let counts = self.syncs.counts.lock().unwrap();
        drop(
            self.syncs
                .changed
                .wait_while(counts, |(come, _)| *come < number)
                .unwrap(),
        );
    }

    /// Whether the sync of that number has come.
    pub(crate) fn has_reached(&self, number: usize) -> bool {
        self.syncs.counts.lock().unwrap().0 >= number
    }

    /// Lets the oldest that stands still go on.
    pub(crate) fn let_one_go(&self) {
        self.syncs.counts.lock().unwrap().1 += 1;
        self.syncs.changed.notify_all();
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        STALLS.lock().unwrap().get_or_insert_default().remove(&self.dir);
        self.syncs.counts.lock().unwrap().1 = usize::MAX;
        self.syncs.changed.notify_all();
    }
}

fn stand_still(dir: &Path) {
    let Some(syncs) = STALLS.lock().unwrap().get_or_insert_default().get(dir).cloned() else {
        return;
    };
    let mut counts = syncs.counts.lock().unwrap();
    counts.0 += 1;
    let number = counts.0;
    syncs.changed.notify_all();
    drop(
        syncs
            .changed
            .wait_while(counts, |(_, gone)| *gone < number)
            .unwrap(),
    );
}

pub(crate) fn set(dir: &Path, fault: Option<Errno>) {
    let mut faults = LASTING.lock().unwrap();
    let faults = faults.get_or_insert_default();
    match fault {
        Some(errno) => drop(faults.insert(dir.to_owned(), errno)),
        None => drop(faults.remove(dir)),
    }
}

/// Whether the disk has space for another segment.
pub(crate) fn set_full(dir: &Path, is_full: bool) {
    let mut faults = FULL.lock().unwrap();
    let faults = faults.get_or_insert_default();
    match is_full {
        true => drop(faults.insert(dir.to_owned(), Errno::NOSPC)),
        false => drop(faults.remove(dir)),
    }
}

pub(super) fn check_space(dir: &Path) -> io::Result<()> {
    match FULL.lock().unwrap().get_or_insert_default().get(dir) {
        Some(errno) => Err((*errno).into()),
        None => Ok(()),
    }
}

pub(crate) fn set_once(dir: &Path, errno: Errno) {
    ONCE.lock()
        .unwrap()
        .get_or_insert_default()
        .insert(dir.to_owned(), errno);
}

pub(super) fn check(dir: &Path) -> io::Result<()> {
    match LASTING.lock().unwrap().get_or_insert_default().get(dir) {
        Some(errno) => Err((*errno).into()),
        None => Ok(()),
    }
}

fn check_once(dir: &Path) -> io::Result<()> {
    match ONCE.lock().unwrap().get_or_insert_default().remove(dir) {
        Some(errno) => Err(errno.into()),
        None => check(dir),
    }
}

/// What happened to the files of a directory, in order, as far as it bears on what a crash leaves of them.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A segment is there, its head durable.
    Made(PathBuf),
    /// A write has begun: from here on any of it may be on the disk.
    Write {
        id: usize,
        file: PathBuf,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// It has ended.
    Written { id: usize },
    /// A sync has begun.
    Sync { file: PathBuf },
    /// It has ended well: what was written to the file before it began is durable.
    Synced { id: usize },
    /// The file was deleted, which no sync makes durable.
    Removed(PathBuf),
    /// A session was told that so many bytes of its output are durable.
    Told { session: usize, bytes: usize },
    /// The recording of a session is in the store.
    Stored(ulid::Ulid),
}

static JOURNALS: Mutex<Option<HashMap<PathBuf, Vec<Op>>>> = Mutex::new(None);

/// Writes down from here on what is asked of the directory.
pub(crate) fn begin_journal(dir: &Path) {
    let mut journals = JOURNALS.lock().unwrap();
    journals
        .get_or_insert_default()
        .insert(dir.to_owned(), Vec::new());
}

/// Ends that.
pub(crate) fn take_journal(dir: &Path) -> Vec<Op> {
    let mut journals = JOURNALS.lock().unwrap();
    journals.get_or_insert_default().remove(dir).unwrap_or_default()
}

/// Returns the operation's place, which is its id.
pub(crate) fn note(dir: &Path, op: impl FnOnce(usize) -> Op) -> usize {
    let mut journals = JOURNALS.lock().unwrap();
    match journals.get_or_insert_default().get_mut(dir) {
        Some(journal) => {
            let id = journal.len();
            journal.push(op(id));
            id
        }
        None => 0,
    }
}

pub(crate) fn made(dir: &Path, file: &Path) {
    note(dir, |_| Op::Made(file.to_owned()));
}

pub(crate) fn removed(dir: &Path, file: &Path) {
    note(dir, |_| Op::Removed(file.to_owned()));
}

/// A file of which is written down what is asked of it.
pub(crate) struct Watched {
    dir: PathBuf,
    file: PathBuf,
}

impl Watched {
    pub(crate) fn new(dir: &Path, file: PathBuf) -> Self {
        Watched {
            dir: dir.to_owned(),
            file,
        }
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        check(&self.dir)?;
        Ok(note(&self.dir, |id| Op::Write {
            id,
            file: self.file.clone(),
            offset,
            bytes: bytes.to_vec(),
        }))
    }

    pub(super) fn written(&self, id: usize) {
        note(&self.dir, |_| Op::Written { id });
    }

    pub(super) fn sync(&self) -> io::Result<usize> {
        stand_still(&self.dir);
        check_once(&self.dir)?;
        Ok(note(&self.dir, |_| Op::Sync {
            file: self.file.clone(),
        }))
    }

    pub(super) fn synced(&self, id: usize) {
        note(&self.dir, |_| Op::Synced { id });
    }

    pub(crate) fn write_at_once(&self, offset: u64, bytes: &[u8]) {
        let id = self.write(offset, bytes).unwrap_or_default();
        self.written(id);
    }

    /// Noted after it has ended: what was written before is durable.
    pub(crate) fn sync_at_once(&self) {
        let id = note(&self.dir, |_| Op::Sync {
            file: self.file.clone(),
        });
        self.synced(id);
    }
}
