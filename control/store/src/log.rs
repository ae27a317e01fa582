/// One audit event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditEvent {
    /// Given by the reporter; tells repeated deliveries apart.
    pub id: String,
    /// Microseconds since 1970-01-01 UTC.
    pub time_us: u64,
    /// session.start, session.end, …
    pub kind: String,
    /// Session it belongs to, or empty.
    pub session: String,
    /// User, or empty.
    pub user: String,
    /// Login on the target, or empty.
    pub login: String,
    /// Name of the target, or empty.
    pub node: String,
    /// Where the client came from, or empty.
    pub client_address: String,
    /// JSON object, by kind.
    pub detail: String,
    /// Name of the cluster.
    pub cluster: String,
    /// The target's address as configured, or empty.
    pub node_address: String,
    /// Name of the data plane that reports it, or empty.
    pub data_plane: String,
    /// sync, async, off, or empty.
    pub recording_mode: String,
}

impl AuditEvent {
    /// Bytes of all its texts.
    pub fn text_bytes(&self) -> usize {
        [
            &self.id,
            &self.kind,
            &self.session,
            &self.user,
            &self.login,
            &self.node,
            &self.client_address,
            &self.detail,
            &self.cluster,
            &self.node_address,
            &self.data_plane,
            &self.recording_mode,
        ]
        .into_iter()
        .map(String::len)
        .sum()
    }
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStatus {
    /// It is going on.
    Live,
    /// It ended, and all of it was recorded.
    Complete,
    /// It was cut: by a crash, a kill, or the loss of its data plane.
    Interrupted,
}

impl From<SessionStatus> for u8 {
    fn from(status: SessionStatus) -> u8 {
        match status {
            SessionStatus::Live => 1,
            SessionStatus::Complete => 2,
            SessionStatus::Interrupted => 3,
        }
    }
}

impl SessionStatus {
    /// Of the number in the database, which admits no other than these.
    pub(crate) fn from_number(number: i64) -> SessionStatus {
        match number {
            1 => SessionStatus::Live,
            2 => SessionStatus::Complete,
            _ => SessionStatus::Interrupted,
        }
    }
}

/// One row of the session index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// ULID.
    pub id: String,
    /// Who.
    pub user: String,
    /// Login on the target.
    pub login: String,
    /// Name of the target.
    pub node: String,
    /// terminal, exec, subsystem, forward, none; empty until known.
    pub kind: String,
    /// Microseconds since 1970-01-01 UTC.
    pub start_us: u64,
    /// Microseconds since 1970-01-01 UTC; 0 while it is going on.
    pub end_us: u64,
    /// Recorded plaintext bytes.
    pub bytes: u64,
    /// How it stands.
    pub status: SessionStatus,
    /// Key of the recording in the object store; empty until it is there.
    pub object: String,
    /// Where the client came from.
    pub client_address: String,
}

impl Session {
    /// Bytes of all its texts.
    pub fn text_bytes(&self) -> usize {
        [
            &self.id,
            &self.user,
            &self.login,
            &self.node,
            &self.kind,
            &self.object,
            &self.client_address,
        ]
        .into_iter()
        .map(String::len)
        .sum()
    }
}

/// Which sessions to list; empty fields do not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// User.
    pub user: String,
    /// Name of the target.
    pub node: String,
    /// How they stand.
    pub status: Option<SessionStatus>,
    /// Only those with a recording in the object store, from which it was not deleted.
    pub recorded: bool,
    /// Started at or after this time (µs).
    pub since_us: u64,
    /// Started before this time (µs); 0: no such bound.
    pub until_us: u64,
    /// Only ids below this one.
    pub before_id: String,
    /// Rows at most.
    pub limit: u32,
}

/// Which audit events to list; empty fields do not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// User.
    pub user: String,
    /// Name of the target.
    pub node: String,
    /// Session.
    pub session: String,
    /// Kind.
    pub kind: String,
    /// At or after this time (µs).
    pub since_us: u64,
    /// Before this time (µs); 0: no such bound.
    pub until_us: u64,
    /// Only places in the table below this one; 0: no such bound.
    pub before_seq: u64,
    /// Rows at most.
    pub limit: u32,
    /// The row with which the texts of all come to this many bytes is the last; 0: no such bound.
    pub limit_bytes: usize,
}
