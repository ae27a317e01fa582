//! A client that is killed in the middle of a transfer takes its far program with it, and nothing else.

use std::path::Path;

use rustix::process::Signal;
use weir_tests::{Running, World, eventually};

use crate::claims::transparent;

transparent!(
    a_killed_download_ends_the_far_program,
    a_killed_upload_ends_the_far_program
);

const ENOUGH: usize = 20_000_000;

fn a_killed_download_ends_the_far_program(world: &World) {
    let running = downloading(world);
    let pid = far_pid(world);
    running.signal(Signal::KILL);
    running.wait();
    assert_gone(&pid);
}

fn a_killed_upload_ends_the_far_program(world: &World) {
    let command = format!("echo $$ > {}; exec cat > /dev/null", world.path_text("pid"));
    let mut running = world.exec(&command).spawn();
    for _ in 0..20 {
        running.write(&vec![b'x'; 1_000_000]);
    }
    let pid = far_pid(world);
    running.signal(Signal::KILL);
    running.wait();
    assert_gone(&pid);
}

#[test]
fn the_session_is_closed_recorded_and_verifies() {
    let world = World::start();
    let idle = world.weir().open_files();
    let running = downloading(&world);
    running.signal(Signal::KILL);
    running.wait();
    let session = world.weir().only_session();
    world.weir().verify(&session).succeeded();
    assert!(session.number("bytes") > 0, "{session:?}");
    world.exec("true").succeed();
    world.weir().finished_sessions(2);
    eventually("no descriptor is left behind", || {
        (world.weir().open_files() <= idle).then_some(())
    });
}

/// A download without end, once it is well under way.
fn downloading(world: &World) -> Running {
    let pid = world.path_text("pid");
    let running = world
        .exec(&format!("echo $$ > {pid}; exec cat /dev/zero"))
        .spawn();
    eventually("the transfer is under way", || {
        (running.stdout().len() > ENOUGH).then_some(())
    });
    running
}

fn far_pid(world: &World) -> String {
    eventually("the far program has said its id", || {
        let said = std::fs::read_to_string(world.path("pid")).ok()?;
        said.ends_with('\n').then(|| said.trim().to_owned())
    })
}

fn assert_gone(pid: &str) {
    let proc = Path::new("/proc").join(pid);
    eventually("the far program has ended", || (!proc.exists()).then_some(()));
}
