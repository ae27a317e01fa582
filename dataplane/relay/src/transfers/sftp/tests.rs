//! Conversations of SFTP and what is told of them.

use proptest::prelude::*;
use weir_crypto::digest::{HashAlgorithm, hash};
use weir_ssh::wire::Writer;

use super::super::program::CopyProgram;
use super::super::{ContentHash, Decoder, FileAction, FileOperation, Outcome, TransferSummary};
use super::files::FILES_MAX;
use super::packet::*;
use super::requests::REQUESTS_MAX;
use crate::{ChannelId, SessionEvent, Side};

/// Messages in the order in which they pass, each whole.
type Talk = Vec<(Side, Vec<u8>)>;

fn packet(kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = vec![kind];
    write(&mut body);
    let mut packet = Vec::new();
    packet.put_string(&body);
    packet
}

fn request(kind: u8, id: u32, write: impl FnOnce(&mut Vec<u8>)) -> (Side, Vec<u8>) {
    let body = |out: &mut Vec<u8>| {
        out.put_u32(id);
        write(out);
    };
    (Side::Client, packet(kind, body))
}

fn about(kind: u8, id: u32, names: &[&str]) -> (Side, Vec<u8>) {
    request(kind, id, |out| names.iter().for_each(|name| out.put_string(name)))
}

fn extended(id: u32, name: &str, names: &[&str]) -> (Side, Vec<u8>) {
    request(EXTENDED, id, |out| {
        out.put_string(name);
        names.iter().for_each(|name| out.put_string(name));
    })
}

fn open(id: u32, path: &str, flags: u32) -> (Side, Vec<u8>) {
    request(OPEN, id, |out| {
        out.put_string(path);
        out.put_u32(flags);
        out.put_u32(0);
    })
}

fn read(id: u32, handle: &str, offset: u64, length: u32) -> (Side, Vec<u8>) {
    request(READ, id, |out| {
        out.put_string(handle);
        out.extend_from_slice(&offset.to_be_bytes());
        out.put_u32(length);
    })
}

fn write(id: u32, handle: &str, offset: u64, data: &[u8]) -> (Side, Vec<u8>) {
    request(WRITE, id, |out| {
        out.put_string(handle);
        out.extend_from_slice(&offset.to_be_bytes());
        out.put_string(data);
    })
}

fn answer(kind: u8, id: u32, write: impl FnOnce(&mut Vec<u8>)) -> (Side, Vec<u8>) {
    (Side::Target, request(kind, id, write).1)
}

fn status(id: u32, code: u32) -> (Side, Vec<u8>) {
    answer(STATUS, id, |out| {
        out.put_u32(code);
        out.put_string("in words");
        out.put_string("");
    })
}

fn handle(id: u32, handle: &str) -> (Side, Vec<u8>) {
    answer(HANDLE, id, |out| out.put_string(handle))
}

fn data(id: u32, data: &[u8]) -> (Side, Vec<u8>) {
    answer(DATA, id, |out| out.put_string(data))
}

fn greeting(version: u32) -> Talk {
    vec![
        (Side::Client, packet(INIT, |out| out.put_u32(version))),
        (
            Side::Target,
            packet(VERSION, |out| {
                out.put_u32(version);
                out.put_string("posix-rename@openssh.com");
                out.put_string("1");
            }),
        ),
    ]
}

fn talk(parts: impl IntoIterator<Item = (Side, Vec<u8>)>) -> Talk {
    greeting(3).into_iter().chain(parts).collect()
}

/// What is told, in pieces that `cut` makes of each message.
fn told_in_pieces(talk: &Talk, mut cut: impl FnMut(&[u8]) -> usize) -> Vec<SessionEvent> {
    let mut decoder = Decoder::new(ChannelId(7), &CopyProgram::Sftp, true);
    let mut events = Vec::new();
    for (from, message) in talk {
        let mut rest = &message[..];
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(cut(rest).clamp(1, rest.len()));
            decoder.data(*from, piece, &mut events);
            rest = more;
        }
    }
    decoder.finish(&mut events);
    events
}

fn told(talk: &Talk) -> (Vec<FileOperation>, TransferSummary) {
    let mut events = told_in_pieces(talk, <[u8]>::len);
    let Some(SessionEvent::TransferSummary { summary, .. }) = events.pop() else {
        panic!("the summary comes last")
    };
    let operation = |event| match event {
        SessionEvent::FileOperation { channel, operation } => {
            assert_eq!(channel, ChannelId(7));
            *operation
        }
        other => panic!("{other:?}"),
    };
    (events.into_iter().map(operation).collect(), *summary)
}

