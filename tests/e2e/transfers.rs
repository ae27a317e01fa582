//! What recordings and the audit log tell of files that real clients transfer.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::{Session, World, eventually};

fn hashing() -> World {
    World::builder().config("[recording]\nfile_hashes = true").start()
}

#[test]
fn sftp_is_told_file_by_file_in_recording_and_audit_log() {
    let world = hashing();
    let far = world.far_dir("far").display().to_string();
    world
        .bash("head -c 3000000 /dev/urandom > data; : > empty")
        .succeed();
    let batch = format!(
        "cd {far}\nmkdir sub\nput data sub/up\nput empty sub/nothing\nget sub/up down\nrename sub/up sub/moved\n\
         chmod 640 sub/moved\nln -s moved sub/soft\nln sub/moved sub/hard\nls -l sub\nrm sub/soft\nmkdir gone\nrmdir gone\n\
         -rm missing\n-get missing\n"
    );
    sftp(&world, &["target"], &batch);
    let session = world.weir().only_session();
    assert_eq!(session.text("kind"), "subsystem");
    let events = world.weir().exported_events(&session);
    let sub = format!("{far}/sub");
    let expected = [
        ("mkdir", sub.clone(), "done"),
        ("write", format!("{sub}/up"), "done"),
        ("write", format!("{sub}/nothing"), "done"),
        ("read", format!("{sub}/up"), "done"),
        ("rename", format!("{sub}/up"), "done"),
        ("setstat", format!("{sub}/moved"), "done"),
        ("symlink", format!("{sub}/soft"), "done"),
        ("link", format!("{sub}/hard"), "done"),
        ("remove", format!("{sub}/soft"), "done"),
        ("mkdir", format!("{far}/gone"), "done"),
        ("rmdir", format!("{far}/gone"), "done"),
        ("remove", format!("{far}/missing"), "failed"),
    ];
    let operations = operations(&events);
    for (action, path, outcome) in &expected {
        let is_it =
            |it: &&&Value| it["action"] == *action && it["path"] == **path && it["outcome"] == *outcome;
        let found = operations.iter().filter(is_it).count();
        assert_eq!(found, 1, "{action} {path}: {operations:#?}");
    }
    let hash = sha256(&world, "data");
    for action in ["write", "read"] {
        let file = find(&operations, action, &format!("{sub}/up"));
        let bytes = if action == "read" {
            "bytes_read"
        } else {
            "bytes_written"
        };
        assert_eq!(
            (&file[bytes], &file["direction"]),
            (&3_000_000.into(), &action.into())
        );
        assert_eq!(file["sha256"], hash, "{file}");
    }
    let empty = find(&operations, "write", &format!("{sub}/nothing"));
    assert_eq!(empty["sha256"], sha256(&world, "empty"));
    assert_eq!(
        find(&operations, "rename", &format!("{sub}/up"))["target"],
        format!("{sub}/moved")
    );
    let missing = find(&operations, "remove", &format!("{far}/missing"));
    assert_eq!(
        (&missing["status"], &missing["status_text"]),
        (&2.into(), &"no such file".into())
    );
    let opened = operations.iter().filter(|it| it["action"] == "opendir");
    assert!(opened.count() >= 1, "{operations:#?}");

    let summary = only(&events, "transfer_summary");
    assert_eq!(
        (&summary["files"], &summary["whole"]),
        (&3.into(), &true.into()),
        "{summary}"
    );
    assert_eq!(
        (&summary["bytes_read"], &summary["bytes_written"]),
        (&3_000_000.into(), &3_000_000.into())
    );
    assert_eq!(summary["unmatched"], 0, "{summary}");

    let audit = audited(&world, &session);
    for (action, path, outcome) in &expected {
        let status = if *outcome == "done" { "ok" } else { "no such file" };
        let is_it = |it: &&Value| {
            it["kind"] == "sftp"
                && it["detail"]["action"] == *action
                && it["detail"]["path"] == **path
                && it["detail"]["status"] == status
                && it["user"] == "alice"
        };
        assert_eq!(
            audit.iter().filter(is_it).count(),
            1,
            "{action} {path}: {audit:#?}"
        );
    }
    let is_hashed = |it: &Value| it["detail"]["action"] == "write" && it["detail"]["sha256"] == hash;
    assert!(audit.iter().any(is_hashed), "{audit:#?}");
    let summary = only(&audit, "sftp_summary");
    assert_eq!(summary["detail"]["files"], 3);

    let text = String::from_utf8(world.weir().export(&session, "text")).unwrap();
    assert!(
        text.contains(&format!(
            "sftp write {sub}/up, 3000000 bytes written, sha256 {hash}\n"
        )),
        "{text}"
    );
    assert!(
        !text.contains('\0'),
        "the protocol's own bytes are no text: {text:?}"
    );
    let played = world.weir().cli().args(["play", session.id()]).succeed();
    assert!(played.out().contains("sftp rmdir"), "{played}");
}

