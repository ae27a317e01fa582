//! A target that dies in the middle of a transfer: the client is told at once, and keeps what was on its way.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use weir_ssh::wire::msg;
use weir_tests::peer::Peer;
use weir_tests::{Running, World, eventually};

use crate::claims::transparent;

transparent!(
    the_client_ends_at_once,
    what_the_target_sent_before_it_died_is_delivered
);

fn the_client_ends_at_once(world: &World) {
    let (running, sshd) = downloading(world);
    let killed = Instant::now();
    kill_process(sshd, Signal::KILL).unwrap();
    let seen = running.wait().ended_with(255);
    assert!(killed.elapsed() < Duration::from_secs(5), "{seen}");
    assert!(!seen.stderr.is_empty(), "not a word about why the session ended");
}

/// The client reads nothing while the far command writes and its `sshd` dies. What `sshd` has sent is on its
/// way then, and must get there.
///
/// By our own client with a large window: it has nothing to answer. OpenSSH's would adjust its window, a dead
/// peer resets the connection at that, and a reset discards what was not read.
fn what_the_target_sent_before_it_died_is_delivered(world: &World) {
    const BYTES: usize = 1_000_000;
    let mut peer = Peer::connect(world.address());
    peer.log_in(world);
    let dir = world.path_text("");
    let command =
        format!("cd {dir}; echo $PPID > pid; head -c {BYTES} /dev/zero; touch done; exec sleep 600");
    peer.exec(&command, 64 << 20);
    eventually("the far command has written everything", || {
        world.path("done").exists().then_some(())
    });
    let sshd = far_sshd(world);
    eventually("sshd has sent everything", || {
        (written_by(sshd)? > BYTES).then_some(())
    });
    settle(sshd);
    kill_process(sshd, Signal::KILL).unwrap();
    let mut delivered = 0;
    while let Some(payload) = peer.message() {
        if payload[0] == msg::CHANNEL_DATA {
            delivered += payload.len() - 9;
        }
    }
    assert_eq!(delivered, BYTES);
}

#[test]
fn the_session_is_closed_recorded_and_verifies() {
    let world = World::start();
    let (running, sshd) = downloading(&world);
    let bystander = world.exec("cat").spawn();
    kill_process(sshd, Signal::KILL).unwrap();
    running.wait().ended_with(255);
    let session = eventually("the session is over", || {
        let mut over = world
            .weir()
            .sessions()
            .into_iter()
            .filter(|session| session.has_ended());
        over.next()
    });
    eventually("its recording is there", || {
        world
            .weir()
            .recordings()
            .iter()
            .any(|recording| recording.id() == session.id())
            .then_some(())
    });
    world.weir().verify(&session).succeeded();
    let mut bystander = bystander;
    bystander.write(b"still here\n");
    bystander.expect_stdout("still here");
    bystander.close_stdin();
    bystander.wait().succeeded();
}

/// A download without end, and the far `sshd` process of its connection.
fn downloading(world: &World) -> (Running, Pid) {
    let pid = world.path_text("pid");
    let running = world
        .exec(&format!("echo $PPID > {pid}; exec cat /dev/zero"))
        .spawn();
    eventually("the transfer is under way", || {
        (running.stdout().len() > 20_000_000).then_some(())
    });
    (running, far_sshd(world))
}

fn far_sshd(world: &World) -> Pid {
    let said = world.read("pid");
    Pid::from_raw(said.trim().parse().expect("a process id")).expect("not zero")
}

/// Bytes that a process has written to anything; `usize::MAX` where only root may know.
fn written_by(pid: Pid) -> Option<usize> {
    let Ok(io) = std::fs::read_to_string(format!("/proc/{pid}/io")) else {
        return Some(usize::MAX);
    };
    io.lines()
        .find_map(|line| line.strip_prefix("wchar: "))?
        .parse()
        .ok()
}

/// Waits until a process has nothing left to do: asleep, with no CPU time used between ten looks.
fn settle(pid: Pid) {
    let mut before = String::new();
    let mut calm = 0;
    eventually("sshd has come to rest", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("sshd is alive");
        let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
        let now = format!("{} {} {}", fields[0], fields[11], fields[12]);
        calm = if now == before && now.starts_with('S') {
            calm + 1
        } else {
            0
        };
        before = now;
        (calm >= 10).then_some(())
    });
}
