//! What exports tell of gaps, variables, forwards, withheld input and digests.

use std::time::Duration;

use weir_record::export::{Part, cast, json, text};
use weir_record::{Event, ForwardKind, ReadError, Reader, Stream, Unlock};

use crate::sample::{Sample, Scribe, sample};

fn open(sample: &Sample) -> Reader<&[u8]> {
    Reader::open(&sample.bytes[..], Unlock::Key(&sample.key)).unwrap()
}

const TERMINAL: Event<'static> = Event::Terminal {
    term: b"xterm",
    columns: 80,
    rows: 24,
    width_px: 0,
    height_px: 0,
};

fn gap(from_ms: u64, to_ms: u64) -> Event<'static> {
    Event::Gap {
        from: Duration::from_millis(from_ms),
        to: Duration::from_millis(to_ms),
        bytes: 4096,
        events: 2,
        reason: b"no space\x1b left",
    }
}

/// A gap before anything was shown, and one amid.
fn with_gaps() -> Sample {
    let mut scribe = Scribe::begin(3, b"an age file");
    scribe.event(500_000, 0, &gap(100, 500));
    scribe.event(600_000, 1, &TERMINAL);
    scribe.event(1_000_000, 1, &Event::Output(b"before"));
    scribe.event(3_500_000, 0, &gap(1_000, 3_500));
    scribe.event(4_000_000, 1, &Event::Output(b"after\r\n"));
    scribe.end(weir_record::Status::Complete, Some(Duration::from_secs(4)))
}

const FIRST: &str = "weir: not recorded for 400ms, 4096 bytes and 2 other events: no space  left";
const SECOND: &str = "weir: not recorded for 2.5s, 4096 bytes and 2 other events: no space  left";

#[test]
fn a_gap_is_a_line_in_brackets_in_text_whatever_channel_is_asked_for() {
    for channel in [None, Some(1)] {
        let mut out = Vec::new();
        text(&mut open(&with_gaps()), channel, Part::WHOLE, &mut out).unwrap();
        let expected = format!("\n[{FIRST}]\nbefore\n[{SECOND}]\nafter\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{channel:?}");
    }
}

#[test]
fn a_gap_is_a_marker_in_a_cast_and_times_go_on_from_it() {
    let mut out = Vec::new();
    cast(&mut open(&with_gaps()), None, Part::WHOLE, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<_> = out.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            format!("[0.500000, \"m\", \"{FIRST}\"]"),
            "[0.500000, \"o\", \"before\"]".to_owned(),
            format!("[2.500000, \"m\", \"{SECOND}\"]"),
            "[0.500000, \"o\", \"after\\r\\n\"]".to_owned(),
        ]
    );
}

