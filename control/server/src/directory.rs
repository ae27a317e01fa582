//! The stored resources, decoded.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weir_api::dataplane;
use weir_policy::RecordingMode;
use weir_ssh::key::PublicKey;
use weir_store::{Action, Change, Expect, Kind, Resource, Resources};

use crate::error::OpenError;

/// The one resource of its kind.
pub(crate) const SETTINGS: &str = "cluster";

/// All resources in memory. A copy of the store, changed by what has been committed there and by nothing else.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) revision: u64,
    pub(crate) settings: Settings,
    pub(crate) users: BTreeMap<String, Entry<dataplane::User>>,
    pub(crate) roles: BTreeMap<String, Entry<String>>,
    /// By lower-cased name.
    pub(crate) nodes: BTreeMap<String, Entry<dataplane::Node>>,
    pub(crate) authorities: BTreeMap<String, AuthorityKey>,
    /// Secrets of the control plane's own, by name.
    pub(crate) identities: BTreeMap<String, Identity>,
    /// Keys with which data planes sign the ends of recordings.
    pub(crate) data_planes: BTreeMap<String, PublicKey>,
}

/// A resource with the revision at which it was written.
#[derive(Clone, Debug)]
pub(crate) struct Entry<T> {
    pub(crate) value: T,
    pub(crate) revision: u64,
}

/// What a certificate authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Purpose {
    /// Users' certificates.
    User,
    /// Hosts' certificates.
    Host,
    /// Data planes' certificates toward targets.
    OpenSsh,
}

impl Purpose {
    pub(crate) const ALL: [Purpose; 3] = [Purpose::User, Purpose::Host, Purpose::OpenSsh];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Purpose::User => "user",
            Purpose::Host => "host",
            Purpose::OpenSsh => "openssh",
        }
    }
}

/// One key of a certificate authority.
#[derive(Clone, Debug)]
pub(crate) struct AuthorityKey {
    pub(crate) purpose: Purpose,
    pub(crate) public_key: PublicKey,
    pub(crate) sealed: Vec<u8>,
}

/// A secret of the control plane's own that is no authority.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Its public half, in the form in which others are told it.
    pub(crate) public: String,
    pub(crate) sealed: Vec<u8>,
}

