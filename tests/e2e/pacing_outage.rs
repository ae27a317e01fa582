//! Targets that are away, drop everybody or say nothing, in the middle of a burst: who can be let in later is, and who
//! waits is told why.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::Value;
use weir_tests::load::{Clients, Report, real_clients};
use weir_tests::sshd::Release;
use weir_tests::world::NODE;
use weir_tests::{Running, World, eventually};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_restart_in_a_burst_is_not_seen_on_the_installed_sshd() {
    restart_in_a_burst(Release::Installed);
}

#[test]
fn a_restart_in_a_burst_is_not_seen_on_sshd_10() {
    restart_in_a_burst(Release::Ten);
}

fn restart_in_a_burst(release: Release) {
    const CLIENTS: usize = 30;
    let mut world = World::builder()
        .release(release)
        .sshd("MaxStartups 10:30:100")
        .start();
    let clients = real_clients(&world, Clients::at_once(CLIENTS), LIMIT).spawn();
    eventually("some are in", || {
        (world.sshd().log_lines("Accepted publickey").len() >= 5).then_some(())
    });
    world.sshd_mut().stop();
    // As long as a restart takes that loads a large configuration.
    thread::sleep(Duration::from_secs(1));
    assert!(
        world.sshd().log_lines("Accepted publickey").len() < CLIENTS,
        "all were in before"
    );
    world.sshd_mut().start_again();
    let report = Report::of(clients.wait_within(2 * LIMIT)).all_succeeded(CLIENTS);
    eprintln!("{release:?}: {CLIENTS} at once, restarted: {:.2?}", report.wall());
}

/// Somebody else behind our address has got it banned; for some 16 seconds everybody is dropped.
#[test]
fn who_waits_through_a_ban_is_told_and_gets_in_when_it_ends() {
    let world = World::builder().release(Release::Ten).start();
    world.exec("true").succeed();
    let began = Instant::now();
    get_banned(&world);
    let waiting: Vec<Running> = (0..3).map(|_| world.exec("echo in").spawn()).collect();
    for client in &waiting {
        eventually("the user sees why nothing happens", || {
            client.stderr().contains("weir: waiting").then_some(())
        });
    }
    let told = began.elapsed();
    for client in waiting {
        let seen = client.wait_within(LIMIT + Duration::from_secs(5)).succeeded();
        assert_eq!(seen.out(), "in\n");
        assert!(seen.took > Duration::from_secs(5), "{seen}");
        eprintln!(
            "told within {told:.2?}, in after {:.2?}: {}",
            seen.took,
            seen.err()
        );
    }
    world.weir().expect_log(&["WARN", "PerSourcePenaltyExemptList"]);
    eventually("the audit log tells of it and names the node", || {
        let log = world.weir().json(&["audit", "ls"]);
        let told =
            |event: &Value| event["kind"] == "pacing.ban_suspected" && event.to_string().contains(NODE);
        log.as_array()?.iter().any(told).then_some(())
    });
}

/// Others hold all of its slots.
#[test]
fn who_waits_for_a_crowded_target_gets_in_when_the_crowd_goes() {
    for release in [Release::Installed, Release::Ten] {
        let world = World::builder().release(release).sshd("MaxStartups 5").start();
        let crowd = crowd(&world, 5);
        let clients: Vec<Running> = (0..5).map(|_| world.exec("echo in").spawn()).collect();
        for client in &clients {
            eventually("the user sees why nothing happens", || {
                client.stderr().contains("weir: waiting").then_some(())
            });
        }
        drop(crowd);
        for client in clients {
            assert_eq!(client.wait().succeeded().out(), "in\n");
        }
    }
}

/// Whose patience ends first is told what was tried, who was before, and what would help.
#[test]
fn a_wait_in_vain_ends_in_words_that_help() {
    let limited = || World::builder().config("[pacing]\nwait_limit = \"3s\"");
    let world = limited().release(Release::Ten).start();
    world.exec("true").succeed();
    get_banned(&world);
    for told in waited_in_vain(&world, 4) {
        assert!(
            told.contains("PerSourcePenaltyExemptList") || told.contains("MaxStartups"),
            "{told}"
        );
    }

    let world = limited().sshd("MaxStartups 5").start();
    let _crowd = crowd(&world, 5);
    for told in waited_in_vain(&world, 4) {
        assert!(told.contains("MaxStartups 200:30:400"), "{told}");
    }
}

/// What so many clients were told, each after 3 s.
fn waited_in_vain(world: &World, count: usize) -> Vec<String> {
    let clients: Vec<Running> = (0..count).map(|_| world.exec("true").spawn()).collect();
    let told = clients.into_iter().map(|client| {
        let seen = client.wait().ended_with(255);
        assert!((2.5..8.0).contains(&seen.took.as_secs_f64()), "{seen}");
        assert!(seen.err().contains("waited 3 s to connect, behind "), "{seen}");
        seen.err()
    });
    let told: Vec<String> = told.collect();
    // Under a suspected ban one of them is the probe; for the others nothing was tried.
    assert!(
        told.iter()
            .any(|told| told.contains("tried ") && told.contains(" and was dropped ")),
        "{told:#?}"
    );
    eprintln!("{told:#?}");
    told
}

/// One target says nothing; its users are told so, and those of another one do not notice.
#[test]
fn a_mute_target_holds_up_nobody_elses_users() {
    let world = World::builder().config("handshake_timeout = \"3s\"").start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    world.register("mute", listener.local_addr().unwrap().port());
    world.exec("true").succeed();
    let stuck: Vec<Running> = (0..6)
        .map(|_| world.exec_on(world.login(), "mute", "true").spawn())
        .collect();
    let mut took: Vec<Duration> = (0..10).map(|_| world.exec("true").succeed().took).collect();
    took.sort();
    eprintln!("beside a mute target: {took:.2?}");
    assert!(took[took.len() - 1] < Duration::from_secs(2), "{took:?}");
    for client in stuck {
        let seen = client.wait_within(2 * LIMIT).ended_with(255);
        let told = seen.err();
        assert!(
            told.contains("did not finish the SSH handshake within 3 s") || told.contains("says nothing"),
            "{seen}"
        );
    }
    drop(listener);
}

/// Makes sshd refuse 127.0.0.1: each connection that says nothing costs it 1 s.
fn get_banned(world: &World) {
    let port = world.sshd().port();
    eventually("sshd bans the address", || {
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
        (!world.sshd().log_lines("penalty").is_empty()).then_some(())
    });
}

/// Connections from elsewhere that hold sshd's slots until they are dropped.
pub(crate) fn crowd(world: &World, count: u32) -> Vec<OwnedFd> {
    let address = SocketAddr::from(([127, 0, 0, 1], world.sshd().port()));
    let connections = (0..count).map(|_| {
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&fd, &SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        connect(&fd, &address).unwrap();
        fd
    });
    let connections = connections.collect();
    eventually("sshd counts them", || {
        (world.sshd().startups() == count).then_some(())
    });
    connections
}
