//! `weir recordings search`: in which session, and when in it, was this text seen?

use serde_json::Value;
use weir_record::Event;
use weir_tests::Outcome;
use weir_tests::shelf::Shelf;

fn search(shelf: &Shelf, args: &[&str]) -> Outcome {
    shelf.weir(["recordings", "search"]).args(args).run()
}

fn json(shelf: &Shelf, args: &[&str]) -> Vec<Value> {
    let said = search(shelf, &[args, &["--json"]].concat()).succeeded();
    serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("not JSON: {error}\n{said}"))
}

#[test]
fn hits_tell_session_time_and_line_whatever_they_are_divided_by() {
    let shelf = Shelf::new();
    let mut draft = shelf.begin("alice");
    draft.terminal(1_000, 0);
    // Typed key by key, coloured, and over the end of a chunk.
    for (n, key) in "$ cat /etc/sha".bytes().enumerate() {
        draft.output(65_000_000 + n as u64 * 100_000, 0, &[key]);
    }
    draft.output(67_000_000, 0, b"\x1b[1;3");
    draft.chunk();
    draft.output(68_000_000, 0, b"1mdow\x1b[0m\r\nroot:*:\r\n");
    draft.event(
        70_000_000,
        1,
        &Event::Exec {
            command: b"rm -rf /var/tmp/shadow",
        },
    );
    draft.event(70_000_001, 1, &Event::ErrorOutput(b"rm: no shadow\n"));
    let alice = draft.finish();
    let mut draft = shelf.begin("bob");
    draft.output(3_700_000_000, 0, b"a Shadow here");
    let bob = draft.finish();

    // The newest comes first, and each line is one hit.
    let said = search(&shelf, &["shadow"]).succeeded();
    let expected = format!(
        "{id}  2023-11-14 22:14:26Z     1m06s  $ cat /etc/shadow\n\
         {id}  2023-11-14 22:14:30Z     1m10s  rm -rf /var/tmp/shadow\n\
         {id}  2023-11-14 22:14:30Z     1m10s  rm: no shadow\n",
        id = alice.id
    );
    assert_eq!(said.out(), expected);
    assert!(said.err().starts_with("3 hits in 2 recordings, "), "{said}");

    let said = search(&shelf, &["-i", "SHADOW", "--limit", "2"]).succeeded();
    let first = format!("{}  2023-11-15 00:15:00Z  1h01m40s  a Shadow here\n", bob.id);
    assert!(
        said.out().starts_with(&first) && said.out().lines().count() == 2,
        "{said}"
    );

    let hits = json(&shelf, &["sha.ow$", "--regex"]);
    let hit = &hits[0];
    assert_eq!(hits.len(), 3);
    assert_eq!(hit["id"], alice.id);
    assert_eq!(
        (&hit["user"], &hit["login"], &hit["node"]),
        (&"alice".into(), &"root".into(), &"web1".into())
    );
    // The time of the first byte that matched.
    assert_eq!(
        (&hit["time_us"], &hit["channel"]),
        (&66_100_000.into(), &0.into())
    );
    assert_eq!(hit["time"], "2023-11-14T22:14:26.100000Z");
    assert_eq!(
        (&hit["source"], &hits[1]["source"]),
        (&"output".into(), &"command".into())
    );
    assert_eq!(
        (&hit["text"], &hit["line"]),
        (&"shadow".into(), &"$ cat /etc/shadow".into())
    );

    // What export makes of the time has the hit in it.
    let part = [
        "recordings",
        "export",
        &alice.id,
        "--from",
        "1m06s",
        "--to",
        "1m09s",
    ];
    assert!(shelf.weir(part).succeed().out().contains("shadow"));
}

