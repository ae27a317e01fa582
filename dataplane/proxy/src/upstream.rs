//! The way to the target: admission, certificate, connection, key exchange, sign-in.
//!
//! ```text
//! admitted by the pacer ─▶ certificate from control ─▶ TCP ─▶ kex, host key ─▶ signed in
//!        │ queue full, waited     │ denied, away          │ refused    │ not certified │ refused
//!        ▼                        ▼                       ▼            ▼               ▼
//!        └────────────────────────┴── the client's first channel is refused in words ─┘
//! ```
//!
//! The certificate is asked for before the target is dialled: a connection that ends without
//! authentication costs the proxy's address a penalty with sshd. For the same reason a handshake is finished when its
//! user has left meanwhile. One that the target drops before its identification has no effect there, and is tried
//! again, unseen, when the pacer says so.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{SocketAddr, ToSocketAddrs, UdpSocket},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_channel::oneshot;
use monoio::net::TcpStream;
use tracing::debug;
use weir_api::{
    ControlError,
    dataplane::{UpstreamCertificate, UpstreamCertificateRequest},
};
use weir_pace::{Credential as PacedCredential, DropForm, Explanation, Outcome, Priority, Request, TargetId, UserId};
use weir_policy::Node;
use weir_ssh::{
    DisconnectReason, Hop,
    auth::{
        AuthError, Replies,
        client::{ClientAuth, ClientFailure, ClientStep, Credential},
        server::Authenticated,
    },
    certificate::{Certificate, HostKeyPolicy},
    key::SigningKey,
};

use crate::{
    audit::Subject,
    clock::Clock,
    hop_stream::{HopEnd, HopStream, Incoming},
    pacing::{NoTurn, Slot, Turn},
    receive::Received,
    view::View,
    worker::{self, Worker},
};

/// A target that has let the user in.
pub(crate) struct Upstream {
    pub(crate) hop: HopStream,
    /// Bytes that came with the end of the sign-in.
    pub(crate) received: Received,
    /// Still counted by the target, see [`Slot::counted`].
    pub(crate) slot: Slot,
}

/// Why there is no way to the target, in words for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("{node} at {address}: {explanation}")]
    PacedOut {
        node: Box<str>,
        address: Box<str>,
        explanation: Explanation,
    },
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("cannot resolve {address}: {source}")]
    Resolve { address: Box<str>, source: io::Error },
    #[error("cannot connect to {node} at {address}: {source}")]
    Connect {
        node: Box<str>,
        address: Box<str>,
        source: io::Error,
    },
    #[error("cannot connect to {node} at {address}: no answer within {seconds} s")]
    ConnectTimeout {
        node: Box<str>,
        address: Box<str>,
        seconds: u64,
    },
    #[error("{node} at {address} did not finish the SSH handshake within {seconds} s")]
    HandshakeTimeout {
        node: Box<str>,
        address: Box<str>,
        seconds: u64,
    },
    #[error("{node} at {address} dropped the connection before the sign-in: {said}")]
    Dropped {
        node: Box<str>,
        address: Box<str>,
        said: String,
        /// It came before the target's identification, as `MaxStartups` has it.
        form: Option<DropForm>,
    },
    /// The exact sentence about the host key, or what the two transports did not agree on.
    #[error("{0}")]
    Transport(weir_ssh::Error),
    #[error(
        "{node} does not let {} in: {failure}; its sshd must trust this cluster's OpenSSH CA \
         (TrustedUserCAKeys) and permit the login",
        failure.user
    )]
    LoginRefused { node: Box<str>, failure: ClientFailure },
    #[error("{node} at {address} broke off the sign-in: {source}")]
    SignIn {
        node: Box<str>,
        address: Box<str>,
        source: AuthError,
    },
    #[error("{node} at {address}: {source}")]
    Hop {
        node: Box<str>,
        address: Box<str>,
        source: HopEnd,
    },
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl UpstreamError {
    /// What a handshake that failed so has meant to the target.
    fn outcome(&self) -> Outcome {
        match self {
            Self::Dropped { form: Some(form), .. } => Outcome::Dropped(*form),
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => Outcome::Refused,
            Self::Connect { .. } | Self::ConnectTimeout { .. } => Outcome::Unreachable,
            Self::HandshakeTimeout { .. } => Outcome::Silent,
            Self::LoginRefused { .. } | Self::SignIn { .. } | Self::Hop { .. } => Outcome::Rejected,
            Self::Dropped { form: None, .. } | Self::Transport(_) => Outcome::Broken,
            Self::PacedOut { .. } | Self::Control(_) | Self::Resolve { .. } | Self::Internal(_) => Outcome::NotDialled,
        }
    }
}