#[test]
fn scp_by_either_protocol_is_told_both_ways() {
    let world = hashing();
    world.far_dir("far");
    world
        .bash("mkdir -p tree/deep; head -c 2000000 /dev/urandom > tree/data; echo x > 'tree/deep/a b'")
        .succeed();
    let hash = sha256(&world, "tree/data");
    for (count, protocol) in [(2, ""), (4, "-O")] {
        let script = format!(
            "scp {protocol} -q -F config -rp tree target:$PWD/far/
             scp {protocol} -q -F config -rp target:$PWD/far/tree back{count}
             ! scp {protocol} -q -F config target:/no/such/file . 2> /dev/null
             diff -r tree back{count}",
        );
        world.bash(&script).succeed();
        let sessions = world.weir().finished_sessions(count / 2 * 3);
        let name = if protocol.is_empty() { "sftp" } else { "scp" };
        let of_protocol: Vec<(Vec<Value>, Vec<Value>)> = sessions
            .iter()
            .map(|session| (world.weir().exported_events(session), audited(&world, session)))
            .filter(|(events, _)| only(events, "transfer_summary")["protocol"] == name)
            .collect();
        assert_eq!(of_protocol.len(), 3);
        for (direction, bytes) in [("write", "bytes_written"), ("read", "bytes_read")] {
            let is_it = |it: &Value| {
                let is_file = it["kind"] == "file_operation" && it["direction"] == direction;
                is_file
                    && it["path"]
                        .as_str()
                        .is_some_and(|path| path.ends_with("tree/data"))
            };
            let (events, audit) = of_protocol
                .iter()
                .find(|(events, _)| events.iter().any(is_it))
                .unwrap_or_else(|| panic!("nothing tells of {direction} by {name}: {of_protocol:#?}"));
            let file = events.iter().find(|it| is_it(it)).unwrap();
            assert_eq!(
                (&file[bytes], &file["outcome"]),
                (&2_000_000.into(), &"done".into()),
                "{file}"
            );
            assert_eq!(file["sha256"], hash, "{file}");
            let deep = |it: &Value| {
                it["path"]
                    .as_str()
                    .is_some_and(|path| path.ends_with("tree/deep/a b"))
            };
            assert!(events.iter().any(deep), "{events:#?}");
            let summary = only(events, "transfer_summary");
            assert_eq!(
                (&summary["files"], &summary["whole"]),
                (&2.into(), &true.into()),
                "{summary}"
            );
            let is_hashed = |it: &Value| it["kind"] == name && it["detail"]["sha256"] == hash;
            assert!(audit.iter().any(is_hashed), "{audit:#?}");
        }
    }
}

#[test]
fn sftp_started_as_a_command_is_told_too() {
    let world = World::start();
    let far = world.far_dir("far").display().to_string();
    world.write("file", "contents\n");
    for (count, server) in [
        (1, "/usr/lib/openssh/sftp-server"),
        (2, "exec /usr/lib/openssh/sftp-server -l ERROR"),
    ] {
        let batch = format!("put file {far}/file{count}\nget {far}/file{count} back\n");
        sftp(&world, &["-s", server, "target"], &batch);
        let sessions = world.weir().finished_sessions(count);
        let tells = |session: &Session| {
            let events = world.weir().exported_events(session);
            let operations = operations(&events);
            operations
                .iter()
                .any(|it| it["path"] == format!("{far}/file{count}") && it["bytes_written"] == 9)
                && operations
                    .iter()
                    .any(|it| it["action"] == "read" && it["bytes_read"] == 9)
                && operations.iter().all(|it| it["sha256"].is_null())
        };
        assert!(sessions.iter().any(tells), "{server}");
    }
}

