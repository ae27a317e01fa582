//! The archive's thread: puts finished recordings together and into the object store, and reports them.
//!
//! Order for each: into the store, reported, durable there and in the index together with others, its side file deleted,
//! the recorder told, which marks it in the spool and frees its segments. A crash in between leaves the recording in the spool, so
//! that the next start does it again with the same bytes under the same name.
//!
//! What the store does not take is tried again for as long as the process lives; meanwhile it stays in the spool and
//! costs disk, not sessions.

mod recovery;
mod side;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Datelike};
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path as ObjectPath};
use tokio::sync::{mpsc, watch};
use ulid::Ulid;
use weir_record::{End, MAX_CHUNK_LEN, Signer};

use self::side::Sides;
use crate::recorder::{Finished, Handover, Message, OnFinished, SyncStore, TIMED, URGENT};
use crate::spool::frame::Location;
use crate::spool::segment::{self, Have, Origin, Segment};

/// Recordings that are put into the store at the same time.
const UPLOADS: usize = 4;
/// A recording no longer than this is put at once, a longer one in parts of this length: S3 wants 5 MiB at least.
const PART_LEN: usize = 8 * 1024 * 1024;
/// Between attempts; doubled up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Recordings that are made durable in the store together, the bytes from which there need not be as many, and how
/// long the first of them waits for others.
const TOGETHER: usize = 256;
const TOGETHER_LEN: u64 = 64 * 1024 * 1024;
const TOGETHER_WAIT: Duration = Duration::from_secs(2);

/// The recorder's handle to the thread.
pub(crate) struct Archive(mpsc::UnboundedSender<Job>);

pub(crate) struct Setup {
    /// The spool's directory.
    pub(crate) dir: PathBuf,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) sync_store: Option<SyncStore>,
    pub(crate) signer: Signer,
    pub(crate) on_finished: OnFinished,
    pub(crate) on_recovered: Box<dyn FnOnce() + Send>,
    pub(crate) handover: Arc<Handover>,
    /// Segments that an earlier process left.
    pub(crate) left: Vec<u32>,
}

/// Bounded by what they speak of, which is on disk.
enum Job {
    Upload(Box<Upload>),
    CopyOut { through: u32, sessions: Vec<Ulid> },
    Close,
}

/// A recording whose parts are all durable.
pub(crate) struct Upload {
    session: Ulid,
    started_us: u64,
    end: End,
    /// Its last frame, if it has any that was not copied out.
    last: Option<Location>,
    /// The last chunk where that is not in the spool.
    end_bytes: Vec<u8>,
    /// For one that an earlier process left: when its spool was last written to, microseconds since 1970-01-01 UTC.
    recovered_us: Option<u64>,
}

impl Upload {
    pub(crate) fn new(session: Ulid, started_us: u64, end: End, last: Option<Location>) -> Self {
        Upload {
            session,
            started_us,
            end,
            last,
            end_bytes: Vec::new(),
            recovered_us: None,
        }
    }
}

impl Archive {
    pub(crate) fn start(setup: Setup) -> io::Result<(Self, JoinHandle<()>)> {
        let (sender, jobs) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("archive".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(UPLOADS)
                    .thread_name("archive-io")
                    .build();
                match runtime {
                    Ok(runtime) => runtime.block_on(run(setup, jobs)),
                    Err(err) => tracing::error!(error = %err, "finished recordings stay in the spool"),
                }
            })?;
        Ok((Archive(sender), thread))
    }

    pub(crate) fn upload(&self, upload: Upload) {
        self.send(Job::Upload(Box::new(upload)));
    }

    /// Copies what the segments up to `through` hold of these sessions into files of their own.
    pub(crate) fn copy_out(&self, through: u32, sessions: Vec<Ulid>) {
        self.send(Job::CopyOut { through, sessions });
    }

    /// Ends once each recording has been tried.
    pub(crate) fn close(&self) {
        self.send(Job::Close);
    }

    fn send(&self, job: Job) {
        // Without the thread everything stays in the spool for the next start.
        drop(self.0.send(job));
    }
}

