use std::time::Duration;

use crate::{TargetId, waits::Waits};

/// One target as an operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The target.
    pub target: TargetId,
    /// Handshakes that may be in flight; a fraction is a part of the time.
    pub window: f64,
    /// What the target has been found to take, while that holds.
    pub ceiling: Option<u64>,
    /// This data plane's share, which the window never exceeds.
    pub share: f64,
    /// Handshakes in flight.
    pub in_flight: usize,
    /// Callers that wait, those between two tries included.
    pub waiting: usize,
    /// Handshakes admitted.
    pub admitted: u64,
    /// Handshakes dropped.
    pub drops: u64,
    /// Handshakes that were not their caller's first.
    pub retries: u64,
    /// Callers whose wait ended in vain.
    pub given_up: u64,
    /// How long callers waited for their first handshake.
    pub waits: Waits,
    /// What the target is thought to hold against us: the highest of our addresses.
    pub penalty: Duration,
    /// It seems to refuse one of our addresses.
    pub ban_suspected: bool,
    /// How long a handshake takes, a moving average.
    pub handshake: Duration,
}
