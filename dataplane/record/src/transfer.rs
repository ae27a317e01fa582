//! What a recording tells of files that were transferred.

use std::fmt;

use crate::wire::{Cursor, Malformed, put_string, put_varint};

/// The protocol by which files are transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are protocols' names")]
pub enum TransferProtocol {
    Sftp,
    Scp,
}

impl TransferProtocol {
    /// As exports name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            TransferProtocol::Sftp => "sftp",
            TransferProtocol::Scp => "scp",
        }
    }

    const fn code(self) -> u8 {
        match self {
            TransferProtocol::Sftp => 1,
            TransferProtocol::Scp => 2,
        }
    }

    fn from_code(code: u8) -> Result<Self, Malformed> {
        match code {
            1 => Ok(TransferProtocol::Sftp),
            2 => Ok(TransferProtocol::Scp),
            _ => Err(Malformed("transfer protocol")),
        }
    }
}

/// What was done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Nothing yet: the channel carries this protocol from here on.
    Begin,
    /// It was opened, perhaps read or written, and closed.
    File,
    /// A directory was opened for listing, or sent.
    Opendir,
    /// A directory was made, or received.
    Mkdir,
    /// A directory was removed.
    Rmdir,
    /// It was removed.
    Remove,
    /// It was given the second name.
    Rename,
    /// It was made a symbolic link to the second name.
    Symlink,
    /// It was made another name of the second.
    Link,
    /// A symbolic link was read.
    Readlink,
    /// Size, owner, mode or times were changed.
    Setstat,
    /// It was copied into the second on the server's side.
    Copy,
    /// An extension by this name, which is not known.
    Extended,
    /// What follows, or a part of it, could not be followed; the note says why.
    Unfollowed,
}

impl FileAction {
    /// By code, with the name in exports.
    const ALL: [(FileAction, &'static str); 14] = [
        (FileAction::Begin, "begin"),
        (FileAction::File, "open"),
        (FileAction::Opendir, "opendir"),
        (FileAction::Mkdir, "mkdir"),
        (FileAction::Rmdir, "rmdir"),
        (FileAction::Remove, "remove"),
        (FileAction::Rename, "rename"),
        (FileAction::Symlink, "symlink"),
        (FileAction::Link, "link"),
        (FileAction::Readlink, "readlink"),
        (FileAction::Setstat, "setstat"),
        (FileAction::Copy, "copy"),
        (FileAction::Extended, "extended"),
        (FileAction::Unfollowed, "unfollowed"),
    ];
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOutcome {
    /// It was done.
    Done,
    /// It was refused or failed: an `SSH_FX_` code, which for scp is always 4.
    Failed(u32),
    /// The channel ended, or was lost sight of, before that was known.
    Unfinished,
}

impl FileOutcome {
    /// As exports name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FileOutcome::Done => "done",
            FileOutcome::Failed(_) => "failed",
            FileOutcome::Unfinished => "unfinished",
        }
    }

    /// The code, 0 unless it failed.
    #[must_use]
    pub const fn status(self) -> u32 {
        match self {
            FileOutcome::Failed(status) => status,
            FileOutcome::Done | FileOutcome::Unfinished => 0,
        }
    }
}

/// What an `SSH_FX_` code means (draft-ietf-secsh-filexfer-13 §9.1).
#[must_use]
pub const fn status_text(status: u32) -> &'static str {
    match status {
        0 => "ok",
        1 => "end of file",
        2 => "no such file",
        3 => "permission denied",
        4 => "failure",
        5 => "bad message",
        6 => "no connection",
        7 => "connection lost",
        8 => "operation unsupported",
        9 => "invalid handle",
        10 => "no such path",
        11 => "file already exists",
        12 => "write protect",
        13 => "no media",
        14 => "no space on file system",
        15 => "quota exceeded",
        16 => "unknown principal",
        17 => "lock conflict",
        18 => "directory not empty",
        19 => "not a directory",
        20 => "invalid file name",
        21 => "link loop",
        22 => "cannot delete",
        23 => "invalid parameter",
        24 => "file is a directory",
        _ => "other",
    }
}

