use tonic::Status;
use ulid::Ulid;
use weir_api::admin::{
    AddNodeRequest, ListNodesReply, NodeEntry, RemoveNodeReply, RemoveNodeRequest, TuneNodeRequest,
};
use weir_api::audit::{self, NodeJoin, NodeRemove, NodeTune, Pacing};
use weir_api::dataplane::{Node, PacingHint};
use weir_ssh::key::PublicKey;
use weir_store::{AuditEvent, Expect, Kind};

use super::{Caller, pacing, wording};
use crate::control::Shared;
use crate::convert;
use crate::directory::{Directory, Entry, put_node, remove as remove_resource};

pub(super) async fn add(
    shared: &Shared,
    caller: Caller,
    request: AddNodeRequest,
) -> Result<NodeEntry, Status> {
    wording::node_name(&request.name)?;
    request
        .labels
        .keys()
        .try_for_each(|key| wording::label_key(key))?;
    let pinned = request
        .pinned_host_keys
        .iter()
        .map(|line| wording::public_key(line))
        .collect::<Result<Vec<_>, _>>()?;
    let node = Node {
        id: Ulid::generate().to_string(),
        address: wording::address(&request.address)?,
        name: request.name,
        labels: request.labels,
        pinned_host_keys: pinned.iter().map(|key| key.blob().to_vec()).collect(),
        pacing: request.pacing.map(pacing::checked).transpose()?.flatten(),
    };
    let change = put_node(&node, &pinned, Expect::Absent);
    let revision = shared.state.change(|_| Ok::<_, Status>(vec![change])).await?;
    let detail = NodeJoin {
        id: node.id.clone(),
        address: node.address.clone(),
        labels: node.labels.clone(),
        pinned: pinned.len() as u64,
        pacing: node.pacing.as_ref().map(known),
        administrator: caller.as_administrator(),
    };
    shared.journal.event(of_node(&node, &detail));
    Ok(NodeEntry {
        node: Some(node),
        revision,
    })
}

pub(super) async fn list(shared: &Shared) -> ListNodesReply {
    let directory = shared.state.directory().await;
    let entry = |entry: &Entry<Node>| NodeEntry {
        node: Some(entry.value.clone()),
        revision: entry.revision,
    };
    ListNodesReply {
        nodes: directory.nodes.values().map(entry).collect(),
    }
}

/// Replaces what is known of how many handshakes a node takes.
pub(super) async fn tune(
    shared: &Shared,
    caller: Caller,
    request: TuneNodeRequest,
) -> Result<NodeEntry, Status> {
    let hint = request.pacing.map(pacing::checked).transpose()?.flatten();
    let mut tuned = Node::default();
    let plan = |directory: &Directory| {
        let entry = directory
            .node(&request.name)
            .ok_or_else(|| unknown(&request.name))?;
        tuned = Node {
            pacing: hint,
            ..entry.value.clone()
        };
        let pinned = tuned
            .pinned_host_keys
            .iter()
            .map(|key| PublicKey::from_blob(key))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|problem| Status::internal(format!("pinned host key of {}: {problem}", tuned.name)))?;
        Ok(vec![put_node(&tuned, &pinned, Expect::Revision(entry.revision))])
    };
    let revision = shared.state.change(plan).await?;
    let detail = NodeTune {
        pacing: tuned.pacing.as_ref().map(known),
        administrator: caller.as_administrator(),
    };
    shared.journal.event(of_node(&tuned, &detail));
    Ok(NodeEntry {
        node: Some(tuned),
        revision,
    })
}

pub(super) async fn remove(
    shared: &Shared,
    caller: Caller,
    request: &RemoveNodeRequest,
) -> Result<RemoveNodeReply, Status> {
    let mut removed = Node::default();
    let plan = |directory: &Directory| match directory.node(&request.name) {
        Some(Entry { value: node, .. }) => {
            removed.clone_from(node);
            Ok(vec![remove_resource(Kind::Node, &node.name.to_ascii_lowercase())])
        }
        None => Err(unknown(&request.name)),
    };
    shared.state.change(plan).await?;
    let detail = NodeRemove {
        administrator: caller.as_administrator(),
    };
    shared.journal.event(of_node(&removed, &detail));
    Ok(RemoveNodeReply {})
}

fn unknown(name: &str) -> Status {
    Status::not_found(format!(
        "node {name:?} does not exist: weir nodes ls shows those that do"
    ))
}

fn of_node<K: audit::Kind>(node: &Node, detail: &K) -> AuditEvent {
    AuditEvent {
        node: node.name.clone(),
        node_address: node.address.clone(),
        ..convert::event(detail)
    }
}

/// A hint in an audit event.
fn known(hint: &PacingHint) -> Pacing {
    Pacing {
        max_startups: hint.max_startups.clone(),
        per_source_max_startups: hint.per_source_max_startups,
        max_handshakes: hint.max_handshakes,
        no_penalties: hint.no_penalties,
    }
}
