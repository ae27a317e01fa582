//! What of a session is kept: its recording, its audit events, its row in the index.
//!
//! Everything the recorder must have is handed to it before the packet that it came in is sent on. Data of a batch
//! that is worth it goes by reference: the receive buffer itself is lent, at the end of the batch and before
//! anything of the batch is sent.

mod audited;
mod forwards;
mod resizes;
mod transfers;
mod typed;

use std::{
    ops::Range,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use weir_api::{
    ControlPlane,
    audit::{
        Kind, RecordSession, RecordingGap, Serial, SessionConnect, SessionData, SessionEnd, SessionStart,
    },
    dataplane::SessionStatus,
};
use weir_policy::Node;
use weir_record::{Event, ForwardKind, SessionMeta, Status, Stream};
use weir_relay::{ChannelId, ChannelKind, SessionEvent, Side, Tap, echo::Verdict};

use self::{audited::Audited, forwards::Forwards, typed::Typed};
use crate::{
    audit::Subject,
    receive::Received,
    recorder::{Durability, Gap, RecordError, SessionRecording, Terms},
    upstream::Connected,
    view::View,
    worker::Worker,
};

/// The record of one session while it goes on.
pub(crate) struct SessionLog {
    /// Apart, so that what a session takes as a whole stays below two kibibytes.
    account: Box<Account>,
    control: Arc<dyn ControlPlane>,
    start: Instant,
    recording: Option<SessionRecording>,
    /// What of this batch waits for its end, in order: data in the receive buffer, and events between.
    waiting: Vec<Waiting>,
    /// For the index: what the session turned out to be.
    kind: &'static str,
    /// For the index until the recording is in the store: bytes of data that went to the recorder.
    recorded_bytes: u64,
    /// Where what is typed on terminals is recorded only as far as it was echoed.
    typed: Option<Box<Typed>>,
    /// Most sessions have none.
    forwards: Option<Box<Forwards>>,
}

/// Whose session it is, and what the audit log is told of it at its end.
struct Account {
    subject: Subject,
    audited: Audited,
    /// Payloads of packets toward the client and from it, in bytes.
    tx: u64,
    rx: u64,
}

enum Waiting {
    Data {
        channel: ChannelId,
        stream: Stream,
        range: Range<usize>,
    },
    Event(SessionEvent),
    Typed(ChannelId, Verdict),
}

/// From this size on data is lent; below it a copy costs less than a buffer that stays out.
const LEND: usize = 4096;

impl SessionLog {
    /// Opens the recording and tells the control plane.
    pub(crate) fn begin(
        worker: &Worker,
        subject: &Subject,
        view: &View,
        node: &Node,
        terms: Option<Terms>,
        connected: &Connected,
    ) -> Result<Self, RecordError> {
        let recording = match terms {
            None => None,
            Some(terms) => {
                let meta = SessionMeta {
                    session: subject.id,
                    started_us: subject.start_us,
                    user: subject.user.clone(),
                    login: subject.login.clone(),
                    node: subject.node.clone(),
                    node_address: node.address.to_string(),
                    client_address: subject.client.to_string(),
                    cluster: view.cluster.clone(),
                };
                let recipients = view
                    .recipients
                    .as_ref()
                    .map_err(|e| RecordError::Failed(e.to_string()))?;
                Some(worker.shared.recorder.begin(&meta, recipients, terms)?)
            }
        };
        let log = Self::over(subject.clone(), Arc::clone(&worker.shared.control), recording);
        let connect = subject.event(&SessionConnect {
            address: connected.address.to_string(),
            certificate_serial: Serial(connected.serial),
            waited_us: micros(connected.waited),
            took_us: micros(connected.took),
        });
        let mut start = subject.event(&SessionStart {
            recorded: log.recording.is_some(),
            record_session: Some(match terms {
                None => RecordSession::Off,
                Some(Terms { is_strict: true, .. }) => RecordSession::Strict,
                Some(_) => RecordSession::BestEffort,
            }),
        });
        // By it the control plane finds whose session it is.
        start.id = format!("{}-start", subject.session);
        log.control
            .report(vec![connect, start], vec![subject.row(log.kind)]);
        Ok(log)
    }

    fn over(subject: Subject, control: Arc<dyn ControlPlane>, recording: Option<SessionRecording>) -> Self {
        Self {
            account: Box::new(Account {
                subject,
                audited: Audited::default(),
                tx: 0,
                rx: 0,
            }),
            control,
            start: Instant::now(),
            recording,
            waiting: Vec::new(),
            kind: "none",
            recorded_bytes: 0,
            typed: None,
            forwards: None,
        }
    }

    /// From now on what is typed on terminals is recorded only where it was seen to be echoed.
    pub(crate) fn withhold_unechoed(&mut self) {
        self.typed = self.recording.is_some().then(Box::default);
    }

    /// Whether what comes next would still be recorded.
    pub(crate) fn check(&self) -> Result<(), RecordError> {
        self.recording.as_ref().map_or(Ok(()), SessionRecording::check)
    }

    /// Ready with the reason when a session that must be recorded no longer is.
    pub(crate) fn poll_failed(&self, cx: &mut Context<'_>) -> Poll<RecordError> {
        match &self.recording {
            Some(recording) => recording.poll_failed(cx),
            None => Poll::Pending,
        }
    }

    /// Whether what is recorded is passed on only once it is durable.
    pub(crate) fn is_sync(&self) -> bool {
        self.recording.as_ref().is_some_and(SessionRecording::is_sync)
    }

    /// Whether the session ends when it cannot be recorded.
    pub(crate) fn is_strict(&self) -> bool {
        self.recording.as_ref().is_some_and(SessionRecording::is_strict)
    }

    /// Events handed to the recorder so far.
    pub(crate) fn handed(&self) -> u64 {
        self.recording.as_ref().map_or(0, SessionRecording::handed)
    }

    /// Tells how many of them are durable.
    ///
    /// # Panics
    /// If the session is not recorded: then nothing has been handed over that could be waited for.
    pub(crate) fn durability(&self) -> Durability {
        let recording = self.recording.as_ref();
        recording
            .expect("only what is recorded is waited for")
            .durability()
    }

    /// The recorder has been behind for too long: a session that need not be recorded goes on without it.
    pub(crate) fn suspend(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.suspend();
        }
    }

    /// Whose session it is.
    pub(crate) fn subject(&self) -> &Subject {
        &self.account.subject
    }

    /// Counts a packet that was relayed.
    pub(crate) fn count(&mut self, from: Side, payload_bytes: usize) {
        match from {
            Side::Client => self.account.rx += payload_bytes as u64,
            Side::Target => self.account.tx += payload_bytes as u64,
        }
    }

    /// Data of the packet that is being relayed. `position` is its payload's in the receive buffer; a packet that had
    /// to wait is no longer in one.
    pub(crate) fn tap(
        &mut self,
        tap: &Tap,
        payload: &[u8],
        position: Option<usize>,
    ) -> Result<(), RecordError> {
        let watched = self.typed.as_mut().filter(|typed| typed.watches(tap.channel));
        let Some(typed) = watched else {
            return self.data(tap, payload, position);
        };
        let at = self.start.elapsed();
        let verdicts = typed.take(at, (tap.channel, tap.stream), &payload[tap.range.clone()]);
        if tap.stream != weir_relay::Stream::Input {
            self.data(tap, payload, position)?;
        }
        self.judged(tap.channel, verdicts)
    }

    /// What was typed on a terminal, or how much of it was not echoed.
    fn judged(&mut self, channel: ChannelId, verdicts: Vec<Verdict>) -> Result<(), RecordError> {
        for verdict in verdicts {
            match self.waiting.is_empty() {
                true => self.write_typed(channel, &verdict)?,
                false => self.waiting.push(Waiting::Typed(channel, verdict)),
            }
        }
        Ok(())
    }

    fn write_typed(&mut self, channel: ChannelId, verdict: &Verdict) -> Result<(), RecordError> {
        let Some(recording) = &mut self.recording else {
            return Ok(());
        };
        let at = self.start.elapsed();
        match verdict {
            Verdict::Shown(bytes) => {
                self.recorded_bytes += bytes.len() as u64;
                recording.data(at, channel.0, Stream::Input, bytes)
            }
            Verdict::Withheld(bytes) => {
                let withheld = Event::WithheldInput { bytes: *bytes };
                recording.record(at, channel.0, &withheld)
            }
        }
    }

    fn data(&mut self, tap: &Tap, payload: &[u8], position: Option<usize>) -> Result<(), RecordError> {
        let Some(recording) = &mut self.recording else {
            return Ok(());
        };
        let (channel, stream) = (tap.channel, stream(tap.stream));
        let wanted = recording.wants(channel.0, stream);
        if wanted {
            self.recorded_bytes += tap.range.len() as u64;
        }
        if let Some(position) = position
            && (tap.range.len() >= LEND || !self.waiting.is_empty())
            && wanted
        {
            let range = position + tap.range.start..position + tap.range.end;
            self.waiting.push(Waiting::Data {
                channel,
                stream,
                range,
            });
            return Ok(());
        }
        recording.data(
            self.start.elapsed(),
            channel.0,
            stream,
            &payload[tap.range.clone()],
        )
    }

    /// Something happened. Told to the control plane at once, and to the recorder in its place among the data.
    pub(crate) fn event(&mut self, event: SessionEvent) -> Result<(), RecordError> {
        if let SessionEvent::ForwardOpened { .. } | SessionEvent::ForwardClosed { .. } = event {
            let at = self.start.elapsed();
            self.forwards.get_or_insert_default().note(at, &event);
        }
        self.audit(&event);
        self.watch_terminal(&event)?;
        if !self.waiting.is_empty() {
            self.waiting.push(Waiting::Event(event));
            return Ok(());
        }
        self.write(&event)
    }

    /// A terminal begins or ends.
    fn watch_terminal(&mut self, event: &SessionEvent) -> Result<(), RecordError> {
        match (&mut self.typed, event) {
            (Some(typed), SessionEvent::Pty { channel, echo, .. }) => {
                typed.begin(*channel, *echo);
                Ok(())
            }
            (Some(typed), SessionEvent::ChannelClosed { channel }) => {
                let verdicts = typed.end(*channel);
                self.judged(*channel, verdicts)
            }
            _ => Ok(()),
        }
    }

    /// Ends a batch: lends the receive buffer to the recorder if anything in it is waiting for that.
    pub(crate) fn hand_over(&mut self, received: &mut Received) -> Result<(), RecordError> {
        self.tell_gap();
        if self.waiting.is_empty() {
            return Ok(());
        }
        let lent = self
            .recording
            .as_ref()
            .map(|recording| recording.pin(received.lend()));
        let mut waiting = std::mem::take(&mut self.waiting);
        for waiting in waiting.drain(..) {
            match waiting {
                Waiting::Data {
                    channel,
                    stream,
                    range,
                } => {
                    if let (Some(recording), Some(lent)) = (&mut self.recording, &lent) {
                        recording.lend(self.start.elapsed(), channel.0, stream, &lent.slice(range))?;
                    }
                }
                Waiting::Event(event) => self.write(&event)?,
                Waiting::Typed(channel, verdict) => self.write_typed(channel, &verdict)?,
            }
        }
        self.waiting = waiting;
        Ok(())
    }

    /// What to wait for before more is read; `None` if the recorder has room.
    pub(crate) fn ready(&self) -> Option<impl Future<Output = ()> + use<>> {
        self.recording
            .as_ref()
            .filter(|recording| recording.is_full())
            .map(SessionRecording::ready)
    }

    /// Closes the recording and tells the control plane.
    pub(crate) fn finish(mut self, status: SessionStatus, why: &str) {
        while let Some(typed) = &mut self.typed
            && let Some(channel) = typed.any()
        {
            let verdicts = typed.end(channel);
            // Where nothing can be recorded any more, that has been told.
            drop(self.judged(channel, verdicts));
        }
        let end_us = crate::clock::Clock::wall_us();
        if let Some(recording) = self.recording.take() {
            let gap = recording.finish(match status {
                SessionStatus::Complete => Status::Complete,
                _ => Status::Interrupted,
            });
            gap.iter().for_each(|gap| self.report_gap(gap));
        }
        let Account {
            subject,
            mut audited,
            tx,
            rx,
        } = *self.account;
        let mut row = subject.row(self.kind);
        row.end_us = end_us;
        row.status = status.into();
        row.bytes = self.recorded_bytes;
        let mut end = subject.event(&SessionEnd {
            reason: why.to_owned(),
            status: None,
            interactive: Some(self.kind == TERMINAL),
            participants: vec![subject.user.clone()],
            start_us: subject.start_us,
            stop_us: end_us,
            forwards: self
                .forwards
                .as_ref()
                .map_or_else(Vec::new, |forwards| forwards.summary()),
        });
        end.id = session_end_id(&subject.session);
        let mut events = Vec::with_capacity(3);
        events.extend(audited.last_size().map(|resize| subject.event(&resize)));
        events.push(subject.event(&SessionData { tx, rx }));
        events.push(end);
        self.control.report(events, vec![row]);
    }

    /// Tells the control plane something of this session.
    pub(crate) fn report<K: Kind>(&self, detail: &K) {
        self.control
            .report(vec![self.subject().event(detail)], Vec::new());
    }

    fn tell_gap(&mut self) {
        if let Some(gap) = self.recording.as_mut().and_then(SessionRecording::take_gap) {
            self.report_gap(&gap);
        }
    }

    fn report_gap(&self, gap: &Gap) {
        self.report(&RecordingGap {
            from_us: micros(gap.from),
            to_us: micros(gap.to),
            bytes: gap.bytes,
            events: gap.events,
            reason: gap.reason.clone(),
        });
    }

    fn write(&mut self, event: &SessionEvent) -> Result<(), RecordError> {
        let forwards = self.forwards.as_mut();
        let forward_end = forwards.and_then(|forwards| forwards.recorded(event));
        let Some(recording) = &mut self.recording else {
            return Ok(());
        };
        if let Some((channel, end)) = forward_end {
            recording.record(self.start.elapsed(), channel.0, &end)?;
        }
        let Some((channel, event)) = recorded(event) else {
            return Ok(());
        };
        recording.record(self.start.elapsed(), channel.0, &event)
    }

    fn audit(&mut self, event: &SessionEvent) {
        let kind = match event {
            SessionEvent::Pty { .. } => Some(TERMINAL),
            SessionEvent::Exec { .. } => Some("exec"),
            SessionEvent::Subsystem { .. } => Some("subsystem"),
            SessionEvent::Shell { .. } => Some("shell"),
            SessionEvent::ForwardOpened { .. } => Some("forward"),
            _ => None,
        };
        // The first program tells what the session is; a terminal weighs more than what runs in it.
        let mut rows = Vec::new();
        if let Some(kind) = kind
            && (matches!(self.kind, "none" | "forward") && self.kind != kind)
        {
            self.kind = kind;
            rows.push(self.subject().row(kind));
        }
        let forwards = self.forwards.as_mut();
        let forward_end = forwards.and_then(|forwards| forwards.audited(event));
        let Account { subject, audited, .. } = &mut *self.account;
        let events: Vec<_> = audited
            .take(subject, event, self.start.elapsed())
            .or_else(|| forward_end.map(|port| subject.event(&port)))
            .into_iter()
            .collect();
        if !events.is_empty() || !rows.is_empty() {
            self.control.report(events, rows);
        }
    }
}

