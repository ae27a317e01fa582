//! Audit events at a real syslog receiver and in a rotated file, whatever becomes of the receiver and of the file.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::thread;

use serde_json::Value;
use weir_tests::rsyslog::Certificates;
use weir_tests::world::free_port;
use weir_tests::{Rsyslog, World, eventually};

#[test]
fn a_receiver_that_is_killed_under_load_gets_each_event_and_a_rotated_file_has_each_once() {
    let port = free_port();
    let directory = tempfile::tempdir().unwrap();
    let exported = directory.path().join("audit.jsonl");
    let mut receiver = Rsyslog::start(&directory.path().join("rsyslog"), port, None);
    let world = World::builder()
        .config("[audit.syslog]")
        .config(&format!("address = \"127.0.0.1:{port}\""))
        .config("transport = \"tcp\"")
        .config("facility = \"local3\"")
        .config("[audit.file]")
        .config(&format!("path = \"{}\"", exported.display()))
        .config("rotate_size = \"16KiB\"")
        .config("keep = 1000")
        .start();
    thread::scope(|scope| {
        for client in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..8 {
                    world.exec(&format!("echo {client}-{n}")).succeed();
                }
            });
        }
        for _ in 0..2 {
            let before = receiver.received().len();
            eventually("events arrive", || {
                (receiver.received().len() > before).then_some(())
            });
            receiver.kill();
            // Others rotate the file as well, by its name.
            fs::rename(&exported, directory.path().join(format!("moved.{before}"))).unwrap();
            let logged = logged(&world).len();
            eventually("there is something to miss", || {
                (self::logged(&world).len() > logged).then_some(())
            });
            receiver.start_again();
        }
    });
    world.weir().finished_sessions(32);
    eventually("every event has arrived", || {
        let received = receiver.received_ids();
        logged(&world)
            .iter()
            .all(|id| received.contains(id))
            .then_some(())
    });
    eventually("every event is in the files, once, and in nothing else", || {
        let copies = in_files(directory.path());
        let logged = logged(&world);
        assert!(copies.values().all(|count| *count == 1), "{copies:?}");
        (copies.len() == logged.len() && logged.iter().all(|id| copies.contains_key(id))).then_some(())
    });
    let files = fs::read_dir(directory.path()).unwrap().count();
    assert!(files > 8, "{files} files");

    // Filed by their kind and their fields, under the facility local3 as information.
    let line = receiver
        .received()
        .into_iter()
        .find(|line| line.contains("session.start"));
    let line = line.expect("a session has started");
    assert!(
        line.starts_with("158 weir session.start [weir@32473 id=\""),
        "{line}"
    );
    for field in [
        "user=\"alice\"",
        "node=\"web1\"",
        "cluster=\"weir\"",
        "data_plane=\"embedded\"",
    ] {
        assert!(line.contains(field), "{field}: {line}");
    }
    let status = world.weir().json(&["status"]);
    assert_eq!(status["exports"].as_array().unwrap().len(), 2, "{status}");
    let again = world.weir().admin(&["status"]);
    assert!(again.contains("exports   syslog 127.0.0.1:"), "{again}");
}

#[test]
fn over_tls_an_alien_receiver_is_refused_and_the_right_one_gets_all() {
    let port = free_port();
    let directory = tempfile::tempdir().unwrap();
    make_authority(directory.path(), "ours");
    make_authority(directory.path(), "alien");
    for name in ["receiver", "weir"] {
        certify(directory.path(), "ours", name);
    }
    let path = |name: &str| directory.path().join(name);
    let receiver = Rsyslog::start(
        &path("rsyslog"),
        port,
        Some(&Certificates {
            ca: path("ours.pem"),
            certificate: path("receiver.pem"),
            key: path("receiver.key"),
        }),
    );
    fs::copy(path("alien.pem"), path("trusted.pem")).unwrap();
    let world = World::builder()
        .config("[audit.syslog]")
        .config(&format!("address = \"localhost:{port}\""))
        .config("server_name = \"logs.test\"")
        .config(&format!("ca_file = \"{}\"", path("trusted.pem").display()))
        .config(&format!("certificate_file = \"{}\"", path("weir.pem").display()))
        .config(&format!("key_file = \"{}\"", path("weir.key").display()))
        .start();
    world.exec("true").succeed();
    eventually("weir says why it exports nothing", || {
        let status = world.weir().json(&["status"]);
        let export = &status["exports"][0];
        let is_said = export["problem"].as_str()?.contains("invalid peer certificate");
        (is_said && export["behind"].as_u64()? > 5).then_some(())
    });
    assert!(receiver.received_ids().is_empty());

    // The files are read anew for each connection.
    fs::copy(path("ours.pem"), path("trusted.pem")).unwrap();
    eventually("every event has arrived", || {
        let received = receiver.received_ids();
        let logged = logged(&world);
        (logged.len() > 5 && logged.iter().all(|id| received.contains(id))).then_some(())
    });
    eventually("weir says that all is well", || {
        let export = &world.weir().json(&["status"])["exports"][0];
        (export["problem"].is_null() && export["behind"] == 0).then_some(())
    });
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::builder().empty().start();
    let refused = |text: &str, why: &str| {
        let config = world.write("weir.toml", text);
        let data = directory.path().join("D");
        let seen = world
            .job("weir")
            .args(["up", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--data")
            .arg(&data)
            .run();
        assert!(seen.code() != 0 && seen.err().contains(why), "{seen}");
    };
    refused(
        "[audit.syslog]\naddress = \"localhost:6514\"\n",
        "needs `ca_file`",
    );
    refused(
        "[audit.syslog]\naddress = \"localhost:6514\"\nca_file = \"/nowhere.pem\"\n",
        "/nowhere.pem",
    );
    refused(
        "[audit.file]\npath = \"/nowhere/audit.jsonl\"\n",
        "/nowhere/audit.jsonl",
    );
}

/// The ids of the log's events.
fn logged(world: &World) -> HashSet<String> {
    let file = world.weir().data().join("audit").join("audit.jsonl");
    let text = fs::read_to_string(file).unwrap_or_default();
    // The last line may be on its way.
    let whole = text.rfind('\n').map_or(0, |last| last + 1);
    ids(&text[..whole]).collect()
}

/// How often each event stands in the files of a directory.
fn in_files(directory: &Path) -> HashMap<String, usize> {
    let mut copies = HashMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = fs::read_to_string(path).unwrap();
            let whole = text.rfind('\n').map_or(0, |last| last + 1);
            ids(&text[..whole]).for_each(|id| *copies.entry(id).or_default() += 1);
        }
    }
    copies
}

fn ids(lines: &str) -> impl Iterator<Item = String> {
    let events = weir_tests::weir::json_lines(lines.as_bytes()).into_iter();
    events.map(|event: Value| event["id"].as_str().unwrap().to_owned())
}

/// `openssl` on its way to a certificate with a new key.
fn new_certificate(directory: &Path) -> weir_tests::Job {
    weir_tests::Job::new("openssl").current_dir(directory).args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ])
}

fn make_authority(directory: &Path, name: &str) {
    new_certificate(directory)
        .args(["-subj", &format!("/CN={name}"), "-days", "2"])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
        .succeed();
}

fn certify(directory: &Path, authority: &str, name: &str) {
    new_certificate(directory)
        .args([
            "-CA",
            &format!("{authority}.pem"),
            "-CAkey",
            &format!("{authority}.key"),
        ])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-days",
            "2",
            "-addext",
            "subjectAltName=DNS:logs.test",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
        .succeed();
}
