//! Many clients at once, and what `weir-load` says of them.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Job, Outcome};
use crate::weir::load_binary;
use crate::world::World;

/// What `weir-load --json` has printed.
pub struct Report {
    json: Value,
    printed: Outcome,
}

/// How many clients, and how many of them at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    /// In all.
    pub count: usize,
    /// At a time; each further one starts when another has ended.
    pub concurrency: usize,
}

impl Clients {
    /// All at the same moment.
    pub fn at_once(count: usize) -> Self {
        Self {
            count,
            concurrency: count,
        }
    }
}

/// The OpenSSH client itself, once per client: each says `ok` over a connection of its own to the host `target`.
pub fn real_clients(world: &World, clients: Clients, limit: Duration) -> Job {
    let config = world.path_text("config");
    weir_load(world, "burst", limit)
        .args(["--clients", &clients.count.to_string()])
        .args(["--concurrency", &clients.concurrency.to_string()])
        .args(["--expect", "ok", "--json", "--", "ssh", "-F", &config])
        .args([
            "-o",
            "ControlMaster=no",
            "-o",
            "ControlPath=none",
            "target",
            "echo ok",
        ])
}

/// Clients that cost little: this project's own transport, with the key in file `id` and its certificate.
pub fn cheap_clients(world: &World, id: &str, login: &str, clients: Clients, limit: Duration) -> Job {
    weir_load(world, "sessions", limit)
        .args(["--to", &world.address().to_string(), "--login", login])
        .args(["-i", &world.path_text(id), "--threads", "1", "--json"])
        .args(["--count", &clients.count.to_string()])
        .args(["--concurrency", &clients.concurrency.to_string()])
}

fn weir_load(world: &World, mode: &str, limit: Duration) -> Job {
    let binary = load_binary();
    world
        .job(binary.to_str().expect("a path in UTF-8"))
        .args([mode, "--timeout", &format!("{}s", limit.as_secs())])
        // Each client ends within its limit; the tool itself needs a moment more.
        .limit(limit * 2 + Duration::from_secs(10))
}

impl Report {
    /// Reads what a run has printed, whether or not all succeeded.
    pub fn of(printed: Outcome) -> Self {
        let json = serde_json::from_slice(&printed.stdout)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{printed}"));
        Self { json, printed }
    }

    /// Asserts that so many succeeded and none failed.
    #[must_use]
    pub fn all_succeeded(self, count: usize) -> Self {
        assert_eq!(
            (&self.json["succeeded"], &self.json["failed"]),
            (&Value::from(count), &Value::from(0)),
            "{self}"
        );
        self
    }

    /// From the first start to the last end.
    pub fn wall(&self) -> Duration {
        Duration::from_secs_f64(self.json["wall_s"].as_f64().expect("it is a number"))
    }

    /// A percentile of a phase: `time("whole session", "p50")`.
    pub fn time(&self, phase: &str, percentile: &str) -> Duration {
        let micros = self.json["latency_us"][phase][percentile].as_u64();
        Duration::from_micros(micros.unwrap_or_else(|| panic!("no {percentile} of {phase:?}: {self}")))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.printed.fmt(f)
    }
}