/// Something that was done to a file. Names are a peer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOperation<'a> {
    /// By which protocol.
    pub protocol: TransferProtocol,
    /// What it was.
    pub action: FileAction,
    /// On what.
    pub path: &'a [u8],
    /// The second name of actions that have two; in scp, what the command line on the target named.
    pub target: &'a [u8],
    /// Whether there was more of either name.
    pub is_cut: bool,
    /// Opened for reading.
    pub reads: bool,
    /// Opened for writing.
    pub writes: bool,
    /// Bytes that passed to the client.
    pub bytes_read: u64,
    /// Bytes that the server took.
    pub bytes_written: u64,
    /// How it ended.
    pub outcome: FileOutcome,
    /// Whether a hash was asked for.
    pub is_hash_asked: bool,
    /// SHA-256 of the bytes that passed, the file's from its first byte on without a gap; `None` if they did not pass so.
    pub sha256: Option<&'a [u8]>,
    /// More in words, mostly empty.
    pub note: &'a [u8],
}

const READS: u8 = 1;
const WRITES: u8 = 1 << 1;
const CUT: u8 = 1 << 2;
const UNFINISHED: u8 = 1 << 3;
const HASH_ASKED: u8 = 1 << 4;

const SHA256_LEN: usize = 32;

impl<'a> FileOperation<'a> {
    /// The beginning of a protocol on a channel.
    #[must_use]
    pub const fn begin(protocol: TransferProtocol) -> FileOperation<'static> {
        FileOperation {
            protocol,
            action: FileAction::Begin,
            path: b"",
            target: b"",
            is_cut: false,
            reads: false,
            writes: false,
            bytes_read: 0,
            bytes_written: 0,
            outcome: FileOutcome::Done,
            is_hash_asked: false,
            sha256: None,
            note: b"",
        }
    }

    /// What was done, in one word: a file that was opened for one direction is `read` or `write`.
    #[must_use]
    pub fn action_str(&self) -> &'static str {
        match (self.action, self.direction()) {
            (FileAction::File, "read") => "read",
            (FileAction::File, "write") => "write",
            (action, _) => FileAction::ALL[action as usize].1,
        }
    }

    /// What the file was opened for: `read`, `write` or `both`; else empty.
    #[must_use]
    pub const fn direction(&self) -> &'static str {
        match (self.reads, self.writes) {
            (true, false) => "read",
            (false, true) => "write",
            (true, true) => "both",
            (false, false) => "",
        }
    }

    /// The hash in hexadecimal; `not hashed` if it was asked for and there is none.
    #[must_use]
    pub fn sha256_text(&self) -> Option<String> {
        match self.sha256 {
            Some(hash) => Some(hash.iter().map(|byte| format!("{byte:02x}")).collect()),
            None if self.is_hash_asked => Some("not hashed".to_owned()),
            None => None,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let is_unfinished = self.outcome == FileOutcome::Unfinished;
        let flags = [
            (self.reads, READS),
            (self.writes, WRITES),
            (self.is_cut, CUT),
            (is_unfinished, UNFINISHED),
            (self.is_hash_asked, HASH_ASKED),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set);
        out.push(self.action as u8);
        out.push(self.protocol.code());
        out.push(flags.fold(0, |all, (_, flag)| all | flag));
        put_varint(out, u64::from(self.outcome.status()));
        put_varint(out, self.bytes_read);
        put_varint(out, self.bytes_written);
        put_string(out, self.path);
        put_string(out, self.target);
        put_string(out, self.sha256.unwrap_or_default());
        put_string(out, self.note);
    }

    pub(crate) fn decode(p: &mut Cursor<'a>) -> Result<Self, Malformed> {
        const WHAT: &str = "file operation";
        let code = p.u8(WHAT)?;
        let &(action, _) = FileAction::ALL.get(usize::from(code)).ok_or(Malformed(WHAT))?;
        let protocol = TransferProtocol::from_code(p.u8(WHAT)?)?;
        let flags = p.u8(WHAT)?;
        let outcome = match (p.varint_u32(WHAT)?, flags & UNFINISHED != 0) {
            (_, true) => FileOutcome::Unfinished,
            (0, false) => FileOutcome::Done,
            (status, false) => FileOutcome::Failed(status),
        };
        Ok(FileOperation {
            protocol,
            action,
            bytes_read: p.varint(WHAT)?,
            bytes_written: p.varint(WHAT)?,
            path: p.string(WHAT)?,
            target: p.string(WHAT)?,
            is_cut: flags & CUT != 0,
            reads: flags & READS != 0,
            writes: flags & WRITES != 0,
            outcome,
            is_hash_asked: flags & HASH_ASKED != 0,
            sha256: match p.string(WHAT)? {
                b"" => None,
                hash if hash.len() == SHA256_LEN => Some(hash),
                _ => return Err(Malformed(WHAT)),
            },
            note: p.string(WHAT)?,
        })
    }
}

