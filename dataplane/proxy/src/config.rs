//! What an operator decides about a data plane.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;
use weir_objects::StoreConfig;

use crate::dialling::SourcePool;

/// Settings of a data plane.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Addresses on which clients are accepted; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Holds the data plane's keys and the spool of recordings.
    pub data_dir: PathBuf,
    /// Where finished recordings go.
    pub store: StoreConfig,
    /// Names and addresses by which clients reach this data plane: the principals of its host certificates.
    pub names: Vec<String>,
    /// OpenSSH private key files of further host keys. An Ed25519 key is always there.
    pub host_keys: Vec<PathBuf>,
    /// The Ed25519 key that signs the ends of recordings. Without it the data plane makes one and keeps it in `data_dir`,
    /// and whoever verifies has to be told of it.
    pub recording_key: Option<weir_crypto::sign::PrivateKey>,
    /// Threads that carry sessions; one per core when not given.
    pub workers: Option<usize>,
    /// How sockets are waited for.
    pub io: IoMode,
    /// How long a client may take to authenticate, as sshd's `LoginGraceTime`.
    pub login_grace: Duration,
    /// How long a target may take to accept the connection.
    pub connect_timeout: Duration,
    /// How long a target may take from the connection to the end of authentication.
    pub handshake_timeout: Duration,
    /// How long recorded bytes may wait before they are written and synced.
    pub flush_interval: Duration,
    /// Addresses from which targets see this data plane, to which upstream certificates are bound. `None` takes
    /// what the routing table says; an empty list binds them to no address, for a data plane behind NAT.
    pub source_addresses: Option<Vec<String>>,
    /// Addresses of this machine from which targets are dialled, each user from one; without it the kernel chooses.
    pub source_pool: Option<SourcePool>,
    /// Address on which metrics are served, to anybody who reaches it.
    pub metrics: Option<SocketAddr>,
    /// Admission of upstream handshakes.
    pub pace: weir_pace::Config,
}

impl ProxyConfig {
    /// The defaults, with what has none.
    #[must_use]
    pub fn new(listen: Vec<SocketAddr>, data_dir: PathBuf) -> Self {
        Self {
            listen,
            store: StoreConfig::directory(data_dir.join("recordings")),
            data_dir,
            names: Vec::new(),
            host_keys: Vec::new(),
            recording_key: None,
            workers: None,
            io: IoMode::Auto,
            // Half of sshd's 120 s: nobody types a password here.
            login_grace: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(20),
            flush_interval: Duration::from_millis(250),
            source_addresses: None,
            source_pool: None,
            metrics: None,
            pace: weir_pace::Config::default(),
        }
    }
}

/// How sockets are waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoMode {
    /// io_uring where the kernel allows it, else epoll, said once in the log.
    #[default]
    Auto,
    /// io_uring, or no start.
    Uring,
    /// epoll and plain file writes.
    Epoll,
}
