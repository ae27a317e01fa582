//! SFTP, followed: which request was about which file, and what the server made of it.
//!
//! ```text
//!  client   OPEN "f" ─────┐                WRITE h ────┐           CLOSE h ────┐
//!                         ▼ Request::Open              ▼ ::Write               ▼ ::Close
//!  target            HANDLE h ─▶ OpenFile          STATUS ok ─▶ bytes      STATUS ok ─▶ FileOperation
//! ```
//!
//! A request is known from its id until it is answered, a file from its handle until it is closed. What is told is told
//! with the answer, since only the server knows what it has done.

mod files;
mod packet;
mod requests;
mod scan;
#[cfg(test)]
mod tests;

use super::Fault;
use super::content::Flow;
use super::report::{FileAction, FileName, FileOperation, Outcome};
use super::teller::{Once, Teller};
use crate::{SessionEvent, Side};

use files::{Access, FILES_MAX, FileId, Files, OpenFile};
use packet::Extension;
use requests::{NAMES_MAX, Named, REQUESTS_MAX, Request, Requests};
use scan::{Head, Scanner, Step, Text};

/// The decoder of one SFTP channel.
pub(super) struct Sftp {
    client: Scanner,
    target: Scanner,
    state: State,
}

/// What both directions work on.
struct State {
    wants_hashes: bool,
    requests: Requests,
    files: Files,
    /// The file of the WRITE whose bytes are passing, and whether they are hashed.
    writing: Option<Passing>,
    /// The same of a DATA.
    reading: Option<Passing>,
}

#[derive(Clone, Copy)]
struct Passing {
    file: Option<FileId>,
    is_hashed: bool,
}

/// What the server said to a request.
#[derive(Clone, Copy)]
enum Answer<'a> {
    Status(u32),
    Handle(&'a [u8]),
    /// What was asked for.
    Content,
}

impl Answer<'_> {
    fn status(self) -> u32 {
        match self {
            Answer::Status(code) => code,
            Answer::Handle(_) | Answer::Content => packet::OK,
        }
    }
}

impl Sftp {
    pub(super) fn new(wants_hashes: bool) -> Sftp {
        Sftp {
            client: Scanner::new(Side::Client),
            target: Scanner::new(Side::Target),
            state: State {
                wants_hashes,
                requests: Requests::default(),
                files: Files::default(),
                writing: None,
                reading: None,
            },
        }
    }