/// One line for people. Names are shown so that a terminal obeys nothing in them.
impl fmt::Display for FileOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
        write!(f, "{} {}", self.protocol.as_str(), self.action_str())?;
        if !self.path.is_empty() {
            write!(f, " {}", text(self.path))?;
        }
        if !self.target.is_empty() {
            write!(f, " -> {}", text(self.target))?;
        }
        if self.is_cut {
            f.write_str(" (cut)")?;
        }
        if self.reads || self.bytes_read > 0 {
            write!(f, ", {} bytes read", self.bytes_read)?;
        }
        if self.writes || self.bytes_written > 0 {
            write!(f, ", {} bytes written", self.bytes_written)?;
        }
        if let Some(sha256) = self.sha256_text() {
            write!(f, ", sha256 {sha256}")?;
        }
        match self.outcome {
            FileOutcome::Done => {}
            FileOutcome::Failed(status) => write!(f, ": {}", status_text(status))?,
            FileOutcome::Unfinished => f.write_str(": unfinished")?,
        }
        if !self.note.is_empty() {
            write!(f, " ({})", text(self.note))?;
        }
        Ok(())
    }
}

/// What a channel's transfers came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferSummary {
    /// By which protocol.
    pub protocol: TransferProtocol,
    /// Whether all of the channel was followed.
    pub is_whole: bool,
    /// Files opened and closed.
    pub files: u64,
    /// Files that were open at the end.
    pub unfinished: u64,
    /// Bytes that passed to the client.
    pub bytes_read: u64,
    /// Bytes that the server took.
    pub bytes_written: u64,
    /// Requests answered, other than reads and writes.
    pub operations: u64,
    /// Answers that said no.
    pub failures: u64,
    /// Requests that were not followed, and answers to nothing that was.
    pub unmatched: u64,
}

impl TransferSummary {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.protocol.code());
        out.push(u8::from(self.is_whole));
        for count in [
            self.files,
            self.unfinished,
            self.bytes_read,
            self.bytes_written,
            self.operations,
            self.failures,
            self.unmatched,
        ] {
            put_varint(out, count);
        }
    }

    pub(crate) fn decode(p: &mut Cursor<'_>) -> Result<Self, Malformed> {
        const WHAT: &str = "transfer summary";
        Ok(TransferSummary {
            protocol: TransferProtocol::from_code(p.u8(WHAT)?)?,
            is_whole: p.u8(WHAT)? != 0,
            files: p.varint(WHAT)?,
            unfinished: p.varint(WHAT)?,
            bytes_read: p.varint(WHAT)?,
            bytes_written: p.varint(WHAT)?,
            operations: p.varint(WHAT)?,
            failures: p.varint(WHAT)?,
            unmatched: p.varint(WHAT)?,
        })
    }
}

/// One line for people.
impl fmt::Display for TransferSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} files, {} bytes read, {} bytes written, {} operations, {} failed",
            self.protocol.as_str(),
            self.files,
            self.bytes_read,
            self.bytes_written,
            self.operations,
            self.failures
        )?;
        if self.unfinished > 0 {
            write!(f, ", {} files unfinished", self.unfinished)?;
        }
        if !self.is_whole {
            f.write_str(", not followed whole")?;
        }
        Ok(())
    }
}
