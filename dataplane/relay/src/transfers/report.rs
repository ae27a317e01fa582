//! What is told of file transfers.

use std::fmt;

/// Bytes that are kept of a path: Linux knows none longer (`PATH_MAX`).
pub(super) const PATH_MAX: usize = 4096;

/// The protocol of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferProtocol {
    /// SFTP (draft-ietf-secsh-filexfer, OpenSSH PROTOCOL §4).
    Sftp,
    /// What `scp -O` speaks, once rcp's protocol.
    Scp,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileAction {
    /// A file was opened, perhaps read or written, and closed; or it could not be opened.
    File,
    /// A directory was opened for listing; in scp, it is sent.
    Opendir,
    /// A directory was made; in scp, one is received, which may have been there before.
    Mkdir,
    /// A directory was removed.
    Rmdir,
    /// A file was removed.
    Remove,
    /// `path` became `target`.
    Rename,
    /// `path` became a symbolic link to `target`.
    Symlink,
    /// `path` became another name of `target`.
    Link,
    /// A symbolic link was read.
    Readlink,
    /// Size, owner, mode or times were changed.
    Setstat,
    /// What is in `path` was copied into `target` on the server's side.
    Copy,
    /// Something that this decoder does not know, under the name in `path`.
    Extended,
    /// Nothing: what follows on the channel, or a part of it, could not be followed. `note` says why.
    Unfollowed,
}

/// A file's name as the peer sent it, which is no text by right.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct FileName {
    /// The name, or its first 4096 bytes.
    pub bytes: Box<[u8]>,
    /// Whether there was more of it.
    pub is_cut: bool,
}

impl FileName {
    /// The beginning of `name` that is kept.
    pub(super) fn of(name: &[u8]) -> FileName {
        let kept = &name[..name.len().min(PATH_MAX)];
        FileName {
            bytes: kept.into(),
            is_cut: kept.len() < name.len(),
        }
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.is_cut { "…" } else { "" };
        write!(f, "{:?}{more}", String::from_utf8_lossy(&self.bytes))
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Done,
    /// The server refused or failed: an `SSH_FX_` code, never 0. scp has no codes; there it is 4, `SSH_FX_FAILURE`.
    Failed(u32),
    /// The channel ended, or was lost sight of, before it was known.
    Unfinished,
}

impl Outcome {
    pub(super) fn of(status: u32) -> Outcome {
        match status {
            0 => Outcome::Done,
            code => Outcome::Failed(code),
        }
    }
}

/// What is known of a file's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentHash {
    /// Nobody asked.
    NotAsked,
    /// They did not pass whole and in order: sparse, appended, out of order, or failed.
    NotHashed,
    /// SHA-256 of the bytes that passed, which are the file's from its first byte on without a gap.
    Sha256([u8; 32]),
}

/// One operation, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOperation {
    /// By which protocol.
    pub protocol: TransferProtocol,
    /// What it was.
    pub action: FileAction,
    /// On what. In scp, the name that was sent, below the directories that were.
    pub path: FileName,
    /// A second name where the action has one. In scp, what the command line on the target named.
    pub target: FileName,
    /// Opened for reading.
    pub reads: bool,
    /// Opened for writing.
    pub writes: bool,
    /// Bytes of the file that passed to the client.
    pub bytes_read: u64,
    /// Bytes of the file that the server took.
    pub bytes_written: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What was in the file.
    pub content: ContentHash,
    /// More in words, mostly empty.
    pub note: String,
}

impl FileOperation {
    pub(super) fn new(protocol: TransferProtocol, action: FileAction) -> FileOperation {
        FileOperation {
            protocol,
            action,
            path: FileName::default(),
            target: FileName::default(),
            reads: false,
            writes: false,
            bytes_read: 0,
            bytes_written: 0,
            outcome: Outcome::Done,
            content: ContentHash::NotAsked,
            note: String::new(),
        }
    }
}

/// What a channel's transfers came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferSummary {
    /// By which protocol.
    pub protocol: TransferProtocol,
    /// Whether the channel was followed to its end.
    pub is_whole: bool,
    /// Files told of, opened and closed.
    pub files: u64,
    /// Files told of that were open at the end.
    pub unfinished: u64,
    /// Bytes of files that passed to the client.
    pub bytes_read: u64,
    /// Bytes of files that the server took.
    pub bytes_written: u64,
    /// Requests answered, other than reads and writes; those that only look are in no other report.
    pub operations: u64,
    /// Answers that said no, to any request.
    pub failures: u64,
    /// Requests that were not followed because too many were in flight, and answers to nothing that was followed.
    pub unmatched: u64,
}
