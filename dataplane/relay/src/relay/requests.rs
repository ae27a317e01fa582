//! Channel requests and their replies (RFC 4254 §5.4, §6).
//!
//! A reply carries the channel's number but not the request's, so within a channel the order of
//! requests is the order of replies: see [`Replies`](crate::replies::Replies).

use weir_ssh::wire::{Reader, WireError, Writer, msg};

use crate::{
    Actions, ChannelKind, Error, Flow, Policy, Relay, SessionEvent, Side, TerminalSize,
    event::clip,
    policy::{Ask, Program},
    replies::Answer,
    table::{Channel, Slot, flag},
    transfers::{Transfers, program::CopyProgram},
};

/// What a denied program's channel ends with. OpenSSH's client ends so by itself when a program is
/// refused by a bare failure, and scripts know it for "ssh itself failed".
const DENIED_EXIT_STATUS: u32 = 255;

struct ChannelRequest<'a> {
    name: &'a [u8],
    want_reply: bool,
    rest: Reader<'a>,
}

impl<'a> ChannelRequest<'a> {
    fn read(payload: &'a [u8]) -> Result<ChannelRequest<'a>, WireError> {
        let mut rest = Reader::new(&payload[1..]);
        rest.u32()?;
        Ok(ChannelRequest {
            name: rest.string()?,
            want_reply: rest.bool()?,
            rest,
        })
    }

    /// What of a client's request needs leave.
    fn ask(&mut self) -> Result<Option<Ask<'a>>, WireError> {
        let rest = &mut self.rest;
        Ok(Some(match self.name {
            b"pty-req" => Ask::Pty {
                term: rest.string()?,
                size: terminal_size(rest)?,
                // What comes without passes as it always did.
                modes: rest.string().unwrap_or_default(),
            },
            b"shell" => Ask::Program(Program::Shell),
            b"exec" => Ask::Program(Program::Exec {
                command: rest.string()?,
            }),
            b"subsystem" => Ask::Program(Program::Subsystem { name: rest.string()? }),
            b"env" => Ask::Env {
                name: rest.string()?,
                value: rest.string()?,
            },
            b"x11-req" => Ask::X11Forwarding,
            b"auth-agent-req@openssh.com" | b"agent-req" => Ask::AgentForwarding,
            _ => return Ok(None),
        }))
    }
}

impl Relay {
    /// `CHANNEL_REQUEST`. Whatever needs no leave passes as it is: signals, breaks,
    /// `winadj@putty.projects.tartarus.org`, `eow@openssh.com` and all that is unknown.
    pub(super) fn channel_request(
        &mut self,
        from: Side,
        payload: &[u8],
        policy: &dyn Policy,
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        let malformed = Error::malformed(from, payload);
        let mut request = ChannelRequest::read(payload).map_err(&malformed)?;
        let Some(slot) = self.addressed(from, payload)? else {
            return Ok(Flow::Stop);
        };
        let channel = &mut self.table[slot];
        if channel.has(flag::OWN) {
            if request.want_reply {
                Self::own_request(from, channel, actions);
            }
            return Ok(Flow::Stop);
        }
        if !channel.carries(from) {
            return Ok(Flow::Stop);
        }
        let ask = if from == Side::Client {
            request.ask().map_err(&malformed)?
        } else {
            None
        };
        if let Some(ask) = &ask {
            if let Err(reason) = Self::permit(ask, Some(channel.id), policy, actions) {
                return self.deny(from, slot, ask, request.want_reply, reason, actions);
            }
            Self::admit(channel, ask, policy, actions);
            self.follow(slot, ask, policy, actions);
        } else {
            observe(from, channel, &mut request, actions).map_err(&malformed)?;
        }
        if request.want_reply {
            self.table[slot].replies(from).forwarded();
        }
        Ok(Flow::Forward)
    }

    /// Begins to read what a program that copies files will say. Of several programs that a channel asks for, the first that
    /// copies is followed: which one the target runs is not known here, and if it was not this one its first bytes show it.
    fn follow(&mut self, slot: Slot, ask: &Ask<'_>, policy: &dyn Policy, actions: &mut Actions) {
        let channel = &mut self.table[slot];
        let Transfers { operations, hashes } = policy.transfers();
        if let Ask::Program(program) = ask
            && operations
            && channel.kind == ChannelKind::Session
            && !channel.has(flag::FOLLOWED)
            && let Some(program) = CopyProgram::of(program)
        {
            let followed = self.followed.get_or_insert_default();
            if followed.begin(channel.id, &program, hashes, &mut actions.events) {
                channel.set(flag::FOLLOWED);
            }
        }
    }

    /// Notes what a request that passes will change.
    fn admit(channel: &mut Channel, ask: &Ask<'_>, policy: &dyn Policy, actions: &mut Actions) {
        let id = channel.id;
        actions.events.push(match ask {
            Ask::Pty { term, size, modes } => {
                channel.set(flag::TERMINAL);
                SessionEvent::Pty {
                    channel: id,
                    term: clip(term),
                    size: *size,
                    echo: asks_for_echo(modes),
                }
            }
            Ask::Program(program) => {
                let recording = policy.recording(Some(program));
                channel.record(recording);
                channel.set(flag::STARTED);
                SessionEvent::program(id, program, recording)
            }
            Ask::Env { name, value } => SessionEvent::Env {
                channel: id,
                name: clip(name),
                value: policy.tells_value(name).then(|| clip(value)),
            },
            Ask::X11Forwarding => SessionEvent::X11Forwarding { channel: id },
            Ask::AgentForwarding => SessionEvent::AgentForwarding { channel: id },
            _ => return,
        });
    }

