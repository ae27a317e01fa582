//! A recording's bytes from wherever they are, in parts.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use weir_record::MAX_CHUNK_LEN;

use super::Upload;
use super::side::Sides;
use crate::spool::frame::Location;
use crate::spool::segment::{self, Have, Origin, Segment};

const MIB: u64 = 1024 * 1024;
/// Length of each part but the last: S3 wants 5 MiB at least, and some servers the same for all.
const PART_LEN: u64 = 8 * MIB;
/// S3 takes 10,000 parts of an object; a recording that would be more gets longer ones.
const MOST_PARTS: u64 = 9_990;

pub(super) struct Parts<'a> {
    dir: &'a Path,
    side: Option<File>,
    frames: std::vec::IntoIter<Location>,
    segment: Option<(u32, Segment)>,
    end: &'a [u8],
    /// What was read beyond the last part: less than a chunk.
    rest: Vec<u8>,
    part_len: u64,
    /// All of it is no longer than this.
    longest: u64,
}

impl<'a> Parts<'a> {
    pub(super) fn begin(dir: &'a Path, sides: &Sides, upload: &'a Upload) -> io::Result<Self> {
        let (have, side) = match sides.open(upload.session)? {
            Some((next, file)) => (Have::ChunksBefore(next), Some(file)),
            None => (Have::Nothing, None),
        };
        let frames = match upload.last {
            Some(last) => segment::trace(dir, last, have)?,
            None => Vec::new(),
        };
        let end = &upload.end_bytes[..];
        let in_side = side
            .as_ref()
            .map_or(Ok(0), |file| Ok::<_, io::Error>(file.metadata()?.len()))?;
        let longest = in_side + (frames.len() * MAX_CHUNK_LEN + end.len()) as u64;
        Ok(Parts {
            dir,
            side,
            frames: frames.into_iter(),
            segment: None,
            end,
            rest: Vec::new(),
            part_len: part_len(longest),
            longest,
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.side.is_none() && self.frames.len() == 0 && self.end.is_empty() && self.rest.is_empty()
    }

    /// Mebibytes that a part takes in memory, a chunk more or less.
    pub(super) fn part_mib(&self) -> u32 {
        let mib = self.part_len.min(self.longest).div_ceil(MIB).max(1);
        u32::try_from(mib).unwrap_or(u32::MAX)
    }

    /// The next part: of the common length, or the whole rest.
    pub(super) fn next(&mut self) -> io::Result<Bytes> {
        let part_len = usize::try_from(self.part_len).unwrap_or(usize::MAX);
        let few = self.side.is_none() && self.frames.len() * MAX_CHUNK_LEN < part_len;
        let mut part = Vec::with_capacity(if few { 4096 } else { part_len + MAX_CHUNK_LEN });
        part.append(&mut self.rest);
        if let Some(file) = &mut self.side {
            let wanted = self.part_len - part.len() as u64;
            let read = file.take(wanted).read_to_end(&mut part)?;
            if (read as u64) < wanted {
                self.side = None;
            }
        }
        while part.len() < part_len
            && let Some(location) = self.frames.next()
        {
            self.read(location, &mut part)?;
        }
        if part.len() < part_len {
            part.extend_from_slice(std::mem::take(&mut self.end));
        }
        if part.len() > part_len {
            self.rest = part.split_off(part_len);
        }
        Ok(part.into())
    }

    fn read(&mut self, location: Location, part: &mut Vec<u8>) -> io::Result<()> {
        let is_open = self
            .segment
            .as_ref()
            .is_some_and(|(number, _)| *number == location.segment);
        if !is_open {
            let segment = Segment::open(self.dir, location.segment, Origin::Ours)?;
            self.segment = Some((location.segment, segment));
        }
        match &self.segment {
            Some((_, segment)) => segment.payload(location.offset, part),
            None => Ok(()),
        }
    }
}

fn part_len(longest: u64) -> u64 {
    longest.div_ceil(MOST_PARTS).next_multiple_of(MIB).max(PART_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_recording_has_more_parts_than_s3_takes() {
        const GIB: u64 = 1024 * MIB;
        for longest in [0, MIB, 78 * GIB, 79 * GIB, 1000 * GIB, 5 * 1024 * GIB] {
            let len = part_len(longest);
            assert!(len >= PART_LEN && len.is_multiple_of(MIB));
            assert!(longest.div_ceil(len) <= MOST_PARTS, "{longest} in parts of {len}");
        }
        assert_eq!(part_len(78 * GIB), PART_LEN);
        assert_eq!(part_len(620 * GIB), 64 * MIB);
    }
}
