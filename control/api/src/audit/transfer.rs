//! Files that pass through a session.

use serde::{Deserialize, Serialize};

/// A file or directory copied by the scp protocol, told when it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Scp {
    /// Number of the channel in the session.
    pub channel: u32,
    /// `upload` or `download` of a file; `opendir` and `mkdir` of a directory that is sent or received; `unfollowed` where it
    /// could not be followed, as the note says.
    pub action: String,
    /// The name that was sent, below the directories that were.
    pub path: String,
    /// What the command line on the node named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether a name was longer than what stands here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub name_cut: bool,
    /// Bytes of the file that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// `read` or `write`, of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// What became of it: `ok`, or an error in words, or `unfinished`.
    pub status: String,
    /// The same as SFTP's status code.
    pub status_code: u32,
    /// SHA-256 of the file in hexadecimal, or `not hashed`, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// More in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An operation of SFTP that the node has answered; a file when it is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sftp {
    /// Number of the channel in the session.
    pub channel: u32,
    /// `open`, `read` or `write` of a file; `setstat`, `opendir`, `mkdir`, `rmdir`, `remove`, `rename`, `readlink`, `symlink`,
    /// `link`, `copy`; `extended` for what is not known; `unfollowed` where it could not be followed, as the note says.
    pub action: String,
    /// The file or directory.
    pub path: String,
    /// The other path of a rename, a link or a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether a path was longer than what stands here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub name_cut: bool,
    /// Bytes read from the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_read: Option<u64>,
    /// Bytes written to the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_written: Option<u64>,
    /// What the file was opened for: `read`, `write`, `both` or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// What the node answered, in words; `unfinished` where it did not.
    pub status: String,
    /// The same as SFTP's status code.
    pub status_code: u32,
    /// SHA-256 of the file in hexadecimal, or `not hashed`, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// More in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What SFTP or scp did on one channel, told at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SftpSummary {
    /// Number of the channel in the session.
    pub channel: u32,
    /// `sftp` or `scp`.
    pub protocol: String,
    /// Whether the channel was followed to its end.
    pub whole: bool,
    /// Files that were opened and closed.
    pub files: u64,
    /// Files that were still open.
    pub unfinished: u64,
    /// Bytes read from files.
    pub bytes_read: u64,
    /// Bytes written to files.
    pub bytes_written: u64,
    /// Requests answered, other than reads and writes.
    pub operations: u64,
    /// Answers that said no.
    pub failures: u64,
    /// Requests and answers that could not be followed.
    pub unmatched: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
