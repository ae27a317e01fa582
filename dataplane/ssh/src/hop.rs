//! One side of one SSH transport connection.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use weir_crypto::random::Random;

use crate::algorithm::HostKeyAlgorithm;
use crate::config::TransportConfig;
use crate::error::{DisconnectReason, Error};
use crate::extensions::Extensions;
use crate::negotiation::Negotiated;

/// A point in time on a clock that never goes back, since an epoch of the caller's choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub Duration);

/// What a step may draw on from outside.
pub struct Env<'a> {
    /// The time of the step.
    pub now: Timestamp,
    /// Randomness for cookies and padding.
    pub random: &'a mut dyn Random,
}

/// A host key of this side.
#[derive(Debug)]
pub struct HostKey {
    _private: (),
}

/// Decides on a server's host key.
pub trait HostKeyCheck {
    /// The algorithms to ask for, best first, of those that are configured; `None` asks for all of them.
    fn algorithms(&self) -> Option<Vec<HostKeyAlgorithm>> {
        None
    }

    /// Whether the server may show this key or certificate (its blob). That it holds the private half is
    /// proved elsewhere, before anything is sent under the new keys. An error is the exact text for the user.
    fn check(&mut self, host_key: &[u8]) -> Result<(), String>;
}

/// What one call of [`Hop::receive`] did.
#[derive(Debug)]
pub struct Step {
    /// Bytes at the front of the buffer that are done with; the next call begins behind them.
    pub consumed: usize,
    /// What they meant.
    pub event: Event,
}

/// What came of the bytes received.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing was consumed and nothing changed.
    NeedMore {
        /// Bytes that the buffer must hold in all before another call is of use.
        at_least: usize,
    },
    /// The transport has dealt with it. What may be sealed can have changed: see [`Hop::can_seal`].
    Handled,
    /// New keys are in use in both directions.
    KeysInstalled {
        /// They are the first ones: a client may now ask for a service.
        first: bool,
    },
    /// The peer has begun an exchange of new keys.
    RekeyStarted,
    /// A packet for the layers above.
    Packet(Packet),
    /// The peer has said goodbye; nothing after it counts.
    Disconnected {
        /// RFC 4253 §11.1.
        reason: u32,
        /// The peer's words, made printable.
        text: String,
    },
}

/// A packet opened in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Message number and content, in the buffer that was given to [`Hop::receive`].
    pub payload: Range<usize>,
    /// Padding length, payload and padding: what [`Hop::reseal`] takes.
    pub body: Range<usize>,
}

/// One side of one SSH transport connection: bytes in, bytes and events out.
#[derive(Debug)]
pub struct Hop {
    config: Arc<TransportConfig>,
}

impl Hop {
    /// The side that clients connect to.
    pub fn server(config: Arc<TransportConfig>, host_keys: Arc<[HostKey]>) -> Hop {
        let _ = host_keys;
        Hop { config }
    }

    /// The side that connects to a server.
    pub fn client(config: Arc<TransportConfig>, host_key_check: Box<dyn HostKeyCheck>) -> Hop {
        let _ = host_key_check;
        Hop { config }
    }

    /// Begins: appends the identification to `out`, for a client its KEXINIT too. Called once, first.
    pub fn start(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) {
        pending(self, env, out)
    }

    /// One step over `buf`, the bytes received and not yet consumed. Decrypts in place; appends what this side
    /// answers by itself to `out`.
    ///
    /// # Errors
    /// After an error the connection is over; [`disconnect`](Hop::disconnect) tells the peer why.
    pub fn receive(&mut self, env: &mut Env<'_>, buf: &mut [u8], out: &mut Vec<u8>) -> Result<Step, Error> {
        let _ = buf;
        pending(self, env, out)
    }

    /// When [`handle_timeout`](Hop::handle_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// Does what is due: sends a KEXINIT that waited for the client's. Afterwards see [`wants_rekey`](Hop::wants_rekey).
    ///
    /// # Errors
    /// [`Error::TooSlow`] if the peer should have been authenticated by now.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        pending(self, env, out)
    }

    /// Whether packets of the layers above may be sealed now: not before the first keys, and not between
    /// this side's KEXINIT and its NEWKEYS.
    pub fn can_seal(&self) -> bool {
        false
    }

    /// Appends one packet of the layers above to `out`.
    ///
    /// # Errors
    /// [`Error::Misuse`] if [`can_seal`](Hop::can_seal) is false, or the payload is empty or too long.
    pub fn seal(&mut self, env: &mut Env<'_>, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let _ = payload;
        pending(self, env, out)
    }

    /// Like [`seal`](Hop::seal) for a packet's `body` as another hop has opened it. Where the layouts of both
    /// ciphers agree, the packet is sealed straight from there into `out`, its padding included.
    ///
    /// # Errors
    /// As for [`seal`](Hop::seal).
    pub fn reseal(&mut self, env: &mut Env<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let _ = body;
        pending(self, env, out)
    }

    /// Whether an exchange of new keys is under way.
    pub fn is_rekeying(&self) -> bool {
        false
    }

    /// Whether this side's limits ask for new keys. The caller chooses the moment.
    pub fn wants_rekey(&self, now: Timestamp) -> bool {
        let _ = now;
        false
    }

    /// Begins an exchange of new keys; does nothing if one is under way.
    pub fn start_rekey(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) {
        pending(self, env, out)
    }

    /// The session identifier: the first exchange hash. `None` before the first keys.
    pub fn session_id(&self) -> Option<&[u8]> {
        None
    }

    /// The peer's identification without its line end; empty until it has come.
    pub fn peer_ident(&self) -> &str {
        ""
    }

    /// What a server said before its identification, made printable: a notice, or why it drops the connection.
    /// Empty once the identification has come.
    pub fn greeting(&self) -> &str {
        ""
    }

    /// The algorithms in use.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        None
    }

    /// The blob of the host key in use: the server's own, or the one that the server has shown and that was checked.
    pub fn host_key(&self) -> Option<&[u8]> {
        None
    }

    /// What the peer can do beyond the protocol.
    pub fn peer_extensions(&self) -> &Extensions {
        pending(self, (), ())
    }

    /// The peer is authenticated: the allowances for strangers no longer apply.
    pub fn set_authenticated(&mut self) {
        pending(self, (), ())
    }

    /// Appends a DISCONNECT. Nothing may be sealed afterwards.
    pub fn disconnect(&mut self, env: &mut Env<'_>, reason: DisconnectReason, text: &str, out: &mut Vec<u8>) {
        let _ = (reason, text);
        pending(self, env, out)
    }
}

fn pending<A, B>(hop: &Hop, _: A, _: B) -> ! {
    panic!("{:?} has no state machine yet", hop.config.ident)
}