/// Action, path, target and outcome of each.
fn brief(operations: &[FileOperation]) -> Vec<(FileAction, String, String, Outcome)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    operations
        .iter()
        .map(|it| {
            (
                it.action,
                text(&it.path.bytes),
                text(&it.target.bytes),
                it.outcome,
            )
        })
        .collect()
}

fn sha256(data: &[u8]) -> ContentHash {
    ContentHash::Sha256(hash(HashAlgorithm::Sha256, &[data]).as_ref().try_into().unwrap())
}

const READS: u32 = 1;
/// Write, create, truncate: what `put` asks for.
const PUTS: u32 = 2 | 8 | 0x10;

fn put_and_get() -> Talk {
    talk([
        open(0, "/tmp/up", PUTS),
        handle(0, "h"),
        write(1, "h", 0, b"hello "),
        write(2, "h", 6, b"world"),
        status(1, OK),
        status(2, OK),
        about(CLOSE, 3, &["h"]),
        status(3, OK),
        about(STAT, 4, &["/tmp/down"]),
        answer(ATTRS, 4, |out| out.put_u32(0)),
        open(5, "/tmp/down", READS),
        handle(5, "h"),
        read(6, "h", 0, 4),
        read(7, "h", 4, 4),
        read(8, "h", 8, 4),
        data(6, b"over"),
        data(7, b"there"),
        status(8, EOF),
        about(CLOSE, 9, &["h"]),
        status(9, OK),
        about(OPENDIR, 10, &["/tmp"]),
        handle(10, "d"),
        about(READDIR, 11, &["d"]),
        answer(NAME, 11, |out| out.put_u32(0)),
        about(READDIR, 12, &["d"]),
        status(12, EOF),
        about(CLOSE, 13, &["d"]),
        status(13, OK),
        about(REMOVE, 14, &["/gone"]),
        status(14, 2),
    ])
}

#[test]
fn a_file_is_told_of_once_with_its_bytes_and_its_hash() {
    let (operations, summary) = told(&put_and_get());
    let [put, get, opendir, remove] = &operations[..] else {
        panic!("{operations:#?}")
    };
    assert_eq!(
        (put.reads, put.writes, put.bytes_written, put.bytes_read),
        (false, true, 11, 0)
    );
    assert_eq!(
        (put.outcome, put.content),
        (Outcome::Done, sha256(b"hello world"))
    );
    assert_eq!(
        (get.reads, get.writes, get.bytes_written, get.bytes_read),
        (true, false, 0, 9)
    );
    assert_eq!((get.outcome, get.content), (Outcome::Done, sha256(b"overthere")));
    assert_eq!(&*put.path.bytes, b"/tmp/up");
    assert_eq!(&*get.path.bytes, b"/tmp/down");
    assert_eq!(
        (opendir.action, opendir.outcome),
        (FileAction::Opendir, Outcome::Done)
    );
    assert_eq!(
        (remove.action, remove.outcome),
        (FileAction::Remove, Outcome::Failed(2))
    );
    assert!(summary.is_whole);
    assert_eq!((summary.files, summary.unfinished, summary.unmatched), (2, 0, 0));
    assert_eq!((summary.bytes_written, summary.bytes_read), (11, 9));
    // Three opens, three closes, a stat, two listings, a removal.
    assert_eq!((summary.operations, summary.failures), (10, 1));
}

#[test]
fn splits_at_every_byte_change_nothing() {
    let talk = put_and_get();
    let whole = told_in_pieces(&talk, <[u8]>::len);
    assert_eq!(told_in_pieces(&talk, |_| 1), whole, "byte by byte");
    let longest = talk.iter().map(|(_, message)| message.len()).max().unwrap();
    for at in 1..longest {
        let mut first = true;
        let cut = |rest: &[u8]| {
            first = !first;
            if first { rest.len() } else { at }
        };
        assert_eq!(told_in_pieces(&talk, cut), whole, "cut at {at}");
    }
}

