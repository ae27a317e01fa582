//! What is exported as asciicast v3 is played by asciinema's own player, whatever the session was.

use std::path::PathBuf;

use serde_json::{Value, json};
use weir_record::{Event, Stream};
use weir_tests::Job;
use weir_tests::shelf::{Shelf, Volume};

/// Where `make` has put the player.
fn player() -> PathBuf {
    let dir = weir_tests::weir::binary_dir()
        .parent()
        .expect("target/PROFILE")
        .join("asciinema-player");
    let hint = "run `.ci/asciinema-player target/asciinema-player` first (`make test` does)";
    assert!(
        dir.join("package.json").exists(),
        "no player in {}: {hint}",
        dir.display()
    );
    dir
}

/// What the player showed of an export.
fn played(shelf: &Shelf, volume: &Volume, args: &[&str]) -> Value {
    let order = ["recordings", "export", &volume.id, "--format", "cast"];
    let cast = shelf.weir(order).args(args).succeed().stdout;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/players/asciinema.mjs");
    let said = Job::new("node").arg(script).arg(player()).input(cast).succeed();
    serde_json::from_slice(&said.stdout).expect("JSON")
}

#[test]
fn asciinemas_player_plays_what_is_exported() {
    let shelf = Shelf::new();
    let mut draft = shelf.begin("alice");
    // A first channel that runs a command, and a second with a terminal.
    draft.event(1_000, 0, &Event::Exec { command: b"true" });
    draft.event(2_000, 0, &Event::ExitStatus(u32::MAX));
    draft.event(3_000, 0, &Event::Closed);
    draft.terminal(1_000_000, 1);
    draft.output(1_500_000, 1, b"gr\xc3");
    draft.chunk();
    draft.output(2_000_000, 1, b"\xbcn \xff\x00\x1b[1m\"\\\r\n");
    let resize = |columns, rows| Event::Resize {
        columns,
        rows,
        width_px: 0,
        height_px: 0,
    };
    draft.event(2_500_000, 1, &resize(80, 25));
    draft.event(2_500_000, 1, &Event::Input(b"exit\r"));
    draft.event(3_000_000, 1, &resize(0, 70_000));
    draft.event(3_500_000, 1, &Event::ErrorOutput("\u{2028}bye".as_bytes()));
    let stream = Stream::Output;
    draft.event(3_600_000, 1, &Event::LimitReached { stream, limit: 9 });
    let signal = Event::ExitSignal {
        signal: b"TERM",
        core_dumped: true,
        message: b"",
    };
    draft.event(4_000_000, 1, &signal);
    let volume = draft.finish();

    let seen = played(&shelf, &volume, &["--channel", "1"]);
    assert_eq!(seen["problems"], json!([]));
    assert_eq!(seen["output"], "gr\u{fc}n \u{fffd}\0\u{1b}[1m\"\\\r\n\u{2028}bye");
    assert_eq!(seen["input"], "exit\r");
    assert_eq!(seen["sizes"], json!([[100, 30], [80, 25], [80, 1000]]));
    assert_eq!(seen["duration"], 4.0);

    // A part begins with its own time and the terminal of that moment.
    let seen = played(&shelf, &volume, &["--from", "2750ms", "--to", "4s"]);
    assert_eq!(seen["output"], "\u{2028}bye");
    assert_eq!(seen["sizes"], json!([[80, 25], [80, 1000]]));
    assert_eq!(seen["duration"], 0.75);

    // A command that printed nothing, by itself and in a stretch in which it did nothing.
    for args in [&["--channel", "0"][..], &["--channel", "0", "--from", "1s"]] {
        let seen = played(&shelf, &volume, args);
        assert_eq!(
            (&seen["output"], &seen["sizes"]),
            (&"".into(), &json!([[80, 24]])),
            "{args:?}"
        );
    }
}

#[test]
fn asciinemas_player_plays_a_session_in_which_nothing_happened() {
    let shelf = Shelf::new();
    let volume = shelf.begin("alice").finish();
    assert_eq!(played(&shelf, &volume, &[])["problems"], json!([]));
}
