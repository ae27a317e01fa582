//! What a recording holds, in each form, and what `verify` finds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use weir_tests::{Session, Terminal, World, eventually};

#[test]
fn a_command_is_recorded_with_its_streams_and_its_end() {
    let world = World::start();
    let command = "echo to-out; echo to-err >&2; exit 42";
    world.exec(command).run().ended_with(42);
    let session = world.weir().only_session();
    assert_eq!(session.text("kind"), "exec");
    assert_eq!(session.text("status"), "complete");
    let events = world.weir().exported_events(&session);
    assert_eq!(one(&events, "exec")["command"], command);
    assert_eq!(data(&events, "output"), "to-out\n");
    assert_eq!(data(&events, "error_output"), "to-err\n");
    assert_eq!(data(&events, "input"), "");
    assert_eq!(one(&events, "exit_status")["status"], 42);
    assert_eq!(one(&events, "end")["status"], "complete");
    let meta = one(&events, "meta");
    assert_eq!(
        (&meta["user"], &meta["login"], &meta["node"]),
        (&"alice".into(), &world.login().into(), &"web1".into())
    );
    let times: Vec<u64> = events
        .iter()
        .filter_map(|event| event["time_us"].as_u64())
        .collect();
    assert!(times.is_sorted(), "{times:?}");

    let text = String::from_utf8(world.weir().export(&session, "text")).unwrap();
    assert!(text.contains("to-out\n") && text.contains("to-err\n"), "{text}");
    world.weir().verify(&session).succeeded();
}

#[test]
fn death_by_a_signal_is_recorded() {
    let world = World::start();
    world.exec("kill -TERM $$").run().ended_with(255);
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    assert_eq!(one(&events, "exit_signal")["signal"], "TERM");
}

#[test]
fn a_terminal_is_recorded_with_its_resizes_and_without_what_was_typed() {
    let world = World::start();
    let mut terminal = Terminal::start(["ssh", "-F", &world.path_text("config"), "target"], 30, 90);
    terminal.type_in("PS1=; stty -echo; echo rea''dy\n");
    terminal.expect("ready");
    terminal.type_in("read -p 'who are''you? ' secret; echo len=${#secret}\n");
    terminal.expect("who areyou? ");
    terminal.type_in("hunter2-hunter2\n");
    terminal.expect("len=15");
    terminal.resize(41, 121);
    terminal.type_in("until [ \"$(stty size)\" = '41 121' ]; do sleep 0.02; done; echo resi''zed\n");
    terminal.expect("resized");
    terminal.type_in("exit 6\n");
    assert_eq!(terminal.wait_within(Duration::from_secs(10)), 6);

    let session = world.weir().only_session();
    assert_eq!(session.text("kind"), "terminal");
    let events = world.weir().exported_events(&session);
    let asked = one(&events, "terminal");
    assert_eq!(
        (&asked["columns"], &asked["rows"], &asked["term"]),
        (&90.into(), &30.into(), &"xterm".into())
    );
    let resized = one(&events, "resize");
    assert_eq!((&resized["columns"], &resized["rows"]), (&121.into(), &41.into()));
    assert_eq!(one(&events, "exit_status")["status"], 6);
    assert!(data(&events, "output").contains("len=15"));

    // asciicast v3: a header, then [interval, code, data].
    let cast = world.weir().export(&session, "cast");
    let lines = weir_tests::weir::json_lines(&cast);
    assert_eq!(lines[0]["version"], 3);
    assert_eq!(
        (&lines[0]["term"]["cols"], &lines[0]["term"]["rows"]),
        (&90.into(), &30.into())
    );
    let coded = |code: &str| -> Vec<&str> {
        lines[1..]
            .iter()
            .filter(|line| line[1] == code)
            .filter_map(|line| line[2].as_str())
            .collect()
    };
    assert_eq!(coded("r"), ["121x41"]);
    assert_eq!(coded("x"), ["6"]);
    assert!(coded("o").concat().contains("len=15"));
    assert!(
        lines[1..]
            .iter()
            .all(|line| line[0].as_f64().is_some_and(|interval| interval >= 0.0))
    );

    for format in ["text", "cast", "json"] {
        let export = String::from_utf8_lossy(&world.weir().export(&session, format)).into_owned();
        assert!(
            !export.contains("hunter2"),
            "input stands in the {format}:\n{export}"
        );
    }
}

