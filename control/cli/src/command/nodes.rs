//! `weir nodes`: the OpenSSH servers behind Weir.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use weir_api::admin::{AddNodeRequest, ListNodesRequest, NodeEntry, RemoveNodeRequest};

use super::{joined_pairs, list};
use crate::arguments::{Nodes, distinct};
use crate::client::{connect, converse};
use crate::failure::refusal;
use crate::files::read_public_key;

/// One row of `weir nodes ls --json`.
#[derive(Serialize)]
struct Node {
    id: String,
    name: String,
    address: String,
    labels: BTreeMap<String, String>,
    pinned_host_keys: usize,
}

pub(crate) fn run(data: &Path, command: Nodes) -> anyhow::Result<()> {
    match command {
        Nodes::Add {
            name,
            addr,
            labels,
            host_key,
        } => {
            let request = AddNodeRequest {
                name,
                address: addr,
                labels: distinct("label", labels)?.into_iter().collect(),
                pinned_host_keys: host_key
                    .iter()
                    .map(|file| read_public_key(file))
                    .collect::<Result<_, _>>()?,
                pacing: None,
            };
            converse(async { connect(data).await?.add_node(request).await.map_err(refusal) })?;
            Ok(())
        }
        Nodes::Ls(listing) => {
            let reply = converse(async {
                Ok(connect(data)
                    .await?
                    .list_nodes(ListNodesRequest {})
                    .await
                    .map_err(refusal)?
                    .into_inner())
            })?;
            let nodes: Vec<_> = reply.nodes.into_iter().map(row).collect();
            list(
                listing.json,
                ["NAME", "ADDRESS", "LABELS", "HOST KEY", "ID"],
                &nodes,
                |node| {
                    let host_key = match node.pinned_host_keys {
                        0 => "certificate".to_owned(),
                        n => format!("{n} pinned"),
                    };
                    [
                        node.name.clone(),
                        node.address.clone(),
                        joined_pairs(&node.labels),
                        host_key,
                        node.id.clone(),
                    ]
                },
            )
        }
        Nodes::Rm { name } => converse(async {
            connect(data)
                .await?
                .remove_node(RemoveNodeRequest { name })
                .await
                .map_err(refusal)?;
            Ok(())
        }),
    }
}

fn row(entry: NodeEntry) -> Node {
    let node = entry.node.unwrap_or_default();
    Node {
        id: node.id,
        name: node.name,
        address: node.address,
        labels: node.labels.into_iter().collect(),
        pinned_host_keys: node.pinned_host_keys.len(),
    }
}
