//! The archive's thread: puts finished recordings together and into the object store, and reports them.
//!
//! ```text
//! upload ─▶ fresh ──┐                     ┌─▶ stored ─▶ settled: durable there, reported, in the index
//!                   ├─▶ under way, by put ┤                │ fails: again, later
//!           again ──┘◀────────────────────┘ fails          ▼
//!          (each in its own time)                     let go of: side file and segments are freed
//! ```
//!
//! A crash between two steps leaves the recording in the spool, so that the next start does it again with the same bytes
//! under the same name.
//!
//! What the store does not take is tried again for as long as the process lives; meanwhile it stays in the spool and costs disk (and some
//! 400 bytes of memory), not sessions. How often it is tried is [`Patience`]'s affair, how much memory that takes [`put`]'s.

mod backlog;
mod parts;
mod patience;
mod put;
mod recovery;
mod side;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, Datelike};
use futures_util::stream::{FuturesUnordered, StreamExt};
use object_store::path::Path as ObjectPath;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use ulid::Ulid;
use weir_objects::Objects;
use weir_record::{End, Signer};

use self::patience::Patience;
use self::put::PutError;
use self::side::Sides;
use crate::recorder::notes;
use crate::recorder::watching::Missed;
use crate::recorder::{Finished, Handover, Message, OnFinished, SyncStore, TIMED, URGENT};
use crate::spool::frame::Location;
use crate::spool::segment;

pub(crate) use self::backlog::{Backlog, Look};

/// Recordings that are put into the store at the same time.
const UPLOADS: usize = 4;

/// Recordings that are made durable in the store together, the bytes from which there need not be as many, and how
/// long the first of them waits for others.
const TOGETHER: usize = 256;
const TOGETHER_LEN: u64 = 64 * 1024 * 1024;
const TOGETHER_WAIT: Duration = Duration::from_secs(2);

/// At a shutdown, how long nothing may come into the store before the rest is left to the next start.
const CLOSING_LIMIT: Duration = Duration::from_secs(20);

/// The recorder's handle to the thread.
pub(crate) struct Archive {
    jobs: mpsc::UnboundedSender<Job>,
    backlog: Arc<Backlog>,
}

pub(crate) struct Setup {
    /// The spool's directory.
    pub(crate) dir: PathBuf,
    pub(crate) store: Objects,
    pub(crate) sync_store: Option<SyncStore>,
    pub(crate) signer: Signer,
    pub(crate) on_finished: OnFinished,
    pub(crate) on_recovered: Box<dyn FnOnce() + Send>,
    pub(crate) handover: Arc<Handover>,
    pub(crate) backlog: Arc<Backlog>,
    /// Segments that an earlier process left.
    pub(crate) left: Vec<u32>,
    /// The thread's clock stands still while it works and leaps while it waits.
    #[cfg(test)]
    pub(crate) virtual_time: bool,
}

/// Bounded by what they speak of, which is on disk.
enum Job {
    Upload(Box<Upload>),
    CopyOut { through: u32, sessions: Vec<Ulid> },
    Find(Box<Missed>),
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
    /// How often it could not be put.
    failures: u32,
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
            failures: 0,
        }
    }

    fn object(&self) -> ObjectPath {
        object_path(self.session, self.started_us)
    }
}

impl Archive {
    pub(crate) fn start(setup: Setup) -> io::Result<(Self, JoinHandle<()>)> {
        let (sender, jobs) = mpsc::unbounded_channel();
        let backlog = Arc::clone(&setup.backlog);
        let thread = std::thread::Builder::new()
            .name("archive".to_owned())
            .spawn(move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder
                    .enable_all()
                    .max_blocking_threads(UPLOADS)
                    .thread_name("archive-io");
                #[cfg(test)]
                builder.start_paused(setup.virtual_time);
                match builder.build() {
                    Ok(runtime) => runtime.block_on(run(setup, jobs)),
                    Err(err) => tracing::error!(error = %err, "finished recordings stay in the spool"),
                }
            })?;
        let archive = Archive {
            jobs: sender,
            backlog,
        };
        Ok((archive, thread))
    }

    pub(crate) fn upload(&self, upload: Upload) {
        self.backlog.add(&upload);
        self.send(Job::Upload(Box::new(upload)));
    }

    /// Copies what the segments up to `through` hold of these sessions into files of their own.
    pub(crate) fn copy_out(&self, through: u32, sessions: Vec<Ulid>) {
        self.send(Job::CopyOut { through, sessions });
    }

    /// Finds a session's chunks for somebody who watches it.
    pub(crate) fn find(&self, missed: Missed) {
        self.send(Job::Find(Box::new(missed)));
    }

    /// Ends once each recording has been tried, or the store is known to be away.
    pub(crate) fn close(&self) {
        self.send(Job::Close);
    }

    fn send(&self, job: Job) {
        // Without the thread everything stays in the spool for the next start.
        drop(self.jobs.send(job));
    }
}

