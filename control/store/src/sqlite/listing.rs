use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::{signed, unsigned};
use crate::{AuditEvent, EventFilter, Session, SessionFilter, SessionStatus};

const SESSIONS: &str = "
    SELECT id, user_name, login, node, kind, start_us, end_us, bytes, status, object, client_address
    FROM sessions
    WHERE (?1 = '' OR id < ?1)
        AND (?2 = '' OR user_name = ?2)
        AND (?3 = '' OR node = ?3)
        AND (?4 = 0 OR status = ?4)
        AND (?5 = 0 OR (object <> '' AND recording_deleted = 0))
        AND start_us >= ?6
        AND (?7 = 0 OR start_us < ?7)
    ORDER BY id DESC
    LIMIT ?8";

const SESSION: &str = "
    SELECT id, user_name, login, node, kind, start_us, end_us, bytes, status, object, client_address
    FROM sessions WHERE id = ?1";

const LIVE_SESSIONS: &str = "SELECT count(*) FROM sessions WHERE status = 1";

const EVENTS: &str = "
    SELECT seq, id, time_us, kind, session, user_name, login, node, client_address, detail,
           cluster, node_address, data_plane, recording_mode
    FROM audit_events
    WHERE (?1 = 0 OR seq < ?1)
        AND (?2 = '' OR user_name = ?2)
        AND (?3 = '' OR node = ?3)
        AND (?4 = '' OR kind = ?4)
        AND time_us >= ?5
        AND (?6 = 0 OR time_us < ?6)
    ORDER BY seq DESC
    LIMIT ?7";

// The same, by the index on sessions.
const EVENTS_OF_SESSION: &str = "
    SELECT seq, id, time_us, kind, session, user_name, login, node, client_address, detail,
           cluster, node_address, data_plane, recording_mode
    FROM audit_events
    WHERE session = ?8
        AND (?1 = 0 OR seq < ?1)
        AND (?2 = '' OR user_name = ?2)
        AND (?3 = '' OR node = ?3)
        AND (?4 = '' OR kind = ?4)
        AND time_us >= ?5
        AND (?6 = 0 OR time_us < ?6)
    ORDER BY seq DESC
    LIMIT ?7";

// Events are found by their id, which is unique and so has an index.
const SUBJECTS: &str = "
    SELECT sessions.id, sessions.user_name, sessions.login, sessions.node, sessions.client_address,
           coalesce(start.node_address, ''), coalesce(start.recording_mode, '')
    FROM sessions LEFT JOIN audit_events AS start ON start.id = sessions.id || '-start'
    WHERE sessions.id IN (SELECT value FROM json_each(?1))";

const KNOWN_EVENTS: &str = "SELECT id FROM audit_events WHERE id IN (SELECT value FROM json_each(?1))";

// The expression is that of the index on it.
const LIVE_PROOFS: &str = "
    SELECT detail FROM audit_events
    WHERE kind IN ('cert.upstream', 'cert.create')
        AND CASE WHEN json_valid(detail) THEN detail ->> 'proof_expires' END > ?1";

pub(super) async fn sessions(pool: &SqlitePool, filter: &SessionFilter) -> Result<Vec<Session>, sqlx::Error> {
    let rows = sqlx::query(SESSIONS)
        .bind(&filter.before_id)
        .bind(&filter.user)
        .bind(&filter.node)
        .bind(filter.status.map_or(0, u8::from))
        .bind(filter.recorded)
        .bind(signed(filter.since_us))
        .bind(signed(filter.until_us))
        .bind(filter.limit)
        .fetch_all(pool)
        .await?;
    rows.iter().map(session_of).collect()
}

pub(super) async fn session(pool: &SqlitePool, id: &str) -> Result<Option<Session>, sqlx::Error> {
    let row = sqlx::query(SESSION).bind(id).fetch_optional(pool).await?;
    row.as_ref().map(session_of).transpose()
}