/// Who wants to go where.
pub(crate) struct Route<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) authenticated: &'a Authenticated,
    pub(crate) view: &'a View,
    pub(crate) node: &'a Node,
    /// As typed, with its style.
    pub(crate) login: &'a str,
    /// Whether somebody waits at a keyboard.
    pub(crate) priority: Priority,
}

impl Route<'_> {
    /// Opens the way.
    pub(crate) async fn open(&self, worker: &Rc<Worker>) -> Result<Upstream, UpstreamError> {
        let (target, user) = (TargetId::from(&*self.node.address), UserId::from(&*self.subject.user));
        let request = Request {
            target: &target,
            user: &user,
            source: None,
            priority: self.priority,
            credential: paced_credential(self.login),
        };
        let admitted = worker.shared.pacing.admit(&request).await;
        let mut turn = admitted.map_err(|explanation| self.paced_out(explanation))?;
        let address = self.resolve().await?;
        let key = SigningKey::generate_ed25519();
        let certificate = self.certify(worker, &key, address).await?;
        let handshake = Rc::new(self.handshake(worker, address, key, &certificate)?);
        loop {
            // In a task of its own, which goes on where this future is dropped.
            let (told, ended) = oneshot::channel();
            monoio::spawn(Rc::clone(&handshake).run(turn, told));
            let (failed, error) = match ended.await {
                Ok(Ok(upstream)) => return Ok(*upstream),
                Ok(Err(failed)) => *failed,
                Err(oneshot::Canceled) => return Err(UpstreamError::Internal("the handshake has vanished")),
            };
            turn = match failed.again(error.outcome()).await {
                Ok(turn) => turn,
                Err(NoTurn::Pointless) => return Err(error),
                Err(NoTurn::PacedOut(explanation)) => return Err(self.paced_out(explanation)),
            };
            debug!(node = &*self.node.name, %error, "trying again");
        }
    }

    fn paced_out(&self, explanation: Explanation) -> UpstreamError {
        UpstreamError::PacedOut {
            node: self.node.name.clone(),
            address: self.node.address.clone(),
            explanation,
        }
    }

    fn handshake(
        &self,
        worker: &Rc<Worker>,
        address: SocketAddr,
        key: SigningKey,
        certificate: &UpstreamCertificate,
    ) -> Result<Handshake, UpstreamError> {
        let certificate = Certificate::parse(&certificate.certificate)
            .map_err(|_| UpstreamError::Internal("the control plane's certificate cannot be read"))?;
        let credential = Credential::certified(key, certificate)
            .map_err(|_| UpstreamError::Internal("the control plane's certificate is for another key"))?;
        Ok(Handshake {
            worker: Rc::clone(worker),
            node: self.node.name.clone(),
            address: self.node.address.clone(),
            socket_address: address,
            login: self.login.into(),
            credential,
            host_keys: self.host_key_policy(),
        })
    }

    async fn resolve(&self) -> Result<SocketAddr, UpstreamError> {
        if let Ok(address) = self.node.address.parse() {
            return Ok(address);
        }
        let name = self.node.address.to_string();
        // The resolver of the C library blocks.
        let resolved = monoio::spawn_blocking(move || name.to_socket_addrs().map(|mut found| found.next()))
            .await
            .map_err(|_| UpstreamError::Internal("the resolver's thread has ended"))?;
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        resolved
            .and_then(|found| found.ok_or_else(none))
            .map_err(|source| UpstreamError::Resolve {
                address: self.node.address.clone(),
                source,
            })
    }

    async fn certify(
        &self,
        worker: &Worker,
        key: &SigningKey,
        address: SocketAddr,
    ) -> Result<UpstreamCertificate, UpstreamError> {
        let source_addresses = match &worker.shared.config.source_addresses {
            Some(configured) => configured.clone(),
            None => local_address_toward(address).into_iter().collect(),
        };
        let proof = &self.authenticated.proof();
        let request = UpstreamCertificateRequest {
            session: self.subject.session.clone(),
            login: self.subject.login.clone(),
            node_id: self.node.id.to_string(),
            user_certificate: self.authenticated.certificate().certificate().blob().to_vec(),
            signed_data: proof.signed_data.clone(),
            signature: proof.signature.clone(),
            public_key: key.public_key().blob().to_vec(),
            client_address: self.subject.client.ip().to_string(),
            source_addresses,
            valid_seconds: 0,
        };
        Ok(worker.shared.control.issue_upstream(request).await?)
    }

    fn host_key_policy(&self) -> HostKeyPolicy {
        if let Some(keys) = self.view.pinned_host_keys(self.node) {
            return HostKeyPolicy::Pinned(keys.to_vec());
        }
        if !self.view.settings.proxy_checks_host_keys {
            return HostKeyPolicy::Unchecked;
        }
        HostKeyPolicy::Certified {
            name: dialled_name(&self.node.address).to_owned(),
            authorities: self.view.host_cas().to_vec(),
        }
    }
}

