//! When may the next handshake to a target start?
//!
//! Pure: time is an argument, nothing sleeps. The caller asks with
//! [`Pacer::request`], is either admitted at once, told to wait, or refused; it
//! reports how each handshake ended with [`Pacer::release`] and is told who may
//! start in its place.
//!
//! ```text
//!            request                      release, cancel        
//!   caller ──────────▶ in flight < window? ──no──▶ queue (first come, bounded)
//!                         │ yes                        │ oldest first
//!                         ▼                            ▼
//!                      Admitted ◀───────────────── admitted later
//! ```
//!
//! Invariant: for each target `in_flight ≤ window`, and the queue is empty
//! unless `in_flight == window`. A target is forgotten when nothing of it is in
//! flight or waiting, so memory follows load, not the size of the fleet.

#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

/// A target as it is dialled, `host:port`.
pub type TargetId = Arc<str>;

/// Limits of a [`Pacer`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Handshakes in flight to one target.
    ///
    /// sshd never drops below `MaxStartups`' first number, 10 by default; 8 leaves
    /// room for connections that do not come through this proxy.
    pub window: usize,
    /// Callers waiting for one target; beyond it the answer is immediate.
    pub queue_limit: usize,
    /// How long a caller waits at most; the caller keeps the time and then calls [`Pacer::cancel`].
    pub wait_limit: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: 8,
            queue_limit: 4096,
            wait_limit: Duration::from_secs(30),
        }
    }
}

/// Time since an epoch of the caller's choosing; never goes back.
pub type Timestamp = Duration;

/// A caller's place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// The answer to [`Pacer::request`].
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Start the handshake now; [`Pacer::release`] is owed.
    Admitted,
    /// Wait: a later [`Pacer::release`] names the ticket, or the caller cancels.
    Queued {
        /// The place in the queue.
        ticket: Ticket,
        /// Callers that wait before this one.
        ahead: usize,
    },
    /// The queue is full.
    Refused {
        /// Callers that wait.
        ahead: usize,
    },
}

/// How a handshake ended, as far as it matters for the target's own accounting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Authentication has ended well and the target has counted it.
    Authenticated,
    /// It ended otherwise, whoever's fault it was.
    Failed,
}

/// Admission of handshakes to many targets.
#[derive(Debug)]
pub struct Pacer {
    config: Config,
    targets: HashMap<TargetId, Target>,
    next_ticket: u64,
}

impl Pacer {
    /// A pacer that knows no target yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            targets: HashMap::new(),
            next_ticket: 0,
        }
    }

    /// Asks for a handshake to `target`.
    pub fn request(&mut self, _now: Timestamp, target: &TargetId) -> Admission {
        let entry = self.targets.entry(target.clone()).or_default();
        if entry.in_flight < self.config.window {
            entry.in_flight += 1;
            return Admission::Admitted;
        }
        let ahead = entry.queue.len();
        if ahead >= self.config.queue_limit {
            return Admission::Refused { ahead };
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        entry.queue.push_back(ticket);
        Admission::Queued { ticket, ahead }
    }

    /// Gives back the slot of a handshake; at most one waiting caller is admitted in its place.
    ///
    /// # Panics
    ///
    /// When more slots are given back than were taken.
    pub fn release(&mut self, _now: Timestamp, target: &TargetId, _outcome: Outcome) -> Option<Ticket> {
        let Entry::Occupied(mut entry) = self.targets.entry(target.clone()) else {
            panic!("a slot is given back only by who was admitted");
        };
        let state = entry.get_mut();
        assert!(state.in_flight > 0, "a slot is given back once");
        if let Some(next) = state.queue.pop_front() {
            return Some(next);
        }
        state.in_flight -= 1;
        if state.in_flight == 0 {
            entry.remove();
        }
        None
    }

    /// A waiting caller has gone. False when it was not waiting any more.
    pub fn cancel(&mut self, target: &TargetId, ticket: Ticket) -> bool {
        let Some(state) = self.targets.get_mut(target) else {
            return false;
        };
        // Tickets grow, and are queued in the order in which they are given.
        let place = state.queue.binary_search(&ticket);
        place.is_ok_and(|place| state.queue.remove(place).is_some())
    }

    /// Handshakes in flight to `target` and callers waiting for it.
    #[must_use]
    pub fn load(&self, target: &TargetId) -> (usize, usize) {
        self.targets
            .get(target)
            .map_or((0, 0), |state| (state.in_flight, state.queue.len()))
    }
}

#[derive(Debug, Default)]
struct Target {
    in_flight: usize,
    queue: VecDeque<Ticket>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Duration::from_secs(100);

    fn pacer(window: usize, queue_limit: usize) -> Pacer {
        Pacer::new(Config {
            window,
            queue_limit,
            wait_limit: Duration::from_secs(30),
        })
    }

    fn queued(admission: Admission) -> Ticket {
        match admission {
            Admission::Queued { ticket, .. } => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn window_bounds_what_is_in_flight_per_target() {
        let (mut pacer, a, b) = (pacer(2, 10), TargetId::from("a:22"), TargetId::from("b:22"));
        assert_eq!(pacer.request(NOW, &a), Admission::Admitted);
        assert_eq!(pacer.request(NOW, &a), Admission::Admitted);
        assert!(matches!(
            pacer.request(NOW, &a),
            Admission::Queued { ahead: 0, .. }
        ));
        assert_eq!(pacer.request(NOW, &b), Admission::Admitted);
        assert_eq!(pacer.load(&a), (2, 1));
    }

    #[test]
    fn released_slot_goes_to_the_oldest_waiting_caller() {
        let (mut pacer, target) = (pacer(1, 10), TargetId::from("a:22"));
        pacer.request(NOW, &target);
        let first = queued(pacer.request(NOW, &target));
        let second = queued(pacer.request(NOW, &target));
        assert_eq!(pacer.release(NOW, &target, Outcome::Authenticated), Some(first));
        assert_eq!(pacer.release(NOW, &target, Outcome::Failed), Some(second));
        assert_eq!(pacer.release(NOW, &target, Outcome::Failed), None);
        assert!(pacer.targets.is_empty(), "an idle target costs no memory");
    }

    #[test]
    fn who_hangs_up_leaves_the_queue_at_once() {
        let (mut pacer, target) = (pacer(1, 10), TargetId::from("a:22"));
        pacer.request(NOW, &target);
        let first = queued(pacer.request(NOW, &target));
        let second = queued(pacer.request(NOW, &target));
        assert!(pacer.cancel(&target, first));
        assert!(!pacer.cancel(&target, first), "gone once");
        assert_eq!(pacer.release(NOW, &target, Outcome::Failed), Some(second));
    }

    #[test]
    fn queue_is_bounded() {
        let (mut pacer, target) = (pacer(1, 1), TargetId::from("a:22"));
        pacer.request(NOW, &target);
        queued(pacer.request(NOW, &target));
        assert_eq!(pacer.request(NOW, &target), Admission::Refused { ahead: 1 });
    }
}
