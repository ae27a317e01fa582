//! How long recordings are kept: deleted when their time is over, unless somebody holds them.
//!
//! ```text
//! due ─▶ marked, in one transaction that leaves out what is held ─▶ object deleted ─▶ audit event ─▶ said to be deleted
//!           │                                │
//!           └── a hold takes the mark away ──┘ until the very object's turn; then it waits to hear what came of it
//! ```
//!
//! A crash between two steps leaves the mark, and the next sweep repeats what comes after it: deleting what is deleted changes nothing, and
//! the event has an id of its own. Only what the index knows is deleted. Objects that are in the store and in no row (put
//! there by others, or by an installation whose database was lost) are not touched.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::sync::{Mutex, watch};
use weir_api::audit::RecordingDelete;
use weir_objects::Objects;
use weir_store::{AuditEvent, Held, Session, StoreError};

use crate::control::Shared;
use crate::convert::event_about;

/// Between sweeps.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Recordings that are marked at once: a transaction for each would cost as much as the deletion, and what is marked is
/// what a crash leaves to be looked at.
const BATCH: u32 = 64;

/// After so many failures in a row a sweep ends: the store is away, and the next sweep finds the same.
const FAILURES: u32 = 3;

/// The rule, and what is being deleted at the moment.
pub(crate) struct Retention {
    /// From a session's start; `None`: for ever.
    keep: Option<Duration>,
    /// Microseconds since 1970-01-01 UTC.
    clock: fn() -> u64,
    /// Taken to decide about a recording: by the sweep before it deletes the object, by who wants it held.
    turn: Mutex<()>,
    /// The session whose object is being deleted, or none.
    busy: watch::Sender<String>,
    /// Taken by a sweep, of which there is one at a time; how many there have been.
    sweeps: Mutex<u64>,
}

/// What came of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) deleted: u64,
    pub(crate) failed: u64,
}

/// Why a sweep ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Objects(String),
    #[error("the audit queue is full")]
    Journal,
}

impl Retention {
    pub(crate) fn new(keep: Option<Duration>, clock: fn() -> u64) -> Self {
        Retention {
            keep,
            clock,
            turn: Mutex::default(),
            busy: watch::Sender::new(String::new()),
            sweeps: Mutex::default(),
        }
    }

    /// Sessions that began before this are over.
    fn cutoff_us(&self, now_us: u64) -> Option<u64> {
        let keep = u64::try_from(self.keep?.as_micros()).unwrap_or(u64::MAX);
        Some(now_us.saturating_sub(keep))
    }
}

