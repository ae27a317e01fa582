//! A hop with its socket.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsRawFd, BorrowedFd},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use monoio::net::TcpStream;
use rustix::net::SendFlags;
use tokio::sync::Notify;
use weir_crypto::random::PooledRandom;
use weir_ssh::{Env, Event, Hop, Packet, Timestamp};

use crate::{
    clock::Clock,
    held::{BatchStart, Held},
    receive::{Read, Received},
    recorder::Durability,
};

/// One hop, its socket, and what it has sealed but not yet sent.
///
/// Sealing order is sending order: whoever seals appends to `outgoing` in the same step, and bytes
/// leave it only from its front. Where a session is recorded synchronously, none leaves it before its record is durable (`held`).
pub(crate) struct HopStream {
    socket: TcpStream,
    clock: Clock,
    hop: RefCell<Hop>,
    outgoing: RefCell<Outgoing>,
    supplies: Rc<Supplies>,
    /// The peer takes no more bytes; what is still sealed for it is dropped.
    broken: Cell<bool>,
    /// Rung when packets may be sealed again after a key exchange.
    keys_changed: Notify,
}

/// Why a hop ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HopEnd {
    /// The peer closed the connection without a word.
    #[error("connection closed by the peer")]
    Closed,
    /// The peer said goodbye.
    #[error("peer disconnected with reason {reason}: {text}")]
    Disconnected {
        /// RFC 4253 §11.1.
        reason: u32,
        text: String,
    },
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Protocol(#[from] weir_ssh::Error),
}

/// What came of a wait for the peer.
pub(crate) enum Incoming {
    /// A packet for the layers above, at a position of the received bytes.
    Packet { position: usize, packet: Packet },
    /// New keys are in use in both directions.
    KeysInstalled,
    /// Packets of the layers above may be sealed again.
    MaySeal,
}

impl HopStream {
    pub(crate) fn new(socket: TcpStream, hop: Hop, clock: Clock, supplies: Rc<Supplies>) -> Self {
        Self {
            socket,
            clock,
            hop: RefCell::new(hop),
            outgoing: RefCell::default(),
            supplies,
            broken: Cell::new(false),
            keys_changed: Notify::new(),
        }
    }

    pub(crate) fn start(&self) {
        self.step(|hop, env, out| hop.start(env, out));
    }

    /// One step of the state machine; what it seals is queued for sending.
    pub(crate) fn step<R>(&self, step: impl FnOnce(&mut Hop, &mut Env<'_>, &mut Vec<u8>) -> R) -> R {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.provide(&self.supplies);
        let mut random = self.supplies.random.borrow_mut();
        let mut env = Env {
            now: self.clock.now(),
            random: &mut *random,
        };
        step(&mut self.hop.borrow_mut(), &mut env, &mut outgoing.bytes)
    }

    /// Looks at the state machine.
    pub(crate) fn hop<R>(&self, look: impl FnOnce(&Hop) -> R) -> R {
        look(&self.hop.borrow())
    }

    /// Seals one packet of the layers above.
    pub(crate) fn seal(&self, payload: &[u8]) -> Result<(), HopEnd> {
        Ok(self.step(|hop, env, out| hop.seal(env, payload, out))?)
    }

    /// Bytes that are sealed and not yet sent.
    pub(crate) fn pending(&self) -> usize {
        self.outgoing.borrow().pending()
    }

    /// Bytes that are sealed and held back.
    pub(crate) fn held(&self) -> usize {
        self.outgoing.borrow().held()
    }

    /// Where the batch begins that is sealed from here on.
    pub(crate) fn batch_start(&self) -> BatchStart {
        BatchStart {
            at: self.outgoing.borrow().bytes.len(),
            point: self.hop.borrow().seal_point(),
        }
    }

    /// Holds back what was sealed since `start` until the session's first `handed` events are durable. Nothing may have been sent
    /// since.
    pub(crate) fn hold_since(&self, start: BatchStart, handed: u64, durability: impl FnOnce() -> Durability) {
        let mut outgoing = self.outgoing.borrow_mut();
        let end = outgoing.bytes.len();
        if end > start.at {
            let held = outgoing
                .held
                .get_or_insert_with(|| Box::new(Held::new(durability())));
            held.push(start, end, handed);
        }
    }

    /// Sends what the socket takes now.
    pub(crate) fn send(&self) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.release();
        while outgoing.unsent() > 0 && !self.broken.get() {
            let sendable = outgoing.sent..outgoing.sendable();
            match rustix::net::send(
                self.fd(),
                &outgoing.bytes[sendable],
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(n) => outgoing.sent += n,
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => {}
                // What the peer still has to say is read to its end; then that ends the hop.
                Err(_) => self.broken.set(true),
            }
        }
        if outgoing.pending() == 0 || self.broken.get() {
            outgoing.give_back(&self.supplies);
        } else {
            outgoing.compact();
        }
    }

