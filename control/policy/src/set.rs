use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::grant::{Deny, FeatureSet, Grant, Record, RecordInput, Rule};
use crate::inventory::{Inventory, Node};
use crate::role::{Role, RoleError};

/// A person or a machine that signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Key id of the user's certificates.
    pub name: String,
    /// Logins on targets that the user may ask for, if a role allows them.
    pub logins: Vec<String>,
    /// Names of roles.
    pub roles: Vec<String>,
}

/// Policy of one snapshot, ready to decide.
///
/// Cost of a decision: the roles that the user holds, times their expressions; independent of the number of
/// users, roles and nodes.
#[derive(Debug)]
pub struct PolicySet {
    cluster: Box<str>,
    roles: Vec<Role>,
    unreadable: Vec<(Arc<str>, RoleError)>,
    users: HashMap<Box<str>, Holder>,
    inventory: Inventory,
}

#[derive(Debug)]
struct Holder {
    logins: Box<[Box<str>]>,
    /// Indices into `PolicySet::roles`, or the first role that cannot be used.
    roles: Result<Box<[u32]>, Arc<str>>,
}

impl PolicySet {
    /// Reads every role's document, given with its name; those that cannot be read are kept aside, see [`PolicySet::unreadable`].
    pub fn new<'a>(
        cluster: &str,
        roles: impl IntoIterator<Item = (&'a str, &'a str)>,
        users: impl IntoIterator<Item = User>,
        nodes: impl IntoIterator<Item = Node>,
    ) -> PolicySet {
        let mut set = PolicySet {
            cluster: cluster.into(),
            roles: Vec::new(),
            unreadable: Vec::new(),
            users: HashMap::new(),
            inventory: Inventory::new(nodes),
        };
        let mut by_name: HashMap<&str, u32> = HashMap::new();
        for (name, document) in roles {
            match Role::parse(document) {
                Ok(role) => {
                    let index = u32::try_from(set.roles.len()).expect("there are fewer than 2^32 roles");
                    by_name.insert(name, index);
                    set.roles.push(role);
                }
                Err(error) => set.unreadable.push((name.into(), error)),
            }
        }
        for user in users {
            let roles = user
                .roles
                .iter()
                .map(|role| by_name.get(&**role).copied().ok_or(&**role))
                .collect();
            let holder = Holder {
                logins: user.logins.into_iter().map(Into::into).collect(),
                roles: Result::map_err(roles, Into::into),
            };
            set.users.insert(user.name.into(), holder);
        }
        set
    }

    /// Roles whose document cannot be read, for the log. Nobody who holds one is granted anything.
    pub fn unreadable(&self) -> impl Iterator<Item = (&str, &RoleError)> {
        self.unreadable.iter().map(|(name, error)| (&**name, error))
    }

    /// The node that a user calls `target`: its name, address, host of the address, or id.
    pub fn target(&self, target: &str) -> Result<&Node, Deny> {
        self.inventory.find(target)
    }

    /// May `user` sign in as `login` on `node`, and under what terms?
    pub fn access(&self, user: &str, login: &str, node: &Node) -> Result<Grant, Deny> {
        self.decide(user, login, node).map_err(|rule| Deny {
            message: format!(
                "user {user}@{} is not authorized to login as {login}@{}",
                self.cluster, node.name
            ),
            rule,
        })
    }

    /// Longest certificate that the user's roles permit; `None` where no role says so, or there is no such user.
    pub fn max_session_ttl(&self, user: &str) -> Option<Duration> {
        let roles = self.users.get(user)?.roles.as_ref().ok()?;
        roles
            .iter()
            .filter_map(|index| self.roles[*index as usize].max_session_ttl())
            .min()
    }

    fn decide(&self, user: &str, login: &str, node: &Node) -> Result<Grant, Rule> {
        let holder = self.users.get(user).ok_or(Rule::UnknownUser)?;
        if !holder.logins.iter().any(|held| **held == *login) {
            return Err(Rule::LoginNotHeld);
        }
        let roles = holder
            .roles
            .as_ref()
            .map_err(|role| Rule::UnusableRole(role.clone()))?;
        let roles = || roles.iter().map(|index| &self.roles[*index as usize]);

        // Deny before allow, and over all roles: what one role refuses no other can give back.
        let mut denied = FeatureSet::default();
        for role in roles() {
            if role.deny.logins.matches(login) {
                return Err(Rule::DenyLogins(role.name.clone()));
            }
            if role.deny.node_labels.matches(&node.labels) {
                return Err(Rule::DenyNodeLabels(role.name.clone()));
            }
            denied = denied.union(role.deny.features);
        }

        // Only roles that grant this login on this node add features and terms: forwarding on a test host,
        // say, must not become forwarding in production.
        let mut granting = roles()
            .filter(|role| role.allow.logins.matches(login) && role.allow.node_labels.matches(&node.labels));
        let first = granting.next().ok_or(Rule::NoRole)?;
        let mut grant = Grant {
            features: first.allow.features,
            record: first.options.record_session,
            recording_mode: first.options.recording_mode,
            record_input: first.options.record_input,
            rule: Rule::Allow(first.name.clone()),
        };
        let mut is_exempt = first.options.record_exempt;
        for role in granting {
            grant.features = grant.features.union(role.allow.features);
            grant.record = Record::max(grant.record, role.options.record_session);
            grant.recording_mode = Option::max(grant.recording_mode, role.options.recording_mode);
            grant.record_input = RecordInput::max(grant.record_input, role.options.record_input);
            is_exempt |= role.options.record_exempt;
        }
        if is_exempt {
            grant.record = Record::min(grant.record, Record::BestEffort);
        }
        grant.features = grant.features.without(denied);
        Ok(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ACCESS_ROLE, Feature, RecordingMode};

    const DEVELOPERS: &str = r#"
        name = "developers"
        [allow]
        logins = ["ubuntu", "^dev-.*$"]
        node_labels = { env = ["dev", "^stag.*$"], team = "*" }
        [options]
        record_session = "best_effort"
        recording_mode = "async"
        max_session_ttl = "8h"
    "#;
    const TUNNELS: &str = r#"
        name = "tunnels"
        [allow]
        logins = "ubuntu"
        node_labels = { env = "dev" }
        local_forwarding = true
        x11 = true
        [options]
        record_session = "off"
        recording_mode = "sync"
        record_input = true
        max_session_ttl = "1h"
    "#;
    const ON_CALL: &str = r#"
        name = "on-call"
        [allow]
        logins = "root"
        node_labels = { "*" = "*" }
        [options]
        record_exempt = true
    "#;
    const CONTRACTORS: &str = r#"
        name = "contractors"
        [deny]
        logins = "root"
        node_labels = { env = "prod" }
        x11 = true
    "#;

    fn user(name: &str, logins: &[&str], roles: &[&str]) -> User {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        User {
            name: name.to_owned(),
            logins: own(logins),
            roles: own(roles),
        }
    }

    fn node(name: &str, labels: &[(&str, &str)]) -> Node {
        Node {
            id: format!("id-{name}").into(),
            name: name.into(),
            address: format!("{name}:22").into(),
            labels: labels.iter().copied().collect(),
        }
    }

    fn set() -> PolicySet {
        PolicySet::new(
            "weir",
            [
                ("access", ACCESS_ROLE),
                ("developers", DEVELOPERS),
                ("tunnels", TUNNELS),
                ("on-call", ON_CALL),
                ("contractors", CONTRACTORS),
                ("broken", "name = \"broken\"\nfuture = 1\n"),
            ],
            [
                user("alice", &["root", "ubuntu"], &["access"]),
                user("bob", &["ubuntu", "dev-1", "root"], &["developers", "tunnels"]),
                user("carl", &["root", "ubuntu"], &["access", "contractors"]),
                user("dora", &["root"], &["access", "broken"]),
                user("emil", &["root"], &["access", "gone"]),
                user("fred", &["root"], &[]),
                user("gina", &["root", "ubuntu"], &["access", "on-call"]),
            ],
            [
                node("web1", &[]),
                node("dev1", &[("env", "dev"), ("team", "a")]),
                node("stag1", &[("env", "staging"), ("team", "b")]),
                node("prod1", &[("env", "prod"), ("team", "a")]),
                node("lone1", &[("env", "dev")]),
            ],
        )
    }

    fn access(user: &str, login: &str, target: &str) -> Result<Grant, Deny> {
        let set = set();
        set.access(user, login, set.target(target)?)
    }

    fn rule(user: &str, login: &str, target: &str) -> Rule {
        match access(user, login, target) {
            Ok(grant) => grant.rule,
            Err(deny) => deny.rule,
        }
    }

    #[test]
    fn the_default_role_grants_every_node_and_only_the_users_logins() {
        let grant = access("alice", "root", "web1").unwrap();
        assert_eq!(grant.rule, Rule::Allow("access".into()));
        assert_eq!(grant.record, Record::Strict);
        assert_eq!(grant.record_input, RecordInput::Off);
        assert!(Feature::ALL.into_iter().all(|feature| grant.permits(feature)));

        let deny = access("alice", "postgres", "web1").unwrap_err();
        assert_eq!(
            deny.to_string(),
            "user alice@weir is not authorized to login as postgres@web1"
        );
        assert_eq!(deny.rule, Rule::LoginNotHeld);
    }

    #[test]
    fn labels_match_by_literal_list_star_and_pattern() {
        assert_eq!(rule("bob", "ubuntu", "dev1"), Rule::Allow("developers".into()));
        assert_eq!(rule("bob", "dev-1", "stag1"), Rule::Allow("developers".into()));
        assert_eq!(rule("bob", "ubuntu", "prod1"), Rule::NoRole);
        // The key `team` must be there, whatever its value.
        assert_eq!(rule("bob", "dev-1", "lone1"), Rule::NoRole);
        assert_eq!(rule("bob", "root", "dev1"), Rule::NoRole);
        assert_eq!(rule("bob", "ubuntu", "web1"), Rule::NoRole);
    }

    #[test]
    fn deny_wins_over_every_allow() {
        assert_eq!(
            rule("carl", "root", "web1"),
            Rule::DenyLogins("contractors".into())
        );
        assert_eq!(
            rule("carl", "ubuntu", "prod1"),
            Rule::DenyNodeLabels("contractors".into())
        );
        let grant = access("carl", "ubuntu", "dev1").unwrap();
        assert!(grant.permits(Feature::Pty) && !grant.permits(Feature::X11));
    }

    #[test]
    fn terms_come_from_granting_roles_alone_and_the_strictest_recording_wins() {
        let both = access("bob", "ubuntu", "dev1").unwrap();
        assert!(both.permits(Feature::LocalForwarding));
        assert_eq!(both.record_input, RecordInput::Echoed);
        assert_eq!(both.record, Record::BestEffort);
        assert_eq!(both.recording_mode, Some(RecordingMode::Sync));

        let one = access("bob", "ubuntu", "stag1").unwrap();
        assert!(!one.permits(Feature::LocalForwarding));
        assert_eq!(one.record_input, RecordInput::Off);
        assert_eq!(one.recording_mode, Some(RecordingMode::Async));
        assert_eq!(access("alice", "root", "web1").unwrap().recording_mode, None);
    }

    #[test]
    fn an_exempt_role_lets_sessions_that_it_grants_go_on_unrecorded() {
        assert_eq!(access("gina", "root", "web1").unwrap().record, Record::BestEffort);
        let not_granted_by_it = access("gina", "ubuntu", "web1").unwrap();
        assert_eq!(not_granted_by_it.record, Record::Strict);
    }

    #[test]
    fn a_role_that_cannot_be_used_denies() {
        assert_eq!(rule("dora", "root", "web1"), Rule::UnusableRole("broken".into()));
        assert_eq!(rule("emil", "root", "web1"), Rule::UnusableRole("gone".into()));
        assert_eq!(rule("fred", "root", "web1"), Rule::NoRole);
        assert_eq!(rule("nobody", "root", "web1"), Rule::UnknownUser);
        let set = set();
        let unreadable: Vec<_> = set
            .unreadable()
            .map(|(name, error)| format!("{name}: {error}"))
            .collect();
        assert_eq!(unreadable.len(), 1);
        assert!(unreadable[0].starts_with("broken: role document, line 2: unknown field `future`"));
    }

    #[test]
    fn the_shortest_ttl_of_the_users_roles_counts() {
        let set = set();
        assert_eq!(set.max_session_ttl("bob"), Some(Duration::from_secs(3600)));
        assert_eq!(set.max_session_ttl("alice"), None);
    }
}
