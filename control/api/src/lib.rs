//! The single arrow between the two halves: schema, generated types, the control interface.

pub mod audit;
mod control_plane;
mod live;
mod redacted;

pub use control_plane::{BoxFuture, ControlError, ControlPlane, Inspect, LookAtStore};
pub use live::{FOLLOWER_BYTES, Feed, Follower, Live, TooSlow, Watch, WatchError, feed};

/// Messages between a data plane and the control plane.
#[expect(missing_docs, reason = "generated; the schema carries the documentation")]
pub mod dataplane {
    tonic::include_proto!("weir.dataplane.v1");
}

/// The administrators' service, its client and its messages.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the schema carries the documentation"
)]
pub mod admin {
    tonic::include_proto!("weir.admin.v1");
}

/// Name of the admin service's socket in the control plane's data directory.
pub const ADMIN_SOCKET: &str = "control.sock";
