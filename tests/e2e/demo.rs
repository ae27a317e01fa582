//! `weir demo`: one command from nothing to a replayed and verified session.

use std::time::Duration;

use weir_tests::World;

#[test]
fn one_command_is_run_recorded_replayed_and_verified() {
    let world = World::builder().empty().start();
    let seen = world
        .job("weir")
        .args(["demo", "--run", "echo demo-$((40 + 2))"])
        .limit(Duration::from_secs(60))
        .succeed();
    assert!(
        seen.out().matches("demo-42").count() >= 2,
        "run and replay are expected: {seen}"
    );
}
