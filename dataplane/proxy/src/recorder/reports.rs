//! What the control plane is told of recordings, and the recorder as the data plane starts it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weir_api::audit::{SessionEnd, SessionUpload};
use weir_api::dataplane::{AuditEvent, SessionRecord, SessionStatus};
use weir_api::{BoxFuture, ControlError, ControlPlane};
use weir_objects::Objects;
use weir_record::Status;

use super::{Finished, Recorder, RecorderConfig, SpoolIo};
use crate::clock::Clock;
use crate::config::{IoMode, ProxyConfig};
use crate::error::StartError;
use crate::identity;
use crate::session_log::session_end_id;

/// Starts the data plane's recorder, whose finished recordings become rows of the control plane's index.
pub(crate) fn start(
    config: &ProxyConfig,
    io: IoMode,
    store: Objects,
    control: Arc<dyn ControlPlane>,
) -> Result<Recorder, StartError> {
    let key = identity::recording_key(config)?;
    let stored = store.clone();
    let reports = Arc::new(Reports {
        control: Arc::clone(&control),
        unanswered: Mutex::default(),
    });
    let answered = Arc::clone(&reports);
    let sync_store = Arc::new(move || {
        stored.sync()?;
        answered.wait()
    });
    let on_finished = Box::new(move |finished| reports.report(&finished));
    let recorder = Recorder::start(RecorderConfig {
        flush_interval: config.flush_interval,
        commit_limit: config.flush_interval,
        sync_store: Some(sync_store),
        on_recovered: Box::new(move || control.recovered()),
        io: match (config.io, io) {
            (IoMode::Uring, _) => SpoolIo::Uring,
            (_, IoMode::Epoll) => SpoolIo::Plain,
            _ => SpoolIo::Auto,
        },
        ..RecorderConfig::new(config.data_dir.join("spool"), store, key, on_finished)
    });
    recorder.map_err(|err| StartError::Recorder(err.to_string()))
}

/// What the control plane has been told and has not yet confirmed.
///
/// The spool lets go of recordings for many at once, after their objects are durable; so are the rows by which they are
/// found, for which the spool would be the only other place.
struct Reports {
    control: Arc<dyn ControlPlane>,
    unanswered: Mutex<Vec<Report>>,
}

struct Report {
    events: Vec<AuditEvent>,
    row: SessionRecord,
    answer: BoxFuture<Result<(), ControlError>>,
}

impl Report {
    fn send(control: &dyn ControlPlane, events: Vec<AuditEvent>, row: SessionRecord) -> Self {
        let answer = control.report_durably(events.clone(), vec![row.clone()]);
        Report { events, row, answer }
    }
}

impl Reports {
    fn report(&self, finished: &Finished) {
        let (events, row) = told(finished);
        self.keep(vec![Report::send(&*self.control, events, row)]);
    }

    fn keep(&self, reports: Vec<Report>) {
        self.unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(reports);
    }

    /// Waits until all that has been reported is confirmed, and reports again what is refused, for [`ANSWER_LIMIT`] in
    /// all. What is still open then is asked for again by the next call.
    ///
    /// Called where the archive may block, on a thread of its runtime.
    fn wait(&self) -> io::Result<()> {
        let runtime = tokio::runtime::Handle::current();
        let confirmed = runtime.block_on(tokio::time::timeout(ANSWER_LIMIT, async {
            while let Err(error) = self.confirm().await {
                tracing::warn!(%error, "a finished recording is not in the index yet");
                tokio::time::sleep(REPEAT_INTERVAL).await;
            }
        }));
        confirmed.map_err(|_| io::Error::other("the control plane does not confirm finished recordings"))
    }

    async fn confirm(&self) -> Result<(), ControlError> {
        let open = std::mem::take(&mut *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner));
        let mut open = Open { reports: self, open };
        while let Some(report) = open.open.last_mut() {
            let answer = (&mut report.answer).await;
            let Report { events, row, .. } = open.open.pop().expect("the report that was answered is there");
            if let Err(error) = answer {
                self.keep(vec![Report::send(&*self.control, events, row)]);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Reports whose answers are waited for; those that are still open when the wait ends go back.
struct Open<'r> {
    reports: &'r Reports,
    open: Vec<Report>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.reports.keep(std::mem::take(&mut self.open));
    }
}

/// A control plane that has not written anything for so long is in trouble; the archive goes on meanwhile, and asks again later.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

/// What the control plane is told of a recording. A repeat changes nothing: the row is there already, and events are told
/// apart by their id.
fn told(finished: &Finished) -> (Vec<AuditEvent>, SessionRecord) {
    let session = finished.session.to_string();
    let status = match finished.status {
        Status::Complete => SessionStatus::Complete,
        Status::Interrupted => SessionStatus::Interrupted,
    };
    let mut events = Vec::new();
    if finished.recovered {
        // The process that carried the session may not have lived to say so. Who was in it is sealed: the control plane
        // fills that in from its index.
        let reason = match finished.status {
            Status::Complete => "the session ended",
            Status::Interrupted => "the data plane ended before the session did",
        };
        events.push(AuditEvent {
            id: session_end_id(&session),
            time_us: Clock::wall_us(),
            session: session.clone(),
            ..AuditEvent::from(&SessionEnd {
                reason: reason.to_owned(),
                start_us: finished.started_us,
                stop_us: finished.ended_us,
                ..SessionEnd::default()
            })
        });
    }
    events.push(AuditEvent {
        id: format!("{session}-upload"),
        time_us: Clock::wall_us(),
        session: session.clone(),
        ..AuditEvent::from(&SessionUpload {
            object: finished.object.clone(),
            bytes: finished.bytes,
            object_bytes: finished.object_bytes,
        })
    });
    let row = SessionRecord {
        id: session,
        start_us: finished.started_us,
        end_us: finished.ended_us,
        bytes: finished.bytes,
        status: status.into(),
        object: finished.object.clone(),
        ..SessionRecord::default()
    };
    (events, row)
}
