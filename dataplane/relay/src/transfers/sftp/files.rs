//! Files that are open, by the handles that the server gave them.
//!
//! A handle is good from the answer to OPEN until CLOSE is asked for: a server may then give it to another file before
//! its answer to CLOSE is read. A file therefore has a number of its own, never used twice, which requests in flight keep.
//!
//! Invariant: each handle leads to a file that is there; a file that is closing has none.

use std::collections::BTreeMap;

use super::super::content::Content;
use super::super::report::FileName;

/// Files and directories that one channel has open. OpenSSH's server gives as many as its process may have descriptors,
/// mostly 1024.
pub(super) const FILES_MAX: usize = 1024;

/// A file's number on its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// What a file was opened for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// What is written is all that is in it afterwards.
    pub(super) starts_empty: bool,
    /// Where it is written to is not what the request says.
    pub(super) appends: bool,
    pub(super) is_directory: bool,
}

/// One file that is open, or closing.
pub(super) struct OpenFile {
    pub(super) name: FileName,
    pub(super) access: Access,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    /// Reads and writes that are not answered.
    pub(super) in_flight: u32,
    /// The first answer that said no.
    pub(super) failure: Option<u32>,
    /// What CLOSE was answered.
    pub(super) closed: Option<u32>,
    pub(super) content: Content,
    handle: Box<[u8]>,
}

impl OpenFile {
    pub(super) fn new(name: FileName, access: Access, wants_hash: bool) -> OpenFile {
        let is_whole = !access.writes || access.starts_empty;
        let mut content = Content::new(wants_hash && !access.is_directory, is_whole);
        if access.appends {
            content.spoil();
        }
        OpenFile {
            name,
            access,
            bytes_read: 0,
            bytes_written: 0,
            in_flight: 0,
            failure: None,
            closed: None,
            content,
            handle: Box::default(),
        }
    }

    /// Whether nothing more can become known of it.
    fn is_over(&self) -> bool {
        self.closed.is_some() && self.in_flight == 0
    }
}

/// The open files of one channel.
#[derive(Default)]
pub(super) struct Files {
    files: BTreeMap<FileId, OpenFile>,
    handles: BTreeMap<Box<[u8]>, FileId>,
    next: u64,
    /// Bytes of names kept.
    names: usize,
}

impl Files {
    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= FILES_MAX
    }

    pub(super) fn names(&self) -> usize {
        self.names
    }

    /// Adds a file under its handle; there must be room. Gives back the one that had the handle before.
    pub(super) fn open(&mut self, handle: &[u8], mut file: OpenFile) -> Option<OpenFile> {
        assert!(
            !self.is_full(),
            "the caller tells of a file for which there is no room"
        );
        let before = self.find(handle).and_then(|id| self.remove(id));
        let id = FileId(self.next);
        self.next += 1;
        self.names += file.name.bytes.len();
        file.handle = handle.into();
        self.handles.insert(handle.into(), id);
        self.files.insert(id, file);
        before
    }

    pub(super) fn find(&self, handle: &[u8]) -> Option<FileId> {
        self.handles.get(handle).copied()
    }

    pub(super) fn get_mut(&mut self, id: FileId) -> Option<&mut OpenFile> {
        self.files.get_mut(&id)
    }

    /// CLOSE has been asked for: the handle leads nowhere from now on.
    pub(super) fn release(&mut self, handle: &[u8]) -> Option<FileId> {
        self.handles.remove(handle)
    }

    /// Takes out a file of which nothing more can become known.
    pub(super) fn take_over(&mut self, id: FileId) -> Option<OpenFile> {
        if self.files.get(&id)?.is_over() {
            return self.remove(id);
        }
        None
    }

    /// Takes out all, in the order in which they were opened.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = OpenFile> + use<> {
        self.handles.clear();
        self.names = 0;
        std::mem::take(&mut self.files).into_values()
    }

    fn remove(&mut self, id: FileId) -> Option<OpenFile> {
        let file = self.files.remove(&id)?;
        self.names -= file.name.bytes.len();
        if self.handles.get(&file.handle) == Some(&id) {
            self.handles.remove(&file.handle);
        }
        Some(file)
    }
}
