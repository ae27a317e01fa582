use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use super::{signed, unsigned};
use crate::{Action, Change, Expect, Kind, Resource, Resources, StoreError};

const READ_REVISION: &str = "SELECT value FROM revision";

const READ_ALL: &str = "SELECT kind, name, revision, body, sealed FROM resources ORDER BY kind, name";

const RAISE_REVISION: &str = "UPDATE revision SET value = value + 1 RETURNING value";

const INSERT: &str = "
    INSERT INTO resources (kind, name, revision, body, sealed) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (kind, name) DO NOTHING";

const INSERT_OR_UPDATE: &str = "
    INSERT INTO resources (kind, name, revision, body, sealed) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (kind, name) DO UPDATE
    SET revision = excluded.revision, body = excluded.body, sealed = excluded.sealed";

/// `?6`: the revision to expect, or 0 for any.
const UPDATE: &str = "
    UPDATE resources SET revision = ?3, body = ?4, sealed = ?5
    WHERE kind = ?1 AND name = ?2 AND (?6 = 0 OR revision = ?6)";

/// `?3`: the revision to expect, or 0 for any.
const DELETE: &str = "DELETE FROM resources WHERE kind = ?1 AND name = ?2 AND (?3 = 0 OR revision = ?3)";

const READ_ONE_REVISION: &str = "SELECT revision FROM resources WHERE kind = ?1 AND name = ?2";

pub(super) enum Failure {
    Clash(StoreError),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Failure {
        Failure::Database(error)
    }
}

pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Resources, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let revision: i64 = sqlx::query_scalar(READ_REVISION)
        .fetch_one(&mut *transaction)
        .await?;
    let rows = sqlx::query(READ_ALL).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let resources = rows.iter().map(resource).collect::<Result<_, _>>()?;
    Ok(Resources {
        revision: unsigned(revision),
        resources,
    })
}

pub(super) async fn commit(connection: &mut SqliteConnection, changes: &[Change]) -> Result<u64, Failure> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let revision: i64 = sqlx::query_scalar(RAISE_REVISION)
        .fetch_one(&mut *transaction)
        .await?;
    for change in changes {
        if !apply(&mut transaction, change, revision).await? {
            let found = sqlx::query_scalar::<_, i64>(READ_ONE_REVISION)
                .bind(change.kind.as_str())
                .bind(&change.name)
                .fetch_optional(&mut *transaction)
                .await?;
            // The transaction is rolled back as it is dropped.
            return Err(Failure::Clash(clash(change, found.map(unsigned))));
        }
    }
    transaction.commit().await?;
    Ok(unsigned(revision))
}

/// Whether the change's expectation held.
async fn apply(
    connection: &mut SqliteConnection,
    change: &Change,
    revision: i64,
) -> Result<bool, sqlx::Error> {
    let expected = match change.expect {
        Expect::Revision(revision) => signed(revision),
        Expect::Absent | Expect::Present | Expect::Any => 0,
    };
    let done = match &change.action {
        Action::Put { body, sealed } => {
            let statement = match change.expect {
                Expect::Absent => INSERT,
                Expect::Any => INSERT_OR_UPDATE,
                Expect::Present | Expect::Revision(_) => UPDATE,
            };
            let query = sqlx::query(statement)
                .bind(change.kind.as_str())
                .bind(&change.name)
                .bind(revision)
                .bind(body)
                .bind(sealed);
            match change.expect {
                Expect::Absent | Expect::Any => query.execute(connection).await?,
                Expect::Present | Expect::Revision(_) => query.bind(expected).execute(connection).await?,
            }
        }
        Action::Remove => {
            sqlx::query(DELETE)
                .bind(change.kind.as_str())
                .bind(&change.name)
                .bind(expected)
                .execute(connection)
                .await?
        }
    };
    Ok(done.rows_affected() == 1 || (change.action == Action::Remove && change.expect == Expect::Any))
}

fn clash(change: &Change, found: Option<u64>) -> StoreError {
    let (kind, name) = (change.kind, change.name.clone());
    match (found, change.expect) {
        (None, _) => StoreError::NotFound { kind, name },
        (Some(found), Expect::Revision(expected)) => StoreError::Changed {
            kind,
            name,
            expected,
            found,
        },
        (Some(_), _) => StoreError::AlreadyExists { kind, name },
    }
}

fn resource(row: &SqliteRow) -> Result<Resource, sqlx::Error> {
    let kind: &str = row.try_get(0)?;
    let kind = Kind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind)
        .ok_or_else(|| sqlx::Error::ColumnDecode {
            index: "kind".to_owned(),
            source: format!("got resource kind {kind:?}, which this version of weir does not know").into(),
        })?;
    Ok(Resource {
        kind,
        name: row.try_get(1)?,
        revision: unsigned(row.try_get(2)?),
        body: row.try_get(3)?,
        sealed: row.try_get(4)?,
    })
}
