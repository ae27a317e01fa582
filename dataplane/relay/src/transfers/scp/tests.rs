//! Conversations of scp and what is told of them.

use proptest::prelude::*;
use weir_crypto::digest::{HashAlgorithm, hash};

use super::super::program::{CopyProgram, ScpHalf};
use super::super::{ContentHash, Decoder, FileAction, FileOperation, Outcome, TransferSummary};
use crate::{ChannelId, SessionEvent, Side};

const CLIENT: Side = Side::Client;
const TARGET: Side = Side::Target;

type Talk<'a> = Vec<(Side, &'a [u8])>;

fn told_in_pieces(sender: Side, talk: &Talk<'_>, mut cut: impl FnMut(&[u8]) -> usize) -> Vec<SessionEvent> {
    let half = ScpHalf {
        sender,
        names: vec![b"/tmp"],
    };
    let mut decoder = Decoder::new(ChannelId(1), &CopyProgram::Scp(half), true);
    let mut events = Vec::new();
    for (from, message) in talk {
        let mut rest = *message;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(cut(rest).clamp(1, rest.len()));
            decoder.data(*from, piece, &mut events);
            rest = more;
        }
    }
    decoder.finish(&mut events);
    events
}

fn told(sender: Side, talk: &Talk<'_>) -> (Vec<FileOperation>, TransferSummary) {
    let mut events = told_in_pieces(sender, talk, <[u8]>::len);
    let Some(SessionEvent::TransferSummary { summary, .. }) = events.pop() else {
        panic!("the summary comes last")
    };
    let operation = |event| match event {
        SessionEvent::FileOperation { operation, .. } => *operation,
        other => panic!("{other:?}"),
    };
    (events.into_iter().map(operation).collect(), *summary)
}

fn sha256(data: &[u8]) -> ContentHash {
    ContentHash::Sha256(hash(HashAlgorithm::Sha256, &[data]).as_ref().try_into().unwrap())
}

fn brief(operations: &[FileOperation]) -> Vec<(FileAction, String, Outcome, ContentHash)> {
    operations
        .iter()
        .map(|it| {
            let path = String::from_utf8_lossy(&it.path.bytes).into_owned();
            (it.action, path, it.outcome, it.content)
        })
        .collect()
}

/// `scp -r tree target:/tmp`: one file within another directory, one refused, one empty.
fn upload() -> Talk<'static> {
    vec![
        (TARGET, b"\0"),
        (CLIENT, b"T1580608922 0 1580608922 0\n"),
        (TARGET, b"\0"),
        (CLIENT, b"D0755 0 tree\n"),
        (TARGET, b"\0"),
        (CLIENT, b"D0755 0 deep\n"),
        (TARGET, b"\0"),
        (CLIENT, b"C0644 6 a b\n"),
        (TARGET, b"\0"),
        (CLIENT, b"C0644\n\0"),
        (TARGET, b"\0"),
        (CLIENT, b"E\n"),
        (TARGET, b"\0"),
        (CLIENT, b"C0600 5 forbidden\n"),
        (TARGET, b"\x01scp: forbidden: Permission denied\n"),
        (CLIENT, b"C0644 0 empty\n"),
        (TARGET, b"\0"),
        (CLIENT, b"\0"),
        (TARGET, b"\0"),
        (CLIENT, b"E\n"),
        (TARGET, b"\0"),
    ]
}

