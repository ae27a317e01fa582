//! Two hundred sessions later everything is as before.

use std::time::Duration;

use weir_tests::{World, eventually};

const SESSIONS: usize = 200;

#[test]
fn two_hundred_sessions_leave_no_descriptor_and_little_memory_behind() {
    let world = World::start();
    some_sessions(&world, 20);
    world.weir().finished_sessions(20);
    let (files, memory) = (world.weir().open_files(), world.weir().resident_bytes());
    some_sessions(&world, SESSIONS);
    world.weir().finished_sessions(20 + SESSIONS);
    eventually("no descriptor is left behind", || {
        (world.weir().open_files() <= files).then_some(())
    });
    // 100 KiB a session is far above what heaps and pools that settle still take, far below a leak of buffers.
    let grown = world.weir().resident_bytes().saturating_sub(memory);
    assert!(
        grown < SESSIONS as u64 * 100 * 1024,
        "{SESSIONS} sessions left {grown} bytes behind"
    );
}

/// Eight at a time, by a client that costs less than the server.
fn some_sessions(world: &World, count: usize) {
    let (to, login) = (world.address().to_string(), world.user());
    world
        .job("weir-load")
        .args([
            "sessions",
            "--to",
            &to,
            "--login",
            &login,
            "-i",
            "id",
            "--count",
            &count.to_string(),
        ])
        .limit(Duration::from_secs(60))
        .succeed();
}
