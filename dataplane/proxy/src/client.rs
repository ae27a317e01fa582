//! A client's connection from accept to the end: handshake, sign-in, and then its session.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc};

use futures_util::future::{Either, select};
use monoio::net::TcpStream;
use tracing::{debug, info};
use weir_api::audit::{AuthFailure as AuditedFailure, Serial};
use weir_ssh::{
    DisconnectReason, Hop,
    auth::{
        AuthError, Replies, banner,
        server::{AuthFailure, Authenticated, Authority, ServerAuth, ServerStep},
    },
};

use crate::{
    audit,
    clock::Clock,
    hop_stream::{HopEnd, HopStream, Incoming},
    receive::Received,
    session,
    shared::Counters,
    view::View,
    worker::Worker,
};

/// Attempts with keys per connection, as sshd's `MaxAuthTries`.
const MAX_AUTH_TRIES: u32 = 6;

/// Serves one client to its end.
///
/// The phases before the session are boxed: their memory is given back when they are over, and what stays for hours is
/// the session's own.
pub(crate) async fn serve(worker: &Rc<Worker>, socket: TcpStream, address: SocketAddr) {
    let Some(client) = Box::pin(welcome(worker, socket, address)).await else {
        return;
    };
    if let Some(session) = Box::pin(session::begin(worker, client)).await {
        session.run(worker).await;
    }
}

/// A client whose user has signed in.
pub(crate) struct Client {
    pub(crate) hop: HopStream,
    pub(crate) received: Received,
    pub(crate) address: SocketAddr,
    pub(crate) authenticated: Authenticated,
    /// The word that it is signed in, which it has not been told.
    pub(crate) success: Vec<u8>,
}

/// A client who has signed in and does not know yet. As long as that is so, a banner may say what is waited for (RFC 4252 §5.4:
/// "at any time after this authentication protocol starts and before authentication is successful").
pub(crate) struct Doorstep<'a> {
    hop: &'a HopStream,
    success: Cell<Option<Vec<u8>>>,
}

impl<'a> Doorstep<'a> {
    pub(crate) fn new(hop: &'a HopStream, success: Vec<u8>) -> Self {
        Self {
            hop,
            success: Cell::new(Some(success)),
        }
    }

    /// Tells the client that it is signed in, once.
    pub(crate) fn let_in(&self) {
        if let Some(success) = self.success.take() {
            self.say(&success);
            self.hop.step(|hop, _, _| hop.set_authenticated());
        }
    }

    /// Shows a line to the user, if that is still possible.
    pub(crate) fn notice(&self, line: &str) {
        if let Some(success) = self.success.take() {
            self.say(&banner(line));
            self.success.set(Some(success));
        }
    }

    /// Who does not take it is found to have gone by who reads from it.
    fn say(&self, payload: &[u8]) {
        if let Err(end) = self.hop.seal(payload) {
            debug!(%end, "nothing more can be said to the client");
        }
        self.hop.send();
    }
}

/// Exchanges keys and lets the user sign in; `None` when nothing came of it.
async fn welcome(worker: &Rc<Worker>, socket: TcpStream, address: SocketAddr) -> Option<Box<Client>> {
    Counters::count(&worker.shared.counters.accepted);
    let transport = Hop::server(
        Arc::clone(&worker.shared.toward_clients),
        Arc::clone(&worker.shared.host_keys.load()),
    );
    let hop = HopStream::new(socket, transport, worker.clock, Rc::clone(&worker.supplies));
    let mut received = Received::new(Arc::clone(&worker.pool));
    hop.start();

    let signed_in = {
        let _stranger = worker.stranger();
        let sign_in = std::pin::pin!(sign_in(worker, &hop, &mut received, address));
        let grace = worker.shared.config.login_grace;
        let in_time = std::pin::pin!(monoio::time::timeout(grace, sign_in));
        match select(in_time, std::pin::pin!(worker.ending())).await {
            Either::Left((Ok(outcome), _)) => outcome,
            Either::Left((Err(_), _)) => Err(SignInEnd::TooSlow),
            Either::Right(_) => Err(SignInEnd::Stopping),
        }
    };
    match signed_in {
        Ok((authenticated, success)) => Some(Box::new(Client {
            hop,
            received,
            address,
            authenticated,
            success,
        })),
        Err(end) => {
            Counters::count(&worker.shared.counters.unauthenticated);
            end.close(worker, &hop, address);
            None
        }
    }
}

