//! What a session may do: the user's grant and the user's certificate, asked by the relay.

mod copying;

use std::sync::Arc;

use weir_pace::Priority;
use weir_policy::{Feature, Grant, Record, RecordInput, RecordingMode};
use weir_relay::{Ask, Decision, Policy, Program, Recording, transfers::Transfers};
use weir_ssh::certificate::UserCertificate;

use crate::{recorder::Terms, view::View};

/// The terms of one session, fixed when it starts.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    grant: Grant,
    /// What an absent `permit-*` extension takes away (OpenSSH PROTOCOL.certkeys).
    certificate: Extensions,
    /// The same for all sessions of the cluster.
    transfers: Transfers,
    /// Environment variables whose values may be told, see [`View`].
    told_variables: Arc<[String]>,
}

#[derive(Debug, Clone, Copy)]
struct Extensions {
    pty: bool,
    port_forwarding: bool,
    agent_forwarding: bool,
    x11_forwarding: bool,
}

impl Access {
    pub(crate) fn new(grant: Grant, certificate: &UserCertificate, view: &View) -> Self {
        Self {
            grant,
            certificate: Extensions {
                pty: certificate.permits_pty(),
                port_forwarding: certificate.permits_port_forwarding(),
                agent_forwarding: certificate.permits_agent_forwarding(),
                x11_forwarding: certificate.permits_x11_forwarding(),
            },
            transfers: view.transfers(),
            told_variables: Arc::clone(&view.told_variables),
        }
    }

    /// A session that may do nothing but what every session may, and is recorded.
    #[cfg(test)]
    pub(crate) fn recorded() -> Self {
        Self {
            grant: Grant {
                features: weir_policy::FeatureSet::default(),
                record: Record::Strict,
                recording_mode: None,
                record_input: RecordInput::Off,
                rule: weir_policy::Rule::Allow("test".into()),
            },
            certificate: Extensions {
                pty: true,
                port_forwarding: true,
                agent_forwarding: true,
                x11_forwarding: true,
            },
            transfers: Transfers::default(),
            told_variables: Arc::default(),
        }
    }

    /// What the session is promised of its record, where it has one.
    pub(crate) fn recording_terms(&self, view: &View) -> Option<Terms> {
        let mode = self.grant.recording_mode;
        Some(Terms {
            exec_limit: view.settings.exec_output_limit_bytes,
            hashes_unrecorded: view.settings.hash_unrecorded,
            is_strict: match self.grant.record {
                Record::Off => return None,
                Record::BestEffort => false,
                Record::Strict => true,
            },
            is_sync: mode.map_or_else(
                || view.records_synchronously(),
                |mode| mode == RecordingMode::Sync,
            ),
        })
    }

    /// Whether what is typed on a terminal is recorded only where it was echoed.
    pub(crate) fn records_only_echoed(&self) -> bool {
        self.grant.record_input == RecordInput::Echoed
    }

    /// Whose logins go first where they tie: what the client will ask for is known only when it is let in, but who may have no
    /// terminal is a program.
    pub(crate) fn priority(&self) -> Priority {
        if self.permits(Feature::Pty) {
            Priority::Interactive
        } else {
            Priority::Batch
        }
    }

    fn permits(&self, feature: Feature) -> bool {
        let certified = match feature {
            Feature::Pty => self.certificate.pty,
            Feature::LocalForwarding | Feature::RemoteForwarding => self.certificate.port_forwarding,
            Feature::AgentForwarding => self.certificate.agent_forwarding,
            Feature::X11 => self.certificate.x11_forwarding,
            Feature::Exec | Feature::FileCopy => true,
        };
        certified && self.grant.permits(feature)
    }

    fn feature(&self, feature: Feature) -> Decision {
        if self.permits(feature) {
            Decision::Allow
        } else {
            Decision::Deny(feature.refusal().to_owned())
        }
    }
}

impl Policy for Access {
    fn decide(&self, ask: &Ask<'_>) -> Decision {
        match ask {
            Ask::Session | Ask::Env { .. } => Decision::Allow,
            Ask::Pty { .. } => self.feature(Feature::Pty),
            // A shell is as much as a terminal or a command can do.
            Ask::Program(Program::Shell) if self.permits(Feature::Pty) => Decision::Allow,
            Ask::Program(Program::Shell) => self.feature(Feature::Exec),
            Ask::Program(Program::Exec { command }) if copying::starts_other_half(command) => {
                self.feature(Feature::FileCopy)
            }
            Ask::Program(Program::Exec { .. }) => self.feature(Feature::Exec),
            Ask::Program(Program::Subsystem { name: b"sftp" }) => self.feature(Feature::FileCopy),
            Ask::Program(Program::Subsystem { .. }) => self.feature(Feature::Exec),
            Ask::DirectTcpip { .. } | Ask::DirectStreamlocal { .. } | Ask::Tunnel => {
                self.feature(Feature::LocalForwarding)
            }
            Ask::TcpipForward { .. }
            | Ask::StreamlocalForward { .. }
            | Ask::ForwardedTcpip { .. }
            | Ask::ForwardedStreamlocal { .. } => self.feature(Feature::RemoteForwarding),
            // Unrecorded bytes in a form that nobody has judged.
            Ask::OtherChannel { .. } => Decision::Deny(Feature::LocalForwarding.refusal().to_owned()),
            Ask::X11Channel | Ask::X11Forwarding => self.feature(Feature::X11),
            Ask::AgentChannel | Ask::AgentForwarding => self.feature(Feature::AgentForwarding),
        }
    }

    fn recording(&self, _program: Option<&Program<'_>>) -> Recording {
        let output = self.grant.record != Record::Off;
        Recording {
            output,
            input: output && self.grant.record_input != RecordInput::Off,
        }
    }

    fn transfers(&self) -> Transfers {
        self.transfers
    }

    fn tells_value(&self, name: &[u8]) -> bool {
        let told = self.told_variables.iter();
        told.map(|pattern| pattern.as_bytes())
            .any(|pattern| match pattern.strip_suffix(b"*") {
                Some(begin) => name.starts_with(begin),
                None => name == pattern,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_of_the_variables_that_are_named_alone() {
        let mut access = Access::recorded();
        assert!(!access.tells_value(b"LANG"), "of none, where none is named");
        access.told_variables = ["LANG".to_owned(), "LC_*".to_owned()].into();
        assert!(access.tells_value(b"LANG") && access.tells_value(b"LC_ALL") && access.tells_value(b"LC_"));
        for other in ["LANGUAGE", "lang", "XLC_ALL", "LC", "", "TOKEN"] {
            assert!(!access.tells_value(other.as_bytes()), "{other}");
        }
        access.told_variables = ["*".to_owned()].into();
        assert!(access.tells_value(b"TOKEN"));
    }
}
