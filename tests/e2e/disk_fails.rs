//! The disk of the spool stops answering, or answers with errors. Both need a disk of their own, so they are in no other run:
//! `make killed`.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use weir_tests::process::{Job, Outcome};
use weir_tests::world::SpoolDisk;
use weir_tests::{World, eventually};

const ASK: &str = "; ask whoever runs weir here";

#[test]
#[ignore = "needs root and a loop device: make killed"]
fn disk_that_hangs_stops_what_must_be_recorded_and_is_got_over() {
    let world = world();
    let mut relaxed = world
        .ssh_as("relaxed")
        .args(["target", "echo is''-here; cat"])
        .spawn();
    relaxed.expect_stdout("is-here");
    let ticking = world.exec("echo is''-here; while :; do echo tick; sleep 0.1; done");
    let mut ticking = ticking.limit(Duration::from_secs(30)).spawn();
    ticking.expect_stdout("tick");

    freeze(&world, "--freeze");
    let frozen = Instant::now();
    let stopped = ticking.wait_within(Duration::from_secs(20));
    is_told(&stopped, "the spool has not answered for 5 s");
    assert!(
        frozen.elapsed() < Duration::from_secs(9),
        "{:?}",
        frozen.elapsed()
    );
    is_told(&world.exec("true").run(), "the spool has not answered for 5 s");
    relaxed.write(b"unrecorded\n");
    relaxed.expect_stdout("unrecorded");
    let rest = Duration::from_secs(10).saturating_sub(frozen.elapsed());
    std::thread::sleep(rest);
    freeze(&world, "--unfreeze");

    eventually("sessions are recorded again", || {
        (world.exec("true").run().code() == 0).then_some(())
    });
    relaxed.write(b"recorded\n");
    relaxed.expect_stdout("recorded");
    relaxed.close_stdin();
    relaxed.wait_within(Duration::from_secs(10)).succeeded();
    let gaps = eventually("the gap is told", || {
        let gaps = world.weir().json(&["audit", "ls", "--kind", "recording.gap"]);
        gaps.as_array().filter(|gaps| !gaps.is_empty()).cloned()
    });
    assert_eq!(gaps[0]["detail"]["bytes"], "unrecorded\n".len(), "{gaps:?}");
}

#[test]
#[ignore = "needs root and a loop device: make killed"]
fn disk_that_answers_with_errors_stops_what_must_be_recorded() {
    let world = world();
    let mut relaxed = world
        .ssh_as("relaxed")
        .args(["target", "echo is''-here; cat"])
        .spawn();
    relaxed.expect_stdout("is-here");
    // The disk is as large as it says only until what is behind it is full.
    let mut fill = fs::File::create(world.within("backing/fill")).expect("root may write there");
    let zeros = vec![0; 64 * 1024];
    while fill.write_all(&zeros).is_ok() {}
    let stopped = world.exec("head -c 60000000 /dev/urandom; sleep 20").run();
    is_told(&stopped, "Input/output error");
    is_told(&world.exec("true").run(), "the spool cannot be written");
    relaxed.write(b"unrecorded\n");
    relaxed.expect_stdout("unrecorded");
    relaxed.close_stdin();
    relaxed.wait_within(Duration::from_secs(10)).succeeded();
}

fn world() -> World {
    let world = World::builder()
        .spool_on(SpoolDisk::Ext4 { mebibytes: 400 })
        .start();
    world.put_role(
        "name = \"relaxed\"\n[allow]\nlogins = \"*\"\nnode_labels = { \"*\" = \"*\" }\n\
         [options]\nrecord_session = \"best_effort\"\n",
    );
    world.new_user_with("relaxed", world.login(), "relaxed");
    world
}

fn is_told(outcome: &Outcome, reason: &str) {
    assert_eq!(outcome.code(), 255, "{outcome}");
    let err = outcome.err();
    assert!(
        err.contains("session recording failed: ") && err.contains(reason) && err.contains(ASK),
        "{outcome}"
    );
}

/// `fsfreeze` in Weir's own mounts: writes wait until it is undone.
fn freeze(world: &World, how: &str) {
    let pid = world.weir().pid().as_raw_pid().to_string();
    let spool = world.weir().data().join("spool");
    Job::new("nsenter")
        .args(["--target", &pid, "--mount", "fsfreeze", how])
        .arg(spool)
        .succeed();
}
