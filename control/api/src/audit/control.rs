//! What the control plane does, and what administrators do with it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Serial;

/// Who did it, as the kernel says of the other end of the admin socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Administrator {
    /// User id on the control plane's machine.
    pub uid: Option<u32>,
}

/// A certificate was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CertCreate {
    /// What for.
    #[serde(rename = "type")]
    pub kind: CertType,
    /// Its serial number.
    #[serde(default)]
    pub serial: Serial,
    /// Its key id.
    #[serde(default)]
    pub key_id: String,
    /// The logins or host names that it is good for.
    #[serde(default)]
    pub principals: Vec<String>,
    /// When it begins to be good, in seconds since 1970-01-01 UTC.
    #[serde(default)]
    pub valid_after: u64,
    /// When it ends, in seconds since 1970-01-01 UTC.
    #[serde(default)]
    pub valid_before: u64,
    /// Fingerprint of the key that it certifies.
    #[serde(default)]
    pub key: String,
    /// The rule of the policy that permits it, of one toward a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Serial number of the user's certificate against which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_serial: Option<Serial>,
    /// Fingerprint of the user's key against whose signature it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_key: Option<String>,
    /// Digest of the user's proof of sign-in in hexadecimal, which is taken once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Until when the proof has to be remembered, in seconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_expires: Option<u64>,
    /// Host names that were asked for and left out, since they belong to nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// What is not known of it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Who had it made; a data plane else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub administrator: Option<Administrator>,
}

impl CertCreate {
    /// One of this kind, of which nothing is known yet.
    pub fn of(kind: CertType) -> CertCreate {
        CertCreate {
            kind,
            serial: Serial::default(),
            key_id: String::new(),
            principals: Vec::new(),
            valid_after: 0,
            valid_before: 0,
            key: String::new(),
            rule: None,
            user_serial: None,
            user_key: None,
            proof: None,
            proof_expires: None,
            withheld: Vec::new(),
            problem: None,
            administrator: None,
        }
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CertType {
    /// A user's, to sign in at the proxy.
    User,
    /// A host's: a node's, or a data plane's own.
    Host,
    /// A data plane's, to sign in at a node for one session.
    Upstream,
}

/// A certificate toward a node was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CertRefused {
    /// Why.
    pub reason: String,
    /// Id of the node for which it was asked.
    pub node_id: String,
}

/// A node was added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeJoin {
    /// Its id, stable over renames.
    pub id: String,
    /// Its address, `host:port`.
    pub address: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// How many host keys are pinned.
    pub pinned: u64,
    /// What is known of how many handshakes it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pacing: Option<Pacing>,
    /// Who did it.
    pub administrator: Administrator,
}

/// What is known beforehand of how many handshakes a node takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pacing {
    /// sshd's `MaxStartups`, or empty.
    pub max_startups: String,
    /// sshd's `PerSourceMaxStartups`; 0: none is known.
    pub per_source_max_startups: u32,
    /// Handshakes in flight that the operator allows; 0: not given.
    pub max_handshakes: u32,
    /// Whether the node takes no penalties from the proxy.
    pub no_penalties: bool,
}

/// What is known of how many handshakes a node takes was replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeTune {
    /// What is known now.
    #[serde(default)]
    pub pacing: Option<Pacing>,
    /// Who did it.
    pub administrator: Administrator,
}

/// A node was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeRemove {
    /// Who did it.
    pub administrator: Administrator,
}

/// A user was added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UserAdd {
    /// Logins on nodes that the user may use.
    pub logins: Vec<String>,
    /// The user's roles.
    pub roles: Vec<String>,
    /// Who did it.
    pub administrator: Administrator,
}

/// A user was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UserRemove {
    /// Who did it.
    pub administrator: Administrator,
}

/// A role was made or replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RolePut {
    /// Its name.
    pub role: String,
    /// Revision of the directory with it.
    pub revision: u64,
    /// The document, TOML.
    pub document: String,
    /// Who did it.
    pub administrator: Administrator,
}

/// A role was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RoleRemove {
    /// Its name.
    pub role: String,
    /// Who did it.
    pub administrator: Administrator,
}

/// A recording is held: it is not deleted until it is released.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordingHold {
    /// Why.
    pub reason: String,
    /// Who did it.
    pub administrator: Administrator,
}

/// A recording is no longer held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordingRelease {
    /// Why it was held.
    pub reason: String,
    /// Who did it.
    pub administrator: Administrator,
}

/// A recording was deleted, since its time was over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordingDelete {
    /// Its key in the object store.
    pub object: String,
    /// When its session began, in microseconds since 1970-01-01 UTC.
    pub start_us: u64,
    /// How long recordings are kept.
    pub retention_seconds: u64,
}

/// A recording's key was wrapped anew, to the present recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordingRewrap {
    /// How many recipients there are.
    pub recipients: u64,
    /// Who could unwrap the key: `weir`, or the `administrator` with an identity of theirs.
    pub unwrapped_by: String,
    /// Who did it.
    pub administrator: Administrator,
}

/// An identity that opens recordings was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IdentityAdd {
    /// Its recipient, `age1…`.
    pub public_key: String,
    /// Who did it.
    pub administrator: Administrator,
}

/// An identity that opens recordings was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IdentityRetire {
    /// Its recipient, `age1…`.
    pub public_key: String,
    /// Who did it.
    pub administrator: Administrator,
}

/// A node seems to refuse the proxy's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BanSuspected {
    /// The node's address, `host:port`.
    pub address: String,
    /// The proxy's address, where it is known.
    #[serde(default)]
    pub source: Option<String>,
    /// Handshakes in a row that the node dropped.
    pub drops: u32,
    /// What to do.
    pub advice: String,
}

/// The control plane has started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ControlStart {
    /// Its version.
    pub version: String,
}

/// Failed sign-ins of one address beyond those that are written one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuthRepeated {
    /// Always false.
    pub success: bool,
    /// The address, or the network of an IPv6 address.
    pub address: String,
    /// How many were not written.
    pub attempts: u64,
}

/// Events of a session, or of nobody in particular, found no room and were dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditGap {
    /// Events that are missing.
    pub events: u64,
    /// Rows of the session index that are missing.
    pub sessions: u64,
}

/// An event or a row of the session index was refused by the store for its content. The log has the event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditRefused {
    /// `event` or `session`.
    pub refused: String,
    /// Id of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Kind of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Place of the recording that the row names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Bytes of its texts.
    pub bytes: u64,
    /// Why.
    pub problem: String,
}