#[test]
fn a_tree_is_told_file_by_file() {
    let (operations, summary) = told(CLIENT, &upload());
    let of = |action, path: &str, outcome, content| (action, path.to_owned(), outcome, content);
    let (not_asked, not_hashed) = (ContentHash::NotAsked, ContentHash::NotHashed);
    assert_eq!(
        brief(&operations),
        [
            of(FileAction::Mkdir, "tree", Outcome::Done, not_asked),
            of(FileAction::Mkdir, "tree/deep", Outcome::Done, not_asked),
            of(
                FileAction::File,
                "tree/deep/a b",
                Outcome::Done,
                sha256(b"C0644\n")
            ),
            of(FileAction::File, "tree/forbidden", Outcome::Failed(4), not_hashed),
            of(FileAction::File, "tree/empty", Outcome::Done, sha256(b"")),
        ]
    );
    let file = &operations[2];
    assert_eq!(
        (file.writes, file.reads, file.bytes_written, file.bytes_read),
        (true, false, 6, 0)
    );
    assert_eq!(&*file.target.bytes, b"/tmp");
    assert_eq!(operations[3].note, "scp: forbidden: Permission denied");
    assert!(summary.is_whole);
    assert_eq!(
        (summary.files, summary.bytes_written, summary.failures),
        (3, 6, 1)
    );
    assert_eq!(summary.unmatched, 0);
}

#[test]
fn a_download_is_told_the_other_way_round() {
    let talk: Talk<'_> = vec![
        (CLIENT, b"\0"),
        (TARGET, b"C0644 3 f\n"),
        (CLIENT, b"\0"),
        (TARGET, b"abc"),
        (TARGET, b"\0"),
        (CLIENT, b"\0"),
        (TARGET, b"\x01scp: /no/such: No such file or directory\n"),
    ];
    let (operations, summary) = told(TARGET, &talk);
    assert_eq!(
        (
            operations[0].reads,
            operations[0].writes,
            operations[0].bytes_read
        ),
        (true, false, 3)
    );
    assert_eq!(operations[0].content, sha256(b"abc"));
    assert_eq!(operations[1].outcome, Outcome::Failed(4));
    assert!(operations[1].note.contains("No such file"));
    assert_eq!((summary.bytes_read, summary.failures), (3, 1));
}

#[test]
fn splits_at_every_byte_change_nothing() {
    let talk = upload();
    let whole = told_in_pieces(CLIENT, &talk, <[u8]>::len);
    for at in 1..40 {
        assert_eq!(told_in_pieces(CLIENT, &talk, |_| at), whole, "pieces of {at}");
    }
}

#[test]
fn errors_of_either_end_make_a_file_fail() {
    let begin: Talk<'_> = vec![
        (TARGET, b"\0"),
        (CLIENT, b"C0644 2 f\n"),
        (TARGET, b"\0"),
        (CLIENT, b"ab"),
    ];
    let ends: [(Talk<'_>, &str); 3] = [
        (
            vec![(CLIENT, b"\x01f: read error\n"), (TARGET, b"\0")],
            "f: read error",
        ),
        (
            vec![(CLIENT, b"\0"), (TARGET, b"\x01f: disk full\n")],
            "f: disk full",
        ),
        (vec![(CLIENT, b"\0"), (TARGET, b"\x02gone\n")], "gone"),
    ];
    for (end, words) in ends {
        let talk = [begin.clone(), end].concat();
        let (operations, _) = told(CLIENT, &talk);
        assert_eq!(operations.len(), 1);
        assert_eq!(
            (operations[0].outcome, operations[0].content),
            (Outcome::Failed(4), ContentHash::NotHashed)
        );
        assert_eq!(operations[0].note, words);
    }
}

#[test]
fn what_is_cut_off_is_unfinished() {
    let (operations, summary) = told(
        CLIENT,
        &vec![
            (TARGET, b"\0"),
            (CLIENT, b"C0644 9 f\n"),
            (TARGET, b"\0"),
            (CLIENT, b"half"),
        ],
    );
    assert_eq!(
        (operations[0].outcome, operations[0].bytes_written),
        (Outcome::Unfinished, 4)
    );
    assert_eq!(operations[0].content, ContentHash::NotHashed);
    assert_eq!((summary.files, summary.unfinished), (0, 1));
    let (operations, _) = told(
        CLIENT,
        &vec![
            (TARGET, b"\0"),
            (CLIENT, b"C0644 1 f\n"),
            (TARGET, b"\0"),
            (CLIENT, b"x\0"),
        ],
    );
    assert_eq!(
        operations[0].outcome,
        Outcome::Unfinished,
        "the receiver has not said that it has it"
    );
}

