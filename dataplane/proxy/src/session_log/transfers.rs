//! File transfers in the recording and in the audit log.

use weir_api::audit::{Scp, Sftp, SftpSummary};
use weir_api::dataplane::AuditEvent;
use weir_record::{FileAction as Action, FileOutcome, status_text};
use weir_relay::transfers::{
    ContentHash, FileAction, FileOperation, Outcome, TransferProtocol, TransferSummary,
};

use crate::audit::Subject;

/// Bytes of a name that the audit log has: two of them, each byte escaped, fit into one event. The recording has more.
const NAME_KEPT: usize = 2048;

/// As the recording tells it.
pub(super) fn recorded(operation: &FileOperation) -> weir_record::FileOperation<'_> {
    weir_record::FileOperation {
        protocol: protocol(operation.protocol),
        action: action(operation.action),
        path: &operation.path.bytes,
        target: &operation.target.bytes,
        is_cut: operation.path.is_cut || operation.target.is_cut,
        reads: operation.reads,
        writes: operation.writes,
        bytes_read: operation.bytes_read,
        bytes_written: operation.bytes_written,
        outcome: match operation.outcome {
            Outcome::Done => FileOutcome::Done,
            Outcome::Failed(status) => FileOutcome::Failed(status),
            Outcome::Unfinished => FileOutcome::Unfinished,
        },
        is_hash_asked: operation.content != ContentHash::NotAsked,
        sha256: match &operation.content {
            ContentHash::Sha256(hash) => Some(hash),
            ContentHash::NotAsked | ContentHash::NotHashed => None,
        },
        note: operation.note.as_bytes(),
    }
}

/// The same of the sum.
pub(super) fn recorded_summary(summary: &TransferSummary) -> weir_record::TransferSummary {
    weir_record::TransferSummary {
        protocol: protocol(summary.protocol),
        is_whole: summary.is_whole,
        files: summary.files,
        unfinished: summary.unfinished,
        bytes_read: summary.bytes_read,
        bytes_written: summary.bytes_written,
        operations: summary.operations,
        failures: summary.failures,
        unmatched: summary.unmatched,
    }
}

/// As the audit log has it.
pub(super) fn audited(subject: &Subject, channel: u32, operation: &FileOperation) -> AuditEvent {
    let told = recorded(operation);
    let is_file = operation.action == FileAction::File;
    let status = match told.outcome {
        FileOutcome::Unfinished => "unfinished",
        outcome => status_text(outcome.status()),
    };
    let direction = is_file.then(|| told.direction().to_owned());
    let note = (!operation.note.is_empty()).then(|| operation.note.clone());
    let target = (!told.target.is_empty()).then(|| name(told.target));
    let name_cut = told.is_cut || told.path.len().max(told.target.len()) > NAME_KEPT;
    match operation.protocol {
        TransferProtocol::Scp => subject.event(&Scp {
            channel,
            action: match operation.action {
                FileAction::File if operation.reads => "download",
                FileAction::File => "upload",
                _ => told.action_str(),
            }
            .to_owned(),
            path: name(told.path),
            target,
            name_cut,
            bytes: is_file.then(|| told.bytes_read.max(told.bytes_written)),
            direction,
            status: status.to_owned(),
            status_code: told.outcome.status(),
            sha256: told.sha256_text(),
            note,
        }),
        TransferProtocol::Sftp => subject.event(&Sftp {
            channel,
            action: told.action_str().to_owned(),
            path: name(told.path),
            target,
            name_cut,
            bytes_read: is_file.then_some(told.bytes_read),
            bytes_written: is_file.then_some(told.bytes_written),
            direction,
            status: status.to_owned(),
            status_code: told.outcome.status(),
            sha256: told.sha256_text(),
            note,
        }),
    }
}

/// The same of the sum.
pub(super) fn audited_summary(subject: &Subject, channel: u32, summary: &TransferSummary) -> AuditEvent {
    subject.event(&SftpSummary {
        channel,
        protocol: protocol(summary.protocol).as_str().to_owned(),
        whole: summary.is_whole,
        files: summary.files,
        unfinished: summary.unfinished,
        bytes_read: summary.bytes_read,
        bytes_written: summary.bytes_written,
        operations: summary.operations,
        failures: summary.failures,
        unmatched: summary.unmatched,
    })
}

pub(super) fn protocol(protocol: TransferProtocol) -> weir_record::TransferProtocol {
    match protocol {
        TransferProtocol::Sftp => weir_record::TransferProtocol::Sftp,
        TransferProtocol::Scp => weir_record::TransferProtocol::Scp,
    }
}

fn action(action: FileAction) -> Action {
    match action {
        FileAction::File => Action::File,
        FileAction::Opendir => Action::Opendir,
        FileAction::Mkdir => Action::Mkdir,
        FileAction::Rmdir => Action::Rmdir,
        FileAction::Remove => Action::Remove,
        FileAction::Rename => Action::Rename,
        FileAction::Symlink => Action::Symlink,
        FileAction::Link => Action::Link,
        FileAction::Readlink => Action::Readlink,
        FileAction::Setstat => Action::Setstat,
        FileAction::Copy => Action::Copy,
        FileAction::Extended => Action::Extended,
        FileAction::Unfollowed => Action::Unfollowed,
    }
}

fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_KEPT)]).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weir_relay::transfers::FileName;

    use super::*;
    use crate::session_log::tests::subject;

    fn told(operation: &FileOperation) -> (String, Value) {
        let event = audited(&subject(), 3, operation);
        (event.kind, serde_json::from_str(&event.detail_json).unwrap())
    }

    fn operation(action: FileAction, path: &[u8]) -> FileOperation {
        FileOperation {
            protocol: TransferProtocol::Sftp,
            action,
            path: FileName {
                bytes: path.into(),
                is_cut: false,
            },
            target: FileName::default(),
            reads: false,
            writes: true,
            bytes_read: 0,
            bytes_written: 7,
            outcome: Outcome::Failed(14),
            content: ContentHash::NotHashed,
            note: String::new(),
        }
    }

    #[test]
    fn the_audit_log_has_what_was_done_and_how_it_ended() {
        let (kind, detail) = told(&operation(FileAction::File, b"/tmp/\xffx"));
        assert_eq!(kind, "sftp");
        assert_eq!(
            detail,
            json!({
                "channel": 3, "action": "write", "path": "/tmp/\u{fffd}x", "direction": "write",
                "bytes_read": 0, "bytes_written": 7, "status": "no space on file system", "status_code": 14,
                "sha256": "not hashed",
            })
        );
        let scp = FileOperation {
            protocol: TransferProtocol::Scp,
            ..operation(FileAction::File, b"f")
        };
        let (kind, detail) = told(&scp);
        assert_eq!(
            (kind.as_str(), &detail["action"], &detail["bytes"]),
            ("scp", &"upload".into(), &7.into())
        );
    }

    #[test]
    fn the_longest_names_fit_into_one_audit_event() {
        let mut rename = operation(FileAction::Rename, &[1; 4096]);
        rename.target = rename.path.clone();
        let (_, detail) = told(&rename);
        assert_eq!(detail["name_cut"], true);
        assert!(
            detail.to_string().len() < 32 * 1024,
            "{}",
            detail.to_string().len()
        );
    }
}
