//! Audit events: what each kind tells.
//!
//! An event is a [`Line`] of common fields and a detail by kind. Whatever reports one builds a struct of this module, so
//! that kinds and keys are written down once; `AUDIT.md` and `audit.schema.json` beside this crate are made from it.
//!
//! Rules for change: fields are only added, and one that is added has a default, so that what was written before can still
//! be read. Identifiers that may exceed 53 bits are [`Serial`]s.

mod control;
mod line;
#[cfg(test)]
mod schema;
mod serial;
mod session;
mod transfer;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dataplane;

pub use control::{
    Administrator, AuditGap, AuditRefused, AuthRepeated, BanSuspected, CertCreate, CertRefused, CertType,
    ControlStart, IdentityAdd, IdentityRetire, NodeJoin, NodeRemove, NodeTune, Pacing, RecordingDelete,
    RecordingHold, RecordingRelease, RecordingRewrap, RolePut, RoleRemove, UserAdd, UserRemove,
};
pub use line::{Line, detail_of, rfc3339};
pub use serial::Serial;
pub use session::{
    AgentForward, Auth, AuthFailure, ClientDisconnect, Denied, Ender, Environment, Exec, Exit, ForwardTotal,
    Port, RecordSession, RecordingAccess, RecordingFailed, RecordingGap, Resize, SessionConnect, SessionData,
    SessionEnd, SessionJoin, SessionLeave, SessionRejected, SessionStart, SessionUpload, Subsystem,
    UserLogin, X11Forward,
};
pub use transfer::{Scp, Sftp, SftpSummary};

/// The JSON schema of one event.
pub const SCHEMA: &str = include_str!("../audit.schema.json");

/// What an event of one kind tells beside the common fields.
pub trait Kind: Serialize + DeserializeOwned {
    /// How the kind is called.
    const KIND: &'static str;

    /// The detail as it stands in an event.
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of texts and numbers always has a JSON form")
    }
}

/// An event of this kind, of nobody and nowhere yet, without id and time.
impl<K: Kind> From<&K> for dataplane::AuditEvent {
    fn from(detail: &K) -> Self {
        dataplane::AuditEvent {
            kind: K::KIND.to_owned(),
            detail_json: detail.to_json(),
            ..dataplane::AuditEvent::default()
        }
    }
}

macro_rules! kinds {
    ($($name:ident = $kind:literal,)*) => {
        $(impl Kind for $name {
            const KIND: &'static str = $kind;
        })*

        /// The names of all kinds.
        pub const KINDS: &[&str] = &[$($kind),*];

        /// Reads a detail as its kind says and writes it again; `None` for a kind that is not known here.
        ///
        /// # Errors
        /// If the detail is not what its kind says.
        pub fn reread(kind: &str, detail: &str) -> Option<Result<String, serde_json::Error>> {
            match kind {
                $($kind => Some(serde_json::from_str::<$name>(detail).map(|read| read.to_json())),)*
                _ => None,
            }
        }

        #[cfg(test)]
        fn describe(generator: &mut schemars::SchemaGenerator) -> Vec<(&'static str, schemars::Schema)> {
            vec![$(($kind, <$name as schemars::JsonSchema>::json_schema(generator))),*]
        }
    };
}

kinds! {
    UserLogin = "user.login",
    Auth = "auth",
    AuthRepeated = "auth.repeated",
    SessionConnect = "session.connect",
    SessionStart = "session.start",
    SessionRejected = "session.rejected",
    SessionJoin = "session.join",
    SessionLeave = "session.leave",
    Resize = "resize",
    Environment = "environment",
    Exec = "exec",
    Subsystem = "subsystem",
    Exit = "exit",
    Denied = "denied",
    Port = "port",
    X11Forward = "x11-forward",
    AgentForward = "agent-forward",
    Scp = "scp",
    Sftp = "sftp",
    SftpSummary = "sftp_summary",
    ClientDisconnect = "client.disconnect",
    SessionData = "session.data",
    SessionEnd = "session.end",
    SessionUpload = "session.upload",
    RecordingAccess = "recording.access",
    RecordingFailed = "recording.failed",
    RecordingGap = "recording.gap",
    RecordingHold = "recording.hold",
    RecordingRelease = "recording.release",
    RecordingDelete = "recording.delete",
    RecordingRewrap = "recording.rewrap",
    IdentityAdd = "recording.identity.add",
    IdentityRetire = "recording.identity.retire",
    CertCreate = "cert.create",
    CertRefused = "cert.refused",
    NodeJoin = "node.join",
    NodeTune = "node.tune",
    NodeRemove = "node.remove",
    UserAdd = "user.add",
    UserRemove = "user.remove",
    RolePut = "role.put",
    RoleRemove = "role.remove",
    BanSuspected = "pacing.ban_suspected",
    ControlStart = "control.start",
    AuditGap = "audit.gap",
    AuditRefused = "audit.refused",
}

