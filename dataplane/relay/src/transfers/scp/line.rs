//! What a sender says between files, and where it is among directories.

use super::super::Fault;
use super::super::report::{FileName, PATH_MAX};

/// The longest line that is believed; scp's own buffer (scp.c, `sink`).
const LINE_MAX: usize = 16 * 1024;

/// Directories within each other; with the shortest names the path is longer than Linux takes.
const DEPTH_MAX: usize = PATH_MAX / 2;

/// Moves bytes from `data` to `line` up to a line's end, which is dropped; whether the line is whole.
pub(super) fn gather(line: &mut Vec<u8>, data: &mut &[u8]) -> Result<bool, Fault> {
    let end = data.iter().position(|byte| *byte == b'\n');
    let taken = end.unwrap_or(data.len());
    if line.len() + taken > LINE_MAX {
        return Err(Fault::new(format!("got a line of more than {LINE_MAX} bytes")));
    }
    line.extend_from_slice(&data[..taken]);
    *data = &data[end.map_or(taken, |end| end + 1)..];
    Ok(end.is_some())
}

/// One line, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Times,
    Directory(&'a [u8]),
    End,
    File { size: u64, name: &'a [u8] },
    Error(String),
}

impl<'a> Line<'a> {
    pub(super) fn read(line: &'a [u8]) -> Result<Line<'a>, Fault> {
        let unknown = || {
            Fault::new(format!(
                "got {:?} while expecting a line of scp's",
                beginning(line)
            ))
        };
        let (&kind, rest) = line.split_first().ok_or_else(unknown)?;
        match kind {
            b'T' => Ok(Line::Times),
            b'E' => Ok(Line::End),
            b'C' | b'D' => {
                // Four digits of the mode, a space, the size, a space, the name.
                let (_, rest) = rest.split_first_chunk::<5>().ok_or_else(unknown)?;
                let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(unknown)?;
                let (size, name) = (&rest[..space], &rest[space + 1..]);
                let size = std::str::from_utf8(size).ok().and_then(|size| size.parse().ok());
                let size = size.ok_or_else(unknown)?;
                Ok(match kind {
                    b'C' => Line::File { size, name },
                    _ => Line::Directory(name),
                })
            }
            1 | 2 => Ok(Line::Error(String::from_utf8_lossy(rest).into_owned())),
            _ => Err(unknown()),
        }
    }
}

fn beginning(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(32)]).into_owned()
}

/// The directories that the sender is in.
#[derive(Default)]
pub(super) struct Directories {
    /// Their names with slashes between, or the beginning of that.
    path: Vec<u8>,
    is_cut: bool,
    /// Where in `path` each began, and whether all of the path was there.
    above: Vec<(u16, bool)>,
}

impl Directories {
    pub(super) fn enter(&mut self, name: &[u8]) -> Result<(), Fault> {
        if self.above.len() >= DEPTH_MAX {
            return Err(Fault::new(format!(
                "sends more than {DEPTH_MAX} directories within each other"
            )));
        }
        let end = u16::try_from(self.path.len()).unwrap_or(u16::MAX);
        self.above.push((end, self.is_cut));
        let FileName { bytes, is_cut } = self.below(name);
        self.path = bytes.into();
        self.is_cut = is_cut;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        if let Some((end, is_cut)) = self.above.pop() {
            self.path.truncate(usize::from(end));
            self.is_cut = is_cut;
        }
    }

    pub(super) fn path(&self) -> FileName {
        FileName {
            bytes: self.path.as_slice().into(),
            is_cut: self.is_cut,
        }
    }

    /// The path of what is called `name` there.
    pub(super) fn below(&self, name: &[u8]) -> FileName {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let mut whole = FileName::of(&path);
        whole.is_cut |= self.is_cut;
        whole
    }
}
