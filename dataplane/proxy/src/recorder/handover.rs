//! What goes from the threads that carry sessions to the thread that records them.
//!
//! Nothing here blocks. The queue is bounded in bytes, per session and in all, by those who put into it: they stop
//! reading their session while it [is full](Handover::is_full). What one read brought may still be put in beyond the
//! bound. What counts is the memory that is held: copies by their length, buffers that are lent whole (see `lent`).
//!
//! # Waking
//!
//! The recorder's thread sleeps until there is something to do, and a key stroke is nothing to do before the flush
//! interval is over. `urgency` says what the thread knows:
//!
//! - `IDLE`: it sleeps without a timer. Whoever puts something in wakes it once, so that it sets one.
//! - `TIMED`: it will look when its timer ends.
//! - `URGENT`: it has been woken to look at once.
//!
//! It is raised after the message was put in, and lowered before the queue is emptied, both by read-modify-write: either
//! the thread finds the message, or the sender finds the lowered value and wakes it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use crossbeam_channel::{Receiver, Sender};
use futures_util::task::AtomicWaker;
use ulid::Ulid;
use weir_record::{EventKind, Note, Recipients, SessionMeta, Status};

use super::lent::Lent;
use super::notes::Notes;
use super::trouble::{Trouble, Troubles};
use super::watching::Wish;
use super::{Finished, Terms};

pub(crate) const IDLE: u8 = 0;
pub(crate) const TIMED: u8 = 1;
pub(crate) const URGENT: u8 = 2;

/// What a message costs beside the bytes that it points to.
const MESSAGE_COST: usize = 64;
/// What a session's beginning costs: the message, names and addresses.
const BEGIN_COST: usize = 1024;
/// Payloads up to this length travel within the message.
const INLINE: usize = 38;

/// The bytes of an event.
pub(crate) enum Payload {
    Inline { len: u8, bytes: [u8; INLINE] },
    Copied(Box<[u8]>),
    Lent(Lent),
}

impl Payload {
    pub(crate) fn copied(data: &[u8]) -> Self {
        match u8::try_from(data.len()) {
            Ok(len) if data.len() <= INLINE => {
                let mut bytes = [0; INLINE];
                bytes[..data.len()].copy_from_slice(data);
                Payload::Inline { len, bytes }
            }
            _ => Payload::Copied(data.into()),
        }
    }

    fn cost(&self) -> usize {
        MESSAGE_COST
            + match self {
                // A lent buffer counts by itself.
                Payload::Inline { .. } | Payload::Lent(_) => 0,
                Payload::Copied(bytes) => bytes.len(),
            }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        match self {
            Payload::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Payload::Copied(bytes) => bytes,
            Payload::Lent(lent) => lent.as_ref(),
        }
    }
}

/// A session within the recorder.
pub(crate) type SessionId = u64;

pub(crate) enum Message {
    Begin {
        id: SessionId,
        begin: Box<Begin>,
    },
    Event {
        id: SessionId,
        at_us: u64,
        channel: u32,
        kind: EventKind,
        payload: Payload,
    },
    End {
        id: SessionId,
        status: Status,
    },
    /// Somebody wants to watch a session.
    Watch(Box<Wish>),
    /// From the archive: these are in the store, durable there, and reported.
    Archived(Vec<Ulid>),
    /// From the archive: of these sessions all that the segments up to `through` hold has been copied out of them.
    Copied {
        through: u32,
        sessions: Vec<Ulid>,
    },
    /// From the archive: copying out failed, it may be asked again.
    NotCopied,
    /// From the archive, after [`Message::Shutdown`]: no more will come.
    ArchiveClosed,
    Shutdown,
    /// Ends the thread as a kill would.
    #[cfg(test)]
    Die,
}

pub(crate) struct Begin {
    pub(crate) meta: SessionMeta,
    pub(crate) recipients: Recipients,
    pub(crate) gate: Arc<SessionGate>,
    pub(crate) terms: Terms,
}

/// What all handles share with the recorder's thread.
pub(crate) struct Handover {
    queue: Sender<Message>,
    queued: AtomicUsize,
    limit: usize,
    session_limit: usize,
    urgency: AtomicU8,
    waker: AtomicWaker,
    troubles: Troubles,
    /// A commit takes longer than what is recorded may take to be durable: nothing more is passed on until it is over.
    overdue: AtomicBool,
    stopped: AtomicBool,
    /// Sessions that wait for the bound over all.
    waiting: Mutex<Vec<Arc<SessionGate>>>,
    /// All sessions that have begun and not ended, to be told of what concerns every one.
    live: Mutex<HashMap<SessionId, Arc<SessionGate>>>,
    next_id: AtomicU64,
    notes: Arc<Notes>,
}

