//! Exports of whole recordings.

use std::ops::ControlFlow;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_record::export::{ExportError, Line, MAX_LINE_LEN, Part, cast, json as json_lines, lines, text};
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
    cast(&mut open(&terminal()), None, Part::WHOLE, &mut out).unwrap();
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
    cast(&mut open(&sample), None, Part::WHOLE, &mut out).unwrap();
    let expected = concat!(
        r#"{"version":3,"term":{"cols":80,"rows":24},"timestamp":1700000000,"command":"uname -a","title":"root@web1"}"#,
        "\n[0.001000, \"o\", \"Linux\\n\"]\n[0.001000, \"x\", \"7\"]\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn cast_shows_the_channel_that_is_asked_for() {
    let mut out = Vec::new();
    cast(&mut open(&terminal()), Some(7), Part::WHOLE, &mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .ends_with("[1.600000, \"o\", \"another channel\"]\n")
    );
}

#[test]
fn text_of_a_terminal_is_readable_and_of_a_command_exact() {
    let mut out = Vec::new();
    text(&mut open(&terminal()), Some(0), Part::WHOLE, &mut out).unwrap();
    assert_eq!(out, b"gr\xc3\xbc\xc3\x9fe\nbold\xfflate");

    let mut scribe = Scribe::begin(4, b"an age file");
    scribe.event(1, 0, &Event::Exec { command: b"cat logo" });
    scribe.event(2, 0, &Event::Output(b"\x1b[1m\0\xff\r\n"));
    let sample = scribe.end(Status::Complete, None);
    let mut out = Vec::new();
    text(&mut open(&sample), None, Part::WHOLE, &mut out).unwrap();
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
    json_lines(&mut open(&sample), Part::WHOLE, &mut out).unwrap();
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
    let err = text(&mut reader, Some(0), Part::WHOLE, &mut out).unwrap_err();
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
    let err = json_lines(&mut reader, Part::WHOLE, &mut out).unwrap_err();
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
    text(&mut open(&sample), None, Part::WHOLE, &mut out).unwrap();
    let expected = format!(
        "sftp write /tmp/a\\u{{1b}}[2J, 11 bytes written, sha256 {hash}\nsftp remove /gone: no such file\nerr\n\
         sftp: 1 files, 0 bytes read, 11 bytes written, 3 operations, 1 failed\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);

    let mut out = Vec::new();
    cast(&mut open(&sample), None, Part::WHOLE, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("sftp remove /gone: no such file\\r\\n"), "{out}");
    assert!(!out.contains("u0005"), "{out}");

    let mut out = Vec::new();
    json_lines(&mut open(&sample), Part::WHOLE, &mut out).unwrap();
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
    text(&mut open(&sample), None, Part::WHOLE, &mut out).unwrap();
    assert!(out == written);
}

fn part(from_us: u64, to_us: u64) -> Part {
    Part {
        from: Duration::from_micros(from_us),
        to: Some(Duration::from_micros(to_us)),
    }
}

#[test]
fn cast_of_a_part_has_its_own_clock_and_the_terminal_as_it_was() {
    let mut out = Vec::new();
    cast(&mut open(&terminal()), None, part(1_500_001, 3_100_000), &mut out).unwrap();
    let expected = concat!(
        r#"{"version":3,"term":{"cols":100,"rows":30,"type":"xterm"},"timestamp":1700000001,"title":"root@web1"}"#,
        "\n[0.000000, \"o\", \"\u{df}e\\r\\n\\u001b[1mbold\\u001b[0m\u{fffd}\"]\n",
        "[0.499999, \"r\", \"80x25\"]\n[0.000000, \"i\", \"exit\\r\"]\n[1.000000, \"x\", \"143\"]\n",
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);

    let mut out = Vec::new();
    cast(
        &mut open(&terminal()),
        Some(0),
        part(3_000_001, 9_000_000),
        &mut out,
    )
    .unwrap();
    let expected = concat!(
        r#"{"version":3,"term":{"cols":80,"rows":25,"type":"xterm"},"timestamp":1700000003,"title":"root@web1"}"#,
        "\n[0.099999, \"o\", \"late\"]\n",
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn cast_of_a_part_shows_the_channel_that_is_in_it() {
    let mut out = Vec::new();
    cast(&mut open(&terminal()), None, part(1_550_000, 1_700_000), &mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .ends_with("\n[0.050000, \"o\", \"another channel\"]\n")
    );
}

/// What asciinema's own reader refuses: a size of no or of too many columns, a status beyond 31 bits, no events at all.
#[test]
fn cast_says_nothing_that_a_player_refuses() {
    let mut scribe = Scribe::begin(4, b"an age file");
    let (columns, rows) = (0, 70_000);
    scribe.event(
        1,
        0,
        &Event::Terminal {
            term: b"dumb",
            columns,
            rows,
            width_px: 0,
            height_px: 0,
        },
    );
    scribe.event(
        2,
        0,
        &Event::Resize {
            columns: 5_000_000,
            rows: 0,
            width_px: 0,
            height_px: 0,
        },
    );
    scribe.event(3, 0, &Event::ExitStatus(u32::MAX));
    let sample = scribe.end(Status::Complete, None);
    let mut out = Vec::new();
    cast(&mut open(&sample), None, Part::WHOLE, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(r#"{"cols":80,"rows":1000,"type":"dumb"}"#), "{out}");
    assert!(
        out.contains("\"r\", \"1000x24\"]\n") && out.contains("\"x\", \"-1\"]\n"),
        "{out}"
    );

    let sample = Scribe::begin(4, b"an age file").end(Status::Interrupted, None);
    let mut out = Vec::new();
    cast(&mut open(&sample), None, Part::WHOLE, &mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .ends_with("}\n[0.000000, \"o\", \"\"]\n")
    );
}

#[test]
fn parts_laid_end_to_end_are_the_whole() {
    let sample = terminal();
    let cuts = [
        0, 20, 1_500_000, 1_500_001, 1_600_000, 2_000_000, 3_100_000, 9_000_000,
    ];
    let (mut texts, mut events) = (Vec::new(), Vec::new());
    for pair in cuts.windows(2) {
        let part = part(pair[0], pair[1]);
        text(&mut open(&sample), None, part, &mut texts).unwrap();
        let mut out = Vec::new();
        json_lines(&mut open(&sample), part, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&first["from_us"], &first["to_us"]),
            (&pair[0].into(), &pair[1].into())
        );
        // Who it was stands in each of them.
        assert!(out.lines().nth(1).unwrap().contains("\"meta\""), "{out}");
        events.extend(out.lines().skip(2).map(str::to_owned));
    }
    let mut whole = Vec::new();
    text(&mut open(&sample), None, Part::WHOLE, &mut whole).unwrap();
    assert_eq!(texts, whole);
    let mut whole = Vec::new();
    json_lines(&mut open(&sample), Part::WHOLE, &mut whole).unwrap();
    let whole: Vec<_> = std::str::from_utf8(&whole)
        .unwrap()
        .lines()
        .skip(2)
        .map(str::to_owned)
        .collect();
    assert_eq!(events, whole);
}

/// A sequence that was begun before the part, and a terminal of which the part does not tell.
#[test]
fn text_of_a_part_is_that_stretch_of_the_whole_text() {
    let mut scribe = Scribe::begin(4, b"an age file");
    let terminal = Event::Terminal {
        term: b"xterm",
        columns: 80,
        rows: 24,
        width_px: 0,
        height_px: 0,
    };
    scribe.event(1, 0, &terminal);
    scribe.event(2, 0, &Event::Output(b"before\x1b]0;ti"));
    scribe.event(3, 0, &Event::Output(b"tle\x07within\x1b[1m!"));
    let sample = scribe.end(Status::Complete, None);
    let mut out = Vec::new();
    text(&mut open(&sample), None, part(3, 4), &mut out).unwrap();
    assert_eq!(out, b"within!");
}

#[test]
fn nothing_behind_a_part_is_read() {
    let sample = sample(1);
    // Chunk 3 has second 3: of it the first bytes alone are needed.
    let cut = &sample.bytes[..sample.parts[4].end];
    let mut reader = Reader::open(cut, Unlock::Key(&sample.key)).unwrap();
    let mut out = Vec::new();
    text(&mut reader, None, part(0, 3_000_000), &mut out).unwrap();
    assert!(out.starts_with(b"$ line 2\n"));
}

#[test]
fn a_part_behind_the_end_is_an_error_that_says_where_the_end_is() {
    let mut out = Vec::new();
    let err = text(&mut open(&terminal()), None, part(9_000_000, 9_000_001), &mut out).unwrap_err();
    assert!(
        matches!(err, ExportError::Beyond { last } if last == Duration::from_millis(3_100)),
        "{err}"
    );
}

/// Each line of a recording, with channel, source, the time of its first byte and that of its last.
fn seen(sample: &Sample) -> Vec<(u32, &'static str, u64, u64, String)> {
    let mut seen = Vec::new();
    lines(&mut open(sample), |line: &Line<'_>| {
        let us = |at: usize| u64::try_from(line.time_at(at).as_micros()).unwrap();
        let text = String::from_utf8_lossy(line.bytes).into_owned();
        seen.push((
            line.channel,
            line.source.as_str(),
            us(0),
            us(line.bytes.len() - 1),
            text,
        ));
        ControlFlow::Continue(())
    })
    .unwrap();
    seen
}

#[test]
fn lines_are_whole_whatever_chunks_events_and_sequences_they_are_divided_by() {
    let mut scribe = Scribe::begin(4, b"an age file");
    let terminal = Event::Terminal {
        term: b"xterm",
        columns: 80,
        rows: 24,
        width_px: 0,
        height_px: 0,
    };
    scribe.event(1, 0, &terminal);
    scribe.event(2, 0, &Event::Output(b"$ pass\x1b[3"));
    scribe.chunk();
    scribe.event(3, 1, &Event::Exec { command: b"id; true" });
    scribe.event(4, 1, &Event::Output(b"uid=0"));
    scribe.event(5, 0, &Event::Output(b"1mwo"));
    scribe.event(5, 0, &Event::Input(b"typed, and not shown\n"));
    scribe.event(6, 1, &Event::ErrorOutput(b"apart\n"));
    scribe.chunk();
    scribe.event(7, 0, &Event::ErrorOutput(b"rd\r\n\n"));
    scribe.event(8, 2, &Event::Subsystem { name: b"sftp" });
    scribe.event(9, 2, &Event::Output(b"binary\n"));
    scribe.event(10, 1, &Event::Closed);
    scribe.event(11, 0, &Event::Output(b"no end"));
    let sample = scribe.end(Status::Complete, None);
    let expected = [
        (1, "command", 3, 3, "id; true"),
        (1, "error_output", 6, 6, "apart"),
        (0, "output", 2, 7, "$ password"),
        (1, "output", 4, 4, "uid=0"),
        (0, "output", 11, 11, "no end"),
    ];
    assert_eq!(
        seen(&sample),
        expected.map(|(a, b, c, d, line)| (a, b, c, d, line.to_owned()))
    );
}

#[test]
fn a_long_line_comes_in_pieces_that_overlap() {
    let mut scribe = Scribe::begin(4, b"an age file");
    let text: String = (0..6_000).map(|n| format!("{n:05} ")).collect();
    for (at, piece) in (1..).zip(text.as_bytes().chunks(1_000)) {
        scribe.event(at, 0, &Event::Output(piece));
    }
    let sample = scribe.end(Status::Complete, None);
    let (mut joined, mut pieces) = (String::new(), 0);
    lines(&mut open(&sample), |line| {
        let bytes = std::str::from_utf8(line.bytes).unwrap();
        assert!(bytes.len() <= MAX_LINE_LEN);
        assert!(joined.ends_with(&bytes[..line.repeated]));
        for at in 0..bytes.len() {
            let position = joined.len() - line.repeated + at;
            assert_eq!(
                line.time_at(at).as_micros(),
                position as u128 / 1_000 + 1,
                "byte {position}"
            );
        }
        joined.push_str(&bytes[line.repeated..]);
        pieces += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(joined == text);
    assert_eq!(pieces, 3);
}

#[test]
fn lines_end_when_no_more_are_wanted() {
    let mut given = 0;
    lines(&mut open(&sample(1)), |_| {
        given += 1;
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(given, 1);
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
            let _ = json_lines(&mut reader, Part::WHOLE, &mut std::io::sink());
        }
        let _ = weir_record::verify(&bytes[..], Some(Unlock::Key(&sample.key)), weir_record::Trust::Envelope);
    }
}
