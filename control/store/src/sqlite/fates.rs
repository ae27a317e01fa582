use std::collections::HashMap;

use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Connection, Row};

use super::listing::session_of;
use super::{signed, unsigned};
use crate::{Fate, Held, Session};

const FATES: &str = "
    SELECT session, held_us, hold_reason, deleting_us, deleted_us
    FROM fates WHERE session IN (SELECT value FROM json_each(?1))";

const KNOWN: &str = "SELECT 1 FROM sessions WHERE id = ?1";

const HOLD: &str = "
    INSERT INTO fates (session, held_us, hold_reason) VALUES (?1, ?2, ?3)
    ON CONFLICT (session) DO UPDATE SET
        held_us = excluded.held_us, hold_reason = excluded.hold_reason, deleting_us = 0";

const RELEASE: &str = "UPDATE fates SET held_us = 0, hold_reason = '' WHERE session = ?1";

// Those that are marked are left out: they are somebody's already.
const DUE: &str = "
    SELECT id, user_name, login, node, kind, start_us, end_us, bytes, status, object, client_address
    FROM sessions
    WHERE object <> '' AND recording_deleted = 0 AND status <> 1 AND start_us < ?1 AND (start_us, id) > (?2, ?3)
        AND NOT EXISTS (
            SELECT 1 FROM fates WHERE fates.session = sessions.id AND (held_us <> 0 OR deleting_us <> 0))
    ORDER BY start_us, id
    LIMIT ?4";

const MARKED: &str = "
    SELECT id, user_name, login, node, kind, start_us, end_us, bytes, status, object, client_address
    FROM sessions
    WHERE id IN (SELECT session FROM fates WHERE deleting_us <> 0)
    ORDER BY start_us, id";

const MARK: &str = "
    INSERT INTO fates (session, deleting_us)
    SELECT value, ?2 FROM json_each(?1) WHERE true
    ON CONFLICT (session) DO UPDATE SET deleting_us = excluded.deleting_us
    WHERE fates.held_us = 0 AND fates.deleted_us = 0
    RETURNING session";

const UNMARK: &str = "UPDATE fates SET deleting_us = 0 WHERE session = ?1 AND deleting_us <> 0";

const FINISH: &str = "
    UPDATE fates SET deleting_us = 0, deleted_us = ?2
    WHERE session IN (SELECT value FROM json_each(?1)) AND deleting_us <> 0";

// A hold that came too late is none.
const LOSE: &str = "
    UPDATE fates SET held_us = 0, hold_reason = '', deleting_us = 0, deleted_us = ?2 WHERE session = ?1 AND deleted_us = 0";

pub(super) async fn fates(pool: &SqlitePool, ids: &[&str]) -> Result<HashMap<String, Fate>, sqlx::Error> {
    let rows = sqlx::query(FATES).bind(texts(ids)).fetch_all(pool).await?;
    let mut fates = HashMap::with_capacity(rows.len());
    for row in rows {
        let fate = Fate {
            held_us: unsigned(row.try_get(1)?),
            hold_reason: row.try_get(2)?,
            deleting_us: unsigned(row.try_get(3)?),
            deleted_us: unsigned(row.try_get(4)?),
        };
        fates.insert(row.try_get(0)?, fate);
    }
    Ok(fates)
}

pub(super) async fn hold(
    connection: &mut SqliteConnection,
    id: &str,
    reason: &str,
    now_us: u64,
) -> Result<Held, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if sqlx::query(KNOWN)
        .bind(id)
        .fetch_optional(&mut *transaction)
        .await?
        .is_none()
    {
        return Ok(Held::Unknown);
    }
    let row = sqlx::query(FATES)
        .bind(texts(&[id]))
        .fetch_optional(&mut *transaction)
        .await?;
    let number = |column: usize| row.as_ref().map_or(Ok(0), |row| row.try_get::<i64, _>(column));
    let held = match (number(1)?, number(3)?, number(4)?) {
        (_, _, 1..) => return Ok(Held::Deleted),
        (1.., _, _) => return Ok(Held::Before),
        (_, 1.., _) => Held::AtTheLastMoment,
        _ => Held::Now,
    };
    sqlx::query(HOLD)
        .bind(id)
        .bind(signed(now_us))
        .bind(reason)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(held)
}

pub(super) async fn release(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<String>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let row = sqlx::query(FATES)
        .bind(texts(&[id]))
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(row) = row else { return Ok(None) };
    if row.try_get::<i64, _>(1)? == 0 {
        return Ok(None);
    }
    sqlx::query(RELEASE).bind(id).execute(&mut *transaction).await?;
    transaction.commit().await?;
    row.try_get(2).map(Some)
}

pub(super) async fn due(
    pool: &SqlitePool,
    before_us: u64,
    after: (u64, &str),
    limit: u32,
) -> Result<Vec<Session>, sqlx::Error> {
    let rows = sqlx::query(DUE)
        .bind(signed(before_us))
        .bind(signed(after.0))
        .bind(after.1)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    rows.iter().map(session_of).collect()
}

pub(super) async fn marked(pool: &SqlitePool) -> Result<Vec<Session>, sqlx::Error> {
    let rows = sqlx::query(MARKED).fetch_all(pool).await?;
    rows.iter().map(session_of).collect()
}

pub(super) async fn mark(
    connection: &mut SqliteConnection,
    ids: &[&str],
    now_us: u64,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(MARK)
        .bind(texts(ids))
        .bind(signed(now_us))
        .fetch_all(connection)
        .await
}

pub(super) async fn unmark(connection: &mut SqliteConnection, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query(UNMARK).bind(id).execute(connection).await.map(drop)
}

pub(super) async fn finish(
    connection: &mut SqliteConnection,
    ids: &[&str],
    now_us: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query(FINISH)
        .bind(texts(ids))
        .bind(signed(now_us))
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn lose(
    connection: &mut SqliteConnection,
    id: &str,
    now_us: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query(LOSE)
        .bind(id)
        .bind(signed(now_us))
        .execute(connection)
        .await
        .map(drop)
}

fn texts(ids: &[&str]) -> String {
    serde_json::to_string(ids).expect("a list of texts always has a JSON form")
}
