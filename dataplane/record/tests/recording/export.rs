//! Exports of whole recordings.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_record::export::{ExportError, cast, json as json_lines, text};
use weir_record::{
    Event, FileAction, FileOperation, FileOutcome, ForwardKind, ReadError, Reader, Status, Stream,
    TransferProtocol, TransferSummary, Unlock,
};

use crate::sample::{Sample, Scribe, sample};

fn open(sample: &Sample) -> Reader<&[u8]> {
    Reader::open(&sample.bytes[..], Unlock::Key(&sample.key)).unwrap()
}

fn terminal() -> Sample {
    let mut scribe = Scribe::begin(3, b"an age file");
    scribe.event(
        5,
        4,
        &Event::Forward {
            kind: ForwardKind::Agent,
            host: b"",
            port: 0,
            originator: b"",
            originator_port: 0,
        },
    );
    scribe.event(
        10,
        0,
        &Event::Terminal {
            term: b"xterm",
            columns: 100,
            rows: 30,
            width_px: 0,
            height_px: 0,
        },
    );
    scribe.event(20, 0, &Event::Shell);
    scribe.event(1_500_000, 0, &Event::Output(b"gr\xc3\xbc\xc3"));
    scribe.chunk();
    scribe.event(1_500_001, 0, &Event::Output(b"\x9fe\r\n\x1b[1mbold\x1b[0m\xff"));
    scribe.event(1_600_000, 7, &Event::Output(b"another channel"));
    scribe.event(
        2_000_000,
        0,
        &Event::Resize {
            columns: 80,
            rows: 25,
            width_px: 0,
            height_px: 0,
        },
    );
    scribe.event(2_000_000, 0, &Event::Input(b"exit\r"));
    scribe.event(
        3_000_000,
        0,
        &Event::ExitSignal {
            signal: b"TERM",
            core_dumped: false,
            message: b"",
        },
    );
    scribe.event(3_100_000, 0, &Event::ErrorOutput(b"late"));
    scribe.end(Status::Complete, Some(Duration::from_secs(4)))
}

