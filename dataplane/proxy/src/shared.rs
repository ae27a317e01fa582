//! What all cores share: read often, written rarely, nothing of it on the byte path.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwap;
use weir_api::ControlPlane;
use weir_ssh::{HostKey, TransportConfig};

use crate::{
    clock::Clock, config::ProxyConfig, pacing::Pacing, recorder::Recorder, resolver::Resolver, view::View,
};

/// The data plane apart from its threads.
pub(crate) struct Shared {
    pub(crate) config: ProxyConfig,
    pub(crate) clock: Clock,
    pub(crate) control: Arc<dyn ControlPlane>,
    pub(crate) view: Arc<ArcSwap<View>>,
    pub(crate) host_keys: ArcSwap<Arc<[HostKey]>>,
    pub(crate) recorder: Recorder,
    pub(crate) pacing: Pacing,
    pub(crate) resolver: Resolver,
    pub(crate) toward_clients: Arc<TransportConfig>,
    pub(crate) toward_targets: Arc<TransportConfig>,
    pub(crate) counters: Counters,
}

/// What the data plane counts over all cores.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections accepted.
    pub(crate) accepted: AtomicU64,
    /// Connections whose user failed to sign in.
    pub(crate) unauthenticated: AtomicU64,
    /// Sessions that were refused after sign-in.
    pub(crate) rejected: AtomicU64,
    /// Sessions relayed to a target.
    pub(crate) relayed: AtomicU64,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}
