//! Peers that stop reading for ten seconds hold up nobody but themselves, and lose nothing.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weir_tests::{World, eventually};

const STALL: Duration = Duration::from_secs(10);
/// More than all buffers between two stopped peers can hold.
const BYTES: usize = 150_000_000;
const OTHERS: usize = 20;
/// What the buffers of two stalled sessions and the heap's own slack may add.
const MEMORY: u64 = 64 << 20;

/// A client and a target stall at the same time, one in a download and the other in an upload.
#[test]
fn twenty_other_sessions_go_on_unharmed() {
    let world = World::start();
    let dir = world.path_text("");
    world.exec("true").succeed();
    let rest = world.weir().resident_bytes();

    let download = world
        .exec(&format!("head -c {BYTES} /dev/zero | tr '\\0' d"))
        .spawn();
    eventually("the download is under way", || {
        (!download.stdout().is_empty()).then_some(())
    });
    download.signal(Signal::STOP);

    let upload = world
        .bash(&format!(
            "head -c {BYTES} /dev/zero | tr '\\0' u \
             | ssh -F config target 'cd {dir}; echo $PPID > sshd; cat > far; echo end'"
        ))
        .limit(Duration::from_secs(60))
        .spawn();
    eventually("the upload is under way", || {
        Some(world.path("far").metadata().ok()?.len() > 0).filter(|it| *it)
    });
    let sshd: i32 = world.read("sshd").trim().parse().expect("a process id");
    let sshd = Pid::from_raw(sshd).expect("not zero");
    kill_process(sshd, Signal::STOP).expect("sshd is alive");

    let stalled = Instant::now();
    others_go_on(&world);
    assert!(
        stalled.elapsed() < STALL,
        "twenty short sessions took {:?}",
        stalled.elapsed()
    );
    let got_before = (
        download.stdout().len(),
        world.path("far").metadata().unwrap().len(),
    );
    thread::sleep(STALL.saturating_sub(stalled.elapsed()));
    let grown = world.weir().resident_bytes().saturating_sub(rest);
    assert!(
        grown < MEMORY,
        "two stalled sessions cost {grown} bytes of memory"
    );
    let got_after = (
        download.stdout().len(),
        world.path("far").metadata().unwrap().len(),
    );
    assert_eq!(got_before, got_after, "the stalled peers did not stall");
    assert!(
        got_after.0 < BYTES && got_after.1 < BYTES as u64,
        "the transfers were over before the stall"
    );

    download.signal(Signal::CONT);
    kill_process(sshd, Signal::CONT).expect("sshd is alive");
    let seen = download.wait_within(Duration::from_secs(60)).succeeded();
    assert!(seen.stdout.len() == BYTES && seen.stdout.iter().all(|byte| *byte == b'd'));
    upload.wait_within(Duration::from_secs(60)).succeeded();
    world
        .bash(&format!("head -c {BYTES} /dev/zero | tr '\\0' u | cmp - far"))
        .succeed();
}

/// Twenty sessions, four at a time, each with a little data both ways and an exit status.
fn others_go_on(world: &World) {
    thread::scope(|scope| {
        for lane in 0..4 {
            scope.spawn(move || {
                for n in (lane..OTHERS).step_by(4) {
                    let sent = n.to_string().repeat(20_000);
                    let seen = world.exec(&format!("cat; exit {n}")).input(sent.clone()).run();
                    let seen = seen.ended_with(i32::try_from(n).expect("below 20"));
                    assert!(seen.out() == sent, "{seen}");
                }
            });
        }
    });
}
