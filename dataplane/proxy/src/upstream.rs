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
//! authentication costs the proxy's address a penalty with sshd.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, UdpSocket},
    rc::Rc,
    sync::Arc,
};

use monoio::net::TcpStream;
use tracing::debug;
use weir_api::{
    ControlError,
    dataplane::{UpstreamCertificate, UpstreamCertificateRequest},
};
use weir_pace::TargetId;
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
    pacing::{PacedOut, Slot},
    receive::Received,
    view::View,
    worker::{self, Worker},
};

/// A target that has let the user in.
pub(crate) struct Upstream {
    pub(crate) hop: HopStream,
    /// Bytes that came with the end of the sign-in.
    pub(crate) received: Received,
    /// Still counted by the target, see [`Slot::authenticated`].
    pub(crate) slot: Slot,
}

/// Why there is no way to the target, in words for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("{0}")]
    PacedOut(#[from] PacedOut),
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

/// Who wants to go where.
pub(crate) struct Route<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) authenticated: &'a Authenticated,
    pub(crate) view: &'a View,
    pub(crate) node: &'a Node,
    /// As typed, with its style.
    pub(crate) login: &'a str,
}

impl Route<'_> {
    /// Opens the way.
    pub(crate) async fn open(&self, worker: &Rc<Worker>) -> Result<Upstream, UpstreamError> {
        let slot = worker
            .shared
            .pacing
            .admit(&TargetId::from(&*self.node.address))
            .await?;
        let addresses = self.resolve(worker).await?;
        let key = SigningKey::generate_ed25519();
        let certificate = self.certify(worker, &key, &addresses).await?;
        let limit = worker.shared.config.handshake_timeout;
        let socket = self.connect_to_any(worker, &addresses).await?;
        match monoio::time::timeout(limit, self.sign_in(worker, socket, key, certificate)).await {
            Ok(signed_in) => signed_in.map(|(hop, received)| Upstream { hop, received, slot }),
            Err(_) => Err(UpstreamError::HandshakeTimeout {
                node: self.node.name.clone(),
                address: self.node.address.clone(),
                seconds: limit.as_secs(),
            }),
        }
    }

    async fn resolve(&self, worker: &Worker) -> Result<Vec<SocketAddr>, UpstreamError> {
        let limit = worker.shared.config.connect_timeout;
        let resolved = worker.shared.resolver.resolve(&self.node.address, limit).await;
        let mut addresses = resolved.map_err(|source| UpstreamError::Resolve {
            address: self.node.address.clone(),
            source,
        })?;
        // Each may take the whole time that a connection has, and one certificate is good from 16 of our own.
        addresses.truncate(ADDRESSES);
        Ok(addresses)
    }

    async fn certify(
        &self,
        worker: &Worker,
        key: &SigningKey,
        addresses: &[SocketAddr],
    ) -> Result<UpstreamCertificate, UpstreamError> {
        let source_addresses = match &worker.shared.config.source_addresses {
            Some(configured) => configured.clone(),
            None => {
                let sources = addresses
                    .iter()
                    .filter_map(|address| local_address_toward(*address));
                sources.collect::<BTreeSet<_>>().into_iter().collect()
            }
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
        };
        Ok(worker.shared.control.issue_upstream(request).await?)
    }

    /// As ssh does: one after the other, the last failure counts.
    async fn connect_to_any(
        &self,
        worker: &Worker,
        addresses: &[SocketAddr],
    ) -> Result<TcpStream, UpstreamError> {
        let (last, others) = addresses
            .split_last()
            .expect("a name that was resolved has an address");
        for address in others {
            match self.connect(worker, *address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => debug!(node = &*self.node.name, %address, %error, "trying the next address"),
            }
        }
        self.connect(worker, *last).await
    }

    async fn connect(&self, worker: &Worker, address: SocketAddr) -> Result<TcpStream, UpstreamError> {
        let limit = worker.shared.config.connect_timeout;
        let failed = |source| UpstreamError::Connect {
            node: self.node.name.clone(),
            address: self.node.address.clone(),
            source,
        };
        let Ok(connected) = monoio::time::timeout(limit, TcpStream::connect_addr(address)).await else {
            return Err(UpstreamError::ConnectTimeout {
                node: self.node.name.clone(),
                address: self.node.address.clone(),
                seconds: limit.as_secs(),
            });
        };
        let socket = connected.map_err(failed)?;
        worker::prepare(&socket).map_err(failed)?;
        Ok(socket)
    }

    async fn sign_in(
        &self,
        worker: &Worker,
        socket: TcpStream,
        key: SigningKey,
        certificate: UpstreamCertificate,
    ) -> Result<(HopStream, Received), UpstreamError> {
        let check = self.host_key_policy().at(Clock::wall_secs());
        let transport = Hop::client(Arc::clone(&worker.shared.toward_targets), Box::new(check));
        let hop = HopStream::new(socket, transport, worker.clock, Rc::clone(&worker.supplies));
        let mut received = Received::new(Arc::clone(&worker.pool));
        hop.start();
        while !matches!(
            self.next(&hop, &mut received, false).await?,
            Incoming::KeysInstalled
        ) {}

        let certificate = Certificate::parse(&certificate.certificate)
            .map_err(|_| UpstreamError::Internal("the control plane's certificate cannot be read"))?;
        let credential = Credential::certified(key, certificate)
            .map_err(|_| UpstreamError::Internal("the control plane's certificate is for another key"))?;
        let mut auth = hop.hop(|hop| {
            let session_id = hop.session_id().unwrap_or_default();
            ClientAuth::new(
                self.login,
                credential,
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
                Ok(ClientStep::Banner(text)) => debug!(node = &*self.node.name, text, "banner of the target"),
                Ok(ClientStep::Success) => break,
                Ok(ClientStep::Failed(failure)) => {
                    hop.disconnect(DisconnectReason::ByApplication, "login refused");
                    return Err(UpstreamError::LoginRefused {
                        node: self.node.name.clone(),
                        failure,
                    });
                }
                Err(source) => {
                    hop.disconnect(source.disconnect_reason(), &source.to_string());
                    return Err(UpstreamError::SignIn {
                        node: self.node.name.clone(),
                        address: self.node.address.clone(),
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
            Err(HopEnd::Closed | HopEnd::Socket(_)) if !signing_in => Err(UpstreamError::Dropped {
                node: self.node.name.clone(),
                address: self.node.address.clone(),
                said: hop.hop(|hop| match hop.greeting().trim() {
                    "" => "it closed the connection without a word".to_owned(),
                    said => said.to_owned(),
                }),
            }),
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
                node: self.node.name.clone(),
                address: self.node.address.clone(),
                source,
            },
        }
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

/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

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