/// Files that are open together, written in turns, with all requests sent before an answer is read: what no command of
/// OpenSSH's does.
const MANY_AT_ONCE: &str = r#"
import struct, subprocess, sys
far = sys.argv[1]
ssh = subprocess.Popen(["ssh", "-F", "config", "-s", "target", "sftp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def string(b): return struct.pack(">I", len(b)) + b
def send(kind, body):
    ssh.stdin.write(string(bytes([kind]) + body))
    ssh.stdin.flush()
def receive():
    (length,) = struct.unpack(">I", ssh.stdout.read(4))
    packet = ssh.stdout.read(length)
    return packet[0], packet[1:]
send(1, struct.pack(">I", 3)); receive()
handles = []
for n in range(20):
    send(3, struct.pack(">I", n) + string(f"{far}/f{n}".encode()) + struct.pack(">II", 0x1A, 0))
for n in range(20):
    kind, body = receive(); assert kind == 102
    handles.append(body[8:])
requests = 0
for block in range(10):
    for n in range(20):
        send(6, struct.pack(">I", requests) + string(handles[n]) + struct.pack(">Q", block * 1000) + string(bytes([n]) * 1000))
        requests += 1
for _ in range(requests):
    kind, body = receive(); assert kind == 101 and body[4:8] == bytes(4)
for n in range(20):
    send(4, struct.pack(">I", n) + string(handles[n]))
# The first handle is given out again before this asks for it.
send(3, struct.pack(">I", 99) + string(f"{far}/again".encode()) + struct.pack(">II", 0x1A, 0))
for n in range(20): receive()
kind, body = receive(); assert kind == 102
send(4, struct.pack(">I", 1) + body[4:]); receive()
ssh.stdin.close()
sys.exit(ssh.wait())
"#;

#[test]
fn files_open_together_are_told_apart() {
    let world = hashing();
    let far = world.far_dir("far").display().to_string();
    world
        .job("python3")
        .args(["-c", MANY_AT_ONCE, &far])
        .limit(Duration::from_secs(30))
        .succeed();
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    let operations = operations(&events);
    for n in 0..20 {
        let file = find(&operations, "write", &format!("{far}/f{n}"));
        assert_eq!(
            (&file["bytes_written"], &file["outcome"]),
            (&10_000.into(), &"done".into())
        );
        assert_eq!(file["sha256"], sha256(&world, &format!("far/f{n}")), "{file}");
    }
    assert_eq!(
        find(&operations, "write", &format!("{far}/again"))["bytes_written"],
        0
    );
    let summary = only(&events, "transfer_summary");
    assert_eq!(
        (&summary["files"], &summary["unmatched"]),
        (&21.into(), &0.into()),
        "{summary}"
    );
}

#[test]
fn a_transfer_that_is_cut_off_is_unfinished() {
    let world = hashing();
    let far = world.far_dir("far").display().to_string();
    // The sender's half of scp's protocol, that begins a file and never ends it.
    let mut sender = world.exec(&format!("scp -t {far}/half")).spawn();
    sender.write(b"C0644 100000 half\n");
    sender.write(&[b'x'; 60_000]);
    eventually("the far file has what was sent", || {
        let length = std::fs::metadata(world.path("far/half")).ok()?.len();
        (length > 0).then_some(())
    });
    sender.signal(Signal::KILL);
    sender.wait();
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    let operations = operations(&events);
    let file = find(&operations, "write", "half");
    assert_eq!(
        (&file["outcome"], &file["sha256"]),
        (&"unfinished".into(), &"not hashed".into()),
        "{file}"
    );
    assert_eq!(file["target"], format!("{far}/half"));
    let summary = only(&events, "transfer_summary");
    assert_eq!(
        (&summary["files"], &summary["unfinished"]),
        (&0.into(), &1.into()),
        "{summary}"
    );
}

#[test]
fn nothing_is_told_where_it_is_switched_off() {
    let world = World::builder()
        .config("[recording]\nfile_operations = false\nfile_hashes = true")
        .start();
    let far = world.far_dir("far").display().to_string();
    world.write("file", "contents\n");
    sftp(&world, &["target"], &format!("put file {far}/file\n"));
    let session = world.weir().only_session();
    let events = world.weir().exported_events(&session);
    let told = ["file_operation", "transfer_summary"];
    assert!(
        events
            .iter()
            .all(|event| !told.contains(&event["kind"].as_str().unwrap()))
    );
    let kinds = ["sftp", "scp", "sftp_summary"];
    let audit = audited(&world, &session);
    assert!(
        audit
            .iter()
            .all(|event| !kinds.contains(&event["kind"].as_str().unwrap())),
        "{audit:#?}"
    );
}

fn sftp(world: &World, arguments: &[&str], batch: &str) {
    world
        .job("sftp")
        .args(["-F", "config", "-b", "-"])
        .args(arguments)
        .input(batch)
        .limit(Duration::from_secs(60))
        .succeed();
}

/// What was done to files, without the beginning.
fn operations(events: &[Value]) -> Vec<&Value> {
    let is_operation = |event: &&Value| event["kind"] == "file_operation" && event["action"] != "begin";
    events.iter().filter(is_operation).collect()
}

#[track_caller]
fn find<'a>(operations: &[&'a Value], action: &str, path: &str) -> &'a Value {
    let found = operations
        .iter()
        .find(|it| it["action"] == action && it["path"] == path);
    found.unwrap_or_else(|| panic!("no {action} of {path}: {operations:#?}"))
}

#[track_caller]
fn only<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = events.iter().filter(|event| event["kind"] == kind).collect();
    let [event] = found.as_slice() else {
        panic!("{} events of kind {kind}: {events:#?}", found.len())
    };
    event
}

/// The audit events of a session that has ended.
fn audited(world: &World, session: &Session) -> Vec<Value> {
    let file = world.weir().data().join("audit").join("audit.jsonl");
    eventually("the session's end stands in the audit log", || {
        let mut events = weir_tests::weir::json_lines(&std::fs::read(&file).ok()?);
        events.retain(|event| event["session"] == session.id());
        events
            .iter()
            .any(|event| event["kind"] == "session.end")
            .then_some(events)
    })
}

fn sha256(world: &World, file: &str) -> String {
    let said = world.bash(&format!("sha256sum {file}")).succeed().out();
    said.split(' ').next().expect("sha256sum prints").to_owned()
}
