//! Weir is killed at a random moment while sessions put out, and what their clients had received is looked for in the
//! recordings that the next start makes of the spool.
//!
//! Synchronous: all of it. Asynchronous: all that had come longer ago than a flush interval and a commit. Five times in every run
//! of the tests, a hundred times by `make killed`.

use std::hash::{BuildHasher, RandomState};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use weir_tests::process::Running;
use weir_tests::{World, eventually};

/// Sessions of a round: one puts out as fast as it can for a while, the others a little every few milliseconds.
const SESSIONS: usize = 4;
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// What a commit may take on a machine that does other things besides, and what a byte takes from the hand-over to the client's pipe
/// and to the look at it.
const COMMIT: Duration = Duration::from_millis(150);

#[test]
fn synchronous_recording_has_all_that_a_client_received() {
    synchronous(5);
}

#[test]
fn asynchronous_recording_lacks_no_more_than_the_flush_interval() {
    asynchronous(5);
}

#[test]
#[ignore = "takes minutes: make killed"]
fn synchronous_recording_has_all_that_a_client_received_a_hundred_times() {
    synchronous(100);
}

#[test]
#[ignore = "takes minutes: make killed"]
fn asynchronous_recording_lacks_no_more_than_the_flush_interval_a_hundred_times() {
    asynchronous(100);
}

fn synchronous(rounds: u32) {
    let mut world = World::builder()
        .config("recording = { mode = \"sync\", flush_interval = \"250ms\" }")
        .start();
    let mut received = 0;
    for round in 0..rounds {
        for killed in kill_under_load(&mut world, round, Duration::ZERO) {
            received += killed.received().len();
            assert!(
                killed.recorded.starts_with(killed.received()),
                "round {round}: the client received {} bytes, {} are recorded",
                killed.received().len(),
                killed.recorded.len()
            );
        }
    }
    assert!(received > 0, "nobody received anything");
    println!("{rounds} kills: all of {received} bytes received are recorded");
}

fn asynchronous(rounds: u32) {
    let mut world = World::builder()
        .config("recording = { mode = \"async\", flush_interval = \"250ms\" }")
        .start();
    let (mut received, mut lost) = (0, 0);
    for round in 0..rounds {
        // Long enough for the words by which a session is found to be due.
        for killed in kill_under_load(&mut world, round, FLUSH_INTERVAL + COMMIT) {
            let kept = killed.recorded.len();
            received += killed.received().len();
            lost += killed.received().len().saturating_sub(kept);
            let common = kept.min(killed.received().len());
            assert!(
                killed.recorded[..common] == killed.received()[..common],
                "round {round}: other bytes are recorded than were received"
            );
            let due = killed.received_before(killed.at - FLUSH_INTERVAL - COMMIT);
            assert!(
                kept >= due,
                "round {round}: {due} bytes had been received a flush interval before the kill, {kept} are recorded"
            );
        }
    }
    // Else this shows nothing about the bound.
    assert!(lost > 0, "nothing was lost in {rounds} kills");
    println!(
        "{rounds} kills: {lost} of {received} bytes received are not recorded, none older than the bound"
    );
}

/// One session after the kill and the recovery.
struct Killed {
    at: Instant,
    /// When how much had come to the client.
    samples: Vec<(Instant, usize)>,
    stdout: Vec<u8>,
    recorded: Vec<u8>,
}

impl Killed {
    fn received(&self) -> &[u8] {
        &self.stdout
    }

    fn received_before(&self, moment: Instant) -> usize {
        let before = self.samples.iter().take_while(|(at, _)| *at <= moment);
        before.last().map_or(0, |(_, len)| *len)
    }
}

fn kill_under_load(world: &mut World, round: u32, at_least: Duration) -> Vec<Killed> {
    let marks: Vec<_> = (0..SESSIONS)
        .map(|session| format!("round {round} session {session}\n"))
        .collect();
    let mut clients: Vec<_> = marks.iter().map(|mark| client(world, mark)).collect();
    for (client, mark) in clients.iter_mut().zip(&marks) {
        client.expect_stdout(mark);
    }
    let mut samples = vec![Vec::new(); SESSIONS];
    let end = Instant::now() + at_least + Duration::from_millis(RandomState::new().hash_one(round) % 900);
    while Instant::now() < end {
        for (client, samples) in clients.iter().zip(&mut samples) {
            // The length is older than the time that is put to it, never younger.
            let len = client.stdout().len();
            samples.push((Instant::now(), len));
        }
        sleep(Duration::from_millis(5));
    }
    let at = Instant::now();
    world.weir().signal(Signal::KILL);
    world.weir_mut().wait_within(Duration::from_secs(10));
    let received: Vec<_> = clients
        .into_iter()
        .map(|client| client.wait_within(Duration::from_secs(20)).stdout)
        .collect();

    world.restart_weir();
    let recorded = recovered(world, &marks);
    let killed = received.into_iter().zip(samples).zip(recorded);
    killed
        .map(|((stdout, samples), recorded)| Killed {
            at,
            samples,
            stdout,
            recorded,
        })
        .collect()
}

fn client(world: &World, mark: &str) -> Running {
    let burst = if mark.ends_with("session 0\n") {
        "base64 /dev/urandom | head -c 2000000;"
    } else {
        ""
    };
    let mark = mark.trim_end();
    world
        .exec(&format!(
            "echo '{mark}'; {burst} while :; do echo $SECONDS$RANDOM; sleep 0.004; done"
        ))
        .spawn()
}

/// What the recordings say that the sessions put out which said these words first, in that order; each recording is verified.
fn recovered(world: &World, marks: &[String]) -> Vec<Vec<u8>> {
    let limit = marks.len().to_string();
    eventually("every session has been closed and uploaded", || {
        let listed = world.weir().json(&["recordings", "ls", "--limit", &limit]);
        let sessions = listed.as_array()?.clone();
        let outputs: Vec<_> = sessions
            .iter()
            .filter_map(|session| session["id"].as_str())
            .map(|id| {
                world.weir().admin(&["recordings", "verify", id]);
                let exported = world
                    .weir()
                    .cli()
                    .args(["recordings", "export", id, "--format", "text"]);
                exported.succeed().stdout
            })
            .collect();
        let of = |mark: &String| outputs.iter().find(|output| output.starts_with(mark.as_bytes()));
        marks
            .iter()
            .map(|mark| of(mark).cloned())
            .collect::<Option<Vec<_>>>()
    })
}
