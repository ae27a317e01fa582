//! Replies in the order of their requests.
//!
//! A reply to a global or a channel request carries no number: the n-th reply belongs to the n-th
//! request (RFC 4254 §4, §5.4). A reply that the relay makes itself must therefore wait for the
//! forwarded ones before it.
//!
//! ```text
//!   requests   F F D F D D        F: forwarded, D: denied here
//!   kept as    ahead = 2, held = [D then 1, D then 0, D then 0]
//! ```
//!
//! Invariant: `held` is empty unless `ahead > 0`, so nothing that could be sent is ever kept.
//! Forwarded requests cost a count, however many are outstanding; held replies are counted by
//! [`Replies::held`] so that the owner can bound them.

use std::collections::VecDeque;

/// What one requester still awaits.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// Forwarded requests that are answered before the first of `held`.
    ahead: u32,
    #[expect(
        clippy::box_collection,
        reason = "one word in place of four in every channel, and nearly always empty"
    )]
    held: Option<Box<VecDeque<Held>>>,
}

#[derive(Debug)]
struct Held {
    answer: Answer,
    /// Forwarded requests between this one and the next.
    then: u32,
}

/// A reply that the relay makes in the other end's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Failure,
    /// A program that policy denies: the channel ends with a sentence. `reply` says whether one was wanted.
    ProgramDenied {
        reply: bool,
        reason: String,
    },
}

impl Replies {
    /// A request was forwarded that wants a reply.
    pub(crate) fn forwarded(&mut self) {
        let run = match self.held.as_mut().and_then(|held| held.back_mut()) {
            Some(last) => &mut last.then,
            None => &mut self.ahead,
        };
        *run = run.saturating_add(1);
    }

    /// A request is answered here: gives the answer back if it may be sent at once, else keeps it.
    pub(crate) fn answer(&mut self, answer: Answer) -> Option<Answer> {
        if self.ahead == 0 {
            return Some(answer);
        }
        self.held
            .get_or_insert_default()
            .push_back(Held { answer, then: 0 });
        None
    }

    /// The other end replied: whether anybody waits for it.
    pub(crate) fn replied(&mut self) -> bool {
        let awaited = self.ahead > 0;
        self.ahead = self.ahead.saturating_sub(1);
        awaited
    }

    /// The next answer that may be sent now.
    pub(crate) fn release(&mut self) -> Option<Answer> {
        if self.ahead > 0 {
            return None;
        }
        let held = self.held.as_mut()?;
        let Some(Held { answer, then }) = held.pop_front() else {
            self.held = None;
            return None;
        };
        self.ahead = then;
        if held.is_empty() {
            self.held = None;
        }
        Some(answer)
    }

    /// Answers kept.
    pub(crate) fn held(&self) -> u32 {
        let held = self.held.as_ref().map_or(0, |held| held.len());
        u32::try_from(held).expect("the owner bounds what is kept")
    }

    /// Forgets all: the requester will get no more replies.
    pub(crate) fn clear(&mut self) {
        *self = Replies::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_answer_waits_for_the_forwarded_ones_before_it() {
        let mut replies = Replies::default();
        assert_eq!(replies.answer(Answer::Failure), Some(Answer::Failure));
        replies.forwarded();
        assert_eq!(replies.answer(Answer::Failure), None);
        replies.forwarded();
        assert_eq!(replies.answer(Answer::Failure), None);
        assert_eq!(replies.answer(Answer::Failure), None);
        assert_eq!(replies.held(), 3);

        assert!(replies.replied());
        assert_eq!(replies.release(), Some(Answer::Failure));
        assert_eq!(replies.release(), None, "a forwarded request is still ahead");
        assert!(replies.replied());
        assert_eq!(replies.release(), Some(Answer::Failure));
        assert_eq!(replies.release(), Some(Answer::Failure));
        assert_eq!(replies.release(), None);
        assert_eq!(replies.held(), 0);
        assert!(!replies.replied(), "nobody waits for another reply");
    }
}
