//! `weir-load` itself: what it counts is what happened.

use serde_json::Value;
use weir_tests::{Job, Outcome, World};

use crate::claims::transparent;

transparent!(
    sessions_are_counted_and_timed,
    a_rate_is_kept,
    failures_are_told_by_cause,
    idle_sessions_are_held_and_probed,
    a_burst_of_real_clients_succeeds
);

fn sessions_are_counted_and_timed(world: &World) {
    let seen = load(world, "sessions")
        .args(["--count", "40", "--concurrency", "4", "--json"])
        .succeed();
    let report = report(&seen);
    assert_eq!(
        (&report["succeeded"], &report["failed"]),
        (&40.into(), &0.into()),
        "{seen}"
    );
    for phase in [
        "key exchange",
        "authentication",
        "command started",
        "whole session",
    ] {
        let times = &report["latency_us"][phase];
        assert_eq!(times["count"], 40, "{seen}");
        let (p50, max) = (times["p50"].as_u64().unwrap(), times["max"].as_u64().unwrap());
        assert!(0 < p50 && p50 <= max && max < 20_000_000, "{seen}");
    }
    let text = load(world, "sessions").args(["--count", "2"]).succeed().out();
    assert!(
        text.contains("2 succeeded, 0 failed") && text.contains("whole session"),
        "{text}"
    );
}

fn a_rate_is_kept(world: &World) {
    let seen = load(world, "sessions")
        .args(["--rate", "20", "--for", "2s", "--concurrency", "40", "--json"])
        .succeed();
    let report = report(&seen);
    assert_eq!(report["succeeded"], 40, "{seen}");
    let wall = report["wall_s"].as_f64().unwrap();
    assert!((1.9..10.0).contains(&wall), "{seen}");
}

fn failures_are_told_by_cause(world: &World) {
    let run = || load(world, "sessions").args(["--count", "3", "--command", "exit 9", "--json"]);
    let seen = run().run().ended_with(1);
    assert_eq!(report(&seen)["failures"]["exit status 9"], 3, "{seen}");
    assert!(seen.err().contains("3 failed while at most 0 may"), "{seen}");
    run().args(["--max-failures", "3"]).succeed();

    let seen = load(world, "sessions").args([
        "--count",
        "2",
        "--command",
        "sleep 600",
        "--timeout",
        "1s",
        "--json",
    ]);
    let seen = seen.run().ended_with(1);
    assert_eq!(
        report(&seen)["failures"]["not over within 1s, command started"],
        2,
        "{seen}"
    );

    world.bash("ssh-keygen -q -t ed25519 -N '' -f stranger").succeed();
    let seen = load_as(world, "sessions", "stranger")
        .args(["--count", "2", "--json"])
        .run()
        .ended_with(1);
    let failures = report(&seen)["failures"].clone();
    let (cause, count) = failures.as_object().unwrap().iter().next().unwrap();
    assert!(cause.starts_with("authentication: ") && *count == 2, "{seen}");
}

fn idle_sessions_are_held_and_probed(world: &World) {
    let seen = load(world, "idle")
        .args(["--sessions", "20", "--for", "1s", "--json"])
        .succeed();
    assert!(seen.err().contains("20 sessions are up"), "{seen}");
    let report = report(&seen);
    assert_eq!(
        (&report["up"], &report["succeeded"]),
        (&20.into(), &20.into()),
        "{seen}"
    );
}

fn a_burst_of_real_clients_succeeds(world: &World) {
    let config = world.path_text("config");
    let seen = world
        .job("weir-load")
        .args(["burst", "--clients", "10", "--expect", "ok", "--json", "--"])
        .args(["ssh", "-F", &config, "target", "echo ok"])
        .succeed();
    assert_eq!(report(&seen)["succeeded"], 10, "{seen}");
}

fn load(world: &World, mode: &str) -> Job {
    load_as(world, mode, "id")
}

fn load_as(world: &World, mode: &str, identity: &str) -> Job {
    let binary = weir_tests::weir::load_binary();
    let to = world.address().to_string();
    let login = world.user();
    world
        .job(binary.to_str().unwrap())
        .args([mode, "--to", &to, "--login", &login, "-i", identity])
}

fn report(seen: &Outcome) -> Value {
    serde_json::from_slice(&seen.stdout).unwrap_or_else(|error| panic!("not JSON: {error}\n{seen}"))
}
