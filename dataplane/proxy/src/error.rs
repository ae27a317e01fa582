//! Why a data plane does not start.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// What stopped a data plane at its start, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The address for metrics cannot be listened on.
    #[error("cannot serve metrics on {address}: {source}; choose another address for `metrics`")]
    Metrics {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// An address of the pool is not this machine's.
    #[error(
        "cannot dial from {address}, which the pool of source addresses names: {source}; give it to this machine (ip addr \
         add {address} dev …; for a whole prefix, ip route add local PREFIX dev lo) or take it out of the pool"
    )]
    Source {
        /// The address.
        address: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file or directory of the data plane cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A host key file does not hold a usable key.
    #[error("{} holds no usable host key: {reason}", path.display())]
    HostKey {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The control plane did not certify a host key.
    #[error("no host certificate from the control plane: {0}")]
    Certificate(String),
    /// What the control plane pushed cannot be used.
    #[error("the control plane's snapshot cannot be used: {0}")]
    Snapshot(String),
    /// The store of recordings cannot be used, whether or not it is there.
    #[error(transparent)]
    Store(#[from] weir_objects::OpenError),
    /// The recorder did not start.
    #[error("the recorder did not start: {0}")]
    Recorder(String),
    /// The configuration asks for io_uring and the kernel does not give it.
    #[error(
        "io_uring is not available ({0}): allow it (kernel.io_uring_disabled, the container's seccomp profile) \
         or set io = \"epoll\""
    )]
    NoUring(String),
    /// A thread could not be started.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
}
