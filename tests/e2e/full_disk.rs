//! The disk of the spool fills up: who must be recorded is stopped and told why and whom to ask, who need not goes on, and all is well
//! again once there is space.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use weir_tests::process::{Job, Outcome, Running};
use weir_tests::world::SpoolDisk;
use weir_tests::{Session, World, eventually};

const SAID: &str = "session recording failed: no space for the spool's next segment: No space left on device";
const ASK: &str = "; ask the platform team, ext. 4711";

#[test]
fn full_disk_stops_what_must_be_recorded_and_nothing_else() {
    // Two segments of 66 MiB and a little: the one in use, and the one that is reserved.
    let world = World::builder()
        .spool_on(SpoolDisk::Memory { mebibytes: 140 })
        .config("recording = { contact = \"the platform team, ext. 4711\", exec_output_limit = 0 }")
        .start();
    for (name, option) in [
        ("relaxed", "record_session = \"best_effort\""),
        ("on-call", "record_session = \"strict\"\nrecord_exempt = true"),
    ] {
        world.put_role(&format!(
            "name = \"{name}\"\n[allow]\nlogins = \"*\"\nnode_labels = {{ \"*\" = \"*\" }}\n[options]\n{option}\n"
        ));
        world.new_user_with(name, world.login(), name);
    }
    let as_relaxed = |command: &str| world.ssh_as("relaxed").args(["target", command]);

    let mut idle = opened(world.exec("echo idle is''-here; cat"));
    let mut relaxed = opened(as_relaxed("echo relaxed is''-here; cat"));
    let fill = world.within("spool/fill");
    fill_up(&fill);
    // The second segment is taken, and there is no third.
    let stopped = world.exec("head -c 120000000 /dev/urandom").run();
    is_told(&stopped);
    assert!(stopped.stdout.len() > 30_000_000, "it was stopped too early");
    is_told(&world.exec("echo in").run());

    // It had nothing to lose, until now.
    idle.write(b"x\n");
    is_told(&idle.wait_within(Duration::from_secs(10)));

    relaxed.write(b"unrecorded\n");
    relaxed.expect_stdout("unrecorded");
    assert_eq!(as_relaxed("echo in, too").succeed().out(), "in, too\n");
    assert_eq!(
        world
            .ssh_as("on-call")
            .args(["target", "echo to the rescue"])
            .succeed()
            .out(),
        "to the rescue\n"
    );

    fs::remove_file(&fill).expect("the file is there");
    eventually("sessions are recorded again", || {
        (world.exec("true").run().code() == 0).then_some(())
    });
    relaxed.write(b"recorded\n");
    relaxed.expect_stdout("recorded");
    relaxed.close_stdin();
    relaxed.wait_within(Duration::from_secs(10)).succeeded();

    let sessions = eventually("all sessions are over and recorded", || {
        let recordings = world.weir().recordings();
        let live = world.weir().sessions().iter().any(|session| !session.has_ended());
        (!live && recordings.len() == world.weir().sessions().len()).then_some(recordings)
    });
    for session in &sessions {
        world.weir().verify(session).succeeded();
    }
    let of = |command: &str| {
        let events = world.weir().json(&["audit", "ls", "--kind", "exec"]);
        let events = events.as_array().expect("a list").clone();
        let is_it = |event: &&Value| {
            event["detail"]["command"]
                .as_str()
                .is_some_and(|c| c.contains(command))
        };
        let id = events.iter().find(is_it).expect("it was run")["session"].clone();
        let session = sessions.iter().find(|session| session.id() == id);
        session.expect("it is recorded").clone()
    };
    stopped_is_recorded_to_its_end(&world, &of("head -c"), &stopped);
    gap_is_told(&world, &of("relaxed is"), "unrecorded\n".len());
    for session in [of("in, too"), of("to the rescue")] {
        assert_eq!(gaps(&world, &session).len(), 1, "{session:?}");
    }
}

fn opened(job: Job) -> Running {
    let mut running = job.spawn();
    running.expect_stdout("is-here");
    running
}

/// Writes until nothing more goes in.
fn fill_up(path: &Path) {
    let mut file = fs::File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let zeros = vec![0; 64 * 1024];
    while file.write_all(&zeros).is_ok() {}
}

fn is_told(outcome: &Outcome) {
    assert_eq!(outcome.code(), 255, "{outcome}");
    let err = outcome.err();
    assert!(err.contains(SAID) && err.contains(ASK), "{outcome}");
}

/// All that the client received stands in it, and its end is that of a session that was stopped.
fn stopped_is_recorded_to_its_end(world: &World, session: &Session, stopped: &Outcome) {
    assert_eq!(session.text("status"), "interrupted");
    let recorded = world.weir().export(session, "text");
    assert!(
        recorded.starts_with(&stopped.stdout),
        "{} bytes were received, {} are recorded",
        stopped.stdout.len(),
        recorded.len()
    );
    let told = events(world, "recording.failed", session);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["detail"]["action"], "stopped");
    assert!(
        told[0]["detail"]["reason"]
            .as_str()
            .unwrap()
            .contains("No space left")
    );
}

fn gap_is_told(world: &World, session: &Session, bytes: usize) {
    let exported = world.weir().exported_events(session);
    let gap: Vec<_> = exported.iter().filter(|event| event["kind"] == "gap").collect();
    let told = gaps(world, session);
    assert_eq!((gap.len(), told.len()), (1, 1), "{gap:?} {told:?}");
    for gap in [gap[0], &told[0]["detail"]] {
        assert_eq!(gap["bytes"], bytes, "{gap}");
        assert!(gap["from_us"].as_u64() < gap["to_us"].as_u64(), "{gap}");
        assert!(gap["reason"].as_str().unwrap().contains("No space left"), "{gap}");
    }
    let output: String = exported
        .iter()
        .filter_map(|event| event["data"].as_str())
        .collect();
    assert_eq!(output, "relaxed is-here\nrecorded\n");
}

fn gaps(world: &World, session: &Session) -> Vec<Value> {
    events(world, "recording.gap", session)
}

fn events(world: &World, kind: &str, session: &Session) -> Vec<Value> {
    let listed = world
        .weir()
        .json(&["audit", "ls", "--kind", kind, "--session", session.id()]);
    listed.as_array().cloned().unwrap_or_default()
}
