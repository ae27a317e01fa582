//! One side of one SSH transport connection: bytes in, bytes and events out.

mod allowance;
mod phase;
mod receive;

use std::fmt;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use weir_crypto::random::Random;

use crate::algorithm::HostKeyAlgorithm;
use crate::config::TransportConfig;
use crate::error::{DisconnectReason, Error};
use crate::extensions::Extensions;
use crate::handshake::{AwaitKexInit, Core, HostKeyProof, Role};
use crate::key::HostKey;
use crate::negotiation::{Negotiated, Side};
use crate::packet::{Opener, SAFE_BYTES, SAFE_PACKETS, SealPoint, Sealer, Usage};
use crate::wire::{Writer, msg};
use allowance::Allowance;
use phase::{AwaitIdent, Phase};

/// A point in time on a clock that never goes back, since an epoch of the caller's choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub Duration);

/// What a step may draw on from outside.
pub struct Env<'a> {
    /// The time of the step.
    pub now: Timestamp,
    /// Randomness for cookies and padding.
    pub random: &'a mut dyn Random,
}

/// Decides on a server's host key.
pub trait HostKeyCheck: Send {
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
pub struct Hop {
    core: Core,
    phase: Phase,
    opener: Opener,
    extensions: Extensions,
    ext_infos: u8,
    /// What is left of a stranger's allowance; none for an authenticated peer.
    allowance: Option<Allowance>,
    /// A timer has told of the age of the current keys.
    age_told: bool,
    /// By when an authenticated peer that has begun to exchange keys must be done.
    exchange_deadline: Option<Timestamp>,
}

impl Hop {
    /// The side that clients connect to.
    pub fn server(config: Arc<TransportConfig>, host_keys: Arc<[HostKey]>) -> Hop {
        Hop::new(
            config,
            Role::Server {
                keys: host_keys,
                shown: None,
            },
        )
    }

    /// The side that connects to a server.
    pub fn client(config: Arc<TransportConfig>, host_key_check: Box<dyn HostKeyCheck>) -> Hop {
        Hop::new(
            config,
            Role::Client {
                check: host_key_check,
                accepted: None,
                proof: None,
            },
        )
    }

    fn new(config: Arc<TransportConfig>, role: Role) -> Hop {
        Hop {
            core: Core {
                config,
                role,
                sealer: Sealer::new(),
                peer_ident: Box::default(),
                session: None,
                gcm_only: false,
                farewell_said: false,
            },
            phase: Phase::Unstarted,
            opener: Opener::new(),
            extensions: Extensions::default(),
            ext_infos: 0,
            allowance: None,
            age_told: false,
            exchange_deadline: None,
        }
    }

    /// Begins: appends the identification to `out`, for a client its KEXINIT too.
    ///
    /// # Panics
    /// If called twice.
    pub fn start(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) {
        assert!(matches!(self.phase, Phase::Unstarted), "a hop is started once");
        out.put_bytes(self.core.config.ident.as_bytes());
        out.put_bytes(b"\r\n");
        let limits = &self.core.config.limits;
        self.allowance = Some(Allowance::new(limits, env.now));
        let steering = env.now.after(limits.steering_wait);
        let (own_kexinit, steering) = match self.core.side() {
            Side::Client => (self.core.send_kexinit(env, out).ok(), None),
            Side::Server => (None, Some(steering)),
        };
        let state = AwaitIdent {
            greeting: String::new(),
            greeting_lines: 0,
            own_kexinit,
            steering,
        };
        self.phase = Phase::AwaitIdent(Box::new(state));
    }

    /// One step over `buf`, the bytes received and not yet consumed. Decrypts in place; appends what this side
    /// answers by itself to `out`.
    ///
    /// # Errors
    /// After an error the connection is over; [`disconnect`](Hop::disconnect) tells the peer why.
    #[inline]
    pub fn receive(&mut self, env: &mut Env<'_>, buf: &mut [u8], out: &mut Vec<u8>) -> Result<Step, Error> {
        let step = match self.phase {
            Phase::Unstarted | Phase::Ended => {
                Err(Error::Misuse("a hop receives between its start and its end"))
            }
            Phase::AwaitIdent(_) => self.receive_line(buf),
            _ => self.receive_packet(env, buf, out),
        };
        if step.is_err() {
            self.phase = Phase::Ended;
        }
        step
    }

