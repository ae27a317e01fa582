//! One handshake with a target, from the connection to the sign-in.
//!
//! It needs nothing of the client, and runs in a task of its own: cut off, it would cost this proxy's address a penalty with
//! the target (`PerSourcePenalties`), so it is finished when its user has left meanwhile.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_channel::oneshot;
use monoio::net::TcpStream;
use tracing::debug;
use weir_pace::DropForm;
use weir_ssh::{
    DisconnectReason, Hop,
    auth::{
        Replies,
        client::{ClientAuth, ClientStep, Credential},
    },
    certificate::HostKeyPolicy,
};

use super::{Connected, Upstream, UpstreamError};
use crate::{
    clock::Clock,
    dialling,
    hop_stream::{HopEnd, HopStream, Incoming},
    pacing::Turn,
    receive::Received,
    worker::Worker,
};

/// What it takes to sign in, as often as the target drops the connection before.
pub(super) struct Handshake {
    pub(super) worker: Rc<Worker>,
    /// The node's name.
    pub(super) node: Box<str>,
    /// The node's address as it is configured.
    pub(super) address: Box<str>,
    /// What it stands for, each with the address to dial from where one was chosen; at least one.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) login: Box<str>,
    /// Of the credential's certificate.
    pub(super) serial: u64,
    pub(super) credential: Credential,
    pub(super) host_keys: HostKeyPolicy,
}

/// Where to, and where from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint {
    pub(super) target: SocketAddr,
    /// Of the pool; without one the kernel chooses.
    pub(super) source: Option<IpAddr>,
    /// Where the target sees the connection come from, as far as this machine can tell.
    pub(super) seen_from: Option<IpAddr>,
}

/// The way is open; or the turn that was used up, and why it is not.
pub(super) type Ended = Result<Box<Upstream>, Box<(Turn, UpstreamError)>>;

struct SignedIn {
    hop: HopStream,
    received: Received,
    banners: Vec<String>,
    address: SocketAddr,
}

impl Handshake {
    /// Goes through to the end, whoever still waits for it.
    pub(super) async fn run(self: Rc<Self>, turn: Turn, told: oneshot::Sender<Ended>) {
        let ended = match self.attempt().await {
            Ok(SignedIn {
                hop,
                received,
                banners,
                address,
            }) => Ok(Box::new(Upstream {
                hop,
                received,
                banners,
                slot: turn.authenticated(),
                connected: Connected {
                    address,
                    serial: self.serial,
                    waited: Duration::ZERO,
                    took: Duration::ZERO,
                },
            })),
            Err(error) => Err(Box::new((turn, error))),
        };
        match told.send(ended) {
            Ok(()) => {}
            Err(Ok(upstream)) => {
                upstream
                    .hop
                    .disconnect(DisconnectReason::ByApplication, "the user has left");
                upstream.hop.sent_within(FAREWELL).await;
            }
            Err(Err(failed)) => failed.0.failed(failed.1.outcome()),
        }
    }

    async fn attempt(&self) -> Result<SignedIn, UpstreamError> {
        let limit = self.worker.shared.config.handshake_timeout;
        let (socket, address) = self.connect().await?;
        match monoio::time::timeout(limit, self.sign_in(socket, address)).await {
            Ok(signed_in) => signed_in,
            Err(_) => Err(UpstreamError::HandshakeTimeout {
                node: self.node.clone(),
                address: self.address.clone(),
                seconds: limit.as_secs(),
            }),
        }
    }

    /// As ssh does: one address after the other. Of failures the one that says most of the target counts.
    async fn connect(&self) -> Result<(TcpStream, SocketAddr), UpstreamError> {
        let mut told: Option<UpstreamError> = None;
        for endpoint in &self.endpoints {
            match self.connect_to(*endpoint).await {
                Ok(socket) => return Ok((socket, endpoint.target)),
                Err(error) => {
                    debug!(node = &*self.node, ?endpoint, %error, "not connected");
                    if told
                        .as_ref()
                        .is_none_or(|told| says_more(&error) >= says_more(told))
                    {
                        told = Some(error);
                    }
                }
            }
        }
        Err(told.expect("a name that was resolved has an address"))
    }

    async fn connect_to(&self, endpoint: Endpoint) -> Result<TcpStream, UpstreamError> {
        let limit = self.worker.shared.config.connect_timeout;
        let connecting = dialling::connect(endpoint.target, endpoint.source);
        let Ok(connected) = monoio::time::timeout(limit, connecting).await else {
            return Err(UpstreamError::ConnectTimeout {
                node: self.node.clone(),
                address: self.address.clone(),
                seconds: limit.as_secs(),
            });
        };
        connected.map_err(|source| UpstreamError::Connect {
            node: self.node.clone(),
            address: self.address.clone(),
            source,
        })
    }

