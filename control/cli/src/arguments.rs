//! The command line, as typed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::moment::{Moment, moment};

/// An SSH proxy that records every session, in front of unmodified OpenSSH servers.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 success, 1 failure, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// Directory with the state of Weir [default: /var/lib/weir for root, else ~/.local/share/weir]
    #[arg(
        long,
        global = true,
        env = "WEIR_DATA",
        value_name = "DIR",
        hide_env_values = true
    )]
    pub(crate) data: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the control plane and the data plane in this process
    Up(Up),
    /// Say whether Weir runs and accepts connections
    Status(Status),
    /// Certificate authorities: export their public keys, certify hosts
    #[command(subcommand)]
    Ca(Ca),
    /// The OpenSSH servers behind Weir
    #[command(subcommand)]
    Nodes(Nodes),
    /// The people who may log in
    #[command(subcommand)]
    Users(Users),
    /// What users may do, and where
    #[command(subcommand)]
    Roles(Roles),
    /// Sessions, live and past
    #[command(subcommand)]
    Sessions(Sessions),
    /// Recordings: list, export, search, verify, hold
    #[command(subcommand)]
    Recordings(Recordings),
    /// The audit log
    #[command(subcommand)]
    Audit(Audit),
    /// Replay a recording in this terminal
    Play(Play),
    /// Start a throwaway world: an sshd, a user, Weir between them
    Demo(Demo),
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Address and port for SSH clients; may be given several times [default: 127.0.0.1:3023]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Configuration file (TOML); what stands on the command line wins
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print a configuration file with every key, its meaning and its default, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Wait this long for Weir to become ready
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) wait: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CaName {
    /// Signs users' certificates, which Weir asks of its clients
    User,
    /// Signs host certificates, which clients and Weir ask of servers
    Host,
    /// Signs Weir's own certificates toward the servers: for their TrustedUserCAKeys
    Openssh,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Print the public key of an authority
    Export {
        /// Which authority
        #[arg(long = "type", value_name = "TYPE")]
        ca: CaName,
    },
    /// Make a host key with a certificate, or certify a given one
    SignHost {
        /// Names and addresses by which the host is dialled
        #[arg(long, required = true, value_delimiter = ',', value_name = "NAME,…")]
        hosts: Vec<String>,
        /// Where to write: FILE, FILE.pub and FILE-cert.pub
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Certify this public key instead of making one; only FILE-cert.pub is written
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
        /// How long the certificate is good for [default: ten years]
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
        /// Overwrite existing files
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// Register an OpenSSH server
    Add {
        /// Name that users type: `ssh root@NAME@proxy`
        name: String,
        /// Where Weir dials it; port 22 if none is given
        #[arg(long, value_name = "HOST:PORT")]
        addr: String,
        /// Labels for roles to choose nodes by
        #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,…", value_parser = key_value)]
        labels: Vec<(String, String)>,
        /// File with a public key to expect instead of a host certificate; may be given several times
        #[arg(long, value_name = "FILE")]
        host_key: Vec<PathBuf>,
        #[command(flatten)]
        hint: Hint,
    },
    /// Say how many handshakes a node takes, in place of what was said before
    Tune {
        /// Name or id
        name: String,
        #[command(flatten)]
        hint: Hint,
        /// Forget what was said: the node is taken for an untuned sshd
        #[arg(long, conflicts_with_all = ["max_startups", "per_source_max_startups", "max_handshakes", "no_penalties", "sshd_config"])]
        forget: bool,
    },
    /// List the nodes
    Ls {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        /// Show how handshakes to them are paced
        #[arg(long)]
        pacing: bool,
    },
    /// Remove a node
    Rm {
        /// Name or id
        name: String,
    },
}

/// What is known of how many handshakes a node's sshd takes.
#[derive(Debug, Args)]
pub(crate) struct Hint {
    /// The server's MaxStartups, 200:30:400 for example
    #[arg(long, value_name = "START:RATE:FULL")]
    pub(crate) max_startups: Option<String>,
    /// The server's PerSourceMaxStartups, where it has a limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) per_source_max_startups: Option<u32>,
    /// At most so many handshakes at a time, whatever the server would take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_handshakes: Option<u32>,
    /// The server takes no PerSourcePenalties from Weir: it is too old, they are off, or Weir is exempt
    #[arg(long)]
    pub(crate) no_penalties: bool,
    /// What `sshd -T` prints on the server, for what is not said otherwise; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) sshd_config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Users {
    /// Register a user
    Add {
        /// Name in certificates, the audit log and recordings
        name: String,
        /// Accounts on the nodes that the user may log in to
        #[arg(long, required = true, value_delimiter = ',', value_name = "LOGIN,…")]
        logins: Vec<String>,
        /// Roles of the user [default: access]
        #[arg(long, value_delimiter = ',', value_name = "ROLE,…")]
        roles: Vec<String>,
        /// Traits for roles to refer to
        #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,…", value_parser = key_value)]
        traits: Vec<(String, String)>,
    },
    /// List the users
    Ls(Listing),
    /// Remove a user
    Rm {
        /// Name of the user
        name: String,
    },
    /// Certify a user's public key
    Sign {
        /// Name of the user
        name: String,
        /// The user's public key
        #[arg(long, value_name = "FILE")]
        public_key: PathBuf,
        /// How long the certificate is good for [default: the longest the roles permit]
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
        /// Where to write the certificate [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Overwrite an existing file
        #[arg(long, requires = "out")]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Roles {
    /// List the roles
    Ls(Listing),
    /// Print a role's document
    Get {
        /// Name of the role
        name: String,
    },
    /// Make or replace a role
    Put {
        /// Its document (TOML); `-` is standard input
        file: PathBuf,
    },
    /// Remove a role
    Rm {
        /// Name of the role
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SessionListing {
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
    /// Only this user's
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Only those on this node
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// At most this many, the newest first [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// List sessions, the newest first
    Ls(SessionListing),
    /// Watch a session that goes on, from its beginning; q or ^C leaves it
    Watch {
        /// Id of the session
        id: String,
        /// File with the age identity of a recipient, where Weir is none; it is read here and not handed on
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        /// Show this channel of a session that has several [default: the first terminal, else all]
        #[arg(long, value_name = "N")]
        channel: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// What was printed, without what only a terminal understands
    Text,
    /// asciicast v3, for asciinema and its players
    Cast,
    /// One JSON object per event and line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Recordings {
    /// List recordings, the newest first
    Ls(SessionListing),
    /// Write a recording, or a part of one, in another format
    Export(Export),
    /// Search what was printed, in all recordings or some
    Search(Search),
    /// Hold a recording: it is not deleted, however old it gets
    Hold {
        /// Id of the session
        id: String,
        /// Who asked for it, and where that is written
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a hold
    Release {
        /// Id of the session
        id: String,
    },
    /// Check that nothing was removed, swapped, altered or cut off
    Verify {
        /// Id of the session
        id: String,
        /// File with the age identity of a recipient, to check the contents, too, where Weir is none
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Wrap the keys of stored recordings to the present recipients; what was recorded stays as it is
    Rewrap {
        /// Ids of the sessions
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All recordings
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// File with the age identity of a recipient, where Weir is none; it is read here and not handed on
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
    },
    /// The age identities with which Weir itself opens recordings
    #[command(subcommand)]
    Identity(Identity),
}

/// The age identities with which Weir itself opens recordings.
#[derive(Debug, Subcommand)]
pub(crate) enum Identity {
    /// List them, the oldest first
    Ls(Listing),
    /// Make a new one, to which recordings are wrapped from now on, and print its public key
    New,
    /// Forget one that no recording needs any more
    Retire {
        /// Its public key, age1…
        public_key: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
A time is a length of time since the session's start, 1m30s for example, or a time in UTC such as 2026-11-20T13:30:05Z.")]
pub(crate) struct Export {
    /// Id of the session
    pub(crate) id: String,
    /// Which format
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    /// Only this channel; not for json [default: all for text, the first for cast]
    #[arg(long, value_name = "N")]
    pub(crate) channel: Option<u32>,
    /// From this time on
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) from: Option<Moment>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) to: Option<Moment>,
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// File with the age identity of a recipient, where Weir is none; it is read here and not handed on
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
#[command(after_help = "\
Searches what was printed and the commands that were started, line by line and without what only a terminal understands:
what `export --format text` shows. The newest recording comes first. A time is a length of time before now, 24h for
example, or a time in UTC such as 2026-11-20 or 2026-11-20T13:30:05Z. Each recording that is searched is an audit event.")]
pub(crate) struct Search {
    /// What to search for, within one line
    pub(crate) text: String,
    /// TEXT is a regular expression
    #[arg(long)]
    pub(crate) regex: bool,
    /// Capitals and small letters are the same
    #[arg(long, short)]
    pub(crate) ignore_case: bool,
    /// Only this user's
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Only those on this node
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Only sessions that started at this time or later
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// Only sessions that started before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<Moment>,
    /// File with the age identity of a recipient, where Weir is none; it is read here and not handed on
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
    /// At most this many hits [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List audit events, the newest first
    Ls {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        /// Only this user's
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only those of this node
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// Only those of this session
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        /// Only this kind, `session.start` for example
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// At most this many, the newest first [default: all]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Print the JSON schema of audit events
    Schema,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Keys: space pauses and resumes · left and right go 5 s back and on · up and down double and halve the speed ·
0 to 9 jump to that tenth · . shows the next event while paused · q or ^C quits.

Where standard output is not a terminal the recorded output is written at full speed, byte for byte. A session that still goes
on is watched, as by `weir sessions watch`.")]
pub(crate) struct Play {
    /// Id of the session
    pub(crate) id: String,
    /// How many times as fast
    #[arg(long, default_value = "1", value_name = "N", value_parser = speed)]
    pub(crate) speed: f64,
    /// Shorten pauses to this
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) idle_limit: Option<Duration>,
    /// File with the age identity of a recipient, where Weir is none; it is read here and not handed on
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Play this channel of a session that has several [default: the first terminal, else all]
    #[arg(long, value_name = "N")]
    pub(crate) channel: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Do one recorded session with this command, replay and verify it, and exit
    #[arg(long, value_name = "COMMAND")]
    pub(crate) run: Option<String>,
}

/// The two sides of `KEY=VALUE`.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// A factor by which time can run.
fn speed(text: &str) -> Result<f64, String> {
    match text.trim_end_matches(['x', '×']).parse::<f64>() {
        Ok(factor) if factor.is_finite() && (0.01..=1000.0).contains(&factor) => Ok(factor),
        _ => Err("expected a number from 0.01 to 1000".to_owned()),
    }
}

/// A map out of pairs; a key that is given twice is a mistake, not a choice.
pub(crate) fn distinct(what: &str, pairs: Vec<(String, String)>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if let Some(earlier) = map.insert(key.clone(), value.clone()) {
            return Err(crate::failure::usage(format!(
                "got the {what} {key} twice, as {earlier} and as {value}: give it once"
            )));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn data_stands_before_or_after_the_subcommand() {
        for line in [
            "weir --data D nodes ls --json",
            "weir nodes ls --json --data D",
            "weir nodes --data D ls",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.data, Some(PathBuf::from("D")), "{line}");
        }
    }

    #[test]
    fn labels_and_hosts_are_comma_separated() {
        let line = "weir nodes add web1 --addr 127.0.0.1:7022 --labels env=dev,team=a=b";
        let Command::Nodes(Nodes::Add { labels, .. }) =
            Arguments::try_parse_from(line.split(' ')).unwrap().command
        else {
            panic!("not nodes add");
        };
        assert_eq!(
            labels,
            [("env".into(), "dev".into()), ("team".into(), "a=b".into())]
        );
    }

    #[test]
    fn wrong_values_are_usage_errors() {
        for line in [
            "weir play X --speed 0",
            "weir play X --speed nan",
            "weir nodes add n --addr a --labels x",
            "weir recordings export X --format pdf",
            "weir recordings export X --from soon",
            "weir recordings search",
            "weir recordings search x --since 2026-13-01",
            "weir status --wait soon",
            "weir up --listen nowhere",
            "weir nodes add n --addr a --max-handshakes 0",
            "weir nodes add n --addr a --per-source-max-startups none",
            "weir nodes tune n --forget --no-penalties",
            "weir nodes tune --forget",
            "weir recordings hold X",
            "weir recordings rewrap",
            "weir recordings rewrap ID --all",
        ] {
            let error = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