    pub(super) fn data(
        &mut self,
        from: Side,
        mut data: &[u8],
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Fault> {
        let Sftp {
            client,
            target,
            state,
        } = self;
        match from {
            Side::Client => {
                while let Some(step) = client.step(&mut data)? {
                    match step {
                        Step::Head => state.asked(client.head(), teller, events),
                        Step::Bulk(piece) => state.written(piece),
                        Step::BulkEnd => state.writing = None,
                    }
                }
            }
            Side::Target => {
                while let Some(step) = target.step(&mut data)? {
                    match step {
                        Step::Head => {
                            if let Some(version) = state.answered(target.head(), teller, events) {
                                client.version = version;
                                target.version = version;
                            }
                        }
                        Step::Bulk(piece) => state.read(piece, teller),
                        Step::BulkEnd => state.read_to_the_end(teller, events),
                    }
                }
            }
        }
        Ok(())
    }

    /// The channel has ended: tells what was not finished.
    pub(super) fn finish(&mut self, teller: &mut Teller, events: &mut Vec<SessionEvent>) {
        for request in self.state.requests.drain() {
            let mut operation = match request {
                Request::Open { name, access } if access.is_directory => named(teller, Named::opendir(name)),
                Request::Open { name, access } => unopened(teller, name, access),
                Request::Named(request) => named(teller, *request),
                _ => continue,
            };
            operation.outcome = Outcome::Unfinished;
            "it was not answered".clone_into(&mut operation.note);
            teller.tell(operation, events);
        }
        for file in self.state.files.drain() {
            tell_unfinished(file, "", teller, events);
        }
    }
}

impl State {
    /// A request, or the head of one whose bytes follow.
    fn asked(&mut self, head: &Head, teller: &mut Teller, events: &mut Vec<SessionEvent>) {
        let path = |place| head.text(place).name();
        let named = |action, path, target| Request::Named(Box::new(Named::new(action, path, target)));
        let one = |action| named(action, path(0), FileName::default());
        let request = match head.kind {
            packet::OPEN => Request::Open {
                name: path(0),
                access: access(head),
            },
            packet::OPENDIR => Request::Open {
                name: path(0),
                access: Access {
                    is_directory: true,
                    ..Access::default()
                },
            },
            packet::CLOSE => Request::Close {
                file: self.files.release(&head.text(0).bytes),
            },
            packet::READ => {
                let file = self.in_flight(head);
                Request::Read {
                    file,
                    offset: head.number(1),
                }
            }
            packet::WRITE => self.writes(head),
            packet::FSETSTAT => Request::Named(Box::new(self.set(head))),
            packet::SETSTAT => one(FileAction::Setstat),
            packet::REMOVE => one(FileAction::Remove),
            packet::MKDIR => one(FileAction::Mkdir),
            packet::RMDIR => one(FileAction::Rmdir),
            packet::READLINK => one(FileAction::Readlink),
            packet::RENAME => named(FileAction::Rename, path(0), path(1)),
            // OpenSSH's server has the two in this order, unlike the draft (PROTOCOL §4.1), and others of version 3 follow it.
            packet::SYMLINK if head.version < 4 => named(FileAction::Symlink, path(1), path(0)),
            packet::SYMLINK => named(FileAction::Symlink, path(0), path(1)),
            packet::LINK if head.version >= 6 => named(FileAction::Link, path(0), path(1)),
            packet::BLOCK | packet::UNBLOCK if head.version >= 6 => Request::Look,
            packet::LSTAT | packet::FSTAT | packet::STAT | packet::READDIR | packet::REALPATH => {
                Request::Look
            }
            packet::EXTENDED => self.extended(head),
            // No request, or one that is not answered.
            _ => return,
        };
        let kept = self.requests.insert(head.id(), request, self.files.names());
        if let Err(request) = kept {
            self.forget(request);
            teller.totals.unmatched += 1;
            let why = format!(
                "more than {REQUESTS_MAX} requests are in flight, or {NAMES_MAX} bytes of names: what is beyond is counted only"
            );
            teller.tell_once(Once::TooManyRequests, &why, events);
        }
    }

    fn extended(&mut self, head: &Head) -> Request {
        let path = |place| head.text(place).name();
        let (action, path, target) = match head.extension {
            Extension::Rename => (FileAction::Rename, path(0), path(1)),
            Extension::Hardlink => (FileAction::Link, path(1), path(0)),
            Extension::Setstat => (FileAction::Setstat, path(0), FileName::default()),
            Extension::CopyFile => (FileAction::Copy, path(0), path(1)),
            Extension::CopyData => {
                let from = self.name_of(&head.text(0).bytes);
                let into = &head.text(1).bytes;
                if let Some(file) = self.files.find(into).and_then(|id| self.files.get_mut(id)) {
                    file.content.spoil();
                }
                (FileAction::Copy, from, self.name_of(into))
            }
            Extension::Unknown => (FileAction::Extended, path(0), FileName::default()),
            Extension::Query => return Request::Look,
            Extension::VersionSelect => {
                let version = std::str::from_utf8(&head.text(0).bytes).ok();
                let version = version.and_then(|version| version.parse().ok());
                return version.map_or(Request::Look, Request::VersionSelect);
            }
        };
        Request::Named(Box::new(Named::new(action, path, target)))
    }

    /// The file of a READ or WRITE, which has one more in flight.
    fn in_flight(&mut self, head: &Head) -> Option<FileId> {
        let id = self.files.find(&head.text(0).bytes)?;
        let file = self.files.get_mut(id)?;
        file.in_flight = file.in_flight.saturating_add(1);
        Some(id)
    }

