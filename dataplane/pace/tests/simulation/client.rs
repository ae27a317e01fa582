//! Who wants to log in, and what became of it.

use std::time::Duration;

use weir_pace::{Explanation, Outcome, Priority};

/// A wish for one login.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) plane: usize,
    pub(crate) target: usize,
    pub(crate) user: usize,
    pub(crate) priority: Priority,
    /// The target accepts it.
    pub(crate) good: bool,
    /// When it ends another of the same kind begins.
    pub(crate) again: bool,
    /// So many in all, if it comes again.
    pub(crate) tasks: u32,
    /// What lies between two on average.
    pub(crate) pause: Duration,
}

impl Login {
    pub(crate) fn of(user: usize) -> Self {
        Self {
            plane: 0,
            target: 0,
            user,
            priority: Priority::Batch,
            good: true,
            again: false,
            tasks: u32::MAX,
            pause: Duration::ZERO,
        }
    }

    pub(crate) fn at(self, plane: usize, target: usize) -> Self {
        Self {
            plane,
            target,
            ..self
        }
    }
}

/// What became of a login, as its user sees it.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    Open,
    In {
        at: Duration,
    },
    /// In words, at the wait limit or at once.
    GaveUp(Explanation),
    /// The target's own answer: its port is shut, it says nothing, it refuses the credential.
    Failed(Outcome),
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) login: Login,
    pub(crate) arrived_at: Duration,
    /// When its first handshake began.
    pub(crate) began_at: Option<Duration>,
    pub(crate) tries: u32,
    pub(crate) fate: Fate,
}

impl Client {
    pub(crate) fn waited(&self) -> Duration {
        self.began_at.expect("it has begun") - self.arrived_at
    }

    pub(crate) fn is_in(&self) -> bool {
        matches!(self.fate, Fate::In { .. })
    }
}