#[test]
fn a_search_is_narrowed_by_user_node_and_time() {
    let shelf = Shelf::new();
    let mut ids = Vec::new();
    for user in ["alice", "bob", "alice"] {
        let mut draft = shelf.begin(user);
        draft.output(1, 0, b"needle\n");
        ids.push(draft.finish().id);
    }
    let found = |args: &[&str]| -> Vec<usize> {
        let hits = json(&shelf, &[&["needle"], args].concat());
        let place = |hit: &Value| ids.iter().position(|id| hit["id"] == **id).unwrap();
        hits.iter().map(place).collect()
    };
    assert_eq!(found(&[]), [2, 1, 0]);
    assert_eq!(found(&["--user", "alice"]), [2, 0]);
    assert_eq!(found(&["--node", "web1"]), [2, 1, 0]);
    assert_eq!(found(&["--node", "web2"]), [0; 0]);
    assert_eq!(found(&["--since", "2023-11-14T23:00:00Z"]), [2, 1]);
    assert_eq!(found(&["--until", "2023-11-15"]), [1, 0]);
    assert_eq!(found(&["--since", "1h"]), [0; 0]);
    assert_eq!(found(&["--limit", "1"]), [2]);
}

#[test]
fn what_cannot_be_searched_is_counted_with_the_reason() {
    let shelf = Shelf::new();
    let volumes = ["alice", "bob", "carol"].map(|user| {
        let mut draft = if user == "bob" {
            shelf.begin_sealed_to_others(user)
        } else {
            shelf.begin(user)
        };
        draft.output(1, 0, b"needle\n");
        draft.chunk();
        draft.output(2, 0, b"needle again\n");
        draft.finish()
    });
    let said = search(&shelf, &["needle"]).succeeded();
    assert_eq!(said.out().lines().count(), 4, "{said}");
    let summary = said.err();
    assert!(
        summary.starts_with("4 hits in 2 recordings, ") && summary.contains("; 1 skipped: "),
        "{said}"
    );

    // A damaged one is searched as far as it can be read, the others are searched all the same.
    let carol = &volumes[2];
    let mut bytes = carol.bytes();
    bytes[carol.parts[2].end - 1] ^= 1;
    carol.replace(&bytes);
    let said = search(&shelf, &["needle"]).ended_with(1);
    assert_eq!(said.out().lines().count(), 3, "{said}");
    let words = format!(
        "weir: recording {} was not searched to its end: chunk 1",
        carol.id
    );
    assert!(said.err().contains(&words), "{said}");
    assert!(
        said.err().contains("1 recording was not searched to the end"),
        "{said}"
    );
}

#[test]
fn lines_of_strangers_cannot_paint_the_screen_or_fill_it() {
    let shelf = Shelf::new();
    let mut draft = shelf.begin("alice");
    let long = "x".repeat(100_000);
    draft.event(
        1,
        0,
        &Event::Exec {
            command: b"\x1b[2J\x1b]0;title\x07needle\x08",
        },
    );
    draft.output(2, 1, format!("\u{85}\u{9b}2Jneedle {long} needle\n").as_bytes());
    draft.finish();
    let said = search(&shelf, &["needle"]).succeeded();
    assert!(
        !said.out().contains(['\x1b', '\x07', '\x08', '\u{85}', '\u{9b}']),
        "{said}"
    );
    assert!(
        said.out().lines().all(|line| line.chars().count() < 300),
        "{said}"
    );
    // Of a line of any length every piece is searched.
    assert_eq!(said.out().lines().count(), 3, "{said}");
}

#[test]
fn each_recording_that_is_searched_is_an_access_in_the_audit_log() {
    let shelf = Shelf::new();
    let mut draft = shelf.begin("alice");
    draft.output(1, 0, b"needle\n");
    let volume = draft.finish();
    search(&shelf, &["needle"]).succeeded();
    let said = shelf
        .weir(["audit", "ls", "--kind", "recording.access", "--json"])
        .succeed();
    let events: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(events.len(), 1, "{said}");
    assert_eq!(events[0]["session"], volume.id);
}