    /// When [`handle_timeout`](Hop::handle_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        if matches!(self.phase, Phase::Unstarted | Phase::Ended) {
            return None;
        }
        let deadline = self.allowance.as_ref().map(Allowance::deadline);
        let aged = self.keys_age_at().filter(|_| !self.age_told);
        [self.phase.steering(), deadline, self.exchange_deadline, aged]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: sends a KEXINIT that waited for the client's. Afterwards see [`wants_rekey`](Hop::wants_rekey).
    ///
    /// # Errors
    /// [`Error::TooSlow`] if the peer should have been authenticated by now, [`Error::ExchangeTooSlow`] if it should
    /// have come to the end of the key exchange that it is in.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let late = |allowance: &Allowance| env.now >= allowance.deadline();
        if self.next_timeout().is_some() && self.allowance.as_ref().is_some_and(late) {
            self.phase = Phase::Ended;
            let seconds = self.core.config.limits.unauthenticated_time.as_secs();
            return Err(Error::TooSlow { seconds });
        }
        if self.exchange_deadline.is_some_and(|due| env.now >= due) {
            self.phase = Phase::Ended;
            let seconds = self.core.config.limits.exchange_time.as_secs();
            return Err(Error::ExchangeTooSlow { seconds });
        }
        if self.phase.steering().is_some_and(|until| env.now >= until) {
            let payload = self.core.send_kexinit(env, out)?;
            self.phase.end_steering(payload);
        }
        self.age_told |= self.keys_age_at().is_some_and(|at| env.now >= at);
        Ok(())
    }

    /// Whether packets of the layers above may be sealed now: not before the first keys, and not between
    /// this side's KEXINIT and its NEWKEYS.
    #[inline]
    pub fn can_seal(&self) -> bool {
        self.phase.gives_upper_layers()
    }

    /// Appends one packet of the layers above to `out`.
    ///
    /// # Errors
    /// [`Error::Misuse`] if [`can_seal`](Hop::can_seal) is false, or the payload is empty or too long.
    pub fn seal(&mut self, env: &mut Env<'_>, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.check_seal(payload, MAX_PAYLOAD)?;
        self.core.sealer.seal(env.random, payload, out)
    }

    /// Like [`seal`](Hop::seal) for a packet's `body` as another hop has opened it. Where the layouts of both
    /// ciphers agree, the packet is sealed straight from there into `out`, its padding included.
    ///
    /// # Errors
    /// As for [`seal`](Hop::seal).
    #[inline]
    pub fn reseal(&mut self, env: &mut Env<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.check_seal(body, MAX_BODY)?;
        self.core.sealer.reseal(env.random, body, out)
    }

    #[inline]
    fn check_seal(&self, bytes: &[u8], max: usize) -> Result<(), Error> {
        if !self.can_seal() {
            return Err(Error::Misuse(
                "packets are sealed when keys are in use and not being exchanged",
            ));
        }
        if bytes.is_empty() || bytes.len() > max {
            return Err(Error::Misuse(
                "a packet has a payload and is no longer than 256 KiB",
            ));
        }
        Ok(())
    }

    /// Answers the packet that was received last with UNIMPLEMENTED (RFC 4253 §11.4), which RFC 4253 §7.1 permits
    /// during a key exchange too.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the keys are used up, or there are none yet.
    pub fn unimplemented(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.core.session.is_none() {
            return Err(Error::Misuse("packets are answered when keys are in use"));
        }
        let mut reply = vec![msg::UNIMPLEMENTED];
        reply.put_u32(self.opener.usage.sequence.wrapping_sub(1));
        self.core.sealer.seal(env.random, &reply, out)
    }

    /// Whether an exchange of new keys is under way.
    pub fn is_rekeying(&self) -> bool {
        self.core.session.is_some() && !matches!(self.phase, Phase::Established | Phase::Ended)
    }

    /// Whether this side's limits ask for new keys. The caller chooses the moment; what waits for it is bounded by the
    /// ciphers' safe limits, beyond which nothing is sealed or opened.
    pub fn wants_rekey(&self, now: Timestamp) -> bool {
        let Some(aged) = self.keys_age_at() else {
            return false;
        };
        let limit = self.core.config.rekey.bytes.min(SAFE_BYTES);
        let worn = |usage: &Usage| usage.bytes >= limit || usage.packets >= SAFE_PACKETS;
        now >= aged || worn(&self.core.sealer.usage) || worn(&self.opener.usage)
    }

    /// Begins an exchange of new keys; does nothing while one is under way, or before the peer is authenticated,
    /// when OpenSSH takes a KEXINIT for a violation.
    pub fn start_rekey(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) {
        if self.keys_age_at().is_some()
            && let Ok(payload) = self.core.send_kexinit(env, out)
        {
            self.phase = Phase::AwaitRekey(AwaitKexInit { own: Some(payload) });
        }
    }

    /// The session identifier: the first exchange hash. `None` before the first keys.
    pub fn session_id(&self) -> Option<&[u8]> {
        self.core.session.as_ref().map(|session| session.id.as_ref())
    }

    /// The peer's identification without its line end; empty until it has come.
    pub fn peer_ident(&self) -> &str {
        &self.core.peer_ident
    }

    /// What a server said before its identification, made printable: a notice, or why it drops the connection.
    /// Empty once the identification has come.
    pub fn greeting(&self) -> &str {
        match &self.phase {
            Phase::AwaitIdent(state) => &state.greeting,
            _ => "",
        }
    }

    /// The algorithms in use.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.core.session.as_ref().map(|session| &session.negotiated)
    }

    /// The blob of the host key in use: a server's own, or the one that the server has shown and that was
    /// accepted. A client keeps the latter until [`set_authenticated`](Hop::set_authenticated).
    pub fn host_key(&self) -> Option<&[u8]> {
        match &self.core.role {
            Role::Server { keys, shown } => shown.map(|index| keys[index].blob()),
            Role::Client { proof, .. } => proof.as_ref().map(|proof| &proof.host_key[..]),
        }
    }

    /// A client's proof that it speaks to that host in this session, for `session-bind@openssh.com`; kept until
    /// [`set_authenticated`](Hop::set_authenticated).
    pub fn host_key_proof(&self) -> Option<&HostKeyProof> {
        match &self.core.role {
            Role::Server { .. } => None,
            Role::Client { proof, .. } => proof.as_deref(),
        }
    }

    /// What the peer can do beyond the protocol.
    pub fn peer_extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The peer is authenticated: the allowances for strangers no longer apply, and what only authentication needs
    /// is dropped.
    pub fn set_authenticated(&mut self) {
        self.allowance = None;
        if let Role::Client { proof, .. } = &mut self.core.role {
            *proof = None;
        }
    }

    /// Appends a DISCONNECT. Nothing may be sealed or received afterwards.
    pub fn disconnect(&mut self, env: &mut Env<'_>, reason: DisconnectReason, text: &str, out: &mut Vec<u8>) {
        let started = !matches!(self.phase, Phase::Unstarted);
        self.phase = Phase::Ended;
        if started && !mem::replace(&mut self.core.farewell_said, true) {
            let mut payload = vec![msg::DISCONNECT];
            payload.put_u32(reason.code());
            payload.put_string(text);
            payload.put_string("");
            // With its keys used up this side leaves without a word.
            let _ = self.core.sealer.seal(env.random, &payload, out);
        }
    }

    /// Where sealing stands, for [`disconnect_instead`](Hop::disconnect_instead).
    pub fn seal_point(&self) -> SealPoint {
        self.core.sealer.point()
    }

    /// Appends a DISCONNECT in the place of all that was sealed since `point`, which the caller has dropped and of which not one
    /// byte may have been sent. Says nothing, and returns false, if keys have changed since. Nothing may be sealed or
    /// received afterwards: so what takes the place of the dropped packets is this one packet.
    pub fn disconnect_instead(
        &mut self,
        point: &SealPoint,
        env: &mut Env<'_>,
        reason: DisconnectReason,
        text: &str,
        out: &mut Vec<u8>,
    ) -> bool {
        if !self.core.sealer.rewind(point) {
            self.phase = Phase::Ended;
            self.core.farewell_said = true;
            return false;
        }
        self.core.farewell_said = false;
        self.disconnect(env, reason, text, out);
        true
    }

    /// When the keys in use are as old as they should get; `None` while others are on their way or may not be.
    fn keys_age_at(&self) -> Option<Timestamp> {
        match (&self.phase, &self.core.session) {
            (Phase::Established, Some(session)) if self.allowance.is_none() => {
                Some(session.keys_since.after(self.core.config.rekey.interval))
            }
            _ => None,
        }
    }
}

/// The longest body that is sealed: what OpenSSH takes (`PACKET_MAX_SIZE`), and this side, too.
const MAX_BODY: usize = 256 * 1024;

/// The longest payload that is sealed: with its padding, of less than two blocks, it is still a body.
const MAX_PAYLOAD: usize = MAX_BODY - 32;

impl Timestamp {
    /// The time that much later.
    pub fn after(self, time: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(time))
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hop")
            .field("side", &self.core.side())
            .field("phase", &self.phase.name())
            .field("peer_ident", &self.core.peer_ident)
            .field("negotiated", &self.negotiated())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
