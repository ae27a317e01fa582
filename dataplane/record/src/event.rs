//! What a recording tells: events, each with its time, its channel and a payload.
//!
//! Every event is encoded alike (`kind, time, channel, length, payload`), so that a reader skips what it does not
//! know, and the data of the three streams can be written behind its header without a copy of its own.

use std::fmt;
use std::time::Duration;

use ulid::Ulid;

use crate::transfer::{FileAction, FileOperation, TransferSummary};
use crate::wire::{Cursor, Malformed, put_string, put_varint};

/// The longest payload of one event: an SSH packet is never longer (RFC 4253 §6.1 lets us choose, we accept 256 KiB).
pub const MAX_PAYLOAD_LEN: usize = 256 * 1024;

/// Which way data of a channel went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Target to user, `CHANNEL_DATA`.
    Output,
    /// Target to user, `CHANNEL_EXTENDED_DATA` of type 1 (standard error).
    ErrorOutput,
    /// User to target.
    Input,
}

impl Stream {
    /// The kind of the events that hold this stream's bytes.
    #[must_use]
    pub const fn kind(self) -> EventKind {
        match self {
            Stream::Output => EventKind::OUTPUT,
            Stream::ErrorOutput => EventKind::ERROR_OUTPUT,
            Stream::Input => EventKind::INPUT,
        }
    }

    /// As exports name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Stream::Output => "output",
            Stream::ErrorOutput => "error_output",
            Stream::Input => "input",
        }
    }

    fn from_code(code: u8) -> Result<Self, Malformed> {
        match EventKind(code) {
            EventKind::OUTPUT => Ok(Stream::Output),
            EventKind::ERROR_OUTPUT => Ok(Stream::ErrorOutput),
            EventKind::INPUT => Ok(Stream::Input),
            _ => Err(Malformed("stream")),
        }
    }
}

/// What was forwarded over a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardKind {
    /// `direct-tcpip` (RFC 4254 §7.2).
    DirectTcp,
    /// `forwarded-tcpip` (RFC 4254 §7.2).
    ForwardedTcp,
    /// `direct-streamlocal@openssh.com` (PROTOCOL §2.4).
    DirectUnix,
    /// `forwarded-streamlocal@openssh.com` (PROTOCOL §2.4).
    ForwardedUnix,
    /// `x11` (RFC 4254 §6.3.2).
    X11,
    /// `auth-agent@openssh.com`.
    Agent,
}

impl ForwardKind {
    const ALL: [(ForwardKind, &'static str); 6] = [
        (ForwardKind::DirectTcp, "direct-tcpip"),
        (ForwardKind::ForwardedTcp, "forwarded-tcpip"),
        (ForwardKind::DirectUnix, "direct-streamlocal"),
        (ForwardKind::ForwardedUnix, "forwarded-streamlocal"),
        (ForwardKind::X11, "x11"),
        (ForwardKind::Agent, "auth-agent"),
    ];

    fn from_code(code: u8) -> Result<Self, Malformed> {
        let known = Self::ALL.get(usize::from(code));
        known.map(|(kind, _)| *kind).ok_or(Malformed("forward"))
    }

    /// As exports name it: the channel type without its domain.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// The code of an event's kind. Codes that this version does not know are kept, not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventKind(pub u8);

#[expect(missing_docs, reason = "each is the kind of the `Event` of the same name")]
impl EventKind {
    pub const META: EventKind = EventKind(1);
    pub const OUTPUT: EventKind = EventKind(2);
    pub const ERROR_OUTPUT: EventKind = EventKind(3);
    pub const INPUT: EventKind = EventKind(4);
    pub const TERMINAL: EventKind = EventKind(5);
    pub const RESIZE: EventKind = EventKind(6);
    pub const SHELL: EventKind = EventKind(7);
    pub const EXEC: EventKind = EventKind(8);
    pub const SUBSYSTEM: EventKind = EventKind(9);
    pub const EXIT_STATUS: EventKind = EventKind(10);
    pub const EXIT_SIGNAL: EventKind = EventKind(11);
    pub const LIMIT_REACHED: EventKind = EventKind(12);
    pub const UNRECORDED: EventKind = EventKind(13);
    pub const CLOSED: EventKind = EventKind(14);
    pub const FORWARD: EventKind = EventKind(15);
    pub const GAP: EventKind = EventKind(17);
    pub const FILE_OPERATION: EventKind = EventKind(16);
    pub const TRANSFER_SUMMARY: EventKind = EventKind(20);
    pub const ENVIRONMENT: EventKind = EventKind(18);
    pub const FORWARD_END: EventKind = EventKind(19);
    pub const WITHHELD_INPUT: EventKind = EventKind(21);
    pub const DIGEST: EventKind = EventKind(22);

    /// Whether the payload is the bytes of a stream, which may be divided between events at any byte.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(
            self,
            EventKind::OUTPUT | EventKind::ERROR_OUTPUT | EventKind::INPUT
        )
    }
}

