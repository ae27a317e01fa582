//! Audit events and session records on their way to disk.
//!
//! ```text
//!  report ─▶ queue (bounded) ─▶ writer: gather ─▶ audit.jsonl, fsync ─▶ store, one transaction
//! ```
//!
//! The writer gathers for [`LINGER`], so that many sessions share one `fsync` and one transaction; a flush cuts that
//! short. What cannot be written is tried again until it can be, while the queue fills; what no longer fits
//! is counted, and the gap becomes an event itself as soon as there is room. A killed process loses at most what
//! it was told during the last [`LINGER`].

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use ulid::Ulid;
use weir_store::{AuditEvent, Session, Store};

use crate::audit_log::AuditLog;
use crate::clock::now_us;

/// How long a lone event waits for company: the interval at which recordings reach the disk as well.
const LINGER: Duration = Duration::from_millis(200);

/// Events and records in the queue, some 500 bytes each: a minute of a busy data plane.
const QUEUE_LIMIT: usize = 65_536;

/// Past this the writer does not linger.
const GATHER_LIMIT: usize = 4_096;

/// Ids of the newest events, against those that are delivered again after a lost answer.
const REMEMBERED_IDS: usize = 16_384;

/// How long a disk that refuses a batch is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Where events are handed in. Cheap to clone; never blocks.
#[derive(Clone)]
pub(crate) struct Journal {
    queue: mpsc::UnboundedSender<Entry>,
    load: Arc<Load>,
}

/// What the two ends share besides the queue.
#[derive(Default)]
struct Load {
    /// Events and records in the queue: what bounds it.
    queued: AtomicUsize,
    dropped_events: AtomicU64,
    dropped_sessions: AtomicU64,
    hurry: Notify,
}

enum Entry {
    Report(Vec<AuditEvent>, Vec<Session>),
    Flush(oneshot::Sender<()>),
}

impl Journal {
    /// Starts the writer on the current tokio runtime. It ends when the last clone is gone, after all has been written.
    pub(crate) fn start(log: AuditLog, known_ids: Vec<String>, store: Arc<dyn Store>) -> Journal {
        let (queue, entries) = mpsc::unbounded_channel();
        let load = Arc::<Load>::default();
        let mut recent = RecentIds::default();
        for id in known_ids {
            recent.is_new(&id);
        }
        let writer = Writer {
            entries,
            load: Arc::clone(&load),
            log: Some(log),
            store,
            recent,
        };
        tokio::spawn(writer.run());
        Journal { queue, load }
    }

    /// Hands in events and records, in order.
    pub(crate) fn report(&self, events: Vec<AuditEvent>, sessions: Vec<Session>) {
        let count = events.len() + sessions.len();
        let before = self.load.queued.fetch_add(count, Ordering::AcqRel);
        if before + count > QUEUE_LIMIT {
            self.load.queued.fetch_sub(count, Ordering::AcqRel);
            self.load
                .dropped_events
                .fetch_add(events.len() as u64, Ordering::AcqRel);
            self.load
                .dropped_sessions
                .fetch_add(sessions.len() as u64, Ordering::AcqRel);
            return;
        }
        // The writer is gone only when the process is about to be.
        let _ = self.queue.send(Entry::Report(events, sessions));
        if before < GATHER_LIMIT && before + count >= GATHER_LIMIT {
            self.load.hurry.notify_one();
        }
    }

    /// Hands in one event of the control plane's own, with a new id and the time.
    pub(crate) fn event(&self, event: AuditEvent) {
        self.report(
            vec![AuditEvent {
                id: Ulid::generate().to_string(),
                time_us: now_us(),
                ..event
            }],
            Vec::new(),
        );
    }

    /// Waits until everything that was handed in before is written.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Entry::Flush(done)).is_ok() {
            self.load.hurry.notify_one();
            let _ = written.await;
        }
    }
}

struct Writer {
    entries: mpsc::UnboundedReceiver<Entry>,
    load: Arc<Load>,
    /// Out only while a thread that may block writes to it.
    log: Option<AuditLog>,
    store: Arc<dyn Store>,
    recent: RecentIds,
}

#[derive(Default)]
struct Batch {
    events: Vec<AuditEvent>,
    sessions: Vec<Session>,
    flushed: Vec<oneshot::Sender<()>>,
}

impl Writer {
    async fn run(mut self) {
        while let Some(first) = self.entries.recv().await {
            let mut batch = Batch::default();
            let hurried = self.take(first, &mut batch);
            if !hurried
                && self.load.queued.load(Ordering::Acquire) < GATHER_LIMIT
                && !self.entries.is_closed()
            {
                let hurry = self.load.hurry.notified();
                let _ = tokio::time::timeout(LINGER, hurry).await;
            }
            while batch.events.len() + batch.sessions.len() < GATHER_LIMIT
                && let Ok(entry) = self.entries.try_recv()
            {
                self.take(entry, &mut batch);
            }
            self.note_gap(&mut batch);
            self.write(&batch).await;
            for done in batch.flushed {
                // Who asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    /// Moves an entry into the batch; true for a flush.
    fn take(&mut self, entry: Entry, batch: &mut Batch) -> bool {
        match entry {
            Entry::Report(events, sessions) => {
                self.load
                    .queued
                    .fetch_sub(events.len() + sessions.len(), Ordering::AcqRel);
                for mut event in events {
                    // An event without an id would be the same as every other without one.
                    if event.id.is_empty() {
                        event.id = Ulid::generate().to_string();
                    }
                    if self.recent.is_new(&event.id) {
                        batch.events.push(event);
                    }
                }
                batch.sessions.extend(sessions);
                false
            }
            Entry::Flush(done) => {
                batch.flushed.push(done);
                true
            }
        }
    }

    fn note_gap(&mut self, batch: &mut Batch) {
        let events = self.load.dropped_events.swap(0, Ordering::AcqRel);
        let sessions = self.load.dropped_sessions.swap(0, Ordering::AcqRel);
        if events + sessions > 0 {
            tracing::error!(events, sessions, "audit queue was full: entries were dropped");
            batch.events.push(AuditEvent {
                id: Ulid::generate().to_string(),
                time_us: now_us(),
                kind: "audit.gap".to_owned(),
                detail: serde_json::json!({ "events": events, "sessions": sessions }).to_string(),
                ..AuditEvent::default()
            });
        }
    }

    /// Writes the batch, however long that takes.
    async fn write(&mut self, batch: &Batch) {
        let mut lines = AuditLog::lines(&batch.events);
        while !lines.is_empty() {
            let mut log = self.log.take().expect("the log is back after each write");
            let written = tokio::task::spawn_blocking(move || {
                let result = log.append(&lines);
                (log, lines, result)
            });
            let (log, unwritten, result) = written.await.expect("appending to a file does not panic");
            self.log = Some(log);
            lines = unwritten;
            match result {
                Ok(()) => break,
                Err(error) => {
                    tracing::error!(%error, events = batch.events.len(), "audit log cannot be written, trying again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
        while let Err(error) = self.store.record(&batch.events, &batch.sessions).await {
            tracing::error!(%error, "audit events cannot be stored, trying again");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}

/// The newest ids, oldest first out.
#[derive(Default)]
struct RecentIds {
    known: HashSet<Box<str>>,
    order: VecDeque<Box<str>>,
}

impl RecentIds {
    fn is_new(&mut self, id: &str) -> bool {
        if self.known.contains(id) {
            return false;
        }
        if self.order.len() == REMEMBERED_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(id.into());
        self.order.push_back(id.into());
        true
    }
}