proptest! {
    #[test]
    fn any_split_of_any_order_tells_the_same(
        ids in Just((0u32..40).collect::<Vec<_>>()).prop_shuffle(),
        cuts in prop::collection::vec(1usize..40, 1..200),
    ) {
        let mut parts = talk([open(100, "f", READS), handle(100, "h")]);
        parts.extend((0..40).map(|id| read(id, "h", u64::from(id) * 8, 8)));
        parts.extend(ids.iter().map(|id| data(*id, &[7; 8])));
        parts.extend([about(CLOSE, 101, &["h"]), status(101, OK)]);
        let mut cuts = cuts.iter().cycle();
        let pieces = told_in_pieces(&parts, |_| *cuts.next().unwrap());
        prop_assert_eq!(&pieces, &told_in_pieces(&parts, <[u8]>::len));
        let (operations, summary) = told(&parts);
        prop_assert_eq!(operations[0].bytes_read, 320);
        prop_assert_eq!(summary.bytes_read, 320);
        let expected = if ids.is_sorted() { sha256(&[7; 320]) } else { ContentHash::NotHashed };
        prop_assert_eq!(operations[0].content, expected);
    }

    #[test]
    fn no_bytes_whatever_make_it_fail_or_grow(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..64)), 0..64),
        greeted in any::<bool>(),
    ) {
        let mut decoder = Decoder::new(ChannelId(0), &CopyProgram::Sftp, true);
        let mut events = Vec::new();
        let mut talk = if greeted { greeting(6) } else { Vec::new() };
        talk.extend(pieces.into_iter().map(|(target, piece)| {
            (if target { Side::Target } else { Side::Client }, piece)
        }));
        for (from, piece) in &talk {
            decoder.data(*from, piece, &mut events);
        }
        decoder.finish(&mut events);
        let lost = events.iter().filter(|event| is_unfollowed(event)).count();
        prop_assert!(lost <= 3);
        let ends_with_summary = matches!(events.last(), Some(SessionEvent::TransferSummary { .. }));
        prop_assert!(ends_with_summary);
    }
}

fn is_unfollowed(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::FileOperation { operation, .. } if operation.action == FileAction::Unfollowed)
}

#[test]
fn every_operation_is_told_with_its_names() {
    let (operations, summary) = told(&talk([
        about(MKDIR, 1, &["d"]),
        about(RMDIR, 2, &["e"]),
        about(REMOVE, 3, &["f"]),
        about(RENAME, 4, &["a", "b"]),
        about(READLINK, 5, &["l"]),
        about(SYMLINK, 6, &["to", "link"]),
        about(SETSTAT, 7, &["s"]),
        extended(8, "posix-rename@openssh.com", &["c", "d"]),
        extended(9, "hardlink@openssh.com", &["old", "new"]),
        extended(10, "lsetstat@openssh.com", &["ls"]),
        extended(11, "statvfs@openssh.com", &["/"]),
        extended(12, "fsync@openssh.com", &["h"]),
        extended(13, "chattr@example.org", &["x"]),
        extended(14, "copy-file", &["p", "q"]),
        status(1, OK),
        status(2, 4),
        status(3, OK),
        status(4, 3),
        answer(NAME, 5, |out| out.put_u32(1)),
        status(6, OK),
        status(7, OK),
        status(8, OK),
        status(9, OK),
        status(10, OK),
        answer(EXTENDED_REPLY, 11, |out| out.put_u32(1)),
        status(12, OK),
        status(13, 8),
        status(14, OK),
    ]));
    let of =
        |action, path: &str, target: &str, outcome| (action, path.to_owned(), target.to_owned(), outcome);
    assert_eq!(
        brief(&operations),
        [
            of(FileAction::Mkdir, "d", "", Outcome::Done),
            of(FileAction::Rmdir, "e", "", Outcome::Failed(4)),
            of(FileAction::Remove, "f", "", Outcome::Done),
            of(FileAction::Rename, "a", "b", Outcome::Failed(3)),
            of(FileAction::Readlink, "l", "", Outcome::Done),
            of(FileAction::Symlink, "link", "to", Outcome::Done),
            of(FileAction::Setstat, "s", "", Outcome::Done),
            of(FileAction::Rename, "c", "d", Outcome::Done),
            of(FileAction::Link, "new", "old", Outcome::Done),
            of(FileAction::Setstat, "ls", "", Outcome::Done),
            of(FileAction::Extended, "chattr@example.org", "", Outcome::Failed(8)),
            of(FileAction::Copy, "p", "q", Outcome::Done),
        ]
    );
    assert_eq!((summary.operations, summary.failures), (14, 3));
}

