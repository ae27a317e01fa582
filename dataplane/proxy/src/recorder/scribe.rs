//! The recorder's thread: events of all sessions become chunks, chunks go to the spool, ended sessions to the archive.
//!
//! One loop owns everything and waits for whichever comes first:
//!
//! - the flush timer, set only while something is pending: all pending events become chunks, and a commit begins;
//! - a commit's end, in order: sessions that ended in it are handed to the archive, those that wait for it go on;
//! - an urgent hand-over: events are taken on, full chunks sealed and written. Where a session waits until they are durable, a
//!   commit begins, unless [`COMMITS`] are under way: then it begins with all that has come by the end of the oldest of them.
//!
//! A session that somebody watches is sealed whenever the queue has been emptied, and its chunks are handed on.
//!
//! Without space for another segment nothing new is recorded, while what is under way is brought to its end in what is
//! reserved. While the spool cannot be written, what was taken on stays in memory, is tried again every [`RETRY_INTERVAL`], and
//! the sessions that it belongs to are told that they are no longer recorded. What they were is not lost by that: it
//! is written once there is room, and ends as their owners say.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tokio::time::Sleep;
use ulid::Ulid;
use weir_crypto::random::SystemRandom;
use weir_record::{
    Chain, End, Event, EventBuffer, EventKind, Fields, Opening, Packer, SessionKey, Signer, Status,
};

use super::handover::{Begin, Handover, IDLE, Message, Payload, SessionGate, SessionId, TIMED, URGENT};
use super::trouble::Trouble;
use super::vigil::Pulse;
use super::watching::{Missed, Watchers, Wish};
use crate::archive::{Archive, Upload};
use crate::spool::frame::{FrameKind, Location, session_of};
use crate::spool::{Commit, Moves, Spool, Unwritten};

/// How often a spool that cannot be written is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Commits under way for sessions that wait. A second one fills the time that the disk takes for the first; more would only be
/// smaller.
const COMMITS: usize = 2;
/// Payload taken on before the loop looks elsewhere.
const DRAIN_LEN: usize = 4 * 1024 * 1024;
/// Buffers for pending events kept for other sessions, and the greatest that is.
const KEPT_BUFFERS: usize = 64;
const KEPT_BUFFER_LEN: usize = 80 * 1024;
/// Segments that live sessions may hold before what is in the older half is copied out for them.
const HELD_SEGMENTS: usize = 8;
/// Frames of one session after which they are copied out: half a mebibyte of places when they are put together.
const HELD_FRAMES: u32 = 65_536;

pub(super) struct Setup {
    pub(super) handover: Arc<Handover>,
    pub(super) messages: Receiver<Message>,
    pub(super) spool: Spool,
    pub(super) archive: Archive,
    pub(super) signer: Signer,
    pub(super) pulse: Arc<Pulse>,
}

pub(super) async fn run(setup: Setup, flush_interval: Duration) {
    let first = setup.spool.number();
    let mut scribe = Scribe {
        handover: setup.handover,
        messages: setup.messages,
        spool: setup.spool,
        archive: setup.archive,
        signer: setup.signer,
        pulse: setup.pulse,
        flush_interval,
        packer: Packer::new(),
        sessions: HashMap::new(),
        pending: Vec::new(),
        pending_now: Vec::new(),
        awaited: Vec::new(),
        releases: VecDeque::new(),
        watched: Vec::new(),
        missed: VecDeque::new(),
        must_commit: false,
        buffers: Vec::new(),
        timer: None,
        space_timer: None,
        has_backlog: false,
        ending: VecDeque::new(),
        unarchived: HashMap::new(),
        segments: BTreeMap::from([(first, Held::default())]),
        durable: 0,
        unwritten: None,
        is_copying: false,
        must_copy: false,
        copy_all: false,
        stage: Stage::Recording,
    };
    while scribe.stage != Stage::Done {
        match std::future::poll_fn(|cx| scribe.poll(cx)).await {
            Step::Flush if scribe.unwritten.is_some() => scribe.retry().await,
            Step::Flush => scribe.flush(),
            Step::Committed(commit) => {
                scribe.committed(commit).await;
                scribe.commit_now();
            }
            Step::Drain => {
                scribe.drain();
                scribe.seal_watched();
                scribe.commit_now();
                scribe.pulse.set(scribe.spool.waiting_since());
                // A long run of messages must not keep completions from being seen.
                tokio::task::yield_now().await;
            }
            Step::Space(made) => scribe.space(made),
            Step::LookForSpace => scribe.spool.make_spare(),
        }
        scribe.close();
        scribe.pulse.set(scribe.spool.waiting_since());
    }
}

