//! One session: where to, whether, recorded how, and what became of it.

use std::rc::Rc;

use futures_util::future::{Either, select};
use tracing::info;
use ulid::Ulid;
use weir_api::audit::{
    ClientDisconnect, Ender, RecordingFailed, RecordingMode, Serial, SessionRejected, UserLogin,
};
use weir_api::dataplane::SessionStatus;
use weir_policy::Deny;
use weir_relay::{OpenFailure, Refusal, Relay, Side};
use weir_ssh::auth::server::Authenticated;

use crate::{
    access::Access,
    audit::Subject,
    client::{Client, Doorstep},
    clock::Clock,
    hop_stream::HopEnd,
    receive::Received,
    refusing,
    relaying::{RelayEnd, Relaying},
    session_log::SessionLog,
    shared::Counters,
    upstream::{Route, UpstreamError},
    worker::Worker,
};

/// Why a user who signed in gets no session; the client's first channel is refused with these words.
#[derive(Debug, thiserror::Error)]
enum Rejection {
    #[error("no target in user name {user:?}: name one as login@node, for instance {user}@web1")]
    NoTarget { user: String },
    #[error("{0}")]
    Denied(#[from] Deny),
    #[error(
        "the certificate forces the command {command:?}, which this proxy cannot enforce on the target; \
         ask for a certificate without force-command"
    )]
    ForcedCommand { command: String },
    #[error("{0}")]
    Recording(String),
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    #[error("weir is shutting down")]
    Stopping,
}

impl Rejection {
    fn refusal(&self) -> Refusal {
        let code = match self {
            Self::Upstream(_) => OpenFailure::ConnectFailed,
            _ => OpenFailure::AdministrativelyProhibited,
        };
        Refusal {
            code,
            reason: self.to_string(),
        }
    }

    /// The limit that was reached, where it was one.
    fn maximum(&self) -> Option<u64> {
        match self {
            Self::Upstream(error) => error.maximum(),
            _ => None,
        }
    }

    /// What decided, for the audit record: the user is told less.
    fn rule(&self) -> Option<String> {
        match self {
            Self::Denied(deny) => Some(format!("{:?}", deny.rule)),
            _ => None,
        }
    }
}

/// A session whose target has let the user in.
pub(crate) struct Session {
    relaying: Relaying,
    from_client: Received,
    from_target: Received,
}

/// Opens the way to the target that the user named. Whoever gets none is told why, and that is the end: `None`.
pub(crate) async fn begin(worker: &Rc<Worker>, client: Box<Client>) -> Option<Box<Session>> {
    let Client {
        hop: client,
        mut received,
        address,
        authenticated,
        success,
    } = *client;
    let (login, node) =
        weir_policy::split_user_name(authenticated.user()).unwrap_or((authenticated.user(), ""));
    let view = worker.shared.view.load_full();
    // A node goes by the name it was given, however the user called it.
    let (node, node_address) = match view.policy.target(node) {
        Ok(known) => (&*known.name, &*known.address),
        Err(_) => (node, ""),
    };
    let id = Ulid::generate();
    let subject = Subject {
        id,
        session: id.to_string(),
        user: authenticated.certificate().certificate().key_id().to_owned(),
        login: login.to_owned(),
        node: node.to_owned(),
        node_address: node_address.to_owned(),
        client: address,
        recording: None,
        start_us: Clock::wall_us(),
    };
    drop(view);
    report_login(worker, &subject, &authenticated);
    let answers_ping = client.hop(|hop| hop.peer_extensions().ping);
    let mut relay = Relay::new(answers_ping);
    let doorstep = Doorstep::new(&client, success);
    let opened = {
        let opening = std::pin::pin!(open(worker, &subject, &authenticated, &doorstep));
        let gone = std::pin::pin!(client.gone(&mut received));
        let ending = std::pin::pin!(worker.ending());
        match select(select(opening, ending), gone).await {
            Either::Left((Either::Left((opened, _)), _)) => opened,
            Either::Left((Either::Right(_), _)) => Err(Rejection::Stopping),
            Either::Right((end, _)) => {
                info!(session = subject.session, user = subject.user, %end, "client left before its session began");
                report_departure(worker, &subject, &end);
                return None;
            }
        }
    };
    if let Ok(opened) = &opened {
        for text in &opened.upstream.banners {
            doorstep.notice(text);
        }
    }
    // Whoever is refused is let in too, to be told why.
    doorstep.let_in();
    match opened {
        Ok(Opened {
            subject,
            access,
            log,
            upstream,
        }) => {
            relay.attach(weir_relay::Upstream {
                answers_ping: upstream.hop.hop(|hop| hop.peer_extensions().ping),
            });
            Counters::count(&worker.shared.counters.relayed);
            info!(
                session = subject.session, user = subject.user, login = subject.login, node = subject.node,
                client = %subject.client, "session started"
            );
            Some(Box::new(Session {
                relaying: Relaying::new(client, upstream.hop, relay, access, log, upstream.slot),
                from_client: received,
                from_target: upstream.received,
            }))
        }
        Err(rejection) => {
            Counters::count(&worker.shared.counters.rejected);
            let reason = rejection.to_string();
            info!(
                session = subject.session, user = subject.user, login = subject.login, node = subject.node,
                client = %subject.client, reason, "session rejected"
            );
            let event = subject.event(&SessionRejected {
                reason: reason.clone(),
                rule: rejection.rule(),
                maximum: rejection.maximum(),
            });
            worker.shared.control.report(vec![event], Vec::new());
            relay.refuse(rejection.refusal());
            refusing::run(worker, &client, received, relay, &reason).await;
            None
        }
    }
}

