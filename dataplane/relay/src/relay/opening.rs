//! Channels from their opening to its confirmation or failure (RFC 4254 §5.1).

use weir_ssh::wire::{Reader, WireError, Writer, msg};

use super::{Refusal, own, window};
use crate::{
    Actions, ChannelId, ChannelKind, Error, Flow, Policy, Relay, SessionEvent, Side,
    event::clip,
    policy::Ask,
    table::{Channel, Forward, flag},
};

/// Why a channel is not opened (RFC 4254 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum OpenFailure {
    /// `SSH_OPEN_ADMINISTRATIVELY_PROHIBITED`.
    AdministrativelyProhibited = 1,
    /// `SSH_OPEN_CONNECT_FAILED`.
    ConnectFailed = 2,
    /// `SSH_OPEN_UNKNOWN_CHANNEL_TYPE`.
    UnknownChannelType = 3,
    /// `SSH_OPEN_RESOURCE_SHORTAGE`.
    ResourceShortage = 4,
}

impl OpenFailure {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }
}

/// A `CHANNEL_OPEN`, read.
struct Opening<'a> {
    kind: ChannelKind,
    ask: Ask<'a>,
    /// Address and port that a connection comes from; empty and 0 for what is none.
    originator: (&'a [u8], u32),
    number: u32,
    /// Where in the payload the initial window stands.
    window_at: usize,
    window: u32,
    maximum_packet: u32,
}

impl<'a> Opening<'a> {
    fn read(opener: Side, payload: &'a [u8]) -> Result<Opening<'a>, WireError> {
        let mut reader = Reader::new(payload);
        reader.u8()?;
        let name = reader.string()?;
        let number = reader.u32()?;
        let window_at = reader.position();
        let (window, maximum_packet) = (reader.u32()?, reader.u32()?);
        let (kind, ask) = Opening::purpose(opener, name, &mut reader)?;
        // RFC 4254 §7.2, §6.3.2: "originator IP address", "originator port". A socket's opener leaves them reserved.
        let originator = match kind {
            ChannelKind::DirectTcpip | ChannelKind::ForwardedTcpip | ChannelKind::X11 => {
                (reader.string()?, reader.u32()?)
            }
            _ => (&[][..], 0),
        };
        Ok(Opening {
            kind,
            ask,
            originator,
            number,
            window_at,
            window,
            maximum_packet,
        })
    }

    fn purpose(
        opener: Side,
        name: &'a [u8],
        rest: &mut Reader<'a>,
    ) -> Result<(ChannelKind, Ask<'a>), WireError> {
        Ok(match (opener, name) {
            (Side::Client, b"session") => (ChannelKind::Session, Ask::Session),
            (Side::Client, b"direct-tcpip") => (
                ChannelKind::DirectTcpip,
                Ask::DirectTcpip {
                    host: rest.string()?,
                    port: rest.u32()?,
                },
            ),
            (Side::Client, b"direct-streamlocal@openssh.com") => (
                ChannelKind::DirectStreamlocal,
                Ask::DirectStreamlocal { path: rest.string()? },
            ),
            (Side::Client, b"tun@openssh.com") => (ChannelKind::Tunnel, Ask::Tunnel),
            (Side::Target, b"forwarded-tcpip") => (
                ChannelKind::ForwardedTcpip,
                Ask::ForwardedTcpip {
                    address: rest.string()?,
                    port: rest.u32()?,
                },
            ),
            (Side::Target, b"forwarded-streamlocal@openssh.com") => (
                ChannelKind::ForwardedStreamlocal,
                Ask::ForwardedStreamlocal { path: rest.string()? },
            ),
            (Side::Target, b"x11") => (ChannelKind::X11, Ask::X11Channel),
            (Side::Target, b"auth-agent@openssh.com" | b"agent-connect") => {
                (ChannelKind::Agent, Ask::AgentChannel)
            }
            (opener, name) => (ChannelKind::Other, Ask::OtherChannel { opener, name }),
        })
    }
}

/// Without a target: every channel is refused, with the reason.
pub(super) fn refuse_all(
    from: Side,
    payload: &[u8],
    refusal: &Refusal,
    actions: &mut Actions,
) -> Result<(), Error> {
    let opening = Opening::read(from, payload).map_err(Error::malformed(from, payload))?;
    let (what, reason) = (opening.ask.to_string(), refusal.reason.clone());
    send_failure(from, opening.number, refusal.code, &reason, actions);
    actions.events.push(SessionEvent::Denied {
        channel: None,
        what,
        reason,
    });
    Ok(())
}

impl Relay {
    /// `CHANNEL_OPEN`.
    pub(super) fn open(
        &mut self,
        from: Side,
        payload: &[u8],
        policy: &dyn Policy,
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        let opening = Opening::read(from, payload).map_err(Error::malformed(from, payload))?;
        self.check_number(from, opening.number)?;
        if self.table.is_full() {
            let (what, reason) = (opening.ask.to_string(), "too many channels are open".to_owned());
            send_failure(
                from,
                opening.number,
                OpenFailure::ResourceShortage,
                &reason,
                actions,
            );
            actions.events.push(SessionEvent::Denied {
                channel: None,
                what,
                reason,
            });
            return Ok(Flow::Stop);
        }
        if let Err(reason) = Self::permit(&opening.ask, None, policy, actions) {
            send_failure(
                from,
                opening.number,
                OpenFailure::AdministrativelyProhibited,
                &reason,
                actions,
            );
            return Ok(Flow::Stop);
        }
        let mut channel = Channel::new(self.new_id(), opening.kind, from, opening.number);
        if from == Side::Client {
            channel.client_maximum_packet = opening.maximum_packet;
        }
        if opening.kind != ChannelKind::Session {
            channel.forward = Some(Box::new(Forward {
                destination: opening.ask.destination(),
                endpoints: opening.ask.endpoints(opening.originator),
                bytes: [0; 2],
            }));
            self.table.insert(channel);
            return Ok(Flow::Forward);
        }
        channel.record(policy.recording(None));
        let reserve = window::reserve_of(opening.window);
        (channel.reserve, channel.reserve_full) = (reserve, reserve);
        self.table.insert(channel);
        if reserve == 0 {
            return Ok(Flow::Forward);
        }
        actions.send(Side::Target, |out| {
            out.put_bytes(&payload[..opening.window_at]);
            out.put_u32(opening.window - u32::from(reserve));
            out.put_bytes(&payload[opening.window_at + 4..]);
        });
        Ok(Flow::Stop)
    }