#[test]
fn what_is_asked_of_a_handle_is_told_with_the_files_name() {
    let (operations, _) = told(&talk([
        open(1, "from", READS),
        handle(1, "1"),
        open(2, "into", PUTS),
        handle(2, "2"),
        request(FSETSTAT, 3, |out| {
            out.put_string("2");
            out.put_u32(4);
            out.put_u32(0o600);
        }),
        status(3, OK),
        request(EXTENDED, 4, |out| {
            out.put_string("copy-data");
            out.put_string("1");
            out.extend_from_slice(&[0; 16]);
            out.put_string("2");
            out.extend_from_slice(&[0; 8]);
        }),
        status(4, OK),
        about(CLOSE, 5, &["2"]),
        status(5, OK),
    ]));
    let told = brief(&operations);
    assert_eq!((told[0].0, &*told[0].1), (FileAction::Setstat, "into"));
    assert_eq!(
        (told[1].0, &*told[1].1, &*told[1].2),
        (FileAction::Copy, "from", "into")
    );
    assert_eq!((told[2].0, &*told[2].1), (FileAction::File, "into"));
    assert_eq!(
        operations[2].content,
        ContentHash::NotHashed,
        "the server wrote into it"
    );
}

#[test]
fn a_file_that_cannot_be_opened_written_or_closed_says_so() {
    let (operations, summary) = told(&talk([
        open(1, "forbidden", READS),
        status(1, 3),
        open(2, "full", PUTS),
        handle(2, "h"),
        write(3, "h", 0, b"abc"),
        write(4, "h", 3, b"def"),
        status(3, OK),
        status(4, 4),
        about(CLOSE, 5, &["h"]),
        status(5, OK),
        open(6, "late", PUTS),
        handle(6, "h"),
        about(CLOSE, 7, &["h"]),
        status(7, 4),
    ]));
    let outcomes: Vec<_> = operations
        .iter()
        .map(|it| (it.outcome, it.bytes_written, it.content))
        .collect();
    assert_eq!(
        outcomes,
        [
            (Outcome::Failed(3), 0, ContentHash::NotAsked),
            (Outcome::Failed(4), 3, ContentHash::NotHashed),
            (Outcome::Failed(4), 0, sha256(b"")),
        ]
    );
    assert_eq!((summary.files, summary.failures), (3, 3));
}

#[test]
fn a_hash_is_of_the_whole_file_or_there_is_none() {
    let append = 2 | 4 | 8;
    let update = 2 | 8;
    let exclusive = 2 | 8 | 0x20;
    for (flags, offsets, expected) in [
        (PUTS, [0u64, 2], sha256(b"abcd")),
        (exclusive, [0, 2], sha256(b"abcd")),
        (PUTS, [2, 0], ContentHash::NotHashed),
        (PUTS, [0, 4], ContentHash::NotHashed),
        (PUTS, [0, 0], ContentHash::NotHashed),
        (append, [0, 2], ContentHash::NotHashed),
        (update, [0, 2], ContentHash::NotHashed),
    ] {
        let (operations, _) = told(&talk([
            open(1, "f", flags),
            handle(1, "h"),
            write(2, "h", offsets[0], b"ab"),
            write(3, "h", offsets[1], b"cd"),
            status(2, OK),
            status(3, OK),
            about(CLOSE, 4, &["h"]),
            status(4, OK),
        ]));
        assert_eq!(
            operations[0].content, expected,
            "flags {flags:#x}, offsets {offsets:?}"
        );
        assert_eq!(operations[0].bytes_written, 4);
    }
    // scp writes over what is there and then sets the size.
    for (flags, size, answered, expected) in [
        (update, 2u64, OK, sha256(b"ab")),
        (update, 2, 4, ContentHash::NotHashed),
        (update, 1, OK, ContentHash::NotHashed),
        (PUTS, 1, OK, ContentHash::NotHashed),
        (append, 2, OK, ContentHash::NotHashed),
    ] {
        let (operations, _) = told(&talk([
            open(1, "f", flags),
            handle(1, "h"),
            write(2, "h", 0, b"ab"),
            status(2, OK),
            request(FSETSTAT, 3, |out| {
                out.put_string("h");
                out.put_u32(ATTR_SIZE);
                out.extend_from_slice(&size.to_be_bytes());
            }),
            status(3, answered),
            about(CLOSE, 4, &["h"]),
            status(4, OK),
        ]));
        assert_eq!(operations[0].action, FileAction::Setstat);
        assert_eq!(
            operations[1].content, expected,
            "flags {flags:#x}, size {size}, answered {answered}"
        );
    }
}

