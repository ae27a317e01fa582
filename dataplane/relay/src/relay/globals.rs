//! Global requests and pings.
//!
//! Neither's reply names what it answers: see [`Replies`](crate::replies::Replies).

use weir_ssh::wire::{Reader, WireError, Writer, msg};

use crate::{Actions, Error, Flow, Policy, Relay, SessionEvent, Side, policy::Ask, replies::Answer};

struct GlobalRequest<'a> {
    name: &'a [u8],
    want_reply: bool,
    rest: Reader<'a>,
}

impl<'a> GlobalRequest<'a> {
    fn read(payload: &'a [u8]) -> Result<GlobalRequest<'a>, WireError> {
        let mut rest = Reader::new(&payload[1..]);
        Ok(GlobalRequest {
            name: rest.string()?,
            want_reply: rest.bool()?,
            rest,
        })
    }

    /// What of this needs leave.
    fn ask(&mut self) -> Result<Option<Ask<'a>>, WireError> {
        Ok(Some(match self.name {
            b"tcpip-forward" | b"cancel-tcpip-forward" => Ask::TcpipForward {
                address: self.rest.string()?,
                port: self.rest.u32()?,
                cancel: self.name.starts_with(b"cancel-"),
            },
            b"streamlocal-forward@openssh.com" | b"cancel-streamlocal-forward@openssh.com" => {
                Ask::StreamlocalForward {
                    path: self.rest.string()?,
                    cancel: self.name.starts_with(b"cancel-"),
                }
            }
            _ => return Ok(None),
        }))
    }

    /// OpenSSH PROTOCOL §2.5: the target's host keys are not ours to vouch for, and the proof that
    /// a client asks for covers the session identifier of its own hop.
    fn belongs_to_one_hop(&self) -> bool {
        matches!(
            self.name,
            b"hostkeys-00@openssh.com" | b"hostkeys-prove-00@openssh.com"
        )
    }
}

/// Without a target: every request fails.
pub(super) fn refuse_all(from: Side, payload: &[u8], actions: &mut Actions) -> Result<(), Error> {
    let request = GlobalRequest::read(payload).map_err(Error::malformed(from, payload))?;
    if request.want_reply {
        send_failure(from, actions);
    }
    Ok(())
}

impl Relay {
    /// `GLOBAL_REQUEST` (RFC 4254 §4). Unknown ones pass, `keepalive@openssh.com` and
    /// `no-more-sessions@openssh.com` among them.
    pub(super) fn global_request(
        &mut self,
        from: Side,
        payload: &[u8],
        policy: &dyn Policy,
        actions: &mut Actions,
    ) -> Result<Flow, Error> {
        let malformed = Error::malformed(from, payload);
        let mut request = GlobalRequest::read(payload).map_err(&malformed)?;
        let denied = request.belongs_to_one_hop()
            || match request.ask().map_err(&malformed)? {
                Some(ask) if from == Side::Client => Self::remote_forward(&ask, policy, actions).is_err(),
                _ => false,
            };
        if !denied {
            if request.want_reply {
                self.globals[from.index()].forwarded();
            }
            return Ok(Flow::Forward);
        }
        if request.want_reply {
            match self.globals[from.index()].answer(Answer::Failure) {
                Some(_) => send_failure(from, actions),
                None => self.hold(from)?,
            }
        }
        Ok(Flow::Stop)
    }

    fn remote_forward(ask: &Ask<'_>, policy: &dyn Policy, actions: &mut Actions) -> Result<(), String> {
        Self::permit(ask, None, policy, actions)?;
        let cancel = matches!(
            ask,
            Ask::TcpipForward { cancel: true, .. } | Ask::StreamlocalForward { cancel: true, .. }
        );
        actions.events.push(SessionEvent::RemoteForward {
            address: ask.destination(),
            cancel,
        });
        Ok(())
    }

    /// `REQUEST_SUCCESS`, `REQUEST_FAILURE` (RFC 4254 §4): passes if somebody waits for it, and sets
    /// free the local replies behind it.
    pub(super) fn global_reply(&mut self, from: Side, actions: &mut Actions) -> Flow {
        let requester = from.other();
        let replies = &mut self.globals[requester.index()];
        if !replies.replied() {
            return Flow::Stop;
        }
        while replies.release().is_some() {
            self.held -= 1;
            send_failure(requester, actions);
        }
        Flow::Forward
    }

    /// `PING` (OpenSSH PROTOCOL §1.9): end to end if the other end answers it, else answered here.
    pub(super) fn ping(&mut self, from: Side, payload: &[u8], actions: &mut Actions) -> Result<Flow, Error> {
        let mut reader = Reader::new(&payload[1..]);
        let data = reader.string().map_err(Error::malformed(from, payload))?;
        // While the target is not attached its answer to this is not known and stands at `false`.
        if self.answers_ping[from.other().index()] {
            let outstanding = &mut self.pings[from.index()];
            *outstanding = outstanding.saturating_add(1);
            return Ok(Flow::Forward);
        }
        actions.send(from, |out| {
            out.put_u8(msg::PONG);
            out.put_string(data);
        });
        Ok(Flow::Stop)
    }

    /// `PONG`: passes if somebody waits for it.
    pub(super) fn pong(&mut self, from: Side) -> Flow {
        let outstanding = &mut self.pings[from.other().index()];
        if *outstanding == 0 {
            return Flow::Stop;
        }
        *outstanding -= 1;
        Flow::Forward
    }
}

fn send_failure(to: Side, actions: &mut Actions) {
    actions.send(to, |out| out.put_u8(msg::REQUEST_FAILURE));
}