/// Settings of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) cluster: String,
    pub(crate) proxy_checks_host_keys: bool,
    pub(crate) exec_output_limit_bytes: u64,
    pub(crate) max_user_ttl_seconds: u64,
    pub(crate) recording_recipients: Vec<String>,
    pub(crate) recording_mode: RecordingMode,
    pub(crate) recording_contact: String,
    pub(crate) file_operations: bool,
    pub(crate) file_hashes: bool,
    pub(crate) environment_values: Vec<String>,
    pub(crate) hash_unrecorded: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cluster: "weir".to_owned(),
            // Without it anybody between proxy and target can be the target.
            proxy_checks_host_keys: true,
            // Enough for every command that people read; a backup streamed through ssh is counted, not kept.
            exec_output_limit_bytes: 64 * 1024 * 1024,
            // A machine's certificate that is renewed every day survives a long weekend; proofs are remembered as long.
            max_user_ttl_seconds: 7 * 24 * 3600,
            recording_recipients: Vec::new(),
            // A quarter of a second at a crash is what most can bear, and no key stroke waits for a disk.
            recording_mode: RecordingMode::Async,
            recording_contact: String::new(),
            // Which files went is what an auditor asks first.
            file_operations: true,
            // A second for each gigabyte or two.
            file_hashes: false,
            // They say in which characters the recorded bytes are written. Others of the LC_ variables are used to send anything,
            // secrets too, since servers let all of them pass by default.
            environment_values: ["LANG", "LC_ALL", "LC_CTYPE"].map(str::to_owned).into(),
            // What is not recorded is to cost nothing, unless somebody asks.
            hash_unrecorded: false,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserBody {
    logins: Vec<String>,
    roles: Vec<String>,
    traits: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleBody {
    document: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeBody {
    id: String,
    name: String,
    address: String,
    labels: BTreeMap<String, String>,
    /// In OpenSSH's one-line form.
    pinned_host_keys: Vec<String>,
    /// Not there in what earlier versions have written, nor where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pacing: Option<PacingBody>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PacingBody {
    max_startups: String,
    per_source_max_startups: u32,
    max_handshakes: u32,
    no_penalties: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityBody {
    purpose: Purpose,
    /// In OpenSSH's one-line form.
    public_key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataPlaneBody {
    /// In OpenSSH's one-line form.
    signing_key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityBody {
    public: String,
}

impl Directory {
    pub(crate) fn load(resources: Resources) -> Result<Directory, OpenError> {
        let mut directory = Directory {
            revision: resources.revision,
            ..Directory::default()
        };
        for resource in resources.resources {
            directory.insert(resource)?;
        }
        Ok(directory)
    }

    /// Makes the changes that the store has committed as `revision`.
    pub(crate) fn apply(&mut self, changes: Vec<Change>, revision: u64) -> Result<(), OpenError> {
        for Change {
            kind, name, action, ..
        } in changes
        {
            match action {
                Action::Put { body, sealed } => self.insert(Resource {
                    kind,
                    name,
                    revision,
                    body,
                    sealed,
                })?,
                Action::Remove => self.remove(kind, &name),
            }
        }
        self.revision = revision;
        Ok(())
    }

    /// The node with this name or id.
    pub(crate) fn node(&self, name_or_id: &str) -> Option<&Entry<dataplane::Node>> {
        let by_name = self.nodes.get(&name_or_id.to_ascii_lowercase());
        by_name.or_else(|| self.nodes.values().find(|entry| entry.value.id == name_or_id))
    }

    /// Public keys of one authority.
    pub(crate) fn authority_keys(&self, purpose: Purpose) -> impl Iterator<Item = &PublicKey> {
        self.authorities
            .values()
            .filter(move |authority| authority.purpose == purpose)
            .map(|authority| &authority.public_key)
    }

    fn insert(&mut self, resource: Resource) -> Result<(), OpenError> {
        let Resource {
            kind,
            name,
            revision,
            body,
            sealed,
        } = resource;
        let damaged = |problem: String| OpenError::Damaged {
            what: format!("{kind} {name:?}"),
            problem,
        };
        match kind {
            Kind::User => {
                let UserBody {
                    logins,
                    roles,
                    traits,
                } = decode(&body).map_err(damaged)?;
                let traits: HashMap<String, String> = traits.into_iter().collect();
                let value = dataplane::User {
                    name: name.clone(),
                    logins,
                    roles,
                    traits,
                };
                self.users.insert(name, Entry { value, revision });
            }
            Kind::Role => {
                let RoleBody { document } = decode(&body).map_err(damaged)?;
                self.roles.insert(
                    name,
                    Entry {
                        value: document,
                        revision,
                    },
                );
            }
            Kind::Node => {
                let node = decode::<NodeBody>(&body).and_then(node_of).map_err(damaged)?;
                self.nodes.insert(
                    name,
                    Entry {
                        value: node,
                        revision,
                    },
                );
            }
            Kind::Authority => {
                let AuthorityBody { purpose, public_key } = decode(&body).map_err(damaged)?;
                let public_key = key_of(&public_key).map_err(damaged)?;
                let sealed = sealed.ok_or_else(|| damaged("its private key is missing".to_owned()))?;
                self.authorities.insert(
                    name,
                    AuthorityKey {
                        purpose,
                        public_key,
                        sealed,
                    },
                );
            }
            Kind::Identity => {
                let IdentityBody { public } = decode(&body).map_err(damaged)?;
                let sealed = sealed.ok_or_else(|| damaged("its secret is missing".to_owned()))?;
                self.identities.insert(name, Identity { public, sealed });
            }
            Kind::DataPlane => {
                let DataPlaneBody { signing_key } = decode(&body).map_err(damaged)?;
                let key = key_of(&signing_key).map_err(damaged)?;
                self.data_planes.insert(name, key);
            }
            Kind::Settings => self.settings = decode(&body).map_err(damaged)?,
        }
        Ok(())
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::User => drop(self.users.remove(name)),
            Kind::Role => drop(self.roles.remove(name)),
            Kind::Node => drop(self.nodes.remove(name)),
            Kind::Authority => drop(self.authorities.remove(name)),
            Kind::Identity => drop(self.identities.remove(name)),
            Kind::DataPlane => drop(self.data_planes.remove(name)),
            Kind::Settings => self.settings = Settings::default(),
        }
    }
}

pub(crate) fn put_user(user: &dataplane::User, expect: Expect) -> Change {
    let body = UserBody {
        logins: user.logins.clone(),
        roles: user.roles.clone(),
        traits: sorted(&user.traits),
    };
    put(Kind::User, user.name.clone(), &body, None, expect)
}

pub(crate) fn put_role(name: &str, document: &str, expect: Expect) -> Change {
    put(
        Kind::Role,
        name.to_owned(),
        &RoleBody {
            document: document.to_owned(),
        },
        None,
        expect,
    )
}

/// `pinned_host_keys` are the node's, in OpenSSH's one-line form.
pub(crate) fn put_node(node: &dataplane::Node, pinned_host_keys: &[PublicKey], expect: Expect) -> Change {
    let body = NodeBody {
        id: node.id.clone(),
        name: node.name.clone(),
        address: node.address.clone(),
        labels: sorted(&node.labels),
        pinned_host_keys: pinned_host_keys.iter().map(|key| key.to_openssh("")).collect(),
        pacing: node.pacing.as_ref().map(|hint| PacingBody {
            max_startups: hint.max_startups.clone(),
            per_source_max_startups: hint.per_source_max_startups,
            max_handshakes: hint.max_handshakes,
            no_penalties: hint.no_penalties,
        }),
    };
    put(Kind::Node, node.name.to_ascii_lowercase(), &body, None, expect)
}

pub(crate) fn put_authority(name: &str, authority: &AuthorityKey) -> Change {
    let body = AuthorityBody {
        purpose: authority.purpose,
        public_key: authority.public_key.to_openssh(""),
    };
    put(
        Kind::Authority,
        name.to_owned(),
        &body,
        Some(authority.sealed.clone()),
        Expect::Absent,
    )
}

pub(crate) fn put_identity(name: &str, identity: &Identity) -> Change {
    let body = IdentityBody {
        public: identity.public.clone(),
    };
    put(
        Kind::Identity,
        name.to_owned(),
        &body,
        Some(identity.sealed.clone()),
        Expect::Absent,
    )
}

pub(crate) fn put_data_plane(name: &str, signing_key: &PublicKey) -> Change {
    let body = DataPlaneBody {
        signing_key: signing_key.to_openssh(""),
    };
    put(Kind::DataPlane, name.to_owned(), &body, None, Expect::Absent)
}

pub(crate) fn put_settings(settings: &Settings) -> Change {
    put(Kind::Settings, SETTINGS.to_owned(), settings, None, Expect::Any)
}

pub(crate) fn remove(kind: Kind, name: &str) -> Change {
    Change {
        kind,
        name: name.to_owned(),
        expect: Expect::Present,
        action: Action::Remove,
    }
}

fn put(kind: Kind, name: String, body: &impl Serialize, sealed: Option<Vec<u8>>, expect: Expect) -> Change {
    let body = serde_json::to_string(body).expect("a body of strings and numbers always has a JSON form");
    Change {
        kind,
        name,
        expect,
        action: Action::Put { body, sealed },
    }
}

fn decode<T: DeserializeOwned>(body: &str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|error| error.to_string())
}

fn node_of(body: NodeBody) -> Result<dataplane::Node, String> {
    let keys = body
        .pinned_host_keys
        .iter()
        .map(|line| key_of(line).map(|key| key.blob().to_vec()));
    Ok(dataplane::Node {
        pinned_host_keys: keys.collect::<Result<_, _>>()?,
        id: body.id,
        name: body.name,
        address: body.address,
        labels: body.labels.into_iter().collect(),
        pacing: body.pacing.map(|hint| dataplane::PacingHint {
            max_startups: hint.max_startups,
            per_source_max_startups: hint.per_source_max_startups,
            max_handshakes: hint.max_handshakes,
            no_penalties: hint.no_penalties,
        }),
    })
}

fn key_of(line: &str) -> Result<PublicKey, String> {
    PublicKey::from_openssh(line).map_err(|error| error.to_string())
}

fn sorted(map: &HashMap<String, String>) -> BTreeMap<String, String> {
    map.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
