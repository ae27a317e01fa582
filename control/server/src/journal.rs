//! Audit events and session records on their way to disk.
//!
//! ```text
//!  report ─▶ room ─▶ queue ─▶ writer: gather, known? ─▶ audit.jsonl, fsync ─▶ store, one transaction ─▶ exports
//! ```
//!
//! The writer gathers for [`LINGER`], so that many sessions share one `fsync` and one transaction; a flush cuts that
//! short. What the disk does not take is tried again until it does, while the queue fills; what no longer fits
//! is counted, and the gap becomes an event itself ([`room`]). What the store refuses for its content is replaced by an
//! event that says so ([`refusals`]). A killed process loses at most what it was told during the last [`LINGER`], and what the disk
//! took until then. An event that comes again is found by its id, and is in neither twice ([`recent`]).

mod bounds;
mod recent;
mod refusals;
mod room;
mod strangers;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use ulid::Ulid;
use weir_api::audit::{Kind, SessionRejected, SessionStart};
use weir_store::{AuditEvent, Session, Store};

use crate::audit_log::AuditLog;
use crate::clock::now_us;
use crate::convert;

use recent::{RecentIds, Seen, now_ms};
use room::{Room, Share, event_bytes, row_bytes};
use strangers::Strangers;

pub(crate) use refusals::store_all;

/// How long a lone event waits for company: the interval at which recordings reach the disk as well.
const LINGER: Duration = Duration::from_millis(200);

/// Bytes from which on the writer does not linger, and which it writes at once: some 2,000 events. A start reads eight
/// times as much of the log back, and where every byte needs escaping a batch is six times as long.
const BATCH_BYTES: usize = 1024 * 1024;

/// How long a disk that refuses a batch is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Where events are handed in. Cheap to clone; never blocks.
#[derive(Clone)]
pub(crate) struct Journal {
    queue: mpsc::UnboundedSender<Entry>,
    inbox: Arc<Inbox>,
    written: watch::Receiver<()>,
}

/// What the two ends share besides the queue.
#[derive(Default)]
struct Inbox {
    gate: Mutex<Gate>,
    hurry: Notify,
}

/// What is let into the queue.
#[derive(Default)]
struct Gate {
    room: Room,
    strangers: Strangers,
}

impl Inbox {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entry {
    Event(AuditEvent, Share),
    Row(Session),
    /// Somebody wants to know when all before this is written, and how soon.
    Mark(oneshot::Sender<()>, Urgency),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// With the batch, whenever that is full or old enough.
    Whenever,
    /// At once.
    Now,
    /// At once, with what is otherwise written by the minute.
    Last,
}

impl Journal {
    /// Starts the writer on the current tokio runtime. It ends when the last clone is gone, after all has been written.
    /// `known_ids` are those at the end of the log; every event gets the name of the cluster.
    pub(crate) fn start(
        log: AuditLog,
        known_ids: Vec<String>,
        store: Arc<dyn Store>,
        cluster: String,
    ) -> Journal {
        let (queue, entries) = mpsc::unbounded_channel();
        let (tell, written) = watch::channel(());
        let inbox = Arc::<Inbox>::default();
        let writer = Writer {
            entries,
            inbox: Arc::clone(&inbox),
            recent: RecentIds::of_log(known_ids, log.is_short()),
            log: Some(log),
            store,
            cluster,
            tell,
        };
        tokio::spawn(writer.run());
        Journal {
            queue,
            inbox,
            written,
        }
    }

    /// Changes whenever events have been stored; closed when the last have been.
    pub(crate) fn written(&self) -> watch::Receiver<()> {
        self.written.clone()
    }

    /// Hands in events and records, in order. What finds no room is counted.
    pub(crate) fn report(&self, events: Vec<AuditEvent>, sessions: Vec<Session>) {
        let now = Instant::now();
        for mut event in events {
            bounds::event(&mut event);
            let share = Share::of(&event);
            self.hand_in(|gate| {
                let is_wanted = share != Share::Attempt || gate.strangers.admit(&event.client_address, now);
                (is_wanted && gate.room.admit_event(&event, share)).then_some(Entry::Event(event, share))
            });
        }
        for mut session in sessions {
            bounds::row(&mut session);
            self.hand_in(|gate| gate.room.admit_row(&session).then_some(Entry::Row(session)));
        }
    }

