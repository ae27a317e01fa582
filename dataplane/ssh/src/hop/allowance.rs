//! What a peer may use up before it is authenticated.

use crate::config::Limits;
use crate::error::{Error, Misbehaviour};
use crate::hop::Timestamp;

/// What is left of a stranger's allowance.
pub(super) struct Allowance {
    bytes: u64,
    packets: u64,
    deadline: Timestamp,
}

impl Allowance {
    /// All of it, from now on.
    pub(super) fn new(limits: &Limits, now: Timestamp) -> Allowance {
        Allowance {
            bytes: limits.unauthenticated_bytes,
            packets: limits.unauthenticated_packets,
            deadline: now.after(limits.unauthenticated_time),
        }
    }

    /// When the peer must be authenticated.
    pub(super) fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Checks a packet of so many bytes before it is waited for.
    pub(super) fn check(&self, bytes: usize, limits: &Limits) -> Result<(), Error> {
        if self.bytes < bytes as u64 {
            let limit = limits.unauthenticated_bytes;
            return Err(Misbehaviour::Budget { limit, unit: "bytes" }.into());
        }
        Ok(())
    }

    /// Takes a packet of so many bytes off.
    pub(super) fn spend(&mut self, bytes: usize, limits: &Limits) -> Result<(), Error> {
        self.check(bytes, limits)?;
        let Some(packets) = self.packets.checked_sub(1) else {
            let limit = limits.unauthenticated_packets;
            return Err(Misbehaviour::Budget {
                limit,
                unit: "packets",
            }
            .into());
        };
        self.packets = packets;
        self.bytes -= bytes as u64;
        Ok(())
    }
}
