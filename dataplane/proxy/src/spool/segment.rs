//! Segment files: their names, their making, and reading them back.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frame::{FrameHead, FrameKind, HEAD_LEN, Location, is_whole};

/// The first bytes of a segment, before its number. No frame stands at offset 0, so that it can mean "none".
const MAGIC: &[u8; 12] = b"WEIRSPOOL\x01\0\0";
/// Bytes before the first frame.
pub(crate) const START: u32 = 16;

pub(crate) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.segment"))
}

/// The numbers of the segments in a directory, in order.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = super::named(dir, ".segment", |name| name.parse::<u32>().ok())?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a new segment with room for `len` bytes, and its name durable.
pub(crate) fn create(dir: &Path, number: u32, len: u64) -> io::Result<File> {
    #[cfg(test)]
    super::faults::check(dir)?;
    #[cfg(test)]
    super::faults::check_space(dir)?;
    let path = path(dir, number);
    let made = private().create_new(true).open(&path).and_then(|file| {
        allocate(&file, len)?;
        name(&file, number)?;
        sync_dir(dir)?;
        Ok(file)
    });
    if made.is_err() {
        // What is half made would take the number away from the next attempt.
        drop(std::fs::remove_file(&path));
    }
    made
}

/// Reserves `len` bytes for the segment that will be needed next. It has no name as a segment yet, and survives the process: what
/// is reserved is reserved for the next one, too.
pub(crate) fn prepare(dir: &Path, len: u64) -> io::Result<File> {
    let file = private().create(true).truncate(false).open(spare(dir))?;
    if is_allocated(&file, len)? {
        return Ok(file);
    }
    #[cfg(test)]
    super::faults::check_space(dir)?;
    let made = allocate(&file, len);
    if made.is_err() {
        // A part of what is needed is of use to others.
        drop(std::fs::remove_file(spare(dir)));
    }
    made.map(|()| file)
}

/// Makes what was prepared the segment of that number, and its name durable.
pub(crate) fn adopt(dir: &Path, file: &File, number: u32) -> io::Result<()> {
    #[cfg(test)]
    super::faults::check(dir)?;
    name(file, number)?;
    std::fs::rename(spare(dir), path(dir, number))?;
    sync_dir(dir)?;
    #[cfg(test)]
    super::faults::made(dir, &path(dir, number));
    Ok(())
}

fn spare(dir: &Path) -> PathBuf {
    dir.join("spare")
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).read(true).mode(0o600);
    options
}

fn allocate(file: &File, len: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        // Space that is there cannot run out in the middle of a commit, and syncing within it changes no length.
        // A file system that cannot promise it grows the file as it is written.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => file.sync_all(),
        Err(err) => Err(err.into()),
    }
}

/// Whether all of that length is there, rather than a hole.
fn is_allocated(file: &File, len: u64) -> io::Result<bool> {
    let found = file.metadata()?;
    Ok(found.len() == len && found.blocks().saturating_mul(512) >= len)
}

fn name(file: &File, number: u32) -> io::Result<()> {
    let mut head = [0; START as usize];
    head[..12].copy_from_slice(MAGIC);
    head[12..].copy_from_slice(&number.to_le_bytes());
    file.write_all_at(&head, 0)?;
    file.sync_all()
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether frames can be taken for whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This process wrote them and knows that they are durable.
    Ours,
    /// An earlier process did, and may have been torn from it.
    Left,
}

/// A segment that is read.
pub(crate) struct Segment {
    file: File,
    number: u32,
    origin: Origin,
}

impl Segment {
    pub(crate) fn open(dir: &Path, number: u32, origin: Origin) -> io::Result<Self> {
        Ok(Segment {
            file: File::open(path(dir, number))?,
            number,
            origin,
        })
    }

    /// When it was written to, microseconds since 1970-01-01 UTC.
    pub(crate) fn written_us(&self) -> io::Result<u64> {
        written_us(&self.file)
    }