pub(super) async fn subjects(pool: &SqlitePool, sessions: &[&str]) -> Result<Vec<AuditEvent>, sqlx::Error> {
    let rows = sqlx::query(SUBJECTS)
        .bind(array(sessions))
        .fetch_all(pool)
        .await?;
    let subject = |row: &SqliteRow| {
        Ok(AuditEvent {
            session: row.try_get(0)?,
            user: row.try_get(1)?,
            login: row.try_get(2)?,
            node: row.try_get(3)?,
            client_address: row.try_get(4)?,
            node_address: row.try_get(5)?,
            recording_mode: row.try_get(6)?,
            ..AuditEvent::default()
        })
    };
    rows.iter().map(subject).collect()
}

pub(super) async fn known_events(pool: &SqlitePool, ids: &[&str]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(KNOWN_EVENTS)
        .bind(array(ids))
        .fetch_all(pool)
        .await
}

fn array(ids: &[&str]) -> String {
    serde_json::to_string(ids).expect("a list of texts always has a JSON form")
}

pub(super) async fn live_sessions(pool: &SqlitePool) -> Result<u64, sqlx::Error> {
    sqlx::query_scalar(LIVE_SESSIONS)
        .fetch_one(pool)
        .await
        .map(unsigned)
}

pub(super) async fn events(
    pool: &SqlitePool,
    filter: &EventFilter,
) -> Result<Vec<(u64, AuditEvent)>, sqlx::Error> {
    let of_session = !filter.session.is_empty();
    let mut query = sqlx::query(if of_session { EVENTS_OF_SESSION } else { EVENTS })
        .bind(signed(filter.before_seq))
        .bind(&filter.user)
        .bind(&filter.node)
        .bind(&filter.kind)
        .bind(signed(filter.since_us))
        .bind(signed(filter.until_us))
        .bind(filter.limit);
    if of_session {
        query = query.bind(&filter.session);
    }
    let mut rows = query.fetch(pool);
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let (seq, event) = event_of(&row)?;
        bytes += event.text_bytes();
        events.push((seq, event));
        if filter.limit_bytes > 0 && bytes >= filter.limit_bytes {
            break;
        }
    }
    Ok(events)
}

pub(super) async fn each_live_proof(
    pool: &SqlitePool,
    now: u64,
    each: &mut (dyn FnMut(String) + Send),
) -> Result<(), sqlx::Error> {
    let mut rows = sqlx::query(LIVE_PROOFS).bind(signed(now)).fetch(pool);
    while let Some(row) = rows.try_next().await? {
        each(row.try_get(0)?);
    }
    Ok(())
}

pub(super) fn session_of(row: &SqliteRow) -> Result<Session, sqlx::Error> {
    Ok(Session {
        id: row.try_get(0)?,
        user: row.try_get(1)?,
        login: row.try_get(2)?,
        node: row.try_get(3)?,
        kind: row.try_get(4)?,
        start_us: unsigned(row.try_get(5)?),
        end_us: unsigned(row.try_get(6)?),
        bytes: unsigned(row.try_get(7)?),
        status: SessionStatus::from_number(row.try_get(8)?),
        object: row.try_get(9)?,
        client_address: row.try_get(10)?,
    })
}

pub(super) fn event_of(row: &SqliteRow) -> Result<(u64, AuditEvent), sqlx::Error> {
    let event = AuditEvent {
        id: row.try_get(1)?,
        time_us: unsigned(row.try_get(2)?),
        kind: row.try_get(3)?,
        session: row.try_get(4)?,
        user: row.try_get(5)?,
        login: row.try_get(6)?,
        node: row.try_get(7)?,
        client_address: row.try_get(8)?,
        detail: row.try_get(9)?,
        cluster: row.try_get(10)?,
        node_address: row.try_get(11)?,
        data_plane: row.try_get(12)?,
        recording_mode: row.try_get(13)?,
    };
    Ok((unsigned(row.try_get(0)?), event))
}