    /// Waits until everything sealed has been sent, or can never be. For ever, if it is held back and its record has failed: then the
    /// session ends.
    pub(crate) async fn sent(&self) {
        loop {
            self.send();
            if self.pending() == 0 {
                return;
            }
            self.progress().await;
        }
    }

    /// Whether more may be sealed: all that may be sent has been, and little is held back.
    pub(crate) fn has_room(&self) -> bool {
        let outgoing = self.outgoing.borrow();
        outgoing.unsent() == 0 && outgoing.held() < HELD_BYTES
    }

    /// Waits for [`has_room`](Self::has_room).
    pub(crate) async fn room(&self) {
        loop {
            self.send();
            if self.has_room() {
                return;
            }
            self.progress().await;
        }
    }

    /// Waits until there is something to send, and room for it.
    async fn progress(&self) {
        if self.outgoing.borrow().unsent() == 0 {
            return std::future::poll_fn(|cx| self.outgoing.borrow().poll_release(cx)).await;
        }
        if self.socket.writable(false).await.is_err() {
            self.broken.set(true);
        }
    }

    /// As [`Self::sent`], but no longer than `limit`; false where that was not enough. Boxed, since a session comes
    /// here once, when it ends, and would otherwise hold the room for it all its life.
    pub(crate) async fn sent_within(&self, limit: Duration) -> bool {
        Box::pin(monoio::time::timeout(limit, self.sent())).await.is_ok()
    }

    /// Waits until the peer has sent something, or has gone.
    pub(crate) async fn readable(&self) -> Result<(), HopEnd> {
        Ok(self.socket.readable(false).await?)
    }

    /// Waits for bytes and reads them once.
    pub(crate) async fn read(&self, received: &mut Received) -> Result<(), HopEnd> {
        loop {
            // In bulk, more is there already. Otherwise the wait comes first, and holds no buffer.
            if !received.is_flowing() {
                received.rest();
                self.readable().await?;
            }
            match received.read(self.fd())? {
                Read::Bytes => return Ok(()),
                Read::NothingYet => {}
                Read::End => return Err(HopEnd::Closed),
            }
        }
    }

    /// Takes one step over the bytes received; `None` when more are needed.
    pub(crate) fn advance(&self, received: &mut Received) -> Result<Option<Incoming>, HopEnd> {
        loop {
            let position = received.position();
            let (step, may_seal) = self.step(|hop, env, out| {
                let might_seal = hop.can_seal();
                let step = hop.receive(env, received.unconsumed(), out);
                (step, !might_seal && hop.can_seal())
            });
            let step = step?;
            received.consume(step.consumed);
            if may_seal {
                self.keys_changed.notify_waiters();
            }
            match step.event {
                Event::NeedMore { at_least } => {
                    received.want(at_least);
                    return Ok(None);
                }
                Event::Packet(packet) => return Ok(Some(Incoming::Packet { position, packet })),
                Event::KeysInstalled { .. } => return Ok(Some(Incoming::KeysInstalled)),
                Event::Handled | Event::RekeyStarted if may_seal => return Ok(Some(Incoming::MaySeal)),
                Event::Handled | Event::RekeyStarted => {}
                Event::Disconnected { reason, text } => {
                    return Err(HopEnd::Disconnected { reason, text });
                }
            }
        }
    }

    /// Waits for the next packet or change of keys; for the time in which one task alone drives the hop.
    pub(crate) async fn next(&self, received: &mut Received) -> Result<Incoming, HopEnd> {
        loop {
            let advanced = self.advance(received);
            self.sent().await;
            if let Some(incoming) = advanced? {
                return Ok(incoming);
            }
            let due = self.hop(Hop::next_timeout);
            match due {
                None => self.read(received).await?,
                Some(due) => match monoio::time::timeout(self.clock.until(due), self.read(received)).await {
                    Ok(read) => read?,
                    Err(_) => {
                        self.step(|hop, env, out| hop.handle_timeout(env, out))?;
                        self.sent().await;
                    }
                },
            }
        }
    }