/// Something that happened in a session. Text of a peer is bytes: SSH does not promise an encoding for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Who was connected to what; the first event of every recording. Of the session, not of its channel.
    Meta(Fields<'a>),
    /// Bytes from the target's standard output or terminal.
    Output(&'a [u8]),
    /// Bytes from the target's standard error.
    ErrorOutput(&'a [u8]),
    /// Bytes from the user; recorded if policy says so.
    Input(&'a [u8]),
    /// A terminal was asked for (`pty-req`); sizes in characters and pixels.
    Terminal {
        /// The value of `TERM`.
        term: &'a [u8],
        /// Width in characters.
        columns: u32,
        /// Height in characters.
        rows: u32,
        /// Width in pixels; mostly 0.
        width_px: u32,
        /// Height in pixels; mostly 0.
        height_px: u32,
    },
    /// The user's terminal has a new size (`window-change`).
    Resize {
        /// Width in characters.
        columns: u32,
        /// Height in characters.
        rows: u32,
        /// Width in pixels; mostly 0.
        width_px: u32,
        /// Height in pixels; mostly 0.
        height_px: u32,
    },
    /// A login shell was started.
    Shell,
    /// A command was started.
    Exec {
        /// As the client sent it.
        command: &'a [u8],
    },
    /// A subsystem was started.
    Subsystem {
        /// Its name, `sftp` for instance.
        name: &'a [u8],
    },
    /// What was started has ended.
    ExitStatus(u32),
    /// What was started was ended by a signal.
    ExitSignal {
        /// Without `SIG` (RFC 4254 §6.10).
        signal: &'a [u8],
        /// Whether the peer reported a core dump.
        core_dumped: bool,
        /// The peer's words.
        message: &'a [u8],
    },
    /// From here on `stream` is counted, not recorded.
    LimitReached {
        /// Which one.
        stream: Stream,
        /// The limit in bytes: so many were recorded.
        limit: u64,
    },
    /// How much of `stream` was not recorded since its limit was reached; written when the channel or session ends.
    Unrecorded {
        /// Which one.
        stream: Stream,
        /// Bytes that passed without being recorded.
        bytes: u64,
    },
    /// The channel is closed on both sides.
    Closed,
    /// A forwarding channel was opened.
    Forward {
        /// Which type of channel.
        kind: ForwardKind,
        /// Host name, address or socket path that it leads to; empty for X11 and agent.
        host: &'a [u8],
        /// TCP port, 0 where there is none.
        port: u32,
        /// Address that its opener says it comes from; empty for sockets and agent.
        originator: &'a [u8],
        /// The originator's port, 0 where there is none.
        originator_port: u32,
    },
    /// A stretch of the session that is not recorded: nobody could, and the session was permitted to go on. It stands where the
    /// record goes on, or ends.
    Gap {
        /// Where it begins, since the session's start.
        from: Duration,
        /// Where it ends.
        to: Duration,
        /// Bytes of channel data that passed in it.
        bytes: u64,
        /// Other events in it.
        events: u64,
        /// Why, in the recorder's words.
        reason: &'a [u8],
    },
    /// Something was done to a file over a channel.
    FileOperation(FileOperation<'a>),
    /// What a channel's transfers came to; when it ends.
    TransferSummary(TransferSummary),
    /// The client set an environment variable for what the channel will run; the target need not have accepted it.
    Environment {
        /// The variable's name.
        name: &'a [u8],
        /// Its value, where the cluster lets it be recorded.
        value: Option<&'a [u8]>,
    },
    /// A forwarding channel has ended.
    ForwardEnd {
        /// Which type of channel.
        kind: ForwardKind,
        /// Whether the target opened it, and not the client.
        by_target: bool,
        /// Host name, address or socket path that it led to; empty for X11 and agent.
        host: &'a [u8],
        /// TCP port, 0 where there is none.
        port: u32,
        /// Bytes that passed from the client to the target.
        from_client: u64,
        /// Bytes that passed from the target to the client.
        from_target: u64,
        /// How long it was open.
        duration: Duration,
    },
    /// Input that policy lets be recorded only where it was echoed, and that was not.
    WithheldInput {
        /// How much it was.
        bytes: u64,
    },
    /// SHA-256 of what of a stream was not recorded since its limit was reached; written beside [`Event::Unrecorded`].
    Digest {
        /// Which one.
        stream: Stream,
        /// Bytes that it is made of.
        bytes: u64,
        /// The digest.
        sha256: [u8; 32],
    },
    /// A kind that this version does not know.
    Unknown {
        /// Its code.
        kind: EventKind,
        /// Its payload as it stands.
        payload: &'a [u8],
    },
}

impl<'a> Event<'a> {
    /// The kind under which this event is encoded.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Event::Meta(_) => EventKind::META,
            Event::Output(_) => EventKind::OUTPUT,
            Event::ErrorOutput(_) => EventKind::ERROR_OUTPUT,
            Event::Input(_) => EventKind::INPUT,
            Event::Terminal { .. } => EventKind::TERMINAL,
            Event::Resize { .. } => EventKind::RESIZE,
            Event::Shell => EventKind::SHELL,
            Event::Exec { .. } => EventKind::EXEC,
            Event::Subsystem { .. } => EventKind::SUBSYSTEM,
            Event::ExitStatus(_) => EventKind::EXIT_STATUS,
            Event::ExitSignal { .. } => EventKind::EXIT_SIGNAL,
            Event::LimitReached { .. } => EventKind::LIMIT_REACHED,
            Event::Unrecorded { .. } => EventKind::UNRECORDED,
            Event::Closed => EventKind::CLOSED,
            Event::Forward { .. } => EventKind::FORWARD,
            Event::Gap { .. } => EventKind::GAP,
            Event::FileOperation(_) => EventKind::FILE_OPERATION,
            Event::TransferSummary(_) => EventKind::TRANSFER_SUMMARY,
            Event::Environment { .. } => EventKind::ENVIRONMENT,
            Event::ForwardEnd { .. } => EventKind::FORWARD_END,
            Event::WithheldInput { .. } => EventKind::WITHHELD_INPUT,
            Event::Digest { .. } => EventKind::DIGEST,
            Event::Unknown { kind, .. } => *kind,
        }
    }

    /// The stream and its bytes, if that is what the event holds.
    #[must_use]
    pub const fn data(&self) -> Option<(Stream, &'a [u8])> {
        match *self {
            Event::Output(data) => Some((Stream::Output, data)),
            Event::ErrorOutput(data) => Some((Stream::ErrorOutput, data)),
            Event::Input(data) => Some((Stream::Input, data)),
            _ => None,
        }
    }

    /// What a channel that transfers files shows in place of its protocol's bytes: one line, with its end.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        match self {
            Event::FileOperation(operation) if operation.action != FileAction::Begin => {
                Some(format!("{operation}\n"))
            }
            Event::TransferSummary(summary) => Some(format!("{summary}\n")),
            _ => None,
        }
    }

    /// Whether from here on the channel's output is a protocol of transfers (true), or anything (false).
    #[must_use]
    pub fn is_followed(&self) -> Option<bool> {
        match self {
            Event::FileOperation(operation) => match operation.action {
                FileAction::Begin => Some(true),
                FileAction::Unfollowed => Some(false),
                _ => None,
            },
            Event::Closed => Some(false),
            _ => None,
        }
    }

    /// Appends the payload to `out`.
    pub fn encode_payload(&self, out: &mut Vec<u8>) {
        match *self {
            Event::Meta(fields) => out.extend_from_slice(fields.0),
            Event::Output(data) | Event::ErrorOutput(data) | Event::Input(data) => {
                out.extend_from_slice(data)
            }
            Event::Terminal {
                term,
                columns,
                rows,
                width_px,
                height_px,
            } => {
                put_string(out, term);
                put_size(out, columns, rows, width_px, height_px);
            }
            Event::Resize {
                columns,
                rows,
                width_px,
                height_px,
            } => {
                put_size(out, columns, rows, width_px, height_px);
            }
            Event::Shell | Event::Closed => {}
            Event::Exec { command } => out.extend_from_slice(command),
            Event::Subsystem { name } => out.extend_from_slice(name),
            Event::ExitStatus(status) => put_varint(out, u64::from(status)),
            Event::ExitSignal {
                signal,
                core_dumped,
                message,
            } => {
                put_string(out, signal);
                out.push(u8::from(core_dumped));
                put_string(out, message);
            }
            Event::LimitReached { stream, limit: count } | Event::Unrecorded { stream, bytes: count } => {
                out.push(stream.kind().0);
                put_varint(out, count);
            }
            Event::Forward {
                kind,
                host,
                port,
                originator,
                originator_port,
            } => {
                out.push(kind as u8);
                put_string(out, host);
                put_varint(out, u64::from(port));
                put_string(out, originator);
                put_varint(out, u64::from(originator_port));
            }
            Event::Gap {
                from,
                to,
                bytes,
                events,
                reason,
            } => {
                for value in [micros(from), micros(to), bytes, events] {
                    put_varint(out, value);
                }
                put_string(out, reason);
            }
            Event::FileOperation(operation) => operation.encode(out),
            Event::TransferSummary(summary) => summary.encode(out),
            Event::Environment { name, value } => {
                put_string(out, name);
                out.push(u8::from(value.is_some()));
                if let Some(value) = value {
                    put_string(out, value);
                }
            }
            Event::ForwardEnd {
                kind,
                by_target,
                host,
                port,
                from_client,
                from_target,
                duration,
            } => {
                out.push(kind as u8);
                out.push(u8::from(by_target));
                put_string(out, host);
                for value in [u64::from(port), from_client, from_target, micros(duration)] {
                    put_varint(out, value);
                }
            }
            Event::WithheldInput { bytes } => put_varint(out, bytes),
            Event::Digest {
                stream,
                bytes,
                sha256,
            } => {
                out.push(stream.kind().0);
                put_varint(out, bytes);
                out.push(SHA256);
                put_string(out, &sha256);
            }
            Event::Unknown { payload, .. } => out.extend_from_slice(payload),
        }
    }

    /// Reads a payload. Bytes behind the fields that this version knows are ignored: later versions may append.
    pub(crate) fn decode(kind: EventKind, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut p = Cursor::new(payload);
        Ok(match kind {
            EventKind::META => Event::Meta(Fields(payload)),
            EventKind::OUTPUT => Event::Output(payload),
            EventKind::ERROR_OUTPUT => Event::ErrorOutput(payload),
            EventKind::INPUT => Event::Input(payload),
            EventKind::TERMINAL => Event::Terminal {
                term: p.string("terminal")?,
                columns: p.varint_u32("terminal")?,
                rows: p.varint_u32("terminal")?,
                width_px: p.varint_u32("terminal")?,
                height_px: p.varint_u32("terminal")?,
            },
            EventKind::RESIZE => Event::Resize {
                columns: p.varint_u32("resize")?,
                rows: p.varint_u32("resize")?,
                width_px: p.varint_u32("resize")?,
                height_px: p.varint_u32("resize")?,
            },
            EventKind::SHELL => Event::Shell,
            EventKind::EXEC => Event::Exec { command: payload },
            EventKind::SUBSYSTEM => Event::Subsystem { name: payload },
            EventKind::EXIT_STATUS => Event::ExitStatus(p.varint_u32("exit status")?),
            EventKind::EXIT_SIGNAL => Event::ExitSignal {
                signal: p.string("exit signal")?,
                core_dumped: p.u8("exit signal")? != 0,
                message: p.string("exit signal")?,
            },
            EventKind::LIMIT_REACHED => Event::LimitReached {
                stream: Stream::from_code(p.u8("limit")?)?,
                limit: p.varint("limit")?,
            },
            EventKind::UNRECORDED => Event::Unrecorded {
                stream: Stream::from_code(p.u8("unrecorded")?)?,
                bytes: p.varint("unrecorded")?,
            },
            EventKind::CLOSED => Event::Closed,
            EventKind::FORWARD => {
                let kind = ForwardKind::from_code(p.u8("forward")?)?;
                Event::Forward {
                    kind,
                    host: p.string("forward")?,
                    port: p.varint_u32("forward")?,
                    originator: p.string("forward")?,
                    originator_port: p.varint_u32("forward")?,
                }
            }
            EventKind::GAP => Event::Gap {
                from: Duration::from_micros(p.varint("gap")?),
                to: Duration::from_micros(p.varint("gap")?),
                bytes: p.varint("gap")?,
                events: p.varint("gap")?,
                reason: p.string("gap")?,
            },
            EventKind::FILE_OPERATION => Event::FileOperation(FileOperation::decode(&mut p)?),
            EventKind::TRANSFER_SUMMARY => Event::TransferSummary(TransferSummary::decode(&mut p)?),
            EventKind::ENVIRONMENT => Event::Environment {
                name: p.string("environment")?,
                value: match p.u8("environment")? {
                    0 => None,
                    _ => Some(p.string("environment")?),
                },
            },
            EventKind::FORWARD_END => Event::ForwardEnd {
                kind: ForwardKind::from_code(p.u8("forward end")?)?,
                by_target: p.u8("forward end")? != 0,
                host: p.string("forward end")?,
                port: p.varint_u32("forward end")?,
                from_client: p.varint("forward end")?,
                from_target: p.varint("forward end")?,
                duration: Duration::from_micros(p.varint("forward end")?),
            },
            EventKind::WITHHELD_INPUT => Event::WithheldInput {
                bytes: p.varint("withheld input")?,
            },
            EventKind::DIGEST => {
                let (stream, bytes) = (Stream::from_code(p.u8("digest")?)?, p.varint("digest")?);
                match p.u8("digest")? {
                    SHA256 => Event::Digest {
                        stream,
                        bytes,
                        sha256: *p.string("digest")?.as_array().ok_or(Malformed("digest"))?,
                    },
                    // Of a later version.
                    _ => Event::Unknown { kind, payload },
                }
            }
            _ => Event::Unknown { kind, payload },
        })
    }
}