#[test]
fn a_handle_that_is_used_again_belongs_to_the_new_file() {
    // The client asks for the next file before it has read that the first is closed.
    let (operations, summary) = told(&talk([
        open(1, "first", PUTS),
        handle(1, "h"),
        write(2, "h", 0, b"1"),
        about(CLOSE, 3, &["h"]),
        open(4, "second", PUTS),
        status(2, OK),
        status(3, OK),
        handle(4, "h"),
        write(5, "h", 0, b"22"),
        status(5, OK),
        about(CLOSE, 6, &["h"]),
        status(6, OK),
    ]));
    let told: Vec<_> = operations
        .iter()
        .map(|it| (&*it.path.bytes, it.bytes_written, it.content))
        .collect();
    assert_eq!(
        told,
        [
            (&b"first"[..], 1, sha256(b"1")),
            (&b"second"[..], 2, sha256(b"22"))
        ]
    );
    assert!(summary.is_whole);

    // The server answers in another order than it was asked, as it may.
    let (operations, _) = told_pair(&[
        open(1, "first", PUTS),
        handle(1, "h"),
        write(2, "h", 0, b"1"),
        about(CLOSE, 3, &["h"]),
        open(4, "second", PUTS),
        handle(4, "h"),
        status(3, OK),
        write(5, "h", 0, b"22"),
        status(5, OK),
        status(2, OK),
    ]);
    assert_eq!(
        (&*operations[0].path.bytes, operations[0].bytes_written),
        (&b"first"[..], 1)
    );
    assert_eq!(
        (&*operations[1].path.bytes, operations[1].bytes_written),
        (&b"second"[..], 2)
    );
    assert_eq!(operations[1].outcome, Outcome::Unfinished);
}

fn told_pair(parts: &[(Side, Vec<u8>)]) -> (Vec<FileOperation>, TransferSummary) {
    told(&talk(parts.iter().cloned()))
}

#[test]
fn a_handle_given_twice_ends_the_file_that_had_it() {
    let (operations, _) = told(&talk([
        open(1, "first", PUTS),
        handle(1, "h"),
        open(2, "second", PUTS),
        handle(2, "h"),
        about(CLOSE, 3, &["h"]),
        status(3, OK),
    ]));
    let told: Vec<_> = operations
        .iter()
        .map(|it| (&*it.path.bytes, it.outcome))
        .collect();
    assert_eq!(
        told,
        [
            (&b"first"[..], Outcome::Unfinished),
            (&b"second"[..], Outcome::Done)
        ]
    );
    assert!(operations[0].note.contains("handle"), "{}", operations[0].note);
}

#[test]
fn an_id_used_again_in_flight_is_answered_in_order() {
    let (operations, summary) = told(&talk([
        about(REMOVE, 1, &["first"]),
        about(STAT, 1, &["x"]),
        about(MKDIR, 1, &["second"]),
        status(1, OK),
        status(1, 2),
        status(1, 4),
    ]));
    let told: Vec<_> = operations
        .iter()
        .map(|it| (&*it.path.bytes, it.outcome))
        .collect();
    assert_eq!(
        told,
        [
            (&b"first"[..], Outcome::Done),
            (&b"second"[..], Outcome::Failed(4))
        ]
    );
    assert_eq!((summary.operations, summary.failures), (3, 2));
}

#[test]
fn what_is_open_at_the_end_is_unfinished() {
    let (operations, summary) = told(&talk([
        open(1, "half", PUTS),
        handle(1, "h"),
        write(2, "h", 0, b"abc"),
        status(2, OK),
        write(3, "h", 3, b"def"),
        open(4, "asked", READS),
        about(REMOVE, 5, &["perhaps"]),
        about(STAT, 6, &["x"]),
    ]));
    assert_eq!(
        brief(&operations)
            .into_iter()
            .map(|(action, path, _, outcome)| (action, path, outcome))
            .collect::<Vec<_>>(),
        [
            (FileAction::File, "asked".to_owned(), Outcome::Unfinished),
            (FileAction::Remove, "perhaps".to_owned(), Outcome::Unfinished),
            (FileAction::File, "half".to_owned(), Outcome::Unfinished),
        ]
    );
    assert_eq!(
        (operations[2].bytes_written, operations[2].content),
        (3, ContentHash::NotHashed)
    );
    assert_eq!((summary.files, summary.unfinished), (0, 2));
}

