//! `weir recordings export`: whole recordings and parts of them, and files that are there whole or not at all.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use weir_record::Event;
use weir_tests::shelf::{Shelf, Volume};
use weir_tests::{Outcome, eventually};

/// A line a minute for ten minutes, on a terminal that is resized after five.
fn ten_minutes(shelf: &Shelf) -> Volume {
    let mut draft = shelf.begin("alice");
    draft.terminal(1_000, 0);
    for minute in 1..=10_u64 {
        let at = minute * 60_000_000;
        draft.output(
            at,
            0,
            format!("\x1b[3{}mminute {minute}\x1b[0m\r\n", minute % 8).as_bytes(),
        );
        if minute == 5 {
            let (columns, rows) = (132, 50);
            let resize = Event::Resize {
                columns,
                rows,
                width_px: 0,
                height_px: 0,
            };
            draft.event(at + 1_000, 0, &resize);
        }
        draft.chunk();
    }
    draft.event(600_500_000, 0, &Event::ExitStatus(3));
    draft.finish()
}

fn export(shelf: &Shelf, volume: &Volume, args: &[&str]) -> Outcome {
    shelf.weir(["recordings", "export", &volume.id]).args(args).run()
}

#[test]
fn a_part_is_chosen_by_time_into_the_session_or_time_of_day() {
    let shelf = Shelf::new();
    let volume = ten_minutes(&shelf);
    let two = "minute 7\nminute 8\n";
    // The session began at 22:13:20.
    for (from, to) in [
        ("7m", "9m"),
        ("420s", "8m30s"),
        ("2023-11-14T22:20:20Z", "2023-11-14T22:22:20Z"),
        ("2023-11-14 22:20:00", "9m"),
    ] {
        let said = export(&shelf, &volume, &["--from", from, "--to", to]).succeeded();
        assert_eq!(said.out(), two, "{from} to {to}");
    }
    let rest = export(&shelf, &volume, &["--from", "9m"]).succeeded();
    assert_eq!(rest.out(), "minute 9\nminute 10\n");
    let begin = export(&shelf, &volume, &["--from", "2023-11-14", "--to", "1m30s"]).succeeded();
    assert_eq!(begin.out(), "minute 1\n");

    let cast = export(
        &shelf,
        &volume,
        &["--from", "7m", "--to", "8m1s", "--format", "cast"],
    )
    .succeeded();
    let cast = weir_tests::weir::json_lines(&cast.stdout);
    assert_eq!(
        (&cast[0]["term"]["cols"], &cast[0]["term"]["rows"]),
        (&132.into(), &50.into())
    );
    assert_eq!(cast[0]["timestamp"], 1_700_000_420);
    let times: Vec<_> = cast[1..].iter().map(|line| line[0].as_f64().unwrap()).collect();
    assert_eq!(times, [0.0, 60.0]);

    let events = export(&shelf, &volume, &["--from", "9m30s", "--format", "json"]).succeeded();
    let kinds: Vec<String> = weir_tests::weir::json_lines(&events.stdout)
        .iter()
        .map(|event| event["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["recording", "meta", "output", "exit_status", "end"]);
}

#[test]
fn a_part_that_cannot_be_is_wrong_usage() {
    let shelf = Shelf::new();
    let volume = ten_minutes(&shelf);
    for (args, words) in [
        (
            &["--from", "11m"][..],
            "the last that was recorded is 10m 500ms after the start: choose an earlier time",
        ),
        (
            &["--from", "5m", "--to", "5m"],
            "got a --to that is not behind --from, which is 5m after",
        ),
        (
            &["--to", "2023-11-14T22:13:20Z"],
            "got a --to that is not behind --from",
        ),
        (&["--from", "soon"], "expected a length of time such as 1m30s"),
    ] {
        let said = export(&shelf, &volume, args).ended_with(2);
        assert!(said.err().contains(words) && said.stdout.is_empty(), "{said}");
    }
    let path = shelf.path("never");
    let path = path.to_str().unwrap();
    export(&shelf, &volume, &["--from", "11m", "--out", path]).ended_with(2);
    assert_eq!(left_beside(&shelf), Vec::<String>::new());
}

/// What a part needs is read, and no more: behind it the object may be damaged or missing.
#[test]
fn what_comes_after_a_part_is_not_read() {
    let shelf = Shelf::new();
    let volume = ten_minutes(&shelf);
    let whole = volume.bytes();
    volume.replace(&whole[..volume.parts[5].end]);
    let said = export(&shelf, &volume, &["--to", "5m"]).succeeded();
    assert!(said.out().ends_with("minute 4\n"), "{said}");
    let said = export(&shelf, &volume, &[]).ended_with(1);
    assert!(
        said.err().contains("cut off after 5 chunks") && said.out().ends_with("minute 5\n"),
        "{said}"
    );
}

/// Names in the shelf's directory that are not the control plane's.
fn left_beside(shelf: &Shelf) -> Vec<String> {
    let entries = fs::read_dir(shelf.path(".")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "D").collect()
}

#[test]
fn an_interrupted_export_leaves_no_file_and_the_old_one_as_it_was() {
    let shelf = Shelf::new();
    let mut draft = shelf.begin("alice");
    for n in 0..10_000_u64 {
        draft.output(n, 0, &[b'x'; 60_000]);
    }
    let volume = draft.finish();
    fs::write(shelf.path("x"), "old").unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let order = ["recordings", "export", &volume.id, "--out", "x", "--force"];
        let running = shelf.weir(order).spawn();
        eventually("the file is being written", || {
            let being_written = |name: &String| name.ends_with(".unfinished");
            left_beside(&shelf).iter().any(being_written).then_some(())
        });
        running.signal(signal);
        let said = running.wait_within(Duration::from_secs(10)).ended_with(1);
        assert!(
            said.err().contains("weir: interrupted: x was not written"),
            "{said}"
        );
        assert_eq!(left_beside(&shelf), ["x"]);
        assert_eq!(fs::read_to_string(shelf.path("x")).unwrap(), "old");
    }
}

#[test]
fn a_full_disk_is_told_with_the_file_and_what_to_do() {
    let shelf = Shelf::new();
    let mut draft = shelf.begin("alice");
    for n in 0..40_u64 {
        draft.output(n, 0, &[b'x'; 60_000]);
    }
    let volume = draft.finish();
    fs::create_dir(shelf.path("small")).unwrap();
    // A file system of its own, of 1 MiB, that is gone with the command.
    let script = format!(
        "mount -t tmpfs -o size=1m none small && {{ \"$@\"; status=$?; ls small; exit $status; }} # {}",
        volume.id
    );
    let weir = weir_tests::weir::binary();
    let data = shelf.path("D");
    let said = weir_tests::Job::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", &script, "sh"])
        .arg(weir)
        .arg("--data")
        .arg(data)
        .args(["recordings", "export", &volume.id, "--out", "small/x"])
        .current_dir(shelf.path("."))
        .run()
        .ended_with(1);
    let words = "small/x cannot be written: No space left on device (os error 28): make room there, or write to another";
    assert!(said.err().contains(words), "{said}");
    assert_eq!(said.out(), "", "something was left there");

    let said = weir_tests::Job::new("sh")
        .args(["-c", "exec \"$@\" > /dev/full", "sh"])
        .arg(weir_tests::weir::binary())
        .arg("--data")
        .arg(shelf.path("D"))
        .args(["recordings", "export", &volume.id])
        .run()
        .ended_with(1);
    assert!(
        said.err()
            .contains("standard output cannot be written: No space left on device"),
        "{said}"
    );
}

/// Programs read standard error; a bar is for people.
#[test]
fn no_progress_is_shown_where_nobody_watches() {
    let shelf = Shelf::new();
    let volume = ten_minutes(&shelf);
    for format in ["text", "cast", "json"] {
        let said = export(&shelf, &volume, &["--format", format, "--out", format]).succeeded();
        assert_eq!((said.out(), said.err()), (String::new(), String::new()));
    }
    let value: Value = serde_json::from_str(
        fs::read_to_string(shelf.path("json"))
            .unwrap()
            .lines()
            .next()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(value["session"], volume.id);
}