/// Why a client did not get to a session.
enum SignInEnd {
    Hop(HopEnd),
    TooSlow,
    Stopping,
    Refused(AuthError),
}

impl From<HopEnd> for SignInEnd {
    fn from(end: HopEnd) -> Self {
        Self::Hop(end)
    }
}

impl SignInEnd {
    fn close(self, worker: &Worker, hop: &HopStream, client: SocketAddr) {
        let (reason, text) = match self {
            Self::Hop(HopEnd::Protocol(error)) => (error.disconnect_reason(), error.to_string()),
            Self::Refused(error) => {
                if let AuthError::TooManyFailures { last: Some(failure) } = &error {
                    report_failure(worker, client, failure);
                }
                (error.disconnect_reason(), error.to_string())
            }
            // Bare connects of scanners and health checks are not worth a line.
            Self::Hop(end) => return debug!(%client, %end, "gone before sign-in"),
            Self::TooSlow => {
                let seconds = worker.shared.config.login_grace.as_secs();
                (
                    DisconnectReason::ByApplication,
                    format!("not signed in within {seconds} s"),
                )
            }
            Self::Stopping => (
                DisconnectReason::ByApplication,
                "weir is shutting down".to_owned(),
            ),
        };
        let ident = hop.hop(|hop| hop.peer_ident().to_owned());
        info!(%client, ident, reason = %text, "connection refused before sign-in");
        audit::sign_in_failed(
            &*worker.shared.control,
            client,
            "",
            AuditedFailure {
                reason: text.clone(),
                ident: Some(ident),
                ..AuditedFailure::default()
            },
        );
        hop.disconnect(reason, &text);
    }
}

async fn sign_in(
    worker: &Worker,
    hop: &HopStream,
    received: &mut Received,
    client: SocketAddr,
) -> Result<(Authenticated, Vec<u8>), SignInEnd> {
    while !matches!(hop.next(received).await?, Incoming::KeysInstalled) {}
    let mut auth = hop.hop(|hop| {
        let session_id = hop.session_id().unwrap_or_default();
        let host_key = hop.host_key().unwrap_or_default();
        ServerAuth::new(session_id, client.ip(), host_key, MAX_AUTH_TRIES, None)
    });
    let mut replies = Replies::new();
    loop {
        let Incoming::Packet { position, packet } = hop.next(received).await? else {
            continue;
        };
        let payload = received.at(position, &packet.payload);
        let view = worker.shared.view.load_full();
        let step = auth.receive(payload, Clock::wall_secs(), &Signers(&view), &mut replies);
        let is_signed_in = matches!(step, Ok(ServerStep::Authenticated(_)));
        let success = is_signed_in.then(|| replies.pop()).flatten();
        for reply in replies.drain(..) {
            hop.seal(&reply)?;
        }
        match step.map_err(SignInEnd::Refused)? {
            ServerStep::Continue => {}
            ServerStep::Refused(failure) => report_failure(worker, client, &failure),
            ServerStep::Authenticated(authenticated) => {
                let success = success.expect("who is signed in is to be told so");
                return Ok((*authenticated, success));
            }
        }
    }
}

fn report_failure(worker: &Worker, client: SocketAddr, failure: &AuthFailure) {
    let AuthFailure {
        user,
        method,
        fingerprint,
        certificate,
        why,
    } = failure;
    info!(%client, user, method, fingerprint, %why, "sign-in refused");
    let told = AuditedFailure {
        reason: why.to_string(),
        method: Some(method.to_string()),
        fingerprint: fingerprint.clone(),
        key_id: certificate.as_ref().map(|(key_id, _)| key_id.clone()),
        serial: certificate.as_ref().map(|(_, serial)| Serial(*serial)),
        ident: None,
    };
    audit::sign_in_failed(&*worker.shared.control, client, user, told);
}

/// Whose certificates let a user in, by the newest snapshot.
struct Signers<'a>(&'a View);

impl Authority for Signers<'_> {
    fn principal<'u>(&self, user: &'u str) -> Option<&'u str> {
        // A name without a target is let in if the certificate holds it as a login, to be told in words what is missing.
        Some(weir_policy::split_user_name(user).map_or(user, |(login, _node)| login))
    }

    fn trusts_user_ca(&self, key: &[u8]) -> bool {
        self.0.trusts_user_ca(key)
    }
}
