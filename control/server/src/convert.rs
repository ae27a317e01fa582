//! Between the messages of the schema and the rows of the store.

use std::borrow::Cow;

use weir_api::audit::{Kind, Line, detail_of, rfc3339};
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
        cluster: event.cluster,
        node_address: event.node_address,
        data_plane: event.data_plane,
        recording_mode: event.recording_mode,
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
        cluster: event.cluster,
        node_address: event.node_address,
        data_plane: event.data_plane,
        recording_mode: event.recording_mode,
    }
}

/// An event of this kind, of nobody and nowhere yet, without id and time.
pub(crate) fn event<K: Kind>(detail: &K) -> AuditEvent {
    AuditEvent {
        kind: K::KIND.to_owned(),
        detail: detail.to_json(),
        ..AuditEvent::default()
    }
}

/// The same about a session.
pub(crate) fn event_about<K: Kind>(session: &Session, detail: &K) -> AuditEvent {
    AuditEvent {
        kind: K::KIND.to_owned(),
        detail: detail.to_json(),
        ..subject_of(session)
    }
}

/// Who does what where, as far as the index knows it: what all events of a session share.
pub(crate) fn subject_of(session: &Session) -> AuditEvent {
    AuditEvent {
        session: session.id.clone(),
        user: session.user.clone(),
        login: session.login.clone(),
        node: session.node.clone(),
        client_address: session.client_address.clone(),
        ..AuditEvent::default()
    }
}

pub(crate) fn line_of(event: &AuditEvent) -> Line<'_> {
    Line {
        id: Cow::Borrowed(&event.id),
        time: rfc3339(event.time_us),
        time_us: event.time_us,
        kind: Cow::Borrowed(&event.kind),
        cluster: Cow::Borrowed(&event.cluster),
        session: Cow::Borrowed(&event.session),
        user: Cow::Borrowed(&event.user),
        login: Cow::Borrowed(&event.login),
        node: Cow::Borrowed(&event.node),
        node_address: Cow::Borrowed(&event.node_address),
        client_address: Cow::Borrowed(&event.client_address),
        data_plane: Cow::Borrowed(&event.data_plane),
        recording_mode: Cow::Borrowed(&event.recording_mode),
        detail: detail_of(&event.detail),
    }
}

pub(crate) fn event_of_line(line: Line<'_>) -> AuditEvent {
    let detail = line.detail.get();
    AuditEvent {
        id: line.id.into_owned(),
        time_us: line.time_us,
        kind: line.kind.into_owned(),
        session: line.session.into_owned(),
        user: line.user.into_owned(),
        login: line.login.into_owned(),
        node: line.node.into_owned(),
        client_address: line.client_address.into_owned(),
        detail: serde_json::from_str::<String>(detail).unwrap_or_else(|_| detail.to_owned()),
        cluster: line.cluster.into_owned(),
        node_address: line.node_address.into_owned(),
        data_plane: line.data_plane.into_owned(),
        recording_mode: line.recording_mode.into_owned(),
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
