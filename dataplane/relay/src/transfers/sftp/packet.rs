//! The packets of SFTP: numbers, and which fields of each are read.
//!
//! Version 3 is draft-ietf-secsh-filexfer-02, with OpenSSH's extensions (PROTOCOL §4); 4 to 6 are the drafts up to -13.

use crate::Side;

pub(super) const INIT: u8 = 1;
pub(super) const VERSION: u8 = 2;
pub(super) const OPEN: u8 = 3;
pub(super) const CLOSE: u8 = 4;
pub(super) const READ: u8 = 5;
pub(super) const WRITE: u8 = 6;
pub(super) const LSTAT: u8 = 7;
pub(super) const FSTAT: u8 = 8;
pub(super) const SETSTAT: u8 = 9;
pub(super) const FSETSTAT: u8 = 10;
pub(super) const OPENDIR: u8 = 11;
pub(super) const READDIR: u8 = 12;
pub(super) const REMOVE: u8 = 13;
pub(super) const MKDIR: u8 = 14;
pub(super) const RMDIR: u8 = 15;
pub(super) const REALPATH: u8 = 16;
pub(super) const STAT: u8 = 17;
pub(super) const RENAME: u8 = 18;
pub(super) const READLINK: u8 = 19;
pub(super) const SYMLINK: u8 = 20;
/// From here to [`UNBLOCK`] since version 6.
pub(super) const LINK: u8 = 21;
pub(super) const BLOCK: u8 = 22;
pub(super) const UNBLOCK: u8 = 23;
pub(super) const STATUS: u8 = 101;
pub(super) const HANDLE: u8 = 102;
pub(super) const DATA: u8 = 103;
pub(super) const NAME: u8 = 104;
pub(super) const ATTRS: u8 = 105;
pub(super) const EXTENDED: u8 = 200;
pub(super) const EXTENDED_REPLY: u8 = 201;

/// `SSH_FILEXFER_ATTR_SIZE`.
pub(super) const ATTR_SIZE: u32 = 1;

/// `SSH_FX_OK`.
pub(super) const OK: u32 = 0;
/// `SSH_FX_EOF`: the answer to a read behind the end, which is no failure.
pub(super) const EOF: u32 = 1;

/// A part of a packet that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    U32,
    U64,
    Handle,
    Path,
    /// Of an extension.
    Name,
    /// A file's size, if the flags before it say that it is there (`SSH_FILEXFER_ATTR_SIZE`).
    Size,
    /// A file's bytes; the last that is read.
    Bulk,
}

/// An extended request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Extension {
    /// Not one that is known here.
    #[default]
    Unknown,
    /// It looks and changes nothing.
    Query,
    Rename,
    Hardlink,
    Setstat,
    CopyData,
    CopyFile,
    VersionSelect,
}

/// What is read of a packet, behind its type. Of one that is unknown, nothing: OpenSSH's server does not even answer it.
pub(super) fn fields(from: Side, kind: u8, version: u32) -> &'static [Field] {
    use Field::{Bulk, Handle, Name, Path, Size, U32, U64};
    match (from, kind) {
        (Side::Client, INIT) | (Side::Target, VERSION) => &[U32],
        // Since version 5 the wishes stand in two numbers.
        (Side::Client, OPEN) if version >= 5 => &[U32, Path, U32, U32],
        (Side::Client, OPEN) => &[U32, Path, U32],
        (Side::Client, CLOSE) => &[U32, Handle],
        (Side::Client, READ) => &[U32, Handle, U64],
        (Side::Client, WRITE) => &[U32, Handle, U64, Bulk],
        // Since version 4 the size does not come first.
        (Side::Client, FSETSTAT) if version >= 4 => &[U32, Handle, U32],
        (Side::Client, FSETSTAT) => &[U32, Handle, U32, Size],
        (Side::Client, SETSTAT | OPENDIR | REMOVE | MKDIR | RMDIR | READLINK) => &[U32, Path],
        (Side::Client, RENAME | SYMLINK) => &[U32, Path, Path],
        (Side::Client, LSTAT | FSTAT | READDIR | REALPATH | STAT) => &[U32],
        (Side::Client, LINK) if version >= 6 => &[U32, Path, Path],
        (Side::Client, BLOCK | UNBLOCK) if version >= 6 => &[U32],
        (Side::Client, EXTENDED) => &[U32, Name],
        (Side::Target, STATUS) => &[U32, U32],
        (Side::Target, HANDLE) => &[U32, Handle],
        (Side::Target, DATA) => &[U32, Bulk],
        (Side::Target, NAME | ATTRS | EXTENDED_REPLY) => &[U32],
        _ => &[],
    }
}

/// An extension by its name, and what is read of its request behind the name.
pub(super) fn extension(name: &[u8]) -> (Extension, &'static [Field]) {
    use Field::{Handle, Path, U64};
    match name {
        b"posix-rename@openssh.com" => (Extension::Rename, &[Path, Path]),
        b"hardlink@openssh.com" => (Extension::Hardlink, &[Path, Path]),
        b"lsetstat@openssh.com" => (Extension::Setstat, &[Path]),
        b"copy-data" => (Extension::CopyData, &[Handle, U64, U64, Handle, U64]),
        b"copy-file" => (Extension::CopyFile, &[Path, Path]),
        b"version-select" => (Extension::VersionSelect, &[Path]),
        b"statvfs@openssh.com"
        | b"fstatvfs@openssh.com"
        | b"fsync@openssh.com"
        | b"limits@openssh.com"
        | b"expand-path@openssh.com"
        | b"home-directory"
        | b"users-groups-by-id@openssh.com" => (Extension::Query, &[]),
        _ => (Extension::Unknown, &[]),
    }
}
