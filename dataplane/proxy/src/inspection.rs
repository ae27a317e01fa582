//! What the control plane may ask of a running data plane.

use std::sync::{Arc, Weak};

use weir_api::dataplane::{PacingQuery, StoreStatus, TargetPacing, WaitHistogram};
use weir_api::{BoxFuture, Live, WatchError};
use weir_pace::{Snapshot, TargetId, Waits};

use crate::shared::Shared;

/// Targets in one answer.
const LIMIT: usize = 1000;

/// Answers for as long as the data plane is there.
pub(crate) fn answer_for(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let inspect = move |query: &PacingQuery| {
        Weak::upgrade(&weak).map_or_else(Vec::new, |shared| pacing(&shared, query))
    };
    shared.control.on_inspect(Box::new(inspect));
    let weak = Arc::downgrade(shared);
    let look = move || Weak::upgrade(&weak).map_or_else(StoreStatus::default, |shared| store(&shared));
    shared.control.on_store(Box::new(look));
    let weak = Arc::downgrade(shared);
    let watch = move |session: &str| -> BoxFuture<Result<Live, WatchError>> {
        match Weak::upgrade(&weak) {
            Some(shared) => Box::pin(shared.recorder.watch(session)),
            None => Box::pin(std::future::ready(Err(WatchError::NotLive(session.to_owned())))),
        }
    };
    shared.control.on_watch(Box::new(watch));
}

fn store(shared: &Shared) -> StoreStatus {
    let look = shared.recorder.backlog().look();
    StoreStatus {
        place: shared.config.store.place.to_string(),
        waiting: look.recordings,
        waiting_bytes: look.bytes,
        oldest_us: look.oldest_us,
        spool_bytes: look.spool_bytes,
        spool_free_bytes: look.free_bytes,
        problem: look.problem.unwrap_or_default(),
    }
}

fn pacing(shared: &Shared, query: &PacingQuery) -> Vec<TargetPacing> {
    let snapshots: Vec<Snapshot> = shared.pacing.look(|pacer, now| match &query.addresses[..] {
        [] => pacer.busiest(now, LIMIT),
        addresses => addresses
            .iter()
            .take(LIMIT)
            .filter_map(|address| pacer.snapshot(now, &TargetId::from(&**address)))
            .collect(),
    });
    snapshots.into_iter().map(row).collect()
}

fn row(target: Snapshot) -> TargetPacing {
    TargetPacing {
        address: target.target.to_string(),
        window: target.window,
        ceiling: target.ceiling.unwrap_or(0),
        share: target.share,
        in_flight: target.in_flight as u64,
        waiting: target.waiting as u64,
        admitted: target.admitted,
        drops: target.drops,
        retries: target.retries,
        given_up: target.given_up,
        penalty_us: micros(target.penalty),
        ban_suspected: target.ban_suspected,
        handshake_us: micros(target.handshake),
        waits: Some(waits(&target.waits)),
    }
}

fn waits(waits: &Waits) -> WaitHistogram {
    WaitHistogram {
        bounds_us: waits.bounds.iter().copied().map(micros).collect(),
        counts: waits.counts.to_vec(),
        sum_us: micros(waits.sum),
    }
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
