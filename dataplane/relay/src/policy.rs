//! What the relay asks before it lets something pass.

use std::fmt;

use crate::{
    Side,
    event::{Endpoints, TerminalSize, clip},
    transfers::Transfers,
};

/// The sentence with which forwarding of ports and sockets is denied.
pub const PORT_FORWARDING_DENIED: &str = "port forwarding not allowed";
/// The sentence with which X11 forwarding is denied.
pub const X11_FORWARDING_DENIED: &str = "x11 forwarding not permitted";
/// The sentence with which agent forwarding is denied.
pub const AGENT_FORWARDING_DENIED: &str = "agent forwarding not permitted";

/// The decisions of one session, made from its grant.
///
/// Asked when something is opened or requested, never for data.
pub trait Policy {
    /// Whether this may pass.
    fn decide(&self, ask: &Ask<'_>) -> Decision;

    /// What is recorded of a session channel once it runs `program`; with `None`, of what passes
    /// before a program has been asked for.
    fn recording(&self, program: Option<&Program<'_>>) -> Recording;

    /// What is told of the files that session channels transfer; by default nothing.
    fn transfers(&self) -> Transfers {
        Transfers::default()
    }

    /// Whether the value of this environment variable may be told; by default none is, since it may be a secret.
    fn tells_value(&self, _name: &[u8]) -> bool {
        false
    }
}

/// A policy's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It passes.
    Allow,
    /// It does not, for the reason in words; the user sees them where the protocol allows it.
    Deny(String),
}

/// What of a session channel the recorder gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Output and error output.
    pub output: bool,
    /// What the user types or sends.
    pub input: bool,
}

/// What a session channel is asked to run (RFC 4254 §6.5). Bytes are the peer's, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program<'a> {
    /// The login shell.
    Shell,
    /// A command line for the login shell.
    Exec {
        /// The command line.
        command: &'a [u8],
    },
    /// A subsystem.
    Subsystem {
        /// Its name.
        name: &'a [u8],
    },
}

/// Something that needs leave. Bytes are the peer's, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// The client opens a session.
    Session,
    /// The client opens a connection from the target to `host:port`.
    DirectTcpip {
        /// Host to connect to.
        host: &'a [u8],
        /// Port to connect to.
        port: u32,
    },
    /// The client opens a connection to a socket on the target.
    DirectStreamlocal {
        /// Path of the socket.
        path: &'a [u8],
    },
    /// The client opens a network tunnel.
    Tunnel,
    /// The target passes on a connection made to a port that it listens on for the client.
    ForwardedTcpip {
        /// Address that was connected to.
        address: &'a [u8],
        /// Port that was connected to.
        port: u32,
    },
    /// The target passes on a connection made to a socket that it listens on for the client.
    ForwardedStreamlocal {
        /// Path of the socket.
        path: &'a [u8],
    },
    /// The target opens a connection to the client's X server.
    X11Channel,
    /// The target opens a connection to the client's agent.
    AgentChannel,
    /// A channel of a type that the relay does not know, or of a known one from the wrong end.
    /// OpenSSH refuses each. It carries unrecorded bytes like a forwarded port.
    OtherChannel {
        /// Who opens it.
        opener: Side,
        /// Its type.
        name: &'a [u8],
    },
    /// The client asks for a terminal.
    Pty {
        /// `TERM`.
        term: &'a [u8],
        /// Its size.
        size: TerminalSize,
        /// Its modes (RFC 4254 §8).
        modes: &'a [u8],
    },
    /// The client starts a program.
    Program(Program<'a>),
    /// The client sets an environment variable.
    Env {
        /// The variable's name.
        name: &'a [u8],
        /// The variable's value.
        value: &'a [u8],
    },
    /// The client offers its X server.
    X11Forwarding,
    /// The client offers its agent.
    AgentForwarding,
    /// The client asks the target to listen on a port, or to stop (RFC 4254 §7.1).
    TcpipForward {
        /// Address to listen on.
        address: &'a [u8],
        /// Port to listen on, 0 for any.
        port: u32,
        /// Whether it is to stop.
        cancel: bool,
    },
    /// The client asks the target to listen on a socket, or to stop (OpenSSH PROTOCOL §2.4).
    StreamlocalForward {
        /// Path of the socket.
        path: &'a [u8],
        /// Whether it is to stop.
        cancel: bool,
    },
}

impl Ask<'_> {
    /// Where it leads, as the peer wrote it.
    pub(crate) fn destination(&self) -> String {
        match self {
            Ask::DirectTcpip { host, port } => host_port(host, *port),
            Ask::ForwardedTcpip { address, port } | Ask::TcpipForward { address, port, .. } => {
                host_port(address, *port)
            }
            Ask::DirectStreamlocal { path }
            | Ask::ForwardedStreamlocal { path }
            | Ask::StreamlocalForward { path, .. } => clip(path),
            Ask::OtherChannel { name, .. } => clip(name),
            other => other.name().to_owned(),
        }
    }

    /// The same in parts, for a channel that comes from `originator`.
    pub(crate) fn endpoints(&self, originator: (&[u8], u32)) -> Endpoints {
        let (host, port) = match self {
            Ask::DirectTcpip { host, port } => (clip(host), *port),
            Ask::ForwardedTcpip { address, port } => (clip(address), *port),
            Ask::DirectStreamlocal { path } | Ask::ForwardedStreamlocal { path } => (clip(path), 0),
            _ => (String::new(), 0),
        };
        Endpoints {
            host,
            port,
            originator: clip(originator.0),
            originator_port: originator.1,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Ask::Session => "session",
            Ask::DirectTcpip { .. } => "direct-tcpip",
            Ask::DirectStreamlocal { .. } => "direct-streamlocal",
            Ask::Tunnel => "tunnel",
            Ask::ForwardedTcpip { .. } => "forwarded-tcpip",
            Ask::ForwardedStreamlocal { .. } => "forwarded-streamlocal",
            Ask::X11Channel => "x11",
            Ask::AgentChannel => "agent",
            Ask::OtherChannel { .. } => "channel",
            Ask::Pty { .. } => "pty",
            Ask::Program(Program::Shell) => "shell",
            Ask::Program(Program::Exec { .. }) => "exec",
            Ask::Program(Program::Subsystem { .. }) => "subsystem",
            Ask::Env { .. } => "env",
            Ask::X11Forwarding => "x11 forwarding",
            Ask::AgentForwarding => "agent forwarding",
            Ask::TcpipForward { cancel: false, .. } => "tcpip-forward",
            Ask::TcpipForward { cancel: true, .. } => "cancel-tcpip-forward",
            Ask::StreamlocalForward { cancel: false, .. } => "streamlocal-forward",
            Ask::StreamlocalForward { cancel: true, .. } => "cancel-streamlocal-forward",
        }
    }
}

/// In a few words, for the audit log. An environment variable's value is left out: it may be a secret.
impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Ask::Program(Program::Exec { command }) => write!(f, " {}", clip(command)),
            Ask::Program(Program::Subsystem { name }) | Ask::Env { name, .. } => write!(f, " {}", clip(name)),
            Ask::DirectTcpip { .. }
            | Ask::DirectStreamlocal { .. }
            | Ask::ForwardedTcpip { .. }
            | Ask::ForwardedStreamlocal { .. }
            | Ask::OtherChannel { .. }
            | Ask::TcpipForward { .. }
            | Ask::StreamlocalForward { .. } => write!(f, " {}", self.destination()),
            _ => Ok(()),
        }
    }
}

fn host_port(host: &[u8], port: u32) -> String {
    let host = clip(host);
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