/// What uploads share.
struct Shelf {
    dir: PathBuf,
    store: Arc<dyn ObjectStore>,
    sync_store: Option<SyncStore>,
    on_finished: OnFinished,
    handover: Arc<Handover>,
    sides: Sides,
    closing: watch::Receiver<bool>,
}

async fn run(setup: Setup, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let (close, closing) = watch::channel(false);
    let first_own = setup.left.last().map_or(0, |last| last + 1);
    let mut sides = Sides::new(setup.dir.clone());
    let mut waiting = VecDeque::new();
    let mut left = setup.left;
    match recovery::recover(&setup.dir, &left, &setup.signer, &mut sides) {
        Ok(recovered) => waiting.extend(recovered),
        Err(err) => {
            tracing::error!(error = %err, "what an earlier process left in the spool cannot be read, and stays there");
            left.clear();
        }
    }
    // Of an earlier process's recordings, those that it still takes to let go of its segments.
    let mut recovering = waiting.len();
    let mut on_recovered = Some(setup.on_recovered);
    let shelf = Rc::new(Shelf {
        dir: setup.dir,
        store: setup.store,
        sync_store: setup.sync_store,
        on_finished: setup.on_finished,
        handover: setup.handover,
        sides,
        closing,
    });
    let mut uploads = FuturesUnordered::new();
    let mut stored: Vec<Stored> = Vec::new();
    let mut pause = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    let mut is_closing = false;
    loop {
        if recovering == 0 {
            left.drain(..)
                .for_each(|number| drop(std::fs::remove_file(segment::path(&shelf.dir, number))));
            if let Some(tell) = on_recovered.take() {
                tell();
            }
        }
        while uploads.len() < UPLOADS
            && let Some(upload) = waiting.pop_front()
        {
            uploads.push(Rc::clone(&shelf).finish(upload));
        }
        let is_last = is_closing && uploads.is_empty();
        let is_much = stored.len() >= TOGETHER
            || stored.iter().map(|one| one.object_bytes).sum::<u64>() >= TOGETHER_LEN;
        if is_much || ((is_last || shelf.sync_store.is_none()) && !stored.is_empty()) {
            recovering -= shelf.let_go(&mut stored).await;
        }
        if is_last {
            drop(shelf.handover.send(Message::ArchiveClosed, URGENT));
            return;
        }
        tokio::select! {
            job = jobs.recv(), if !is_closing => match job {
                Some(Job::Upload(upload)) => waiting.push_back(*upload),
                Some(Job::CopyOut { through, sessions }) => {
                    let message = match shelf.sides.copy_out(first_own..=through, &sessions) {
                        Ok(()) => Message::Copied { through, sessions },
                        Err(err) => {
                            tracing::warn!(error = %err, "the spool cannot be thinned out");
                            Message::NotCopied
                        }
                    };
                    drop(shelf.handover.send(message, URGENT));
                }
                Some(Job::Close) => {
                    is_closing = true;
                    close.send_replace(true);
                }
                // The recorder's thread is gone without a farewell.
                None => return,
            },
            Some(done) = uploads.next() => {
                if stored.is_empty() {
                    pause.as_mut().reset(tokio::time::Instant::now() + TOGETHER_WAIT);
                }
                stored.extend(done);
            }
            () = pause.as_mut(), if !stored.is_empty() => recovering -= shelf.let_go(&mut stored).await,
        }
    }
}

/// A recording that the store has taken.
struct Stored {
    session: Ulid,
    object_bytes: u64,
    is_recovered: bool,
}

