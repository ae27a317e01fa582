use serde_json::json;
use tonic::Status;
use ulid::Ulid;
use weir_api::admin::{AddNodeRequest, ListNodesReply, NodeEntry, RemoveNodeReply, RemoveNodeRequest};
use weir_api::dataplane::Node;
use weir_store::{AuditEvent, Expect, Kind};

use super::{Caller, wording};
use crate::control::Shared;
use crate::directory::{put_node, remove as remove_resource};

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
    };
    let change = put_node(&node, &pinned, Expect::Absent);
    let revision = shared.state.change(|_| Ok::<_, Status>(vec![change])).await?;
    caller.did(
        shared,
        AuditEvent {
            kind: "node.add".to_owned(),
            node: node.name.clone(),
            ..AuditEvent::default()
        },
        json!({ "id": node.id, "address": node.address, "labels": node.labels, "pinned": pinned.len() }),
    );
    Ok(NodeEntry {
        node: Some(node),
        revision,
    })
}

pub(super) async fn list(shared: &Shared) -> ListNodesReply {
    let directory = shared.state.directory().await;
    let entry = |entry: &crate::directory::Entry<Node>| NodeEntry {
        node: Some(entry.value.clone()),
        revision: entry.revision,
    };
    ListNodesReply {
        nodes: directory.nodes.values().map(entry).collect(),
    }
}

pub(super) async fn remove(
    shared: &Shared,
    caller: Caller,
    request: &RemoveNodeRequest,
) -> Result<RemoveNodeReply, Status> {
    let mut removed = String::new();
    let plan = |directory: &crate::directory::Directory| match directory.node(&request.name) {
        Some(node) => {
            removed.clone_from(&node.name);
            Ok(vec![remove_resource(Kind::Node, &node.name.to_ascii_lowercase())])
        }
        None => Err(Status::not_found(format!(
            "node {:?} does not exist: weir nodes ls shows those that do",
            request.name
        ))),
    };
    shared.state.change(plan).await?;
    caller.did(
        shared,
        AuditEvent {
            kind: "node.remove".to_owned(),
            node: removed,
            ..AuditEvent::default()
        },
        json!({}),
    );
    Ok(RemoveNodeReply {})
}
