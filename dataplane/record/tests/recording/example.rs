//! The worked examples of `FORMAT.md`: what the specification shows is what this version writes and reads.

use std::time::Duration;

use weir_record::{Envelope, Event, Identities, KeyError, ReadError, Reader, Status, Trust, Unlock, verify};

use crate::sample::{Sample, Scribe};

const SPECIFICATION: &str = include_str!("../../FORMAT.md");
/// A recording of each version as the first release with it wrote it. Never regenerate one: later versions must read these
/// files.
const EXAMPLES: [(u8, &[u8]); 2] = [
    (1, include_bytes!("../data/example-v1.weir")),
    (2, include_bytes!("../data/example-v2.weir")),
];

/// Of each version, the identity that the specification gives for it.
fn identities() -> Vec<Identities> {
    let lines = SPECIFICATION.lines();
    lines
        .filter(|line| line.starts_with("AGE-SECRET-KEY-1"))
        .map(|line| Identities::parse(line).unwrap())
        .collect()
}

fn envelope(example: &[u8]) -> Envelope {
    Envelope::parse_start(example).unwrap()
}

fn write(wrapped_key: &[u8]) -> Sample {
    let mut scribe = Scribe::begin(0x42, wrapped_key);
    scribe.event(1_000, 0, &Event::Exec { command: b"echo hi" });
    scribe.event(26_000, 0, &Event::Output(b"hi\n"));
    scribe.chunk();
    scribe.event(27_000, 0, &Event::ExitStatus(0));
    scribe.end(Status::Complete, Some(Duration::from_micros(28_000)))
}

/// The bytes of each block of hexadecimal lines.
fn shown() -> Vec<Vec<u8>> {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for line in SPECIFICATION.lines() {
        let Some((offset, rest)) = line.split_once("  ").filter(|(offset, _)| is_offset(offset)) else {
            continue;
        };
        let offset = usize::from_str_radix(offset, 16).unwrap();
        if offset == 0 {
            blocks.push(Vec::new());
        }
        let block = blocks.last_mut().unwrap();
        assert_eq!(block.len(), offset);
        let bytes = rest.split("  ").next().unwrap_or_default().split(' ');
        block.extend(bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    blocks
}

fn is_offset(text: &str) -> bool {
    text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn the_examples_are_what_the_specification_shows() {
    let [(_, first), (_, second)] = EXAMPLES;
    let shown = shown();
    assert_eq!(shown.len(), EXAMPLES.len());
    assert_eq!(shown[0], first);
    assert_eq!(shown[1], second[..envelope(second).len()]);
    // "Behind it follow the bytes from 016b on above, unchanged."
    assert_eq!(second[envelope(second).len()..], first[0x16b..]);
}

#[test]
fn the_example_of_version_1_is_what_is_written_today() {
    let [(_, first), _] = EXAMPLES;
    assert_eq!(write(&envelope(first).wrapped_key).bytes, first);
}

#[test]
fn every_version_is_read() {
    for (at, (version, example)) in EXAMPLES.into_iter().enumerate() {
        assert_eq!(example[7], version);
        for (whose, identities) in identities().iter().enumerate() {
            let unlock = Unlock::Identities(identities);
            let opened = Reader::open(example, unlock);
            if whose != at {
                assert!(matches!(opened, Err(ReadError::Key(KeyError::NotForUs))));
                continue;
            }
            let mut reader = opened.unwrap();
            let mut seen = Vec::new();
            while let Some(entry) = reader.next_entry().unwrap() {
                seen.push(format!("{:?} {}", entry.at, entry.event.kind().0));
            }
            assert_eq!(seen, ["0ns 1", "1ms 8", "26ms 2", "27ms 10"]);
            assert_eq!(reader.end().unwrap().duration, Some(Duration::from_millis(28)));
            for unlock in [None, Some(unlock)] {
                let report = verify(example, unlock, Trust::Envelope).unwrap();
                assert!(report.is_intact(), "{:?}", report.findings);
            }
        }
    }
}
