//! What one session records, on the thread that carries it.
//!
//! A **strict** session is told at once when nobody can record it, and ends. A **best-effort** one goes on: what passes while
//! nobody records it is counted, and the gap is recorded when somebody does again.
//!
//! ```text
//!            impeded, or too long without room
//! recording ───────────────────────────────────▶ gap: counted, nothing handed over
//!     ▲                                           │
//!     └── the next event after that is over: ◀────┘
//!         first the gap itself, then the event
//! ```

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use weir_record::{Event, EventKind, Note, Status, Stream};

use super::handover::{Handover, Message, Payload, SessionGate, TIMED, URGENT};
use super::{Lent, RecordError, Terms, limits};

/// The record of one session. Dropped without [`finish`](SessionRecording::finish) it ends as interrupted.
///
/// At rest it costs this, a gate of some 100 bytes, and some 700 bytes in the recorder's thread.
pub struct SessionRecording {
    handover: Arc<Handover>,
    gate: Arc<SessionGate>,
    limits: limits::Limits,
    /// The latest time that was told, microseconds since the start: nothing is recorded with an earlier one.
    last_us: u64,
    is_strict: bool,
    is_sync: bool,
    is_ended: bool,
    gaps: Option<Box<Gaps>>,
}

/// Boxed: most sessions have none.
#[derive(Default)]
struct Gaps {
    open: Option<Gap>,
    /// One that is over and of which nobody has been told.
    closed: Option<Gap>,
}

/// A stretch of a session that is not in its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins, since the session's start.
    pub from: Duration,
    /// Where it ends.
    pub to: Duration,
    /// Bytes of channel data that passed in it.
    pub bytes: u64,
    /// Other things that happened in it.
    pub events: u64,
    /// Why nobody recorded them.
    pub reason: String,
    /// It is over only when the recorder has taken on what was handed over before.
    needs_room: bool,
}

impl fmt::Debug for SessionRecording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRecording")
            .field("id", &self.gate.id())
            .finish_non_exhaustive()
    }
}

impl SessionRecording {
    pub(super) fn new(handover: Arc<Handover>, gate: Arc<SessionGate>, terms: Terms) -> SessionRecording {
        SessionRecording {
            handover,
            gate,
            limits: limits::Limits::new(terms.exec_limit, terms.hashes_unrecorded),
            last_us: 0,
            is_strict: terms.is_strict,
            is_sync: terms.is_sync,
            is_ended: false,
            gaps: None,
        }
    }

    fn gap(&self) -> Option<&Gap> {
        self.gaps.as_ref()?.open.as_ref()
    }

    /// Whether any of the stream's next bytes will be recorded; what is not is still to be given to
    /// [`data`](SessionRecording::data), which counts it.
    #[must_use]
    pub fn wants(&self, channel: u32, stream: Stream) -> bool {
        self.gap().is_none() && self.limits.wants(channel, stream)
    }

    /// Records bytes of a channel by copying them: for some kilobytes at most. Never blocks.
    ///
    /// # Errors
    /// If they are not recorded and have to be.
    pub fn data(
        &mut self,
        at: Duration,
        channel: u32,
        stream: Stream,
        data: &[u8],
    ) -> Result<(), RecordError> {
        let payload = |len: usize| Payload::copied(&data[..len]);
        self.bytes(at, channel, stream, data, payload, TIMED)
    }

