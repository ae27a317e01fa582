//! What the audit log has of what happens in a session.

use std::{collections::VecDeque, time::Duration};

use weir_api::{
    audit::{AgentForward, Denied, Environment, Exec, Exit, Port, Resize, Subsystem, X11Forward},
    dataplane::AuditEvent,
};
use weir_crypto::digest::{HashAlgorithm, hash};
use weir_relay::SessionEvent;

use super::{forward_name, resizes::Resizes, transfers};
use crate::audit::Subject;

/// What has to be remembered between events.
#[derive(Default)]
pub(super) struct Audited {
    resizes: Resizes,
    /// Beginnings of the commands that run, by channel, oldest first: the exit status is told with its command.
    commands: VecDeque<(u32, String)>,
}

impl Audited {
    /// The audit event of a session's event, if it has one. `at`: since the session's start.
    pub(super) fn take(
        &mut self,
        subject: &Subject,
        event: &SessionEvent,
        at: Duration,
    ) -> Option<AuditEvent> {
        Some(match event {
            SessionEvent::Exec { channel, command, .. } => {
                let exec = exec(channel.0, command);
                self.started(&exec);
                subject.event(&exec)
            }
            SessionEvent::Subsystem { channel, name, .. } => subject.event(&Subsystem {
                channel: channel.0,
                subsystem: name.clone(),
            }),
            SessionEvent::Resize { channel, size } => {
                let resize = Resize {
                    channel: channel.0,
                    columns: size.columns,
                    rows: size.rows,
                    skipped: 0,
                };
                subject.event(&self.resizes.take(resize, at)?)
            }
            SessionEvent::ExitStatus { channel, status } => subject.event(&Exit {
                channel: channel.0,
                command: self.ended(channel.0),
                exit_code: Some(*status),
                ..Exit::default()
            }),
            SessionEvent::ExitSignal {
                channel,
                signal,
                core_dumped,
                message,
            } => subject.event(&Exit {
                channel: channel.0,
                command: self.ended(channel.0),
                exit_code: None,
                signal: Some(signal.clone()),
                core_dumped: Some(*core_dumped),
                message: Some(message.clone()),
            }),
            SessionEvent::ForwardOpened {
                channel,
                kind,
                opener,
                destination,
                endpoints,
            } => subject.event(&Port {
                channel: Some(channel.0),
                kind: forward_name(*kind).to_owned(),
                opener: Some(opener.to_string()),
                local: (!endpoints.originator.is_empty())
                    .then(|| address(&endpoints.originator, endpoints.originator_port)),
                remote: Some(destination.clone()),
                destination: Some(destination.clone()),
                ..Port::default()
            }),
            SessionEvent::FileOperation { channel, operation } => {
                transfers::audited(subject, channel.0, operation)
            }
            SessionEvent::TransferSummary { channel, summary } => {
                transfers::audited_summary(subject, channel.0, summary)
            }
            SessionEvent::RemoteForward { address, cancel } => subject.event(&Port {
                kind: "tcpip-forward".to_owned(),
                listen: Some(address.clone()),
                cancel: Some(*cancel),
                ..Port::default()
            }),
            SessionEvent::Env { channel, name, value } => subject.event(&Environment {
                channel: channel.0,
                name: name.clone(),
                value: value.clone(),
            }),
            SessionEvent::X11Forwarding { channel } => subject.event(&X11Forward { channel: channel.0 }),
            SessionEvent::AgentForwarding { channel } => subject.event(&AgentForward { channel: channel.0 }),
            SessionEvent::Denied {
                channel,
                what,
                reason,
            } => subject.event(&Denied {
                channel: channel.map(|id| id.0),
                request: what.clone(),
                reason: reason.clone(),
            }),
            _ => return None,
        })
    }

    /// The size that a terminal was left with, if it is not written yet.
    pub(super) fn last_size(&mut self) -> Option<Resize> {
        self.resizes.rest()
    }

