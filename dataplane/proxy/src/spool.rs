//! The spool: an append-only sequence of segments that all sessions of a recorder share.
//!
//! ```text
//! append ─▶ batch ──submit──▶ writes under way ──commit──▶ commits under way ─▶ durable, in order
//!             │                                                   │
//!             └──────────── rewritten into a new segment ◀── failed
//! ```
//!
//! One `fdatasync` makes all that was appended before it durable. Several commits may be under way, and are reported in
//! the order in which they were begun: what a commit reports as durable has nothing before it that is not.
//!
//! The next segment is prepared ahead, and nothing more is recorded when that fails: so a full disk is noticed a whole segment early,
//! and what is under way can be brought to its end.
//!
//! After a failed sync the kernel may have dropped the pages and call the next sync a success, so nothing is retried in
//! place: what was not yet durable is kept in memory and written again, into a new segment.

mod disk;
#[cfg(test)]
pub(crate) mod faults;
pub(crate) mod frame;
pub(crate) mod segment;

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::stream::{FuturesOrdered, Stream};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use weir_record::Hash;

use self::disk::Disk;
use self::frame::{FrameHead, FrameKind, HEAD_LEN, Location};

/// How segments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    Uring,
    Plain,
}

/// A batch is written once it has this length: large enough that its write costs more than its system call.
const BATCH_LEN: usize = 896 * 1024;
/// Written and not yet durable bytes from which a commit does not wait for the flush interval. They stay in memory.
const COMMIT_LEN: usize = 8 * 1024 * 1024;
/// Not yet durable bytes from which nothing more is taken from sessions: this is where a slow disk slows them.
const CONGESTED_LEN: usize = 4 * COMMIT_LEN;
/// Length of a segment from which on it takes nothing more, far from where offsets end.
const LONGEST: u32 = 3 << 30;
/// Written buffers kept for the next batches.
const KEPT_BUFFERS: usize = 4;

/// Bytes and the place in a segment that they have been given.
struct Batch {
    at: Location,
    bytes: Vec<u8>,
}

/// A commit that has come to its end, well or not.
pub(crate) struct Commit {
    /// The how-manieth it is.
    pub(crate) sequence: u64,
    pub(crate) result: io::Result<()>,
    batches: Vec<Batch>,
}

/// What a failed commit and those after it leave to be written again.
pub(crate) struct Unwritten(Vec<Batch>);

/// Where frames have gone that were written again.
pub(crate) struct Moves(Vec<(Location, usize, Location)>);

impl Moves {
    /// The new place of a frame, which is the old one if it was durable.
    pub(crate) fn follow(&self, location: Location) -> Location {
        let moved = self.0.iter().find_map(|(from, len, to)| {
            let within = location.offset.checked_sub(from.offset)?;
            let inside = location.segment == from.segment && (within as usize) < *len;
            inside.then(|| Location {
                segment: to.segment,
                offset: to.offset + within,
            })
        });
        moved.unwrap_or(location)
    }
}

/// The segment that comes next.
enum Spare {
    Missing,
    /// On a thread of its own: reserving space takes a file system its time.
    Making(JoinHandle<io::Result<File>>),
    Ready(File),
}

impl Spare {
    fn take(&mut self) -> Option<File> {
        match std::mem::replace(self, Spare::Missing) {
            Spare::Ready(file) => Some(file),
            other => {
                *self = other;
                None
            }
        }
    }
}

pub(crate) struct Spool {
    dir: PathBuf,
    io: Io,
    /// From this length on a segment is followed by another.
    segment_len: u32,
    number: u32,
    disk: Disk,
    /// Where the next frame goes.
    end: u32,
    batch: Vec<u8>,
    writes: Vec<JoinHandle<(io::Result<()>, Batch)>>,
    /// Bytes of `writes`.
    written: usize,
    commits: FuturesOrdered<JoinHandle<Commit>>,
    begun: u64,
    /// When those under way began.
    begun_at: VecDeque<Instant>,
    spare: Spare,
    not_durable: usize,
    free: Vec<Vec<u8>>,
}

