//! The audit log: append-only lines of JSON, and the same by `weir audit ls`.

use serde_json::Value;
use weir_tests::world::make_key;
use weir_tests::{Terminal, World, eventually};

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

/// One of everything that can be had without a second machine, and each event as the types say.
#[test]
fn every_event_says_who_what_and_where_as_its_kind_has_it() {
    let world = World::start();
    world.exec("exit 3").run().ended_with(3);
    world.ssh().args(["-s", "target", "sftp"]).run();
    let far = weir_tests::world::free_port();
    world
        .ssh()
        .args(["-R", &format!("127.0.0.1:{far}:127.0.0.1:9"), "target", "true"])
        .succeed();
    let config = world.path_text("config");
    let mut terminal = Terminal::start(["ssh", "-F", &config, "target"], 24, 80);
    terminal.type_in("PS1=; echo ter''minal\n");
    terminal.expect("terminal");
    for columns in 81..131 {
        terminal.resize(24, columns);
        terminal.type_in(&format!(
            "until [ \"$(stty size)\" = '24 {columns}' ]; do :; done; echo is-{columns}''-wide\n"
        ));
        terminal.expect(&format!("is-{columns}-wide"));
    }
    terminal.type_in("exit\n");
    terminal.wait_within(std::time::Duration::from_secs(10));
    world
        .exec_on(world.login(), "nowhere", "true")
        .run()
        .ended_with(255);
    let sessions = world.weir().finished_sessions(4);
    let recorded = sessions
        .iter()
        .find(|session| session.text("kind") == "terminal")
        .unwrap();
    world.weir().export(recorded, "text");
    world.weir().verify(recorded).succeeded();
    let events = expect_events(
        &world,
        &["session.rejected", "session.upload", "recording.access"],
    );

    for event in &events {
        let (kind, detail) = (event["kind"].as_str().unwrap(), event["detail"].to_string());
        let read = weir_api::audit::reread(kind, &detail).unwrap_or_else(|| panic!("no kind {kind}"));
        let read: Value =
            serde_json::from_str(&read.unwrap_or_else(|error| panic!("{error}: {event}"))).unwrap();
        assert_eq!(read, event["detail"], "{kind}");
        assert_eq!(event["cluster"], "weir", "{event}");
    }
    let id = recorded.id();
    let of_terminal: Vec<_> = events.iter().filter(|event| event["session"] == id).collect();
    for kind in [
        "user.login",
        "cert.create",
        "session.connect",
        "session.start",
        "resize",
        "session.data",
        "session.end",
        "session.upload",
        "client.disconnect",
    ] {
        let event = of_terminal.iter().find(|event| event["kind"] == kind);
        let event = event.unwrap_or_else(|| panic!("no {kind} of the terminal"));
        for (field, value) in [
            ("user", "alice"),
            ("node", "web1"),
            ("data_plane", "embedded"),
            ("login", world.login()),
        ] {
            assert_eq!(event[field], value, "{field} of {event}");
        }
        let address = event["node_address"].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{event}");
        assert!(
            event["client_address"].as_str().unwrap().starts_with("127.0.0.1"),
            "{event}"
        );
        if !["user.login", "cert.create"].contains(&kind) {
            assert_eq!(event["recording_mode"], "async", "{event}");
        }
    }
    let detail = |kind: &str| {
        let event = of_terminal.iter().rfind(|event| event["kind"] == kind);
        &event.unwrap_or_else(|| panic!("no {kind}"))["detail"]
    };
    // A storm of sizes: the first and the last, and few between.
    let resizes = of_terminal.iter().filter(|event| event["kind"] == "resize");
    assert!(resizes.count() < 20);
    assert_eq!(detail("resize")["columns"], 130);
    assert!(detail("resize")["skipped"].is_u64());
    assert_eq!(detail("session.end")["interactive"], true);
    assert_eq!(
        detail("session.end")["participants"],
        serde_json::json!(["alice"])
    );
    assert!(detail("session.end")["start_us"].as_u64() < detail("session.end")["stop_us"].as_u64());
    assert!(detail("session.data")["tx"].as_u64() > Some(500));
    assert!(detail("session.data")["rx"].as_u64() > Some(500));
    let created = detail("cert.create");
    assert_eq!(created["type"], "upstream");
    assert_eq!(created["principals"], serde_json::json!([world.login()]));
    assert_eq!(created["serial"], detail("session.connect")["certificate_serial"]);
    assert!(created["key_id"].as_str().unwrap().contains(id), "{created}");
    assert!(created["valid_after"].as_u64() < created["valid_before"].as_u64());

    let all: Vec<_> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    for kind in [
        "control.start",
        "node.join",
        "user.add",
        "subsystem",
        "exec",
        "exit",
        "port",
    ] {
        assert!(all.contains(&kind), "{kind} in {all:?}");
    }
    let exit = events
        .iter()
        .find(|event| event["kind"] == "exit" && event["detail"]["exit_code"] == 3);
    assert_eq!(exit.unwrap()["detail"]["command"], "exit 3");
    let created = |what: &str| {
        events
            .iter()
            .any(|event| event["kind"] == "cert.create" && event["detail"]["type"] == what)
    };
    assert!(created("user") && created("host") && created("upstream"));
    let accesses: Vec<_> = events
        .iter()
        .filter(|event| event["kind"] == "recording.access")
        .collect();
    let actions: Vec<_> = accesses
        .iter()
        .map(|event| event["detail"]["action"].as_str().unwrap())
        .collect();
    assert!(actions.contains(&"export"), "{actions:?}");
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(accesses[0]["detail"]["administrator"]["uid"], uid);
}

#[test]
fn the_schema_is_printed() {
    let world = World::builder().empty().start();
    let printed = world.job("weir").args(["audit", "schema"]).succeed().out();
    let schema: Value = serde_json::from_str(&printed).unwrap();
    assert!(schema["$defs"]["details"]["session.end"].is_object(), "{printed}");
}
