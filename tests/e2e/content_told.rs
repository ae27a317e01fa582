//! What recordings and the audit log tell beside what was printed: variables, forwards, X11 and agent channels, digests.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;
use weir_tests::world::free_port;
use weir_tests::{Running, World, eventually};

const SECRET: &str = "open-sesame-4711";

#[test]
fn values_of_variables_are_told_by_allow_list_and_others_stand_nowhere() {
    let world = World::builder()
        .sshd("AcceptEnv LANG LC_* TOKEN")
        .config("log = { level = \"trace\" }")
        .start();
    world
        .ssh()
        .args(["-o", "SendEnv=LANG LC_TOKEN TOKEN", "target", "true"])
        .env("LANG", "de_DE.UTF-8")
        .env("LC_TOKEN", SECRET)
        .env("TOKEN", SECRET)
        .succeed();
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    let mut told = variables(events.iter().filter(|event| event["kind"] == "environment"));
    let audit = expect_audit(&world);
    let mut audited = variables(
        audit
            .iter()
            .filter(|event| event["kind"] == "environment")
            .map(|event| &event["detail"]),
    );
    let value = Some("de_DE.UTF-8".to_owned());
    let expected = [
        ("LANG".to_owned(), value),
        ("LC_TOKEN".to_owned(), None),
        ("TOKEN".to_owned(), None),
    ];
    told.retain(|(name, _)| expected.iter().any(|(known, _)| known == name));
    audited.retain(|(name, _)| expected.iter().any(|(known, _)| known == name));
    told.sort();
    audited.sort();
    assert_eq!(told, expected);
    assert_eq!(audited, expected);
    for format in ["json", "text", "cast"] {
        assert!(
            !contains(&world.weir().export(&session, format), SECRET),
            "in the {format}"
        );
    }
    let mut files = Vec::new();
    files_below(world.weir().data(), &mut files);
    files.retain(|file| contains(&fs::read(file).unwrap_or_default(), SECRET));
    assert_eq!(files, Vec::<PathBuf>::new());
    assert!(!world.weir().log().contains(SECRET));
}

#[test]
fn forwards_are_told_at_their_end_with_bytes_and_duration() {
    let world = World::start();
    for (flag, opener) in [("-L", "client"), ("-R", "target")] {
        let server = server_that_answers(b"HELLO, friend");
        let entrance = free_port();
        let mut ssh = holding(
            &world,
            &[flag, &format!("127.0.0.1:{entrance}:127.0.0.1:{server}")],
        );
        let mut stream = TcpStream::connect(("127.0.0.1", entrance)).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO, friend");
        drop(stream);
        // The user is the client in one case, and the one who connects to the target in the other.
        let (from_client, from_target) = if flag == "-L" { (5, 13) } else { (13, 5) };
        let audited = eventually("the audit log tells the forward's end", || {
            let events = audit(&world);
            let end = events.into_iter().find(|event| {
                event["kind"] == "port"
                    && event["detail"]["closed"] == true
                    && event["detail"]["opener"] == opener
            });
            Some(end?["detail"].clone())
        });
        ssh.close_stdin();
        ssh.wait().succeeded();
        let sessions = world.weir().finished_sessions(if flag == "-L" { 1 } else { 2 });
        let session = sessions
            .iter()
            .find(|session| {
                let events = world.weir().exported_events(session);
                events
                    .iter()
                    .any(|event| event["kind"] == "forward_end" && event["opener"] == opener)
            })
            .expect("a recording tells of it");
        let recorded = one(&world.weir().exported_events(session), "forward_end");
        for end in [&audited, &recorded] {
            assert_eq!(end["bytes_from_client"], from_client, "{end}");
            assert_eq!(end["bytes_from_target"], from_target, "{end}");
            assert!(end["duration_us"].as_u64().is_some_and(|time| time > 0), "{end}");
            assert_eq!(end["opener"], opener, "{end}");
        }
        let port = if flag == "-L" { server } else { entrance };
        assert_eq!(recorded["port"], port);
        assert_eq!(audited["destination"], format!("127.0.0.1:{port}"));
        assert_eq!(audited["duration_us"], recorded["duration_us"]);
    }
}