impl Session {
    /// Relays to the end, and writes down how it came.
    pub(crate) async fn run(mut self: Box<Self>, worker: &Rc<Worker>) {
        let end = self
            .relaying
            .run(worker, &mut self.from_client, &mut self.from_target)
            .await;
        finish(&end, self.relaying.into_log());
    }
}

/// A session that may begin.
struct Opened {
    subject: Subject,
    access: Access,
    log: SessionLog,
    upstream: crate::upstream::Upstream,
}

async fn open(
    worker: &Rc<Worker>,
    subject: &Subject,
    authenticated: &Authenticated,
    doorstep: &Doorstep<'_>,
) -> Result<Opened, Rejection> {
    let view = worker.shared.view.load_full();
    let Some((login, target)) = weir_policy::split_user_name(authenticated.user()) else {
        return Err(Rejection::NoTarget {
            user: authenticated.user().to_owned(),
        });
    };
    let node = view.policy.target(target)?;
    let grant = view.policy.access(&subject.user, login, node)?;
    if let Some(command) = authenticated.certificate().force_command() {
        return Err(Rejection::ForcedCommand {
            command: command.to_owned(),
        });
    }
    let access = Access::new(grant, authenticated.certificate(), &view);
    let terms = access.recording_terms(&view);
    let subject = Subject {
        recording: Some(match &terms {
            None => RecordingMode::Off,
            Some(terms) if terms.is_sync => RecordingMode::Sync,
            Some(_) => RecordingMode::Async,
        }),
        ..subject.clone()
    };
    let route = Route {
        worker,
        subject: &subject,
        authenticated,
        view: &view,
        node,
        login: weir_policy::styled_login(authenticated.user()).unwrap_or(login),
        priority: access.priority(),
    };
    let upstream = route.open(doorstep).await?;
    // The recording is opened before the first byte of the session passes.
    let mut log = SessionLog::begin(worker, &subject, &view, node, terms, &upstream.connected)
        .map_err(|error| Rejection::Recording(view.recording_failed(&error)))?;
    if access.records_only_echoed() {
        log.withhold_unechoed();
    }
    Ok(Opened {
        subject,
        access,
        log,
        upstream,
    })
}

fn finish(end: &RelayEnd, log: SessionLog) {
    let subject = log.subject();
    info!(
        session = subject.session,
        user = subject.user,
        why = end.why,
        "session ended"
    );
    let status = match end.side {
        Some(Side::Client | Side::Target) => SessionStatus::Complete,
        None => SessionStatus::Interrupted,
    };
    if let Some(error) = &end.unrecorded {
        log.report(&RecordingFailed {
            reason: error.to_string(),
            action: "stopped".to_owned(),
        });
    }
    log.report(&ClientDisconnect {
        reason: end.why.clone(),
        by: match end.side {
            Some(Side::Client) => Ender::Client,
            Some(Side::Target) => Ender::Target,
            None => Ender::Weir,
        },
    });
    log.finish(status, &end.why);
}

fn report_login(worker: &Worker, subject: &Subject, authenticated: &Authenticated) {
    let certificate = authenticated.certificate().certificate();
    let event = subject.event(&UserLogin {
        method: "publickey".to_owned(),
        serial: Serial(certificate.serial()),
        fingerprint: certificate.key().fingerprint(),
        valid_before: certificate.valid_before(),
    });
    worker.shared.control.report(vec![event], Vec::new());
}

fn report_departure(worker: &Worker, subject: &Subject, end: &HopEnd) {
    let event = subject.event(&SessionRejected {
        reason: format!("client left before its session began: {end}"),
        rule: None,
        maximum: None,
    });
    worker.shared.control.report(vec![event], Vec::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_at_rest_fits_into_two_kibibytes() {
        // One byte more, and the allocator gives two and a half.
        assert!(size_of::<Session>() <= 2048, "{}", size_of::<Session>());
    }
}