/// The code of SHA-256 (FIPS 180-4), the only digest of this version.
const SHA256: u8 = 1;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn put_size(out: &mut Vec<u8>, columns: u32, rows: u32, width_px: u32, height_px: u32) {
    for value in [columns, rows, width_px, height_px] {
        put_varint(out, u64::from(value));
    }
}

/// An event in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Since the session's start.
    pub at: Duration,
    /// The channel's place in the order of opening, from 0, that no other channel of the recording has; 0 for events of the
    /// whole session, too.
    pub channel: u32,
    /// What happened.
    pub event: Event<'a>,
}

/// Name and value pairs of [`Event::Meta`], in the order in which they were written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// Takes what [`SessionMeta::encode`] made.
    #[must_use]
    pub fn new(encoded: &'a [u8]) -> Self {
        Fields(encoded)
    }

    /// The value of the first field of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// All pairs; ends at the first that is not two UTF-8 strings.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut p = Cursor::new(self.0);
        std::iter::from_fn(move || {
            let name = std::str::from_utf8(p.string("field").ok()?).ok()?;
            let value = std::str::from_utf8(p.string("field").ok()?).ok()?;
            Some((name, value))
        })
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Who was connected to what. All but `session` and `started_us` is sealed with the first chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionMeta {
    /// The session's identifier, also the recording's.
    pub session: Ulid,
    /// Start of the session, microseconds since 1970-01-01 UTC; event times count from here.
    pub started_us: u64,
    /// The user's name.
    pub user: String,
    /// The login on the target.
    pub login: String,
    /// The target's name.
    pub node: String,
    /// The target's address as dialled.
    pub node_address: String,
    /// The client's address and port.
    pub client_address: String,
    /// The cluster's name.
    pub cluster: String,
}

