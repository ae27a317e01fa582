//! Receive buffers: taken when bytes are there, given back when they are dealt with.
//!
//! An idle hop holds none. Each core has a pool of large buffers with a bound;
//! past it a hop works with a small buffer of its own instead of waiting for
//! others, so that a stuck session never stalls another. A buffer may be lent to
//! the recorder by reference: it comes home when the last reference is dropped,
//! from whatever thread.
//!
//! Invariant: of one pool at most `limit` large buffers exist.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Room for the largest packet (256 KiB, RFC 4253 §6.1 allows more than anybody sends) with its length and tag.
pub(crate) const LARGE: usize = 264 * 1024;

/// Room for what OpenSSH sends at most in one packet, 32 KiB of data with its headers.
const SMALL: usize = 36 * 1024;

/// The large buffers of one core.
#[derive(Debug)]
pub(crate) struct BufferPool {
    limit: usize,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    free: Vec<Box<[u8]>>,
    /// Large buffers that exist, free or taken.
    existing: usize,
}

impl fmt::Debug for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolState")
            .field("free", &self.free.len())
            .field("existing", &self.existing)
            .finish()
    }
}

impl BufferPool {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            state: Mutex::default(),
        })
    }

    /// A large buffer, or a small one where all large ones are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Buffer {
        let mut state = self.lock();
        let bytes = match state.free.pop() {
            Some(bytes) => bytes,
            None if state.existing < self.limit => {
                state.existing += 1;
                drop(state);
                vec![0; LARGE].into_boxed_slice()
            }
            None => {
                drop(state);
                return Buffer::own(SMALL);
            }
        };
        Buffer {
            bytes,
            home: Some(Arc::clone(self)),
        }
    }

    /// Whether so many buffers are taken that one should not be held for a partial packet.
    pub(crate) fn is_scarce(&self) -> bool {
        let state = self.lock();
        (state.existing - state.free.len()) * 2 > self.limit
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PoolState> {
        // The lists are whole between any two statements, so a panic elsewhere does not spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, bytes: Box<[u8]>) {
        let mut state = self.lock();
        // A few stay for the next burst; the rest goes back to the allocator, so that an idle proxy is small.
        if state.free.len() < KEPT {
            state.free.push(bytes);
        } else {
            state.existing -= 1;
        }
    }
}

/// Free buffers that a core keeps. A core handles one batch at a time; more are only taken while recorders
/// hold some or packets are incomplete.
const KEPT: usize = 16;

/// Bytes to receive into; initialised, of fixed size.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    home: Option<Arc<BufferPool>>,
}

impl Buffer {
    /// A buffer that belongs to no pool.
    pub(crate) fn own(size: usize) -> Self {
        Self {
            bytes: vec![0; size].into_boxed_slice(),
            home: None,
        }
    }

    pub(crate) fn is_pooled(&self) -> bool {
        self.home.is_some()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_pool_gives_small_buffers_instead_of_waiting() {
        let pool = BufferPool::new(2);
        let taken = [pool.take(), pool.take()];
        let third = pool.take();
        assert!(taken.iter().all(Buffer::is_pooled));
        assert!(!third.is_pooled());
        assert_eq!(third.as_ref().len(), SMALL);
        drop(taken);
        assert!(pool.take().is_pooled(), "a buffer that came home is taken again");
    }

    #[test]
    fn buffer_lent_to_another_thread_comes_home() {
        let pool = BufferPool::new(1);
        let lent = bytes::Bytes::from_owner(pool.take());
        let part = lent.slice(10..20);
        drop(lent);
        assert!(!pool.take().is_pooled(), "still lent");
        std::thread::spawn(move || drop(part)).join().unwrap();
        assert!(pool.take().is_pooled());
    }

    #[test]
    fn scarce_from_the_half_on() {
        let pool = BufferPool::new(4);
        let mut taken = vec![pool.take(), pool.take()];
        assert!(!pool.is_scarce());
        taken.push(pool.take());
        assert!(pool.is_scarce());
    }
}
