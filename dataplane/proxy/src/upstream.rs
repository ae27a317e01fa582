//! The way to the target: admission, certificate, and then the handshake.
//!
//! ```text
//! address ─▶ admitted by the pacer ─▶ certificate from control ─▶ TCP ─▶ kex, host key ─▶ signed in
//!               │ queue full, waited      │ denied, away      ▲     │ dropped                  │ refused
//!               ▼                         ▼                   └─────┘ admitted again           ▼
//!               └─────────────────────────┴── the client's first channel is refused in words ──┘
//! ```
//!
//! The certificate is asked for before the target is dialled: a connection that ends without authentication costs the
//! proxy's address a penalty with sshd. A connection that the target drops before its identification has no effect there, and
//! is tried again, unseen, when the pacer says so.
//!
//! The client is told that it is signed in only when the target has let it in, or is known not to: until then RFC 4252 §5.4
//! lets a banner say what is waited for, and pass on the target's own.

mod handshake;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use tracing::debug;
use weir_api::{
    ControlError,
    dataplane::{UpstreamCertificate, UpstreamCertificateRequest},
};
use weir_pace::{
    Credential as PacedCredential, DropForm, End, Explanation, Outcome, Priority, Request, TargetId, UserId,
};
use weir_policy::Node;
use weir_ssh::{
    auth::{
        AuthError,
        client::{ClientFailure, Credential},
        server::Authenticated,
    },
    certificate::{Certificate, HostKeyPolicy},
    key::SigningKey,
};

use self::handshake::{Endpoint, Handshake};
use crate::{
    audit::Subject,
    client::Doorstep,
    dialling::{self, SourceBy},
    hop_stream::{HopEnd, HopStream},
    name_hash::name_hash,
    pacing::{NoTurn, Place, Slot},
    receive::Received,
    view::View,
    worker::Worker,
};

/// A target that has let the user in.
pub(crate) struct Upstream {
    pub(crate) hop: HopStream,
    /// Bytes that came with the end of the sign-in.
    pub(crate) received: Received,
    /// What the target said before it let the user in, for the user's eyes.
    pub(crate) banners: Vec<String>,
    /// Still counted by the target, see [`Slot::counted`].
    pub(crate) slot: Slot,
    /// How that came, for the audit log.
    pub(crate) connected: Connected,
}

/// How a way to the target was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connected {
    pub(crate) address: SocketAddr,
    /// Of the certificate with which the session signed in.
    pub(crate) serial: u64,
    /// How long it waited for its turn.
    pub(crate) waited: Duration,
    /// How long it took in all.
    pub(crate) took: Duration,
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
        /// It closed as sshd does when its `LoginGraceTime` is over.
        too_late: bool,
        source: HopEnd,
    },
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl UpstreamError {
    /// The limit that was reached, where it was one.
    pub(crate) fn maximum(&self) -> Option<u64> {
        match self {
            Self::PacedOut { explanation, .. } if explanation.end == End::QueueFull => {
                Some(explanation.ahead as u64)
            }
            _ => None,
        }
    }

    /// What a handshake that failed so has meant to the target.
    fn outcome(&self) -> Outcome {
        match self {
            Self::Dropped { form: Some(form), .. } => Outcome::Dropped(*form),
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                Outcome::Refused
            }
            Self::Connect { source, .. } if is_our_own(source) => Outcome::NotDialled,
            Self::Connect { .. } | Self::ConnectTimeout { .. } => Outcome::Unreachable,
            Self::HandshakeTimeout { .. } => Outcome::Silent,
            Self::Hop { too_late: true, .. } => Outcome::LoginTimeout,
            Self::LoginRefused { .. } | Self::SignIn { .. } | Self::Hop { .. } => Outcome::Rejected,
            Self::Dropped { form: None, .. } | Self::Transport(_) => Outcome::Broken,
            Self::PacedOut { .. } | Self::Control(_) | Self::Resolve { .. } | Self::Internal(_) => {
                Outcome::NotDialled
            }
        }
    }
}

