//! What the control plane has pushed, in the form in which sessions ask it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use weir_api::dataplane::{PacingHint, RecordingMode, Settings, Snapshot};
use weir_pace::{Hint, MaxStartups, TargetId};
use weir_policy::{Node, PolicySet, User};
use weir_record::{KeyError, Recipients};
use weir_relay::transfers::Transfers;

use crate::recorder::RecordError;

/// One snapshot, compiled once and shared by all cores.
pub(crate) struct View {
    pub(crate) revision: u64,
    pub(crate) policy: PolicySet,
    pub(crate) cluster: String,
    pub(crate) settings: Settings,
    /// Environment variables whose values may be told: names, or with `*` at the end the beginnings of some.
    pub(crate) told_variables: Arc<[String]>,
    /// Who can read recordings; without one nothing can be recorded.
    pub(crate) recipients: Result<Recipients, KeyError>,
    user_cas: HashSet<Vec<u8>>,
    host_cas: Vec<Vec<u8>>,
    /// By node id; most nodes have none.
    pinned_host_keys: HashMap<String, Vec<Vec<u8>>>,
    /// By user's name; most users have none.
    traits: HashMap<String, HashMap<String, String>>,
    /// What is known of targets beforehand; of most, nothing.
    pub(crate) pacing_hints: HashMap<TargetId, Hint>,
}

impl View {
    pub(crate) fn compile(snapshot: &Snapshot) -> Self {
        let roles = snapshot
            .roles
            .iter()
            .map(|role| (role.name.as_str(), role.document.as_str()));
        let users = snapshot.users.iter().map(|user| User {
            name: user.name.clone(),
            logins: user.logins.clone(),
            roles: user.roles.clone(),
        });
        let nodes = snapshot.nodes.iter().map(|node| Node {
            id: node.id.as_str().into(),
            name: node.name.as_str().into(),
            address: node.address.as_str().into(),
            labels: node
                .labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
        });
        let policy = PolicySet::new(&snapshot.cluster, roles, users, nodes);
        for (role, error) in policy.unreadable() {
            tracing::error!(role, %error, "role cannot be read: nobody who holds it is granted anything");
        }
        let pinned = snapshot
            .nodes
            .iter()
            .filter(|node| !node.pinned_host_keys.is_empty());
        // A control plane that says nothing about host keys must not turn their check off.
        let settings = snapshot.settings.clone().unwrap_or_else(|| Settings {
            proxy_checks_host_keys: true,
            ..Settings::default()
        });
        let recipients = Recipients::parse(&settings.recording_recipients);
        if let Err(error) = &recipients {
            tracing::error!(%error, "sessions that must be recorded are refused");
        }
        Self {
            revision: snapshot.revision,
            policy,
            cluster: snapshot.cluster.clone(),
            told_variables: settings.environment_values.as_slice().into(),
            settings,
            recipients,
            user_cas: snapshot.user_ca_keys.iter().cloned().collect(),
            host_cas: snapshot.host_ca_keys.clone(),
            pinned_host_keys: pinned
                .map(|node| (node.id.clone(), node.pinned_host_keys.clone()))
                .collect(),
            traits: snapshot
                .users
                .iter()
                .filter(|user| !user.traits.is_empty())
                .map(|user| {
                    let traits = user.traits.iter();
                    let traits = traits.map(|(name, value)| (name.clone(), value.clone()));
                    (user.name.clone(), traits.collect())
                })
                .collect(),
            pacing_hints: pacing_hints(snapshot),
        }
    }

    /// Whether what is recorded is passed on only once it is durable, where no role says so.
    pub(crate) fn records_synchronously(&self) -> bool {
        self.settings.recording_mode() == RecordingMode::Sync
    }

    /// What a user is told whose session ends, or does not begin, because it cannot be recorded.
    pub(crate) fn recording_failed(&self, error: &RecordError) -> String {
        let contact = match &*self.settings.recording_contact {
            "" => "whoever runs weir here",
            contact => contact,
        };
        format!("session recording failed: {error}; ask {contact}")
    }

