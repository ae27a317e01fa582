//! What the control plane keeps: resources with revisions, audit events, the index of sessions.
//!
//! One trait, [`Store`], and its SQLite implementation, [`SqliteStore`]. The only crate with SQL; every statement is a
//! literal, values are bound.

mod error;
mod fate;
mod log;
mod resource;
mod sqlite;

use std::collections::HashMap;

use async_trait::async_trait;

pub use error::StoreError;
pub use fate::{Fate, Held};
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

    /// Who and where of those of the sessions with these ids that are known, in no order: events of no kind, with what the
    /// index and the session's start (the event `<session>-start`) say.
    async fn subjects(&self, sessions: &[&str]) -> Result<Vec<AuditEvent>, StoreError>;

    /// Marks every live session as interrupted, at the time of its last audit event, and gives every interrupted session,
    /// of whichever run, that has no `session.end` among the audit events.
    async fn interrupt_live_sessions(&self) -> Result<Vec<Session>, StoreError>;

    /// Audit events with their place in the table, newest first, at most `filter.limit`, and no more once they have
    /// `filter.limit_bytes`.
    async fn events(&self, filter: &EventFilter) -> Result<Vec<(u64, AuditEvent)>, StoreError>;

    /// Calls `each` with the detail (JSON) of every audit event of the kind `cert.create` (once `cert.upstream`) whose `proof_expires` comes
    /// after `now`, in seconds since 1970-01-01 UTC, however many they are and however old.
    async fn each_live_proof(
        &self,
        now: u64,
        each: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), StoreError>;

    /// Those of these ids that an audit event has already.
    async fn known_events(&self, ids: &[&str]) -> Result<Vec<String>, StoreError>;

    /// Audit events after a place in the table, oldest first, at most `limit`, and no more once their texts have
    /// `limit_bytes`. Nothing is ever stored before a place from which this has read.
    async fn events_after(
        &self,
        seq: u64,
        limit: u32,
        limit_bytes: usize,
    ) -> Result<Vec<(u64, AuditEvent)>, StoreError>;

    /// How far audit events have been taken to a place outside; 0 for one that is new.
    async fn export_cursor(&self, place: &str) -> Result<u64, StoreError>;

    /// Remembers that; it never goes back.
    async fn move_export_cursor(&self, place: &str, seq: u64) -> Result<(), StoreError>;

    /// The newest place in the table of audit events.
    async fn newest_event(&self) -> Result<u64, StoreError>;

    /// What becomes of these sessions' recordings, of those for which that was ever said.
    async fn fates(&self, ids: &[&str]) -> Result<HashMap<String, Fate>, StoreError>;

    /// Holds a session's recording: from now on it is not deleted, also if it was marked for that.
    async fn hold_recording(&self, id: &str, reason: &str, now_us: u64) -> Result<Held, StoreError>;

    /// Ends a hold and gives its reason; `None` if there is none.
    async fn release_recording(&self, id: &str) -> Result<Option<String>, StoreError>;

    /// Recordings of sessions that have ended and began before `before_us`, that are there and neither held nor marked: the oldest first,
    /// at most `limit`, of those that come after the start and id in `after`.
    async fn due_recordings(
        &self,
        before_us: u64,
        after: (u64, &str),
        limit: u32,
    ) -> Result<Vec<Session>, StoreError>;

    /// Marks recordings as being deleted and gives the ids of those that are; what is held is left out.
    async fn mark_recordings(&self, ids: &[&str], now_us: u64) -> Result<Vec<String>, StoreError>;

    /// All that are marked, the oldest first.
    async fn marked_recordings(&self) -> Result<Vec<Session>, StoreError>;

    /// Takes a mark back.
    async fn unmark_recording(&self, id: &str) -> Result<(), StoreError>;

    /// Says of marked recordings that they are deleted; what is not marked any more stays as it is.
    async fn finish_deletions(&self, ids: &[&str], now_us: u64) -> Result<(), StoreError>;

    /// Says of a recording that its object was found to be deleted, whatever else was said of it.
    async fn lose_recording(&self, id: &str, now_us: u64) -> Result<(), StoreError>;
}
