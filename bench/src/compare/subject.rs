//! What stands between client and target in each row.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::Result;
use clap::ValueEnum;

use super::measure::Ssh;
use super::process::Owned;
use super::world::{Recorded, World};

/// The rows that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Weir: terminates SSH on both sides, checks, and records all of it.
    Weir,
    /// The same with its default limit, past which output is counted only; bulk alone is measured.
    WeirLimited,
    /// The same as the first, but nothing is passed on before its record is on disk.
    WeirSync,
    /// The same without any recording.
    WeirOff,
    /// Nothing: `ssh` to `sshd`.
    Direct,
    /// A plain forwarder on russh.
    Russh,
    /// A bare TCP relay on io_uring that opens and seals every byte with AES-GCM.
    Uring,
}

impl Kind {
    /// The row's name in the table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Kind::Weir => "Weir, recorded whole",
            Kind::WeirLimited => "Weir, to default limit",
            Kind::WeirSync => "Weir, synchronously",
            Kind::WeirOff => "Weir, not recorded",
            Kind::Direct => "direct",
            Kind::Russh => "russh forwarder",
            Kind::Uring => "io_uring relay + AES-GCM",
        }
    }

    /// How much Weir records here, where it is Weir.
    pub(super) fn recorded(self) -> Option<Recorded> {
        match self {
            Kind::Weir => Some(Recorded::Whole),
            Kind::WeirLimited => Some(Recorded::ToDefaultLimit),
            Kind::WeirSync => Some(Recorded::Synchronously),
            Kind::WeirOff => Some(Recorded::NotAtAll),
            Kind::Direct | Kind::Russh | Kind::Uring => None,
        }
    }
}

/// A running proxy and the way through it.
pub(super) struct Subject {
    ssh: Ssh,
    pid: Option<u32>,
    _process: Option<Owned>,
}

impl Subject {
    pub(super) fn start(kind: Kind, world: &mut World, workers: usize) -> Result<Subject> {
        if let Some(recorded) = kind.recorded() {
            world.start_weir(recorded)?;
            return Ok(Subject {
                ssh: world.ssh_through_weir()?,
                pid: world.weir_pid(),
                _process: None,
            });
        }
        match kind {
            Kind::Direct => Ok(Subject {
                ssh: world.ssh_to("direct", world.target())?,
                pid: None,
                _process: None,
            }),
            Kind::Russh => Subject::spawn("serve-russh", kind, world, workers),
            _ => Subject::spawn("serve-uring", kind, world, workers),
        }
    }

    /// Runs one of our own forwarders as a process of its own, so that `/proc` tells its cost apart.
    fn spawn(verb: &str, kind: Kind, world: &mut World, workers: usize) -> Result<Subject> {
        let listen: SocketAddr = world.free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(verb)
            .arg(listen.to_string())
            .arg(world.target().to_string())
            .arg(workers.to_string());
        if kind == Kind::Russh {
            command.args([world.path("host"), world.path("user"), world.path("host.pub")]);
        }
        let mut process = Owned::spawn(command.stdin(Stdio::null()))?;
        process.await_listening(listen)?;
        let host = if kind == Kind::Russh { "russh" } else { "uring" };
        Ok(Subject {
            ssh: world.ssh_to(host, listen)?,
            pid: Some(process.pid()),
            _process: Some(process),
        })
    }

    pub(super) fn ssh(&self) -> Ssh {
        self.ssh.clone()
    }

    /// The process whose tree is the proxy; `None` where there is none.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }
}
