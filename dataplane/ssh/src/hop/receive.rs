//! Receiving: lines, then packets, each a step of the [phase](super::phase).

use std::mem;
use std::time::Duration;

use super::phase::Phase;
use super::{Env, Event, Hop, Step};
use crate::error::{DisconnectReason, Error, Misbehaviour};
use crate::handshake::{AwaitKexInit, AwaitNewKeys};
use crate::ident::{self, Line, printable};
use crate::negotiation::Side;
use crate::packet::Opened;
use crate::wire::{Reader, msg};

/// Bytes of a server's greeting that are kept for people.
const GREETING_KEPT: usize = 1024;
/// Bytes of a peer's farewell that are kept for people.
const FAREWELL_KEPT: usize = 1024;

/// RFC 4253 §6.1: "All implementations MUST be able to process packets with an uncompressed payload length of 32768
/// bytes or less and a total packet size of 35000 bytes or less". A key exchange needs no more.
const FIRST_PACKET_BYTES: u32 = 35_000;

/// How much longer an OpenSSH client's KEXINIT is waited for. It never waits for ours, but sends its own only when it
/// has our identification: a round trip later, however long that is.
const OPENSSH_STEERING_WAIT: Duration = Duration::from_secs(2);

impl Hop {
    pub(super) fn receive_line(&mut self, buf: &[u8]) -> Result<Step, Error> {
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
    pub(super) fn receive_packet(
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
                if let Some(allowance) = &self.allowance {
                    allowance.check(at_least, &self.core.config.limits)?;
                }
                return Ok(Step {
                    consumed: 0,
                    event: Event::NeedMore { at_least },
                });
            }
            Opened::Packet { consumed, packet } => (consumed, packet),
        };
        if let Some(allowance) = &mut self.allowance {
            allowance.spend(consumed, &self.core.config.limits)?;
        }
        let number = buf[packet.payload.start];
        let event = if is_of_upper_layers(number) {
            if !self.phase.takes_upper_layers() {
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
            msg::IGNORE | msg::DEBUG | msg::UNIMPLEMENTED if !self.phase.is_strict_exchange() => {
                Ok(Event::Handled)
            }
            msg::EXT_INFO if self.takes_ext_info() => {
                self.ext_infos += 1;
                self.extensions.receive(&payload[1..])?;
                Ok(Event::Handled)
            }
            // RFC 4253 §11.4: "An implementation MUST respond to all unrecognized messages with an
            // SSH_MSG_UNIMPLEMENTED message".
            8..=19 | 22..=29 if self.phase.takes_upper_layers() => {
                self.unimplemented(env, out)?;
                Ok(Event::Handled)
            }
            msg::KEXINIT..=49 => self.receive_kex(env, payload, out),
            _ => Err(self.unexpected(number)),
        }
    }

    /// Takes the phase one step on. Each state is consumed by what it awaits.
    fn receive_kex(&mut self, env: &mut Env<'_>, payload: &[u8], out: &mut Vec<u8>) -> Result<Event, Error> {
        if self.phase.passes_over_guess(payload[0]) {
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
            (Phase::AwaitRekey(state), msg::KEXINIT) => {
                (state.receive(core, env, payload, 0, out)?.into(), Event::Handled)
            }
            (Phase::AwaitKexInit(state, _), msg::KEXINIT) => {
                let packets_before = self.opener.usage.packets - 1;
                (
                    state.receive(core, env, payload, packets_before, out)?.into(),
                    Event::Handled,
                )
            }
            (Phase::AwaitKexRequest(state), msg::KEX_ECDH_INIT) => {
                (state.receive(core, env, payload, out)?.into(), Event::Handled)
            }
            (Phase::AwaitKexReply(state), msg::KEX_ECDH_REPLY) => {
                (state.receive(core, env, payload, out)?.into(), Event::Handled)
            }
            (Phase::AwaitNewKeys(state), msg::NEWKEYS) => {
                let AwaitNewKeys { keys, first, strict } = *state;
                Reader::new(&payload[1..])
                    .finish()
                    .map_err(Error::malformed("NEWKEYS"))?;
                self.opener.install(keys, strict);
                self.age_told = false;
                self.exchange_deadline = None;
                (Phase::Established, Event::KeysInstalled { first })
            }
            _ => return Err(unexpected),
        };
        self.phase = phase;
        if payload[0] == msg::KEXINIT && self.allowance.is_none() {
            self.exchange_deadline = Some(env.now.after(self.core.config.limits.exchange_time));
        }
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

    /// RFC 8308 §2.4: a client's may follow its first NEWKEYS; a server's that, and precede USERAUTH_SUCCESS.
    fn takes_ext_info(&self) -> bool {
        let most = match self.core.side() {
            Side::Client => 2,
            Side::Server => 1,
        };
        self.phase.takes_upper_layers() && self.allowance.is_some() && self.ext_infos < most
    }

    fn unexpected(&self, got: u8) -> Error {
        let expected = self.phase.expected();
        Misbehaviour::Unexpected { got, expected }.into()
    }
}

/// Whether a message belongs to the layers above: services, authentication, connections and what is not assigned.
#[inline]
fn is_of_upper_layers(number: u8) -> bool {
    matches!(number, msg::SERVICE_REQUEST | msg::SERVICE_ACCEPT | 50..)
}
