//! A recording that is still being written, handed on to those who watch.
//!
//! ```text
//! recorder ─▶ Feed ─▶ queue, bounded in bytes ─▶ Follower ─▶ watcher
//! ```
//!
//! What passes is the recording itself, sealed: who carries it cannot read it. Invariant: [`Feed::offer`] never waits and
//! a queue never holds more than [`FOLLOWER_BYTES`]; a follower that would need more is dropped and told.

use std::collections::VecDeque;
use std::io::Read;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::BoxFuture;

/// Bytes that a follower may be behind: seconds of anything that a person could watch.
pub const FOLLOWER_BYTES: usize = 4 * 1024 * 1024;

/// A live recording as somebody finds it who comes to watch.
pub struct Live {
    /// What has been recorded already, from the envelope on. Reading it blocks.
    pub recorded: Box<dyn Read + Send>,
    /// What comes after that.
    pub follower: Follower,
}

/// Opens the live recording of a session, for the control plane; the text says why it cannot be.
pub type Watch = Box<dyn Fn(&str) -> BoxFuture<Result<Live, WatchError>> + Send + Sync>;

/// Why a session cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// It is not going on, or nothing of it is recorded.
    #[error("no session {0} is being recorded here: it is over, or its role says that nothing is recorded")]
    NotLive(String),
    /// What has been recorded of it cannot be read.
    #[error("what has been recorded so far cannot be read: {0}")]
    Unreadable(String),
}

/// The follower was further behind than [`FOLLOWER_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too slow: more than {} MiB had to wait", FOLLOWER_BYTES >> 20)]
pub struct TooSlow;

/// A queue, and its two ends.
#[must_use]
pub fn feed() -> (Feed, Follower) {
    let shared = Arc::new(Shared::default());
    let feed = Feed(Arc::clone(&shared));
    (feed, Follower { shared, skip: 0 })
}

#[derive(Default)]
struct Shared(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    /// Chunks with their numbers.
    chunks: VecDeque<(u64, Bytes)>,
    bytes: usize,
    is_over: bool,
    is_too_slow: bool,
    has_left: bool,
    waker: Option<Waker>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The end that the recorder holds. Dropped, the recording is over.
pub struct Feed(Arc<Shared>);

impl Feed {
    /// Hands on chunk `number`, without waiting. False once nobody follows any more, or too slowly.
    pub fn offer(&self, number: u64, chunk: &Bytes) -> bool {
        let mut queue = self.0.queue();
        if queue.has_left || queue.is_too_slow {
            return false;
        }
        if queue.bytes + chunk.len() > FOLLOWER_BYTES {
            // What waits is of no use to somebody who lacks what comes next.
            queue.chunks = VecDeque::new();
            queue.bytes = 0;
            queue.is_too_slow = true;
        } else {
            queue.bytes += chunk.len();
            queue.chunks.push_back((number, chunk.clone()));
        }
        let goes_on = !queue.is_too_slow;
        self.0.wake(queue);
        goes_on
    }

    /// Whether somebody still follows.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        let queue = self.0.queue();
        !queue.has_left && !queue.is_too_slow
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.is_over = true;
        self.0.wake(queue);
    }
}

/// The end that somebody watches.
pub struct Follower {
    shared: Arc<Shared>,
    skip: u64,
}

impl Follower {
    /// Leaves out chunks before number `next`: they are in what was recorded already.
    #[must_use]
    pub fn from_chunk(mut self, next: u64) -> Self {
        self.skip = next;
        self
    }

    /// The next chunk; none after the last.
    ///
    /// # Errors
    /// [`TooSlow`], once; nothing comes after it.
    pub async fn next(&mut self) -> Option<Result<Bytes, TooSlow>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, TooSlow>>> {
        let mut queue = self.shared.queue();
        while let Some((number, chunk)) = queue.chunks.pop_front() {
            queue.bytes -= chunk.len();
            if number >= self.skip {
                return Poll::Ready(Some(Ok(chunk)));
            }
        }
        if queue.is_too_slow && !queue.has_left {
            queue.has_left = true;
            return Poll::Ready(Some(Err(TooSlow)));
        }
        if queue.is_over || queue.has_left {
            return Poll::Ready(None);
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.has_left = true;
        queue.chunks = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(follower: &mut Follower) -> Poll<Option<Result<Bytes, TooSlow>>> {
        follower.poll_next(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn chunks_come_in_order_and_then_the_end() {
        let (feed, follower) = feed();
        let mut follower = follower.from_chunk(1);
        assert!(poll(&mut follower).is_pending());
        for number in 0..3 {
            assert!(feed.offer(number, &Bytes::from(vec![u8::try_from(number).unwrap()])));
        }
        drop(feed);
        for expected in [1, 2] {
            assert_eq!(
                poll(&mut follower),
                Poll::Ready(Some(Ok(Bytes::from(vec![expected]))))
            );
        }
        assert_eq!(poll(&mut follower), Poll::Ready(None));
    }

    #[test]
    fn a_slow_follower_is_dropped_told_and_holds_no_memory() {
        let (feed, mut follower) = feed();
        let chunk = Bytes::from(vec![0; 64 * 1024]);
        let mut taken = 0;
        while feed.offer(taken, &chunk) {
            taken += 1;
        }
        assert_eq!(usize::try_from(taken).unwrap() * chunk.len(), FOLLOWER_BYTES);
        assert_eq!(feed.0.queue().chunks.capacity(), 0);
        assert!(!feed.is_followed() && !feed.offer(99, &chunk));
        assert_eq!(poll(&mut follower), Poll::Ready(Some(Err(TooSlow))));
        assert_eq!(poll(&mut follower), Poll::Ready(None));
    }

    #[test]
    fn who_leaves_is_noticed_by_the_next_offer() {
        let (feed, follower) = feed();
        drop(follower);
        assert!(!feed.is_followed() && !feed.offer(0, &Bytes::from_static(b"x")));
    }
}