    fn writes(&mut self, head: &Head) -> Request {
        let file = self.in_flight(head);
        let offset = head.number(1);
        let open = file.and_then(|id| self.files.get_mut(id));
        let is_hashed = open.is_some_and(|file| file.content.begin(Flow::Write, offset));
        self.writing = Some(Passing { file, is_hashed });
        Request::Write {
            file,
            bytes: head.bulk,
        }
    }

    fn written(&mut self, piece: &[u8]) {
        if let Some(Passing {
            file: Some(id),
            is_hashed: true,
        }) = self.writing
            && let Some(file) = self.files.get_mut(id)
        {
            file.content.update(piece);
        }
    }

    /// FSETSTAT. OpenSSH's scp writes over what is there, and cuts off the rest in this way.
    fn set(&mut self, head: &Head) -> Named {
        let handle = &head.text(0).bytes;
        let mut request = Named::new(FileAction::Setstat, self.name_of(handle), FileName::default());
        if head.short(1) & packet::ATTR_SIZE != 0
            && let Some(id) = self.files.find(handle)
            && let Some(file) = self.files.get_mut(id)
        {
            if head.version < 4 {
                request.makes_whole = file.content.resize(head.number(2)).then_some(id);
            } else {
                file.content.spoil();
            }
        }
        request
    }

    fn name_of(&mut self, handle: &[u8]) -> FileName {
        let file = self.files.find(handle).and_then(|id| self.files.get_mut(id));
        file.map(|file| file.name.clone()).unwrap_or_default()
    }

    /// A request that is not followed leaves no trace but an unknown hash.
    fn forget(&mut self, request: Request) {
        match request {
            Request::Read { file, .. } | Request::Write { file, .. } => {
                if let Some(file) = file.and_then(|id| self.files.get_mut(id)) {
                    file.in_flight = file.in_flight.saturating_sub(1);
                    file.content.spoil();
                }
            }
            _ => {}
        }
    }

    /// An answer, or the head of one whose bytes follow. Gives the version if that is what it settles.
    fn answered(&mut self, head: &Head, teller: &mut Teller, events: &mut Vec<SessionEvent>) -> Option<u32> {
        let answer = match head.kind {
            packet::VERSION => return Some(head.short(0)),
            packet::STATUS => Answer::Status(head.short(1)),
            packet::HANDLE => Answer::Handle(&head.text(0).bytes),
            packet::NAME | packet::ATTRS | packet::EXTENDED_REPLY | packet::DATA => Answer::Content,
            _ => return None,
        };
        self.reading = None;
        let Some(request) = self.requests.answered(head.id()) else {
            teller.totals.unmatched += 1;
            return None;
        };
        let status = answer.status();
        // The end of a file or a listing is what reading leads to.
        let is_end = status == packet::EOF && matches!(request, Request::Read { .. } | Request::Look);
        if status != packet::OK && !is_end {
            teller.totals.failures += 1;
        }
        match request {
            Request::Read { file, offset } if head.kind == packet::DATA => {
                self.data_begins(file, offset, teller, events);
            }
            Request::Read { file, offset } => self.read_answered(file, offset, status, teller, events),
            Request::Write { file, bytes } => self.write_answered(file, bytes, status, teller, events),
            request => {
                teller.totals.operations += 1;
                return self.done(request, answer, teller, events);
            }
        }
        None
    }

