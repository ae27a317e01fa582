//! The command line, as typed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Puts load on an SSH server or proxy and reports latencies and failures.
#[derive(Debug, Parser)]
#[command(
    name = "weir-load",
    version,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 at most --max-failures sessions failed, 1 more did or the run was impossible, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print JSON; times are in microseconds
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Failures up to which the exit status is still 0
    #[arg(long, global = true, value_name = "N", default_value = "0")]
    pub(crate) max_failures: u64,
    /// Give a session or a client up after this time
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start many copies of a real client at the same moment, or so many at a time
    #[command(after_help = "\
Example: weir-load burst --clients 150 --expect ok --timeout 2m -- ssh -F config root@web1@proxy 'echo ok'

A client succeeds if its exit status is 0 and it printed what is expected. Its time counts from the start of the burst,
or with --concurrency from its own.")]
    Burst(Burst),
    /// Run a command in session after session, as fast as they end or at a rate
    #[command(after_help = "\
Examples: weir-load sessions --to 127.0.0.1:3023 --login root@web1 -i id --concurrency 8 --count 2000
          weir-load sessions --to 127.0.0.1:3023 --login root@web1 -i id --rate 100 --for 1m

Without --rate, --concurrency clients each run one session after the other. With --rate, sessions start at that rate
whatever the server does, their time counts from the moment at which they were due, and one that would be more than
--concurrency at once is not started and counts as failed.")]
    Sessions(Sessions),
    /// Hold sessions open that do nothing
    #[command(after_help = "\
Example: weir-load idle --to 127.0.0.1:3023 --login root@web1 -i id --sessions 1000 --for 30s

Prints `N sessions are up` on standard error once they are, so that the server can be looked at meanwhile; then asks
each session whether it is still there.")]
    Idle(Idle),
}

/// `weir-load burst`.
#[derive(Debug, Args)]
pub(crate) struct Burst {
    /// How many
    #[arg(long, value_name = "N", default_value = "150", value_parser = at_least_one)]
    pub(crate) clients: usize,
    /// At once at most, each further one when another has ended [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) concurrency: Option<usize>,
    /// What each client must print
    #[arg(long, value_name = "TEXT")]
    pub(crate) expect: Option<String>,
    /// The client and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) line: Vec<OsString>,
}

/// Whom to log in as, and where.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Address of the server or proxy
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) to: SocketAddr,
    /// User name, `root@web1` for a target behind a proxy
    #[arg(long, value_name = "NAME")]
    pub(crate) login: String,
    /// Private key file without a passphrase
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: PathBuf,
    /// Its certificate [default: FILE-cert.pub beside the key, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// Public key of the CA that must have certified the server's host key [default: any host key is accepted]
    #[arg(long, value_name = "FILE")]
    pub(crate) host_ca: Option<PathBuf>,
    /// Threads for the clients' own work [default: one per core]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) threads: Option<usize>,
}

/// `weir-load sessions`.
#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// Whom to log in as, and where.
    #[command(flatten)]
    pub(crate) login: Login,
    /// What to run in each session
    #[arg(long, value_name = "COMMAND", default_value = "true")]
    pub(crate) command: String,
    /// Sessions at once at most
    #[arg(long, value_name = "N", default_value = "8", value_parser = at_least_one)]
    pub(crate) concurrency: usize,
    /// Sessions started per second
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Sessions in all [default: as many as fit in --for, or 1000 without it]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Start no session after this time [default: no limit but --count]
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,
}

/// `weir-load idle`.
#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// Whom to log in as, and where.
    #[command(flatten)]
    pub(crate) login: Login,
    /// What each session runs; it must not end by itself
    #[arg(long, value_name = "COMMAND", default_value = "cat")]
    pub(crate) command: String,
    /// Sessions to hold
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one)]
    pub(crate) sessions: usize,
    /// Sessions that are opened at once while they come up
    #[arg(long, value_name = "N", default_value = "8", value_parser = at_least_one)]
    pub(crate) concurrency: usize,
    /// How long to hold them
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
}

/// More clients than this one machine never runs; a slip of the keyboard should not try.
const MOST: usize = 100_000;

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=MOST) => Ok(number),
        _ => Err(format!("expected a number from 1 to {MOST}")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && (0.01..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected sessions per second, from 0.01 to 100000".to_owned()),
    }
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
    fn wrong_values_are_usage_errors() {
        for line in [
            "weir-load burst --clients 0 -- true",
            "weir-load burst --clients 3",
            "weir-load sessions --to nowhere --login a -i id",
            "weir-load sessions --to 127.0.0.1:1 --login a -i id --rate 0",
            "weir-load idle --to 127.0.0.1:1 --login a -i id --sessions 100001",
            "weir-load",
        ] {
            let error = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
