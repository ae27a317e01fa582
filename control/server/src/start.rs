//! From a data directory to a running control plane.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use weir_api::audit::{CertCreate, CertType, ControlStart};
use weir_ca::KeyEncryptionKey;
use weir_crypto::random::SystemRandom;
use weir_crypto::sign::PrivateKey;
use weir_objects::{Objects, StoreConfig};
use weir_policy::{ACCESS_ROLE, Role};
use weir_record::{Identities, Recipients};
use weir_ssh::key::SigningKey;
use weir_store::{Change, Expect, SqliteStore, Store};
use zeroize::Zeroizing;

use crate::audit_log::AuditLog;
use crate::authorities::Authorities;
use crate::clock::{now_seconds, now_us};
use crate::control::{ControlConfig, EMBEDDED, Shared};
use crate::convert;
use crate::data_dir::DataDir;
use crate::directory::{Directory, Identity, Settings, put_data_plane, put_identity, put_role, put_settings};
use crate::error::OpenError;
use crate::export::Exports;
use crate::issuance::{Issuer, PROOF_CAPACITY, Proofs, remember};
use crate::journal::{Journal, store_all};
use crate::proof_file::ProofFile;
use crate::recordings::{OwnIdentity, Recordings};
use crate::replay::ProofMemory;
use crate::retention::Retention;
use crate::state::{ChangeError, State};

/// Name of the first age identity that opens recordings. Later ones have a ULID behind it, so that names are in the order
/// in which they were made.
const RECORDINGS: &str = "recordings";

/// What is opened, and where.
pub(crate) struct Plan {
    config: ControlConfig,
    database: PathBuf,
    key_file: PathBuf,
    audit_log: PathBuf,
    data_dir: PathBuf,
    recordings: Objects,
}

impl Plan {
    pub(crate) fn new(config: ControlConfig, data_dir: &DataDir) -> Result<Plan, OpenError> {
        let recordings = match &config.recordings {
            Some(store) => store.clone(),
            None => Objects::open(&StoreConfig::directory(data_dir.recordings()))?,
        };
        if config.external_recipients_only || !config.extra_recording_recipients.is_empty() {
            Recipients::parse(&config.extra_recording_recipients)
                .map_err(|problem| OpenError::Configuration(format!("recording recipients: {problem}")))?;
        }
        Ok(Plan {
            config,
            database: data_dir.database(),
            key_file: data_dir.key_file(),
            audit_log: data_dir.audit_log(),
            data_dir: data_dir.path().to_owned(),
            recordings,
        })
    }

