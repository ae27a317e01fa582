//! The audit log: append-only lines of JSON, and the same by `weir audit ls`.

use serde_json::Value;
use weir_tests::world::make_key;
use weir_tests::{World, eventually};

#[test]
fn a_session_leaves_its_start_its_command_and_its_end() {
    let world = World::start();
    world.exec("echo seen; exit 3").run().ended_with(3);
    let session = world.weir().only_session();
    let events = expect_events(&world, &["session.start", "exec", "session.end"]);
    for kind in ["session.start", "exec", "session.end"] {
        let event = one(&events, kind);
        assert_eq!(event["session"], session.id(), "{event}");
        assert_eq!(event["user"], "alice", "{event}");
        assert_eq!(event["login"], world.login(), "{event}");
        assert_eq!(event["node"], "web1", "{event}");
        assert!(
            event["client_address"]
                .as_str()
                .unwrap()
                .starts_with("127.0.0.1:"),
            "{event}"
        );
        assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
        assert!(event["id"].as_str().is_some_and(|id| !id.is_empty()), "{event}");
    }
    assert_eq!(one(&events, "exec")["detail"]["command"], "echo seen; exit 3");
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    let at = |kind| kinds.iter().position(|it| *it == kind).unwrap();
    assert!(
        at("session.start") < at("exec") && at("exec") < at("session.end"),
        "{kinds:?}"
    );
}

#[test]
fn the_listing_and_the_file_tell_the_same() {
    let world = World::start();
    world.exec("true").succeed();
    world.weir().only_session();
    let mut written = expect_events(&world, &["session.end"]);
    let mut listed = world
        .weir()
        .json(&["audit", "ls"])
        .as_array()
        .expect("an array")
        .clone();
    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
    written.sort_by_key(id);
    listed.sort_by_key(id);
    assert_eq!(
        written.iter().map(id).collect::<Vec<_>>(),
        listed.iter().map(id).collect::<Vec<_>>()
    );
}

#[test]
fn a_rejected_session_says_why() {
    let world = World::start();
    world
        .exec_on(world.login(), "no-such-host", "true")
        .run()
        .ended_with(255);
    let events = expect_events(&world, &["session.rejected"]);
    let event = one(&events, "session.rejected");
    assert_eq!(event["user"], "alice", "{event}");
    assert!(
        event["detail"].to_string().contains("offline or does not exist"),
        "{event}"
    );
}

#[test]
fn a_failed_sign_in_names_the_key_and_the_reason() {
    let world = World::start();
    make_key(&world.path("stranger"), "ed25519");
    let seen = world
        .job("ssh")
        .args([
            "-F",
            "none",
            "-i",
            "stranger",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
        ])
        .args([
            "-o",
            "UserKnownHostsFile=known_hosts",
            "-p",
            &world.address().port().to_string(),
        ])
        .args(["-l", &world.user(), "127.0.0.1", "true"])
        .run()
        .ended_with(255);
    assert!(seen.err().contains("Permission denied (publickey)"), "{seen}");
    let fingerprint = world
        .bash("ssh-keygen -lf stranger.pub | cut -d ' ' -f 2")
        .succeed()
        .out();
    let events = expect_events(&world, &["auth"]);
    let event = events
        .iter()
        .find(|event| event["detail"].to_string().contains(fingerprint.trim()));
    let event = event.unwrap_or_else(|| panic!("no event names {fingerprint}: {events:?}"));
    assert_eq!(event["detail"]["success"], false, "{event}");
    world.weir().expect_log(&[fingerprint.trim()]);
}

/// Waits until each of these kinds stands in the file; gives all events in the order of the file.
fn expect_events(world: &World, kinds: &[&str]) -> Vec<Value> {
    let file = world.weir().data().join("audit").join("audit.jsonl");
    eventually(&format!("{kinds:?} stand in {}", file.display()), || {
        let events = weir_tests::weir::json_lines(&std::fs::read(&file).ok()?);
        let there = |kind: &&str| events.iter().any(|event| event["kind"] == **kind);
        kinds.iter().all(there).then_some(events)
    })
}

fn one<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = events.iter().filter(|event| event["kind"] == kind).collect();
    let [event] = found.as_slice() else {
        panic!("{} events of kind {kind}: {events:?}", found.len())
    };
    event
}
