//! What the control plane keeps: resources with revisions, audit events, the index of sessions.
//!
//! One trait, [`Store`], and its SQLite implementation, [`SqliteStore`]. The only crate with SQL; every statement is a
//! literal, values are bound.

mod error;
mod log;
mod resource;
mod sqlite;

use async_trait::async_trait;

pub use error::StoreError;
pub use log::{AuditEvent, EventFilter, Session, SessionFilter, SessionStatus};
pub use resource::{Action, Change, Expect, Kind, Resource, Resources};
pub use sqlite::SqliteStore;

/// Durable state of the control plane. A method that has returned `Ok` has done what it says, whatever happens next.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All resources, as of one revision.
    async fn resources(&self) -> Result<Resources, StoreError>;

    /// Makes all of `changes` or none, and gives the new revision.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`], [`StoreError::NotFound`] or [`StoreError::Changed`] for the first change whose
    /// expectation does not hold.
    async fn commit(&self, changes: &[Change]) -> Result<u64, StoreError>;

    /// Appends audit events, except those whose id is known already, and updates the session index, as one transaction.
    ///
    /// A session's row is opened by a live record. Any record updates it while it is live; once it has ended, only
    /// the place of its recording can still be added.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if something in it can never be stored; nothing of it is then.
    async fn record(&self, events: &[AuditEvent], sessions: &[Session]) -> Result<(), StoreError>;

    /// Sessions, newest first, at most `filter.limit`.
    async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<Session>, StoreError>;

    /// One session.
    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError>;

    /// How many sessions are live.
    async fn live_sessions(&self) -> Result<u64, StoreError>;

    /// Those of the sessions with these ids that are known, in no order.
    async fn sessions_with_ids(&self, ids: &[&str]) -> Result<Vec<Session>, StoreError>;

    /// Marks every live session as interrupted, at the time of its last audit event, and gives every interrupted session,
    /// of whichever run, that has no `session.end` among the audit events.
    async fn interrupt_live_sessions(&self) -> Result<Vec<Session>, StoreError>;

    /// Audit events with their place in the table, newest first, at most `filter.limit`, and no more once they have
    /// `filter.limit_bytes`.
    async fn events(&self, filter: &EventFilter) -> Result<Vec<(u64, AuditEvent)>, StoreError>;

    /// Calls `each` with the detail (JSON) of every audit event of the kind `cert.upstream` whose `proof_expires` comes
    /// after `now`, in seconds since 1970-01-01 UTC, however many they are and however old.
    async fn each_live_proof(
        &self,
        now: u64,
        each: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), StoreError>;
}