enum Step {
    Flush,
    Committed(Commit),
    Drain,
    /// The next segment has been prepared, or not.
    Space(io::Result<()>),
    LookForSpace,
}

/// How far a shutdown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Recording,
    /// All sessions have been ended; their ends become durable.
    Ending,
    /// The archive puts them into the store.
    Archiving,
    /// What it said becomes durable.
    Marking,
    Done,
}

struct Scribe {
    handover: Arc<Handover>,
    messages: Receiver<Message>,
    spool: Spool,
    archive: Archive,
    signer: Signer,
    pulse: Arc<Pulse>,
    flush_interval: Duration,
    packer: Packer,
    /// Boxed: a table's empty places are many and should be small.
    sessions: HashMap<SessionId, Box<Session>>,
    /// Sessions with events that are in no chunk yet.
    pending: Vec<SessionId>,
    /// The same of sessions that wait until they are durable.
    pending_now: Vec<SessionId>,
    /// Such sessions of which all is in chunks that no commit holds yet, with how many events that is.
    awaited: Vec<Awaited>,
    /// Whom to tell at the end of which commit.
    releases: VecDeque<(u64, Vec<Awaited>)>,
    /// Sessions that somebody watches.
    watched: Vec<SessionId>,
    /// What those who came to watch are to find, once so many commits are durable.
    missed: VecDeque<(u64, Missed)>,
    /// Somebody waits for the next commit, whatever is in it.
    must_commit: bool,
    buffers: Vec<Vec<u8>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// When to try again to prepare another segment.
    space_timer: Option<Pin<Box<Sleep>>>,
    /// Messages were left in the queue.
    has_backlog: bool,
    /// Sessions whose last chunk is not yet durable, with the commit that will make it so.
    ending: VecDeque<(u64, Ended)>,
    /// Sessions whose recording is not yet in the store, with the oldest segment they need.
    unarchived: HashMap<Ulid, Option<u32>>,
    /// The segments that exist, oldest first, none left out: they go in this order, so that a mark outlives what it
    /// speaks of.
    segments: BTreeMap<u32, Held>,
    /// Commits that are durable.
    durable: u64,
    /// What could not be written.
    unwritten: Option<Unwritten>,
    is_copying: bool,
    /// A session has too many frames: the segment is to be completed, and all copied out of it and those before.
    must_copy: bool,
    /// It has been.
    copy_all: bool,
    stage: Stage,
}

/// A session that waits until its first `count` events are durable.
struct Awaited {
    gate: Arc<SessionGate>,
    count: u64,
}

/// Who needs a segment.
#[derive(Default)]
struct Held {
    /// Sessions whose oldest segment this is.
    sessions: usize,
    /// The commit with which it was completed.
    completed: Option<u64>,
}

struct Session {
    chain: Chain,
    events: EventBuffer,
    gate: Arc<SessionGate>,
    is_strict: bool,
    is_sync: bool,
    /// Events that were handed over and taken on.
    taken: u64,
    started_us: u64,
    begun: Instant,
    trail: Trail,
    /// Of most there are none.
    watchers: Option<Box<Watchers>>,
}

/// Where a session's frames are.
#[derive(Clone, Copy, Default)]
struct Trail {
    last: Option<Location>,
    /// The oldest segment that is needed for them.
    oldest: Option<u32>,
    /// How many were written since they were last copied out.
    frames: u32,
}

struct Ended {
    session: Ulid,
    started_us: u64,
    end: End,
    trail: Trail,
}