impl Spool {
    /// Begins with a new segment of that number.
    pub(crate) fn create(dir: &Path, io: Io, number: u32, segment_len: u32) -> io::Result<Self> {
        // An earlier process may have left one prepared, and the disk may be full.
        let file = segment::prepare(dir, reserve(segment_len))?;
        segment::adopt(dir, &file, number)?;
        let mut spool = Spool {
            dir: dir.to_owned(),
            io,
            segment_len,
            number,
            disk: open(file, io, dir, number),
            end: segment::START,
            batch: Vec::new(),
            writes: Vec::new(),
            written: 0,
            commits: FuturesOrdered::new(),
            begun: 0,
            begun_at: VecDeque::new(),
            spare: Spare::Missing,
            not_durable: 0,
            free: Vec::new(),
        };
        spool.make_spare();
        Ok(spool)
    }

    /// Begins to prepare the segment that comes next, if there is none.
    pub(crate) fn make_spare(&mut self) {
        if matches!(self.spare, Spare::Missing) {
            let (dir, len) = (self.dir.clone(), reserve(self.segment_len));
            self.spare = Spare::Making(spawn_blocking(move || segment::prepare(&dir, len)));
        }
    }

    /// What came of that, once. Pending while nothing is being prepared.
    pub(crate) fn poll_spare(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Spare::Making(making) = &mut self.spare else {
            return Poll::Pending;
        };
        let Poll::Ready(made) = Pin::new(making).poll(cx) else {
            return Poll::Pending;
        };
        let (spare, result) = match made.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(file) => (Spare::Ready(file), Ok(())),
            Err(err) => (Spare::Missing, Err(err)),
        };
        self.spare = spare;
        Poll::Ready(result)
    }

    /// The segment that is being written.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Appends a frame whose payload `write` puts at the end of the buffer; it returns the payload's hash.
    ///
    /// # Panics
    /// If a segment grows beyond 4 GiB, which its owner prevents by rolling.
    pub(crate) fn append(
        &mut self,
        kind: FrameKind,
        previous: Option<Location>,
        write: impl FnOnce(&mut Vec<u8>) -> Hash,
    ) -> Location {
        let start = self.batch.len();
        self.batch.resize(start + HEAD_LEN, 0);
        let hash = write(&mut self.batch);
        let len = u32::try_from(self.batch.len() - start - HEAD_LEN).expect("a frame is short");
        let head = FrameHead { kind, len, previous }.encode(self.number, hash);
        self.batch[start..start + HEAD_LEN].copy_from_slice(&head);
        let location = Location {
            segment: self.number,
            offset: self.end,
        };
        let frame_len = u32::try_from(HEAD_LEN).expect("a head is short") + len;
        self.end = self
            .end
            .checked_add(frame_len)
            .expect("a segment is rolled long before 4 GiB");
        location
    }

    /// Whether the batch should be written without waiting for the flush interval.
    pub(crate) fn is_batch_full(&self) -> bool {
        self.batch.len() >= BATCH_LEN
    }

    /// Whether a commit should begin without waiting for the flush interval.
    pub(crate) fn is_commit_due(&self) -> bool {
        self.written >= COMMIT_LEN
    }

    /// Whether so much is not yet durable, or the segment so long for want of another, that nothing more should be
    /// taken on.
    pub(crate) fn is_congested(&self) -> bool {
        self.not_durable + self.batch.len() >= CONGESTED_LEN || self.end >= LONGEST
    }

    /// Whether the segment should be followed by another.
    pub(crate) fn is_full(&self) -> bool {
        self.end >= self.segment_len
    }

    /// Whether something was appended since the last commit began.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.batch.is_empty() || !self.writes.is_empty()
    }

    /// The sequence number of the commit that will hold what is appended now.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.begun
    }

    /// Begins to write the batch.
    pub(crate) fn submit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let bytes = std::mem::replace(&mut self.batch, self.free.pop().unwrap_or_default());
        let len = bytes.len();
        let offset = self.end - u32::try_from(len).expect("a batch is short");
        let at = Location {
            segment: self.number,
            offset,
        };
        self.written += len;
        self.not_durable += len;
        let disk = self.disk.clone();
        self.writes.push(spawn_local(async move {
            let (result, bytes) = disk.write(bytes, offset).await;
            (result, Batch { at, bytes })
        }));
    }

    /// Begins to make durable all that was appended.
    pub(crate) fn commit(&mut self) {
        self.submit();
        if self.writes.is_empty() {
            return;
        }
        let writes = std::mem::take(&mut self.writes);
        self.written = 0;
        let sequence = self.begun;
        self.begun += 1;
        self.begun_at.push_back(Instant::now());
        let disk = self.disk.clone();
        self.commits.push_back(spawn_local(async move {
            let mut batches = Vec::with_capacity(writes.len());
            let mut result = Ok(());
            for write in writes {
                let (written, batch) = write.await.expect("a write does not panic");
                result = result.and(written);
                batches.push(batch);
            }
            if result.is_ok() {
                result = disk.sync().await;
            }
            Commit {
                sequence,
                result,
                batches,
            }
        }));
    }

    /// The oldest commit under way, once it has come to its end. Pending while there is none.
    pub(crate) fn poll_commit(&mut self, cx: &mut Context<'_>) -> Poll<Commit> {
        match Pin::new(&mut self.commits).poll_next(cx) {
            Poll::Ready(Some(commit)) => {
                self.begun_at.pop_front();
                Poll::Ready(commit.expect("a commit does not panic"))
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Whether commits are under way.
    pub(crate) fn is_committing(&self) -> bool {
        !self.commits.is_empty()
    }

    /// How many commits are under way.
    pub(crate) fn committing(&self) -> usize {
        self.commits.len()
    }

    /// When the oldest commit under way began.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.begun_at.front().copied()
    }

    /// Takes the buffers of a commit that went well.
    pub(crate) fn reclaim(&mut self, commit: Commit) {
        for mut batch in commit.batches {
            self.not_durable -= batch.bytes.len();
            if self.free.len() < KEPT_BUFFERS {
                batch.bytes.clear();
                self.free.push(batch.bytes);
            }
        }
    }

    /// Begins another segment, if it is prepared; else false. All that was appended must have been given to a commit.
    pub(crate) fn roll(&mut self) -> io::Result<bool> {
        assert!(!self.is_dirty(), "a commit is within one segment");
        let Some(file) = self.spare.take() else {
            return Ok(false);
        };
        let number = self.number + 1;
        // If this fails the file is prepared anew, wherever it has got to.
        segment::adopt(&self.dir, &file, number)?;
        self.number = number;
        self.disk = open(file, self.io, &self.dir, number);
        self.end = segment::START;
        self.make_spare();
        Ok(true)
    }

    /// Deletes a segment that nobody needs.
    pub(crate) fn delete(&self, number: u32) {
        #[cfg(test)]
        faults::removed(&self.dir, &segment::path(&self.dir, number));
        match std::fs::remove_file(segment::path(&self.dir, number)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(number, error = %err, "a segment of the spool cannot be deleted");
            }
            _ => {}
        }
    }

    /// All that is not durable after `failed` has failed: its own batches, those of the commits after it, whether or
    /// not they went well, and what was not yet committed.
    pub(crate) async fn unwritten(&mut self, failed: Commit) -> Unwritten {
        self.commit();
        let mut batches = failed.batches;
        while self.is_committing() {
            let commit = NextCommit(self).await;
            batches.extend(commit.batches);
        }
        Unwritten(batches)
    }

    /// Gives what is unwritten, and what was appended since, its places in a new segment.
    pub(crate) fn relocate(&mut self, unwritten: &mut Unwritten) -> Moves {
        assert!(
            self.writes.is_empty() && self.commits.is_empty(),
            "nothing is written beside what is written again"
        );
        if !self.batch.is_empty() {
            let bytes = std::mem::take(&mut self.batch);
            let offset = self.end - u32::try_from(bytes.len()).expect("a batch is short");
            unwritten.0.push(Batch {
                at: Location {
                    segment: self.number,
                    offset,
                },
                bytes,
            });
        }
        self.number += 1;
        let mut moves = Moves(Vec::with_capacity(unwritten.0.len()));
        let mut offset = segment::START;
        for batch in &mut unwritten.0 {
            let to = Location {
                segment: self.number,
                offset,
            };
            moves.0.push((batch.at, batch.bytes.len(), to));
            batch.at = to;
            offset += u32::try_from(batch.bytes.len()).expect("what is unwritten is bounded");
        }
        self.end = offset;
        for batch in &mut unwritten.0 {
            renew_heads(&mut batch.bytes, self.number, &moves);
        }
        moves
    }

    /// Writes what was relocated and makes it durable.
    pub(crate) async fn rewrite(&mut self, unwritten: Unwritten) -> Result<(), (io::Error, Unwritten)> {
        let file = match segment::create(&self.dir, self.number, reserve(self.segment_len)) {
            Ok(file) => file,
            Err(err) => return Err((err, unwritten)),
        };
        let disk = open(file, self.io, &self.dir, self.number);
        let mut result = Ok(());
        let mut written = Vec::with_capacity(unwritten.0.len());
        for Batch { at, bytes } in unwritten.0 {
            let (outcome, bytes) = disk.write(bytes, at.offset).await;
            result = result.and(outcome);
            written.push(Batch { at, bytes });
        }
        if result.is_ok() {
            result = disk.sync().await;
        }
        match result {
            Ok(()) => {
                self.disk = disk;
                self.not_durable = 0;
                Ok(())
            }
            Err(err) => {
                #[cfg(test)]
                faults::removed(&self.dir, &segment::path(&self.dir, self.number));
                drop(std::fs::remove_file(segment::path(&self.dir, self.number)));
                Err((err, Unwritten(written)))
            }
        }
    }
}

