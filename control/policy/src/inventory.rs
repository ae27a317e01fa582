use std::collections::HashMap;

use crate::grant::{Deny, Rule};

/// A node's labels, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self
            .0
            .binary_search_by(|(candidate, _)| (**candidate).cmp(key))
            .ok()?;
        Some(&self.0[index].1)
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Labels {
        let mut labels: Vec<(Box<str>, Box<str>)> = labels
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        labels.sort();
        Labels(labels.into())
    }
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// UUID, stable over renames.
    pub id: Box<str>,
    /// The name that users type.
    pub name: Box<str>,
    /// host:port as dialled.
    pub address: Box<str>,
    /// What roles select it by.
    pub labels: Labels,
}

impl Node {
    fn host(&self) -> &str {
        let host = self
            .address
            .rsplit_once(':')
            .map_or(&*self.address, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// Nodes by what users may call them: id, name, address, host of the address; without regard to case, since
/// OpenSSH's client lower-cases names.
///
/// Invariant: `by_name` holds, for each lower-cased string, the nodes of the best rank alone.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    nodes: Vec<Node>,
    by_name: HashMap<Box<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    rank: Rank,
    node: u32,
    ambiguous: bool,
}

/// What a string names first when it could mean several things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Id,
    Name,
    Address,
    Host,
}

impl Inventory {
    pub(crate) fn new(nodes: impl IntoIterator<Item = Node>) -> Inventory {
        let nodes: Vec<Node> = nodes.into_iter().collect();
        let mut by_name = HashMap::with_capacity(nodes.len() * 4);
        for (index, node) in nodes.iter().enumerate() {
            let index = u32::try_from(index).expect("an inventory has fewer than 2^32 nodes");
            insert(&mut by_name, &node.id, Rank::Id, index);
            insert(&mut by_name, &node.name, Rank::Name, index);
            insert(&mut by_name, &node.address, Rank::Address, index);
            insert(&mut by_name, node.host(), Rank::Host, index);
        }
        Inventory { nodes, by_name }
    }

    pub(crate) fn find(&self, target: &str) -> Result<&Node, Deny> {
        let lowered;
        let key = if target.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lowered = target.to_ascii_lowercase();
            &*lowered
        } else {
            target
        };
        match self.by_name.get(key) {
            Some(entry) if !entry.ambiguous => Ok(&self.nodes[entry.node as usize]),
            Some(_) => Err(Deny {
                message: "ambiguous host could match multiple nodes".to_owned(),
                rule: Rule::AmbiguousTarget,
            }),
            None => Err(Deny {
                message: format!("target host {target} is offline or does not exist"),
                rule: Rule::UnknownTarget,
            }),
        }
    }
}

fn insert(by_name: &mut HashMap<Box<str>, Entry>, name: &str, rank: Rank, node: u32) {
    let fresh = Entry {
        rank,
        node,
        ambiguous: false,
    };
    match by_name.get_mut(&*name.to_ascii_lowercase()) {
        Some(entry) if rank < entry.rank => *entry = fresh,
        Some(entry) if rank == entry.rank && node != entry.node => entry.ambiguous = true,
        Some(_) => {}
        None => drop(by_name.insert(name.to_ascii_lowercase().into(), fresh)),
    }
}

/// Login and target of a user name as typed: `root@web1`, or `root%web1` where the client's own grammar takes the `@`.
///
/// The last `@` divides, since a login may have one of its own (`user@domain@web1`); `%` divides only a name
/// without any `@`. `None` where either side is missing. A style (`root:totp@web1`) is not part of the login: sshd cuts
/// it off before it looks for the account; see [`styled_login`].
pub fn split_user_name(user_name: &str) -> Option<(&str, &str)> {
    let (login, target) = divide(user_name)?;
    let login = login.split_once(':').map_or(login, |(login, _style)| login);
    (!login.is_empty() && !target.is_empty()).then_some((login, target))
}

/// The login of a user name as typed with its style, which is for the target to understand.
pub fn styled_login(user_name: &str) -> Option<&str> {
    divide(user_name).map(|(login, _target)| login)
}

fn divide(user_name: &str) -> Option<(&str, &str)> {
    user_name.rsplit_once('@').or_else(|| user_name.rsplit_once('%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, name: &str, address: &str) -> Node {
        Node {
            id: id.into(),
            name: name.into(),
            address: address.into(),
            labels: Labels::default(),
        }
    }

    fn inventory() -> Inventory {
        Inventory::new([
            node("id-1", "Web1", "10.0.0.1:22"),
            node("id-2", "web2", "10.0.0.2:22"),
            node("id-3", "web3", "10.0.0.2:2222"),
            node("id-4", "10.0.0.1", "[fe80::1]:22"),
        ])
    }

    #[test]
    fn nodes_are_found_by_id_name_and_address_without_regard_to_case() {
        let inventory = inventory();
        let found = |target: &str| inventory.find(target).map(|node| node.id.to_string()).unwrap();
        assert_eq!(found("ID-1"), "id-1");
        assert_eq!(found("WEB1"), "id-1");
        assert_eq!(found("10.0.0.2:2222"), "id-3");
        assert_eq!(found("fe80::1"), "id-4");
    }

    #[test]
    fn a_name_wins_over_another_nodes_address() {
        assert_eq!(&*inventory().find("10.0.0.1").unwrap().id, "id-4");
    }

    #[test]
    fn unknown_and_ambiguous_targets_are_told_apart() {
        let inventory = inventory();
        let ambiguous = inventory.find("10.0.0.2").unwrap_err();
        assert_eq!(ambiguous.to_string(), "ambiguous host could match multiple nodes");
        let unknown = inventory.find("Web9").unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "target host Web9 is offline or does not exist"
        );
        assert_eq!(unknown.rule, Rule::UnknownTarget);
    }

    #[test]
    fn user_names_divide_at_the_last_separator() {
        assert_eq!(split_user_name("root@web1"), Some(("root", "web1")));
        assert_eq!(split_user_name("root%web1"), Some(("root", "web1")));
        assert_eq!(split_user_name("joe@corp@web1"), Some(("joe@corp", "web1")));
        assert_eq!(
            split_user_name("root@fe80::1%eth0"),
            Some(("root", "fe80::1%eth0"))
        );
        assert_eq!(split_user_name("root:totp@web1"), Some(("root", "web1")));
        assert_eq!(split_user_name("root:a:b%web1"), Some(("root", "web1")));
        assert_eq!(split_user_name("root@fe80::1"), Some(("root", "fe80::1")));
        assert_eq!(styled_login("root:a:b%web1"), Some("root:a:b"));
        assert_eq!(styled_login("root@fe80::1"), Some("root"));
        assert_eq!(split_user_name(":totp@web1"), None);
        assert_eq!(split_user_name("root"), None);
        assert_eq!(split_user_name("root@"), None);
        assert_eq!(split_user_name("@web1"), None);
    }
}