    pub(crate) fn trusts_user_ca(&self, key: &[u8]) -> bool {
        self.user_cas.contains(key)
    }

    pub(crate) fn host_cas(&self) -> &[Vec<u8>] {
        &self.host_cas
    }

    pub(crate) fn pinned_host_keys(&self, node: &Node) -> Option<&[Vec<u8>]> {
        self.pinned_host_keys.get(&*node.id).map(Vec::as_slice)
    }

    /// What of file transfers is told.
    pub(crate) fn transfers(&self) -> Transfers {
        Transfers {
            operations: !self.settings.file_operations_off,
            hashes: self.settings.file_hashes,
        }
    }

    pub(crate) fn user_trait(&self, user: &str, name: &str) -> Option<&str> {
        self.traits.get(user)?.get(name).map(String::as_str)
    }
}

/// Of several nodes with one address the strictest counts, whichever was told of first.
fn pacing_hints(snapshot: &Snapshot) -> HashMap<TargetId, Hint> {
    let mut hints: HashMap<TargetId, Hint> = HashMap::new();
    for node in &snapshot.nodes {
        let Some(told) = node.pacing.as_ref() else {
            continue;
        };
        let told = pacing_hint(told);
        hints
            .entry(TargetId::from(&*node.address))
            .and_modify(|known| {
                let starts = known.max_startups.into_iter().chain(told.max_startups);
                known.max_startups = starts.min_by_key(|limits| (limits.start, limits.full));
                let sources = known.per_source_max_startups.into_iter();
                known.per_source_max_startups = sources.chain(told.per_source_max_startups).min();
                known.window = known.window.into_iter().chain(told.window).min();
                known.no_penalties &= told.no_penalties;
            })
            .or_insert(told);
    }
    hints
}

/// What is unreadable is not known: the control plane has checked it, and a pacer without a hint is careful.
fn pacing_hint(hint: &PacingHint) -> Hint {
    let limit = |number: u32| Some(number).filter(|number| *number > 0);
    Hint {
        max_startups: MaxStartups::parse(&hint.max_startups),
        per_source_max_startups: limit(hint.per_source_max_startups),
        window: limit(hint.max_handshakes),
        no_penalties: hint.no_penalties,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_are_told_unless_that_is_switched_off() {
        let transfers = |settings| {
            View::compile(&Snapshot {
                settings,
                ..Snapshot::default()
            })
            .transfers()
        };
        let told = |operations, hashes| Transfers { operations, hashes };
        assert_eq!(transfers(None), told(true, false));
        let off = Settings {
            file_operations_off: true,
            ..Settings::default()
        };
        assert_eq!(transfers(Some(off)), told(false, false));
        let hashed = Settings {
            file_hashes: true,
            ..Settings::default()
        };
        assert_eq!(transfers(Some(hashed)), told(true, true));
    }

    #[test]
    fn strictest_of_two_nodes_with_one_address_counts() {
        let node = |max_startups: &str, max_handshakes, no_penalties| weir_api::dataplane::Node {
            address: "10.0.0.7:22".to_owned(),
            pacing: Some(PacingHint {
                max_startups: max_startups.to_owned(),
                max_handshakes,
                no_penalties,
                ..PacingHint::default()
            }),
            ..weir_api::dataplane::Node::default()
        };
        let untold = weir_api::dataplane::Node {
            address: "10.0.0.8:22".to_owned(),
            ..weir_api::dataplane::Node::default()
        };
        let nodes = [node("200:30:400", 4, true), node("20:30:100", 0, false), untold];
        let expected = Hint {
            max_startups: MaxStartups::parse("20:30:100"),
            per_source_max_startups: None,
            window: Some(4),
            no_penalties: false,
        };
        for order in [[0, 1, 2], [2, 1, 0]] {
            let nodes = order.map(|place| nodes[place].clone()).to_vec();
            let hints = pacing_hints(&Snapshot {
                nodes,
                ..Snapshot::default()
            });
            assert_eq!(hints, HashMap::from([("10.0.0.7:22".into(), expected.clone())]));
        }
    }
}