impl Shelf {
    /// Brings a recording into the store, however long that takes; `None` if it is left in the spool.
    async fn finish(self: Rc<Self>, upload: Upload) -> Option<Stored> {
        let object = object_path(upload.session, upload.started_us);
        let mut backoff = BACKOFF.0;
        let object_bytes = loop {
            match self.put(&upload, &object).await {
                Ok(len) => break len,
                Err(err) => {
                    tracing::warn!(session = %upload.session, error = %err, "a recording cannot be put into the store");
                }
            }
            let mut closing = self.closing.clone();
            let closed = std::pin::pin!(closing.wait_for(|closing| *closing));
            let pause = std::pin::pin!(tokio::time::sleep(backoff));
            if let Either::Left(_) = select(closed, pause).await {
                return None;
            }
            backoff = (backoff * 2).min(BACKOFF.1);
        };
        (self.on_finished)(Finished {
            session: upload.session,
            object: object.to_string(),
            bytes: upload.end.plaintext_bytes,
            object_bytes,
            started_us: upload.started_us,
            duration: upload.end.duration,
            ended_us: match upload.end.duration {
                Some(duration) => upload
                    .started_us
                    .saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
                None => upload.recovered_us.unwrap_or(upload.started_us),
            },
            status: upload.end.status,
            recovered: upload.recovered_us.is_some(),
        });
        Some(Stored {
            session: upload.session,
            object_bytes,
            is_recovered: upload.recovered_us.is_some(),
        })
    }

    /// Makes the stored recordings durable and gives back what they hold in the spool. Returns how many of them an
    /// earlier process had left. If the store cannot be synced, the spool keeps them until the next start.
    async fn let_go(&self, stored: &mut Vec<Stored>) -> usize {
        if let Some(sync) = self.sync_store.clone() {
            let synced = tokio::task::spawn_blocking(move || sync()).await;
            if let Err(err) = synced.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                tracing::warn!(error = %err, "the store cannot be synced: finished recordings stay in the spool too");
                // They are in the store: the worst of forgetting them here is that the next start puts them there again.
                stored.clear();
                return 0;
            }
        }
        let recovered = stored.iter().filter(|one| one.is_recovered).count();
        let sessions: Vec<_> = stored.drain(..).map(|one| one.session).collect();
        sessions.iter().for_each(|session| self.sides.delete(*session));
        drop(self.handover.send(Message::Archived(sessions), TIMED));
        recovered
    }

    /// Returns the object's length.
    async fn put(&self, upload: &Upload, object: &ObjectPath) -> Result<u64, PutError> {
        let mut parts = Parts::begin(&self.dir, &self.sides, upload)?;
        let first = parts.next()?;
        if parts.is_done() {
            let len = first.len() as u64;
            self.store.put(object, PutPayload::from_bytes(first)).await?;
            return Ok(len);
        }
        let mut multipart = self.store.put_multipart(object).await?;
        let mut len = 0;
        let mut part = first;
        let result = loop {
            len += part.len() as u64;
            if let Err(err) = multipart.put_part(PutPayload::from_bytes(part)).await {
                break Err(err.into());
            }
            if parts.is_done() {
                break Ok(());
            }
            match parts.next() {
                Ok(next) => part = next,
                Err(err) => break Err(err.into()),
            }
        };
        let result = match result {
            Ok(()) => multipart.complete().await.map(drop).map_err(PutError::from),
            Err(err) => Err(err),
        };
        if result.is_err() {
            // It would cost space in some stores; where this fails too, their own clean-up remains.
            drop(multipart.abort().await);
        }
        result.map(|()| len)
    }
}

/// Why a recording is not in the store.
#[derive(Debug, thiserror::Error)]
enum PutError {
    #[error("the spool cannot be read: {0}")]
    Spool(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

/// A recording's bytes from wherever they are, in parts.
struct Parts<'a> {
    dir: &'a Path,
    side: Option<std::fs::File>,
    frames: std::vec::IntoIter<Location>,
    segment: Option<(u32, Segment)>,
    end: &'a [u8],
}

impl<'a> Parts<'a> {
    fn begin(dir: &'a Path, sides: &Sides, upload: &'a Upload) -> io::Result<Self> {
        let (have, side) = match sides.open(upload.session)? {
            Some((next, file)) => (Have::ChunksBefore(next), Some(file)),
            None => (Have::Nothing, None),
        };
        let frames = match upload.last {
            Some(last) => segment::trace(dir, last, have)?,
            None => Vec::new(),
        };
        Ok(Parts {
            dir,
            side,
            frames: frames.into_iter(),
            segment: None,
            end: &upload.end_bytes,
        })
    }

