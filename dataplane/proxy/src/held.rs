//! Sealed bytes that wait until the record of what they carry is durable.
//!
//! ```text
//! outgoing │ sent │ may be sent │ mark: 1st batch │ mark: 2nd batch │ being sealed
//!                               └ waits for 17    └ waits for 21
//! ```
//!
//! Sealing order is sending order, so a mark holds back everything behind it. A mark knows how the hop's sealing stood before
//! it: if the record fails, what is held is dropped and a farewell takes its place.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use weir_ssh::SealPoint;

use crate::recorder::Durability;

/// Where a batch begins among the sealed bytes of a hop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchStart {
    /// Length of what was sealed before.
    pub(crate) at: usize,
    pub(crate) point: SealPoint,
}

/// What of a hop's sealed bytes is held back, oldest first.
pub(crate) struct Held {
    durability: Durability,
    marks: VecDeque<Mark>,
    /// Where the newest batch that is held ends.
    end: usize,
}

struct Mark {
    start: BatchStart,
    /// Events of the session that must be durable before.
    handed: u64,
}

impl Held {
    pub(crate) fn new(durability: Durability) -> Held {
        Held {
            durability,
            marks: VecDeque::new(),
            end: 0,
        }
    }

    /// Holds back what was sealed from `start` up to `end`.
    pub(crate) fn push(&mut self, start: BatchStart, end: usize, handed: u64) {
        self.marks.push_back(Mark { start, handed });
        self.end = end;
    }

    /// Lets go of what has become durable.
    pub(crate) fn release(&mut self) {
        while let Some(mark) = self.marks.front()
            && self.durability.reached(mark.handed)
        {
            self.marks.pop_front();
        }
    }

    /// Ready when [`release`](Held::release) has something to do, or nothing is held.
    pub(crate) fn poll_release(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.marks.front() {
            Some(mark) => self.durability.poll_reached(mark.handed, cx),
            None => Poll::Ready(()),
        }
    }

    /// Where what is held begins; `None` if nothing is.
    pub(crate) fn start(&self) -> Option<BatchStart> {
        self.marks.front().map(|mark| mark.start)
    }

    /// How many bytes are held.
    pub(crate) fn len(&self) -> usize {
        self.start().map_or(0, |start| self.end - start.at)
    }

    /// Forgets all marks: what they stood for is dropped.
    pub(crate) fn clear(&mut self) {
        self.marks.clear();
    }

    /// `bytes` have been taken away from the front of the sealed bytes.
    pub(crate) fn shift(&mut self, bytes: usize) {
        self.marks.iter_mut().for_each(|mark| mark.start.at -= bytes);
        self.end = self.end.saturating_sub(bytes);
    }
}