/// What uploads share.
struct Shelf {
    dir: PathBuf,
    store: Objects,
    sides: Sides,
    /// Mebibytes of parts that may be under way.
    room: Arc<Semaphore>,
}

/// A recording that the store has taken.
struct Stored {
    session: Ulid,
    object_bytes: u64,
    is_recovered: bool,
}

async fn run(setup: Setup, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut uploads = FuturesUnordered::new();
    let mut desk = Desk::open(setup);
    desk.look_at_store();
    loop {
        desk.free_what_was_left();
        while let Some(upload) = desk.next(uploads.len()) {
            let shelf = Rc::clone(&desk.shelf);
            uploads.push(async move {
                let result = put::put(&shelf, &upload).await;
                (upload, result)
            });
        }
        desk.settle(uploads.is_empty());
        if desk.is_done(uploads.is_empty()) {
            drop(desk.handover.send(Message::ArchiveClosed, URGENT));
            return;
        }
        let wake = desk.wake();
        tokio::select! {
            // What has been done makes room for what is to be done.
            biased;
            Some((upload, result)) = uploads.next() => desk.has_put(upload, result),
            Some(result) = settled(&mut desk.settling) => desk.has_settled(result),
            job = jobs.recv(), if !desk.is_closing => match job {
                Some(job) => desk.job(job),
                // The recorder's thread is gone without a farewell.
                None => return,
            },
            () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
    }
}

/// Who knows what waits, what is under way and what has come of it.
struct Desk {
    shelf: Rc<Shelf>,
    sync_store: Option<SyncStore>,
    on_finished: OnFinished,
    handover: Arc<Handover>,
    backlog: Arc<Backlog>,
    /// Not tried yet, the oldest first.
    fresh: VecDeque<Upload>,
    /// Tried in vain, by when each is tried again.
    again: BTreeMap<(Instant, Ulid), Upload>,
    patience: Patience,
    stored: Vec<Stored>,
    /// When what is stored is settled; meaningless while nothing is.
    settle_at: Instant,
    settling: Option<Settling>,
    settle_failures: u32,
    is_closing: bool,
    /// While closing, when the rest is left to the next start.
    give_up_at: Instant,
    /// In a row.
    closing_failures: usize,
    first_own: u32,
    left: Vec<u32>,
    /// Of an earlier process's recordings, those that it still takes to let go of its segments.
    recovering: usize,
    on_recovered: Option<Box<dyn FnOnce() + Send>>,
}

/// Recordings that are being made durable and confirmed.
struct Settling {
    batch: Vec<Stored>,
    result: tokio::task::JoinHandle<io::Result<()>>,
}

/// The end of a settling, if there is one.
async fn settled(settling: &mut Option<Settling>) -> Option<io::Result<()>> {
    let result = (&mut settling.as_mut()?.result).await;
    Some(result.unwrap_or_else(|panic| Err(io::Error::other(panic))))
}

impl Desk {
    fn open(setup: Setup) -> Self {
        let first_own = setup.left.last().map_or(0, |last| last + 1);
        let mut sides = Sides::new(setup.dir.clone());
        let mut left = setup.left;
        let fresh: VecDeque<_> = match recovery::recover(&setup.dir, &left, &setup.signer, &mut sides) {
            Ok(recovered) => recovered.into(),
            Err(err) => {
                tracing::error!(error = %err, "what an earlier process left in the spool cannot be read, and stays there");
                left.clear();
                VecDeque::new()
            }
        };
        fresh.iter().for_each(|upload| setup.backlog.add(upload));
        Desk {
            shelf: Rc::new(Shelf {
                dir: setup.dir,
                store: setup.store,
                sides,
                room: Arc::new(Semaphore::new(put::ROOM_MIB as usize)),
            }),
            sync_store: setup.sync_store,
            on_finished: setup.on_finished,
            handover: setup.handover,
            backlog: setup.backlog,
            recovering: fresh.len(),
            fresh,
            again: BTreeMap::new(),
            patience: Patience::new(UPLOADS),
            stored: Vec::new(),
            settle_at: Instant::now(),
            settling: None,
            settle_failures: 0,
            is_closing: false,
            give_up_at: Instant::now(),
            closing_failures: 0,
            first_own,
            left,
            on_recovered: Some(setup.on_recovered),
        }
    }

    /// Says at the start whether the store can be had; sessions do not wait for the answer.
    fn look_at_store(&self) {
        let (store, backlog) = (self.shelf.store.clone(), Arc::clone(&self.backlog));
        tokio::spawn(async move {
            match store.probe().await {
                Ok(()) => tracing::info!(store = %store.place(), "recordings go to the store"),
                Err(problem) => {
                    tracing::warn!(%problem, "the store is away: recordings wait in the spool");
                    backlog.set_problem(Some(problem));
                }
            }
        });
    }

    /// Frees an earlier process's segments when nothing needs them any more.
    fn free_what_was_left(&mut self) {
        if self.recovering > 0 {
            return;
        }
        let dir = &self.shelf.dir;
        self.left
            .drain(..)
            .for_each(|number| drop(std::fs::remove_file(segment::path(dir, number))));
        if let Some(tell) = self.on_recovered.take() {
            tell();
        }
    }

    /// What is to be put now, with so many under way.
    fn next(&mut self, under_way: usize) -> Option<Upload> {
        let now = Instant::now();
        if !self.is_closing && !self.patience.permits(now, under_way) || under_way >= UPLOADS {
            return None;
        }
        let due = self
            .again
            .first_key_value()
            .map(|(key, _)| *key)
            .filter(|(at, _)| *at <= now || self.is_closing);
        let prefers_fresh = self.patience.prefers_fresh() && !self.fresh.is_empty();
        match due {
            Some(key) if !prefers_fresh => self.again.remove(&key),
            _ => self.fresh.pop_front(),
        }
    }

    fn has_put(&mut self, upload: Upload, result: Result<u64, PutError>) {
        let now = Instant::now();
        match result {
            Ok(object_bytes) => {
                if self.patience.succeeded() {
                    tracing::info!(waiting = self.backlog.len(), "the store takes recordings again");
                }
                self.backlog.set_problem(None);
                self.give_up_at = now + CLOSING_LIMIT;
                self.closing_failures = 0;
                self.has_stored(&upload, object_bytes);
            }
            Err(error) => self.has_failed(upload, &error, now),
        }
    }

    fn has_failed(&mut self, mut upload: Upload, error: &PutError, now: Instant) {
        let problem = match error {
            PutError::Store(error) => self.shelf.store.explain(error),
            PutError::Spool(_) => error.to_string(),
        };
        tracing::warn!(
            session = %upload.session, %problem, waiting = self.backlog.len(),
            "a recording cannot be put into the store, and stays in the spool"
        );
        self.backlog.set_problem(Some(problem));
        if matches!(error, PutError::Store(_)) {
            self.patience.failed(now, upload.failures == 0);
            self.closing_failures += 1;
        }
        if self.is_closing {
            if self.closing_failures >= UPLOADS {
                // The others would fare no better, and the next start does it.
                self.give_up();
            }
            return;
        }
        let at = now + patience::delay(upload.failures);
        upload.failures = upload.failures.saturating_add(1);
        self.again.insert((at, upload.session), upload);
    }

    fn has_stored(&mut self, upload: &Upload, object_bytes: u64) {
        (self.on_finished)(Finished {
            session: upload.session,
            object: upload.object().to_string(),
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
        if self.stored.is_empty() {
            self.settle_at = Instant::now() + TOGETHER_WAIT;
        }
        self.stored.push(Stored {
            session: upload.session,
            object_bytes,
            is_recovered: upload.recovered_us.is_some(),
        });
    }

    /// Begins to make durable what is stored, where it is time for that.
    fn settle(&mut self, is_idle: bool) {
        if self.settling.is_some() || self.stored.is_empty() {
            return;
        }
        let is_much = self.settle_failures == 0
            && (self.stored.len() >= TOGETHER
                || self.stored.iter().map(|one| one.object_bytes).sum::<u64>() >= TOGETHER_LEN);
        let is_last = self.is_closing && (is_idle || Instant::now() >= self.give_up_at);
        if !is_much && !is_last && Instant::now() < self.settle_at && self.sync_store.is_some() {
            return;
        }
        let sync = self.sync_store.clone();
        self.settling = Some(Settling {
            batch: std::mem::take(&mut self.stored),
            result: tokio::task::spawn_blocking(move || sync.map_or(Ok(()), |sync| sync())),
        });
    }

    /// Gives back what settled recordings hold in the spool.
    fn has_settled(&mut self, result: io::Result<()>) {
        let Some(Settling { batch, .. }) = self.settling.take() else {
            return;
        };
        if let Err(error) = result {
            tracing::warn!(%error, recordings = batch.len(), "finished recordings stay in the spool too, until this goes well");
            if self.is_closing {
                // They are in the store: the worst of forgetting them here is that the next start puts them there again.
                self.give_up();
                return;
            }
            self.settle_at = Instant::now() + patience::delay(self.settle_failures);
            self.settle_failures = self.settle_failures.saturating_add(1);
            self.stored.splice(..0, batch);
            return;
        }
        self.settle_failures = 0;
        self.settle_at = Instant::now() + TOGETHER_WAIT;
        self.recovering -= batch.iter().filter(|one| one.is_recovered).count();
        let sessions: Vec<_> = batch.into_iter().map(|one| one.session).collect();
        for session in &sessions {
            self.shelf.sides.delete(*session);
            notes::remove(&self.shelf.dir, *session);
            self.backlog.remove(*session);
        }
        drop(self.handover.send(Message::Archived(sessions), TIMED));
    }

    fn job(&mut self, job: Job) {
        match job {
            Job::Upload(upload) => self.fresh.push_back(*upload),
            Job::CopyOut { through, sessions } => {
                let message = match self.shelf.sides.copy_out(self.first_own..=through, &sessions) {
                    Ok(()) => Message::Copied { through, sessions },
                    Err(err) => {
                        tracing::warn!(error = %err, "the spool cannot be thinned out");
                        Message::NotCopied
                    }
                };
                drop(self.handover.send(message, URGENT));
            }
            Job::Find(missed) => {
                let sides = &self.shelf.sides;
                missed.answer(&self.shelf.dir, |session| sides.open_to_read(session));
            }
            Job::Close => {
                self.is_closing = true;
                self.give_up_at = Instant::now() + CLOSING_LIMIT;
                self.closing_failures = 0;
            }
        }
    }

    fn give_up(&mut self) {
        self.fresh.clear();
        self.again.clear();
        self.give_up_at = Instant::now();
    }

    /// Whether a shutdown need not go on.
    fn is_done(&self, is_idle: bool) -> bool {
        if !self.is_closing {
            return false;
        }
        let is_all = is_idle && self.fresh.is_empty() && self.again.is_empty();
        // What was stored before may still be settled: that is no affair of the store's.
        let is_settled = self.stored.is_empty() && self.settling.is_none();
        is_settled && (is_all || Instant::now() >= self.give_up_at)
    }

    /// When to look again, if nothing happens before.
    fn wake(&self) -> Option<Instant> {
        if self.is_closing {
            return (self.give_up_at > Instant::now()).then_some(self.give_up_at);
        }
        let next = self.again.first_key_value().map(|((at, _), _)| *at);
        let fresh = (!self.fresh.is_empty()).then(Instant::now);
        // With all places taken, an upload's end wakes.
        let put = next
            .into_iter()
            .chain(fresh)
            .min()
            .and_then(|at| self.patience.wake(at));
        let settle = (!self.stored.is_empty() && self.settling.is_none()).then_some(self.settle_at);
        put.into_iter().chain(settle).min()
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
pub(crate) fn recovered_bytes(
    dir: &std::path::Path,
    left: &[u32],
    signer: &Signer,
    session: Ulid,
) -> Option<Vec<u8>> {
    let mut sides = Sides::new(dir.to_owned());
    let uploads = recovery::recover(dir, left, signer, &mut sides).unwrap();
    let upload = uploads.into_iter().find(|upload| upload.session == session)?;
    let mut parts = parts::Parts::begin(dir, &sides, &upload).unwrap();
    let bytes = parts.next().unwrap();
    assert!(parts.is_done());
    Some(bytes.into())
}

/// The same of all sessions.
#[cfg(test)]
pub(crate) fn recover_all(dir: &std::path::Path, left: &[u32], signer: &Signer) -> Vec<(Ulid, Vec<u8>)> {
    let mut sides = Sides::new(dir.to_owned());
    let uploads = recovery::recover(dir, left, signer, &mut sides).unwrap();
    let bytes = |upload: &Upload| {
        let mut parts = parts::Parts::begin(dir, &sides, upload).unwrap();
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