    /// Replaces `payload` by the one of the frame at `offset`; `None` if no whole frame stands there.
    pub(crate) fn frame(&self, offset: u32, payload: &mut Vec<u8>) -> io::Result<Option<FrameHead>> {
        let mut head_bytes = [0; HEAD_LEN];
        if !read_full(&self.file, &mut head_bytes, offset)? {
            return Ok(None);
        }
        let Some(head) = FrameHead::parse(&head_bytes) else {
            return Ok(None);
        };
        payload.resize(head.len as usize, 0);
        let at = offset.saturating_add(u32::try_from(HEAD_LEN).expect("a head is short"));
        let whole = read_full(&self.file, payload, at)?
            && (self.origin == Origin::Ours || is_whole(&head_bytes, self.number, payload));
        Ok(whole.then_some(head))
    }

    /// Appends the payload of the frame at `offset`, which is known to stand there.
    pub(crate) fn payload(&self, offset: u32, out: &mut Vec<u8>) -> io::Result<()> {
        let (head, _) = self.numbered_head(offset)?.ok_or(io::ErrorKind::InvalidData)?;
        let start = out.len();
        out.resize(start + head.len as usize, 0);
        let at = offset.saturating_add(u32::try_from(HEAD_LEN).expect("a head is short"));
        if read_full(&self.file, &mut out[start..], at)? {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// Gives every frame from the front to the first that is not whole.
    pub(crate) fn scan(
        &self,
        mut each: impl FnMut(Location, FrameHead, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut payload = Vec::new();
        let mut offset = START;
        while let Some(head) = self.frame(offset, &mut payload)? {
            each(
                Location {
                    segment: self.number,
                    offset,
                },
                head,
                &payload,
            )?;
            offset = next(offset, &head);
        }
        Ok(())
    }
}

/// Where the frame after the one at `offset` stands.
fn next(offset: u32, head: &FrameHead) -> u32 {
    let len = u32::try_from(HEAD_LEN)
        .expect("a head is short")
        .saturating_add(head.len);
    offset.saturating_add(len)
}

/// When a file was written to, microseconds since 1970-01-01 UTC.
pub(crate) fn written_us(file: &File) -> io::Result<u64> {
    let since = file
        .metadata()?
        .modified()?
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

fn read_full(file: &File, buffer: &mut [u8], offset: u32) -> io::Result<bool> {
    match file.read_exact_at(buffer, u64::from(offset)) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(err) => Err(err),
    }
}

/// What of a recording is no longer needed from the spool, because it was copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Have {
    Nothing,
    /// The envelope and the chunks before this number.
    ChunksBefore(u64),
}

/// The places of a session's frames up to `last`, oldest first, without those whose contents are had already.
///
/// Walks backwards by the frames' own pointers. Costs 8 bytes of memory and one short read per frame; the recorder
/// bounds how many a session can have.
pub(crate) fn trace(dir: &Path, last: Location, have: Have) -> io::Result<Vec<Location>> {
    let broken = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "a frame of the spool is not where it was written",
        )
    };
    let mut places = Vec::new();
    let mut segment = Segment::open(dir, last.segment, Origin::Ours)?;
    let mut at = Some(last);
    while let Some(location) = at {
        if location.segment != segment.number {
            segment = Segment::open(dir, location.segment, Origin::Ours)?;
        }
        let (head, number) = segment.numbered_head(location.offset)?.ok_or_else(broken)?;
        match (head.kind, have) {
            (FrameKind::Archived, _) | (FrameKind::Envelope, Have::ChunksBefore(_)) => break,
            (FrameKind::Chunk, Have::ChunksBefore(next)) if number < next => break,
            _ => places.push(location),
        }
        // What comes before may be in a segment that is no more.
        if head.kind == FrameKind::Envelope || have == Have::ChunksBefore(number) {
            break;
        }
        at = head.previous;
    }
    places.reverse();
    Ok(places)
}

/// Where the number stands in a chunk.
const NUMBER_AT: usize = HEAD_LEN + 8;

impl Segment {
    /// The head of the frame at `offset` and, if it is a chunk, its number.
    fn numbered_head(&self, offset: u32) -> io::Result<Option<(FrameHead, u64)>> {
        let mut bytes = [0; NUMBER_AT + 8];
        if !read_full(&self.file, &mut bytes, offset)? {
            return Ok(None);
        }
        let head = bytes.first_chunk().and_then(FrameHead::parse);
        let number = bytes[NUMBER_AT..]
            .first_chunk()
            .map_or(0, |number| u64::from_le_bytes(*number));
        Ok(head.map(|head| (head, number)))
    }
}
