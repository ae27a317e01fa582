//! Recording sessions: the handle that each session holds, and the thread behind it.
//!
//! ```text
//! session's thread                    thread "recorder"                       thread "archive"
//! SessionRecording ─▶ hand-over ─▶ Scribe: events ─▶ chunks ─▶ Spool ─▶ disk ─▶ Archive ─▶ object store
//!        ▲            (bytes bounded)  one fdatasync per flush interval             │
//!        └── room, failure ◀───────────┘                        on_finished ◀───────┘
//! ```
//!
//! - What a session has handed over is durable one flush interval and one commit later at most; the thread looks at once only where
//!   much has come together, or where the session passes nothing on that is not durable.
//! - A commit that takes longer than the flush interval stops what is passed on, and one that takes seconds is a failure (`vigil`).
//! - A recording is in the object store before it is reported, and reported before its bytes in the spool are freed. A
//!   crash between two of these steps repeats the second: reports come at least once, and the session tells repeats.
//! - What a crash leaves in the spool is ended as interrupted and put into the store by the next start, while new
//!   sessions are already recorded.

#[cfg(test)]
mod crash_tests;
mod handover;
mod lent;
mod limits;
pub(crate) mod notes;
mod recording;
mod reports;
mod scribe;
#[cfg(test)]
pub(crate) mod tests;
mod trouble;
mod vigil;
pub(crate) mod watching;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ulid::Ulid;
use weir_objects::Objects;
use weir_record::{Recipients, SessionMeta, Signer, Status};

use crate::archive::{self, Archive, Backlog};
use crate::spool::{self, Spool, segment};

pub use lent::Lent;
pub(crate) use recording::Durability;
pub use recording::{Gap, SessionRecording};
pub(crate) use reports::start;

use handover::Begin;
pub(crate) use handover::{Handover, Message, OnFinished, SyncStore, TIMED, URGENT};
use notes::Notes;
use vigil::{Patience, Pulse};

/// How the recorder writes its spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpoolIo {
    /// io_uring where the kernel permits it, else plain calls.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// Plain calls on the recorder's thread.
    Plain,
}

/// What a recorder is started with.
pub struct RecorderConfig {
    /// Directory of the spool, made if it is missing; no two recorders may share one.
    pub spool_dir: PathBuf,
    /// Where finished recordings go.
    pub store: Objects,
    /// Makes durable what the store has taken, where a put that has returned is not ([`Objects::sync`]).
    /// Called for many recordings at once, before the spool lets go of them; until then a crash has them put again.
    pub sync_store: Option<Arc<dyn Fn() -> io::Result<()> + Send + Sync>>,
    /// How long recorded bytes may wait before they are durable.
    pub flush_interval: Duration,
    /// How long a commit may take before nothing more is passed on until it is over: what a crash costs is then no more than
    /// this and the flush interval have brought.
    pub commit_limit: Duration,
    /// How long the disk may not answer before sessions are no longer recorded.
    pub stall_limit: Duration,
    /// Ed25519 key that signs the ends of recordings.
    pub data_plane_key: weir_crypto::sign::PrivateKey,
    /// Bound on what sessions have handed over and the thread has not yet taken on, in bytes of memory: of what is lent,
    /// whole buffers.
    pub queue_bytes: usize,
    /// The same bound for one session.
    pub session_queue_bytes: usize,
    /// Length from which on a segment of the spool is followed by another, in bytes, at most 1 GiB.
    pub segment_bytes: u32,
    /// How the spool is written.
    pub io: SpoolIo,
    /// Called on the archive's thread for every recording that has come into the store.
    pub on_finished: Box<dyn Fn(Finished) + Send>,
    /// Called on that thread once everything that an earlier process left has come that far and been let go of; not at
    /// all if the store does not take it.
    pub on_recovered: Box<dyn FnOnce() + Send>,
    /// For the thread that puts recordings into the store: its clock leaps over every wait.
    #[cfg(test)]
    pub(crate) virtual_time: bool,
}

impl RecorderConfig {
    /// The defaults, with what has none.
    #[must_use]
    pub fn new(
        spool_dir: PathBuf,
        store: Objects,
        data_plane_key: weir_crypto::sign::PrivateKey,
        on_finished: Box<dyn Fn(Finished) + Send>,
    ) -> Self {
        RecorderConfig {
            spool_dir,
            store,
            sync_store: None,
            // A quarter of a second is what a crash may cost, and few enough syncs for any disk.
            flush_interval: Duration::from_millis(250),
            commit_limit: Duration::from_millis(250),
            // No disk that works takes that long, and few users wait longer before they look for help.
            stall_limit: Duration::from_secs(5),
            data_plane_key,
            // 250 ms of 256 MB/s.
            queue_bytes: 64 * 1024 * 1024,
            // Four of the worker's receive buffers.
            session_queue_bytes: 1024 * 1024,
            segment_bytes: 64 * 1024 * 1024,
            io: SpoolIo::Auto,
            on_finished,
            on_recovered: Box::new(|| ()),
            #[cfg(test)]
            virtual_time: false,
        }
    }
}

