use std::pin::Pin;
use std::sync::Arc;

use crate::Watch;
use crate::dataplane::{
    AuditEvent, HostCertificate, HostCertificateRequest, PacingQuery, SessionRecord, Snapshot, StoreStatus,
    TargetPacing, UpstreamCertificate, UpstreamCertificateRequest,
};

/// A future that any runtime can poll: whoever completes it does so on threads of its own.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Answers how a data plane paces its handshakes.
pub type Inspect = Box<dyn Fn(&PacingQuery) -> Vec<TargetPacing> + Send + Sync>;

/// Answers how a data plane's recordings come into the store.
pub type LookAtStore = Box<dyn Fn() -> StoreStatus + Send + Sync>;

/// What a data plane asks of the control plane.
///
/// Implemented within the process by the control service and over gRPC by a client; the data plane cannot tell them
/// apart. No method blocks: a data plane calls them on the threads that carry sessions.
pub trait ControlPlane: Send + Sync + 'static {
    /// The newest snapshot known. Cheap (one atomic load and a reference count), so that it is asked for once per
    /// session instead of being kept.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Asks for the certificate of one session, against the user's own signature over that session.
    ///
    /// A proof is good for one certificate: a repeated request is denied, also after an [`ControlError::Unavailable`]
    /// that came after the proof was taken.
    fn issue_upstream(
        &self,
        request: UpstreamCertificateRequest,
    ) -> BoxFuture<Result<UpstreamCertificate, ControlError>>;

    /// Asks for a host certificate by the host CA for one of the data plane's own host keys, which it shows to clients.
    ///
    /// Asked once per key at start and again before the certificate ends, never on the path of a session.
    fn certify_host(
        &self,
        request: HostCertificateRequest,
    ) -> BoxFuture<Result<HostCertificate, ControlError>>;

    /// Hands over audit events and rows of the session index, in order. They are queued and written in batches.
    ///
    /// The queue is bounded, and with it what one session may have in it; what does not fit is dropped, counted, and the
    /// gap itself becomes an audit event that names the session.
    /// A session's record with status live opens its row, any other closes it.
    fn report(&self, events: Vec<AuditEvent>, sessions: Vec<SessionRecord>);

    /// Hands over the same where the reporter lets go of something once it is told: what a recording is found by.
    ///
    /// The answer comes when all of it is on disk. It is written with the batch that it falls into, so whoever has
    /// several asks for all and waits then. After an error all or none of it may have been written; a repeat changes nothing.
    fn report_durably(
        &self,
        events: Vec<AuditEvent>,
        sessions: Vec<SessionRecord>,
    ) -> BoxFuture<Result<(), ControlError>>;

    /// Says that everything which an earlier process of this data plane left has been reported and acknowledged.
    ///
    /// Sessions of that process of which no end is known get theirs now, as interrupted.
    fn recovered(&self);

    /// Calls `listener` with the new revision whenever the snapshot has been replaced, from a thread of the
    /// implementation's own; the listener must not block.
    fn on_change(&self, listener: Box<dyn Fn(u64) + Send + Sync>);

    /// Says once, at the start of the data plane, whom to ask how it paces its handshakes. Who says so last is asked.
    ///
    /// `inspect` is called when an administrator wants to know, from threads of the implementation's own, possibly several at
    /// once, and up to the end of the control plane. It may take a lock that is held for short, and must not wait for I/O. Targets
    /// that the data plane does not remember are left out of its answer.
    fn on_inspect(&self, inspect: Inspect);

    /// Says once, at the start of the data plane, whom to ask how its recordings come into the store; the same holds as for
    /// [`on_inspect`](ControlPlane::on_inspect), except that `look` may read a directory.
    fn on_store(&self, look: LookAtStore);

    /// Says once, at the start of the data plane, who opens the live recording of a session. Who says so last is asked.
    ///
    /// `watch` is called when an administrator wants to watch, as `inspect` is, and must not block; its future may be polled anywhere.
    fn on_watch(&self, watch: Watch);
}

/// Why the control plane gave no answer, by who must act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The request was judged and refused; the text is for the user.
    #[error("{0}")]
    Denied(String),
    /// The control plane could not judge it; the text is for the operator, and the user may try again.
    #[error("control plane unavailable: {0}")]
    Unavailable(String),
}