/// One handshake, which may have to be tried several times; it needs nothing of the client.
struct Handshake {
    worker: Rc<Worker>,
    node: Box<str>,
    address: Box<str>,
    socket_address: SocketAddr,
    login: Box<str>,
    credential: Credential,
    host_keys: HostKeyPolicy,
}

/// The way is open; or the turn that was used up, and why it is not.
type Ended = Result<Box<Upstream>, Box<(Turn, UpstreamError)>>;

impl Handshake {
    /// Goes through to the end, whoever still waits for it.
    async fn run(self: Rc<Self>, turn: Turn, told: oneshot::Sender<Ended>) {
        let ended = match self.attempt().await {
            Ok((hop, received)) => Ok(Box::new(Upstream {
                hop,
                received,
                slot: turn.authenticated(),
            })),
            Err(error) => Err(Box::new((turn, error))),
        };
        match told.send(ended) {
            Ok(()) => {}
            Err(Ok(upstream)) => {
                upstream.hop.disconnect(DisconnectReason::ByApplication, "the user has left");
                upstream.hop.sent_within(FAREWELL).await;
            }
            Err(Err(failed)) => failed.0.failed(failed.1.outcome()),
        }
    }

    async fn attempt(&self) -> Result<(HopStream, Received), UpstreamError> {
        let limit = self.worker.shared.config.handshake_timeout;
        let socket = self.connect().await?;
        match monoio::time::timeout(limit, self.sign_in(socket)).await {
            Ok(signed_in) => signed_in,
            Err(_) => Err(UpstreamError::HandshakeTimeout {
                node: self.node.clone(),
                address: self.address.clone(),
                seconds: limit.as_secs(),
            }),
        }
    }

    async fn connect(&self) -> Result<TcpStream, UpstreamError> {
        let limit = self.worker.shared.config.connect_timeout;
        let failed = |source| UpstreamError::Connect {
            node: self.node.clone(),
            address: self.address.clone(),
            source,
        };
        let Ok(connected) = monoio::time::timeout(limit, TcpStream::connect_addr(self.socket_address)).await else {
            return Err(UpstreamError::ConnectTimeout {
                node: self.node.clone(),
                address: self.address.clone(),
                seconds: limit.as_secs(),
            });
        };
        let socket = connected.map_err(failed)?;
        worker::prepare(&socket).map_err(failed)?;
        Ok(socket)
    }