impl Scribe {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if let Poll::Ready(commit) = self.spool.poll_commit(cx) {
            return Poll::Ready(Step::Committed(commit));
        }
        if let Poll::Ready(made) = self.spool.poll_spare(cx) {
            return Poll::Ready(Step::Space(made));
        }
        if let Some(timer) = &mut self.space_timer
            && timer.as_mut().poll(cx).is_ready()
        {
            self.space_timer = None;
            return Poll::Ready(Step::LookForSpace);
        }
        let urgency = self.handover.poll_urgency(cx);
        let has_work = urgency == URGENT || self.has_backlog;
        if has_work && !self.is_congested() {
            return Poll::Ready(Step::Drain);
        }
        let is_pending = urgency > IDLE
            || !self.pending.is_empty()
            || !self.pending_now.is_empty()
            || self.must_commit
            || self.spool.is_dirty()
            || has_work;
        if is_pending && self.timer.is_none() {
            let interval = if self.unwritten.is_some() {
                RETRY_INTERVAL
            } else {
                self.flush_interval
            };
            self.timer = Some(Box::pin(tokio::time::sleep(interval)));
        }
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        timer.as_mut().poll(cx).map(|()| {
            self.timer = None;
            Step::Flush
        })
    }

    fn is_congested(&self) -> bool {
        self.spool.is_congested() || (self.unwritten.is_some() && self.spool.is_batch_full())
    }

    /// Takes on what was handed over, until nothing is left or enough for now.
    fn drain(&mut self) {
        self.handover
            .lower_urgency(if self.timer.is_some() { TIMED } else { IDLE });
        let mut taken = 0;
        self.has_backlog = true;
        while taken < DRAIN_LEN && !self.is_congested() {
            let Ok(message) = self.messages.try_recv() else {
                self.has_backlog = false;
                break;
            };
            taken += self.message(message);
        }
    }

    /// Returns how much work it was, in bytes.
    fn message(&mut self, message: Message) -> usize {
        match message {
            Message::Event {
                id,
                at_us,
                channel,
                kind,
                payload,
            } => {
                let len = payload.as_ref().len();
                self.event(id, at_us, channel, kind, &payload);
                return len;
            }
            Message::Begin { id, begin } => self.begin(id, *begin),
            Message::End { id, status } => self.end(id, status),
            Message::Watch(wish) => self.watch(*wish),
            Message::Archived(sessions) => sessions.into_iter().for_each(|session| self.archived(session)),
            Message::Copied { through, sessions } => self.copied(through, &sessions),
            Message::NotCopied => self.is_copying = false,
            Message::Shutdown => {
                let live: Vec<_> = self.sessions.keys().copied().collect();
                live.into_iter().for_each(|id| self.end(id, Status::Interrupted));
                if self.stage == Stage::Recording {
                    self.stage = Stage::Ending;
                }
            }
            Message::ArchiveClosed => self.stage = Stage::Marking,
            #[cfg(test)]
            Message::Die => self.stage = Stage::Done,
        }
        0
    }

    fn begin(&mut self, id: SessionId, begin: Begin) {
        let Begin {
            meta,
            recipients,
            gate,
            terms,
        } = begin;
        self.handover.release_begin();
        let key = SessionKey::generate(&mut SystemRandom);
        let wrapped_key = match recipients.wrap(&key) {
            Ok(wrapped_key) => wrapped_key,
            Err(err) => return gate.fail(&err.to_string()),
        };
        let opening = Opening {
            session: meta.session,
            started_us: meta.started_us,
            signer: self.signer.public_key(),
            wrapped_key: &wrapped_key,
        };
        let mut begun = None;
        let location = self.spool.append(FrameKind::Envelope, None, |out| {
            let chain = Chain::begin(&opening, &key, out);
            let hash = chain.links().previous();
            begun = Some(chain);
            hash
        });
        let mut session = Session {
            chain: begun.expect("the frame was written"),
            events: EventBuffer::default(),
            gate,
            is_strict: terms.is_strict,
            is_sync: terms.is_sync,
            taken: 0,
            started_us: meta.started_us,
            begun: Instant::now(),
            trail: Trail::default(),
            watchers: None,
        };
        self.segments.follow(&mut session.trail, location);
        self.sessions.insert(id, Box::new(session));
        let fields = meta.encode();
        let mut payload = Vec::with_capacity(fields.len());
        Event::Meta(Fields::new(&fields)).encode_payload(&mut payload);
        self.put(id, 0, 0, EventKind::META, &payload);
    }

    fn event(&mut self, id: SessionId, at_us: u64, channel: u32, kind: EventKind, payload: &Payload) {
        self.put(id, at_us, channel, kind, payload.as_ref());
        match self.sessions.get_mut(&id) {
            Some(session) => {
                session.taken += 1;
                self.handover.release(&session.gate, payload);
            }
            // It could not be begun, and its gate says so.
            None => self.handover.discard(payload),
        }
    }

    fn put(&mut self, id: SessionId, at_us: u64, channel: u32, kind: EventKind, payload: &[u8]) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.events.is_empty() {
            match session.is_sync {
                true => self.pending_now.push(id),
                false => self.pending.push(id),
            }
            session.events = EventBuffer::with_storage(self.buffers.pop().unwrap_or_default());
        }
        let mut rest = payload;
        loop {
            if kind.is_stream() {
                rest = &rest[session.events.push_data(at_us, channel, kind, rest)..];
                if rest.is_empty() {
                    break;
                }
            } else if session.events.push(at_us, channel, kind, rest) {
                break;
            }
            seal(session, &mut self.spool, &mut self.packer, &mut self.segments);
            self.must_copy |= session.trail.frames >= HELD_FRAMES;
        }
        if self.spool.is_batch_full() {
            self.write();
        }
    }

    fn end(&mut self, id: SessionId, status: Status) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        if !session.events.is_empty() {
            seal(
                &mut session,
                &mut self.spool,
                &mut self.packer,
                &mut self.segments,
            );
            self.keep_buffer(std::mem::take(&mut session.events));
        }
        let links = *session.chain.links();
        let mut bytes = Vec::with_capacity(weir_record::END_LEN);
        match links.end(status, Some(session.begun.elapsed()), &self.signer, &mut bytes) {
            Ok(end) => {
                if let Some(watchers) = &mut session.watchers {
                    watchers.offer(links.next_number(), &bytes);
                }
                let location = self.spool.append(FrameKind::Chunk, session.trail.last, |out| {
                    out.extend_from_slice(&bytes);
                    weir_record::Hash::of(&[&bytes])
                });
                self.segments.follow(&mut session.trail, location);
                let ended = Ended {
                    session: links.session(),
                    started_us: session.started_us,
                    end,
                    trail: session.trail,
                };
                self.ending.push_back((self.spool.next_sequence(), ended));
            }
            // The next start ends it, with the same key or a better one.
            Err(err) => {
                tracing::error!(session = %links.session(), error = %err, "a recording cannot be signed")
            }
        }
        if self.spool.is_batch_full() {
            self.write();
        }
    }

    /// The flush interval is over.
    fn flush(&mut self) {
        self.drain();
        let mut pending = std::mem::take(&mut self.pending);
        pending.drain(..).for_each(|id| self.seal_pending(id));
        self.pending = pending;
        self.seal_awaited();
        self.commit();
    }

    /// Makes durable what sessions wait for.
    fn commit_now(&mut self) {
        if (self.must_commit || !self.pending_now.is_empty()) && self.spool.committing() < COMMITS {
            self.seal_awaited();
            self.commit();
        }
    }

    fn seal_awaited(&mut self) {
        let mut pending = std::mem::take(&mut self.pending_now);
        for id in pending.drain(..) {
            self.seal_pending(id);
            if let Some(session) = self.sessions.get(&id) {
                self.awaited.push(Awaited {
                    gate: Arc::clone(&session.gate),
                    count: session.taken,
                });
            }
        }
        self.pending_now = pending;
    }

    /// Makes chunks of all that a session has handed over.
    fn seal_pending(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id).filter(|s| !s.events.is_empty()) else {
            return;
        };
        seal(session, &mut self.spool, &mut self.packer, &mut self.segments);
        self.must_copy |= session.trail.frames >= HELD_FRAMES;
        let events = std::mem::take(&mut session.events);
        self.keep_buffer(events);
    }

    /// Somebody wants to watch a session: its chunks so far are to be found for him, and he is handed those that come.
    fn watch(&mut self, wish: Wish) {
        let Wish { session, feed, reply } = wish;
        let is_it = |one: &Session| one.chain.links().session() == session;
        let Some(id) = self
            .sessions
            .iter()
            .find_map(|(id, one)| is_it(one).then_some(*id))
        else {
            // Dropped, it says so.
            return;
        };
        self.seal_pending(id);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.gate.set_watched(true);
        session.watchers.get_or_insert_default().add(feed);
        if !self.watched.contains(&id) {
            self.watched.push(id);
        }
        let missed = Missed::new(session.chain.links(), session.trail.last, reply);
        // Everything before is in a frame, which the next commit writes if none has.
        self.missed.push_back((u64::MAX, missed));
        self.must_commit = true;
    }

    /// Makes chunks for those who watch, and forgets whom nobody watches any more.
    fn seal_watched(&mut self) {
        for id in std::mem::take(&mut self.watched) {
            self.seal_pending(id);
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if session
                .watchers
                .as_ref()
                .is_some_and(|watchers| !watchers.is_empty())
            {
                self.watched.push(id);
            } else {
                session.watchers = None;
                session.gate.set_watched(false);
            }
        }
    }

    /// Has the chunks looked up of which all is written by now.
    fn find_missed(&mut self) {
        while self
            .missed
            .front()
            .is_some_and(|(count, _)| *count <= self.durable)
            && let Some((_, missed)) = self.missed.pop_front()
        {
            self.archive.find(missed);
        }
    }

    /// A batch is full: it is written, and made durable where that is due.
    fn write(&mut self) {
        if self.unwritten.is_some() {
            return;
        }
        self.spool.submit();
        if self.spool.is_commit_due() || self.spool.is_full() {
            self.commit();
        }
    }

    /// Begins a commit of all that is in chunks, and another segment where that is due.
    fn commit(&mut self) {
        if self.unwritten.is_some() {
            return;
        }
        let sequence = self.spool.next_sequence();
        self.spool.commit();
        if !self.awaited.is_empty() {
            self.releases
                .push_back((sequence, std::mem::take(&mut self.awaited)));
        }
        if std::mem::take(&mut self.must_commit) {
            let count = self.spool.next_sequence();
            self.missed
                .iter_mut()
                .for_each(|(needed, _)| *needed = count.min(*needed));
            self.find_missed();
        }
        self.roll();
    }

    /// Begins another segment where the current one is full. Everything is in commits.
    fn roll(&mut self) {
        let is_early = self.must_copy && !self.is_copying;
        if !self.spool.is_full() && !is_early {
            return;
        }
        let number = self.spool.number();
        match self.spool.roll() {
            Ok(true) => {}
            // The present one takes more than it should; the next commit tries again.
            Ok(false) => return,
            Err(err) => return self.space(Err(err)),
        }
        if let Some(held) = self.segments.get_mut(&number) {
            held.completed = Some(self.spool.next_sequence());
        }
        self.segments.insert(self.spool.number(), Held::default());
        if is_early {
            self.must_copy = false;
            self.copy_all = true;
        }
        self.reap();
    }

    /// Another segment has been prepared, or there is no space for it.
    fn space(&mut self, made: io::Result<()>) {
        match made {
            Ok(()) => {
                if self.handover.set_trouble(Trouble::Space, None) {
                    tracing::info!("the spool has space again");
                }
            }
            Err(err) => {
                let reason = format!("no space for the spool's next segment: {err}");
                if self.handover.set_trouble(Trouble::Space, Some(reason)) {
                    tracing::error!(error = %err, "the spool's next segment cannot be made: sessions are no longer recorded");
                }
                self.space_timer = Some(Box::pin(tokio::time::sleep(RETRY_INTERVAL)));
                // What is left may suffice for the little that live sessions have in whole segments.
                self.copy_all = true;
                self.copy_out();
            }
        }
    }

    /// The disk has answered.
    fn is_answering(&mut self) {
        self.pulse.set(self.spool.waiting_since());
        self.handover.set_overdue(false);
        if self.handover.set_trouble(Trouble::Stall, None) {
            tracing::info!("the spool answers again");
        }
    }

    async fn committed(&mut self, commit: Commit) {
        self.is_answering();
        match &commit.result {
            Ok(()) => {
                let sequence = commit.sequence;
                self.spool.reclaim(commit);
                self.is_durable(sequence + 1);
            }
            Err(err) => {
                tracing::warn!(error = %err, "the spool cannot be written");
                self.unwritten = Some(self.spool.unwritten(commit).await);
                self.retry().await;
            }
        }
    }

    /// All commits before `count` are durable.
    fn is_durable(&mut self, count: u64) {
        self.durable = count;
        self.find_missed();
        while self
            .releases
            .front()
            .is_some_and(|(sequence, _)| *sequence < count)
        {
            self.releases
                .pop_front()
                .into_iter()
                .for_each(|(_, awaited)| release(awaited));
        }
        while self.ending.front().is_some_and(|(sequence, _)| *sequence < count) {
            let Some((_, ended)) = self.ending.pop_front() else {
                return;
            };
            self.unarchived.insert(ended.session, ended.trail.oldest);
            self.archive.upload(Upload::new(
                ended.session,
                ended.started_us,
                ended.end,
                ended.trail.last,
            ));
        }
        self.copy_out();
    }

    /// Tries to write again what could not be written.
    async fn retry(&mut self) {
        let Some(mut unwritten) = self.unwritten.take() else {
            return;
        };
        self.timer = None;
        let moves = self.spool.relocate(&mut unwritten);
        self.moved(&moves);
        self.pulse.set(Some(Instant::now()));
        let written = self.spool.rewrite(unwritten).await;
        self.is_answering();
        match written {
            Ok(()) => {
                if self.handover.set_trouble(Trouble::Write, None) {
                    tracing::info!("the spool can be written again");
                }
                self.is_durable(self.spool.next_sequence());
                // These were in chunks when all was written again.
                release(std::mem::take(&mut self.awaited));
            }
            Err((err, unwritten)) => {
                self.fail(&err, &unwritten);
                self.unwritten = Some(unwritten);
                self.timer = Some(Box::pin(tokio::time::sleep(RETRY_INTERVAL)));
                if self.stage != Stage::Recording {
                    // Nothing is gained by waiting: what is in the spool is recovered by the next start.
                    self.archive.close();
                    self.stage = Stage::Done;
                }
            }
        }
    }

    /// Tells all sessions that have something unwritten, and those to come.
    fn fail(&mut self, err: &io::Error, unwritten: &Unwritten) {
        let reason = format!("the spool cannot be written: {err}");
        let affected: HashSet<_> = unwritten
            .frames()
            .filter_map(|(kind, payload)| session_of(kind, payload))
            .collect();
        for session in self.sessions.values().filter(|session| session.is_strict) {
            if !session.events.is_empty() || affected.contains(&session.chain.links().session()) {
                session.gate.fail(&reason);
            }
        }
        if self.handover.set_trouble(Trouble::Write, Some(reason.clone())) {
            tracing::error!(%reason, sessions = affected.len(), "sessions are no longer recorded");
        }
    }

    fn moved(&mut self, moves: &Moves) {
        let trails = self.sessions.values_mut().map(|session| &mut session.trail);
        for trail in trails.chain(self.ending.iter_mut().map(|(_, ended)| &mut ended.trail)) {
            trail.last = trail.last.map(|location| moves.follow(location));
        }
        for (_, missed) in &mut self.missed {
            missed.last = missed.last.map(|location| moves.follow(location));
        }
        self.segments.insert(self.spool.number(), Held::default());
        // What is not durable now begins in the new segment; those before it are complete as they are.
        for (_, held) in self.segments.iter_mut().rev().skip(1) {
            held.completed.get_or_insert(0);
        }
    }

    /// Asks for what live sessions hold in old segments to be copied out of them, where that has become much.
    fn copy_out(&mut self) {
        if self.is_copying || !(self.copy_all || self.segments.len() > HELD_SEGMENTS) {
            return;
        }
        let count = if self.copy_all {
            self.segments.len() - 1
        } else {
            HELD_SEGMENTS / 2
        };
        let is_durable = |held: &Held| held.completed.is_some_and(|sequence| sequence <= self.durable);
        let old = self
            .segments
            .iter()
            .take(count)
            .take_while(|(_, held)| is_durable(held));
        let Some((&through, _)) = old.last() else { return };
        let sessions: Vec<_> = self
            .sessions
            .values()
            .filter(|session| session.trail.oldest.is_some_and(|oldest| oldest <= through))
            .map(|session| session.chain.links().session())
            .collect();
        if !sessions.is_empty() {
            self.is_copying = true;
            self.copy_all = false;
            self.archive.copy_out(through, sessions);
        }
    }

    fn copied(&mut self, through: u32, copied: &[Ulid]) {
        self.is_copying = false;
        let copied: HashSet<_> = copied.iter().copied().collect();
        let segments = &mut self.segments;
        for session in self.sessions.values_mut() {
            if copied.contains(&session.chain.links().session()) {
                session.trail.frames = 0;
                segments.advance(&mut session.trail, through);
            }
        }
        for (_, ended) in &mut self.ending {
            if copied.contains(&ended.session) {
                segments.advance(&mut ended.trail, through);
            }
        }
        for (session, oldest) in &mut self.unarchived {
            if copied.contains(session) {
                // It has ended since, and may have frames in any later segment.
                let mut trail = Trail {
                    last: Some(Location {
                        segment: u32::MAX,
                        offset: 0,
                    }),
                    oldest: *oldest,
                    frames: 0,
                };
                segments.advance(&mut trail, through);
                *oldest = trail.oldest;
            }
        }
        self.reap();
    }

    fn archived(&mut self, session: Ulid) {
        if let Some(Some(oldest)) = self.unarchived.remove(&session) {
            self.segments.release(oldest);
        }
        self.spool.append(FrameKind::Archived, None, |out| {
            let id = session.to_bytes();
            out.extend_from_slice(&id);
            weir_record::Hash::of(&[&id])
        });
        self.reap();
    }

    /// Deletes the oldest segments that nobody needs.
    fn reap(&mut self) {
        while let Some(entry) = self.segments.first_entry() {
            if entry.get().sessions > 0 || *entry.key() >= self.spool.number() {
                return;
            }
            self.spool.delete(*entry.key());
            entry.remove();
        }
    }

    fn keep_buffer(&mut self, events: EventBuffer) {
        if self.buffers.len() < KEPT_BUFFERS && events.capacity() <= KEPT_BUFFER_LEN {
            self.buffers.push(events.into_storage());
        }
    }

    /// Goes on with a shutdown.
    fn close(&mut self) {
        let is_idle = |scribe: &Self| !scribe.spool.is_dirty() && !scribe.spool.is_committing();
        match self.stage {
            Stage::Recording | Stage::Archiving | Stage::Done => {}
            Stage::Ending | Stage::Marking if self.unwritten.is_some() => {}
            Stage::Ending if !self.has_backlog && self.ending.is_empty() && is_idle(self) => {
                self.archive.close();
                self.stage = Stage::Archiving;
            }
            Stage::Marking if is_idle(self) => self.stage = Stage::Done,
            Stage::Ending | Stage::Marking => self.flush(),
        }
    }
}

