//! The worked example of `FORMAT.md`: what the specification shows is what this version writes and reads.

use std::time::Duration;

use weir_record::{Event, Identities, Reader, Status, Trust, Unlock, verify};

use crate::sample::{Sample, Scribe};

const SPECIFICATION: &str = include_str!("../../FORMAT.md");
/// A recording of version 1 as the first release wrote it. Never regenerate it: later versions must read this file.
const EXAMPLE: &[u8] = include_bytes!("../data/example-v1.weir");
const WRAPPED_KEY_AT: usize = 76;

fn identity() -> Identities {
    let line = SPECIFICATION
        .lines()
        .find(|line| line.trim().starts_with("AGE-SECRET-KEY-1"))
        .unwrap();
    Identities::parse(line).unwrap()
}

fn write(wrapped_key: &[u8]) -> Sample {
    let mut scribe = Scribe::begin(0x42, wrapped_key);
    scribe.event(1_000, 0, &Event::Exec { command: b"echo hi" });
    scribe.event(26_000, 0, &Event::Output(b"hi\n"));
    scribe.chunk();
    scribe.event(27_000, 0, &Event::ExitStatus(0));
    scribe.end(Status::Complete, Some(Duration::from_micros(28_000)))
}

fn wrapped_key() -> &'static [u8] {
    let len = u32::from_le_bytes(EXAMPLE[WRAPPED_KEY_AT - 4..WRAPPED_KEY_AT].try_into().unwrap());
    &EXAMPLE[WRAPPED_KEY_AT..WRAPPED_KEY_AT + usize::try_from(len).unwrap()]
}

#[test]
fn the_example_is_what_the_specification_shows() {
    let shown: Vec<u8> = SPECIFICATION
        .lines()
        .filter_map(|line| line.split_once("  ").filter(|(offset, _)| is_offset(offset)))
        .flat_map(|(_, rest)| rest.split("  ").next().unwrap_or_default().split(' '))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    assert_eq!(shown, EXAMPLE);
}

fn is_offset(text: &str) -> bool {
    text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn the_example_is_what_is_written_today() {
    assert_eq!(write(wrapped_key()).bytes, EXAMPLE);
}

#[test]
fn the_example_opens_with_the_identity_of_the_specification() {
    let identities = identity();
    let unlock = Unlock::Identities(&identities);
    let report = verify(EXAMPLE, Some(unlock), Trust::Envelope).unwrap();
    assert!(report.is_intact(), "{:?}", report.findings);
    let mut reader = Reader::open(EXAMPLE, unlock).unwrap();
    let mut seen = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        seen.push(format!("{:?} {}", entry.at, entry.event.kind().0));
    }
    assert_eq!(seen, ["0ns 1", "1ms 8", "26ms 2", "27ms 10"]);
    assert_eq!(reader.end().unwrap().duration, Some(Duration::from_millis(28)));
}