    /// Keeps reading without looking at the bytes until the peer has gone; how a client that waits is
    /// known to be there still. Reads no more than one buffer.
    pub(crate) async fn gone(&self, received: &mut Received) -> HopEnd {
        loop {
            if received.is_crowded() {
                return std::future::pending().await;
            }
            if let Err(end) = self.read(received).await {
                return end;
            }
        }
    }

    /// Resolves when keys have changed since the call.
    pub(crate) fn keys_changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.keys_changed.notified()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Says goodbye with a reason, as far as the peer still listens.
    pub(crate) fn disconnect(&self, reason: weir_ssh::DisconnectReason, text: &str) {
        self.step(|hop, env, out| hop.disconnect(env, reason, text, out));
        self.send();
    }

    /// The same in the place of what is held back, which is dropped. Where keys have changed within that, nothing can be said.
    pub(crate) fn disconnect_instead(&self, reason: weir_ssh::DisconnectReason, text: &str) {
        let Some(start) = self.outgoing.borrow_mut().drop_held() else {
            return self.disconnect(reason, text);
        };
        self.step(|hop, env, out| hop.disconnect_instead(&start.point, env, reason, text, out));
        self.send();
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self.socket` owns this descriptor and closes it only when dropped, and the borrow ends before
        // `self` does.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

/// Sealed bytes on their way into the socket.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// Only where a session is recorded synchronously, or has failed.
    held: Option<Box<Held>>,
}

impl Outgoing {
    fn pending(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Up to where bytes may be sent.
    fn sendable(&self) -> usize {
        let start = self.held.as_ref().and_then(|held| held.start());
        start.map_or(self.bytes.len(), |start| start.at)
    }

    /// What may be sent and has not been.
    fn unsent(&self) -> usize {
        self.sendable() - self.sent
    }

    fn held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len())
    }

    fn release(&mut self) {
        if let Some(held) = &mut self.held {
            held.release();
        }
    }

    fn poll_release(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.held {
            Some(held) => held.poll_release(cx),
            None => Poll::Ready(()),
        }
    }

    /// Drops what is held back, and says where it began.
    fn drop_held(&mut self) -> Option<BatchStart> {
        let held = self.held.as_mut()?;
        let start = held.start()?;
        held.clear();
        self.bytes.truncate(start.at);
        Some(start)
    }

    /// A hop on which something is always held back must not keep what it has sent.
    fn compact(&mut self) {
        if let Some(held) = &mut self.held
            && self.sent >= COMPACT_BYTES
        {
            self.bytes.drain(..self.sent);
            held.shift(self.sent);
            self.sent = 0;
        }
    }

    fn provide(&mut self, supplies: &Supplies) {
        if self.bytes.capacity() == 0 {
            self.bytes = supplies.take();
        }
    }

    /// Everything is sent, or never will be: the buffer serves another hop.
    fn give_back(&mut self, supplies: &Supplies) {
        self.sent = 0;
        self.held = None;
        if self.bytes.capacity() > 0 {
            supplies.put(std::mem::take(&mut self.bytes));
        }
    }
}

/// What the hops of one core share.
#[derive(Default)]
pub(crate) struct Supplies {
    /// Transmit buffers that hold nothing at the moment. A hop has one only while something is sealed and not yet
    /// sent; how much that can be is bounded for each hop, since nothing is read for it meanwhile.
    buffers: RefCell<Vec<Vec<u8>>>,
    /// For padding and cookies; every packet takes some, and the system's generator is a call each time.
    random: RefCell<PooledRandom>,
}

impl Supplies {
    fn take(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    fn put(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = self.buffers.borrow_mut();
        if spare.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_BYTES {
            spare.push(buffer);
        }
    }
}

/// Sealed bytes that may be held back before the other hop is no longer read: two batches, so that one is recorded while the next
/// is relayed.
pub(crate) const HELD_BYTES: usize = 512 * 1024;

/// Sent bytes from which what is held back is moved to the front.
const COMPACT_BYTES: usize = 256 * 1024;

/// One batch is sealed at a time on a core, for two hops; a few more for peers that take it slowly.
const SPARE_BUFFERS: usize = 8;

/// A received buffer's worth and the replies to it. A larger one came of something rare.
const SPARE_BYTES: usize = 640 * 1024;