    fn done(
        &mut self,
        request: Request,
        answer: Answer<'_>,
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) -> Option<u32> {
        let status = answer.status();
        match request {
            Request::Open { name, access } => self.opened(name, access, answer, teller, events),
            Request::Close { file } => {
                if let Some(id) = file {
                    if let Some(file) = self.files.get_mut(id) {
                        file.closed = Some(status);
                    }
                    self.settle(id, teller, events);
                }
            }
            Request::Named(request) => {
                let made_whole = request.makes_whole.filter(|_| status == packet::OK);
                if let Some(file) = made_whole.and_then(|id| self.files.get_mut(id)) {
                    file.content.made_whole();
                }
                let mut operation = named(teller, *request);
                operation.outcome = Outcome::of(status);
                teller.tell(operation, events);
            }
            Request::VersionSelect(version) if status == packet::OK => return Some(version),
            Request::VersionSelect(_) | Request::Look | Request::Read { .. } | Request::Write { .. } => {}
        }
        None
    }

    fn opened(
        &mut self,
        name: FileName,
        access: Access,
        answer: Answer<'_>,
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) {
        if access.is_directory {
            let mut operation = named(teller, Named::opendir(name.clone()));
            operation.outcome = Outcome::of(answer.status());
            teller.tell(operation, events);
        }
        let Answer::Handle(handle) = answer else {
            if !access.is_directory {
                let mut operation = unopened(teller, name, access);
                operation.outcome = Outcome::of(answer.status());
                teller.tell(operation, events);
            }
            return;
        };
        if self.files.is_full() {
            if !access.is_directory {
                let mut operation = unopened(teller, name, access);
                operation.outcome = Outcome::Unfinished;
                operation.note = format!("{FILES_MAX} files are open: what passes of it is not counted");
                teller.tell(operation, events);
            }
            return;
        }
        let file = OpenFile::new(name, access, self.wants_hashes);
        if let Some(before) = self.files.open(handle, file) {
            tell_unfinished(before, "its handle was given to another file", teller, events);
        }
    }

    fn data_begins(
        &mut self,
        file: Option<FileId>,
        offset: u64,
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) {
        if file.is_none() {
            unknown_handle(teller, events);
        }
        let open = file.and_then(|id| self.files.get_mut(id));
        let is_hashed = open.is_some_and(|file| file.content.begin(Flow::Read, offset));
        self.reading = Some(Passing { file, is_hashed });
    }

    fn read(&mut self, piece: &[u8], teller: &mut Teller) {
        let Some(Passing { file, is_hashed }) = self.reading else {
            return;
        };
        teller.totals.bytes_read = teller.totals.bytes_read.saturating_add(piece.len() as u64);
        if let Some(file) = file.and_then(|id| self.files.get_mut(id)) {
            file.bytes_read = file.bytes_read.saturating_add(piece.len() as u64);
            if is_hashed {
                file.content.update(piece);
            }
        }
    }

    fn read_to_the_end(&mut self, teller: &mut Teller, events: &mut Vec<SessionEvent>) {
        if let Some(Passing { file: Some(id), .. }) = self.reading.take() {
            self.less_in_flight(id, teller, events);
        }
    }

    /// A READ that brought no bytes.
    fn read_answered(
        &mut self,
        file: Option<FileId>,
        offset: u64,
        status: u32,
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) {
        let Some(id) = file else { return };
        if let Some(file) = self.files.get_mut(id) {
            match status {
                packet::OK => {}
                packet::EOF => file.content.ended(offset),
                code => {
                    file.failure.get_or_insert(code);
                    file.content.spoil();
                }
            }
        }
        self.less_in_flight(id, teller, events);
    }

    fn write_answered(
        &mut self,
        file: Option<FileId>,
        bytes: u32,
        status: u32,
        teller: &mut Teller,
        events: &mut Vec<SessionEvent>,
    ) {
        let taken = if status == packet::OK { u64::from(bytes) } else { 0 };
        teller.totals.bytes_written = teller.totals.bytes_written.saturating_add(taken);
        let Some(id) = file else {
            if status == packet::OK {
                unknown_handle(teller, events);
            }
            return;
        };
        if let Some(file) = self.files.get_mut(id) {
            file.bytes_written = file.bytes_written.saturating_add(taken);
            if status != packet::OK {
                file.failure.get_or_insert(status);
                file.content.spoil();
            }
        }
        self.less_in_flight(id, teller, events);
    }

