use serde::Serialize;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::listing::session_of;
use super::signed;
use crate::{AuditEvent, Session};

// Rows come as one JSON array of arrays: a batch is one statement however many rows it has, since each trip to the
// connection's thread costs more than a row does. Columns go by number, in the order in which they are inserted: by name
// a row costs half as much again.

const APPEND_EVENTS: &str = "
    INSERT INTO audit_events
        (id, time_us, kind, session, user_name, login, node, client_address, detail,
         cluster, node_address, data_plane, recording_mode)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
           value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
    FROM json_each(?1) WHERE true
    ON CONFLICT (id) DO NOTHING";

// A record that comes late or twice changes nothing: what has ended stays ended, and where its recording is is
// said once. Empty fields of a later record leave what is known.
const UPDATE_SESSIONS: &str = "
    INSERT INTO sessions
        (id, user_name, login, node, kind, start_us, end_us, bytes, status, object, client_address)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
           value ->> 8, value ->> 9, value ->> 10
    FROM json_each(?1) WHERE true
    ON CONFLICT (id) DO UPDATE SET
        kind = CASE excluded.kind WHEN '' THEN sessions.kind ELSE excluded.kind END,
        end_us = CASE excluded.end_us WHEN 0 THEN sessions.end_us ELSE excluded.end_us END,
        bytes = max(sessions.bytes, excluded.bytes),
        status = excluded.status,
        object = excluded.object
    WHERE sessions.status = 1 OR (excluded.status <> 1 AND sessions.object = '')";

const INTERRUPT_LIVE: &str = "
    UPDATE sessions SET
        status = 3,
        end_us = max(start_us, coalesce(
            (SELECT max(time_us) FROM audit_events WHERE audit_events.session = sessions.id), 0))
    WHERE status = 1";

// Events are found by their id, which is unique and so has an index.
const UNCLOSED: &str = "
    SELECT id, user_name, login, node, kind, start_us, end_us, bytes, status, object, client_address
    FROM sessions
    WHERE status = 3 AND NOT EXISTS (SELECT 1 FROM audit_events WHERE audit_events.id = sessions.id || '-end')
    ORDER BY id";

pub(super) async fn record(
    connection: &mut SqliteConnection,
    events: &[AuditEvent],
    sessions: &[Session],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if !events.is_empty() {
        sqlx::query(APPEND_EVENTS)
            .bind(array(events, event_row))
            .execute(&mut *transaction)
            .await?;
    }
    if !sessions.is_empty() {
        sqlx::query(UPDATE_SESSIONS)
            .bind(array(sessions, session_row))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

pub(super) async fn interrupt_live(connection: &mut SqliteConnection) -> Result<Vec<Session>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(INTERRUPT_LIVE).execute(&mut *transaction).await?;
    let rows = sqlx::query(UNCLOSED).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    rows.iter().map(session_of).collect()
}

/// Whether the values are at fault and not the disk, the file or another writer: they are too big, of a kind that a
/// column does not take, or against a constraint or trigger. <https://sqlite.org/rescode.html>
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<i32>().ok());
    // The low byte is the primary code.
    code.is_some_and(|code| matches!(code & 0xff, TOO_BIG | CONSTRAINT | MISMATCH))
}

/// The columns of `APPEND_EVENTS`, in its order.
fn event_row(event: &AuditEvent) -> impl Serialize {
    (
        &event.id,
        signed(event.time_us),
        &event.kind,
        &event.session,
        &event.user,
        &event.login,
        &event.node,
        &event.client_address,
        &event.detail,
        &event.cluster,
        &event.node_address,
        &event.data_plane,
        &event.recording_mode,
    )
}

/// The columns of `UPDATE_SESSIONS`, in its order.
fn session_row(session: &Session) -> impl Serialize {
    (
        &session.id,
        &session.user,
        &session.login,
        &session.node,
        &session.kind,
        signed(session.start_us),
        signed(session.end_us),
        signed(session.bytes),
        u8::from(session.status),
        &session.object,
        &session.client_address,
    )
}

fn array<'r, T, R: Serialize>(rows: &'r [T], row: impl Fn(&'r T) -> R) -> String {
    let rows: Vec<R> = rows.iter().map(row).collect();
    serde_json::to_string(&rows).expect("rows of strings and numbers always have a JSON form")
}
