use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{RwLock, RwLockReadGuard};
use weir_api::dataplane::{self, Snapshot};
use weir_policy::{Labels, Node, PolicySet, RecordingMode, User};
use weir_store::{Change, Store, StoreError};

use crate::directory::{Directory, Purpose};
use crate::error::OpenError;

/// What the control plane knows, and what it tells data planes.
///
/// Invariant: `directory` equals the store and `current` is made of it, except while `directory` is locked for writing.
pub(crate) struct State {
    store: Arc<dyn Store>,
    directory: Arc<RwLock<Directory>>,
    current: ArcSwap<Current>,
    listeners: Mutex<Vec<Listener>>,
}

type Listener = Box<dyn Fn(u64) + Send + Sync>;

/// One revision, ready to be handed out and decided by.
pub(crate) struct Current {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) policy: PolicySet,
}

/// Why a change was not made.
#[derive(Debug)]
pub(crate) enum ChangeError<E> {
    /// The caller thought better of it when it saw the directory.
    Refused(E),
    /// The store did.
    Store(StoreError),
    /// It was made, and cannot be read back: a defect.
    Damaged(OpenError),
}

impl State {
    pub(crate) async fn load(store: Arc<dyn Store>) -> Result<State, OpenError> {
        let directory = Directory::load(store.resources().await?)?;
        let current = ArcSwap::from_pointee(Current::of(&directory));
        Ok(State {
            store,
            directory: Arc::new(RwLock::new(directory)),
            current,
            listeners: Mutex::default(),
        })
    }

    /// The newest revision.
    pub(crate) fn current(&self) -> arc_swap::Guard<Arc<Current>> {
        self.current.load()
    }

    pub(crate) async fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().await
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Calls `listener` with each new revision.
    pub(crate) fn on_change(&self, listener: Listener) {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }

    /// Commits what `plan` makes of the directory as it is now, and publishes the result. An empty plan changes nothing.
    pub(crate) async fn change<E: Send + 'static>(
        self: &Arc<Self>,
        plan: impl FnOnce(&Directory) -> Result<Vec<Change>, E>,
    ) -> Result<u64, ChangeError<E>> {
        let mut directory = Arc::clone(&self.directory).write_owned().await;
        let changes = plan(&directory).map_err(ChangeError::Refused)?;
        if changes.is_empty() {
            return Ok(directory.revision);
        }
        // A task of its own: an administrator who hangs up between the commit and the publication must not part the
        // store from what is told of it.
        let state = Arc::clone(self);
        let committed = tokio::spawn(async move {
            let revision = state.store.commit(&changes).await.map_err(ChangeError::Store)?;
            directory.apply(changes, revision).map_err(ChangeError::Damaged)?;
            state.publish(&directory);
            Ok(revision)
        });
        committed.await.expect("a commit neither panics nor is cancelled")
    }

    fn publish(&self, directory: &Directory) {
        self.current.store(Arc::new(Current::of(directory)));
        for listener in &*self.listeners.lock().unwrap_or_else(PoisonError::into_inner) {
            listener(directory.revision);
        }
    }
}

impl Current {
    fn of(directory: &Directory) -> Current {
        let policy = PolicySet::new(
            &directory.settings.cluster,
            directory.roles.iter().map(|(name, role)| (&**name, &*role.value)),
            directory.users.values().map(|user| User {
                name: user.value.name.clone(),
                logins: user.value.logins.clone(),
                roles: user.value.roles.clone(),
            }),
            directory.nodes.values().map(|node| policy_node(&node.value)),
        );
        for (role, problem) in policy.unreadable() {
            tracing::error!(role, %problem, "role cannot be read: whoever holds it is denied everything");
        }
        Current {
            snapshot: Arc::new(snapshot(directory)),
            policy,
        }
    }
}

fn policy_node(node: &dataplane::Node) -> Node {
    Node {
        id: (*node.id).into(),
        name: (*node.name).into(),
        address: (*node.address).into(),
        labels: node
            .labels
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect::<Labels>(),
    }
}

fn snapshot(directory: &Directory) -> Snapshot {
    let keys = |purpose| {
        directory
            .authority_keys(purpose)
            .map(|key| key.blob().to_vec())
            .collect()
    };
    Snapshot {
        revision: directory.revision,
        cluster: directory.settings.cluster.clone(),
        user_ca_keys: keys(Purpose::User),
        host_ca_keys: keys(Purpose::Host),
        users: directory.users.values().map(|user| user.value.clone()).collect(),
        roles: directory
            .roles
            .iter()
            .map(|(name, role)| dataplane::Role {
                name: name.clone(),
                document: role.value.clone(),
            })
            .collect(),
        nodes: directory.nodes.values().map(|node| node.value.clone()).collect(),
        settings: Some(dataplane::Settings {
            proxy_checks_host_keys: directory.settings.proxy_checks_host_keys,
            recording_recipients: directory.settings.recording_recipients.clone(),
            exec_output_limit_bytes: directory.settings.exec_output_limit_bytes,
            live_data_planes: 1,
            recording_mode: match directory.settings.recording_mode {
                RecordingMode::Sync => dataplane::RecordingMode::Sync.into(),
                RecordingMode::Async => dataplane::RecordingMode::Async.into(),
            },
            recording_contact: directory.settings.recording_contact.clone(),
            file_operations_off: !directory.settings.file_operations,
            file_hashes: directory.settings.file_hashes,
            environment_values: directory.settings.environment_values.clone(),
            hash_unrecorded: directory.settings.hash_unrecorded,
        }),
    }
}
