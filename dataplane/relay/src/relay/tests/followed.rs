//! Which channels are followed, and what is told when they end. What is told of files stands with the decoders.

use Side::{Client, Target};

use super::*;
use crate::transfers::{FileAction, TransferProtocol};

/// With a session that everything is allowed on and whose transfers are told.
fn rig() -> Rig {
    let mut rig = Rig::with_session();
    rig.rules.transfers = Transfers {
        operations: true,
        hashes: false,
    };
    rig
}

fn subsystem(recipient: u32, name: &str) -> Bytes {
    request(recipient, "subsystem", true, &strings(&[name]))
}

const INIT: &[u8] = &[0, 0, 0, 5, 1, 0, 0, 0, 3];
const VERSION: &[u8] = &[0, 0, 0, 5, 2, 0, 0, 0, 3];
const REMOVE: &[u8] = &[0, 0, 0, 10, 13, 0, 0, 0, 1, 0, 0, 0, 1, b'f'];
const DONE: &[u8] = &[0, 0, 0, 9, 101, 0, 0, 0, 1, 0, 0, 0, 0];

fn follows(rig: &Rig) -> Option<TransferProtocol> {
    rig.events().iter().find_map(|event| match event {
        SessionEvent::Following { protocol, .. } => Some(*protocol),
        _ => None,
    })
}

/// The actions that the last packet told of.
fn told(rig: &Rig) -> Vec<FileAction> {
    let action = |event: &SessionEvent| match event {
        SessionEvent::FileOperation { operation, .. } => Some(operation.action),
        _ => None,
    };
    rig.events().iter().filter_map(action).collect()
}

fn summaries(rig: &Rig) -> usize {
    let is_summary = |event: &&SessionEvent| matches!(event, SessionEvent::TransferSummary { .. });
    rig.events().iter().filter(is_summary).count()
}

#[test]
fn programs_that_copy_files_are_followed_and_their_packets_pass_as_ever() {
    for (program, expected) in [
        (subsystem(5, "sftp"), Some(TransferProtocol::Sftp)),
        (exec(5, "/usr/libexec/sftp-server"), Some(TransferProtocol::Sftp)),
        (exec(5, "internal-sftp"), Some(TransferProtocol::Sftp)),
        (exec(5, "scp -t /tmp"), Some(TransferProtocol::Scp)),
        (exec(5, "scp -f /tmp/x"), Some(TransferProtocol::Scp)),
        (exec(5, "rsync --server . x"), None),
        (exec(5, "cat"), None),
        (subsystem(5, "netconf"), None),
    ] {
        let mut rig = rig();
        rig.passes(Client, &program);
        assert_eq!(follows(&rig), expected, "{program:?}");
    }
    let mut rig = rig();
    rig.passes(Client, &subsystem(5, "sftp"));
    rig.passes(Client, &data(5, INIT));
    rig.passes(Target, &data(0, VERSION));
    rig.passes(Target, &error_output(0, "noise that is no SFTP"));
    rig.passes(Client, &data(5, REMOVE));
    assert_eq!(told(&rig), []);
    rig.passes(Target, &data(0, DONE));
    assert_eq!(told(&rig), [FileAction::Remove]);
    assert!(rig.actions.tap.is_some(), "it is recorded all the same");
    rig.passes(Client, &data(5, REMOVE));
    rig.passes(Client, &about(msg::CHANNEL_CLOSE, 5));
    rig.passes(Target, &about(msg::CHANNEL_CLOSE, 0));
    assert_eq!(
        (told(&rig), summaries(&rig)),
        (vec![FileAction::Remove], 1),
        "unfinished, and the sum"
    );
    assert!(matches!(
        rig.events().last(),
        Some(SessionEvent::ChannelClosed { .. })
    ));
}

#[test]
fn a_stream_that_cannot_be_followed_passes_on() {
    let mut rig = rig();
    rig.passes(Client, &subsystem(5, "sftp"));
    rig.passes(Target, &data(0, b"This account is watched.\n"));
    assert_eq!(told(&rig), [FileAction::Unfollowed]);
    rig.passes(Client, &data(5, INIT));
    rig.passes(Target, &data(0, VERSION));
    assert!(rig.events().is_empty());
}

#[test]
fn nothing_is_followed_where_it_is_not_asked_for() {
    let mut rig = Rig::with_session();
    rig.passes(Client, &subsystem(5, "sftp"));
    assert_eq!(follows(&rig), None);
    rig.passes(Client, &data(5, b"no SFTP"));
    assert!(rig.events().is_empty());
}

#[test]
fn a_second_program_does_not_end_the_following() {
    let mut rig = rig();
    rig.passes(Client, &subsystem(5, "sftp"));
    rig.passes(Client, &exec(5, "scp -t x"));
    assert_eq!(follows(&rig), None);
    rig.passes(Client, &data(5, INIT));
    rig.passes(Client, &data(5, REMOVE));
    rig.passes(Target, &data(0, [VERSION, DONE].concat().as_slice()));
    assert_eq!(told(&rig), [FileAction::Remove]);
}

#[test]
fn the_end_of_the_connection_tells_what_was_under_way() {
    let mut rig = rig();
    rig.passes(Client, &subsystem(5, "sftp"));
    rig.passes(Client, &data(5, [INIT, REMOVE].concat().as_slice()));
    rig.relay.end(&mut rig.actions);
    assert_eq!((told(&rig), summaries(&rig)), (vec![FileAction::Remove], 1));
    rig.relay.end(&mut rig.actions);
    assert!(rig.events().is_empty(), "once");
}

#[test]
fn channels_followed_at_once_are_bounded() {
    let mut rig = rig();
    for number in 10..42 {
        rig.session(number, number, 0);
        rig.passes(Client, &subsystem(number, "sftp"));
        assert_eq!(told(&rig), []);
    }
    rig.session(42, 42, 0);
    rig.passes(Client, &subsystem(42, "sftp"));
    assert_eq!((told(&rig), summaries(&rig)), (vec![FileAction::Unfollowed], 1));
}