    /// Hands in what must not be lost without its reporter's knowledge: the answer comes when it is on disk. `None`, and
    /// nothing is handed in, if there is no room.
    pub(crate) fn report_durably(
        &self,
        mut events: Vec<AuditEvent>,
        mut sessions: Vec<Session>,
    ) -> Option<oneshot::Receiver<()>> {
        events.iter_mut().for_each(bounds::event);
        sessions.iter_mut().for_each(bounds::row);
        let bytes =
            events.iter().map(event_bytes).sum::<usize>() + sessions.iter().map(row_bytes).sum::<usize>();
        if !self.inbox.gate().room.reserve(bytes) {
            return None;
        }
        for event in events {
            let _ = self.queue.send(Entry::Event(event, Share::Vital));
        }
        for session in sessions {
            let _ = self.queue.send(Entry::Row(session));
        }
        let (done, written) = oneshot::channel();
        let _ = self.queue.send(Entry::Mark(done, Urgency::Whenever));
        Some(written)
    }

    /// Hands in one event of the control plane's own, with a new id and the time.
    pub(crate) fn event(&self, event: AuditEvent) {
        let mut event = AuditEvent {
            id: Ulid::generate().to_string(),
            time_us: now_us(),
            ..event
        };
        bounds::event(&mut event);
        self.hand_in(|gate| {
            gate.room
                .admit_event(&event, Share::Vital)
                .then_some(Entry::Event(event, Share::Vital))
        });
    }

    /// Waits until everything that was handed in before is written.
    pub(crate) async fn flush(&self) {
        self.reach(Urgency::Now).await;
    }

    /// The same at the end, with what has been counted and not written yet.
    pub(crate) async fn finish(&self) {
        self.reach(Urgency::Last).await;
    }

    async fn reach(&self, urgency: Urgency) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Entry::Mark(done, urgency)).is_ok() {
            self.inbox.hurry.notify_one();
            let _ = written.await;
        }
    }

    fn hand_in(&self, admit: impl FnOnce(&mut Gate) -> Option<Entry>) {
        let (entry, is_much) = {
            let mut gate = self.inbox.gate();
            let before = gate.room.used();
            let entry = admit(&mut gate);
            (entry, before < BATCH_BYTES && gate.room.used() >= BATCH_BYTES)
        };
        if let Some(entry) = entry {
            // The writer is gone only when the process is about to be.
            let _ = self.queue.send(entry);
        }
        if is_much {
            self.inbox.hurry.notify_one();
        }
    }
}

struct Writer {
    entries: mpsc::UnboundedReceiver<Entry>,
    inbox: Arc<Inbox>,
    /// Out only while a thread that may block writes to it.
    log: Option<AuditLog>,
    store: Arc<dyn Store>,
    recent: RecentIds,
    cluster: String,
    tell: watch::Sender<()>,
}

