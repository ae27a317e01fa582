//! When may the next handshake to a target start?
//!
//! sshd takes a few unauthenticated connections at a time (`MaxStartups`) and drops the rest with an empty error. A proxy
//! that dials for thousands must never be the one that is dropped, nor crowd out who connects directly. So every dial
//! asks here first.
//!
//! Pure: time and randomness are arguments, nothing sleeps. The caller
//!
//! - asks with [`Pacer::request`], and is admitted at once, told to wait, or refused in words;
//! - reports what became of each admitted handshake with [`Pacer::report`], and of a wait that it ends itself with
//!   [`Pacer::leave`];
//! - calls [`Pacer::poll`] at [`Pacer::next_timeout`];
//! - and after each of these takes what [`Pacer::next_event`] has: who may start now, who has waited too long, alerts.
//!
//! ```text
//!            request                                   report
//!   caller ──────────▶ window open, source good? ──no──▶ queue ◀─── rest ◀── Dropped, Refused (restart)
//!                         │ yes                           │ in turn, when a slot is free   (wait limit: GiveUp)
//!                         ▼                               ▼
//!                      Admitted ◀──────────────────── Event::Admit
//!                         │ dial, handshake
//!                         ▼
//!   Authenticated ── first packet, or 50 ms ──▶ slot free       Rejected, Broken … ──▶ slot free, penalty charged
//! ```
//!
//! Invariants:
//! - no handshake starts that makes more in flight than the target's window has slots;
//! - a ticket ends once: in `Next::Done`, `Next::GiveUp`, `Event::GiveUp`, or by leaving; between two admissions lies a report;
//! - memory is bounded: per target by `queue_limit` and the window, and idle targets by `memory_limit` and `memory_time`.
//!
//! # Where this departs from the plain rules, and why
//!
//! Each was tried both ways against the simulation in `tests/simulation`.
//!
//! - **A drop at `k` makes the ceiling `k - 1`.** With `k` itself the window climbs back to what was just refused, and
//!   pays a drop each round. See `window.rs`.
//! - **Fractions of a slot are slices of time.** Rounding `(start - 1) / planes` down wastes 44 % with five data planes, and
//!   with ten or more leaves nothing.
//! - **The window is per target, penalties are per source address.** `MaxStartups` counts all addresses together, so a
//!   window for each address of a pool would multiply what is in flight.
//! - **Under a suspected ban the longest pause is an eighth of the wait limit** (at most 15 s). A probe is free: sshd
//!   refuses it before it forks, and it does not extend the ban. With 15 s those who wait 30 s see two probes.
//! - **A ceiling holds for at most 4 s.** A probe costs one hidden retry; held longer, room that others have left goes unused.
//! - **With many more data planes than slots first handshakes are spread over seconds**, else those of one moment meet at
//!   `full`. A thousand at an untuned sshd make who comes alone wait 5 s on average, or 0.2 s with `MaxStartups 200:30:400` in the
//!   hint; spread over a third of that, they reach 76 of 100.
//! - **What a window is after an outage**: one, and then one more for each success up to half of what it was.
//! - **`MaxStartups` beyond the presumed is never searched for.** A target that is not hinted is taken for an untuned
//!   one; what lies above its `start` costs direct users drops, which nobody here would see.

#![forbid(unsafe_code)]

mod advice;
mod config;
mod hint;
mod lane;
mod outcome;
mod pacer;
mod penalty;
mod queue;
mod retry;
mod share;
mod snapshot;
mod source;
mod suspicion;
mod target;
mod totals;
mod waits;
mod window;

use std::{net::IpAddr, sync::Arc, time::Duration};

pub use crate::{
    advice::{BanAlert, End, Explanation, Hindrance},
    config::Config,
    hint::{Hint, MaxStartups},
    outcome::{DropForm, Next, Outcome},
    pacer::Pacer,
    penalty::{Credential, Penalties},
    retry::Random,
    snapshot::Snapshot,
    totals::Totals,
    waits::Waits,
};

/// A target as it is dialled, `host:port`.
pub type TargetId = Arc<str>;

/// A user, by whatever name makes two connections one user's.
pub type UserId = Arc<str>;

/// Time since an epoch of the caller's choosing; never goes back.
pub type Timestamp = Duration;

/// Who goes first where users' turns tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Somebody waits at a keyboard.
    Interactive,
    /// A program waits.
    Batch,
}

/// A wish for one handshake.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What is dialled.
    pub target: &'a TargetId,
    /// For whom.
    pub user: &'a UserId,
    /// The address that the connection will come from, where there is more than one.
    pub source: Option<IpAddr>,
    /// Who waits for it.
    pub priority: Priority,
    /// What the user will sign in with.
    pub credential: Credential,
}

/// One request, from the answer to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    number: u64,
    slot: u32,
}

/// The answer to [`Pacer::request`].
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Start the handshake now; a [`Pacer::report`] is owed.
    Admitted(Ticket),
    /// Wait for an [`Event`] that names the ticket, or [`Pacer::leave`].
    Queued {
        /// The place in the queue.
        ticket: Ticket,
        /// At most so many of those who wait now are served before.
        ahead: usize,
    },
    /// Too many wait.
    Refused(Explanation),
}

/// Something that a caller other than the present one has to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Start the handshake now; a [`Pacer::report`] is owed. Who has left meanwhile owes none.
    Admit {
        /// Whose turn it is.
        ticket: Ticket,
        /// Time since it was requested.
        waited: Duration,
    },
    /// The wait is over in vain, and the ticket with it.
    GiveUp {
        /// Whose wait it was.
        ticket: Ticket,
        /// What to tell the user.
        explanation: Explanation,
    },
    /// A target seems to refuse one of our addresses; said once until it lets one in.
    BanSuspected(BanAlert),
    /// It has let one in again.
    BanOver {
        /// The target.
        target: TargetId,
        /// The address.
        source: Option<IpAddr>,
    },
}