/// What a session shares with the recorder's thread.
pub(crate) struct SessionGate {
    id: SessionId,
    session: Ulid,
    queued: AtomicUsize,
    /// Of the session's task, whatever it waits for.
    waker: AtomicWaker,
    /// Whether it is among those that wait for the bound over all.
    is_listed: AtomicBool,
    /// How many events it has handed over.
    handed: AtomicU64,
    /// How many of its events are durable; kept for sessions that wait for that.
    durable: AtomicU64,
    failed: OnceLock<Box<str>>,
    /// Somebody watches it: what it hands over is looked at at once.
    is_watched: AtomicBool,
}

impl SessionGate {
    fn new(id: SessionId, session: Ulid) -> Self {
        SessionGate {
            id,
            session,
            queued: AtomicUsize::new(0),
            waker: AtomicWaker::new(),
            is_listed: AtomicBool::new(false),
            handed: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            failed: OnceLock::new(),
            is_watched: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    pub(crate) fn set_watched(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Ordering::Relaxed);
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Asked by the session's own thread, which also counts.
    pub(crate) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The first `count` events are durable.
    pub(crate) fn set_durable(&self, count: u64) {
        self.durable.fetch_max(count, Ordering::Release);
        self.waker.wake();
    }

    /// Why this session is no longer recorded.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.get().map(|reason| &**reason)
    }

    pub(crate) fn fail(&self, reason: &str) {
        // The first reason stays.
        drop(self.failed.set(reason.into()));
        self.waker.wake();
    }
}

/// The thread is gone.
pub(crate) struct Stopped;

impl Handover {
    pub(crate) fn new(
        limit: usize,
        session_limit: usize,
        notes: Arc<Notes>,
    ) -> (Arc<Self>, Receiver<Message>) {
        // Bounded by bytes, not by messages: see the module.
        let (queue, messages) = crossbeam_channel::unbounded();
        let handover = Handover {
            queue,
            queued: AtomicUsize::new(0),
            limit,
            session_limit,
            urgency: AtomicU8::new(IDLE),
            waker: AtomicWaker::new(),
            troubles: Troubles::default(),
            overdue: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            waiting: Mutex::new(Vec::new()),
            live: Mutex::new(HashMap::new()),
            next_id: AtomicU64::new(0),
            notes,
        };
        (Arc::new(handover), messages)
    }

    /// Makes the gate of a session that begins.
    pub(crate) fn gate(&self, session: Ulid) -> Arc<SessionGate> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let gate = Arc::new(SessionGate::new(id, session));
        self.live().insert(gate.id, Arc::clone(&gate));
        gate
    }

    /// Puts in the beginning of a session. The session exists also where that fails; it is then never recorded.
    pub(crate) fn begin(&self, begin: Box<Begin>) -> Result<(), Stopped> {
        let id = begin.gate.id;
        let cost = BEGIN_COST;
        self.queued.fetch_add(cost, Ordering::SeqCst);
        let begun = self.send(Message::Begin { id, begin }, TIMED);
        if begun.is_err() {
            self.release_in_all(cost);
        }
        begun
    }

    /// The recorder has taken on a beginning.
    pub(crate) fn release_begin(&self) {
        self.release_in_all(BEGIN_COST);
    }

    /// The session has ended.
    pub(crate) fn forget(&self, id: SessionId) {
        self.live().remove(&id);
    }

