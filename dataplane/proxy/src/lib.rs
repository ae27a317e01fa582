//! The data plane: workers, buffers, listeners, dialling, spool.
//!
//! One thread per core carries whole sessions: a client accepted on a core has its target dialled
//! from that core, and both hops, their keys and their buffers stay there. What cores share is in
//! `shared`; recordings leave a core by a bounded hand-over to the recorder's thread.
//!
//! ```text
//! client ─▶ client.rs: handshake, sign-in ─▶ session.rs: policy, target, recording, audit
//!                                                │
//!             upstream.rs: pace, certify, dial ◀─┤
//!                                                ▼
//!             relaying.rs: packets both ways, or refusing.rs: the reason in words
//! ```

mod access;
mod alarm;
mod archive;
mod audit;
mod buffer;
mod client;
mod clock;
mod config;
mod dialling;
mod error;
mod held;
mod hop_stream;
mod identity;
mod inspection;
mod metrics;
mod name_hash;
mod pacing;
mod private_file;
mod receive;
pub mod recorder;
mod refusing;
mod relaying;
mod resolver;
mod session;
mod session_log;
mod shared;
mod spool;
#[cfg(test)]
mod testing;
mod upstream;
mod view;
mod worker;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{error, info, warn};
use weir_api::ControlPlane;
use weir_objects::Objects;
use weir_ssh::TransportConfig;

pub use config::{IoMode, ProxyConfig};
pub use dialling::{SourceBy, SourcePool};
pub use error::StartError;

use crate::{
    clock::Clock,
    identity::Identity,
    metrics::Metrics,
    pacing::Pacing,
    resolver::Resolver,
    shared::{Counters, Shared},
    view::View,
    worker::Stage,
};

/// A running data plane. Dropped without [`DataPlane::shutdown`], it cuts its sessions.
pub struct DataPlane {
    addresses: Vec<SocketAddr>,
    stage: watch::Sender<Stage>,
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    renewal: std::sync::mpsc::Sender<()>,
    metrics: Option<metrics::Server>,
}

impl DataPlane {
    /// Starts: keys, recorder, listeners, workers. Sessions are accepted when this returns.
    ///
    /// # Errors
    ///
    /// [`StartError`], when a file, an address or the control plane stands in the way.
    pub fn start(config: ProxyConfig, control: Arc<dyn ControlPlane>) -> Result<Self, StartError> {
        let io = choose_io(config.io)?;
        identity::private_directory(&config.data_dir)?;
        let identity = Identity::open(&config)?;
        let certified = wait(identity.certify(&*control))?;
        let view = View::compile(&control.snapshot());
        if !view.settings.proxy_checks_host_keys {
            warn!("proxy_checks_host_keys is false: targets are not checked, anybody may stand in for them");
        }
        let store = Objects::open(&config.store)?;
        if let Some((address, source)) = config.source_pool.as_ref().and_then(SourcePool::unusable) {
            return Err(StartError::Source { address, source });
        }
        let view = Arc::new(ArcSwap::from_pointee(view));
        let alert = audit::ban_alert(Arc::clone(&control), Arc::clone(&view));
        let pacing = Pacing::start(config.pace.clone(), alert).map_err(StartError::Worker)?;
        pacing.follow_view(&view);
        let recorder = recorder::start(&config, io, store, Arc::clone(&control))?;
        let shared = Arc::new(Shared {
            clock: Clock::start(),
            view,
            host_keys: ArcSwap::from_pointee(Arc::clone(&certified.host_keys)),
            recorder,
            pacing,
            resolver: Resolver::new(),
            toward_clients: Arc::new(TransportConfig::server()),
            toward_targets: Arc::new(TransportConfig::client()),
            counters: Counters::default(),
            config,
            control,
        });
        follow(&shared);
        inspection::answer_for(&shared);
        let renewal = renew(&shared, identity, certified.renew_in);

        let metrics = shared.config.metrics.map(|address| {
            let failed = |source| StartError::Metrics { address, source };
            metrics::Server::start(address, Box::new(Metrics(Arc::clone(&shared)))).map_err(failed)
        });
        let metrics = metrics.transpose()?;

        let count = shared.config.workers.unwrap_or_else(cores).max(1);
        let (addresses, listeners) = listen(&shared.config.listen, count)?;
        let (stage, _) = watch::channel(Stage::Serving);
        let mut workers = Vec::with_capacity(count);
        for (core, listeners) in listeners.into_iter().enumerate() {
            let (shared, stage) = (Arc::clone(&shared), stage.subscribe());
            let worker = std::thread::Builder::new()
                .name(format!("worker-{core}"))
                .spawn(move || {
                    // Without the right to pin (a container's cpuset) the scheduler decides.
                    let _ = monoio::utils::bind_to_cpu_set([core]);
                    if let Err(e) = worker::run(io, listeners, shared, stage) {
                        error!(core, error = %e, "worker ended");
                    }
                });
            workers.push(worker.map_err(StartError::Worker)?);
        }
        info!(?addresses, workers = count, ?io, "accepting");
        Ok(Self {
            addresses,
            stage,
            workers,
            shared,
            renewal,
            metrics,
        })
    }

