use std::sync::PoisonError;

use tonic::Status;
use weir_api::admin::{Export, StatusReply};

use super::wording::store_status;
use crate::clock::now_us;
use crate::control::Shared;
use crate::export::Standing;

pub(super) async fn report(shared: &Shared) -> Result<StatusReply, Status> {
    // Sessions that have just been reported are to be counted.
    shared.journal.flush().await;
    let live_sessions = shared.state.store().live_sessions().await.map_err(store_status)?;
    let newest = shared.state.store().newest_event().await.map_err(store_status)?;
    let exports = shared.exports.standing(newest).into_iter().map(export).collect();
    let mut data_planes = shared
        .data_planes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    // Those in this process are in contact as long as it runs.
    data_planes
        .iter_mut()
        .for_each(|data_plane| data_plane.last_contact_us = now_us());
    let store = match shared.look_at_store.load_full() {
        // It reads a directory.
        Some(look) => tokio::task::spawn_blocking(move || look()).await.ok(),
        None => None,
    };
    let directory = shared.state.directory().await;
    Ok(StatusReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: directory.settings.cluster.clone(),
        revision: directory.revision,
        started_us: shared.started_us,
        pid: std::process::id(),
        ready: !data_planes.is_empty(),
        data_planes,
        live_sessions,
        users: directory.users.len() as u64,
        nodes: directory.nodes.len() as u64,
        roles: directory.roles.len() as u64,
        store,
        exports,
    })
}

fn export(standing: Standing) -> Export {
    Export {
        place: standing.place,
        behind: standing.behind,
        problem: standing.problem,
    }
}
