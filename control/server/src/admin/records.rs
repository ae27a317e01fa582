use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tonic::Status;
use weir_api::admin::read_recording_reply::Part;
use weir_api::admin::{
    ListAuditEventsReply, ListAuditEventsRequest, ListSessionsReply, ListSessionsRequest, ReadRecordingReply,
    ReadRecordingRequest, RecordingHeader,
};
use weir_api::audit::RecordingAccess;
use weir_objects::Objects;
use weir_store::{EventFilter, Session, SessionFilter};

use super::{Caller, wording};
use crate::control::Shared;
use crate::convert::{add_fate, event_about, event_message, session_message, status_of};

const DEFAULT_PAGE_SIZE: u32 = 100;
const MAX_PAGE_SIZE: u32 = 1000;

/// Texts from which on a page is full, however few rows it has: what comes to it with the last row and what stands around
/// the texts stays below what a gRPC client takes (4 MiB).
const PAGE_BYTES: usize = 1024 * 1024;

/// Bytes in one message: far below what a gRPC client takes (4 MiB), and few enough messages.
pub(super) const PIECE_BYTES: usize = 256 * 1024;

pub(super) async fn sessions(
    shared: &Shared,
    request: ListSessionsRequest,
    recorded: bool,
) -> Result<ListSessionsReply, Status> {
    // A session that has just ended is to be seen.
    shared.journal.flush().await;
    let status = status_of(request.status());
    let limit = page_size(request.page_size);
    let filter = SessionFilter {
        user: request.user,
        node: request.node,
        status,
        recorded,
        since_us: request.since_us,
        until_us: request.until_us,
        before_id: request.page_token,
        limit,
    };
    let mut rows = shared
        .state
        .store()
        .sessions(&filter)
        .await
        .map_err(wording::store_status)?;
    let mut bytes = 0;
    let fitting = rows.iter().position(|row| {
        bytes += row.text_bytes();
        bytes >= PAGE_BYTES
    });
    let is_full = fitting.is_some() || rows.len() == limit as usize;
    rows.truncate(fitting.map_or(rows.len(), |last| last + 1));
    let next_page_token = match rows.last() {
        Some(last) if is_full => last.id.clone(),
        _ => String::new(),
    };
    let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
    let fates = shared.state.store().fates(&ids).await;
    let mut fates = fates.map_err(wording::store_status)?;
    let with_fate = |row: Session| {
        let fate = fates.remove(&row.id);
        add_fate(session_message(row), fate)
    };
    Ok(ListSessionsReply {
        sessions: rows.into_iter().map(with_fate).collect(),
        next_page_token,
    })
}

pub(super) async fn audit_events(
    shared: &Shared,
    request: ListAuditEventsRequest,
) -> Result<ListAuditEventsReply, Status> {
    shared.journal.flush().await;
    let before_seq = match &*request.page_token {
        "" => 0,
        token => token.parse().map_err(|_| {
            Status::invalid_argument(format!(
                "got page token {token:?} while expecting one from the page before"
            ))
        })?,
    };
    let limit = page_size(request.page_size);
    let filter = EventFilter {
        user: request.user,
        node: request.node,
        session: request.session,
        kind: request.kind,
        since_us: request.since_us,
        until_us: request.until_us,
        before_seq,
        limit,
        limit_bytes: PAGE_BYTES,
    };
    let rows = shared
        .state
        .store()
        .events(&filter)
        .await
        .map_err(wording::store_status)?;
    let bytes: usize = rows.iter().map(|(_, event)| event.text_bytes()).sum();
    let is_full = rows.len() == limit as usize || bytes >= PAGE_BYTES;
    let next_page_token = match rows.last() {
        Some((seq, _)) if is_full => seq.to_string(),
        _ => String::new(),
    };
    let events = rows.into_iter().map(|(_, event)| event_message(event)).collect();
    Ok(ListAuditEventsReply {
        events,
        next_page_token,
    })
}

