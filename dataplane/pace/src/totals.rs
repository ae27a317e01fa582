use crate::waits::Waits;

/// All targets of a pacer together.
///
/// What is counted includes targets that are forgotten since, and never goes back; what is now (`in_flight` and below) is of
/// those in use or remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
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
    /// Handshakes in flight now.
    pub in_flight: usize,
    /// Callers that wait now, those between two tries included.
    pub waiting: usize,
    /// Targets in use or remembered.
    pub targets: usize,
    /// Those of them that seem to refuse one of our addresses.
    pub bans_suspected: usize,
}
