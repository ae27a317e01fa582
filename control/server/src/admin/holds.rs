//! Legal holds: a recording that is held is not deleted when its time is over.

use tonic::Status;
use weir_api::admin::{HoldRecordingRequest, ReleaseRecordingRequest};
use weir_api::audit::{RecordingHold, RecordingRelease};
use weir_api::dataplane::SessionRecord;
use weir_store::{Held, Session};

use super::{Caller, wording};
use crate::control::Shared;
use crate::convert::{add_fate, event_about, session_message};
use crate::retention;

/// Characters of a reason.
const REASON_LIMIT: usize = 500;

pub(super) async fn hold(
    shared: &Shared,
    caller: Caller,
    request: HoldRecordingRequest,
) -> Result<SessionRecord, Status> {
    let reason = request.reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_LIMIT || reason.contains(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "got a reason of {} characters while expecting one line of 1 to {REASON_LIMIT}: say who asked for the hold, and where \
             that is written",
            reason.chars().count()
        )));
    }
    let session = find(shared, &request.id).await?;
    let held = retention::hold(shared, &session, reason)
        .await
        .map_err(wording::store_status)?;
    match held {
        Held::Now | Held::AtTheLastMoment => {}
        Held::Before => {
            return Err(Status::failed_precondition(format!(
                "session {:?} is held already: weir recordings ls says why; release it first to give another reason",
                session.id
            )));
        }
        Held::Deleted => {
            return Err(Status::failed_precondition(format!(
                "the recording of session {:?} is deleted: there is nothing left to hold",
                session.id
            )));
        }
        Held::Unknown => return Err(unknown(&session.id)),
    }
    let detail = RecordingHold {
        reason: reason.to_owned(),
        administrator: caller.as_administrator(),
    };
    shared.journal.event(event_about(&session, &detail));
    let mut message = describe(shared, session).await?;
    if held == Held::AtTheLastMoment {
        message.hold_doubt =
            "it was about to be deleted, and the store cannot be asked whether it still has it".to_owned();
    }
    Ok(message)
}

pub(super) async fn release(
    shared: &Shared,
    caller: Caller,
    request: ReleaseRecordingRequest,
) -> Result<SessionRecord, Status> {
    let session = find(shared, &request.id).await?;
    let released = shared
        .state
        .store()
        .release_recording(&session.id)
        .await
        .map_err(wording::store_status)?;
    let Some(reason) = released else {
        return Err(Status::failed_precondition(format!(
            "session {:?} is not held: weir recordings ls shows those that are",
            session.id
        )));
    };
    let detail = RecordingRelease {
        reason,
        administrator: caller.as_administrator(),
    };
    shared.journal.event(event_about(&session, &detail));
    describe(shared, session).await
}

async fn find(shared: &Shared, id: &str) -> Result<Session, Status> {
    // A session that has just begun is to be found.
    shared.journal.flush().await;
    let found = shared
        .state
        .store()
        .session(id)
        .await
        .map_err(wording::store_status)?;
    found.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Status {
    Status::not_found(format!(
        "session {id:?} does not exist: weir sessions ls shows all"
    ))
}

async fn describe(shared: &Shared, session: Session) -> Result<SessionRecord, Status> {
    let fates = shared.state.store().fates(&[&session.id]).await;
    let mut fates = fates.map_err(wording::store_status)?;
    let fate = fates.remove(&session.id);
    Ok(add_fate(session_message(session), fate))
}