/// Sweeps now and then every hour, for as long as the control plane runs.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        if shared.is_stopping.load(Ordering::Acquire) {
            return;
        }
        let now_us = (shared.retention.clock)();
        match sweep(&shared, now_us).await {
            Ok(Swept {
                deleted: 0,
                failed: 0,
            }) => {}
            Ok(Swept { deleted, failed }) => {
                tracing::info!(deleted, failed, "recordings whose time was over")
            }
            Err(error) => {
                tracing::warn!(%error, "recordings whose time is over are not all deleted; trying again in an hour")
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Deletes what is due at that time.
pub(crate) async fn sweep(shared: &Shared, now_us: u64) -> Result<Swept, SweepError> {
    let mut sweeps = shared.retention.sweeps.lock().await;
    *sweeps += 1;
    let store = shared.state.store();
    let cutoff_us = shared.retention.cutoff_us(now_us);
    let mut sweep = Sweep {
        shared,
        now_us,
        swept: Swept::default(),
        failures: 0,
    };
    // What a run before has marked and not finished.
    let (due, kept): (Vec<_>, Vec<_>) = store
        .marked_recordings()
        .await?
        .into_iter()
        .partition(|session| cutoff_us.is_some_and(|cutoff| session.start_us < cutoff));
    for session in kept {
        sweep.reconsider(session).await?;
    }
    for batch in due.chunks(BATCH as usize) {
        sweep.delete(batch).await?;
    }
    let Some(cutoff_us) = cutoff_us else {
        return Ok(sweep.swept);
    };
    let mut after = (0, String::new());
    loop {
        let mut due = store
            .due_recordings(cutoff_us, (after.0, &after.1), BATCH)
            .await?;
        let Some(last) = due.last() else {
            return Ok(sweep.swept);
        };
        after = (last.start_us, last.id.clone());
        let ids: Vec<_> = due.iter().map(|session| session.id.as_str()).collect();
        let marked = store.mark_recordings(&ids, now_us).await?;
        due.retain(|session| marked.contains(&session.id));
        sweep.delete(&due).await?;
    }
}

struct Sweep<'s> {
    shared: &'s Shared,
    now_us: u64,
    swept: Swept,
    /// In a row.
    failures: u32,
}

impl Sweep<'_> {
    fn objects(&self) -> &Objects {
        self.shared.recordings.objects()
    }

    /// Deletes marked recordings, those that are held by now left out.
    async fn delete(&mut self, marked: &[Session]) -> Result<(), SweepError> {
        let mut gone = Vec::with_capacity(marked.len());
        let mut ended = Ok(());
        for session in marked {
            if !self.begin(&session.id).await? {
                continue;
            }
            let deleted = self.delete_object(session).await;
            self.shared.retention.busy.send_replace(String::new());
            match deleted {
                Ok(()) => {
                    self.failures = 0;
                    gone.push(session);
                }
                Err(problem) => {
                    tracing::warn!(session = session.id, %problem, "a recording whose time is over cannot be deleted");
                    self.swept.failed += 1;
                    self.failures += 1;
                    if self.failures >= FAILURES {
                        ended = Err(SweepError::Objects(problem));
                        break;
                    }
                }
            }
        }
        self.finish(&gone).await?;
        ended
    }

    /// Whether the recording is still to be deleted; then whoever wants to hold it waits from now on.
    async fn begin(&self, id: &str) -> Result<bool, SweepError> {
        let retention = &self.shared.retention;
        let _turn = retention.turn.lock().await;
        let fates = self.shared.state.store().fates(&[id]).await?;
        let is_marked = fates.get(id).is_some_and(|fate| fate.deleting_us != 0);
        if is_marked {
            retention.busy.send_replace(id.to_owned());
        }
        Ok(is_marked)
    }

    async fn delete_object(&self, session: &Session) -> Result<(), String> {
        let path = Path::parse(&session.object).map_err(|error| error.to_string())?;
        match self.objects().store().delete(&path).await {
            Ok(()) => Ok(()),
            Err(error) if Objects::is_missing(&error) => Ok(()),
            Err(error) => Err(self.objects().explain(&error)),
        }
    }

    /// Writes down what is gone: for those who read the audit log, then in the index.
    async fn finish(&mut self, gone: &[&Session]) -> Result<(), SweepError> {
        if gone.is_empty() {
            return Ok(());
        }
        let objects = self.objects().clone();
        // What a power failure brought back would be told to be deleted.
        tokio::task::spawn_blocking(move || objects.sync())
            .await
            .unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
            .map_err(|error| SweepError::Objects(error.to_string()))?;
        let events = gone.iter().map(|session| self.event(session)).collect();
        let written = self.shared.journal.report_durably(events, Vec::new());
        written
            .ok_or(SweepError::Journal)?
            .await
            .map_err(|_| SweepError::Journal)?;
        let ids: Vec<_> = gone.iter().map(|session| session.id.as_str()).collect();
        self.shared
            .state
            .store()
            .finish_deletions(&ids, self.now_us)
            .await?;
        self.swept.deleted += gone.len() as u64;
        Ok(())
    }

    fn event(&self, session: &Session) -> AuditEvent {
        let keep = self.shared.retention.keep.unwrap_or_default();
        AuditEvent {
            // Told again after a crash, it is still one.
            id: format!("{}-delete", session.id),
            time_us: self.now_us,
            ..event_about(
                session,
                &RecordingDelete {
                    object: session.object.clone(),
                    start_us: session.start_us,
                    retention_seconds: keep.as_secs(),
                },
            )
        }
    }

    /// One that was marked under a shorter rule: it stays, unless its object is gone already.
    async fn reconsider(&mut self, session: Session) -> Result<(), SweepError> {
        if is_gone(self.objects(), &session)
            .await
            .map_err(SweepError::Objects)?
        {
            self.finish(&[&session]).await
        } else {
            Ok(self.shared.state.store().unmark_recording(&session.id).await?)
        }
    }
}

async fn is_gone(objects: &Objects, session: &Session) -> Result<bool, String> {
    let path = Path::parse(&session.object).map_err(|error| error.to_string())?;
    match objects.store().head(&path).await {
        Ok(_) => Ok(false),
        Err(error) if Objects::is_missing(&error) => Ok(true),
        Err(error) => Err(objects.explain(&error)),
    }
}

/// Holds a recording. When this returns with [`Held::Now`] it is not deleted, whatever goes on at the same time.
pub(crate) async fn hold(shared: &Shared, session: &Session, reason: &str) -> Result<Held, StoreError> {
    let retention = &shared.retention;
    let mut busy = retention.busy.subscribe();
    let turn = loop {
        let turn = retention.turn.lock().await;
        if *busy.borrow_and_update() != session.id {
            break turn;
        }
        // Its object is being deleted at this moment.
        drop(turn);
        let _ = busy.changed().await;
    };
    let store = shared.state.store();
    let now_us = (retention.clock)();
    let held = store.hold_recording(&session.id, reason, now_us).await?;
    if held != Held::AtTheLastMoment {
        return Ok(held);
    }
    drop(turn);
    // It was marked: by the sweep that goes on, whose object's turn may have been, or by one that a crash ended.
    match is_gone(shared.recordings.objects(), session).await {
        Ok(true) => {
            store.lose_recording(&session.id, now_us).await?;
            Ok(Held::Deleted)
        }
        Ok(false) => Ok(Held::Now),
        Err(problem) => {
            tracing::warn!(session = session.id, %problem, "a recording is held, and whether it is still there cannot be seen");
            Ok(Held::AtTheLastMoment)
        }
    }
}
