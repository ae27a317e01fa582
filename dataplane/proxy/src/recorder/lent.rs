//! Buffers that are handed over by reference.
//!
//! However short a slice is, it keeps its whole buffer out. So all of a buffer counts toward the bounds of the hand-over, once,
//! from when it is lent until the last slice of it is dropped, by whatever thread.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::handover::{Handover, SessionGate};

/// A buffer, or a slice of one, that the recorder may hold; made by [`SessionRecording::pin`](super::SessionRecording::pin).
#[derive(Clone, Debug)]
pub struct Lent(Bytes);

impl Lent {
    pub(super) fn new<B>(buffer: B, handover: &Arc<Handover>, gate: &Arc<SessionGate>) -> Self
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let len = buffer.as_ref().len();
        handover.pin(gate, len);
        Lent(Bytes::from_owner(Pinned {
            buffer,
            len,
            handover: Arc::clone(handover),
            gate: Arc::clone(gate),
        }))
    }

    /// Part of it.
    ///
    /// # Panics
    /// If it is no part of it.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        Lent(self.0.slice(range))
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Counts as handed over while it lives.
struct Pinned<B> {
    buffer: B,
    len: usize,
    handover: Arc<Handover>,
    gate: Arc<SessionGate>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Pinned<B> {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl<B> Drop for Pinned<B> {
    fn drop(&mut self) {
        self.handover.unpin(&self.gate, self.len);
    }
}