    pub(crate) async fn run(self) -> Result<Shared, OpenError> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&self.database).await?);
        let stored = Directory::load(store.resources().await?)?;
        let fresh = stored.authorities.is_empty();
        let key = self.config.key_encryption_key.load(&self.key_file, fresh)?;
        if fresh {
            store.commit(&founding(&key)).await?;
        }
        let state = Arc::new(State::load(Arc::clone(&store)).await?);
        self.settle(&state).await?;

        let (authorities, identities, embedded_key) = {
            let directory = state.directory().await;
            let authorities = Arc::new(Authorities::open(&directory, &key)?);
            (
                authorities,
                recording_identities(&directory, &key)?,
                embedded_key(&directory, &key)?,
            )
        };

        // The log has its fsync before the store, so the store may lack its end.
        let (log, newest) = AuditLog::open(&self.audit_log)?;
        store_all(&*store, &newest, &[]).await?;
        let known_ids = newest.into_iter().map(|event| event.id).collect();
        let abandoned = store.interrupt_live_sessions().await?;
        let mut memory = taken_proofs(&state).await?;
        let cluster = state.current().snapshot.cluster.clone();
        let journal = Journal::start(log, known_ids, Arc::clone(&store), cluster);
        let exports = Exports::start(&self.config.exports, &store, &journal.written())?;
        journal.event(convert::event(&ControlStart {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }));
        let file = newest_proofs(&self.data_dir, &mut memory, &journal).await?;
        let proofs = Proofs { memory, file };
        let issuer = Issuer::new(
            Arc::clone(&state),
            Arc::clone(&authorities),
            proofs,
            journal.clone(),
        );
        Ok(Shared {
            state,
            authorities,
            issuer,
            journal,
            exports,
            recordings: Recordings::new(self.recordings, identities),
            retention: Retention::new(
                self.config.retention,
                self.config.retention_clock.unwrap_or(now_us),
            ),
            rewrapping: tokio::sync::Mutex::default(),
            external_recipients_only: self.config.external_recipients_only,
            key_encryption_key: key,
            data_planes: Mutex::default(),
            inspect: ArcSwapOption::empty(),
            look_at_store: ArcSwapOption::empty(),
            watch: ArcSwapOption::empty(),
            started_us: now_us(),
            embedded_key,
            abandoned: Mutex::new(abandoned),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Brings the stored settings in line with the configuration.
    async fn settle(&self, state: &Arc<State>) -> Result<(), OpenError> {
        let wanted = {
            let directory = state.directory().await;
            let own = newest_identity(&directory)?;
            let config = &self.config;
            let settings = directory.settings.clone();
            Settings {
                cluster: config.cluster.clone().unwrap_or(settings.cluster),
                proxy_checks_host_keys: config
                    .proxy_checks_host_keys
                    .unwrap_or(settings.proxy_checks_host_keys),
                exec_output_limit_bytes: config
                    .exec_output_limit_bytes
                    .unwrap_or(settings.exec_output_limit_bytes),
                max_user_ttl_seconds: config
                    .max_user_ttl_seconds
                    .unwrap_or(settings.max_user_ttl_seconds),
                file_operations: config.file_operations.unwrap_or(settings.file_operations),
                file_hashes: config.file_hashes.unwrap_or(settings.file_hashes),
                recording_recipients: recipients(own, config),
                recording_mode: config.recording_mode.unwrap_or(settings.recording_mode),
                recording_contact: config
                    .recording_contact
                    .clone()
                    .unwrap_or(settings.recording_contact),
                environment_values: config
                    .environment_values
                    .clone()
                    .unwrap_or(settings.environment_values),
                hash_unrecorded: config.hash_unrecorded.unwrap_or(settings.hash_unrecorded),
            }
        };
        if !wanted.proxy_checks_host_keys {
            tracing::warn!(
                "proxy_checks_host_keys = false: anybody between the proxy and a target can pose as the target"
            );
        }
        let plan = |directory: &Directory| {
            let same = directory.settings == wanted;
            Ok(if same {
                Vec::new()
            } else {
                vec![put_settings(&wanted)]
            })
        };
        match state.change::<OpenError>(plan).await {
            Ok(_) => Ok(()),
            Err(ChangeError::Refused(error) | ChangeError::Damaged(error)) => Err(error),
            Err(ChangeError::Store(error)) => Err(error.into()),
        }
    }
}

/// To whom the keys of recordings are wrapped.
fn recipients(own: String, config: &ControlConfig) -> Vec<String> {
    let own = (!config.external_recipients_only).then_some(own);
    own.into_iter()
        .chain(config.extra_recording_recipients.iter().cloned())
        .collect()
}

/// What a new installation begins with.
fn founding(key: &KeyEncryptionKey) -> Vec<Change> {
    let mut changes = Authorities::make(key);

    changes.push(make_identity(RECORDINGS, key).0);

    let private = PrivateKey::generate_ed25519();
    let seed = private.ed25519_seed().expect("an ed25519 key has a seed");
    let public = SigningKey::ed25519_from_seed(&seed).public_key().clone();
    let sealed = key.seal(EMBEDDED, &*seed, &mut SystemRandom);
    changes.push(put_identity(
        EMBEDDED,
        &Identity {
            public: public.to_openssh(""),
            sealed,
        },
    ));
    changes.push(put_data_plane(EMBEDDED, &public));

    let role = Role::parse(ACCESS_ROLE).expect("the role that comes with the program can be read");
    changes.push(put_role(role.name(), ACCESS_ROLE, Expect::Absent));
    changes.push(put_settings(&Settings::default()));
    changes
}

fn identity<'d>(directory: &'d Directory, name: &str) -> Result<&'d Identity, OpenError> {
    directory.identities.get(name).ok_or_else(|| OpenError::Damaged {
        what: format!("identity {name:?}"),
        problem: "it is missing".to_owned(),
    })
}

