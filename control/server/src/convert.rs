//! Between the messages of the schema and the rows of the store.

use weir_api::dataplane;
use weir_store::{AuditEvent, Fate, Session, SessionStatus};

pub(crate) fn event_of(event: dataplane::AuditEvent) -> AuditEvent {
    AuditEvent {
        id: event.id,
        time_us: event.time_us,
        kind: event.kind,
        session: event.session,
        user: event.user,
        login: event.login,
        node: event.node,
        client_address: event.client_address,
        detail: event.detail_json,
    }
}

pub(crate) fn event_message(event: AuditEvent) -> dataplane::AuditEvent {
    dataplane::AuditEvent {
        id: event.id,
        time_us: event.time_us,
        kind: event.kind,
        session: event.session,
        user: event.user,
        login: event.login,
        node: event.node,
        client_address: event.client_address,
        detail_json: event.detail,
    }
}

/// `None` for a record that does not say how the session stands: it would open a row that nothing closes.
pub(crate) fn session_of(record: dataplane::SessionRecord) -> Option<Session> {
    let status = status_of(record.status())?;
    Some(Session {
        id: record.id,
        user: record.user,
        login: record.login,
        node: record.node,
        kind: record.kind,
        start_us: record.start_us,
        end_us: record.end_us,
        bytes: record.bytes,
        status,
        object: record.object,
        client_address: record.client_address,
    })
}

pub(crate) fn session_message(session: Session) -> dataplane::SessionRecord {
    let status = match session.status {
        SessionStatus::Live => dataplane::SessionStatus::Live,
        SessionStatus::Complete => dataplane::SessionStatus::Complete,
        SessionStatus::Interrupted => dataplane::SessionStatus::Interrupted,
    };
    dataplane::SessionRecord {
        id: session.id,
        user: session.user,
        login: session.login,
        node: session.node,
        kind: session.kind,
        start_us: session.start_us,
        end_us: session.end_us,
        bytes: session.bytes,
        status: status.into(),
        object: session.object,
        client_address: session.client_address,
        ..dataplane::SessionRecord::default()
    }
}

/// With what has become of the session's recording.
pub(crate) fn add_fate(session: dataplane::SessionRecord, fate: Option<Fate>) -> dataplane::SessionRecord {
    let fate = fate.unwrap_or_default();
    dataplane::SessionRecord {
        held_us: fate.held_us,
        hold_reason: fate.hold_reason,
        deleted_us: fate.deleted_us,
        ..session
    }
}

pub(crate) fn status_of(status: dataplane::SessionStatus) -> Option<SessionStatus> {
    match status {
        dataplane::SessionStatus::Unspecified => None,
        dataplane::SessionStatus::Live => Some(SessionStatus::Live),
        dataplane::SessionStatus::Complete => Some(SessionStatus::Complete),
        dataplane::SessionStatus::Interrupted => Some(SessionStatus::Interrupted),
    }
}