    /// `CHANNEL_OPEN_CONFIRMATION`: passes if it was awaited.
    pub(super) fn open_confirmation(
        &mut self,
        from: Side,
        payload: &[u8],
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        let mut reader = Reader::new(&payload[1..]);
        let mut read = || Ok((reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?));
        let (recipient, number, window, maximum_packet) = read().map_err(Error::malformed(from, payload))?;
        let Some(slot) = self.table.find(from.other(), recipient) else {
            return Ok(Flow::Stop);
        };
        let channel = &self.table[slot];
        if channel.has(flag::CONFIRMED) || channel.opener() == from {
            return Ok(Flow::Stop);
        }
        self.check_number(from, number)?;
        self.table.confirm(slot, number);
        let channel = &mut self.table[slot];
        if from == Side::Client {
            channel.client_maximum_packet = maximum_packet;
        }
        if channel.has(flag::OWN) {
            self.own_opened(slot, window, actions);
            return Ok(Flow::Stop);
        }
        actions.events.push(match &channel.forward {
            None => SessionEvent::ChannelOpened { channel: channel.id },
            Some(forward) => SessionEvent::ForwardOpened {
                channel: channel.id,
                kind: channel.kind,
                opener: channel.opener(),
                destination: forward.destination.clone(),
                endpoints: forward.endpoints.clone(),
            },
        });
        Ok(Flow::Forward)
    }

    /// `CHANNEL_OPEN_FAILURE`: passes if it was awaited.
    pub(super) fn open_failure(
        &mut self,
        from: Side,
        payload: &[u8],
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        let mut reader = Reader::new(&payload[1..]);
        let mut read = || Ok((reader.u32()?, reader.u32()?, reader.string()?));
        let (recipient, code, reason) = read().map_err(Error::malformed(from, payload))?;
        let Some(slot) = self.table.find(from.other(), recipient) else {
            return Ok(Flow::Stop);
        };
        let channel = &self.table[slot];
        if channel.has(flag::CONFIRMED) || channel.opener() == from {
            return Ok(Flow::Stop);
        }
        if channel.has(flag::OWN) {
            self.own_refused(slot, clip(reason), actions);
            return Ok(Flow::Stop);
        }
        let Channel { id, kind, .. } = self.table.remove(slot);
        actions.events.push(SessionEvent::OpenFailed {
            channel: id,
            kind,
            code,
            reason: clip(reason),
        });
        Ok(Flow::Forward)
    }

    pub(super) fn new_id(&mut self) -> ChannelId {
        let id = ChannelId(self.next_channel);
        self.next_channel = self.next_channel.wrapping_add(1);
        id
    }

    /// Whether `side` may give `number` to a new channel.
    fn check_number(&self, side: Side, number: u32) -> Result<(), Error> {
        if side == Side::Target && number >= own::NUMBER_FIRST {
            return Err(Error::NumberReserved { number });
        }
        match self.table.find(side, number) {
            Some(_) => Err(Error::NumberInUse { by: side, number }),
            None => Ok(()),
        }
    }
}

fn send_failure(to: Side, number: u32, code: OpenFailure, reason: &str, actions: &mut Actions) {
    actions.send(to, |out| {
        out.put_u8(msg::CHANNEL_OPEN_FAILURE);
        out.put_u32(number);
        out.put_u32(code.code());
        out.put_string(reason);
        out.put_string("");
    });
}
