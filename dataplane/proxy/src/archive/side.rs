//! Side files: what was copied out of old segments for sessions that still go on.
//!
//! A segment is deleted when nobody needs it, and one long session would keep it and every later one. So when segments
//! become many, what they hold of sessions that still go on is appended to a file per session: the beginning of the object to be.
//! Then a session holds its own bytes on disk, and nobody else's.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ulid::Ulid;

use crate::spool::frame::{FrameKind, session_of};
use crate::spool::{
    self,
    segment::{self, Origin, Segment},
};

/// Bytes gathered before they are appended.
const GATHERED_LEN: usize = 16 * 1024 * 1024;

/// What a side file holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    /// The envelope and the chunks before this number.
    pub(super) next: u64,
    /// Bytes of the file that count; what lies behind them is torn.
    pub(super) len: u64,
}

pub(super) struct Sides {
    dir: PathBuf,
    sides: RefCell<HashMap<Ulid, Side>>,
}

pub(super) fn path(dir: &Path, session: Ulid) -> PathBuf {
    dir.join(format!("{session}.side"))
}

/// The sessions that have side files in a directory.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Ulid>> {
    spool::named(dir, ".side", |name| Ulid::from_string(name).ok())
}

impl Sides {
    pub(super) fn new(dir: PathBuf) -> Self {
        Sides {
            dir,
            sides: RefCell::default(),
        }
    }

    /// Takes over a side file that an earlier process left.
    pub(super) fn adopt(&mut self, session: Ulid, side: Side) {
        self.sides.get_mut().insert(session, side);
    }

    /// A session's side file, to be read from its beginning, and the number of the first chunk that is not in it.
    pub(super) fn open(&self, session: Ulid) -> io::Result<Option<(u64, File)>> {
        let Some(side) = self.sides.borrow().get(&session).copied() else {
            return Ok(None);
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path(&self.dir, session))?;
        file.set_len(side.len)?;
        Ok(Some((side.next, file)))
    }

    /// The same to be read beside a session that goes on: what is appended later is not in it.
    pub(super) fn open_to_read(&self, session: Ulid) -> io::Result<Option<(u64, io::Take<File>)>> {
        let Some(side) = self.sides.borrow().get(&session).copied() else {
            return Ok(None);
        };
        let file = File::open(path(&self.dir, session))?;
        Ok(Some((side.next, io::Read::take(file, side.len))))
    }

    pub(super) fn delete(&self, session: Ulid) {
        if self.sides.borrow_mut().remove(&session).is_some() {
            #[cfg(test)]
            crate::spool::faults::removed(&self.dir, &path(&self.dir, session));
            drop(std::fs::remove_file(path(&self.dir, session)));
        }
    }

    /// Appends what the segments hold of the sessions. When this returns without an error it is durable; after an
    /// error nothing has been copied.
    pub(super) fn copy_out(&self, segments: RangeInclusive<u32>, sessions: &[Ulid]) -> io::Result<()> {
        let mut copy = Copy {
            dir: &self.dir,
            sessions: sessions.iter().copied().collect(),
            sides: self.sides.borrow().clone(),
            gathered: HashMap::new(),
            gathered_len: 0,
            files: HashMap::new(),
        };
        for number in segment::list(&self.dir)?
            .into_iter()
            .filter(|number| segments.contains(number))
        {
            Segment::open(&self.dir, number, Origin::Ours)?
                .scan(|_, head, payload| copy.frame(head.kind, payload))?;
        }
        copy.append()?;
        for file in copy.files.values() {
            file.sync_data()?;
        }
        #[cfg(test)]
        for session in copy.files.keys() {
            crate::spool::faults::Watched::new(&self.dir, path(&self.dir, *session)).sync_at_once();
        }
        segment::sync_dir(&self.dir)?;
        *self.sides.borrow_mut() = copy.sides;
        Ok(())
    }
}

struct Copy<'a> {
    dir: &'a Path,
    sessions: HashSet<Ulid>,
    sides: HashMap<Ulid, Side>,
    gathered: HashMap<Ulid, Vec<u8>>,
    gathered_len: usize,
    files: HashMap<Ulid, File>,
}

impl Copy<'_> {
    fn frame(&mut self, kind: FrameKind, payload: &[u8]) -> io::Result<()> {
        let Some(session) = session_of(kind, payload).filter(|session| self.sessions.contains(session))
        else {
            return Ok(());
        };
        let known = self.sides.get(&session).map(|side| side.next);
        let next = match (kind, known) {
            (FrameKind::Envelope, None) => 0,
            (FrameKind::Chunk, Some(expected)) if number(payload) == expected => expected + 1,
            // Written twice, because its first commit failed.
            _ => return Ok(()),
        };
        let side = self.sides.entry(session).or_default();
        side.next = next;
        side.len += payload.len() as u64;
        self.gathered
            .entry(session)
            .or_default()
            .extend_from_slice(payload);
        self.gathered_len += payload.len();
        if self.gathered_len >= GATHERED_LEN {
            self.append()
        } else {
            Ok(())
        }
    }

    fn append(&mut self) -> io::Result<()> {
        self.gathered_len = 0;
        for (session, bytes) in self.gathered.drain() {
            let end = self.sides.get(&session).map_or(0, |side| side.len);
            let file = match self.files.entry(session) {
                std::collections::hash_map::Entry::Occupied(file) => file.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => {
                    let mut options = OpenOptions::new();
                    options.create(true).truncate(false).write(true).mode(0o600);
                    place.insert(options.open(path(self.dir, session))?)
                }
            };
            // Not at the file's end: an attempt that failed may have left something there.
            let at = end - bytes.len() as u64;
            #[cfg(test)]
            crate::spool::faults::Watched::new(self.dir, path(self.dir, session)).write_at_once(at, &bytes);
            std::os::unix::fs::FileExt::write_all_at(file, &bytes, at)?;
        }
        Ok(())
    }
}

/// A chunk's number.
fn number(chunk: &[u8]) -> u64 {
    chunk
        .get(8..)
        .and_then(|rest| rest.first_chunk())
        .map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}
