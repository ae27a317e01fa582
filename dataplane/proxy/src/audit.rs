//! What happened, as the control plane keeps it.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use ulid::Ulid;
use weir_api::{
    ControlPlane,
    audit::{Auth, AuthFailure, BanSuspected, Kind, RecordingMode},
    dataplane::{AuditEvent, SessionRecord, SessionStatus},
};

use crate::{clock::Clock, pacing::OnAlert, view::View};

/// Who does what where: the part that all events of one session share.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) id: Ulid,
    /// `id` as text.
    pub(crate) session: String,
    pub(crate) user: String,
    pub(crate) login: String,
    pub(crate) node: String,
    /// As configured; empty for a node that is not known.
    pub(crate) node_address: String,
    pub(crate) client: SocketAddr,
    /// Once it is decided.
    pub(crate) recording: Option<RecordingMode>,
    pub(crate) start_us: u64,
}

impl Subject {
    /// One event of this session.
    pub(crate) fn event<K: Kind>(&self, detail: &K) -> AuditEvent {
        AuditEvent {
            session: self.session.clone(),
            user: self.user.clone(),
            login: self.login.clone(),
            node: self.node.clone(),
            node_address: self.node_address.clone(),
            client_address: self.client.to_string(),
            recording_mode: self.recording.map_or("", RecordingMode::as_str).to_owned(),
            ..bare_event(detail)
        }
    }

    /// The row of the session index while the session goes on.
    pub(crate) fn row(&self, kind: &str) -> SessionRecord {
        SessionRecord {
            id: self.session.clone(),
            user: self.user.clone(),
            login: self.login.clone(),
            node: self.node.clone(),
            kind: kind.to_owned(),
            start_us: self.start_us,
            end_us: 0,
            bytes: 0,
            status: SessionStatus::Live.into(),
            object: String::new(),
            client_address: self.client.to_string(),
            ..SessionRecord::default()
        }
    }
}

/// A failed attempt to sign in; there is no session yet.
pub(crate) fn sign_in_failed(
    control: &dyn ControlPlane,
    client: SocketAddr,
    user: &str,
    failure: AuthFailure,
) {
    let detail = Auth {
        success: false,
        failure,
    };
    let event = AuditEvent {
        user: user.to_owned(),
        client_address: client.to_string(),
        ..bare_event(&detail)
    };
    control.report(vec![event], Vec::new());
}

/// Writes down that a target seems to refuse this proxy: whoever runs it should hear of it before users ask.
pub(crate) fn ban_alert(control: Arc<dyn ControlPlane>, view: Arc<ArcSwap<View>>) -> OnAlert {
    Box::new(move |alert| {
        let view = view.load();
        let node = view
            .policy
            .target(&alert.target)
            .map_or(&*alert.target, |node| &*node.name);
        let detail = BanSuspected {
            address: alert.target.to_string(),
            source: alert.source.map(|source| source.to_string()),
            drops: alert.drops,
            advice: alert.to_string(),
        };
        let event = AuditEvent {
            node: node.to_owned(),
            node_address: alert.target.to_string(),
            ..bare_event(&detail)
        };
        control.report(vec![event], Vec::new());
    })
}

/// One event now, of nobody and nowhere yet.
fn bare_event<K: Kind>(detail: &K) -> AuditEvent {
    AuditEvent {
        id: Ulid::generate().to_string(),
        time_us: Clock::wall_us(),
        ..AuditEvent::from(detail)
    }
}
