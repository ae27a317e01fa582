//! The single arrow between the two halves: schema, generated types, the control interface.

/// Messages between a data plane and the control plane.
#[expect(missing_docs, reason = "generated; the schema carries the documentation")]
pub mod dataplane {
    tonic::include_proto!("weir.dataplane.v1");
}