/// What these sessions wait for is durable.
fn release(awaited: Vec<Awaited>) {
    for Awaited { gate, count } in awaited {
        gate.set_durable(count);
    }
}

fn seal(session: &mut Session, spool: &mut Spool, packer: &mut Packer, segments: &mut BTreeMap<u32, Held>) {
    let Session {
        chain,
        events,
        trail,
        watchers,
        ..
    } = session;
    let location = spool.append(FrameKind::Chunk, trail.last, |out| {
        let (number, start) = (chain.links().next_number(), out.len());
        let hash = chain.seal(packer, events, out);
        if let Some(watchers) = watchers {
            watchers.offer(number, &out[start..]);
        }
        hash
    });
    segments.follow(trail, location);
}

/// Which segments are needed.
trait Segments {
    fn follow(&mut self, trail: &mut Trail, location: Location);
    fn advance(&mut self, trail: &mut Trail, through: u32);
    fn release(&mut self, oldest: u32);
}

impl Segments for BTreeMap<u32, Held> {
    /// A session's next frame is at `location`.
    fn follow(&mut self, trail: &mut Trail, location: Location) {
        trail.last = Some(location);
        trail.frames = trail.frames.saturating_add(1);
        if trail.oldest.is_none() {
            trail.oldest = Some(location.segment);
            self.entry(location.segment).or_default().sessions += 1;
        }
    }

    /// A session no longer needs the segments up to `through`.
    fn advance(&mut self, trail: &mut Trail, through: u32) {
        let Some(oldest) = trail.oldest.filter(|oldest| *oldest <= through) else {
            return;
        };
        self.release(oldest);
        let is_later = trail.last.is_some_and(|last| last.segment > through);
        let next = self
            .range(through + 1..)
            .next()
            .map(|(number, _)| *number)
            .filter(|_| is_later);
        trail.oldest = next;
        if let Some(next) = next {
            self.entry(next).or_default().sessions += 1;
        }
    }

    fn release(&mut self, oldest: u32) {
        if let Some(held) = self.get_mut(&oldest) {
            held.sessions -= 1;
        }
    }
}