#[test]
fn what_cannot_be_followed_is_said_once_and_nothing_more() {
    let long = [b"C0644 1 ".to_vec(), vec![b'x'; 20_000], b"\n".to_vec()].concat();
    let waiting = b"T1 0 1 0\n".repeat(200);
    for noise in [
        &b"Welcome to this machine\n"[..],
        b"C0644 18446744073709551616 f\n",
        b"C0644 -1 f\n",
        b"C0644 f\n",
        b"C\n",
        b"\n",
        &long,
        &waiting,
        // A file follows although it was refused.
        b"C0644 5 f\nabc",
    ] {
        let talk: Talk<'_> = vec![
            (TARGET, b"\0"),
            (CLIENT, noise),
            (TARGET, b"\x01no\n"),
            (CLIENT, b"E\n"),
            (CLIENT, b"C0644 1 f\n"),
            (TARGET, b"\0\0\0"),
        ];
        let (operations, summary) = told(CLIENT, &talk);
        let lost = operations
            .iter()
            .filter(|it| it.action == FileAction::Unfollowed)
            .count();
        assert_eq!(lost, 1, "{noise:?}: {operations:?}");
        assert!(!summary.is_whole);
    }
}

#[test]
fn directories_within_each_other_are_bounded() {
    let talk: Talk<'_> = std::iter::once((TARGET, &b"\0"[..]))
        .chain((0..3000).flat_map(|_| [(CLIENT, &b"D0755 0 d\n"[..]), (TARGET, &b"\0"[..])]))
        .collect();
    let (operations, _) = told(CLIENT, &talk);
    assert_eq!(operations.last().unwrap().action, FileAction::Unfollowed);
    assert!(operations.iter().all(|it| it.path.bytes.len() <= 4096));
}

#[test]
fn a_path_is_what_it_was_after_directories_too_long_to_keep() {
    let long = [b"D0755 0 ".to_vec(), vec![b'x'; 5000], b"\n".to_vec()].concat();
    let talk: Talk<'_> = vec![
        (TARGET, b"\0"),
        (CLIENT, b"D0755 0 a\n"),
        (TARGET, b"\0"),
        (CLIENT, &long),
        (TARGET, b"\0"),
        (CLIENT, b"E\n"),
        (TARGET, b"\0"),
        (CLIENT, b"C0644 0 f\n"),
        (TARGET, b"\0"),
        (CLIENT, b"\0"),
        (TARGET, b"\0"),
    ];
    let (operations, _) = told(CLIENT, &talk);
    assert_eq!(
        (operations[1].path.bytes.len(), operations[1].path.is_cut),
        (4096, true)
    );
    assert_eq!(
        (&*operations[2].path.bytes, operations[2].path.is_cut),
        (&b"a/f"[..], false)
    );
}

proptest! {
    #[test]
    fn no_bytes_whatever_make_it_fail_or_grow(
        pieces in prop::collection::vec((any::<bool>(), "[CDET\\x00-\\x02 0-9a\\n]{0,24}"), 0..64),
    ) {
        for sender in [CLIENT, TARGET] {
            let talk: Talk<'_> = pieces
                .iter()
                .map(|(target, piece)| (if *target { TARGET } else { CLIENT }, piece.as_bytes()))
                .collect();
            let whole = told_in_pieces(sender, &talk, <[u8]>::len);
            prop_assert_eq!(&told_in_pieces(sender, &talk, |_| 1), &whole);
            let ends_with_summary = matches!(whole.last(), Some(SessionEvent::TransferSummary { .. }));
            prop_assert!(ends_with_summary);
        }
    }
}