/// A recording that is in the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its session.
    pub session: Ulid,
    /// Its key in the store.
    pub object: String,
    /// Bytes of plaintext that were recorded.
    pub bytes: u64,
    /// Length of the object.
    pub object_bytes: u64,
    /// Start of the session, microseconds since 1970-01-01 UTC.
    pub started_us: u64,
    /// From start to end; unknown for a session that a crash interrupted.
    pub duration: Option<Duration>,
    /// End of the session, microseconds since 1970-01-01 UTC; after a crash, when its spool was last written to.
    pub ended_us: u64,
    /// How the session ended.
    pub status: Status,
    /// Whether this start found it left over in the spool.
    pub recovered: bool,
}

/// Why a recorder does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool's directory cannot be used.
    #[error("the spool {} cannot be used: {source}", dir.display())]
    Spool {
        /// Which directory.
        dir: PathBuf,
        /// What was wrong with it.
        source: io::Error,
    },
    /// Another process records there.
    #[error("the spool {} is in use by another process", dir.display())]
    InUse {
        /// Which directory.
        dir: PathBuf,
    },
    /// io_uring was asked for and is not to be had.
    #[error("io_uring is not available: {0}; set io to \"auto\" or \"epoll\"")]
    Uring(io::Error),
    /// The key is of another kind.
    #[error("the data plane's recording key is not an Ed25519 key")]
    Key,
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Why something is not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The recorder cannot write, or could not write this session.
    #[error("{0}")]
    Failed(String),
    /// The recorder's thread has ended.
    #[error("the recorder has stopped")]
    Stopped,
    /// The session went on reading although the recorder was full.
    #[error("more was handed to the recorder than it has room for")]
    Overrun,
}

/// What a session is promised of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How much is recorded of each stream of a channel without a terminal, in bytes; 0 for no bound.
    pub exec_limit: u64,
    /// What is past that bound is hashed.
    pub hashes_unrecorded: bool,
    /// A session that cannot be recorded ends. One that need not goes on, with a gap in its record.
    pub is_strict: bool,
    /// What it hands over is made durable at once, and [`SessionRecording::poll_durable`] tells when.
    pub is_sync: bool,
}

/// A running recorder. Clones are handles to the same one; dropped, the last one begins a shutdown and does not wait.
#[derive(Clone)]
pub struct Recorder(Arc<Running>);

