//! What the control plane is told of recordings, and the recorder as the data plane starts it.

use std::sync::Arc;

use object_store::ObjectStore;
use serde_json::json;
use weir_api::ControlPlane;
use weir_api::dataplane::{AuditEvent, SessionRecord, SessionStatus};
use weir_record::Status;

use super::{Finished, Recorder, RecorderConfig, SpoolIo, sync_directory};
use crate::clock::Clock;
use crate::config::{IoMode, ProxyConfig};
use crate::error::StartError;
use crate::identity;
use crate::session_log::session_end_id;

/// Starts the data plane's recorder, whose finished recordings become rows of the control plane's index.
pub(crate) fn start(
    config: &ProxyConfig,
    io: IoMode,
    store: Arc<dyn ObjectStore>,
    control: Arc<dyn ControlPlane>,
) -> Result<Recorder, StartError> {
    let key = identity::recording_key(config)?;
    let sync_store = sync_directory(&config.recordings).map_err(|source| StartError::File {
        path: config.recordings.clone(),
        source,
    })?;
    let on_finished = Box::new(move |finished| report(&*control, &finished));
    let recorder = Recorder::start(RecorderConfig {
        flush_interval: config.flush_interval,
        sync_store: Some(sync_store),
        io: match (config.io, io) {
            (IoMode::Uring, _) => SpoolIo::Uring,
            (_, IoMode::Epoll) => SpoolIo::Plain,
            _ => SpoolIo::Auto,
        },
        ..RecorderConfig::new(config.data_dir.join("spool"), store, key, on_finished)
    });
    recorder.map_err(|err| StartError::Recorder(err.to_string()))
}

/// A repeat changes nothing: the row is there already, and events are told apart by their id.
fn report(control: &dyn ControlPlane, finished: &Finished) {
    let session = finished.session.to_string();
    let status = match finished.status {
        Status::Complete => SessionStatus::Complete,
        Status::Interrupted => SessionStatus::Interrupted,
    };
    let mut events = Vec::new();
    if finished.recovered {
        // The process that carried the session may not have lived to say so. Who was in it is sealed: the index knows.
        let reason = match finished.status {
            Status::Complete => "the session ended",
            Status::Interrupted => "the data plane ended before the session did",
        };
        let detail = json!({
            "reason": reason,
            "start_us": finished.started_us,
            "stop_us": finished.ended_us,
        });
        events.push(AuditEvent {
            id: session_end_id(&session),
            time_us: Clock::wall_us(),
            kind: "session.end".to_owned(),
            session: session.clone(),
            detail_json: detail.to_string(),
            ..AuditEvent::default()
        });
    }
    let detail =
        json!({ "object": finished.object, "bytes": finished.bytes, "object_bytes": finished.object_bytes });
    events.push(AuditEvent {
        id: format!("{session}-upload"),
        time_us: Clock::wall_us(),
        kind: "session.upload".to_owned(),
        session: session.clone(),
        detail_json: detail.to_string(),
        ..AuditEvent::default()
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
    control.report(events, vec![row]);
}
