//! The two planes meet in the binary alone: the data plane holds no CA key and sees no SQL, not even in its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

#[test]
fn no_crate_of_the_data_plane_reaches_the_control_service_its_store_or_the_binary() {
    let asked = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    let metadata: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let mut uses = BTreeMap::new();
    let mut of_data_plane = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        // Of every kind: normal, for tests, for the build; also what only a feature turns on.
        let names = package["dependencies"].as_array().unwrap().iter();
        uses.insert(
            name,
            names.filter_map(|used| used["name"].as_str()).collect::<Vec<_>>(),
        );
        if package["manifest_path"].as_str().unwrap().contains("/dataplane/") {
            of_data_plane.push(name);
        }
    }
    assert!(
        of_data_plane.contains(&"weir-proxy") && uses.contains_key("weir-server"),
        "{uses:?}"
    );

    let mut reached = BTreeSet::new();
    let mut open = of_data_plane;
    while let Some(name) = open.pop() {
        if reached.insert(name) {
            open.extend(uses.get(name).into_iter().flatten());
        }
    }
    for foreign in ["weir-server", "weir-store", "weir-cli"] {
        assert!(!reached.contains(foreign), "the data plane depends on {foreign}");
    }
}