const TERMINAL: &str = "terminal";

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The id of a session's last audit event. It can be reported by the session itself and by the recorder that closes
/// what a session left open; the control plane keeps one event of an id.
pub(crate) fn session_end_id(session: &str) -> String {
    format!("{session}-end")
}

/// What the recording has of an event.
fn recorded(event: &SessionEvent) -> Option<(ChannelId, Event<'_>)> {
    Some(match event {
        SessionEvent::Pty {
            channel, term, size, ..
        } => (
            *channel,
            Event::Terminal {
                term: term.as_bytes(),
                columns: size.columns,
                rows: size.rows,
                width_px: size.width_px,
                height_px: size.height_px,
            },
        ),
        SessionEvent::Resize { channel, size } => (
            *channel,
            Event::Resize {
                columns: size.columns,
                rows: size.rows,
                width_px: size.width_px,
                height_px: size.height_px,
            },
        ),
        SessionEvent::Shell { channel, .. } => (*channel, Event::Shell),
        SessionEvent::Exec { channel, command, .. } => (*channel, Event::Exec { command }),
        SessionEvent::Subsystem { channel, name, .. } => (
            *channel,
            Event::Subsystem {
                name: name.as_bytes(),
            },
        ),
        SessionEvent::ExitStatus { channel, status } => (*channel, Event::ExitStatus(*status)),
        SessionEvent::ExitSignal {
            channel,
            signal,
            core_dumped,
            message,
        } => (
            *channel,
            Event::ExitSignal {
                signal: signal.as_bytes(),
                core_dumped: *core_dumped,
                message: message.as_bytes(),
            },
        ),
        SessionEvent::Following { channel, protocol } => {
            let begin = weir_record::FileOperation::begin(transfers::protocol(*protocol));
            (*channel, Event::FileOperation(begin))
        }
        SessionEvent::FileOperation { channel, operation } => {
            (*channel, Event::FileOperation(transfers::recorded(operation)))
        }
        SessionEvent::TransferSummary { channel, summary } => (
            *channel,
            Event::TransferSummary(transfers::recorded_summary(summary)),
        ),
        SessionEvent::Env { channel, name, value } => (
            *channel,
            Event::Environment {
                name: name.as_bytes(),
                value: value.as_deref().map(str::as_bytes),
            },
        ),
        // The proxy's own words stood on the user's terminal like any other output.
        SessionEvent::Message { channel, text } => (*channel, Event::Output(text.as_bytes())),
        SessionEvent::ChannelClosed { channel } | SessionEvent::ForwardClosed { channel, .. } => {
            (*channel, Event::Closed)
        }
        SessionEvent::ForwardOpened {
            channel,
            kind,
            endpoints,
            ..
        } => (
            *channel,
            Event::Forward {
                kind: forward_kind(*kind)?,
                host: endpoints.host.as_bytes(),
                port: endpoints.port,
                originator: endpoints.originator.as_bytes(),
                originator_port: endpoints.originator_port,
            },
        ),
        _ => return None,
    })
}

fn forward_kind(kind: ChannelKind) -> Option<ForwardKind> {
    Some(match kind {
        ChannelKind::DirectTcpip => ForwardKind::DirectTcp,
        ChannelKind::ForwardedTcpip => ForwardKind::ForwardedTcp,
        ChannelKind::DirectStreamlocal => ForwardKind::DirectUnix,
        ChannelKind::ForwardedStreamlocal => ForwardKind::ForwardedUnix,
        ChannelKind::X11 => ForwardKind::X11,
        ChannelKind::Agent => ForwardKind::Agent,
        ChannelKind::Session | ChannelKind::Tunnel | ChannelKind::Other => return None,
    })
}

fn forward_name(kind: ChannelKind) -> &'static str {
    forward_kind(kind).map_or("other", ForwardKind::as_str)
}

fn stream(stream: weir_relay::Stream) -> Stream {
    match stream {
        weir_relay::Stream::Output => Stream::Output,
        weir_relay::Stream::ErrorOutput => Stream::ErrorOutput,
        weir_relay::Stream::Input => Stream::Input,
    }
}

#[cfg(test)]
pub(crate) mod tests;
