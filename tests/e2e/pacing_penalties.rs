//! sshd 10 with its `PerSourcePenalties`: who is refused by a target does not get the whole proxy banned.
//!
//! To sshd all users are one address. Each login that fails costs that address 5 s, and above 15 s nobody behind it is let in.

use std::fs;
use std::time::{Duration, Instant};

use weir_tests::sshd::Release;
use weir_tests::world::make_key;
use weir_tests::{Running, World, eventually};

/// A login that exists everywhere; what is tried with a name that sshd does not know is no attempt to 10.0, and costs 1 s.
const ELSEWHERE: &str = "nobody";
/// Far more than get an address banned.
const REFUSED: usize = 12;
/// As many one after the other do without Weir: 20 s in sum, less what has drained meanwhile.
const BAN: usize = 5;

#[test]
fn users_whom_the_target_refuses_do_not_hold_up_the_others() {
    let principals = tempfile::tempdir().unwrap();
    let line = format!("AuthorizedPrincipalsFile {}/%u", principals.path().display());
    let world = World::builder().release(Release::Ten).sshd(&line).start();
    // Nobody may log in with another name than this.
    fs::write(principals.path().join(world.login()), world.login()).unwrap();
    world.new_user("carol", ELSEWHERE);
    world.new_user("dave", world.login());
    world.exec("true").succeed();

    let refused: Vec<Running> = (0..REFUSED)
        .map(|_| world.ssh_as("carol").args(["target", "true"]).spawn())
        .collect();
    eventually("sshd refuses some", || {
        (world.sshd().log_lines("Certificate does not contain").len() >= 2).then_some(())
    });
    let mut took: Vec<Duration> = (0..8).map(|_| world.exec("true").succeed().took).collect();
    // This one's credential is new to the target: it might be refused as well, for all that Weir knows.
    let new = world.ssh_as("dave").args(["target", "true"]).succeed().took;
    took.extend((0..8).map(|_| world.exec("true").succeed().took));
    took.sort();
    eprintln!("known to the target: {took:.2?}; new to it: {new:.2?}");
    assert!(took[took.len() - 1] < Duration::from_secs(3), "{took:?}");
    drop(refused);
    assert_never_banned(&world);
}

/// That the test above could fail.
#[test]
fn without_weir_a_few_failures_ban_the_address() {
    let world = World::builder().release(Release::Ten).direct().start();
    world.exec("true").succeed();
    make_key(&world.path("stranger"), "ed25519");
    let config = world.read("config").replace("/id\n", "/stranger\n");
    let config = world.write("config-stranger", config);
    for _ in 0..BAN {
        let refused = world.job("ssh").arg("-F").arg(&config).args(["target", "true"]);
        refused.run().ended_with(255);
    }
    world.exec("true").run().ended_with(255);
    assert!(!world.sshd().log_lines("penalty").is_empty());
}

/// A user who hangs up in the middle costs nothing: Weir finishes the login and then lets go of it.
#[test]
fn users_who_leave_in_mid_handshake_cost_no_penalty() {
    const LEAVING: usize = 10;
    let world = World::builder()
        .release(Release::Ten)
        .sshd("LogLevel VERBOSE")
        .start();
    let begun = || world.sshd().log_lines("Connection from 127.0.0.1").len();
    let mut in_the_middle = 0;
    for n in 0..LEAVING {
        let client = world.exec("true").spawn();
        eventually("sshd is dialled", || (begun() > n).then_some(()));
        let accepted = world.sshd().log_lines("Accepted publickey").len();
        in_the_middle += usize::from(accepted == n);
        drop(client);
        eventually("the login is finished all the same", || {
            (world.sshd().log_lines("Accepted publickey").len() > n).then_some(())
        });
    }
    assert!(
        in_the_middle > LEAVING / 2,
        "only {in_the_middle} of {LEAVING} left in time"
    );
    assert_never_banned(&world);
    let began = Instant::now();
    world.exec("true").succeed();
    assert!(began.elapsed() < Duration::from_secs(3));
}

fn assert_never_banned(world: &World) {
    let banned = world.sshd().log_lines("drop connection");
    let penalties = world.sshd().log_lines("penalty");
    assert!(
        banned.is_empty() && penalties.is_empty(),
        "{banned:#?} {penalties:#?}"
    );
}
