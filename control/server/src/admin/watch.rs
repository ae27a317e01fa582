//! Watching a session that goes on: its recording as it is written, to whoever may open the socket.
//!
//! What passes through here is sealed, as it is in the store. Who comes and who leaves is an audit event.

use std::io::{self, Read};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tonic::Status;
use weir_api::admin::read_recording_reply::Part;
use weir_api::admin::{ReadRecordingReply, RecordingHeader, WatchSessionRequest};
use weir_api::audit::{SessionJoin, SessionLeave};
use weir_api::{Follower, Live, WatchError};
use weir_record::MAX_ENVELOPE_LEN;
use weir_store::Session;

use super::Caller;
use super::records::{self, PIECE_BYTES, signing_keys};
use crate::control::Shared;
use crate::convert::{event_about, session_message};

pub(super) async fn session(
    shared: &Arc<Shared>,
    caller: Caller,
    request: &WatchSessionRequest,
) -> Result<BoxStream<'static, Result<ReadRecordingReply, Status>>, Status> {
    let session = records::session(shared, &request.id).await?;
    let watch = shared.watch.load_full().ok_or_else(not_yet)?;
    let live = watch(&session.id).await.map_err(|error| match error {
        WatchError::NotLive(_) => Status::failed_precondition(error.to_string()),
        WatchError::Unreadable(_) => Status::internal(error.to_string()),
    })?;
    let Live {
        mut recorded,
        follower,
    } = live;
    let (begin, recorded) = off_thread(move || {
        let mut begin = Vec::new();
        recorded
            .by_ref()
            .take(MAX_ENVELOPE_LEN as u64)
            .read_to_end(&mut begin)?;
        Ok((begin, recorded))
    })
    .await?;
    let (session_key, session_key_error) = match shared.recordings.session_key(&begin) {
        Ok(key) => (key.to_vec(), String::new()),
        Err(problem) => (Vec::new(), problem),
    };
    let visit = Visit::begin(Arc::clone(shared), caller, &session);
    let header = RecordingHeader {
        session: Some(session_message(session)),
        session_key,
        session_key_error,
        data_plane_keys: signing_keys(shared)
            .await
            .iter()
            .map(|key| key.to_vec())
            .collect(),
        size_bytes: 0,
    };
    let first = [Part::Header(Box::new(header)), Part::Data(begin)].map(|part| Ok(reply(part)));
    let rest = Rest {
        recorded: Some(recorded),
        follower,
        visit,
        is_over: false,
    };
    Ok(stream::iter(first)
        .chain(stream::unfold(rest, Rest::next))
        .boxed())
}

fn not_yet() -> Status {
    Status::unavailable("no data plane has started yet: try again in a moment")
}

fn reply(part: Part) -> ReadRecordingReply {
    ReadRecordingReply { part: Some(part) }
}

/// Runs what waits for a disk where it keeps nobody from being answered.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(io::Error::other(panic)))
        .map_err(|error| Status::internal(format!("what has been recorded so far cannot be read: {error}")))
}

/// What comes after the first bytes.
struct Rest {
    recorded: Option<Box<dyn Read + Send>>,
    follower: Follower,
    visit: Visit,
    is_over: bool,
}

impl Rest {
    async fn next(mut self) -> Option<(Result<ReadRecordingReply, Status>, Self)> {
        if self.is_over {
            return None;
        }
        if let Some(mut recorded) = self.recorded.take() {
            let read = off_thread(move || {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                recorded
                    .by_ref()
                    .take(PIECE_BYTES as u64)
                    .read_to_end(&mut piece)?;
                Ok((piece, recorded))
            });
            match read.await {
                Ok((piece, recorded)) if !piece.is_empty() => {
                    self.recorded = Some(recorded);
                    return Some((Ok(reply(Part::Data(piece))), self));
                }
                Ok(_) => {}
                Err(status) => return Some(self.end("unreadable", status)),
            }
        }
        match self.follower.next().await {
            Some(Ok(chunk)) => Some((Ok(reply(Part::Data(chunk.to_vec()))), self)),
            Some(Err(slow)) => {
                let words =
                    format!("you were {slow} for your terminal or your connection: watch again to go on");
                Some(self.end("too slow", Status::resource_exhausted(words)))
            }
            None => {
                self.visit.reason = "the session ended";
                None
            }
        }
    }

    fn end(mut self, reason: &'static str, status: Status) -> (Result<ReadRecordingReply, Status>, Self) {
        self.visit.reason = reason;
        self.is_over = true;
        (Err(status), self)
    }
}

/// Somebody watches; dropped, he has left.
struct Visit {
    shared: Arc<Shared>,
    caller: Caller,
    session: Session,
    reason: &'static str,
}

impl Visit {
    fn begin(shared: Arc<Shared>, caller: Caller, session: &Session) -> Visit {
        let join = SessionJoin {
            administrator: caller.as_administrator(),
        };
        shared.journal.event(event_about(session, &join));
        Visit {
            shared,
            caller,
            session: session.clone(),
            reason: "the watcher left",
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let leave = SessionLeave {
            administrator: self.caller.as_administrator(),
            reason: Some(self.reason.to_owned()),
        };
        self.shared.journal.event(event_about(&self.session, &leave));
    }
}
