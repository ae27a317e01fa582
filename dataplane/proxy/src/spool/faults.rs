//! Disks that fail or stand still on demand, by the directory that is on them.

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

pub(super) fn stand_still(dir: &Path) {
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

pub(super) fn check_once(dir: &Path) -> io::Result<()> {
    match ONCE.lock().unwrap().get_or_insert_default().remove(dir) {
        Some(errno) => Err(errno.into()),
        None => check(dir),
    }
}