/// What stands in place of a detail of more than 32 KiB, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CutDetail {
    /// The first 4 KiB of its JSON.
    pub beginning: String,
    /// Bytes that it had.
    pub detail_bytes: u64,
    /// SHA-256 of all of it in hexadecimal.
    pub detail_sha256: String,
}

/// When recorded bytes are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RecordingMode {
    /// At once.
    Async,
    /// When their record is durable.
    Sync,
    /// Nothing is recorded.
    Off,
}

impl RecordingMode {
    /// As it stands in an event.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordingMode::Async => "async",
            RecordingMode::Sync => "sync",
            RecordingMode::Off => "off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_can_still_be_read() {
        for (kind, detail) in [
            ("session.start", r#"{"recorded":true}"#),
            (
                "session.end",
                r#"{"interactive":false,"reason":"client: closed","start_us":1,"stop_us":2}"#,
            ),
            (
                "session.end",
                r#"{"reason":"weir was stopped","status":"interrupted"}"#,
            ),
            (
                "session.end",
                r#"{"forwards":null,"interactive":true,"reason":"r","start_us":1,"stop_us":2}"#,
            ),
            ("environment", r#"{"channel":0,"name":"LANG"}"#),
            (
                "session.upload",
                r#"{"bytes":1,"object":"a.weir","object_bytes":2}"#,
            ),
            ("session.rejected", r#"{"reason":"no","rule":null}"#),
            (
                "auth",
                r#"{"failure":{"fingerprint":"SHA256:x","key_id":null,"method":"publickey","reason":"r","serial":18446744073709551615},"success":false}"#,
            ),
            (
                "auth",
                r#"{"failure":{"ident":"SSH-2.0-x","reason":"r"},"success":false}"#,
            ),
            ("exec", r#"{"channel":0,"command":"id"}"#),
            ("exit", r#"{"channel":0,"exit_code":3}"#),
            (
                "exit",
                r#"{"channel":0,"core_dumped":false,"message":"","signal":"TERM"}"#,
            ),
            (
                "port",
                r#"{"channel":1,"destination":"[::1]:80","opener":"client","type":"direct-tcpip"}"#,
            ),
            (
                "port",
                r#"{"cancel":false,"listen":"localhost:80","type":"tcpip-forward"}"#,
            ),
            (
                "port",
                r#"{"bytes_from_client":1,"bytes_from_target":2,"channel":1,"closed":true,"destination":"h:1","duration_us":null,"opener":"client","type":"direct-tcpip"}"#,
            ),
            ("denied", r#"{"channel":null,"reason":"r","request":"x11"}"#),
            ("recording.access", r#"{"administrator":{"uid":0}}"#),
            ("user.remove", r#"{"administrator":{"uid":null}}"#),
            ("node.tune", r#"{"administrator":{"uid":0},"pacing":null}"#),
            ("audit.gap", r#"{"events":1,"sessions":0}"#),
        ] {
            let read = reread(kind, detail).unwrap();
            assert!(read.is_ok(), "{kind} {detail}: {read:?}");
        }
        assert!(reread("exec", "{}").unwrap().is_err());
        assert!(reread("session.dance", "{}").is_none());
    }

    #[test]
    fn a_field_that_a_later_version_adds_is_ignored() {
        let read = reread("session.start", r#"{"recorded":true,"moon":"full"}"#).unwrap();
        assert_eq!(read.unwrap(), r#"{"recorded":true}"#);
    }
}
