//! Requests that are not answered yet.
//!
//! An answer names its request's id. A client may use an id again before the answer has come, and a server may answer out of
//! order; of several requests with one id, the oldest is answered first.

use std::collections::BTreeMap;

use super::super::report::{FileAction, FileName};
use super::files::{Access, FileId};

/// Requests of one channel that are followed at once. OpenSSH's client has 64 in flight.
pub(super) const REQUESTS_MAX: usize = 4096;

/// Bytes of names that one channel keeps, of requests in flight and open files.
pub(super) const NAMES_MAX: usize = 2 * 1024 * 1024;

/// What an answer will be the answer to.
#[derive(Debug)]
pub(super) enum Request {
    Open {
        name: FileName,
        access: Access,
    },
    Close {
        file: Option<FileId>,
    },
    Read {
        file: Option<FileId>,
        offset: u64,
    },
    Write {
        file: Option<FileId>,
        bytes: u32,
    },
    /// Whatever is told with its answer.
    Named(Box<Named>),
    VersionSelect(u32),
    /// It only looks, and is counted.
    Look,
}

#[derive(Debug)]
pub(super) struct Named {
    pub(super) action: FileAction,
    pub(super) path: FileName,
    pub(super) target: FileName,
    /// The file that ends with what has passed of it if this is done.
    pub(super) makes_whole: Option<FileId>,
}

impl Request {
    fn names(&self) -> usize {
        match self {
            Request::Open { name, .. } => name.bytes.len(),
            Request::Named(named) => named.path.bytes.len() + named.target.bytes.len(),
            _ => 0,
        }
    }
}

/// The requests in flight of one channel.
#[derive(Default)]
pub(super) struct Requests {
    by_id: BTreeMap<(u32, u64), Request>,
    next: u64,
    names: usize,
}

impl Requests {
    /// Adds a request, if there is room for it beside `names` bytes of names.
    pub(super) fn insert(&mut self, id: u32, request: Request, names: usize) -> Result<(), Request> {
        if self.by_id.len() >= REQUESTS_MAX || names + self.names + request.names() > NAMES_MAX {
            return Err(request);
        }
        self.names += request.names();
        self.by_id.insert((id, self.next), request);
        self.next += 1;
        Ok(())
    }

    /// Takes out the oldest request with this id.
    pub(super) fn answered(&mut self, id: u32) -> Option<Request> {
        let (&key, _) = self.by_id.range((id, 0)..=(id, u64::MAX)).next()?;
        let request = self.by_id.remove(&key)?;
        self.names -= request.names();
        Some(request)
    }

    /// Takes out all, in the order in which they were asked.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Request> + use<> {
        let mut requests: Vec<_> = std::mem::take(&mut self.by_id).into_iter().collect();
        requests.sort_unstable_by_key(|((_, asked), _)| *asked);
        self.names = 0;
        requests.into_iter().map(|(_, request)| request)
    }
}