    fn live(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<SessionGate>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no room for another session's beginning.
    pub(crate) fn is_crowded(&self) -> bool {
        self.queued.load(Ordering::SeqCst) >= self.limit
    }

    /// Puts in an event of a session.
    pub(crate) fn event(
        &self,
        gate: &SessionGate,
        at_us: u64,
        channel: u32,
        (kind, payload): (EventKind, Payload),
        urgency: u8,
    ) -> Result<(), Stopped> {
        let cost = payload.cost();
        gate.queued.fetch_add(cost, Ordering::SeqCst);
        let queued = self.queued.fetch_add(cost, Ordering::SeqCst) + cost;
        // Many small events are worth a look before their time, or they would fill the queue for an interval.
        let urgency = if queued >= self.limit / 4 { URGENT } else { urgency };
        self.send(
            Message::Event {
                id: gate.id,
                at_us,
                channel,
                kind,
                payload,
            },
            urgency,
        )?;
        gate.handed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A buffer of that length has been lent.
    pub(super) fn pin(&self, gate: &SessionGate, len: usize) {
        gate.queued.fetch_add(len, Ordering::SeqCst);
        self.queued.fetch_add(len, Ordering::SeqCst);
    }

    /// It has been given back.
    pub(super) fn unpin(&self, gate: &SessionGate, len: usize) {
        self.give_back(gate, len);
    }

    pub(crate) fn send(&self, message: Message, urgency: u8) -> Result<(), Stopped> {
        if self.is_stopped() {
            return Err(Stopped);
        }
        self.queue.send(message).map_err(|_| Stopped)?;
        if self.urgency.fetch_max(urgency, Ordering::SeqCst) < urgency {
            self.waker.wake();
        }
        Ok(())
    }

    pub(crate) fn is_full(&self, gate: &SessionGate) -> bool {
        gate.queued.load(Ordering::SeqCst) >= self.session_limit
            || self.queued.load(Ordering::SeqCst) >= self.limit
            || self.overdue.load(Ordering::SeqCst)
    }

    /// Whether half of what fills a bound is free, so that a session does not stop and go with every event.
    pub(crate) fn has_room(&self, gate: &SessionGate) -> bool {
        gate.queued.load(Ordering::SeqCst) <= self.session_limit / 2
            && self.queued.load(Ordering::SeqCst) <= self.limit / 2
            && !self.overdue.load(Ordering::SeqCst)
    }

    /// Whether a session has put in far more than it may: it does not heed its bound.
    pub(crate) fn is_overrun(&self, gate: &SessionGate) -> bool {
        gate.queued.load(Ordering::Relaxed) >= self.session_limit + self.limit
    }

    /// Ready once the session may read again, or will see then that it is not recorded.
    pub(crate) fn poll_ready(&self, gate: &Arc<SessionGate>, cx: &mut Context<'_>) -> Poll<()> {
        let ready =
            || gate.failed().is_some() || self.is_stopped() || self.is_in_trouble() || self.has_room(gate);
        if ready() {
            return Poll::Ready(());
        }
        gate.waker.register(cx.waker());
        if !gate.is_listed.swap(true, Ordering::SeqCst) {
            self.waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Arc::clone(gate));
        }
        if ready() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether nobody can be recorded at present.
    pub(crate) fn is_in_trouble(&self) -> bool {
        self.troubles.any()
    }

    /// Why nobody can be recorded at present.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.troubles.first()
    }

    /// Says that something is wrong, or, without a reason, that it is no longer. True if that is news.
    pub(crate) fn set_trouble(&self, trouble: Trouble, reason: Option<String>) -> bool {
        let is_news = self.troubles.set(trouble, reason);
        if is_news {
            self.wake_all();
        }
        is_news
    }

    /// Says whether the commit that is under way takes too long.
    pub(crate) fn set_overdue(&self, is_overdue: bool) {
        if self.overdue.swap(is_overdue, Ordering::SeqCst) && !is_overdue {
            self.wake_waiting();
        }
    }

    /// Has every session look at how it stands.
    fn wake_all(&self) {
        self.wake_waiting();
        let gates: Vec<_> = self.live().values().cloned().collect();
        gates.iter().for_each(|gate| gate.waker.wake());
    }

    /// Tells the next start what is missing at a recording's end. The thread that could have recorded it is gone.
    pub(crate) fn leave_note(&self, gate: &SessionGate, note: Note) {
        self.notes.leave(gate.session, note);
    }

    /// Waits until such notes are durable.
    pub(crate) fn finish_notes(&self) {
        self.notes.finish();
    }

    // What follows is the recorder thread's side.

    /// The thread is woken through `cx` when the urgency rises. Returns it.
    pub(crate) fn poll_urgency(&self, cx: &Context<'_>) -> u8 {
        self.waker.register(cx.waker());
        self.urgency.load(Ordering::SeqCst)
    }

    /// To be called before the queue is emptied.
    pub(crate) fn lower_urgency(&self, to: u8) {
        self.urgency.swap(to, Ordering::SeqCst);
    }

    /// An event has been taken on and its memory given back.
    pub(crate) fn release(&self, gate: &SessionGate, payload: &Payload) {
        self.give_back(gate, payload.cost());
    }

    fn give_back(&self, gate: &SessionGate, cost: usize) {
        let half = self.session_limit / 2;
        let before = gate.queued.fetch_sub(cost, Ordering::SeqCst);
        if before > half && before - cost <= half {
            gate.waker.wake();
        }
        self.release_in_all(cost);
    }

    /// An event of a session that is no more has been thrown away.
    pub(crate) fn discard(&self, payload: &Payload) {
        self.release_in_all(payload.cost());
    }

    fn release_in_all(&self, cost: usize) {
        let half = self.limit / 2;
        let before = self.queued.fetch_sub(cost, Ordering::SeqCst);
        if before > half && before - cost <= half {
            self.wake_waiting();
        }
    }

    /// The queue has been emptied: nobody waits for it any more.
    pub(crate) fn wake_waiting(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for gate in waiting {
            gate.is_listed.store(false, Ordering::SeqCst);
            gate.waker.wake();
        }
    }

    /// The thread ends: nothing put in from now on would ever be recorded.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake_all();
    }
}

/// Who is told of finished recordings.
pub(crate) type OnFinished = Box<dyn Fn(Finished) + Send>;
/// Makes durable what the store has taken.
pub(crate) type SyncStore = Arc<dyn Fn() -> std::io::Result<()> + Send + Sync>;