/// A new age identity to open recordings with, and its public key.
pub(crate) fn make_identity(name: &str, key: &KeyEncryptionKey) -> (Change, String) {
    let (private, public) = Identities::generate();
    let sealed = key.seal(name, private.as_bytes(), &mut SystemRandom);
    let identity = Identity {
        public: public.clone(),
        sealed,
    };
    (put_identity(name, &identity), public)
}

/// The name of an identity that is made now.
pub(crate) fn identity_name() -> String {
    format!("{RECORDINGS}-{}", ulid::Ulid::generate())
}

fn sealed_identities(directory: &Directory) -> impl DoubleEndedIterator<Item = (&String, &Identity)> {
    directory
        .identities
        .iter()
        .filter(|(name, _)| name.starts_with(RECORDINGS))
}

fn newest_identity(directory: &Directory) -> Result<String, OpenError> {
    match sealed_identities(directory).next_back() {
        Some((_, newest)) => Ok(newest.public.clone()),
        None => identity(directory, RECORDINGS).map(|first| first.public.clone()),
    }
}

/// Oldest first.
pub(crate) fn recording_identities(
    directory: &Directory,
    key: &KeyEncryptionKey,
) -> Result<Vec<OwnIdentity>, OpenError> {
    sealed_identities(directory)
        .map(|(name, identity)| open_identity(name, identity, key))
        .collect()
}

fn open_identity(name: &str, identity: &Identity, key: &KeyEncryptionKey) -> Result<OwnIdentity, OpenError> {
    let damaged = |problem: String| OpenError::Damaged {
        what: "identity of recordings".to_owned(),
        problem,
    };
    let secret = key
        .open(name, &identity.sealed)
        .map_err(|error| OpenError::sealed("identity of recordings", &error))?;
    let text = std::str::from_utf8(&secret).map_err(|error| damaged(error.to_string()))?;
    let identities = Identities::parse(text).map_err(|error| damaged(error.to_string()))?;
    Ok(OwnIdentity {
        name: name.to_owned(),
        public: identity.public.clone(),
        identities,
    })
}

fn embedded_key(directory: &Directory, key: &KeyEncryptionKey) -> Result<PrivateKey, OpenError> {
    let sealed = &identity(directory, EMBEDDED)?.sealed;
    let secret = key
        .open(EMBEDDED, sealed)
        .map_err(|error| OpenError::sealed("identity of the embedded data plane", &error))?;
    let mut seed = Zeroizing::new([0; 32]);
    if secret.len() != seed.len() {
        return Err(OpenError::Damaged {
            what: "identity of the embedded data plane".to_owned(),
            problem: format!("got {} bytes while expecting {}", secret.len(), seed.len()),
        });
    }
    seed.copy_from_slice(&secret);
    Ok(PrivateKey::ed25519_from_seed(&seed))
}

/// The proofs that former runs have taken and whose certificates still live, however long those were made to live then.
async fn taken_proofs(state: &State) -> Result<ProofMemory, OpenError> {
    let now = now_seconds();
    let mut proofs = ProofMemory::new(PROOF_CAPACITY);
    let mut each = |detail: String| remember(&mut proofs, &detail, now);
    state.store().each_live_proof(now, &mut each).await?;
    Ok(proofs)
}

/// The proofs that a killed run took without the journal having written it: they count as taken, and the audit log learns
/// that certificates were made which it does not know.
async fn newest_proofs(
    data_dir: &Path,
    memory: &mut ProofMemory,
    journal: &Journal,
) -> Result<ProofFile, OpenError> {
    let unusable = OpenError::file(data_dir, "keep sign-in proofs");
    let (mut file, left) = match ProofFile::open(data_dir) {
        Ok(opened) => opened,
        Err(error) => return Err(unusable(error)),
    };
    let now = now_seconds();
    for (proof, expires) in left {
        if expires > now && memory.take(proof, expires, now).is_ok() {
            journal.event(convert::event(&CertCreate {
                proof: Some(format!("{:032x}", u128::from_be_bytes(proof))),
                proof_expires: Some(expires),
                problem: Some(
                    "weir was killed before it could write down whose certificate this was".to_owned(),
                ),
                ..CertCreate::of(CertType::Upstream)
            }));
        }
    }
    journal.flush().await;
    match file.clear() {
        Ok(()) => Ok(file),
        Err(error) => Err(unusable(error)),
    }
}