#[test]
fn cast_is_asciicast_v3_with_relative_times_and_whole_characters() {
    let mut out = Vec::new();
    cast(&mut open(&terminal()), None, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = json!([
        {"version": 3, "term": {"cols": 100, "rows": 30, "type": "xterm"}, "timestamp": 1_700_000_000,
         "title": "root@web1"},
        [1.5, "o", "gr\u{fc}"],
        [0.000_001, "o", "\u{df}e\r\n\u{1b}[1mbold\u{1b}[0m\u{fffd}"],
        [0.499_999, "r", "80x25"],
        [0.0, "i", "exit\r"],
        [1.1, "o", "late"],
        [0.0, "x", "143"],
    ]);
    assert_eq!(Value::from(lines), expected);
}

#[test]
fn cast_of_a_command_names_it_and_has_a_default_size() {
    let mut scribe = Scribe::begin(4, b"an age file");
    scribe.event(1, 2, &Event::Exec { command: b"uname -a" });
    scribe.event(1_000, 2, &Event::Output(b"Linux\n"));
    scribe.event(2_000, 2, &Event::ExitStatus(7));
    let sample = scribe.end(Status::Complete, None);
    let mut out = Vec::new();
    cast(&mut open(&sample), None, &mut out).unwrap();
    let expected = concat!(
        r#"{"version":3,"term":{"cols":80,"rows":24},"timestamp":1700000000,"command":"uname -a","title":"root@web1"}"#,
        "\n[0.001000, \"o\", \"Linux\\n\"]\n[0.001000, \"x\", \"7\"]\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn cast_shows_the_channel_that_is_asked_for() {
    let mut out = Vec::new();
    cast(&mut open(&terminal()), Some(7), &mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .ends_with("[1.600000, \"o\", \"another channel\"]\n")
    );
}

#[test]
fn text_of_a_terminal_is_readable_and_of_a_command_exact() {
    let mut out = Vec::new();
    text(&mut open(&terminal()), Some(0), &mut out).unwrap();
    assert_eq!(out, b"gr\xc3\xbc\xc3\x9fe\nbold\xfflate");

    let mut scribe = Scribe::begin(4, b"an age file");
    scribe.event(1, 0, &Event::Exec { command: b"cat logo" });
    scribe.event(2, 0, &Event::Output(b"\x1b[1m\0\xff\r\n"));
    let sample = scribe.end(Status::Complete, None);
    let mut out = Vec::new();
    text(&mut open(&sample), None, &mut out).unwrap();
    assert_eq!(out, b"\x1b[1m\0\xff\r\n");
}

#[test]
fn json_lines_leave_nothing_out() {
    let mut scribe = Scribe::begin(4, b"an age file");
    scribe.event(1, 0, &Event::Exec { command: b"dd" });
    scribe.event(2, 0, &Event::Output(b"\xff\x00"));
    scribe.event(
        3,
        0,
        &Event::LimitReached {
            stream: Stream::Output,
            limit: 2,
        },
    );
    scribe.event(
        4,
        0,
        &Event::Unrecorded {
            stream: Stream::Output,
            bytes: 99,
        },
    );
    let sample = scribe.end(Status::Interrupted, None);
    let mut out = Vec::new();
    json_lines(&mut open(&sample), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = json!([
        {"kind": "recording", "session": sample.session.to_string(), "start_us": 1_700_000_000_000_000u64},
        {"kind": "meta", "time_us": 0, "user": "alice", "login": "root", "node": "web1",
         "node_address": "10.0.0.1:22", "client_address": "192.0.2.7:50000", "cluster": "main"},
        {"kind": "exec", "time_us": 1, "channel": 0, "command": "dd"},
        {"kind": "output", "time_us": 2, "channel": 0, "data_base64": "/wA="},
        {"kind": "limit_reached", "time_us": 3, "channel": 0, "stream": "output", "limit_bytes": 2},
        {"kind": "unrecorded", "time_us": 4, "channel": 0, "stream": "output", "bytes": 99},
        {"kind": "end", "status": "interrupted", "duration_us": null, "chunks": 1, "plaintext_bytes": lines[6]["plaintext_bytes"]},
    ]);
    assert_eq!(Value::from(lines), expected);
}

#[test]
fn a_cut_recording_gives_all_that_is_there_and_says_so() {
    let sample = terminal();
    let whole = &sample.bytes[..sample.parts[2].end];
    let mut reader = Reader::open(whole, Unlock::Key(&sample.key)).unwrap();
    let mut out = Vec::new();
    let err = text(&mut reader, Some(0), &mut out).unwrap_err();
    assert!(err.is_cut(), "{err}");
    assert_eq!(out, b"gr\xc3\xbc\xc3\x9fe\nbold\xfflate");
}

#[test]
fn a_moved_chunk_stops_the_reader_before_its_events() {
    let sample = sample(1);
    let order = [0, 1, 3, 2, 4, 5, 6, 7];
    let bytes: Vec<u8> = order
        .iter()
        .flat_map(|&part| sample.bytes[sample.parts[part].clone()].iter().copied())
        .collect();
    let mut reader = Reader::open(&bytes[..], Unlock::Key(&sample.key)).unwrap();
    let mut out = Vec::new();
    let err = json_lines(&mut reader, &mut out).unwrap_err();
    assert!(
        matches!(err, ExportError::Read(ReadError::Chunk { number: 1, .. })),
        "{err}"
    );
}

#[test]
fn a_followed_transfer_is_lines_in_text_and_cast_and_objects_in_json() {
    let begin = FileOperation::begin(TransferProtocol::Sftp);
    let put = FileOperation {
        action: FileAction::File,
        path: b"/tmp/a\x1b[2J",
        writes: true,
        bytes_written: 11,
        is_hash_asked: true,
        sha256: Some(&[0xab; 32]),
        ..begin
    };
    let remove = FileOperation {
        action: FileAction::Remove,
        path: b"/gone",
        outcome: FileOutcome::Failed(2),
        ..begin
    };
    let mut scribe = Scribe::begin(6, b"an age file");
    scribe.event(1, 0, &Event::Subsystem { name: b"sftp" });
    scribe.event(1, 0, &Event::FileOperation(begin));
    scribe.event(2, 0, &Event::Output(b"\0\0\0\x05"));
    scribe.event(3, 0, &Event::FileOperation(put));
    scribe.event(4, 0, &Event::FileOperation(remove));
    scribe.event(5, 0, &Event::ErrorOutput(b"err\n"));
    let summary = TransferSummary {
        protocol: TransferProtocol::Sftp,
        is_whole: true,
        files: 1,
        unfinished: 0,
        bytes_read: 0,
        bytes_written: 11,
        operations: 3,
        failures: 1,
        unmatched: 0,
    };
    scribe.event(6, 0, &Event::TransferSummary(summary));
    scribe.event(7, 0, &Event::Closed);
    let sample = scribe.end(Status::Complete, None);
    let hash = "ab".repeat(32);

    let mut out = Vec::new();
    text(&mut open(&sample), None, &mut out).unwrap();
    let expected = format!(
        "sftp write /tmp/a\\u{{1b}}[2J, 11 bytes written, sha256 {hash}\nsftp remove /gone: no such file\nerr\n\
         sftp: 1 files, 0 bytes read, 11 bytes written, 3 operations, 1 failed\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);

    let mut out = Vec::new();
    cast(&mut open(&sample), None, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("sftp remove /gone: no such file\\r\\n"), "{out}");
    assert!(!out.contains("u0005"), "{out}");

    let mut out = Vec::new();
    json_lines(&mut open(&sample), &mut out).unwrap();
    let lines: Vec<serde_json::Value> = String::from_utf8(out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let operations: Vec<_> = lines
        .iter()
        .filter(|line| line["kind"] == "file_operation")
        .collect();
    assert_eq!(operations[1]["action"], "write");
    assert_eq!(operations[1]["sha256"], hash);
    assert_eq!(operations[1]["bytes_written"], 11);
    assert_eq!(
        (&operations[2]["outcome"], &operations[2]["status"]),
        (&"failed".into(), &2.into())
    );
    let summary = lines
        .iter()
        .find(|line| line["kind"] == "transfer_summary")
        .unwrap();
    assert_eq!((&summary["files"], &summary["whole"]), (&1.into(), &true.into()));
    assert!(
        lines.iter().any(|line| line["kind"] == "output"),
        "nothing is left out"
    );
}

#[test]
fn bulk_is_read_back_whole() {
    let mut scribe = Scribe::begin(5, b"an age file");
    let mut written = Vec::new();
    for round in 0..40u32 {
        let data: Vec<u8> = (0..60_000u32)
            .map(|i| (i.wrapping_mul(round * round) >> 5).to_le_bytes()[0])
            .collect();
        scribe.event(u64::from(round), 0, &Event::Output(&data));
        scribe.chunk();
        written.extend(data);
    }
    let sample = scribe.end(Status::Complete, None);
    let mut out = Vec::new();
    text(&mut open(&sample), None, &mut out).unwrap();
    assert!(out == written);
}

proptest! {
    #[test]
    fn hostile_input_ends_in_an_error_and_never_in_a_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let sample = sample(1);
        let mut bytes = sample.bytes.clone();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(mut reader) = Reader::open(&bytes[..], Unlock::Key(&sample.key)) {
            let _ = json_lines(&mut reader, &mut std::io::sink());
        }
        let _ = weir_record::verify(&bytes[..], Some(Unlock::Key(&sample.key)), weir_record::Trust::Envelope);
    }
}
