//! What happened in a session, for the recorder and the audit log.

use std::fmt;

use crate::{
    Program, Recording, Side,
    transfers::{FileOperation, TransferProtocol, TransferSummary},
};

/// Longest text that an event takes over from a peer, in bytes; what is longer is cut.
const TEXT_MAX: usize = 256;

/// A channel's number in the order of opening, never used twice within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// `session` (RFC 4254 §6.1).
    Session,
    /// `direct-tcpip` (RFC 4254 §7.2).
    DirectTcpip,
    /// `direct-streamlocal@openssh.com` (OpenSSH PROTOCOL §2.4).
    DirectStreamlocal,
    /// `forwarded-tcpip` (RFC 4254 §7.2).
    ForwardedTcpip,
    /// `forwarded-streamlocal@openssh.com` (OpenSSH PROTOCOL §2.4).
    ForwardedStreamlocal,
    /// `x11` (RFC 4254 §6.3.2).
    X11,
    /// `auth-agent@openssh.com`, `agent-connect`.
    Agent,
    /// `tun@openssh.com` (OpenSSH PROTOCOL §2.3).
    Tunnel,
    /// Anything else.
    Other,
}

/// A terminal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
    /// Width in pixels; most clients say 0.
    pub width_px: u32,
    /// Height in pixels; most clients say 0.
    pub height_px: u32,
}

/// What a channel that is no session joins, in its opener's words: empty and 0 where its type has no such field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Host name, address or path that it leads to.
    pub host: String,
    /// The port there.
    pub port: u32,
    /// Address that it comes from.
    pub originator: String,
    /// The port there.
    pub originator_port: u32,
}

/// Something that the record of the session should tell.
///
/// Strings that come from a peer are cut at 256 bytes and made valid UTF-8, except an exec
/// command: it is kept whole, since what is cut off is what somebody would hide; the transport
/// bounds it to one packet. Names of files are bytes, up to 4096 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The target accepted a session channel.
    ChannelOpened {
        /// The channel.
        channel: ChannelId,
    },
    /// A session channel was closed by both ends.
    ChannelClosed {
        /// The channel.
        channel: ChannelId,
    },
    /// A channel other than a session was accepted.
    ForwardOpened {
        /// The channel.
        channel: ChannelId,
        /// What it carries.
        kind: ChannelKind,
        /// Who opened it.
        opener: Side,
        /// Where it leads, as the opener wrote it: `host:port`, a path, or the channel's type.
        destination: String,
        /// The same in parts, and where it comes from.
        endpoints: Endpoints,
    },
    /// A channel other than a session was closed by both ends.
    ForwardClosed {
        /// The channel.
        channel: ChannelId,
        /// What it carried.
        kind: ChannelKind,
        /// Who opened it.
        opener: Side,
        /// Where it led, as in [`ForwardOpened`](SessionEvent::ForwardOpened).
        destination: String,
        /// The same in parts, and where it came from.
        endpoints: Endpoints,
        /// Bytes of data that passed from the client and from the target.
        bytes: [u64; 2],
    },
    /// The other end refused to open a channel.
    OpenFailed {
        /// The number it would have had.
        channel: ChannelId,
        /// What it was for.
        kind: ChannelKind,
        /// Reason code (RFC 4254 §5.1).
        code: u32,
        /// Reason in words.
        reason: String,
    },
    /// A terminal was asked for.
    Pty {
        /// The channel.
        channel: ChannelId,
        /// `TERM`.
        term: String,
        /// Its size.
        size: TerminalSize,
        /// Whether it was asked to echo what is typed (RFC 4254 §8, `ECHO`).
        echo: bool,
    },
    /// The terminal's size changed.
    Resize {
        /// The channel.
        channel: ChannelId,
        /// Its new size.
        size: TerminalSize,
    },
    /// A login shell is about to be started.
    Shell {
        /// The channel.
        channel: ChannelId,
        /// What of it is recorded.
        recording: Recording,
    },
    /// A command is about to be started.
    Exec {
        /// The channel.
        channel: ChannelId,
        /// The command line, whole.
        command: Vec<u8>,
        /// What of it is recorded.
        recording: Recording,
    },
    /// A subsystem is about to be started.
    Subsystem {
        /// The channel.
        channel: ChannelId,
        /// Its name.
        name: String,
        /// What of it is recorded.
        recording: Recording,
    },
    /// What passes on the channel from here on is a protocol of file transfers, and is followed.
    Following {
        /// The channel.
        channel: ChannelId,
        /// The protocol.
        protocol: TransferProtocol,
    },
    /// Something was done to a file.
    FileOperation {
        /// The channel.
        channel: ChannelId,
        /// What it was.
        operation: Box<FileOperation>,
    },
    /// A followed channel has ended.
    TransferSummary {
        /// The channel.
        channel: ChannelId,
        /// What it came to.
        summary: Box<TransferSummary>,
    },
    /// An environment variable was passed on.
    Env {
        /// The channel.
        channel: ChannelId,
        /// The variable's name.
        name: String,
        /// Its value, where policy lets it be told.
        value: Option<String>,
    },
    /// Agent forwarding was asked for and let through.
    AgentForwarding {
        /// The channel.
        channel: ChannelId,
    },
    /// X11 forwarding was asked for and let through.
    X11Forwarding {
        /// The channel.
        channel: ChannelId,
    },
    /// The target is asked to listen, or to stop listening, on behalf of the client.
    RemoteForward {
        /// `address:port` or a path.
        address: String,
        /// Whether it is to stop.
        cancel: bool,
    },
    /// The program ended by itself.
    ExitStatus {
        /// The channel.
        channel: ChannelId,
        /// Its exit status.
        status: u32,
    },
    /// The program was ended by a signal.
    ExitSignal {
        /// The channel.
        channel: ChannelId,
        /// The signal's name without `SIG`.
        signal: String,
        /// Whether it left a core.
        core_dumped: bool,
        /// The message that came with it.
        message: String,
    },
    /// The proxy wrote a text of its own to the user.
    Message {
        /// The channel.
        channel: ChannelId,
        /// The text, as it was sent.
        text: String,
    },
    /// Policy, a limit or a failed upstream denied something.
    Denied {
        /// The channel on which it was asked, if on one.
        channel: Option<ChannelId>,
        /// What was asked.
        what: String,
        /// The sentence that says why not.
        reason: String,
    },
}

impl SessionEvent {
    pub(crate) fn program(channel: ChannelId, program: &Program<'_>, recording: Recording) -> SessionEvent {
        match program {
            Program::Shell => SessionEvent::Shell { channel, recording },
            Program::Exec { command } => SessionEvent::Exec {
                channel,
                command: command.to_vec(),
                recording,
            },
            Program::Subsystem { name } => SessionEvent::Subsystem {
                channel,
                name: clip(name),
                recording,
            },
        }
    }
}

/// `bytes` as text, cut at [`TEXT_MAX`].
pub(crate) fn clip(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(TEXT_MAX)];
    String::from_utf8_lossy(cut).into_owned()
}
