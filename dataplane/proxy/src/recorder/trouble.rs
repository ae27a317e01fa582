//! Why nobody can be recorded at present.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What can be wrong, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The spool cannot be written.
    Write,
    /// There is no space for its next segment.
    Space,
    /// It does not answer.
    Stall,
}

const KINDS: usize = 3;

/// What is wrong, each with a reason for users and operators.
#[derive(Default)]
pub(super) struct Troubles {
    any: AtomicBool,
    reasons: Mutex<[Option<String>; KINDS]>,
}

impl Troubles {
    /// One atomic load: asked for every batch of every session.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    pub(super) fn first(&self) -> Option<String> {
        if !self.any() {
            return None;
        }
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.iter().flatten().next().cloned()
    }

    /// True if something is wrong that was not, or the other way round.
    pub(super) fn set(&self, trouble: Trouble, reason: Option<String>) -> bool {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut reasons[trouble as usize];
        let is_news = place.is_some() != reason.is_some();
        *place = reason;
        self.any
            .store(reasons.iter().any(Option::is_some), Ordering::SeqCst);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_until_the_last_of_it_is_over() {
        let troubles = Troubles::default();
        assert!(!troubles.any() && troubles.first().is_none());
        assert!(troubles.set(Trouble::Stall, Some("stalled".into())));
        assert!(troubles.set(Trouble::Write, Some("input/output error".into())));
        assert!(
            !troubles.set(Trouble::Write, Some("another".into())),
            "that is no news"
        );
        assert_eq!(troubles.first().as_deref(), Some("another"));
        assert!(troubles.set(Trouble::Write, None));
        assert_eq!(troubles.first().as_deref(), Some("stalled"));
        assert!(troubles.set(Trouble::Stall, None));
        assert!(!troubles.set(Trouble::Stall, None));
        assert!(!troubles.any());
    }
}
