//! `weir recordings verify` names the first bad part of a recording and what is wrong with it, in one line.

use serde_json::Value;
use weir_record::Event;
use weir_tests::shelf::{Draft, Shelf, Volume};

/// Four chunks.
fn fill(mut draft: Draft<'_>) -> Draft<'_> {
    draft.terminal(10, 0);
    draft.chunk();
    for second in 1..4 {
        draft.output(second * 1_000_000, 0, format!("line {second}\r\n").as_bytes());
        if second < 3 {
            draft.chunk();
        }
    }
    draft.event(4_000_000, 0, &Event::ExitStatus(0));
    draft
}

/// What `verify` says of a volume: its first line, and the object of `--json`.
fn verdict(shelf: &Shelf, volume: &Volume, code: i32) -> (String, Value) {
    let said = shelf
        .weir(["recordings", "verify", &volume.id])
        .run()
        .ended_with(code);
    let json = shelf
        .weir(["recordings", "verify", &volume.id, "--json"])
        .run()
        .ended_with(code);
    let line = said.out().lines().next().expect("a verdict").to_owned();
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    if code != 0 {
        // The failure says it once more, for whoever sees no standard output.
        let problem = json["first"]["problem"].as_str().expect("a first bad part");
        assert!(said.err().contains(problem), "{said}");
    }
    (line, json)
}

#[test]
fn the_first_bad_part_is_named_with_its_place_and_what_is_wrong() {
    let shelf = Shelf::new();
    let volume = fill(shelf.begin("alice")).finish();
    let whole = volume.bytes();
    let id = &volume.id;
    let (line, json) = verdict(&shelf, &volume, 0);
    assert!(line.starts_with(&format!("{id} is intact: 4 chunks, ")), "{line}");
    assert!(
        line.contains("complete, signed by a data plane of this cluster"),
        "{line}"
    );
    assert!(
        json["intact"] == true && json["first"].is_null() && json["contents_checked"] == true,
        "{json}"
    );

    let part = |n: usize| whole[volume.parts[n].clone()].to_vec();
    let start = |n: usize| volume.parts[n].start;
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let without = |n: usize| [&whole[..start(n)], &whole[volume.parts[n].end..]].concat();
    let swapped = [&whole[..start(2)], &part(3), &part(2), &whole[start(4)..]].concat();
    let cases: [(&str, Vec<u8>, String); 9] = [
        (
            "a flipped bit in a chunk",
            flipped(volume.parts[2].end - 1),
            format!("chunk 1 at byte {} was altered", start(2)),
        ),
        (
            "a flipped bit in the wrapped key",
            flipped(200),
            "the envelope at byte 0 was altered".to_owned(),
        ),
        (
            "a flipped bit in the end",
            flipped(whole.len() - 1),
            format!("the end at byte {} is false: ", start(5)),
        ),
        (
            "cut within a chunk",
            whole[..volume.parts[3].end - 5].to_vec(),
            format!(
                "the recording breaks off within chunk 2, which begins at byte {}",
                start(3)
            ),
        ),
        (
            "cut between chunks",
            whole[..start(4)].to_vec(),
            format!(
                "the end is missing: the recording was cut off at byte {} or is still",
                start(4)
            ),
        ),
        (
            "a removed chunk",
            without(2),
            format!(
                "chunk 1 was removed: at byte {} stands what came after it",
                start(2)
            ),
        ),
        (
            "two chunks swapped",
            swapped,
            format!(
                "chunk 1 was moved behind a later one, to byte {}",
                start(2) + part(3).len()
            ),
        ),
        (
            "a chunk twice",
            [&whole[..start(3)], &part(2), &whole[start(3)..]].concat(),
            format!("chunk 1 stands there more than once, again at byte {}", start(3)),
        ),
        ("no recording at all", b"hello".repeat(20), String::new()),
    ];
    for (what, bytes, problem) in cases {
        volume.replace(&bytes);
        let (line, json) = verdict(&shelf, &volume, 1);
        assert!(
            line.starts_with(&format!("{id} is NOT intact: {problem}")),
            "{what}: {line}"
        );
        assert_eq!(json["intact"], false, "{what}");
        assert!(
            json["first"]["problem"].as_str().unwrap().starts_with(&problem),
            "{what}: {json}"
        );
    }

    // The rest comes after the first.
    let mut bytes = flipped(volume.parts[2].end - 1);
    bytes[volume.parts[4].end - 1] ^= 1;
    volume.replace(&bytes);
    let said = shelf.weir(["recordings", "verify", id]).run().ended_with(1);
    let lines = said.out();
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert_eq!(
        lines[1],
        format!("  also: chunk 3 at byte {} was altered", start(4))
    );
    let (_, json) = verdict(&shelf, &volume, 1);
    assert_eq!(
        (&json["first"]["part"], &json["first"]["byte"]),
        (&"chunk 1".into(), &start(2).into())
    );
}

#[test]
fn the_signature_of_a_stranger_is_no_end() {
    let shelf = Shelf::new();
    let volume = fill(shelf.begin("alice")).finish_as_a_stranger();
    let (line, json) = verdict(&shelf, &volume, 1);
    let problem = format!(
        "the end at byte {} is false: it is signed by a key that is not trusted",
        volume.parts[5].start
    );
    assert_eq!(line, format!("{} is NOT intact: {problem}", volume.id));
    assert!(json["status"].is_null(), "{json}");
}

#[test]
fn another_session_in_its_place_is_the_first_that_is_wrong() {
    let shelf = Shelf::new();
    let (asked, other) = (
        fill(shelf.begin("alice")).finish(),
        fill(shelf.begin("bob")).finish(),
    );
    asked.replace(&other.bytes());
    let (line, _) = verdict(&shelf, &asked, 1);
    let (asked, other) = (&asked.id, &other.id);
    assert_eq!(
        line,
        format!("{asked} is NOT intact: the envelope at byte 0 is that of another session, {other}")
    );
}

#[test]
fn without_the_key_the_chain_is_checked_and_that_is_said() {
    let shelf = Shelf::new();
    let volume = fill(shelf.begin_sealed_to_others("alice")).finish();
    let said = shelf.weir(["recordings", "verify", &volume.id]).succeed();
    assert!(said.out().contains("is intact"), "{said}");
    assert!(
        said.out()
            .contains("only the chain and its signature were checked"),
        "{said}"
    );
    let mut bytes = volume.bytes();
    bytes[volume.parts[2].end - 1] ^= 1;
    volume.replace(&bytes);
    let (line, json) = verdict(&shelf, &volume, 1);
    assert!(
        line.ends_with(&format!("chunk 1 at byte {} was altered", volume.parts[2].start)),
        "{line}"
    );
    assert_eq!(json["contents_checked"], false);
}