#[test]
fn input_is_recorded_where_policy_says_so() {
    let world = World::start();
    world.put_role(
        "name = \"access\"\n[allow]\nlogins = \"*\"\nnode_labels = { \"*\" = \"*\" }\n\
         [options]\nrecord_input = true\n",
    );
    world.exec("cat >/dev/null").input("typed by alice\n").succeed();
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    assert_eq!(data(&events, "input"), "typed by alice\n");
}

#[test]
fn nothing_is_recorded_where_policy_says_so() {
    let world = World::start();
    world.put_role(
        "name = \"access\"\n[allow]\nlogins = \"*\"\nnode_labels = { \"*\" = \"*\" }\n[options]\nrecord_session = \"off\"\n",
    );
    world.exec("echo unseen").succeed();
    eventually("the session is over", || {
        world.weir().sessions().first()?.has_ended().then_some(())
    });
    assert!(world.weir().recordings().is_empty());
}

#[test]
fn output_past_the_limit_is_counted_and_the_recording_says_so() {
    let world = World::builder()
        .config("[recording]\nexec_output_limit = \"1MiB\"")
        .start();
    world
        .exec("head -c 3000000 /dev/zero | tr '\\0' x; echo err >&2")
        .succeed();
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    let recorded = data(&events, "output").len();
    assert!(
        (900_000..=1_048_576).contains(&recorded),
        "{recorded} bytes are recorded"
    );
    let reached = one(&events, "limit_reached");
    assert_eq!(
        (&reached["stream"], &reached["limit_bytes"]),
        (&"output".into(), &1_048_576.into())
    );
    let unrecorded = one(&events, "unrecorded");
    assert_eq!(unrecorded["bytes"].as_u64(), Some(3_000_000 - recorded as u64));
    assert_eq!(data(&events, "error_output"), "err\n");
    world.weir().verify(&session).succeeded();
}

#[test]
fn large_output_is_recorded_byte_for_byte() {
    let world = World::start();
    let seen = world
        .exec("head -c 20000000 /dev/urandom | base64")
        .limit(Duration::from_secs(60))
        .succeed();
    let session = world.weir().only_session();
    assert!(
        world.weir().export(&session, "text") == seen.stdout,
        "the export is not what the client saw"
    );
    assert!(session.number("bytes") >= seen.stdout.len() as u64);
}

/// Several channels of one connection, each with its own events.
#[test]
fn channels_of_one_connection_are_told_apart() {
    let world = World::start();
    let socket = world.path_text("mux");
    let mut master = world.ssh().args(["-M", "-N", "-S", &socket, "target"]).spawn();
    eventually("the master is up", || {
        assert!(master.is_running(), "the master ended: {}", master.stderr());
        world
            .ssh()
            .args(["-S", &socket, "-O", "check", "target"])
            .run()
            .status
            .success()
            .then_some(())
    });
    for n in 1..=3 {
        world
            .ssh()
            .args(["-S", &socket, "target", &format!("echo channel-{n}; exit {n}")])
            .run()
            .ended_with(n);
    }
    world
        .ssh()
        .args(["-S", &socket, "-O", "exit", "target"])
        .succeed();
    master.wait();
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    let of = |kind: &str| {
        events
            .iter()
            .filter(|event| event["kind"] == kind)
            .collect::<Vec<_>>()
    };
    for (n, (exec, exit)) in (1_u64..).zip(of("exec").into_iter().zip(of("exit_status"))) {
        assert_eq!(exec["command"], format!("echo channel-{n}; exit {n}"));
        assert_eq!(exit["status"], n);
    }
    assert_eq!(of("exec").len(), 3);
}

/// Bytes of noise after what is looked for.
const NOISE: u64 = 300_000;