    /// The addresses listened on, with the ports that were taken.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address on which metrics are served, with the port that was taken.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(metrics::Server::address)
    }

    /// Accepts no more, gives sessions so long to end, ends the rest, and writes their recordings out.
    pub fn shutdown(self, drain: Duration) {
        self.stage.send_replace(Stage::Draining(drain));
        for worker in self.workers {
            if worker.join().is_err() {
                error!("a worker had panicked");
            }
        }
        drop(self.renewal);
        drop(self.metrics);
        self.shared.recorder.shutdown();
    }
}

/// Compiles every new snapshot, on the thread that brings it.
fn follow(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.control.on_change(Box::new(move |revision| {
        let Some(shared) = weak.upgrade() else { return };
        let view = Arc::new(View::compile(&shared.control.snapshot()));
        // Two changes may be compiled at once; the older one must not win.
        shared.view.rcu(|current| {
            if current.revision > view.revision {
                Arc::clone(current)
            } else {
                Arc::clone(&view)
            }
        });
        // Whichever of two comes last finds the newer view.
        shared.pacing.follow_view(&shared.view);
        info!(revision, "policy updated");
    }));
}

/// Keeps the host certificates fresh until the answer is dropped.
fn renew(shared: &Arc<Shared>, identity: Identity, mut renew_in: Duration) -> std::sync::mpsc::Sender<()> {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let weak = Arc::downgrade(shared);
    let renewal = std::thread::Builder::new()
        .name("host-certificates".into())
        .spawn(move || {
            while stopped.recv_timeout(renew_in) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let Some(shared) = weak.upgrade() else { return };
                match wait(identity.certify(&*shared.control)) {
                    Ok(certified) => {
                        shared.host_keys.store(Arc::new(certified.host_keys));
                        renew_in = certified.renew_in;
                    }
                    Err(e) => {
                        error!(error = %e, "host certificates not renewed; trying again in a minute");
                        renew_in = Duration::from_secs(60);
                    }
                }
            }
        });
    if let Err(e) = renewal {
        error!(error = %e, "host certificates will not be renewed");
    }
    stop
}

/// One listener per address and worker; the kernel spreads connections over them.
fn listen(
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<(Vec<SocketAddr>, Vec<Vec<TcpListener>>), StartError> {
    let mut bound = Vec::with_capacity(addresses.len());
    let mut listeners: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for &asked in addresses {
        let failed = |source| StartError::Listen {
            address: asked,
            source,
        };
        refuse_a_taken(asked).map_err(failed)?;
        let mut address = asked;
        for listeners in &mut listeners {
            let listener = listen_on(address).map_err(failed)?;
            // The first one finds out the port, the others share it.
            address = listener.local_addr().map_err(failed)?;
            listeners.push(listener);
        }
        bound.push(address);
    }
    Ok((bound, listeners))
}

/// `SO_REUSEPORT` would also let a second process of the same user in, and the kernel spread the users over both.
fn refuse_a_taken(address: SocketAddr) -> std::io::Result<()> {
    socket_for(address)?.bind(&address.into())
}

fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket_for(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket_for(address: SocketAddr) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.cloexec(),
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Connections that wait to be accepted, per listener; the kernel takes `net.core.somaxconn` if that is less.
const BACKLOG: i32 = 4096;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn choose_io(asked: IoMode) -> Result<IoMode, StartError> {
    if asked == IoMode::Epoll {
        return Ok(IoMode::Epoll);
    }
    if monoio::utils::detect_uring() {
        return Ok(IoMode::Uring);
    }
    let why = "the kernel or the container's profile forbids it, or an operation it needs is missing";
    if asked == IoMode::Uring {
        return Err(StartError::NoUring(why.to_owned()));
    }
    warn!("io_uring is not available ({why}): running on epoll and plain file writes");
    Ok(IoMode::Epoll)
}

/// Waits for the control plane outside of any runtime.
fn wait<T>(answer: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let mut answer = std::pin::pin!(answer);
    loop {
        match answer.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
