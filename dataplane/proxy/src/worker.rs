//! One core: a runtime, its listeners, and the connections it has accepted.

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use monoio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tracing::{debug, error, warn};

use crate::{
    alarm::Alarm, buffer::BufferPool, client, clock::Clock, config::IoMode, hop_stream::Supplies,
    shared::Shared,
};

/// What the connections of one core have in common; nothing of it is shared with other cores but `shared`.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) alarm: Alarm,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) supplies: Rc<Supplies>,
    /// Rung when the connections that are left must end, and true from then on.
    ending: Notify,
    is_ending: Cell<bool>,
    connections: Cell<usize>,
    /// Rung when the last connection has ended.
    idle: Notify,
    /// Connections whose user has not signed in.
    strangers: Cell<usize>,
}

/// What the workers are told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Accept and serve.
    Serving,
    /// Accept no more; serve what is there for so long.
    Draining(Duration),
}

/// Large receive buffers per core. Each is taken for one batch; those lent to the recorder or holding a
/// partial packet stay out longer. 64 are 16 MiB and cover a recorder that lags by one flush of each of
/// dozens of bulk transfers.
const POOLED_BUFFERS: usize = 64;

/// Connections per core whose user has not signed in. sshd's own default for its `full` is 100; this is one core of
/// a proxy for thousands, and each stranger costs some 10 KiB.
const STRANGERS: usize = 4096;

/// Runs a core's part of the data plane until it is told to end.
pub(crate) fn run(
    io: IoMode,
    listeners: Vec<std::net::TcpListener>,
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
) -> io::Result<()> {
    match io {
        IoMode::Epoll => {
            for listener in &listeners {
                listener.set_nonblocking(true)?;
            }
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new()
                .enable_timer()
                .build()?
                .block_on(serve(listeners, shared, stage))
        }
        IoMode::Uring | IoMode::Auto => monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .with_entries(RING_ENTRIES)
            .enable_timer()
            .build()?
            .block_on(serve(listeners, shared, stage)),
    }
}

/// Operations submitted in one go; more are submitted in several.
const RING_ENTRIES: u32 = 4096;

async fn serve(
    listeners: Vec<std::net::TcpListener>,
    shared: Arc<Shared>,
    mut stage: watch::Receiver<Stage>,
) -> io::Result<()> {
    let worker = Rc::new(Worker {
        clock: shared.clock,
        alarm: Alarm::new(shared.clock),
        shared,
        pool: BufferPool::new(POOLED_BUFFERS),
        supplies: Rc::default(),
        ending: Notify::new(),
        is_ending: Cell::new(false),
        connections: Cell::new(0),
        idle: Notify::new(),
        strangers: Cell::new(0),
    });
    let clockwork = Rc::clone(&worker);
    monoio::spawn(async move { clockwork.alarm.keep().await });
    let mut accepting = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let listener = TcpListener::from_std(listener)?;
        accepting.push(monoio::spawn(accept(Rc::clone(&worker), listener, stage.clone())));
    }
    // The sender lives as long as the data plane's handle: without it, this ends too.
    let drain = loop {
        match *stage.borrow_and_update() {
            Stage::Draining(drain) => break drain,
            Stage::Serving => {}
        }
        if stage.changed().await.is_err() {
            break Duration::ZERO;
        }
    };
    for task in accepting {
        task.await;
    }
    worker.drain(drain).await;
    Ok(())
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, mut stage: watch::Receiver<Stage>) {
    loop {
        let stopped = std::pin::pin!(stage.wait_for(|stage| *stage != Stage::Serving));
        let accepted = match select(std::pin::pin!(listener.accept()), stopped).await {
            Either::Left((accepted, _)) => accepted,
            Either::Right(_) => return,
        };
        match accepted {
            Ok((socket, client)) => worker.take(socket, client),
            Err(e) => {
                // Out of descriptors or memory: those that are there go on, and one of them may end.
                error!(error = %e, "cannot accept a connection");
                monoio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Worker {
    fn take(self: &Rc<Self>, socket: TcpStream, client: SocketAddr) {
        if self.strangers.get() >= STRANGERS {
            warn!(%client, "refused: {STRANGERS} connections wait for their users to sign in already");
            return;
        }
        if let Err(e) = prepare(&socket) {
            debug!(%client, error = %e, "connection gone before it was served");
            return;
        }
        let worker = Rc::clone(self);
        worker.connections.set(worker.connections.get() + 1);
        monoio::spawn(async move {
            let counted = Counted(&worker);
            client::serve(&worker, socket, client).await;
            drop(counted);
        });
    }

    /// Counts a connection as a stranger's until the answer is dropped.
    pub(crate) fn stranger(&self) -> Stranger<'_> {
        self.strangers.set(self.strangers.get() + 1);
        Stranger(self)
    }

    /// Resolves when connections must end.
    pub(crate) async fn ending(&self) {
        // Who asks too late to hear of it finds it written.
        let told = self.ending.notified();
        if !self.is_ending.get() {
            told.await;
        }
    }

    async fn drain(&self, limit: Duration) {
        let idle = async {
            while self.connections.get() > 0 {
                self.idle.notified().await;
            }
        };
        let mut idle = std::pin::pin!(idle);
        if monoio::time::timeout(limit, &mut idle).await.is_ok() {
            return;
        }
        self.is_ending.set(true);
        self.ending.notify_waiters();
        // Those that are told end by themselves, each within the time of one DISCONNECT.
        if monoio::time::timeout(FAREWELL, idle).await.is_err() {
            warn!(left = self.connections.get(), "connections cut");
        }
    }
}

/// How long connections may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

struct Counted<'a>(&'a Worker);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let left = self.0.connections.get() - 1;
        self.0.connections.set(left);
        if left == 0 {
            self.0.idle.notify_one();
        }
    }
}

/// A connection whose user has not signed in.
pub(crate) struct Stranger<'a>(&'a Worker);

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        self.0.strangers.set(self.0.strangers.get() - 1);
    }
}

/// Keystrokes are not held back, and a peer whose machine has gone is noticed.
pub(crate) fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_tcp_keepalive(
        Some(Duration::from_secs(60)),
        Some(Duration::from_secs(15)),
        Some(4),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    #[test]
    fn socket_holds_no_keystroke_back() {
        run(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let plain = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            prepare(&TcpStream::from_std(plain.try_clone().unwrap()).unwrap()).unwrap();
            assert!(plain.nodelay().unwrap());
            assert!(socket2::SockRef::from(&plain).keepalive().unwrap());
        });
    }
}
