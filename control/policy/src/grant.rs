use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

/// What a session may do once it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// A terminal (`pty-req`).
    Pty,
    /// A command or a shell without a terminal.
    Exec,
    /// SFTP, scp, rsync.
    FileCopy,
    /// `direct-tcpip`, `direct-streamlocal`: `ssh -L`, `-D`, `-W`.
    LocalForwarding,
    /// `tcpip-forward`, `streamlocal-forward`: `ssh -R`.
    RemoteForwarding,
    /// `auth-agent-req@openssh.com`: `ssh -A`.
    AgentForwarding,
    /// `x11-req`: `ssh -X`.
    X11,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Feature; 7] = [
        Feature::Pty,
        Feature::Exec,
        Feature::FileCopy,
        Feature::LocalForwarding,
        Feature::RemoteForwarding,
        Feature::AgentForwarding,
        Feature::X11,
    ];

    /// The sentence for a user who asked for it and may not.
    pub fn refusal(self) -> &'static str {
        match self {
            Feature::Pty => "terminal not allowed",
            Feature::Exec => "command execution not allowed",
            Feature::FileCopy => "file copy not allowed",
            Feature::LocalForwarding | Feature::RemoteForwarding => "port forwarding not allowed",
            Feature::AgentForwarding => "agent forwarding not allowed",
            Feature::X11 => "x11 forwarding not permitted",
        }
    }
}

/// A set of [`Feature`]s.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FeatureSet(u8);

impl FeatureSet {
    /// Whether `feature` is in the set.
    pub fn contains(self, feature: Feature) -> bool {
        self.0 & Self::bit(feature) != 0
    }

    pub(crate) fn with(self, feature: Feature, present: bool) -> FeatureSet {
        if present {
            FeatureSet(self.0 | Self::bit(feature))
        } else {
            self
        }
    }

    pub(crate) fn union(self, other: FeatureSet) -> FeatureSet {
        FeatureSet(self.0 | other.0)
    }

    pub(crate) fn without(self, other: FeatureSet) -> FeatureSet {
        FeatureSet(self.0 & !other.0)
    }

    fn bit(feature: Feature) -> u8 {
        1 << feature as u8
    }
}

impl fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Feature::ALL.into_iter().filter(|feature| self.contains(*feature)))
            .finish()
    }
}

/// How sessions are recorded, from the weakest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Not at all.
    Off,
    /// A session goes on when its recorder fails; the gap is an audit event.
    BestEffort,
    /// A session whose recorder fails is stopped. Who says nothing wants to be able to rely on what is there.
    #[default]
    Strict,
}

/// When recorded bytes are passed on, the laxer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingMode {
    /// At once; a killed data plane loses what it recorded during the last flush interval.
    Async,
    /// When their record is on disk; a killed data plane loses nothing that was passed on.
    Sync,
}

/// What of a user's input is recorded, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordInput {
    /// Nothing. What people type has passwords in it.
    #[default]
    Off,
    /// What goes into a program without a terminal; on a terminal, what was seen to be echoed.
    Echoed,
    /// Everything, passwords too.
    Always,
}

impl<'de> Deserialize<'de> for RecordInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Switch(bool),
            Word(String),
        }
        const EXPECTED: &str = "true, false or \"always\"";
        match Form::deserialize(deserializer) {
            Ok(Form::Switch(false)) => Ok(RecordInput::Off),
            Ok(Form::Switch(true)) => Ok(RecordInput::Echoed),
            Ok(Form::Word(word)) if word == "always" => Ok(RecordInput::Always),
            Ok(Form::Word(word)) => Err(de::Error::custom(format!(
                "got {word:?} while expecting {EXPECTED}"
            ))),
            Err(_) => Err(de::Error::custom(format!("expected {EXPECTED}"))),
        }
    }
}

/// Access, and under what terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the session may do.
    pub features: FeatureSet,
    /// The strictest that a granting role asks for, unless one exempts.
    pub record: Record,
    /// The strictest that a granting role asks for; `None` where none does: then the cluster's counts.
    pub recording_mode: Option<RecordingMode>,
    /// The most that a granting role asks for.
    pub record_input: RecordInput,
    /// The first role that granted the access.
    pub rule: Rule,
}

impl Grant {
    /// Whether the session may use `feature`.
    pub fn permits(&self, feature: Feature) -> bool {
        self.features.contains(feature)
    }
}

/// Access refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Deny {
    /// The sentence for the user. It does not say which rule decided, that is for the audit record.
    pub message: String,
    /// What decided.
    pub rule: Rule,
}

/// What decided, for audit records and operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The `allow` table of this role.
    Allow(Arc<str>),
    /// `deny.logins` of this role.
    DenyLogins(Arc<str>),
    /// `deny.node_labels` of this role.
    DenyNodeLabels(Arc<str>),
    /// No role of the user allows this login on this node.
    NoRole,
    /// The user does not exist (any more).
    UnknownUser,
    /// The login is not among the user's logins.
    LoginNotHeld,
    /// The user holds this role, which does not exist or cannot be read.
    UnusableRole(Arc<str>),
    /// No node has this name, address or id.
    UnknownTarget,
    /// More than one node answers to this address.
    AmbiguousTarget,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Allow(role) => write!(f, "role {role}: allow"),
            Rule::DenyLogins(role) => write!(f, "role {role}: deny.logins"),
            Rule::DenyNodeLabels(role) => write!(f, "role {role}: deny.node_labels"),
            Rule::NoRole => f.write_str("no role allows this login on this node"),
            Rule::UnknownUser => f.write_str("the user does not exist"),
            Rule::LoginNotHeld => f.write_str("the login is not among the user's logins"),
            Rule::UnusableRole(role) => write!(f, "role {role} does not exist or cannot be read"),
            Rule::UnknownTarget => f.write_str("the target does not exist"),
            Rule::AmbiguousTarget => f.write_str("the target is ambiguous"),
        }
    }
}