    /// Prepares a buffer for [`lend`](SessionRecording::lend). All of it counts toward the session's bound until the last
    /// slice of it has been given back, which is within moments.
    pub fn pin<B>(&self, buffer: B) -> Lent
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        Lent::new(buffer, &self.handover, &self.gate)
    }

    /// Records bytes of a channel by reference. Never blocks.
    ///
    /// # Errors
    /// If they are not recorded and have to be.
    pub fn lend(
        &mut self,
        at: Duration,
        channel: u32,
        stream: Stream,
        data: &Lent,
    ) -> Result<(), RecordError> {
        let payload = |len: usize| Payload::Lent(data.slice(0..len));
        self.bytes(at, channel, stream, data.as_ref(), payload, URGENT)
    }

    /// Records anything that happened. Never blocks.
    ///
    /// # Errors
    /// If it is not recorded and has to be.
    pub fn record(&mut self, at: Duration, channel: u32, event: &Event<'_>) -> Result<(), RecordError> {
        if let Some((stream, data)) = event.data() {
            return self.data(at, channel, stream, data);
        }
        self.check()?;
        self.advance(at);
        match event {
            Event::Terminal { .. } => self.limits.terminal(channel),
            Event::Closed => self.say_unrecorded(channel)?,
            _ => {}
        }
        if self.is_in_gap()? {
            self.count(0, 1);
            return Ok(());
        }
        self.event(channel, event)
    }

    /// Whether reading for this session must pause until [`ready`](SessionRecording::ready).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.gap().is_none() && self.handover.is_full(&self.gate)
    }

    /// Resolves when the session may read again, or has failed. Any runtime can poll it.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let (handover, gate) = (Arc::clone(&self.handover), Arc::clone(&self.gate));
        std::future::poll_fn(move |cx| handover.poll_ready(&gate, cx))
    }

    /// A best-effort session has waited long enough for [`ready`](SessionRecording::ready): it goes on without a recorder until
    /// there is room again. Does nothing to a strict one, which waits.
    pub fn suspend(&mut self) {
        if !self.is_strict && self.gap().is_none() {
            self.open_gap("the recorder was behind", true);
        }
    }

    /// Whether a session that cannot be recorded ends.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.is_strict
    }

    /// How much has been handed over, for [`poll_durable`](SessionRecording::poll_durable).
    #[must_use]
    pub fn handed(&self) -> u64 {
        self.gate.handed()
    }

    /// Whether what is handed over may be passed on only once it is durable.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        self.is_sync
    }

    /// The count of events that are durable, for a session of which that is asked.
    pub(crate) fn durability(&self) -> Durability {
        Durability {
            handover: Arc::clone(&self.handover),
            gate: Arc::clone(&self.gate),
            is_strict: self.is_strict,
        }
    }

    /// Ready with the reason once a strict session is no longer recorded. The waker is that of the session's task, as
    /// with all that this type waits for.
    pub fn poll_failed(&self, cx: &mut Context<'_>) -> Poll<RecordError> {
        if self.is_strict {
            self.gate.register(cx);
            if let Err(error) = self.check_own() {
                return Poll::Ready(error);
            }
            // What waits to be passed on waits for a recorder that is in trouble.
            if self.is_sync
                && self.gate.durable() < self.gate.handed()
                && let Some(reason) = self.handover.trouble()
            {
                return Poll::Ready(RecordError::Failed(reason));
            }
        }
        Poll::Pending
    }

    /// A gap that is over since this was asked last.
    pub fn take_gap(&mut self) -> Option<Gap> {
        self.gaps.as_mut()?.closed.take()
    }

    /// Ends the recording. It goes into the store on its own. Returns the gap that it ends with, if it does.
    pub fn finish(mut self, status: Status) -> Option<Gap> {
        self.end(status);
        self.take_gap()
    }

    fn end(&mut self, status: Status) {
        self.is_ended = true;
        // Without a recorder there is nothing to be said. While it cannot write, what ends a session is kept in any case.
        self.close_gap();
        while let Some(channel) = self.limits.any_channel() {
            drop(self.say_unrecorded(channel));
        }
        self.handover.forget(self.gate.id());
        let id = self.gate.id();
        drop(self.handover.send(Message::End { id, status }, TIMED));
    }

    /// # Errors
    /// If a strict session can no longer record anything.
    pub(crate) fn check(&self) -> Result<(), RecordError> {
        if !self.is_strict {
            return Ok(());
        }
        self.check_own()?;
        match self.handover.trouble() {
            Some(reason) => Err(RecordError::Failed(reason)),
            None => Ok(()),
        }
    }

    /// The same without what others have to do with it: what it has handed over will be recorded.
    fn check_own(&self) -> Result<(), RecordError> {
        if let Some(reason) = self.gate.failed() {
            return Err(RecordError::Failed(reason.to_owned()));
        }
        if self.handover.is_stopped() {
            return Err(RecordError::Stopped);
        }
        if self.handover.is_overrun(&self.gate) {
            return Err(RecordError::Overrun);
        }
        Ok(())
    }

    fn bytes(
        &mut self,
        at: Duration,
        channel: u32,
        stream: Stream,
        data: &[u8],
        payload: impl FnOnce(usize) -> Payload,
        urgency: u8,
    ) -> Result<(), RecordError> {
        self.check()?;
        self.advance(at);
        if self.is_in_gap()? {
            self.count(data.len() as u64, 0);
            return Ok(());
        }
        let admitted = self.limits.admit(channel, stream, data.len());
        self.limits.pass(channel, stream, &data[admitted.len..]);
        if admitted.len > 0 {
            self.put(channel, stream.kind(), payload(admitted.len), urgency)?;
        }
        if admitted.reached {
            let limit = self.limits.limit();
            self.event(channel, &Event::LimitReached { stream, limit })?;
        }
        Ok(())
    }

    fn advance(&mut self, at: Duration) {
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        self.last_us = self.last_us.max(at_us);
    }

    fn say_unrecorded(&mut self, channel: u32) -> Result<(), RecordError> {
        let unrecorded = self.limits.close(channel);
        if self.gap().is_some() {
            self.count(0, unrecorded.len() as u64);
            return Ok(());
        }
        unrecorded.iter().try_for_each(|event| self.event(channel, event))
    }

    fn event(&mut self, channel: u32, event: &Event<'_>) -> Result<(), RecordError> {
        let mut payload = Vec::new();
        event.encode_payload(&mut payload);
        self.put(channel, event.kind(), Payload::copied(&payload), TIMED)
    }

    fn put(
        &mut self,
        channel: u32,
        kind: EventKind,
        payload: Payload,
        urgency: u8,
    ) -> Result<(), RecordError> {
        // Somebody waits for it.
        let urgency = if self.is_sync || self.gate.is_watched() {
            URGENT
        } else {
            urgency
        };
        let (bytes, events) = match kind.is_stream() {
            true => (payload.as_ref().len() as u64, 0),
            false => (0, 1),
        };
        let put = self
            .handover
            .event(&self.gate, self.last_us, channel, (kind, payload), urgency);
        match put {
            Ok(()) => {}
            Err(_) if self.is_strict => return Err(RecordError::Stopped),
            // The thread has ended between the look at it and this.
            Err(_) => {
                self.open_gap(&RecordError::Stopped.to_string(), false);
                self.count(bytes, events);
            }
        }
        Ok(())
    }

    /// Whether what comes now is not recorded. Opens and closes gaps.
    fn is_in_gap(&mut self) -> Result<bool, RecordError> {
        if self.is_strict {
            return Ok(false);
        }
        let impediment = match self.check_own() {
            Err(error) => Some(error.to_string()),
            Ok(()) => self.handover.trouble(),
        };
        match (self.gap(), impediment) {
            (None, None) => Ok(false),
            (None, Some(reason)) => {
                self.open_gap(&reason, false);
                Ok(true)
            }
            (Some(_), Some(_)) => Ok(true),
            (Some(gap), None) if gap.needs_room && !self.handover.has_room(&self.gate) => Ok(true),
            (Some(_), None) => {
                self.close_gap();
                Ok(self.gap().is_some())
            }
        }
    }

    fn open_gap(&mut self, reason: &str, needs_room: bool) {
        let at = Duration::from_micros(self.last_us);
        self.gaps.get_or_insert_default().open = Some(Gap {
            from: at,
            to: at,
            bytes: 0,
            events: 0,
            reason: reason.to_owned(),
            needs_room,
        });
    }

    fn count(&mut self, bytes: u64, events: u64) {
        if let Some(gap) = self.gaps.as_mut().and_then(|gaps| gaps.open.as_mut()) {
            gap.bytes += bytes;
            gap.events += events;
        }
    }

    /// The gap is over and goes into the recording itself, if there is still one.
    fn close_gap(&mut self) {
        let Some(mut gap) = self.gaps.as_mut().and_then(|gaps| gaps.open.take()) else {
            return;
        };
        gap.to = Duration::from_micros(self.last_us);
        if self.handover.is_stopped() {
            let note = Note::gap(gap.from, gap.to, gap.bytes, gap.events, &gap.reason);
            self.handover.leave_note(&self.gate, note);
        } else {
            drop(self.event(
                0,
                &Event::Gap {
                    from: gap.from,
                    to: gap.to,
                    bytes: gap.bytes,
                    events: gap.events,
                    reason: gap.reason.as_bytes(),
                },
            ));
        }
        // Of two that nobody has asked for between, the later is told with the bytes of both.
        let gaps = self.gaps.get_or_insert_default();
        if let Some(earlier) = gaps.closed.take() {
            gap.from = earlier.from;
            gap.bytes += earlier.bytes;
            gap.events += earlier.events;
        }
        gaps.closed = Some(gap);
    }
}

impl Drop for SessionRecording {
    fn drop(&mut self) {
        if !self.is_ended {
            self.end(Status::Interrupted);
        }
    }
}

/// Tells how much of what a session has handed over is durable.
#[derive(Clone)]
pub(crate) struct Durability {
    handover: Arc<Handover>,
    gate: Arc<SessionGate>,
    is_strict: bool,
}

impl Durability {
    /// Whether the first `handed` events are durable, or need not be any more.
    pub(crate) fn reached(&self, handed: u64) -> bool {
        self.gate.durable() >= handed || (!self.is_strict && self.is_impeded())
    }

    /// Ready once they are. Never for a strict session that is no longer recorded: it ends.
    pub(crate) fn poll_reached(&self, handed: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.reached(handed) {
            return Poll::Ready(());
        }
        self.gate.register(cx);
        match self.reached(handed) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn is_impeded(&self) -> bool {
        self.gate.failed().is_some() || self.handover.is_stopped() || self.handover.is_in_trouble()
    }
}
