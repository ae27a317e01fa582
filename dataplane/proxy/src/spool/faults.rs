//! Disks that fail on demand, by the directory that is on them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::io::Errno;

/// Every write and every new segment fails until the fault is taken back.
static LASTING: Mutex<Option<HashMap<PathBuf, Errno>>> = Mutex::new(None);
/// The next sync fails, and only that.
static ONCE: Mutex<Option<HashMap<PathBuf, Errno>>> = Mutex::new(None);

pub(crate) fn set(dir: &Path, fault: Option<Errno>) {
    let mut faults = LASTING.lock().unwrap();
    let faults = faults.get_or_insert_default();
    match fault {
        Some(errno) => drop(faults.insert(dir.to_owned(), errno)),
        None => drop(faults.remove(dir)),
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