    async fn sign_in(&self, socket: TcpStream) -> Result<(HopStream, Received), UpstreamError> {
        let check = self.host_keys.clone().at(Clock::wall_secs());
        let transport = Hop::client(Arc::clone(&self.worker.shared.toward_targets), Box::new(check));
        let hop = HopStream::new(socket, transport, self.worker.clock, Rc::clone(&self.worker.supplies));
        let mut received = Received::new(Arc::clone(&self.worker.pool));
        hop.start();
        while !matches!(
            self.next(&hop, &mut received, false).await?,
            Incoming::KeysInstalled
        ) {}

        let mut auth = hop.hop(|hop| {
            let session_id = hop.session_id().unwrap_or_default();
            ClientAuth::new(
                &self.login,
                self.credential.clone(),
                session_id,
                hop.host_key().unwrap_or_default(),
            )
        });
        let mut replies = Replies::new();
        auth.start(&mut replies);
        loop {
            for reply in replies.drain(..) {
                hop.seal(&reply).map_err(|end| self.ended(end))?;
            }
            let Incoming::Packet { position, packet } = self.next(&hop, &mut received, true).await? else {
                continue;
            };
            let payload = received.at(position, &packet.payload);
            let step = hop.hop(|hop| auth.receive(payload, hop.peer_extensions(), &mut replies));
            match step {
                Ok(ClientStep::Continue) => {}
                // The user is signed in already, and RFC 4252 §5.4 has no banner after that.
                Ok(ClientStep::Banner(text)) => debug!(node = &*self.node, text, "banner of the target"),
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
        Ok((hop, received))
    }

    async fn next(
        &self,
        hop: &HopStream,
        received: &mut Received,
        signing_in: bool,
    ) -> Result<Incoming, UpstreamError> {
        match hop.next(received).await {
            Ok(incoming) => Ok(incoming),
            Err(end @ (HopEnd::Closed | HopEnd::Socket(_))) if !signing_in => Err(self.dropped(hop, &end)),
            Err(end) => {
                if let HopEnd::Protocol(error) = &end {
                    hop.disconnect(error.disconnect_reason(), &error.to_string());
                }
                Err(self.ended(end))
            }
        }
    }

    fn ended(&self, end: HopEnd) -> UpstreamError {
        match end {
            HopEnd::Protocol(error) => UpstreamError::Transport(error),
            source => UpstreamError::Hop {
                node: self.node.clone(),
                address: self.address.clone(),
                source,
            },
        }
    }

    /// The target has hung up before the sign-in. Only what comes in place of its identification is `MaxStartups`, or a
    /// ban; after it, the two found no common algorithm.
    fn dropped(&self, hop: &HopStream, end: &HopEnd) -> UpstreamError {
        let (greeting, has_ident) = hop.hop(|hop| (hop.greeting().trim().to_owned(), !hop.peer_ident().is_empty()));
        let form = (!has_ident).then(|| drop_form(&greeting, end)).flatten();
        let said = match (&*greeting, has_ident) {
            ("", false) => "it closed the connection without a word".to_owned(),
            ("", true) => "it closed the connection during the key exchange, as sshd does without a common algorithm".to_owned(),
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

/// What sshd sends in place of its identification when too many connections are not yet authenticated: nothing up to 8.1, and
/// then a sentence, which a reset may swallow. Other words come from other causes.
fn drop_form(greeting: &str, end: &HopEnd) -> Option<DropForm> {
    match greeting {
        "" if matches!(end, HopEnd::Closed) => Some(DropForm::Closed),
        "" => Some(DropForm::Reset),
        "Exceeded MaxStartups" => Some(DropForm::ExceededMaxStartups),
        "Not allowed at this time" => Some(DropForm::NotAllowed),
        _ => None,
    }
}

/// One way to sign in: a login of the target, with a certificate of the control plane's. Whether it is taken does not depend on
/// the single certificate.
fn paced_credential(login: &str) -> PacedCredential {
    let mut hasher = DefaultHasher::new();
    login.hash(&mut hasher);
    PacedCredential(hasher.finish())
}

/// How long a target may take to accept the farewell for a user who has left.
const FAREWELL: Duration = Duration::from_secs(2);

/// `host` of `host:port`, without the brackets of an IPv6 address: what a host certificate must name.
fn dialled_name(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The address from which the kernel would send to `target`; asking sends nothing.
fn local_address_toward(target: SocketAddr) -> Option<String> {
    let any: SocketAddr = if target.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}