#[test]
fn recordings_and_spool_hold_no_plain_text() {
    let world = World::start();
    // The command itself stands in the audit log, the output must not stand anywhere.
    let mut running = world
        .exec(&format!(
            "echo cl''ear-te''xt-mark''er; head -c {NOISE} /dev/urandom; echo; echo all-is-out; cat"
        ))
        .spawn();
    running.expect_stdout("all-is-out");
    // It is appended in order: when the noise is there, which nothing makes shorter, so is what came before it.
    eventually("the spool holds what was printed", || {
        let mut files = Vec::new();
        files_below(&world.weir().data().join("spool"), &mut files);
        let held: u64 = files
            .iter()
            .filter_map(|file| file.metadata().ok())
            .map(|file| file.len())
            .sum();
        (held > NOISE).then_some(())
    });
    let found = || -> Vec<PathBuf> {
        let mut files = Vec::new();
        files_below(world.weir().data(), &mut files);
        files.retain(|file| contains(&fs::read(file).unwrap_or_default(), b"clear-text-marker"));
        files
    };
    assert_eq!(found(), Vec::<PathBuf>::new());
    running.close_stdin();
    running.wait().succeeded();
    let session = world.weir().only_session();
    assert_eq!(found(), Vec::<PathBuf>::new());
    assert!(contains(
        &world.weir().export(&session, "text"),
        b"clear-text-marker"
    ));
}

/// Every region of the file is covered: a flipped bit, a cut, an addition, a removed stretch.
#[test]
fn verify_finds_every_alteration() {
    let world = World::start();
    world
        .exec("for i in 1 2 3 4 5 6; do head -c 90000 /dev/urandom | base64; sleep 0.3; done")
        .succeed();
    let session = world.weir().only_session();
    let file = recording_file(&world, &session);
    let whole = fs::read(&file).unwrap();
    world.weir().verify(&session).succeeded();

    let altered = |what: String, bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let seen = world.weir().verify(&session).ended_with(1);
        assert!(!seen.stderr.is_empty(), "{what}: {seen}");
    };
    let length = whole.len();
    for at in (0..16).map(|n| n * (length - 1) / 15) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        altered(format!("bit {at} flipped"), &bytes);
    }
    for cut in [0, 1, length / 3, length / 2, length - 100, length - 1] {
        altered(format!("cut to {cut}"), &whole[..cut]);
    }
    altered("something added".to_owned(), &[&whole[..], b"x"].concat());
    altered(
        "a stretch removed".to_owned(),
        &[&whole[..length / 3], &whole[length / 2..]].concat(),
    );
    let (a, b, c) = (length / 4, length / 2, length * 3 / 4);
    altered(
        "stretches swapped".to_owned(),
        &[&whole[..a], &whole[b..c], &whole[a..b], &whole[c..]].concat(),
    );

    fs::write(&file, &whole).unwrap();
    world.weir().verify(&session).succeeded();
}

/// A recording that was replaced by another, sound one.
#[test]
fn verify_finds_a_recording_in_anothers_place() {
    let world = World::start();
    world.exec("echo one").succeed();
    world.exec("echo two").succeed();
    let sessions = world.weir().finished_sessions(2);
    let (first, second) = (
        recording_file(&world, &sessions[0]),
        recording_file(&world, &sessions[1]),
    );
    fs::copy(&first, &second).unwrap();
    world.weir().verify(&sessions[0]).succeeded();
    world.weir().verify(&sessions[1]).ended_with(1);
}

fn recording_file(world: &World, session: &Session) -> PathBuf {
    let mut files = Vec::new();
    files_below(&world.weir().data().join("recordings"), &mut files);
    let named: Vec<_> = files
        .into_iter()
        .filter(|file| file.to_string_lossy().contains(session.id()))
        .collect();
    let [file] = named.as_slice() else {
        panic!("files of {}: {named:?}", session.id())
    };
    file.clone()
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), files);
        } else if entry.file_type().unwrap().is_file() {
            files.push(entry.path());
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn one<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = events.iter().filter(|event| event["kind"] == kind).collect();
    let [event] = found.as_slice() else {
        panic!("{} events of kind {kind}", found.len())
    };
    event
}

/// The joined data of all events of a kind, which are text in these tests.
fn data(events: &[Value], kind: &str) -> String {
    events
        .iter()
        .filter(|event| event["kind"] == kind)
        .filter_map(|event| event["data"].as_str())
        .collect()
}
