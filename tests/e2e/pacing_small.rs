//! Thirty real clients at once where sshd takes two or three at a time: nobody sees a drop.
//!
//! Nobody has told Weir so. It begins with the window of an untuned sshd, is dropped, and learns.

use std::time::Duration;

use weir_tests::load::{Clients, Report, real_clients};
use weir_tests::sshd::Release;
use weir_tests::{World, eventually};

const CLIENTS: usize = 30;
const LIMIT: Duration = Duration::from_secs(30);
/// How many are tried: thirty clients that come a little apart, each served in an instant, may be too few for sshd to drop one.
const BURSTS: usize = 5;

#[test]
fn two_at_a_time_are_enough_for_thirty_on_the_installed_sshd() {
    all_get_in(Release::Installed, "MaxStartups 2");
}

#[test]
fn two_at_a_time_are_enough_for_thirty_on_sshd_10() {
    all_get_in(Release::Ten, "MaxStartups 2");
}

#[test]
fn three_of_one_address_are_enough_for_thirty_on_the_installed_sshd() {
    all_get_in(Release::Installed, "PerSourceMaxStartups 3");
}

/// Why there is no such claim about sshd 10.0: it never gives such a slot back, with Weir or without. 10.1 does.
#[test]
fn sshd_10_refuses_an_address_for_good_after_as_many_logins() {
    let world = World::builder()
        .release(Release::Ten)
        .sshd("PerSourceMaxStartups 3")
        .direct()
        .start();
    for _ in 0..3 {
        world.exec("true").succeed();
    }
    world.exec("true").run().ended_with(255);
    eventually("nobody is counted", || {
        (world.sshd().startups() == 0).then_some(())
    });
    world.exec("true").run().ended_with(255);
}

fn all_get_in(release: Release, line: &str) {
    let world = World::builder().release(release).sshd(line).start();
    for burst in 1..=BURSTS {
        let clients = real_clients(&world, Clients::at_once(CLIENTS), LIMIT);
        let report = Report::of(clients.run()).all_succeeded(CLIENTS);
        eprintln!(
            "{release:?}, {line}: {CLIENTS} at once within {:.2?}",
            report.wall()
        );
        assert_eq!(
            world.sshd().log_lines("Accepted publickey").len(),
            burst * CLIENTS
        );
        // It did drop, or this shows nothing. Each version words it differently.
        if !world.sshd().log_lines("drop connection").is_empty() {
            return;
        }
    }
    panic!("sshd dropped nobody in {BURSTS} bursts");
}