/// Who wants to go where.
pub(crate) struct Route<'a> {
    pub(crate) worker: &'a Rc<Worker>,
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
    /// Opens the way. Who waits long for it is told why.
    pub(crate) async fn open(&self, doorstep: &Doorstep<'_>) -> Result<Upstream, UpstreamError> {
        let endpoints = self.endpoints().await?;
        let place = self.ask(endpoints[0])?;
        let watch = place.watch();
        let opening = std::pin::pin!(self.open_from(place, endpoints));
        let patience = std::pin::pin!(self.worker.alarm.after(PATIENCE));
        match select(opening, patience).await {
            Either::Left((opened, _)) => opened,
            Either::Right(((), mut opening)) => {
                let node = &self.node.name;
                doorstep.notice(&match watch.explanation() {
                    Some(explanation) => format!("weir: waiting for {node}: {explanation}\n"),
                    None => format!("weir: waiting for {node}: it has not answered yet\n"),
                });
                let patience = std::pin::pin!(self.worker.alarm.after(CLIENTS_PATIENCE));
                match select(opening.as_mut(), patience).await {
                    Either::Left((opened, _)) => opened,
                    Either::Right(_) => {
                        doorstep.let_in();
                        opening.await
                    }
                }
            }
        }
    }

    async fn open_from(&self, place: Place, endpoints: Vec<Endpoint>) -> Result<Upstream, UpstreamError> {
        let asked = Instant::now();
        let admitted = place.admitted().await;
        let waited = asked.elapsed();
        let mut turn = admitted.map_err(|explanation| self.paced_out(explanation))?;
        let key = SigningKey::generate_ed25519();
        let certificate = self.certify(&key, &endpoints).await?;
        let handshake = Rc::new(self.handshake(endpoints, key, &certificate)?);
        loop {
            // In a task of its own, which goes on where this future is dropped.
            let (told, ended) = oneshot::channel();
            monoio::spawn(Rc::clone(&handshake).run(turn, told));
            let (used_up, error) = match ended.await {
                Ok(Ok(mut upstream)) => {
                    upstream.connected.waited = waited;
                    upstream.connected.took = asked.elapsed();
                    debug!(
                        session = self.subject.session, ?waited, opened = ?asked.elapsed(),
                        "the target has let the user in"
                    );
                    return Ok(*upstream);
                }
                Ok(Err(failed)) => *failed,
                Err(oneshot::Canceled) => return Err(UpstreamError::Internal("the handshake has vanished")),
            };
            turn = match used_up.again(error.outcome()).await {
                Ok(turn) => turn,
                Err(NoTurn::Pointless) => return Err(error),
                Err(NoTurn::PacedOut(explanation)) => return Err(self.paced_out(explanation)),
            };
            debug!(node = &*self.node.name, %error, "trying again");
        }
    }

    /// What the node's address stands for now, and where each is dialled from.
    async fn endpoints(&self) -> Result<Vec<Endpoint>, UpstreamError> {
        let shared = &self.worker.shared;
        let limit = shared.config.connect_timeout;
        let resolved = shared.resolver.resolve(&self.node.address, limit).await;
        let addresses = resolved.map_err(|source| UpstreamError::Resolve {
            address: self.node.address.clone(),
            source,
        })?;
        // Each may take the whole time that a connection has, and one certificate is good from 16 of our own.
        let addresses = addresses.into_iter().take(usize::from(ADDRESSES));
        Ok(addresses.map(|target| self.endpoint(target)).collect())
    }

    fn endpoint(&self, target: SocketAddr) -> Endpoint {
        let source = self.pooled_source(target);
        let seen_from = match self.worker.shared.config.source_addresses {
            None if source.is_none() => dialling::local_address_toward(target),
            _ => source,
        };
        Endpoint {
            target,
            source,
            seen_from,
        }
    }

    fn pooled_source(&self, target: SocketAddr) -> Option<IpAddr> {
        let pool = self.worker.shared.config.source_pool.as_ref()?;
        let user = &self.subject.user;
        match pool.by() {
            SourceBy::User => pool.address_for(user, target),
            SourceBy::Trait(name) => {
                let shared = self.view.user_trait(user, name).unwrap_or(user);
                pool.address_for(shared, target)
            }
        }
    }

    /// Asks the pacer for the first handshake.
    fn ask(&self, endpoint: Endpoint) -> Result<Place, UpstreamError> {
        let (target, user) = (
            TargetId::from(&*self.node.address),
            UserId::from(&*self.subject.user),
        );
        let request = Request {
            target: &target,
            user: &user,
            source: endpoint.seen_from,
            priority: self.priority,
            credential: paced_credential(&self.subject.login),
        };
        let place = self.worker.shared.pacing.admit(&request);
        place.map_err(|explanation| self.paced_out(explanation))
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
        endpoints: Vec<Endpoint>,
        key: SigningKey,
        certificate: &UpstreamCertificate,
    ) -> Result<Handshake, UpstreamError> {
        let parsed = Certificate::parse(&certificate.certificate)
            .map_err(|_| UpstreamError::Internal("the control plane's certificate cannot be read"))?;
        let credential = Credential::certified(key, parsed)
            .map_err(|_| UpstreamError::Internal("the control plane's certificate is for another key"))?;
        Ok(Handshake {
            worker: Rc::clone(self.worker),
            node: self.node.name.clone(),
            address: self.node.address.clone(),
            endpoints,
            login: self.login.into(),
            serial: certificate.serial,
            credential,
            host_keys: self.host_key_policy(),
        })
    }

    async fn certify(
        &self,
        key: &SigningKey,
        endpoints: &[Endpoint],
    ) -> Result<UpstreamCertificate, UpstreamError> {
        let config = &self.worker.shared.config;
        let source_addresses = match &config.source_addresses {
            Some(configured) => configured.clone(),
            None => {
                let distinct: BTreeSet<_> = endpoints
                    .iter()
                    .filter_map(|endpoint| endpoint.seen_from)
                    .collect();
                if distinct.is_empty() {
                    // An empty list would bind the certificate to no address.
                    return Err(UpstreamError::Internal(
                        "no address of this machine leads to the target",
                    ));
                }
                distinct.iter().map(ToString::to_string).collect()
            }
        };
        // The last handshake may begin when the wait is just not over.
        let valid =
            config.pace.wait_limit + config.connect_timeout * u32::from(ADDRESSES) + config.handshake_timeout;
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
            valid_seconds: u32::try_from(valid.as_secs()).unwrap_or(u32::MAX),
        };
        Ok(self.worker.shared.control.issue_upstream(request).await?)
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

/// One way to sign in: a login of the target, with a certificate of the control plane's. Whether it is taken does not depend
/// on the single certificate.
fn paced_credential(login: &str) -> PacedCredential {
    PacedCredential(name_hash(login))
}

/// `host` of `host:port`, without the brackets of an IPv6 address: what a host certificate must name.
fn dialled_name(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// This machine has run out of something, or cannot dial from where it should: no word about the target.
fn is_our_own(error: &io::Error) -> bool {
    const OWN: [i32; 6] = [
        libc::EADDRINUSE,
        libc::EADDRNOTAVAIL,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
    ];
    error.raw_os_error().is_some_and(|code| OWN.contains(&code))
}

/// Addresses of one name that are tried.
const ADDRESSES: u8 = 4;

/// How much longer the client is kept in doubt whether it is signed in: node's ssh2 gives up 20 s after it has connected, paramiko
/// 30 s after its request, and neither would show why.
const CLIENTS_PATIENCE: Duration = Duration::from_secs(10);

/// A wait that is longer is explained while it lasts.
const PATIENCE: Duration = Duration::from_secs(2);