#[test]
fn a_forward_is_told_when_its_connection_ends_under_it() {
    let world = World::start();
    let server = server_that_answers(b"still here");
    let entrance = free_port();
    let ssh = holding(
        &world,
        &["-L", &format!("127.0.0.1:{entrance}:127.0.0.1:{server}")],
    );
    let mut stream = TcpStream::connect(("127.0.0.1", entrance)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    drop(ssh);
    let session = world.weir().only_session();
    let end = one(&world.weir().exported_events(&session), "forward_end");
    assert_eq!(
        (&end["bytes_from_client"], &end["bytes_from_target"]),
        (&5.into(), &10.into())
    );
}

#[test]
fn x11_and_agent_channels_are_counted() {
    let world = World::builder()
        .sshd("X11Forwarding yes")
        .sshd("XAuthLocation /bin/true")
        .start();
    // A display is a port from 6000 on; whoever connects there is turned away by ssh, since its cookie is wrong.
    let display = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = display.local_addr().unwrap().port() - 6000;
    let knock = "d=${DISPLAY#*:}; exec 3<>/dev/tcp/127.0.0.1/$((6000+${d%.*})); \
                 printf \"l\\0\\13\\0\\0\\0\\0\\0\\0\\0\\0\\0\" >&3; cat <&3 >/dev/null; exec 3>&-";
    world.write("knock", knock);
    let knock = world.path_text("knock");
    let script = format!(
        "eval $(ssh-agent -s) >/dev/null; trap 'kill $SSH_AGENT_PID' EXIT
         DISPLAY=127.0.0.1:{number} ssh -A -Y -o XAuthLocation=/bin/true -F config target \
             'ssh-add -l; ssh-add -l; bash {knock}; bash {knock}; true'"
    );
    world.bash(&script).succeed();
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    let ends = |kind: &str| -> Vec<&Value> {
        let ends = events
            .iter()
            .filter(|event| event["kind"] == "forward_end" && event["type"] == kind);
        ends.collect()
    };
    let summary = &audit_of(&world, "session.end")["detail"]["forwards"];
    for (kind, bytes_from_target) in [("x11", Some(24)), ("auth-agent", None)] {
        let total = summary
            .as_array()
            .and_then(|totals| totals.iter().find(|total| total["type"] == kind))
            .unwrap_or_else(|| panic!("no {kind} in {summary}"));
        assert_eq!(
            (total["channels"].as_u64(), ends(kind).len()),
            (Some(2), 2),
            "{total}"
        );
        for direction in ["bytes_from_client", "bytes_from_target"] {
            let sum: u64 = ends(kind).iter().filter_map(|end| end[direction].as_u64()).sum();
            assert_eq!(total[direction], sum, "{kind}");
        }
        match bytes_from_target {
            Some(bytes) => assert_eq!(total["bytes_from_target"], bytes),
            None => assert!(total["bytes_from_client"].as_u64() > Some(0), "{total}"),
        }
    }
}

#[test]
fn what_is_past_the_limit_is_hashed_where_the_cluster_says_so() {
    let world = World::builder()
        .config("recording = { exec_output_limit = \"64KiB\", hash_unrecorded = true }")
        .start();
    let seen = world.exec("seq 50000; seq 20000 >&2").succeed();
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    for (stream, all) in [("output", &seen.stdout), ("error_output", &seen.stderr)] {
        let rest = &all[65_536..];
        let find = |kind: &str| {
            let found = events
                .iter()
                .find(|event| event["kind"] == kind && event["stream"] == stream);
            found.unwrap_or_else(|| panic!("no {kind} of the {stream}"))
        };
        assert_eq!(find("unrecorded")["bytes"], rest.len() as u64);
        let digest = find("digest");
        let expected = world.job("sha256sum").input(rest).succeed().out();
        let expected = expected.split_whitespace().next().expect("a digest");
        assert_eq!(
            (&digest["sha256"], &digest["bytes"]),
            (&expected.into(), &rest.len().into())
        );
    }
}

/// Serves one connection: answers at once, and reads to the end.
fn server_that_answers(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut begin = [0; 5];
        stream.read_exact(&mut begin).unwrap();
        stream.write_all(answer).unwrap();
        // Until the other side goes, however it does.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    port
}

/// A session that keeps forwards open, once it has them.
fn holding(world: &World, forward: &[&str]) -> Running {
    let mut ssh = world
        .ssh()
        .option("ExitOnForwardFailure=yes")
        .args(forward)
        .args(["target", "echo up; cat"])
        .spawn();
    ssh.expect_stdout("up");
    ssh
}

fn variables<'a>(events: impl Iterator<Item = &'a Value>) -> Vec<(String, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    events
        .map(|event| (text(&event["name"]).expect("a name"), text(&event["value"])))
        .collect()
}

fn audit(world: &World) -> Vec<Value> {
    world
        .weir()
        .json(&["audit", "ls"])
        .as_array()
        .expect("an array")
        .clone()
}

fn audit_of(world: &World, kind: &str) -> Value {
    eventually(&format!("the audit log tells of {kind}"), || {
        audit(world).into_iter().find(|event| event["kind"] == kind)
    })
}

/// All events, once the only session's end is among them.
fn expect_audit(world: &World) -> Vec<Value> {
    audit_of(world, "session.end");
    audit(world)
}

fn one(events: &[Value], kind: &str) -> Value {
    let mut found = events.iter().filter(|event| event["kind"] == kind);
    let event = found
        .next()
        .unwrap_or_else(|| panic!("no {kind} among {events:#?}"));
    assert!(found.next().is_none(), "more than one {kind}");
    event.clone()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => files_below(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}