impl SessionMeta {
    /// The payload of the recording's [`Event::Meta`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        for (name, value) in [
            ("user", &self.user),
            ("login", &self.login),
            ("node", &self.node),
            ("node_address", &self.node_address),
            ("client_address", &self.client_address),
            ("cluster", &self.cluster),
        ] {
            put_string(&mut out, name.as_bytes());
            put_string(&mut out, value.as_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::{FileOutcome, TransferProtocol};

    fn all() -> Vec<Event<'static>> {
        vec![
            Event::Output(b"out"),
            Event::ErrorOutput(b""),
            Event::Input(b"\xff\x00"),
            Event::Terminal {
                term: b"xterm",
                columns: 80,
                rows: 24,
                width_px: 0,
                height_px: u32::MAX,
            },
            Event::Resize {
                columns: 132,
                rows: 50,
                width_px: 1,
                height_px: 2,
            },
            Event::Shell,
            Event::Exec { command: b"ls -l" },
            Event::Subsystem { name: b"sftp" },
            Event::ExitStatus(u32::MAX),
            Event::ExitSignal {
                signal: b"TERM",
                core_dumped: true,
                message: b"bye",
            },
            Event::LimitReached {
                stream: Stream::Output,
                limit: u64::MAX,
            },
            Event::Unrecorded {
                stream: Stream::Input,
                bytes: 1,
            },
            Event::Closed,
            Event::Forward {
                kind: ForwardKind::ForwardedUnix,
                host: b"/run/x",
                port: 0,
                originator: b"::1",
                originator_port: 9,
            },
            Event::Forward {
                kind: ForwardKind::Agent,
                host: b"",
                port: 0,
                originator: b"",
                originator_port: 0,
            },
            Event::Gap {
                from: Duration::from_micros(7),
                to: Duration::from_secs(9),
                bytes: u64::MAX,
                events: 3,
                reason: b"no space",
            },
            Event::FileOperation(FileOperation::begin(TransferProtocol::Scp)),
            Event::FileOperation(FileOperation {
                action: FileAction::File,
                path: b"/tmp/\xff",
                target: b"x",
                is_cut: true,
                reads: true,
                writes: true,
                bytes_read: u64::MAX,
                bytes_written: 300,
                outcome: FileOutcome::Failed(300),
                is_hash_asked: true,
                sha256: Some(&[7; 32]),
                note: b"in words",
                ..FileOperation::begin(TransferProtocol::Sftp)
            }),
            Event::FileOperation(FileOperation {
                action: FileAction::Unfollowed,
                outcome: FileOutcome::Unfinished,
                note: b"why",
                ..FileOperation::begin(TransferProtocol::Sftp)
            }),
            Event::TransferSummary(TransferSummary {
                protocol: TransferProtocol::Sftp,
                is_whole: false,
                files: 1,
                unfinished: 2,
                bytes_read: 300,
                bytes_written: u64::MAX,
                operations: 5,
                failures: 6,
                unmatched: 7,
            }),
            Event::Environment {
                name: b"LANG",
                value: Some(b"de_DE.UTF-8"),
            },
            Event::Environment {
                name: b"TOKEN",
                value: None,
            },
            Event::ForwardEnd {
                kind: ForwardKind::DirectTcp,
                by_target: true,
                host: b"db",
                port: 5432,
                from_client: u64::MAX,
                from_target: 1,
                duration: Duration::from_secs(77),
            },
            Event::WithheldInput { bytes: 9 },
            Event::Digest {
                stream: Stream::ErrorOutput,
                bytes: 1 << 40,
                sha256: [0xa5; 32],
            },
            Event::Unknown {
                kind: EventKind(200),
                payload: b"later",
            },
        ]
    }

    #[test]
    fn every_payload_comes_back_and_every_cut_of_it_is_refused_or_shorter() {
        for event in all() {
            let mut payload = Vec::new();
            event.encode_payload(&mut payload);
            assert_eq!(Event::decode(event.kind(), &payload), Ok(event));
            for cut in 0..payload.len() {
                assert_ne!(
                    Event::decode(event.kind(), &payload[..cut]),
                    Ok(event),
                    "{event:?}"
                );
            }
        }
    }

    #[test]
    fn meta_fields_come_back_by_name() {
        let meta = SessionMeta {
            session: Ulid::from_parts(1, 2),
            started_us: 3,
            user: "alice".into(),
            login: "root".into(),
            node: "web1".into(),
            node_address: "10.0.0.1:22".into(),
            client_address: "192.0.2.7:50000".into(),
            cluster: "main".into(),
        };
        let payload = meta.encode();
        let fields = Fields(&payload);
        assert_eq!(fields.get("user"), Some("alice"));
        assert_eq!(fields.get("cluster"), Some("main"));
        assert_eq!(fields.get("absent"), None);
        assert_eq!(fields.iter().count(), 6);
        assert_eq!(
            Fields(&payload[..20]).iter().count(),
            1,
            "a cut pair ends the list"
        );
    }
}