    fn is_done(&self) -> bool {
        self.side.is_none() && self.frames.len() == 0 && self.end.is_empty()
    }

    /// The next part: the whole rest if that is short, else [`PART_LEN`] and at most one chunk more.
    fn next(&mut self) -> io::Result<Bytes> {
        let few = self.side.is_none() && self.frames.len() * MAX_CHUNK_LEN < PART_LEN;
        let mut part = Vec::with_capacity(if few { 4096 } else { PART_LEN + MAX_CHUNK_LEN });
        if let Some(file) = &mut self.side {
            let read = io::Read::read_to_end(&mut io::Read::take(file, PART_LEN as u64), &mut part)?;
            if read < PART_LEN {
                self.side = None;
            }
        }
        while part.len() < PART_LEN
            && let Some(location) = self.frames.next()
        {
            if self
                .segment
                .as_ref()
                .is_none_or(|(number, _)| *number != location.segment)
            {
                let segment = Segment::open(self.dir, location.segment, Origin::Ours)?;
                self.segment = Some((location.segment, segment));
            }
            if let Some((_, segment)) = &self.segment {
                segment.payload(location.offset, &mut part)?;
            }
        }
        if part.len() < PART_LEN {
            part.extend_from_slice(std::mem::take(&mut self.end));
        }
        Ok(part.into())
    }
}

/// `YYYY/MM/DD/<session>.weir`: the UTC day on which the session started, so that a listing by day, a
/// retention rule and a person looking for last Tuesday need no index.
fn object_path(session: Ulid, started_us: u64) -> ObjectPath {
    let day = i64::try_from(started_us)
        .ok()
        .and_then(DateTime::from_timestamp_micros)
        .unwrap_or_default();
    let (year, month, day) = (day.year(), day.month(), day.day());
    ObjectPath::from(format!("{year:04}/{month:02}/{day:02}/{session}.weir"))
}

/// What recovery makes of one session, without a store.
#[cfg(test)]
pub(crate) fn recovered_bytes(dir: &Path, left: &[u32], signer: &Signer, session: Ulid) -> Option<Vec<u8>> {
    let mut sides = Sides::new(dir.to_owned());
    let uploads = recovery::recover(dir, left, signer, &mut sides).unwrap();
    let upload = uploads.into_iter().find(|upload| upload.session == session)?;
    let mut parts = Parts::begin(dir, &sides, &upload).unwrap();
    let bytes = parts.next().unwrap();
    assert!(parts.is_done());
    Some(bytes.into())
}

/// The same of all sessions.
#[cfg(test)]
pub(crate) fn recover_all(dir: &Path, left: &[u32], signer: &Signer) -> Vec<(Ulid, Vec<u8>)> {
    let mut sides = Sides::new(dir.to_owned());
    let uploads = recovery::recover(dir, left, signer, &mut sides).unwrap();
    let bytes = |upload: &Upload| {
        let mut parts = Parts::begin(dir, &sides, upload).unwrap();
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(&parts.next().unwrap());
            if parts.is_done() {
                return bytes;
            }
        }
    };
    uploads
        .iter()
        .map(|upload| (upload.session, bytes(upload)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_filed_under_the_day_in_utc() {
        let session = Ulid::from_parts(1_700_000_000_000, 1);
        let path = object_path(session, 1_700_000_000_000_000);
        assert_eq!(path.to_string(), format!("2023/11/14/{session}.weir"));
    }
}