#[derive(Default)]
struct Batch {
    events: Vec<AuditEvent>,
    sessions: Vec<Session>,
    bytes: usize,
    /// Ids of events that may have come before.
    doubtful: Vec<String>,
    reached: Vec<oneshot::Sender<()>>,
    is_last: bool,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let due = self.inbox.gate().strangers.due();
            let mut batch = Batch::default();
            tokio::select! {
                first = self.entries.recv() => match first {
                    Some(first) => self.gather(first, &mut batch).await,
                    None => batch.is_last = true,
                },
                // Without a time to wait for, this branch is off.
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let is_over = batch.is_last && self.entries.is_closed();
            self.drop_repeated(&mut batch).await;
            self.add_counted(&mut batch);
            self.name_subjects(&mut batch).await;
            self.write(&batch).await;
            for done in batch.reached {
                // Who asked may have stopped waiting.
                let _ = done.send(());
            }
            if is_over {
                return;
            }
        }
    }

    async fn gather(&mut self, first: Entry, batch: &mut Batch) {
        let is_hurried = self.take(first, batch);
        if !is_hurried && self.inbox.gate().room.used() < BATCH_BYTES && !self.entries.is_closed() {
            let hurry = self.inbox.hurry.notified();
            let _ = tokio::time::timeout(LINGER, hurry).await;
        }
        while batch.bytes < BATCH_BYTES
            && let Ok(entry) = self.entries.try_recv()
        {
            self.take(entry, batch);
        }
    }

    /// Moves an entry into the batch; true if somebody waits for it.
    fn take(&mut self, entry: Entry, batch: &mut Batch) -> bool {
        match entry {
            Entry::Event(mut event, share) => {
                self.inbox.gate().room.release_event(&event, share);
                let seen = self.recent.see(&event.id, now_ms());
                if seen == Seen::Perhaps {
                    batch.doubtful.push(event.id.clone());
                }
                if seen != Seen::Yes {
                    event.cluster.clone_from(&self.cluster);
                    batch.bytes += event_bytes(&event);
                    batch.events.push(event);
                }
                false
            }
            Entry::Row(session) => {
                self.inbox.gate().room.release_row(&session);
                batch.bytes += row_bytes(&session);
                batch.sessions.push(session);
                false
            }
            Entry::Mark(done, urgency) => {
                batch.reached.push(done);
                batch.is_last |= urgency == Urgency::Last;
                urgency != Urgency::Whenever
            }
        }
    }

    /// Drops what the store has already, so that the log does not get it twice either.
    async fn drop_repeated(&self, batch: &mut Batch) {
        if batch.doubtful.is_empty() {
            return;
        }
        let ids: Vec<_> = batch.doubtful.iter().map(String::as_str).collect();
        let known: HashSet<String> = loop {
            match self.store.known_events(&ids).await {
                Ok(known) => break known.into_iter().collect(),
                Err(error) => {
                    tracing::error!(%error, "audit events cannot be looked up, trying again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        };
        batch.events.retain(|event| !known.contains(&event.id));
    }

    /// Adds what was not written one by one: what was dropped, and what strangers did too often.
    fn add_counted(&mut self, batch: &mut Batch) {
        let mut gate = self.inbox.gate();
        let gaps = gate.room.take_gaps();
        let attempts = if batch.is_last {
            gate.strangers.take_all()
        } else {
            gate.strangers.take_due(Instant::now())
        };
        drop(gate);
        for gap in &gaps {
            tracing::error!(
                session = gap.session,
                detail = gap.detail,
                "audit queue was full: entries were dropped"
            );
        }
        batch
            .events
            .extend(gaps.into_iter().chain(attempts).map(|event| AuditEvent {
                id: Ulid::generate().to_string(),
                time_us: now_us(),
                cluster: self.cluster.clone(),
                ..event
            }));
    }

    /// Fills in who and where in events of a session whose reporter does not know: a recorder that finds what another process
    /// left, since that is sealed, and whoever reads or keeps recordings. The index and the session's start know.
    async fn name_subjects(&self, batch: &mut Batch) {
        let is_nameless = |event: &&mut AuditEvent| {
            let of_session = event.kind.starts_with("session.") && event.kind != SessionRejected::KIND;
            (of_session || event.kind.starts_with("recording."))
                && event.node_address.is_empty()
                && !event.session.is_empty()
        };
        let nameless: HashSet<String> = batch
            .events
            .iter_mut()
            .filter(is_nameless)
            .map(|event| event.session.clone())
            .collect();
        if nameless.is_empty() {
            return;
        }
        let ids: Vec<_> = nameless.iter().map(String::as_str).collect();
        let known = self.store.subjects(&ids).await.unwrap_or_else(|error| {
            tracing::error!(%error, "session index cannot be read: events are written without their users");
            Vec::new()
        });
        // A session may be as young as the batch.
        let rows = batch.sessions.iter().map(convert::subject_of);
        let starts = batch
            .events
            .iter()
            .filter(|event| event.kind == SessionStart::KIND);
        // Of one session the last counts, and that knows the most.
        let subjects: HashMap<_, _> = rows
            .chain(known)
            .chain(starts.cloned())
            .filter(|subject| !subject.user.is_empty())
            .map(|subject| (subject.session.clone(), subject))
            .collect();
        for event in batch.events.iter_mut().filter(is_nameless) {
            if let Some(subject) = subjects.get(&event.session) {
                for (text, known) in [
                    (&mut event.user, &subject.user),
                    (&mut event.login, &subject.login),
                    (&mut event.node, &subject.node),
                    (&mut event.node_address, &subject.node_address),
                    (&mut event.client_address, &subject.client_address),
                    (&mut event.recording_mode, &subject.recording_mode),
                ] {
                    if text.is_empty() {
                        text.clone_from(known);
                    }
                }
            }
        }
    }

    /// Writes the batch, however long that takes.
    async fn write(&mut self, batch: &Batch) {
        if batch.events.is_empty() && batch.sessions.is_empty() {
            return;
        }
        self.append(&batch.events).await;
        loop {
            match store_all(&*self.store, &batch.events, &batch.sessions).await {
                Ok(refused) => {
                    self.append(&refused).await;
                    self.tell.send_replace(());
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "audit events cannot be stored, trying again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    async fn append(&mut self, events: &[AuditEvent]) {
        let mut lines = AuditLog::lines(events);
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
                    tracing::error!(%error, events = events.len(), "audit log cannot be written, trying again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }
}
