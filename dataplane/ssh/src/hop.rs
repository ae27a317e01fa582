//! One side of one SSH transport connection: packets in, packets out, and the phase that decides which may come.
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
//! A wrong guess (RFC 4253 §7.1) is passed over once where it was announced. Whatever is not listed ends the connection.

use std::fmt;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use weir_crypto::random::Random;

use crate::algorithm::HostKeyAlgorithm;
use crate::config::TransportConfig;
use crate::error::{DisconnectReason, Error, Misbehaviour};
use crate::extensions::Extensions;
use crate::handshake::{
    AwaitKexInit, AwaitKexReply, AwaitKexRequest, AwaitMethod, AwaitNewKeys, Core, HostKeyProof, Role,
};
use crate::ident::{self, Line, printable};
use crate::key::HostKey;
use crate::negotiation::{Negotiated, Side};
use crate::packet::{Opened, Opener, SAFE_BYTES, SAFE_PACKETS, Sealer};
use crate::wire::{Reader, Writer, msg};

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
}

/// Rare and large states are boxed, so that a hop at rest is small.
enum Phase {
    Unstarted,
    AwaitIdent(Box<AwaitIdent>),
    AwaitKexInit(AwaitKexInit, SteeringWait),
    AwaitKexRequest(Box<AwaitKexRequest>),
    AwaitKexReply(Box<AwaitKexReply>),
    AwaitNewKeys(Box<AwaitNewKeys>),
    Established,
    Ended,
}

/// Until when a server holds its KEXINIT back; `None` once it is sent.
type SteeringWait = Option<Timestamp>;

struct AwaitIdent {
    greeting: String,
    greeting_lines: u32,
    own_kexinit: Option<Vec<u8>>,
    steering: SteeringWait,
}

/// What a peer may use up before it is authenticated.
struct Allowance {
    bytes: u64,
    packets: u64,
    deadline: Timestamp,
}

