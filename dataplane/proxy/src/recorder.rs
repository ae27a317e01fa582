//! The hand-over of a session's events to the recorder's thread: the interface that sessions use.
//!
//! Being filled in: this stands here so that the relay can be built against it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::ObjectStore;
use weir_api::ControlPlane;
use weir_record::{Event, SessionMeta, Status, Stream};

use crate::{
    config::{IoMode, ProxyConfig},
    error::StartError,
    view::View,
};

/// Why a session cannot be recorded, in words that follow "session recording failed: ".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RecordError(String);

/// The recorder's thread, as sessions and the data plane see it.
#[derive(Clone)]
pub(crate) struct Recorder;

/// One session's recording while it goes on; dropped without `finish` it ends as interrupted.
pub(crate) struct SessionRecording;

/// Starts the recorder: keys (`identity::recording_key`), spool (`config.data_dir/spool`), recovery of what a former
/// process left, reports to `control` (row with object, bytes and status when a recording is in the store; for
/// interrupted ones also `session.end` with `session_log::session_end_id`).
pub(crate) fn start(
    _config: &ProxyConfig,
    _io: IoMode,
    _store: Arc<dyn ObjectStore>,
    _control: Arc<dyn ControlPlane>,
) -> Result<Recorder, StartError> {
    Ok(Recorder)
}

impl Recorder {
    /// Writes everything out and ends the thread.
    pub(crate) fn shutdown(&self) {}

    /// Begins a recording; recipients and limits are the view's.
    pub(crate) fn begin(&self, _meta: &SessionMeta, _view: &View) -> Result<SessionRecording, RecordError> {
        Ok(SessionRecording)
    }
}

impl SessionRecording {
    /// Whether data of this channel and stream is still recorded, or only counted because its limit is reached.
    pub(crate) fn wants(&self, _channel: u32, _stream: Stream) -> bool {
        false
    }

    /// Records data by copying it; past the limit it is counted.
    pub(crate) fn data(
        &mut self,
        _at: Duration,
        _channel: u32,
        _stream: Stream,
        _data: &[u8],
    ) -> Result<(), RecordError> {
        Ok(())
    }

    /// Records data by reference.
    pub(crate) fn lend(
        &mut self,
        _at: Duration,
        _channel: u32,
        _stream: Stream,
        _data: Bytes,
    ) -> Result<(), RecordError> {
        Ok(())
    }

    /// Records an event other than data.
    pub(crate) fn record(
        &mut self,
        _at: Duration,
        _channel: u32,
        _event: &Event<'_>,
    ) -> Result<(), RecordError> {
        Ok(())
    }

    /// Whether the session's reads must pause.
    pub(crate) fn is_full(&self) -> bool {
        false
    }

    /// Resolves when there is room again, or the recorder has failed.
    pub(crate) fn ready(&self) -> impl Future<Output = ()> + use<> {
        std::future::ready(())
    }

    /// Ends the recording.
    pub(crate) fn finish(self, _status: Status) {}
}
