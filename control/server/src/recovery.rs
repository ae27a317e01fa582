use std::mem;
use std::sync::PoisonError;

use weir_api::audit::{Kind, SessionEnd};
use weir_store::{AuditEvent, EventFilter, Session, StoreError};

use crate::control::{EMBEDDED, Shared};
use crate::convert;

/// Gives each session that a former run left live its `session.end`, unless the recorder's recovery has done so.
///
/// Called when that is over, since a recording tells better how its session ended. A run that does not get this far leaves
/// it to the next one, to which the store gives the same sessions.
pub(crate) async fn close_abandoned(shared: &Shared) {
    shared.journal.flush().await;
    let abandoned = mem::take(&mut *shared.abandoned.lock().unwrap_or_else(PoisonError::into_inner));
    for session in abandoned {
        match has_ended(shared, &session).await {
            Ok(true) => {}
            Ok(false) => shared.journal.report(vec![end_of(session)], Vec::new()),
            Err(error) => {
                tracing::error!(%error, session = session.id, "interrupted session cannot be closed")
            }
        }
    }
}

async fn has_ended(shared: &Shared, session: &Session) -> Result<bool, StoreError> {
    let filter = EventFilter {
        session: session.id.clone(),
        kind: SessionEnd::KIND.to_owned(),
        limit: 1,
        ..EventFilter::default()
    };
    Ok(!shared.state.store().events(&filter).await?.is_empty())
}

fn end_of(session: Session) -> AuditEvent {
    AuditEvent {
        // The id that the data plane gives this event: should both come to write it, it is still one.
        id: format!("{}-end", session.id),
        time_us: session.end_us,
        session: session.id,
        login: session.login,
        node: session.node,
        client_address: session.client_address,
        data_plane: EMBEDDED.to_owned(),
        user: session.user.clone(),
        ..convert::event(&SessionEnd {
            reason: "weir was stopped or killed during the session".to_owned(),
            status: Some("interrupted".to_owned()),
            participants: vec![session.user.clone()],
            start_us: session.start_us,
            stop_us: session.end_us,
            ..SessionEnd::default()
        })
    }
}