struct Running {
    handover: Arc<Handover>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    backlog: Arc<Backlog>,
    uses_uring: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // A thread that is gone needs no telling.
        drop(self.handover.send(Message::Shutdown, URGENT));
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("uses_uring", &self.0.uses_uring)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts the threads. What an earlier process left in the spool is recovered while sessions are already recorded.
    ///
    /// # Errors
    /// If the spool cannot be used, or what was asked for is not to be had.
    pub fn start(config: RecorderConfig) -> Result<Self, StartError> {
        let dir = config.spool_dir;
        let unusable = |source| StartError::Spool {
            dir: dir.clone(),
            source,
        };
        let signer = Signer::new(config.data_plane_key).ok_or(StartError::Key)?;
        make_private_dir(&dir).map_err(unusable)?;
        let lock = lock(&dir)
            .map_err(unusable)?
            .ok_or_else(|| StartError::InUse { dir: dir.clone() })?;
        let left = segment::list(&dir).map_err(unusable)?;
        let number = left.last().map_or(1, |last| last + 1);
        let (runtime, uses_uring) = runtime(config.io)?;

        let notes = Notes::new(dir.clone());
        let (handover, messages) = Handover::new(config.queue_bytes, config.session_queue_bytes, notes);
        let pulse = Pulse::new();
        let patience = Patience {
            pause: config.commit_limit,
            stall: config.stall_limit,
        };
        let vigil =
            vigil::start(Arc::clone(&pulse), patience, Arc::clone(&handover)).map_err(StartError::Thread)?;
        let backlog = Arc::new(Backlog::new(dir.clone()));
        let (archive, archive_thread) = Archive::start(archive::Setup {
            dir: dir.clone(),
            store: config.store,
            sync_store: config.sync_store,
            signer: signer.clone(),
            on_finished: config.on_finished,
            on_recovered: config.on_recovered,
            handover: Arc::clone(&handover),
            backlog: Arc::clone(&backlog),
            left,
            #[cfg(test)]
            virtual_time: config.virtual_time,
        })
        .map_err(StartError::Thread)?;

        let io = if uses_uring {
            spool::Io::Uring
        } else {
            spool::Io::Plain
        };
        let segment_len = config.segment_bytes.min(1 << 30);
        let (started, has_started) = std::sync::mpsc::sync_channel(1);
        let shared = Arc::clone(&handover);
        let spool_dir = dir.clone();
        let recorder = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                let _lock = lock;
                let stopping = StopOnDrop(Arc::clone(&shared), Arc::clone(&pulse));
                runtime.run(async move {
                    match Spool::create(&spool_dir, io, number, segment_len) {
                        Ok(spool) => {
                            drop(started.send(Ok(())));
                            let setup = scribe::Setup {
                                handover: shared,
                                messages,
                                spool,
                                archive,
                                signer,
                                pulse,
                            };
                            scribe::run(setup, config.flush_interval).await;
                        }
                        Err(err) => drop(started.send(Err(err))),
                    }
                });
                drop(stopping);
            });
        let recorder = recorder.map_err(StartError::Thread)?;
        match has_started.recv() {
            Ok(Ok(())) => {}
            Ok(Err(source)) => return Err(unusable(source)),
            Err(_) => return Err(unusable(io::Error::other("the recorder's thread ended"))),
        }
        let threads = Mutex::new(vec![recorder, archive_thread, vigil]);
        Ok(Recorder(Arc::new(Running {
            handover,
            threads,
            backlog,
            uses_uring,
        })))
    }

    /// Whether the spool is written through io_uring.
    #[must_use]
    pub fn uses_uring(&self) -> bool {
        self.0.uses_uring
    }

    /// What waits for the store.
    pub(crate) fn backlog(&self) -> &Backlog {
        &self.0.backlog
    }

    /// Begins to record a session.
    ///
    /// # Errors
    /// If a strict one cannot be recorded at present, with the reason.
    pub fn begin(
        &self,
        meta: &SessionMeta,
        recipients: &Recipients,
        terms: Terms,
    ) -> Result<SessionRecording, RecordError> {
        let handover = &self.0.handover;
        if terms.is_strict
            && let Some(reason) = handover.trouble()
        {
            return Err(RecordError::Failed(reason));
        }
        let gate = handover.gate(meta.session);
        if handover.is_in_trouble() && handover.is_crowded() {
            // Beginnings must not pile up for as long as the trouble lasts.
            gate.fail("too many sessions wait to be recorded");
        }
        let begin = Box::new(Begin {
            meta: meta.clone(),
            recipients: recipients.clone(),
            gate: Arc::clone(&gate),
            terms,
        });
        let begun = handover.begin(begin);
        let recording = SessionRecording::new(Arc::clone(handover), gate, terms);
        match begun {
            Err(_) if terms.is_strict => Err(RecordError::Stopped),
            _ => Ok(recording),
        }
    }

    /// Ends: sessions that are still recorded are closed as interrupted, everything is made durable, and what is
    /// finished is put into the store, each once; what the store does not take is left for the next start. Returns when
    /// that is done.
    pub fn shutdown(&self) {
        // A thread that is gone needs no telling.
        drop(self.0.handover.send(Message::Shutdown, URGENT));
        let threads = std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the recorder panicked");
            }
        }
        self.0.handover.finish_notes();
    }

    /// Ends the threads as a kill of the process would: nothing more is written, ended or reported.
    #[cfg(test)]
    pub(crate) fn die(&self) {
        drop(self.0.handover.send(Message::Die, URGENT));
        for thread in std::mem::take(&mut *self.0.threads.lock().unwrap()) {
            thread.join().unwrap();
        }
    }
}

/// Tells sessions that nobody records them any more, also when the thread panics.
struct StopOnDrop(Arc<Handover>, Arc<Pulse>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
        self.1.end();
    }
}

fn make_private_dir(dir: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The lock on a spool, held as long as the file is open; `None` if another process has it.
fn lock(dir: &std::path::Path) -> io::Result<Option<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(err)) => Err(err),
    }
}

/// How the recorder's thread will run; made on it, since neither runtime may change threads.
#[derive(Clone, Copy)]
enum Runtime {
    Uring,
    Plain,
}

/// Settles for what there is, having tried it.
fn runtime(io: SpoolIo) -> Result<(Runtime, bool), StartError> {
    let uring = || tokio_uring::Runtime::new(&tokio_uring::builder()).map(drop);
    match io {
        SpoolIo::Plain => Ok((Runtime::Plain, false)),
        SpoolIo::Uring => uring()
            .map(|()| (Runtime::Uring, true))
            .map_err(StartError::Uring),
        SpoolIo::Auto => match uring() {
            Ok(()) => Ok((Runtime::Uring, true)),
            Err(err) => {
                tracing::warn!(error = %err, "io_uring is not available: the spool is written by plain calls");
                Ok((Runtime::Plain, false))
            }
        },
    }
}

impl Runtime {
    fn run(self, work: impl Future<Output = ()>) {
        match self {
            Runtime::Uring => tokio_uring::start(work),
            Runtime::Plain => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime without I/O needs nothing of the system");
                tokio::task::LocalSet::new().block_on(&runtime, work);
            }
        }
    }
}
