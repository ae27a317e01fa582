//! Weir beside what else stands between an OpenSSH client and an `sshd`: one table, measured now.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use weir_bench::compare::{self, Data, Kind, Options, transfers};
use weir_bench::{russh_forwarder, uring_relay};

/// Starts a throwaway sshd, Weir and the others, measures each with OpenSSH clients, and prints one table.
#[derive(Parser)]
#[command(name = "compare")]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The rows to measure.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "weir,weir-limited,weir-sync,weir-off,direct,russh,uring"
    )]
    only: Vec<Kind>,
    /// Gigabytes (10^9 bytes) to move each way; 0 to leave that out.
    #[arg(long, default_value_t = 2.0)]
    gb: f64,
    /// What is moved.
    #[arg(long, value_enum, default_value_t = Data::Zeros)]
    data: Data,
    /// Sessions to set up; 0 to leave that out.
    #[arg(long, default_value_t = 400)]
    sessions: u32,
    /// Clients at once that set sessions up.
    #[arg(long, default_value_t = 4)]
    parallel: u32,
    /// Keystrokes to echo; 0 to leave that out.
    #[arg(long, default_value_t = 300)]
    keys: u32,
    /// Sessions that type while one is measured, where it is Weir; 0 to leave that out.
    #[arg(long, default_value_t = 200)]
    typists: u32,
    /// Idle sessions to hold; 0 to leave that out.
    #[arg(long, default_value_t = 100)]
    idle: u32,
    /// Measure everything this often and show medians.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Threads of the forwarders; by default one per core, as Weir has.
    #[arg(long)]
    workers: Option<usize>,
    /// The weir binary; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What else there is to measure; and the forwarders, each run as a process of its own so that its cost can be told apart.
#[derive(Subcommand)]
enum Verb {
    /// What reading file transfers in passing costs: `sftp` through Weir with it off, on, and with hashes.
    Transfers {
        /// Gigabytes (10^9 bytes) to put, and to get, in each round.
        #[arg(long, default_value_t = 2.0)]
        gb: f64,
        /// Measure everything this often and show medians.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
        /// The weir binary; by default the one beside this program.
        #[arg(long, value_name = "FILE")]
        weir: Option<PathBuf>,
    },
    /// The forwarder on russh.
    #[command(hide = true)]
    ServeRussh {
        listen: SocketAddr,
        target: SocketAddr,
        workers: usize,
        host_key: PathBuf,
        user_key: PathBuf,
        target_host_key: PathBuf,
    },
    /// The bare relay on io_uring.
    #[command(hide = true)]
    ServeUring {
        listen: SocketAddr,
        target: SocketAddr,
        workers: usize,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.verb {
        Some(Verb::Transfers { gb, rounds, weir }) => transfers::run(&transfers::Options {
            gigabytes: gb,
            rounds,
            weir: weir_binary(weir)?,
        }),
        Some(Verb::ServeRussh {
            listen,
            target,
            workers,
            host_key,
            user_key,
            target_host_key,
        }) => {
            let keys = russh_forwarder::Keys::load(&host_key, &user_key, &target_host_key)?;
            russh_forwarder::serve(listen, target, workers, keys)
        }
        Some(Verb::ServeUring {
            listen,
            target,
            workers,
        }) => uring_relay::serve(listen, target, workers),
        None => compare::run(&Options {
            kinds: arguments.only,
            gigabytes: arguments.gb,
            data: arguments.data,
            sessions: arguments.sessions,
            parallel: arguments.parallel,
            keys: arguments.keys,
            typists: arguments.typists,
            idle: arguments.idle,
            rounds: arguments.rounds,
            workers: arguments
                .workers
                .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            weir: weir_binary(arguments.weir)?,
            json: arguments.json,
        }),
    }
}

/// The binary that was named, or the one beside this program.
fn weir_binary(named: Option<PathBuf>) -> Result<PathBuf> {
    match named {
        Some(binary) => Ok(binary),
        None => Ok(std::env::current_exe()?.with_file_name("weir")),
    }
}