impl Unwritten {
    /// The kinds and payloads of all frames.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (FrameKind, &[u8])> {
        self.0.iter().flat_map(|batch| {
            let mut rest = &batch.bytes[..];
            std::iter::from_fn(move || {
                let head = rest.first_chunk().and_then(FrameHead::parse)?;
                let (frame, after) = rest.split_at_checked(HEAD_LEN + head.len as usize)?;
                rest = after;
                Some((head.kind, &frame[HEAD_LEN..]))
            })
        })
    }
}

fn renew_heads(bytes: &mut [u8], number: u32, moves: &Moves) {
    let mut rest = bytes;
    while let Some(mut head) = rest.first_chunk().and_then(FrameHead::parse) {
        let (frame, after) = rest.split_at_mut(HEAD_LEN + head.len as usize);
        head.previous = head.previous.map(|location| moves.follow(location));
        let (old, payload) = frame.split_at_mut(HEAD_LEN);
        old.copy_from_slice(&head.encode(number, Hash::of(&[payload])));
        rest = after;
    }
}

fn open(
    file: File,
    io: Io,
    #[cfg_attr(not(test), expect(unused, reason = "for faults"))] dir: &Path,
    #[cfg_attr(not(test), expect(unused, reason = "for faults"))] number: u32,
) -> Disk {
    Disk::new(
        file,
        io,
        #[cfg(test)]
        faults::Watched::new(dir, segment::path(dir, number)),
    )
}

/// A segment's length and room for the batches that take it past that.
fn reserve(segment_len: u32) -> u64 {
    u64::from(segment_len) + 2 * BATCH_LEN as u64
}

struct NextCommit<'a>(&'a mut Spool);

impl Future for NextCommit<'_> {
    type Output = Commit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Commit> {
        self.0.poll_commit(cx)
    }
}
/// What the names of files that end with `suffix` say, of those of which `parse` knows what it is.
pub(crate) fn named<T>(dir: &Path, suffix: &str, parse: impl Fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(suffix));
        found.extend(stem.and_then(&parse));
    }
    Ok(found)
}