    async fn sign_in(&self, socket: TcpStream, address: SocketAddr) -> Result<SignedIn, UpstreamError> {
        let check = self.host_keys.clone().at(Clock::wall_secs());
        let transport = Hop::client(Arc::clone(&self.worker.shared.toward_targets), Box::new(check));
        let hop = HopStream::new(
            socket,
            transport,
            self.worker.clock,
            Rc::clone(&self.worker.supplies),
        );
        let mut received = Received::new(Arc::clone(&self.worker.pool));
        let begun = Instant::now();
        hop.start();
        loop {
            match hop.next(&mut received).await {
                Ok(Incoming::KeysInstalled) => break,
                Ok(_) => {}
                Err(end @ (HopEnd::Closed | HopEnd::Socket(_))) => {
                    return Err(self.hung_up(&hop, &end, begun.elapsed()));
                }
                Err(end) => return Err(self.ended(&hop, end, begun.elapsed())),
            }
        }

        let mut auth = hop.hop(|hop| {
            let session_id = hop.session_id().unwrap_or_default();
            let host_key = hop.host_key().unwrap_or_default();
            ClientAuth::new(&self.login, self.credential.clone(), session_id, host_key)
        });
        let (mut replies, mut banners) = (Replies::new(), Vec::new());
        auth.start(&mut replies);
        loop {
            for reply in replies.drain(..) {
                hop.seal(&reply)
                    .map_err(|end| self.ended(&hop, end, begun.elapsed()))?;
            }
            let incoming = hop.next(&mut received).await;
            let incoming = incoming.map_err(|end| self.ended(&hop, end, begun.elapsed()))?;
            let Incoming::Packet { position, packet } = incoming else {
                continue;
            };
            let payload = received.at(position, &packet.payload);
            let step = hop.hop(|hop| auth.receive(payload, hop.peer_extensions(), &mut replies));
            match step {
                Ok(ClientStep::Continue) => {}
                // Few and short: `ClientAuth` bounds both.
                Ok(ClientStep::Banner(text)) => banners.push(text),
                Ok(ClientStep::Success) => break,
                Ok(ClientStep::Failed(failure)) => {
                    hop.disconnect(DisconnectReason::ByApplication, "login refused");
                    return Err(UpstreamError::LoginRefused {
                        node: self.node.clone(),
                        failure,
                    });
                }
                Err(source) => {
                    hop.disconnect(source.disconnect_reason(), &source.to_string());
                    return Err(UpstreamError::SignIn {
                        node: self.node.clone(),
                        address: self.address.clone(),
                        source,
                    });
                }
            }
        }
        hop.step(|hop, _, _| hop.set_authenticated());
        Ok(SignedIn {
            hop,
            received,
            banners,
            address,
        })
    }

    fn ended(&self, hop: &HopStream, end: HopEnd, after: Duration) -> UpstreamError {
        match end {
            HopEnd::Protocol(error) => {
                hop.disconnect(error.disconnect_reason(), &error.to_string());
                UpstreamError::Transport(error)
            }
            source => UpstreamError::Hop {
                node: self.node.clone(),
                address: self.address.clone(),
                too_late: matches!(source, HopEnd::Closed) && after >= SHORT_LOGIN_GRACE,
                source,
            },
        }
    }

    /// The target has hung up before the sign-in. Only what comes in place of its identification is `MaxStartups`, or a
    /// ban; after it, the two found no common algorithm.
    fn hung_up(&self, hop: &HopStream, end: &HopEnd, after: Duration) -> UpstreamError {
        let (greeting, has_ident) =
            hop.hop(|hop| (hop.greeting().trim().to_owned(), !hop.peer_ident().is_empty()));
        let form = drop_form(&greeting, end).filter(|_| !has_ident);
        if has_ident && after >= SHORT_LOGIN_GRACE {
            return self.ended(hop, HopEnd::Closed, after);
        }
        let said = match (&*greeting, has_ident) {
            ("", false) => "it closed the connection without a word".to_owned(),
            ("", true) => {
                "it closed the connection during the key exchange, as sshd does without a common algorithm"
                    .to_owned()
            }
            (said, _) => said.to_owned(),
        };
        UpstreamError::Dropped {
            node: self.node.clone(),
            address: self.address.clone(),
            said,
            form,
        }
    }
}

/// A refused port is where the target is, silence may be; no route to another of its addresses says nothing of it.
fn says_more(error: &UpstreamError) -> u8 {
    match error {
        UpstreamError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => 2,
        UpstreamError::ConnectTimeout { .. } => 1,
        _ => 0,
    }
}

/// What sshd sends in place of its identification when too many connections are not yet authenticated: nothing up to 8.1,
/// and then a sentence, which a reset may swallow. Other words come from other causes.
fn drop_form(greeting: &str, end: &HopEnd) -> Option<DropForm> {
    match greeting {
        "" if matches!(end, HopEnd::Closed) => Some(DropForm::Closed),
        "" => Some(DropForm::Reset),
        "Exceeded MaxStartups" => Some(DropForm::ExceededMaxStartups),
        "Not allowed at this time" => Some(DropForm::NotAllowed),
        _ => None,
    }
}

/// A silent close so long after the connection is taken for the end of sshd's `LoginGraceTime`, 120 s by default; who
/// shortens it hardly goes below.
const SHORT_LOGIN_GRACE: Duration = Duration::from_secs(10);

/// How long a target may take to accept the farewell for a user who has left.
const FAREWELL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_drop_is_told_apart_from_other_words() {
        let reset = HopEnd::Socket(io::ErrorKind::ConnectionReset.into());
        for (greeting, end, form) in [
            ("", &HopEnd::Closed, Some(DropForm::Closed)),
            ("", &reset, Some(DropForm::Reset)),
            (
                "Exceeded MaxStartups",
                &HopEnd::Closed,
                Some(DropForm::ExceededMaxStartups),
            ),
            (
                "Exceeded MaxStartups",
                &reset,
                Some(DropForm::ExceededMaxStartups),
            ),
            ("Not allowed at this time", &reset, Some(DropForm::NotAllowed)),
            ("HTTP/1.1 400 Bad Request", &HopEnd::Closed, None),
        ] {
            assert_eq!(drop_form(greeting, end), form, "{greeting:?}, {end}");
        }
    }
}