#[test]
fn answers_to_nothing_are_counted() {
    let (operations, summary) = told(&talk([
        status(9, OK),
        handle(10, "h"),
        data(11, b"bytes"),
        status(9, 4),
    ]));
    assert_eq!(operations, []);
    assert_eq!(
        (summary.unmatched, summary.bytes_read, summary.failures),
        (4, 0, 0)
    );
    assert!(summary.is_whole);
}

#[test]
fn hostile_lengths_end_the_following_with_one_report() {
    let raw = |length: u32, rest: &[u8]| [&length.to_be_bytes(), rest].concat();
    let inner = |length: u32| {
        packet(WRITE, |out| {
            out.put_u32(1);
            out.put_u32(length);
            out.extend_from_slice(b"hhhh");
        })
    };
    for message in [
        raw(0, b""),
        raw(u32::MAX, &[WRITE]),
        raw(16 * 1024 * 1024 + 1, &[WRITE]),
        // A packet that ends in its id, and one in a string's length.
        raw(3, &[REMOVE, 0, 0, 0, 0]),
        raw(7, &[REMOVE, 0, 0, 0, 1, 0, 0, 0]),
        inner(u32::MAX),
        inner(257),
        inner(5),
        // File bytes that reach beyond the packet.
        packet(WRITE, |out| {
            out.put_u32(1);
            out.put_string("h");
            out.extend_from_slice(&[0; 8]);
            out.put_u32(u32::MAX);
        }),
    ] {
        let mut events = Vec::new();
        let mut decoder = Decoder::new(ChannelId(0), &CopyProgram::Sftp, true);
        for (from, greeting) in greeting(3) {
            decoder.data(from, &greeting, &mut events);
        }
        decoder.data(Side::Client, &message, &mut events);
        decoder.data(Side::Client, &[0; 100], &mut events);
        for (from, honest) in [about(REMOVE, 1, &["f"]), status(1, OK)] {
            decoder.data(from, &honest, &mut events);
        }
        assert_eq!(events.len(), 1, "{message:x?}: {events:?}");
        assert!(is_unfollowed(&events[0]), "{message:x?}");
        decoder.finish(&mut events);
        let Some(SessionEvent::TransferSummary { summary, .. }) = events.get(1) else {
            panic!("{events:?}")
        };
        assert!(!summary.is_whole);
        assert_eq!(events.len(), 2);
    }
}

#[test]
fn a_packet_that_is_longer_than_its_fields_is_read() {
    let (from, mut message) = about(REMOVE, 1, &["f"]);
    message[3] += 5;
    message.extend_from_slice(&[0; 5]);
    let (operations, _) = told(&talk([(from, message), status(1, OK)]));
    assert_eq!(brief(&operations)[0].0, FileAction::Remove);
}

#[test]
fn what_is_no_sftp_is_given_up_at_its_first_bytes() {
    for (from, noise) in [
        (Side::Target, &b"This account is watched.\n"[..]),
        (Side::Target, &[0, 0, 0, 5, STATUS, 0, 0, 0, 1]),
        (Side::Client, &[0, 0, 0, 5, REMOVE, 0, 0, 0, 1]),
    ] {
        let (operations, summary) = told(&vec![(from, noise.to_vec())]);
        assert_eq!(operations.len(), 1);
        assert_eq!(operations[0].action, FileAction::Unfollowed);
        assert!(!summary.is_whole);
    }
}

#[test]
fn requests_in_flight_are_bounded_and_what_is_beyond_is_counted() {
    let count = u32::try_from(REQUESTS_MAX).unwrap() + 100;
    let mut parts = talk([]);
    parts.extend((0..count).map(|id| about(REMOVE, id, &["f"])));
    parts.extend((0..count).map(|id| status(id, OK)));
    parts.extend([about(REMOVE, 7, &["again"]), status(7, OK)]);
    let (operations, summary) = told(&parts);
    let unfollowed: Vec<_> = operations
        .iter()
        .filter(|it| it.action == FileAction::Unfollowed)
        .collect();
    assert_eq!(unfollowed.len(), 1, "it is said once");
    assert_eq!(operations.len(), REQUESTS_MAX + 2);
    assert_eq!(&*operations.last().unwrap().path.bytes, b"again");
    assert_eq!(summary.unmatched, 200, "a hundred requests and their answers");
    assert!(!summary.is_whole);
}

