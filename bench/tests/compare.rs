//! `compare` on small amounts: every row is measured. What the figures are is for `bench/compare` to say.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const SMALL: [&str; 10] = [
    "--gb",
    "0.01",
    "--sessions",
    "2",
    "--keys",
    "5",
    "--typists",
    "3",
    "--idle",
    "2",
];

#[test]
fn every_row_is_measured_without_a_failure() {
    let rows = compare(&SMALL);
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "Weir, recorded whole",
            "Weir, to default limit",
            "Weir, synchronously",
            "Weir, not recorded",
            "direct",
            "russh forwarder",
            "io_uring relay + AES-GCM"
        ]
    );
    for row in &rows {
        assert_eq!(row["failures"], Value::Array(vec![]), "{row}");
        assert!(
            row["figures"]["gb_per_s_down"].is_f64() && row["figures"]["gb_per_s_up"].is_f64(),
            "{row}"
        );
    }
    // A proxy has every figure of its own; among others who type, Weir alone.
    for (proxy, known) in [(0, 12), (2, 12), (3, 12), (5, 9), (6, 9)] {
        let figures = rows[proxy]["figures"].as_object().unwrap();
        let measured = figures.values().filter(|figure| figure.is_f64()).count();
        assert_eq!((figures.len(), measured), (12, known), "{figures:?}");
    }
}

#[test]
fn random_bytes_go_both_ways_too() {
    let rows = compare(&[&SMALL[..], &["--data", "random", "--only", "weir"]].concat());
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["failures"], Value::Array(vec![]), "{}", rows[0]);
}

#[test]
fn transfers_are_measured_in_each_mode() {
    let done = tool()
        .args(["transfers", "--gb", "0.01", "--rounds", "1"])
        .output()
        .expect("compare can be run");
    let (table, said) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{said}");
    for mode in ["not followed", "followed", "followed, with SHA-256"] {
        let row = table
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{mode:24}")));
        let row = row.unwrap_or_else(|| panic!("no row {mode:?}: {table}"));
        let figures: Vec<f64> = row
            .split_whitespace()
            .map(|figure| figure.parse().unwrap())
            .collect();
        assert_eq!(figures.len(), 6, "{row}");
        assert!(figures[0] > 0.0 && figures[3] > 0.0, "{row}");
    }
}

/// The tool, with a Weir to measure beside it.
fn tool() -> Command {
    let tool = Path::new(env!("CARGO_BIN_EXE_compare"));
    // Cargo builds a package's binaries for the tests of that package alone, so this must be there already.
    let weir = tool.with_file_name("weir");
    assert!(
        weir.exists(),
        "no {} to measure: run `cargo build -p weir-cli` first (`make test` does)",
        weir.display()
    );
    let mut command = Command::new(tool);
    command.stdin(Stdio::null());
    command
}

fn compare(args: &[&str]) -> Vec<Value> {
    let done = tool()
        .args(args)
        .arg("--json")
        .output()
        .expect("compare can be run");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let table: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    table["rows"].as_array().expect("rows").clone()
}
