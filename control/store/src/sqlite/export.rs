use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::listing::event_of;
use super::{signed, unsigned};
use crate::AuditEvent;

// One connection writes events, so places come to be visible in their order.
const EVENTS_AFTER: &str = "
    SELECT seq, id, time_us, kind, session, user_name, login, node, client_address, detail,
           cluster, node_address, data_plane, recording_mode
    FROM audit_events WHERE seq > ?1 ORDER BY seq LIMIT ?2";

const CURSOR: &str = "SELECT seq FROM export_cursors WHERE place = ?1";

const MOVE_CURSOR: &str = "
    INSERT INTO export_cursors (place, seq) VALUES (?1, ?2)
    ON CONFLICT (place) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > export_cursors.seq";

const NEWEST: &str = "SELECT coalesce(max(seq), 0) FROM audit_events";

pub(super) async fn events_after(
    pool: &SqlitePool,
    seq: u64,
    limit: u32,
    limit_bytes: usize,
) -> Result<Vec<(u64, AuditEvent)>, sqlx::Error> {
    let mut rows = sqlx::query(EVENTS_AFTER)
        .bind(signed(seq))
        .bind(limit)
        .fetch(pool);
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < limit_bytes
        && let Some(row) = rows.try_next().await?
    {
        let (seq, event) = event_of(&row)?;
        bytes += event.text_bytes();
        events.push((seq, event));
    }
    Ok(events)
}

pub(super) async fn cursor(pool: &SqlitePool, place: &str) -> Result<u64, sqlx::Error> {
    let seq: Option<i64> = sqlx::query_scalar(CURSOR)
        .bind(place)
        .fetch_optional(pool)
        .await?;
    Ok(seq.map_or(0, unsigned))
}

pub(super) async fn move_cursor(
    connection: &mut SqliteConnection,
    place: &str,
    seq: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query(MOVE_CURSOR)
        .bind(place)
        .bind(signed(seq))
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn newest(pool: &SqlitePool) -> Result<u64, sqlx::Error> {
    sqlx::query_scalar(NEWEST).fetch_one(pool).await.map(unsigned)
}