#[test]
fn a_gap_is_told_in_each_part_that_it_reaches_into() {
    let part = |from_ms, to_ms| Part {
        from: Duration::from_millis(from_ms),
        to: Some(Duration::from_millis(to_ms)),
    };
    for (part, expected) in [
        (part(800, 2_000), format!("before\n[{SECOND}]\n")),
        (part(2_000, 5_000), format!("\n[{SECOND}]\nafter\n")),
        (part(550, 1_000), String::new()),
        (part(3_800, 5_000), "after\n".to_owned()),
    ] {
        let mut out = Vec::new();
        text(&mut open(&with_gaps()), Some(1), part, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{part:?}");
        let mut out = Vec::new();
        cast(&mut open(&with_gaps()), None, part, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let markers = out.lines().filter(|line| line.contains("\"m\"")).count();
        assert_eq!(markers, expected.matches("weir:").count(), "{out}");
    }
}

#[test]
fn a_cast_of_any_number_of_gaps_waits_for_none() {
    let mut scribe = Scribe::begin(3, b"an age file");
    for at in 1..200 {
        scribe.event(at * 1000, 0, &gap(at - 1, at));
    }
    let sample = scribe.end(weir_record::Status::Complete, None);
    let mut out = Vec::new();
    cast(&mut open(&sample), None, Part::WHOLE, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(
        out.lines().filter(|line| line.contains("\"m\"")).count(),
        199,
        "{out}"
    );
    assert!(out.starts_with("{\"version\":3"), "{out}");
}

#[test]
fn json_tells_what_was_set_forwarded_withheld_and_hashed() {
    let mut scribe = Scribe::begin(3, b"an age file");
    scribe.event(
        1,
        0,
        &Event::Environment {
            name: b"LANG",
            value: Some(b"de"),
        },
    );
    scribe.event(
        2,
        0,
        &Event::Environment {
            name: b"TOKEN",
            value: None,
        },
    );
    scribe.event(
        3,
        1,
        &Event::ForwardEnd {
            kind: ForwardKind::DirectTcp,
            by_target: false,
            host: b"db",
            port: 5432,
            from_client: 10,
            from_target: 20,
            duration: Duration::from_millis(7),
        },
    );
    scribe.event(4, 0, &Event::WithheldInput { bytes: 9 });
    scribe.event(
        5,
        0,
        &Event::Digest {
            stream: Stream::Output,
            bytes: 11,
            sha256: [0xab; 32],
        },
    );
    let sample = scribe.end(weir_record::Status::Complete, Some(Duration::from_micros(5)));
    let mut out = Vec::new();
    json(&mut open(&sample), Part::WHOLE, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let digest = format!(
        r#"{{"bytes":11,"channel":0,"kind":"digest","sha256":"{}","stream":"output","time_us":5}}"#,
        "ab".repeat(32)
    );
    for line in [
        r#"{"channel":0,"kind":"environment","name":"LANG","time_us":1,"value":"de"}"#,
        r#"{"channel":0,"kind":"environment","name":"TOKEN","time_us":2}"#,
        r#"{"bytes_from_client":10,"bytes_from_target":20,"channel":1,"duration_us":7000,"host":"db","kind":"forward_end","opener":"client","port":5432,"time_us":3,"type":"direct-tcpip"}"#,
        r#"{"bytes":9,"channel":0,"kind":"withheld_input","time_us":4}"#,
        &digest,
    ] {
        assert!(
            out.lines().any(|found| found == line),
            "{line} is missing in\n{out}"
        );
    }
}

#[test]
fn a_note_is_told_as_a_gap_and_nothing_else_stands_in_clear() {
    let sample = sample(3).noted();
    let told = "weir: not recorded for 4s, 4096 bytes and 2 other events: the recorder has stopped";
    let (mut as_text, mut as_cast, mut as_json) = (Vec::new(), Vec::new(), Vec::new());
    text(&mut open(&sample), None, Part::WHOLE, &mut as_text).unwrap();
    cast(&mut open(&sample), None, Part::WHOLE, &mut as_cast).unwrap();
    json(&mut open(&sample), Part::WHOLE, &mut as_json).unwrap();
    for (export, end) in [(as_text, "]\n"), (as_cast, "\"]\n")] {
        let export = String::from_utf8(export).unwrap();
        assert!(export.ends_with(&format!("{told}{end}")), "{export}");
    }
    let as_json = String::from_utf8(as_json).unwrap();
    assert!(as_json.contains("\"kind\":\"gap\""), "{as_json}");

    let note = sample.parts[sample.parts.len() - 2].clone();
    let kind = note.start + weir_record::HEAD_LEN + 4;
    assert_eq!(sample.bytes[kind], weir_record::EventKind::GAP.0);
    let mut forged = sample.bytes.clone();
    forged[kind] = weir_record::EventKind::OUTPUT.0;
    let mut reader = Reader::open(&forged[..], Unlock::Key(&sample.key)).unwrap();
    let error = loop {
        match reader.next_entry() {
            Ok(entry) => assert!(entry.is_some(), "what was put in clear was believed"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReadError::Chunk { number: 5, .. }), "{error}");
}
