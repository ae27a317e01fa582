//! Where a hop stands, and what its peer may send there.
//!
//! | phase | what may come |
//! |---|---|
//! | before the identification | lines |
//! | first exchange, strict | DISCONNECT and the message awaited |
//! | first exchange, not strict | the same, IGNORE, DEBUG, UNIMPLEMENTED |
//! | established | everything but NEWKEYS and messages of a key exchange method |
//! | own KEXINIT sent, peer's awaited | the same: the peer need not have seen it |
//! | later exchange, after the peer's KEXINIT | DISCONNECT, IGNORE, DEBUG, UNIMPLEMENTED and the message awaited |
//!
//! A wrong guess (RFC 4253 §7.1) is passed over once where it was announced. KEXINIT of a stranger whose first exchange is
//! over, and whatever else is not listed, ends the connection.

use std::mem;

use crate::handshake::{AwaitKexInit, AwaitKexReply, AwaitKexRequest, AwaitMethod, AwaitNewKeys, Exchange};
use crate::hop::Timestamp;

/// Rare and large states are boxed, so that a hop at rest is small.
pub(super) enum Phase {
    Unstarted,
    AwaitIdent(Box<AwaitIdent>),
    /// The connection's first.
    AwaitKexInit(AwaitKexInit, SteeringWait),
    /// A later one: this side has sent its own.
    AwaitRekey(AwaitKexInit),
    AwaitKexRequest(Box<AwaitKexRequest>),
    AwaitKexReply(Box<AwaitKexReply>),
    AwaitNewKeys(Box<AwaitNewKeys>),
    Established,
    Ended,
}

/// Until when a server holds its KEXINIT back; `None` once it is sent.
pub(super) type SteeringWait = Option<Timestamp>;

/// Awaits the peer's identification.
pub(super) struct AwaitIdent {
    pub(super) greeting: String,
    pub(super) greeting_lines: u32,
    pub(super) own_kexinit: Option<Vec<u8>>,
    pub(super) steering: SteeringWait,
}

impl Phase {
    /// Whether this side may send packets of the layers above: not before the first keys, and not between its
    /// KEXINIT and its NEWKEYS.
    #[inline]
    pub(super) fn gives_upper_layers(&self) -> bool {
        matches!(self, Phase::Established | Phase::AwaitNewKeys(_))
    }

    /// Whether the peer may send them: not before the first keys, and not between its KEXINIT and its NEWKEYS.
    #[inline]
    pub(super) fn takes_upper_layers(&self) -> bool {
        matches!(self, Phase::Established | Phase::AwaitRekey(_))
    }

    /// Between both KEXINITs of a first exchange that is strict, and NEWKEYS.
    pub(super) fn is_strict_exchange(&self) -> bool {
        let terms = match self {
            Phase::AwaitKexRequest(state) => &state.exchange.terms,
            Phase::AwaitKexReply(state) => &state.exchange.terms,
            Phase::AwaitNewKeys(state) => return state.first && state.strict,
            _ => return false,
        };
        terms.first && terms.negotiated.strict
    }

    /// Whether this message is the one sent on a wrong guess; it is passed over once.
    pub(super) fn passes_over_guess(&mut self, number: u8) -> bool {
        self.exchange()
            .is_some_and(|exchange| (30..=49).contains(&number) && mem::take(&mut exchange.skip_guess))
    }

    fn exchange(&mut self) -> Option<&mut Exchange> {
        match self {
            Phase::AwaitKexRequest(state) => Some(&mut state.exchange),
            Phase::AwaitKexReply(state) => Some(&mut state.exchange),
            _ => None,
        }
    }

    /// Until when an own KEXINIT is held back.
    pub(super) fn steering(&self) -> SteeringWait {
        match self {
            Phase::AwaitIdent(state) => state.steering,
            Phase::AwaitKexInit(_, steering) => *steering,
            _ => None,
        }
    }

    /// Takes the payload of the KEXINIT that was held back and is sent now.
    pub(super) fn end_steering(&mut self, payload: Vec<u8>) {
        match self {
            Phase::AwaitIdent(state) => (state.own_kexinit, state.steering) = (Some(payload), None),
            Phase::AwaitKexInit(state, steering) => (state.own, *steering) = (Some(payload), None),
            _ => unreachable!("only these phases hold a KEXINIT back"),
        }
    }

    /// What is awaited, for an error.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            Phase::Unstarted | Phase::Ended => "nothing",
            Phase::AwaitIdent(_) => "an identification",
            Phase::AwaitKexInit(..) => "KEXINIT",
            Phase::AwaitKexRequest(_) => "KEX_ECDH_INIT",
            Phase::AwaitKexReply(_) => "KEX_ECDH_REPLY",
            Phase::AwaitNewKeys(_) => "NEWKEYS",
            Phase::Established | Phase::AwaitRekey(_) => "KEXINIT or messages of the layers above",
        }
    }

    /// The phase's name, for a person who debugs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Phase::Unstarted => "Unstarted",
            Phase::AwaitIdent(_) => "AwaitIdent",
            Phase::AwaitKexInit(..) => "AwaitKexInit",
            Phase::AwaitRekey(_) => "AwaitRekey",
            Phase::AwaitKexRequest(_) => "AwaitKexRequest",
            Phase::AwaitKexReply(_) => "AwaitKexReply",
            Phase::AwaitNewKeys(_) => "AwaitNewKeys",
            Phase::Established => "Established",
            Phase::Ended => "Ended",
        }
    }
}

impl From<AwaitMethod> for Phase {
    fn from(state: AwaitMethod) -> Phase {
        match state {
            AwaitMethod::Request(state) => Phase::AwaitKexRequest(Box::new(state)),
            AwaitMethod::Reply(state) => Phase::AwaitKexReply(Box::new(state)),
        }
    }
}

impl From<AwaitNewKeys> for Phase {
    fn from(state: AwaitNewKeys) -> Phase {
        Phase::AwaitNewKeys(Box::new(state))
    }
}
