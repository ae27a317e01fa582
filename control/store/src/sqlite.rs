//! The store in one SQLite file.
//!
//! WAL mode, so that readers never wait. Two connections write: one for resources and one for the log, so that an
//! administrator's change does not wait behind a batch. The commits of both are on disk when they return: a recording leaves the
//! spool when its row is here, so the row must not be what a power failure takes.

mod export;
mod fates;
mod listing;
mod recording;
mod resources;

use std::collections::HashMap;
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::ConnectOptions;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use tokio::sync::Mutex;

use crate::{
    AuditEvent, Change, EventFilter, Fate, Held, Resources, Session, SessionFilter, Store, StoreError,
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Listings that are read at the same time; more wait.
const READERS: u32 = 4;

/// [`Store`] in one SQLite file. Only one process may have it open, which the caller sees to.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    resources: Mutex<SqliteConnection>,
    log: Mutex<SqliteConnection>,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, makes it if it is not there, and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        let fail = |source| StoreError::Database {
            path: path.to_owned(),
            source,
        };
        close_to_others(path).map_err(|error| fail(error.into()))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // The two writers exclude each other for the time of a transaction.
            .busy_timeout(Duration::from_secs(10))
            // Without it, a REPLACE would remove a row behind the back of the append-only triggers.
            .pragma("recursive_triggers", "ON")
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();

        let mut resources = options.connect().await.map_err(fail)?;
        // `Migrator::run` is the same, but makes every future that awaits this one impossible to spawn.
        MIGRATIONS
            .run_direct(None, &mut resources, false)
            .await
            .map_err(|error| match error {
                MigrateError::VersionMissing(version) => StoreError::NewerSchema {
                    path: path.to_owned(),
                    version,
                },
                other => fail(other.into()),
            })?;
        let log = options.connect().await.map_err(fail)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .connect_lazy_with(options.read_only(true));
        Ok(SqliteStore {
            path: path.to_owned(),
            resources: Mutex::new(resources),
            log: Mutex::new(log),
            readers,
        })
    }

    fn fail(&self, source: sqlx::Error) -> StoreError {
        StoreError::Database {
            path: self.path.clone(),
            source,
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn resources(&self) -> Result<Resources, StoreError> {
        let mut connection = self.resources.lock().await;
        resources::read(&mut connection)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn commit(&self, changes: &[Change]) -> Result<u64, StoreError> {
        let mut connection = self.resources.lock().await;
        resources::commit(&mut connection, changes)
            .await
            .map_err(|failure| match failure {
                resources::Failure::Clash(clash) => clash,
                resources::Failure::Database(source) => self.fail(source),
            })
    }

    async fn record(&self, events: &[AuditEvent], sessions: &[Session]) -> Result<(), StoreError> {
        let mut connection = self.log.lock().await;
        recording::record(&mut connection, events, sessions)
            .await
            .map_err(|source| {
                if recording::is_refusal(&source) {
                    StoreError::Refused {
                        path: self.path.clone(),
                        problem: source.to_string(),
                    }
                } else {
                    self.fail(source)
                }
            })
    }

    async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<Session>, StoreError> {
        listing::sessions(&self.readers, filter)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        listing::session(&self.readers, id)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn live_sessions(&self) -> Result<u64, StoreError> {
        listing::live_sessions(&self.readers)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn subjects(&self, sessions: &[&str]) -> Result<Vec<AuditEvent>, StoreError> {
        listing::subjects(&self.readers, sessions)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn interrupt_live_sessions(&self) -> Result<Vec<Session>, StoreError> {
        let mut connection = self.log.lock().await;
        recording::interrupt_live(&mut connection)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn events(&self, filter: &EventFilter) -> Result<Vec<(u64, AuditEvent)>, StoreError> {
        listing::events(&self.readers, filter)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn each_live_proof(
        &self,
        now: u64,
        each: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), StoreError> {
        listing::each_live_proof(&self.readers, now, each)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn known_events(&self, ids: &[&str]) -> Result<Vec<String>, StoreError> {
        listing::known_events(&self.readers, ids)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn events_after(
        &self,
        seq: u64,
        limit: u32,
        limit_bytes: usize,
    ) -> Result<Vec<(u64, AuditEvent)>, StoreError> {
        export::events_after(&self.readers, seq, limit, limit_bytes)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn export_cursor(&self, place: &str) -> Result<u64, StoreError> {
        export::cursor(&self.readers, place)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn move_export_cursor(&self, place: &str, seq: u64) -> Result<(), StoreError> {
        let mut connection = self.log.lock().await;
        export::move_cursor(&mut connection, place, seq)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn newest_event(&self) -> Result<u64, StoreError> {
        export::newest(&self.readers)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn fates(&self, ids: &[&str]) -> Result<HashMap<String, Fate>, StoreError> {
        fates::fates(&self.readers, ids)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn hold_recording(&self, id: &str, reason: &str, now_us: u64) -> Result<Held, StoreError> {
        let mut connection = self.log.lock().await;
        fates::hold(&mut connection, id, reason, now_us)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn release_recording(&self, id: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.log.lock().await;
        fates::release(&mut connection, id)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn due_recordings(
        &self,
        before_us: u64,
        after: (u64, &str),
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        fates::due(&self.readers, before_us, after, limit)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn mark_recordings(&self, ids: &[&str], now_us: u64) -> Result<Vec<String>, StoreError> {
        let mut connection = self.log.lock().await;
        fates::mark(&mut connection, ids, now_us)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn marked_recordings(&self) -> Result<Vec<Session>, StoreError> {
        fates::marked(&self.readers)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn unmark_recording(&self, id: &str) -> Result<(), StoreError> {
        let mut connection = self.log.lock().await;
        fates::unmark(&mut connection, id)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn finish_deletions(&self, ids: &[&str], now_us: u64) -> Result<(), StoreError> {
        let mut connection = self.log.lock().await;
        fates::finish(&mut connection, ids, now_us)
            .await
            .map_err(|source| self.fail(source))
    }

    async fn lose_recording(&self, id: &str, now_us: u64) -> Result<(), StoreError> {
        let mut connection = self.log.lock().await;
        fates::lose(&mut connection, id, now_us)
            .await
            .map_err(|source| self.fail(source))
    }
}

/// Makes the file for its owner alone; SQLite gives its companions the same mode.
fn close_to_others(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Columns are signed; what the store writes is never negative.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The largest number that a column holds stands in for everything above: reporters are not trusted to stay below,
/// and one absurd value must not fail the batch that it is part of.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