    /// Answers a denied request in the target's place, in order; silent if no reply is wanted.
    ///
    /// A denied program is different: a bare failure has no room for a sentence, and clients that
    /// want no reply would wait for ever. So its channel ends like that of a program which ran and
    /// wrote the sentence to its error output, unless another one has been started on the channel.
    fn deny(
        &mut self,
        requester: Side,
        slot: Slot,
        ask: &Ask<'_>,
        want_reply: bool,
        reason: String,
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        let channel = &mut self.table[slot];
        let is_program = channel.kind == ChannelKind::Session && matches!(ask, Ask::Program(_));
        let answer = if is_program && !channel.has(flag::STARTED) {
            // One sentence is enough: later programs on the channel fail plainly.
            channel.set(flag::STARTED);
            Answer::ProgramDenied {
                reply: want_reply,
                reason,
            }
        } else if want_reply {
            Answer::Failure
        } else {
            return Ok(Flow::Stop);
        };
        match channel.replies(requester).answer(answer) {
            Some(answer) => send_answer(channel, requester, answer, actions),
            None => self.hold(requester)?,
        }
        Ok(Flow::Stop)
    }

    /// `CHANNEL_SUCCESS`, `CHANNEL_FAILURE`: passes if somebody waits for it, and sets free the local
    /// replies behind it.
    pub(super) fn channel_reply(
        &mut self,
        from: Side,
        payload: &[u8],
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        let Some(slot) = self.addressed(from, payload)? else {
            return Ok(Flow::Stop);
        };
        let (requester, channel) = (from.other(), &mut self.table[slot]);
        if !channel.carries(from) || !channel.replies(requester).replied() {
            return Ok(Flow::Stop);
        }
        while let Some(answer) = channel.replies(requester).release() {
            self.held -= 1;
            send_answer(channel, requester, answer, actions);
        }
        Ok(Flow::Forward)
    }
}

/// Tells the record of what passes without leave.
fn observe(
    from: Side,
    channel: &Channel,
    request: &mut ChannelRequest<'_>,
    actions: &mut Actions,
) -> Result<(), WireError> {
    let (id, rest) = (channel.id, &mut request.rest);
    actions.events.push(match (from, request.name) {
        (Side::Client, b"window-change") => SessionEvent::Resize {
            channel: id,
            size: terminal_size(rest)?,
        },
        (Side::Target, b"exit-status") => SessionEvent::ExitStatus {
            channel: id,
            status: rest.u32()?,
        },
        (Side::Target, b"exit-signal") => SessionEvent::ExitSignal {
            channel: id,
            signal: clip(rest.string()?),
            core_dumped: rest.bool()?,
            message: clip(rest.string()?),
        },
        _ => return Ok(()),
    });
    Ok(())
}

fn terminal_size(reader: &mut Reader<'_>) -> Result<TerminalSize, WireError> {
    Ok(TerminalSize {
        columns: reader.u32()?,
        rows: reader.u32()?,
        width_px: reader.u32()?,
        height_px: reader.u32()?,
    })
}

/// Whether a terminal with these modes echoes. RFC 4254 §8: "opcode-argument pairs wherein the opcode is a single byte value.
/// Opcodes 1 to 159 have a single uint32 argument", 0 ends them. Terminals echo unless they are told otherwise.
fn asks_for_echo(modes: &[u8]) -> bool {
    const ECHO: u8 = 53;
    let pairs = modes.as_chunks::<5>().0.iter();
    let mut known = pairs.take_while(|pair| (1..160).contains(&pair[0]));
    known
        .find(|pair| pair[0] == ECHO)
        .is_none_or(|pair| pair[1..] != [0; 4])
}

fn send_answer(channel: &mut Channel, requester: Side, answer: Answer, actions: &mut Actions) {
    if channel.has(flag::CLOSED_TO[requester.index()]) {
        return;
    }
    let number = channel.number(requester);
    match answer {
        Answer::Failure => actions.send_channel(requester, msg::CHANNEL_FAILURE, number),
        Answer::ProgramDenied { reply, reason } => {
            if reply {
                actions.send_channel(requester, msg::CHANNEL_SUCCESS, number);
            }
            end_denied(channel, &reason, actions);
        }
    }
}

/// Ends a session channel toward both ends, toward the client with a sentence and an exit status.
/// Their CLOSEs are awaited as ever.
fn end_denied(channel: &mut Channel, reason: &str, actions: &mut Actions) {
    channel.write_error(reason, actions);
    let number = channel.number(Side::Client);
    actions.send(Side::Client, |out| {
        out.put_u8(msg::CHANNEL_REQUEST);
        out.put_u32(number);
        out.put_string("exit-status");
        out.put_bool(false);
        out.put_u32(DENIED_EXIT_STATUS);
    });
    actions.events.push(SessionEvent::ExitStatus {
        channel: channel.id,
        status: DENIED_EXIT_STATUS,
    });
    if !channel.has(flag::EOF_FROM[Side::Target.index()]) {
        actions.send_channel(Side::Client, msg::CHANNEL_EOF, number);
    }
    for side in [Side::Client, Side::Target] {
        // The client may have closed its end already; then the target has been told.
        if !channel.has(flag::CLOSED_TO[side.index()]) {
            actions.send_channel(side, msg::CHANNEL_CLOSE, channel.number(side));
            channel.set(flag::CLOSED_TO[side.index()]);
        }
    }
}