/// Bytes of a server's greeting that are kept for people.
const GREETING_KEPT: usize = 1024;
/// Bytes of a peer's farewell that are kept for people.
const FAREWELL_KEPT: usize = 1024;

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
        self.allowance = Some(Allowance {
            bytes: limits.unauthenticated_bytes,
            packets: limits.unauthenticated_packets,
            deadline: env.now.after(limits.unauthenticated_time),
        });
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
        let deadline = self.allowance.as_ref().map(|allowance| allowance.deadline);
        let aged = self.keys_age_at().filter(|_| !self.age_told);
        [self.steering(), deadline, aged].into_iter().flatten().min()
    }

    /// Does what is due: sends a KEXINIT that waited for the client's. Afterwards see [`wants_rekey`](Hop::wants_rekey).
    ///
    /// # Errors
    /// [`Error::TooSlow`] if the peer should have been authenticated by now.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let late = |allowance: &Allowance| env.now >= allowance.deadline;
        if self.next_timeout().is_some() && self.allowance.as_ref().is_some_and(late) {
            self.phase = Phase::Ended;
            let seconds = self.core.config.limits.unauthenticated_time.as_secs();
            return Err(Error::TooSlow { seconds });
        }
        if self.steering().is_some_and(|until| env.now >= until) {
            let payload = self.core.send_kexinit(env, out)?;
            match &mut self.phase {
                Phase::AwaitIdent(state) => (state.own_kexinit, state.steering) = (Some(payload), None),
                Phase::AwaitKexInit(state, steering) => (state.own, *steering) = (Some(payload), None),
                _ => unreachable!("only these phases hold a KEXINIT back"),
            }
        }
        self.age_told |= self.keys_age_at().is_some_and(|at| env.now >= at);
        Ok(())
    }

    /// Whether packets of the layers above may be sealed now: not before the first keys, and not between
    /// this side's KEXINIT and its NEWKEYS.
    #[inline]
    pub fn can_seal(&self) -> bool {
        matches!(self.phase, Phase::Established | Phase::AwaitNewKeys(_))
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

    /// Answers the packet that was received last with UNIMPLEMENTED (RFC 4253 §11.4).
    ///
    /// # Errors
    /// As for [`seal`](Hop::seal).
    pub fn unimplemented(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut reply = vec![msg::UNIMPLEMENTED];
        reply.put_u32(self.opener.usage.sequence.wrapping_sub(1));
        self.seal(env, &reply, out)
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
        let worn = |usage: &crate::packet::Usage| usage.bytes >= limit || usage.packets >= SAFE_PACKETS;
        now >= aged || worn(&self.core.sealer.usage) || worn(&self.opener.usage)
    }

    /// Begins an exchange of new keys; does nothing while one is under way, or before the peer is authenticated,
    /// when OpenSSH takes a KEXINIT for a violation.
    pub fn start_rekey(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) {
        if self.keys_age_at().is_some()
            && let Ok(payload) = self.core.send_kexinit(env, out)
        {
            self.phase = Phase::AwaitKexInit(AwaitKexInit { own: Some(payload) }, None);
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

    fn steering(&self) -> SteeringWait {
        match &self.phase {
            Phase::AwaitIdent(state) => state.steering,
            Phase::AwaitKexInit(_, steering) => *steering,
            _ => None,
        }
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

    fn receive_line(&mut self, buf: &[u8]) -> Result<Step, Error> {
        let line = match self.core.side() {
            Side::Server => ident::read_client_line(buf)?,
            Side::Client => ident::read_server_line(buf)?,
        };
        let Phase::AwaitIdent(state) = &mut self.phase else {
            unreachable!("lines are read while the identification is awaited")
        };
        let consumed = match line {
            Line::Unfinished => {
                return Ok(Step {
                    consumed: 0,
                    event: Event::NeedMore {
                        at_least: buf.len() + 1,
                    },
                });
            }
            Line::Greeting { consumed, text } => {
                state.greeting_lines += 1;
                if state.greeting_lines > self.core.config.limits.greeting_lines {
                    return Err(Misbehaviour::Greeting("too many lines before the identification").into());
                }
                let room = GREETING_KEPT.saturating_sub(state.greeting.len());
                if !state.greeting.is_empty() && room > 0 {
                    state.greeting.push('\n');
                }
                state.greeting.push_str(&printable(text, room));
                consumed
            }
            Line::Ident { consumed, ident } => {
                if ident.starts_with("SSH-2.0-OpenSSH_") {
                    state.steering = state.steering.map(|until| until.after(OPENSSH_STEERING_WAIT));
                }
                self.core.peer_ident = ident.into();
                let kexinit = AwaitKexInit {
                    own: state.own_kexinit.take(),
                };
                self.phase = Phase::AwaitKexInit(kexinit, state.steering);
                consumed
            }
        };
        Ok(Step {
            consumed,
            event: Event::Handled,
        })
    }

    #[inline]
    fn receive_packet(
        &mut self,
        env: &mut Env<'_>,
        buf: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Step, Error> {
        let limit = match self.core.session {
            Some(_) => self.core.config.limits.packet_bytes,
            None => self.core.config.limits.packet_bytes.min(FIRST_PACKET_BYTES),
        };
        let (consumed, packet) = match self.opener.open(buf, limit)? {
            Opened::NeedMore { at_least } => {
                self.check_allowance(at_least)?;
                return Ok(Step {
                    consumed: 0,
                    event: Event::NeedMore { at_least },
                });
            }
            Opened::Packet { consumed, packet } => (consumed, packet),
        };
        self.use_allowance(consumed)?;
        let number = buf[packet.payload.start];
        let event = if is_of_upper_layers(number) {
            if !self.takes_upper_layers() {
                return Err(self.unexpected(number));
            }
            Event::Packet(packet)
        } else {
            self.receive_message(env, &buf[packet.payload], out)?
        };
        Ok(Step { consumed, event })
    }

    /// Deals with a message of the transport itself.
    fn receive_message(
        &mut self,
        env: &mut Env<'_>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Event, Error> {
        let number = payload[0];
        match number {
            msg::DISCONNECT => Ok(self.receive_disconnect(payload)),
            msg::IGNORE | msg::DEBUG | msg::UNIMPLEMENTED if !self.is_in_strict_exchange() => {
                Ok(Event::Handled)
            }
            msg::EXT_INFO if self.takes_ext_info() => {
                self.ext_infos += 1;
                self.extensions.receive(&payload[1..])?;
                Ok(Event::Handled)
            }
            // RFC 4253 §11.4: "An implementation MUST respond to all unrecognized messages with an
            // SSH_MSG_UNIMPLEMENTED message".
            8..=19 | 22..=29 if matches!(self.phase, Phase::Established) => {
                self.unimplemented(env, out)?;
                Ok(Event::Handled)
            }
            msg::KEXINIT..=49 => self.receive_kex(env, payload, out),
            _ => Err(self.unexpected(number)),
        }
    }

    /// Takes the phase one step on. Each state is consumed by what it awaits.
    fn receive_kex(&mut self, env: &mut Env<'_>, payload: &[u8], out: &mut Vec<u8>) -> Result<Event, Error> {
        if self.passes_over_guess(payload[0]) {
            return Ok(Event::Handled);
        }
        let unexpected = self.unexpected(payload[0]);
        let core = &mut self.core;
        let (phase, event) = match (mem::replace(&mut self.phase, Phase::Ended), payload[0]) {
            // An exchange costs a signature, and a stranger is owed one.
            (Phase::Established, msg::KEXINIT) if self.allowance.is_none() => {
                let state = AwaitKexInit { own: None };
                (
                    state.receive(core, env, payload, 0, out)?.into(),
                    Event::RekeyStarted,
                )
            }
            (Phase::AwaitKexInit(state, _), msg::KEXINIT) => {
                let packets_before = self.opener.usage.packets - 1;
                (
                    state.receive(core, env, payload, packets_before, out)?.into(),
                    Event::Handled,
                )
            }
            (Phase::AwaitKexRequest(state), msg::KEX_ECDH_INIT) => {
                let next = state.receive(core, env, payload, out)?;
                (Phase::AwaitNewKeys(Box::new(next)), Event::Handled)
            }
            (Phase::AwaitKexReply(state), msg::KEX_ECDH_REPLY) => {
                let next = state.receive(core, env, payload, out)?;
                (Phase::AwaitNewKeys(Box::new(next)), Event::Handled)
            }
            (Phase::AwaitNewKeys(state), msg::NEWKEYS) => {
                let AwaitNewKeys { keys, first, strict } = *state;
                Reader::new(&payload[1..])
                    .finish()
                    .map_err(Error::malformed("NEWKEYS"))?;
                self.opener.install(keys, strict);
                self.age_told = false;
                (Phase::Established, Event::KeysInstalled { first })
            }
            _ => return Err(unexpected),
        };
        self.phase = phase;
        Ok(event)
    }

    fn receive_disconnect(&mut self, payload: &[u8]) -> Event {
        let mut reader = Reader::new(&payload[1..]);
        // Some peers leave the words out, and one that leaves need not be corrected.
        let reason = reader.u32().unwrap_or(DisconnectReason::ByApplication.code());
        let text = reader
            .string()
            .map_or(String::new(), |text| printable(text, FAREWELL_KEPT));
        self.phase = Phase::Ended;
        Event::Disconnected { reason, text }
    }

    /// Whether this message is the one sent on a wrong guess; it is passed over once.
    fn passes_over_guess(&mut self, number: u8) -> bool {
        let exchange = match &mut self.phase {
            Phase::AwaitKexRequest(state) => &mut state.exchange,
            Phase::AwaitKexReply(state) => &mut state.exchange,
            _ => return false,
        };
        (30..=49).contains(&number) && mem::take(&mut exchange.skip_guess)
    }

    /// Between both KEXINITs of a first exchange that is strict, and NEWKEYS.
    fn is_in_strict_exchange(&self) -> bool {
        let terms = match &self.phase {
            Phase::AwaitKexRequest(state) => &state.exchange.terms,
            Phase::AwaitKexReply(state) => &state.exchange.terms,
            Phase::AwaitNewKeys(state) => return state.first && state.strict,
            _ => return false,
        };
        terms.first && terms.negotiated.strict
    }

    /// Whether the peer may send packets of the layers above: not before the first keys, and not between its
    /// KEXINIT and its NEWKEYS.
    #[inline]
    fn takes_upper_layers(&self) -> bool {
        match self.phase {
            Phase::Established => true,
            Phase::AwaitKexInit(..) => self.core.session.is_some(),
            _ => false,
        }
    }

    /// RFC 8308 §2.4: a client's may follow its first NEWKEYS; a server's that, and precede USERAUTH_SUCCESS.
    fn takes_ext_info(&self) -> bool {
        let most = match self.core.side() {
            Side::Client => 2,
            Side::Server => 1,
        };
        self.takes_upper_layers() && self.allowance.is_some() && self.ext_infos < most
    }

    fn check_allowance(&self, bytes: usize) -> Result<(), Error> {
        match &self.allowance {
            Some(allowance) if allowance.bytes < bytes as u64 => {
                let limit = self.core.config.limits.unauthenticated_bytes;
                Err(Misbehaviour::Budget { limit, unit: "bytes" }.into())
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn use_allowance(&mut self, bytes: usize) -> Result<(), Error> {
        self.check_allowance(bytes)?;
        let Some(allowance) = &mut self.allowance else {
            return Ok(());
        };
        let Some(packets) = allowance.packets.checked_sub(1) else {
            let limit = self.core.config.limits.unauthenticated_packets;
            return Err(Misbehaviour::Budget {
                limit,
                unit: "packets",
            }
            .into());
        };
        allowance.packets = packets;
        allowance.bytes -= bytes as u64;
        Ok(())
    }

    fn unexpected(&self, got: u8) -> Error {
        let expected = match &self.phase {
            Phase::Unstarted | Phase::Ended => "nothing",
            Phase::AwaitIdent(_) => "an identification",
            Phase::AwaitKexInit(..) if self.core.session.is_none() => "KEXINIT",
            Phase::AwaitKexInit(..) => "KEXINIT or messages of the layers above",
            Phase::AwaitKexRequest(_) => "KEX_ECDH_INIT",
            Phase::AwaitKexReply(_) => "KEX_ECDH_REPLY",
            Phase::AwaitNewKeys(_) => "NEWKEYS",
            Phase::Established => "KEXINIT or messages of the layers above",
        };
        Misbehaviour::Unexpected { got, expected }.into()
    }
}

/// The longest body that is sealed: what OpenSSH takes (`PACKET_MAX_SIZE`), and this side, too.
const MAX_BODY: usize = 256 * 1024;

/// The longest payload that is sealed: with its padding, of less than two blocks, it is still a body.
const MAX_PAYLOAD: usize = MAX_BODY - 32;

/// RFC 4253 §6.1: "All implementations MUST be able to process packets with an uncompressed payload length of 32768
/// bytes or less and a total packet size of 35000 bytes or less". A key exchange needs no more.
const FIRST_PACKET_BYTES: u32 = 35_000;

/// How much longer an OpenSSH client's KEXINIT is waited for. It never waits for ours, but sends its own only when it
/// has our identification: a round trip later, however long that is.
const OPENSSH_STEERING_WAIT: Duration = Duration::from_secs(2);

/// Whether a message belongs to the layers above: services, authentication, connections and what is not assigned.
#[inline]
fn is_of_upper_layers(number: u8) -> bool {
    matches!(number, msg::SERVICE_REQUEST | msg::SERVICE_ACCEPT | 50..)
}

impl From<AwaitMethod> for Phase {
    fn from(state: AwaitMethod) -> Phase {
        match state {
            AwaitMethod::Request(state) => Phase::AwaitKexRequest(Box::new(state)),
            AwaitMethod::Reply(state) => Phase::AwaitKexReply(Box::new(state)),
        }
    }
}

impl Timestamp {
    /// The time that much later.
    pub fn after(self, time: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(time))
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Unstarted => "Unstarted",
            Phase::AwaitIdent(_) => "AwaitIdent",
            Phase::AwaitKexInit(..) => "AwaitKexInit",
            Phase::AwaitKexRequest(_) => "AwaitKexRequest",
            Phase::AwaitKexReply(_) => "AwaitKexReply",
            Phase::AwaitNewKeys(_) => "AwaitNewKeys",
            Phase::Established => "Established",
            Phase::Ended => "Ended",
        };
        f.debug_struct("Hop")
            .field("side", &self.core.side())
            .field("phase", &phase)
            .field("peer_ident", &self.core.peer_ident)
            .field("negotiated", &self.negotiated())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