    fn less_in_flight(&mut self, id: FileId, teller: &mut Teller, events: &mut Vec<SessionEvent>) {
        if let Some(file) = self.files.get_mut(id) {
            file.in_flight = file.in_flight.saturating_sub(1);
            self.settle(id, teller, events);
        }
    }

    /// Tells of a file if nothing more can become known of it.
    fn settle(&mut self, id: FileId, teller: &mut Teller, events: &mut Vec<SessionEvent>) {
        if let Some(file) = self.files.take_over(id) {
            let failure = file.failure.or(file.closed).unwrap_or(packet::OK);
            tell_file(file, Outcome::of(failure), "", teller, events);
        }
    }
}

impl Named {
    fn new(action: FileAction, path: FileName, target: FileName) -> Named {
        Named {
            action,
            path,
            target,
            makes_whole: None,
        }
    }

    fn opendir(path: FileName) -> Named {
        Named::new(FileAction::Opendir, path, FileName::default())
    }
}

impl Text {
    fn name(&self) -> FileName {
        FileName {
            bytes: self.bytes.as_slice().into(),
            is_cut: self.is_cut,
        }
    }
}

/// What an OPEN asks for.
fn access(head: &Head) -> Access {
    if head.version >= 5 {
        // draft-ietf-secsh-filexfer-13 §8.1.1: ACE4_READ_DATA, ACE4_WRITE_DATA, ACE4_APPEND_DATA; then how to create, and two
        // ways to append.
        let (desired, flags) = (head.short(1), head.short(2));
        let appends = flags & 0x18 != 0;
        return Access {
            reads: desired & 1 != 0,
            writes: desired & 6 != 0,
            starts_empty: matches!(flags & 7, 0 | 1 | 4),
            appends,
            is_directory: false,
        };
    }
    // draft-ietf-secsh-filexfer-02 §6.3.
    const READ: u32 = 1;
    const WRITE: u32 = 2;
    const APPEND: u32 = 4;
    const TRUNCATE: u32 = 0x10;
    const EXCLUSIVE: u32 = 0x20;
    let flags = head.short(1);
    Access {
        reads: flags & READ != 0,
        writes: flags & WRITE != 0,
        starts_empty: flags & (TRUNCATE | EXCLUSIVE) != 0,
        appends: flags & APPEND != 0,
        is_directory: false,
    }
}

fn named(teller: &Teller, request: Named) -> FileOperation {
    let mut operation = teller.operation(request.action);
    operation.path = request.path;
    operation.target = request.target;
    operation
}

fn unopened(teller: &Teller, name: FileName, access: Access) -> FileOperation {
    let mut operation = teller.operation(FileAction::File);
    operation.path = name;
    operation.reads = access.reads;
    operation.writes = access.writes;
    operation
}

fn unknown_handle(teller: &mut Teller, events: &mut Vec<SessionEvent>) {
    let why = "a handle is used that no file was seen to be opened under: its bytes are in the sums only";
    teller.tell_once(Once::UnknownHandle, why, events);
}

fn tell_unfinished(mut file: OpenFile, note: &str, teller: &mut Teller, events: &mut Vec<SessionEvent>) {
    // Bytes may have passed that the server has not taken.
    file.content.spoil();
    tell_file(file, Outcome::Unfinished, note, teller, events);
}

fn tell_file(
    file: OpenFile,
    outcome: Outcome,
    note: &str,
    teller: &mut Teller,
    events: &mut Vec<SessionEvent>,
) {
    if file.access.is_directory {
        return;
    }
    let is_empty = file.access.writes && file.access.starts_empty;
    let mut operation = unopened(teller, file.name, file.access);
    operation.bytes_read = file.bytes_read;
    operation.bytes_written = file.bytes_written;
    operation.outcome = outcome;
    operation.content = file.content.finish(is_empty);
    note.clone_into(&mut operation.note);
    teller.tell(operation, events);
}