    fn started(&mut self, exec: &Exec) {
        /// Bytes of a command that are told with its exit status.
        const KEPT: usize = 256;
        /// sshd permits ten channels on a connection, if nobody says otherwise.
        const RUNNING: usize = 64;
        if self.commands.len() == RUNNING {
            self.commands.pop_front();
        }
        let beginning = &exec.command[..exec.command.floor_char_boundary(KEPT)];
        self.commands.push_back((exec.channel, beginning.to_owned()));
    }

    fn ended(&mut self, channel: u32) -> Option<String> {
        let index = self
            .commands
            .iter()
            .position(|(running, _)| *running == channel)?;
        self.commands.remove(index).map(|(_, command)| command)
    }
}

/// A command can have 256 KiB, and a session can send one after the other. Its beginning says what it was, its
/// hash whether it is the one in question; the recording has it whole.
fn exec(channel: u32, command: &[u8]) -> Exec {
    const KEPT: usize = 4096;
    let text = String::from_utf8_lossy(command);
    let kept = &text[..text.floor_char_boundary(KEPT)];
    let is_cut = kept.len() < text.len();
    Exec {
        channel,
        command: kept.to_owned(),
        command_bytes: is_cut.then_some(command.len() as u64),
        command_sha256: is_cut.then(|| hash(HashAlgorithm::Sha256, &[command]).to_hex()),
    }
}

fn address(host: &str, port: u32) -> String {
    match (port, host.contains(':')) {
        (0, _) => host.to_owned(),
        (_, true) => format!("[{host}]:{port}"),
        (_, false) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weir_relay::{ChannelId, ChannelKind, Endpoints, Recording, Side};

    use super::*;
    use crate::session_log::tests::subject;

    fn told(audited: &mut Audited, event: &SessionEvent) -> (String, Value) {
        let event = audited.take(&subject(), event, Duration::ZERO).unwrap();
        (event.kind, serde_json::from_str(&event.detail_json).unwrap())
    }

    fn exec_of(channel: u32, command: &[u8]) -> SessionEvent {
        SessionEvent::Exec {
            channel: ChannelId(channel),
            command: command.to_vec(),
            recording: Recording {
                output: true,
                input: false,
            },
        }
    }

    fn exit_of(channel: u32) -> SessionEvent {
        SessionEvent::ExitStatus {
            channel: ChannelId(channel),
            status: 3,
        }
    }

    #[test]
    fn an_exit_status_comes_with_its_command() {
        let mut audited = Audited::default();
        told(&mut audited, &exec_of(0, b"one"));
        told(&mut audited, &exec_of(1, b"two"));
        let (kind, detail) = told(&mut audited, &exit_of(0));
        assert_eq!(
            (kind.as_str(), detail),
            ("exit", json!({ "channel": 0, "command": "one", "exit_code": 3 }))
        );
        // A shell has none.
        assert_eq!(
            told(&mut audited, &exit_of(2)).1,
            json!({ "channel": 2, "exit_code": 3 })
        );
        (2..1000).for_each(|channel| drop(told(&mut audited, &exec_of(channel, b"many"))));
        assert_eq!(audited.commands.len(), 64);
    }

    #[test]
    fn a_long_command_is_cut_and_its_hash_is_told() {
        let (_, detail) = told(&mut Audited::default(), &exec_of(0, &[b'x'; 10_000]));
        assert_eq!(detail["command"].as_str().unwrap().len(), 4096);
        assert_eq!(detail["command_bytes"], 10_000);
        assert_eq!(detail["command_sha256"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn a_forwarded_port_says_where_from_and_where_to() {
        let event = SessionEvent::ForwardOpened {
            channel: ChannelId(1),
            kind: ChannelKind::DirectTcpip,
            opener: Side::Client,
            destination: "[::1]:80".to_owned(),
            endpoints: Endpoints {
                host: "::1".to_owned(),
                port: 80,
                originator: "127.0.0.1".to_owned(),
                originator_port: 40_000,
            },
        };
        let (kind, detail) = told(&mut Audited::default(), &event);
        assert_eq!(kind, "port");
        assert_eq!(
            (&detail["local"], &detail["remote"]),
            (&json!("127.0.0.1:40000"), &json!("[::1]:80"))
        );
    }
}
