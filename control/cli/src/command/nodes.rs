//! `weir nodes`: the OpenSSH servers behind Weir.

mod hint;
mod pacing;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use weir_api::admin::{AddNodeRequest, ListNodesRequest, NodeEntry, RemoveNodeRequest, TuneNodeRequest};

use super::{joined_pairs, list};
use crate::arguments::{Nodes, distinct};
use crate::client::{connect, converse};
use crate::failure::{refusal, usage};
use crate::files::read_public_key;

/// One row of `weir nodes ls --json`.
#[derive(Serialize)]
struct Node {
    id: String,
    name: String,
    address: String,
    labels: BTreeMap<String, String>,
    pinned_host_keys: usize,
    pacing_hint: Option<hint::Shown>,
}

pub(crate) fn run(data: &Path, command: Nodes) -> anyhow::Result<()> {
    match command {
        Nodes::Add {
            name,
            addr,
            labels,
            host_key,
            hint,
        } => {
            let request = AddNodeRequest {
                name,
                address: addr,
                labels: distinct("label", labels)?.into_iter().collect(),
                pinned_host_keys: host_key
                    .iter()
                    .map(|file| read_public_key(file))
                    .collect::<Result<_, _>>()?,
                pacing: hint::of_flags(hint)?,
            };
            converse(async { connect(data).await?.add_node(request).await.map_err(refusal) })?;
            Ok(())
        }
        Nodes::Tune { name, hint, forget } => {
            let pacing = hint::of_flags(hint)?;
            if pacing.is_none() && !forget {
                return Err(usage(
                    "got nothing to say of the node: give --max-startups, --per-source-max-startups, --max-handshakes, \
                     --no-penalties or --sshd-config, or --forget",
                ));
            }
            let request = TuneNodeRequest { name, pacing };
            converse(async { connect(data).await?.tune_node(request).await.map_err(refusal) })?;
            Ok(())
        }
        Nodes::Ls { json, pacing: true } => pacing::list(data, json),
        Nodes::Ls { json, pacing: false } => ls(data, json),
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

fn ls(data: &Path, json: bool) -> anyhow::Result<()> {
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
        json,
        ["NAME", "ADDRESS", "LABELS", "HOST KEY", "PACING", "ID"],
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
                node.pacing_hint
                    .as_ref()
                    .map(hint::Shown::word)
                    .unwrap_or_default(),
                node.id.clone(),
            ]
        },
    )
}

fn row(entry: NodeEntry) -> Node {
    let node = entry.node.unwrap_or_default();
    Node {
        id: node.id,
        name: node.name,
        address: node.address,
        labels: node.labels.into_iter().collect(),
        pinned_host_keys: node.pinned_host_keys.len(),
        pacing_hint: node.pacing.map(hint::Shown::from),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use weir_pace::MaxStartups;
    use weir_server::{Control, ControlConfig};

    use super::*;
    use crate::arguments::{Arguments, Command};
    use crate::failure::is_usage;

    /// A control plane that administrators can ask.
    struct World {
        control: Control,
        directory: tempfile::TempDir,
    }

    impl World {
        fn new() -> World {
            let directory = tempfile::tempdir().unwrap();
            let control = Control::open(ControlConfig {
                data_dir: directory.path().to_owned(),
                ..ControlConfig::default()
            })
            .unwrap();
            World { control, directory }
        }

        /// As somebody types it behind `weir nodes`.
        fn typed(&self, words: &[&str]) -> anyhow::Result<()> {
            let line = ["weir", "nodes"].iter().chain(words);
            let Command::Nodes(command) = Arguments::try_parse_from(line)?.command else {
                unreachable!("it begins with nodes");
            };
            run(self.directory.path(), command)
        }

        /// What data planes are told of the only node.
        fn hint(&self) -> Option<weir_api::dataplane::PacingHint> {
            self.control.data_plane().snapshot().nodes[0].pacing.clone()
        }
    }

    #[test]
    fn a_hint_is_typed_with_the_node_and_replaced_or_forgotten_later() {
        let world = World::new();
        let printed = world.directory.path().join("printed");
        std::fs::write(&printed, "maxstartups 200:30:400\npersourcemaxstartups 7\n").unwrap();
        let printed = printed.to_str().unwrap();
        world
            .typed(&[
                "add",
                "web1",
                "--addr",
                "web1",
                "--sshd-config",
                printed,
                "--max-handshakes",
                "50",
            ])
            .unwrap();
        let hint = world.hint().unwrap();
        assert_eq!(
            (
                &*hint.max_startups,
                hint.per_source_max_startups,
                hint.max_handshakes
            ),
            ("200:30:400", 7, 50)
        );
        world.typed(&["tune", "WEB1", "--no-penalties"]).unwrap();
        let hint = world.hint().unwrap();
        assert_eq!((&*hint.max_startups, hint.no_penalties), ("", true));

        let error = world.typed(&["tune", "web1"]).unwrap_err();
        assert!(
            is_usage(&error) && error.to_string().contains("or --forget"),
            "{error}"
        );
        assert!(world.hint().is_some());
        world.typed(&["tune", "web1", "--forget"]).unwrap();
        assert_eq!(world.hint(), None);
    }

    #[test]
    fn every_node_has_a_row_also_where_nobody_paces() {
        let world = World::new();
        world.typed(&["add", "web1", "--addr", "web1"]).unwrap();
        let rows = converse(pacing::ask(world.directory.path())).unwrap();
        assert_eq!(rows.len(), 1);
        assert!(rows[0].pacing.is_none() && rows[0].data_plane.is_empty());
    }

    /// The control plane has a check of its own, since it does not use the pacer.
    #[test]
    fn the_control_plane_takes_what_the_pacer_understands_and_nothing_else() {
        let world = World::new();
        world.typed(&["add", "web1", "--addr", "web1"]).unwrap();
        for text in [
            "5",
            "0",
            "1",
            "+5",
            "05",
            " 5",
            "5 ",
            "-1",
            "x",
            "4294967295",
            "4294967296",
            "10:30:100",
            "10:30",
            "20:30:10",
            "10:0:100",
            "10:101:100",
            "10:1:10",
            "10:100:10",
            "0:30:100",
            "1:2:3:4",
            "::",
            ":30:100",
            "10:30:",
            "10:30:100:",
            "10::100",
            "10,30,100",
        ] {
            let typed = format!("--max-startups={text}");
            let taken = world.typed(&["tune", "web1", &typed]);
            assert_eq!(
                taken.is_ok(),
                MaxStartups::parse(text).is_some(),
                "{text:?}: {taken:?}"
            );
            if taken.is_ok() {
                assert_eq!(world.hint().unwrap().max_startups, text);
            }
        }
    }

    #[test]
    fn nonsense_for_an_address_is_refused_in_words() {
        let world = World::new();
        for address in [
            "web1:ssh",
            "web1:0",
            "web1:65536",
            "fe80::1",
            "ssh://web1",
            "no sense",
        ] {
            let error = world.typed(&["add", "web1", "--addr", address]).unwrap_err();
            assert!(
                is_usage(&error) && error.to_string().contains("expecting a host name or address"),
                "{error}"
            );
        }
    }
}
