//! What users do, and what becomes of it.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Administrator, Serial};

/// A user has signed in at the proxy with a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UserLogin {
    /// How: `publickey`.
    pub method: String,
    /// Serial number of the user's certificate.
    pub serial: Serial,
    /// Fingerprint of the key that it certifies.
    pub fingerprint: String,
    /// When the certificate ends, in seconds since 1970-01-01 UTC.
    pub valid_before: u64,
}

/// Somebody has failed to sign in at the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Auth {
    /// Always false: who succeeds has a `user.login`.
    pub success: bool,
    /// What was tried, and why it failed.
    pub failure: AuthFailure,
}

/// What was tried, and why it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuthFailure {
    /// Why.
    pub reason: String,
    /// Method of authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Fingerprint of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Key id of the certificate, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Serial number of the certificate, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ident: Option<String>,
}

/// The node has let the user in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionConnect {
    /// Address that was dialled, with its port.
    pub address: String,
    /// Serial number of the certificate with which the proxy signed in; it has a `cert.create` of its own.
    pub certificate_serial: Serial,
    /// Microseconds that the session waited for its turn at the node, before its first handshake.
    pub waited_us: u64,
    /// Microseconds from the user's sign-in until the node let it in, that wait included.
    pub took_us: u64,
}

/// A session begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionStart {
    /// Whether it is recorded.
    pub recorded: bool,
    /// What becomes of it when it cannot be recorded any longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_session: Option<RecordSession>,
}

/// What becomes of a session that cannot be recorded any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RecordSession {
    /// It is ended.
    Strict,
    /// It goes on, and a `recording.gap` says what is missing.
    BestEffort,
    /// It is not recorded anyway.
    Off,
}

/// A user who signed in gets no session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionRejected {
    /// Why, as the user is told.
    pub reason: String,
    /// The rule of the policy that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The limit that was reached, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<u64>,
}

/// Somebody begins to watch a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionJoin {
    /// Who.
    pub administrator: Administrator,
}

/// Who watched a session does so no longer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionLeave {
    /// Who.
    pub administrator: Administrator,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A terminal has another size. Of sizes that follow each other closely the last is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Resize {
    /// Number of the channel in the session.
    pub channel: u32,
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
    /// Changes of the size before this one that were not written, since they came too closely.
    #[serde(default)]
    pub skipped: u64,
}

/// A command is about to be started. Its end is an `exit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Exec {
    /// Number of the channel in the session.
    pub channel: u32,
    /// The command line, or its first 4,096 bytes.
    pub command: String,
    /// Bytes of the whole command line, where it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_bytes: Option<u64>,
    /// SHA-256 of the whole command line in hexadecimal, where it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_sha256: Option<String>,
}

/// An environment variable is set for what runs next on a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Environment {
    /// Number of the channel in the session.
    pub channel: u32,
    /// Its name.
    pub name: String,
    /// Its value, where the configuration has it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A subsystem is about to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Subsystem {
    /// Number of the channel in the session.
    pub channel: u32,
    /// Its name.
    pub subsystem: String,
}

/// A command, a shell or a subsystem has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Exit {
    /// Number of the channel in the session.
    pub channel: u32,
    /// The command line if it was a command, or its first 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its exit status, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u32>,
    /// The signal that ended it, without `SIG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Whether the signal left a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_dumped: Option<bool>,
    /// What came with the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Something in a session was denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Denied {
    /// Number of the channel in the session, if it was asked on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<u32>,
    /// What was asked.
    pub request: String,
    /// Why not, as the user is told.
    pub reason: String,
}

/// A port is forwarded: a connection is opened or has ended, or the node listens, or no longer does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Port {
    /// Number of the channel in the session, of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<u32>,
    /// `direct-tcpip`, `forwarded-tcpip`, …, or `tcpip-forward` for the wish that the node listens.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who opened the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opener: Option<String>,
    /// Where it comes from, as its opener says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// Where it leads, as its opener says; the same as `destination`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Where it leads, as its opener says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Where the node is to listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Whether the node is to listen no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// Whether this is the connection's end; it was told at its begin as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<bool>,
    /// Bytes that the client sent, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_from_client: Option<u64>,
    /// Bytes that the node sent, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_from_target: Option<u64>,
    /// How long it was open, in microseconds, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
}

/// X11 is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct X11Forward {
    /// Number of the channel in the session.
    pub channel: u32,
}

/// The user's agent is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AgentForward {
    /// Number of the channel in the session.
    pub channel: u32,
}

/// The client's connection has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClientDisconnect {
    /// Why.
    pub reason: String,
    /// Who ended it.
    pub by: Ender,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Ender {
    /// The client, or the way to it.
    Client,
    /// The node, or the way to it.
    Target,
    /// The proxy.
    Weir,
}

/// How much passed in a session, told once, at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionData {
    /// Bytes toward the client: payloads of SSH packets, of all channels.
    pub tx: u64,
    /// Bytes from the client.
    pub rx: u64,
}

/// A session has ended. Its id is the session's with `-end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionEnd {
    /// Why.
    pub reason: String,
    /// `interrupted` where weir itself was stopped or killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Whether it had a terminal, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interactive: Option<bool>,
    /// Who took part, where that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<String>,
    /// When it began, in microseconds since 1970-01-01 UTC.
    #[serde(default)]
    pub start_us: u64,
    /// When it ended, in microseconds since 1970-01-01 UTC.
    #[serde(default)]
    pub stop_us: u64,
    /// What was forwarded in it, by type.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_none"
    )]
    pub forwards: Vec<ForwardTotal>,
}

/// What the forwards of one type carried in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ForwardTotal {
    /// `direct-tcpip`, `forwarded-tcpip`, `x11`, `auth-agent`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// How many connections there were.
    pub channels: u64,
    /// Bytes that the client sent.
    pub bytes_from_client: u64,
    /// Bytes that the node sent.
    pub bytes_from_target: u64,
}

/// A former version wrote `null` where a session had none.
fn null_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ForwardTotal>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A recording is in the object store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionUpload {
    /// Its key there.
    pub object: String,
    /// Recorded bytes.
    pub bytes: u64,
    /// Bytes of the object.
    pub object_bytes: u64,
}

/// An administrator reads a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordingAccess {
    /// What for, as the reader says: `play`, `export`, `search`, `verify`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// Who.
    pub administrator: Administrator,
}

/// A recording cannot be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordingFailed {
    /// Why.
    pub reason: String,
    /// What became of the session: it was stopped, or goes on unrecorded.
    pub action: String,
}

/// A part of a session is not in its recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordingGap {
    /// Where it begins, in microseconds since the session's start.
    pub from_us: u64,
    /// Where it ends.
    pub to_us: u64,
    /// Bytes of channels' data that passed meanwhile.
    pub bytes: u64,
    /// Other things that happened meanwhile.
    #[serde(default)]
    pub events: u64,
    /// Why.
    pub reason: String,
}