#[test]
fn names_in_flight_are_bounded_in_bytes() {
    let path = "p".repeat(4096);
    let count = 2 * 1024 * 1024 / 4096;
    let mut parts = talk([]);
    parts.extend((0..count + 1).map(|id| about(REMOVE, id, &[&path])));
    let (operations, summary) = told(&parts);
    let unfinished = operations
        .iter()
        .filter(|it| it.action == FileAction::Remove)
        .count();
    assert_eq!(unfinished, count as usize);
    assert_eq!(summary.unmatched, 1);
}

#[test]
fn open_files_are_bounded_and_what_is_beyond_is_told_without_its_bytes() {
    let count = u32::try_from(FILES_MAX).unwrap() + 1;
    let mut parts = talk([]);
    for id in 0..count {
        parts.extend([open(id, &format!("f{id}"), PUTS), handle(id, &format!("h{id}"))]);
    }
    let last = format!("h{}", count - 1);
    parts.extend([write(1, &last, 0, b"abc"), status(1, OK)]);
    let (operations, summary) = told(&parts);
    assert_eq!(&*operations[0].path.bytes, format!("f{}", count - 1).as_bytes());
    assert_eq!(operations[0].outcome, Outcome::Unfinished);
    assert_eq!(operations[1].action, FileAction::Unfollowed);
    assert_eq!(operations.len(), FILES_MAX + 2);
    assert_eq!(summary.bytes_written, 3, "the sums have it");
}

#[test]
fn a_long_path_is_cut_and_says_so() {
    let path = format!("/{}", "x".repeat(100_000));
    let (operations, _) = told(&talk([about(RENAME, 1, &[&path, &path]), status(1, OK)]));
    for name in [&operations[0].path, &operations[0].target] {
        assert_eq!((name.bytes.len(), name.is_cut), (4096, true));
    }
}

#[test]
fn types_that_a_server_does_not_answer_take_no_place() {
    let mut parts = talk([]);
    parts.extend((0..5000).map(|id| about(if id % 2 == 0 { 99 } else { LINK }, id, &["a", "b"])));
    parts.extend([about(REMOVE, 1, &["f"]), status(1, OK)]);
    let (operations, summary) = told(&parts);
    assert_eq!(brief(&operations)[0].0, FileAction::Remove);
    assert_eq!((operations.len(), summary.unmatched), (1, 0));
}

#[test]
fn later_versions_have_other_fields() {
    let open_6 = request(OPEN, 1, |out| {
        out.put_string("f");
        // ACE4_WRITE_DATA, then SSH_FXF_CREATE_TRUNCATE.
        out.put_u32(2);
        out.put_u32(1);
        out.put_u32(0);
    });
    let mut parts = greeting(6);
    parts.extend([
        open_6,
        handle(1, "h"),
        write(2, "h", 0, b"abc"),
        status(2, OK),
        about(CLOSE, 3, &["h"]),
        status(3, OK),
        about(LINK, 4, &["new", "old"]),
        status(4, OK),
        about(SYMLINK, 5, &["link", "to"]),
        status(5, OK),
    ]);
    let (operations, _) = told(&parts);
    assert_eq!(
        (operations[0].writes, operations[0].content),
        (true, sha256(b"abc"))
    );
    let told = brief(&operations);
    assert_eq!(
        (told[1].0, &*told[1].1, &*told[1].2),
        (FileAction::Link, "new", "old")
    );
    assert_eq!(
        (told[2].0, &*told[2].1, &*told[2].2),
        (FileAction::Symlink, "link", "to")
    );

    let (operations, _) = told_pair(&[
        extended(1, "version-select", &["6"]),
        status(1, OK),
        about(LINK, 2, &["new", "old"]),
        status(2, OK),
    ]);
    assert_eq!(brief(&operations)[0].0, FileAction::Link);
}

#[test]
fn a_handle_that_nobody_was_given_is_said_once() {
    let (operations, summary) = told(&talk([
        write(1, "?", 0, b"abc"),
        status(1, OK),
        write(2, "?", 3, b"def"),
        status(2, OK),
        read(3, "?", 0, 3),
        data(3, b"xyz"),
        write(4, "?", 3, b"refused"),
        status(4, 4),
    ]));
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0].action, FileAction::Unfollowed);
    assert_eq!((summary.bytes_written, summary.bytes_read), (6, 3));
    assert!(!summary.is_whole);
}