pub(super) async fn read_recording(
    shared: &Shared,
    caller: Caller,
    request: &ReadRecordingRequest,
) -> Result<BoxStream<'static, Result<ReadRecordingReply, Status>>, Status> {
    let session = session(shared, &request.id).await?;
    if session.object.is_empty() {
        return Err(Status::failed_precondition(format!(
            "session {:?} has no recording yet: it is there some moments after the session has ended",
            request.id
        )));
    }
    refuse_deleted(shared, &session.id).await?;
    let opened = shared
        .recordings
        .open(&session.object)
        .await
        .map_err(|error| not_to_be_had(shared.recordings.objects(), &session.object, &error))?;
    // Reading what others did is itself something that others want to know.
    let detail = RecordingAccess {
        action: request.action.clone(),
        administrator: caller.as_administrator(),
    };
    shared.journal.event(event_about(&session, &detail));
    let data_plane_keys = signing_keys(shared).await;
    let (session_key, session_key_error) = match opened.session_key {
        Ok(key) => (key.to_vec(), String::new()),
        Err(problem) => (Vec::new(), problem),
    };
    let header = RecordingHeader {
        session: Some(session_message(session)),
        session_key,
        session_key_error,
        data_plane_keys: data_plane_keys.iter().map(|key| key.to_vec()).collect(),
        size_bytes: opened.size_bytes,
    };
    let first = stream::iter([Ok(ReadRecordingReply {
        part: Some(Part::Header(Box::new(header))),
    })]);
    let objects = shared.recordings.objects().clone();
    let rest = opened.bytes.flat_map(move |read| match read {
        Ok(bytes) => stream::iter(pieces(&bytes)).left_stream(),
        Err(error) => stream::iter([Err(unreadable(&objects, &error))]).right_stream(),
    });
    Ok(first.chain(rest).boxed())
}

async fn refuse_deleted(shared: &Shared, id: &str) -> Result<(), Status> {
    let fates = shared.state.store().fates(&[id]).await;
    let fates = fates.map_err(wording::store_status)?;
    match fates.get(id) {
        Some(fate) if fate.deleted_us != 0 => Err(Status::failed_precondition(format!(
            "the recording of session {id:?} was deleted when its time was over: weir audit ls --session {id} says when"
        ))),
        _ => Ok(()),
    }
}

/// The session with this id, as it stands now.
pub(super) async fn session(shared: &Shared, id: &str) -> Result<Session, Status> {
    shared.journal.flush().await;
    let found = shared
        .state
        .store()
        .session(id)
        .await
        .map_err(wording::store_status)?;
    found.ok_or_else(|| {
        Status::not_found(format!(
            "session {id:?} does not exist: weir recordings ls shows those with a recording"
        ))
    })
}

/// The Ed25519 public keys with which data planes sign recordings.
pub(super) async fn signing_keys(shared: &Shared) -> Vec<[u8; 32]> {
    let directory = shared.state.directory().await;
    // The blob of an ed25519 key ends with its 32 raw bytes (RFC 8709 §4).
    directory
        .data_planes
        .values()
        .filter_map(|key| key.blob().last_chunk::<32>().copied())
        .collect()
}

/// Why an object that the index names cannot be read.
pub(super) fn not_to_be_had(objects: &Objects, object: &str, error: &object_store::Error) -> Status {
    if Objects::is_missing(error) {
        return Status::not_found(format!(
            "recording {object:?} is in the index and not in the object store: restore it from a backup"
        ));
    }
    unreadable(objects, error)
}

fn pieces(bytes: &[u8]) -> Vec<Result<ReadRecordingReply, Status>> {
    let piece = |data: &[u8]| {
        Ok(ReadRecordingReply {
            part: Some(Part::Data(data.to_vec())),
        })
    };
    bytes.chunks(PIECE_BYTES).map(piece).collect()
}

fn unreadable(objects: &Objects, error: &object_store::Error) -> Status {
    let problem = objects.explain(error);
    tracing::error!(%problem, "recording cannot be read");
    Status::internal(format!("the recording cannot be read: {problem}"))
}

fn page_size(asked: u32) -> u32 {
    match asked {
        0 => DEFAULT_PAGE_SIZE,
        asked => asked.min(MAX_PAGE_SIZE),
    }
}
