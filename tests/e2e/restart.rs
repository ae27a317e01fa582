//! Ending Weir and starting it again on the same data.

use std::time::Duration;

use rustix::process::Signal;
use weir_tests::{World, eventually};

use crate::pacing_outage::crowd;

#[test]
fn sigterm_ends_it_and_everything_is_there_again() {
    let mut world = World::start();
    world.exec("echo before").succeed();
    let before = world.weir().only_session();
    world.weir().signal(Signal::TERM);
    let status = world.weir_mut().wait_within(Duration::from_secs(10));
    assert!(
        status.success(),
        "weir ended with {status}: {}",
        world.weir().log()
    );

    world.restart_weir();
    assert_eq!(world.weir().only_session().id(), before.id());
    world.weir().verify(&before).succeeded();
    // The same certificate, the same host authority, the same node.
    assert_eq!(world.exec("echo after").succeed().out(), "after\n");
    world.weir().finished_sessions(2);
}

#[test]
fn who_waits_for_a_server_is_told_when_weir_ends() {
    let mut world = World::builder()
        .config("drain = \"500ms\"")
        .sshd("MaxStartups 5")
        .start();
    let _crowd = crowd(&world, 5);
    let client = world.exec("true").spawn();
    eventually("the user waits", || {
        client.stderr().contains("weir: waiting").then_some(())
    });
    world.weir().signal(Signal::TERM);
    let seen = client.wait_within(Duration::from_secs(10)).ended_with(255);
    assert!(seen.err().contains("weir is shutting down"), "{seen}");
    assert!(world.weir_mut().wait_within(Duration::from_secs(10)).success());
}

#[test]
fn a_second_weir_on_the_same_data_is_refused() {
    let world = World::start();
    let seen = world
        .job("weir")
        .args(["up", "--data", "D", "--listen", "127.0.0.1:0"])
        .run()
        .ended_with(1);
    assert!(seen.err().contains("in use"), "{seen}");
    world.exec("true").succeed();
}

#[test]
fn an_address_in_use_is_named() {
    let world = World::start();
    let taken = world.weir().address().to_string();
    let seen = world
        .job("weir")
        .args(["up", "--data", "E", "--listen", &taken])
        .run()
        .ended_with(1);
    assert!(seen.err().contains(&taken), "{seen}");
}
