//! One table of what stands between an OpenSSH client and an `sshd`, measured now.
//!
//! A proxy's cost is the CPU time of its own processes, user and system, divided by the work done: that holds on a
//! machine where wall time does not. Clients are OpenSSH with no algorithm configured, the target is a real `sshd`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

mod measure;
mod payload;
mod process;
mod subject;
mod table;
pub mod transfers;
mod world;

pub use payload::Data;
pub use subject::Kind;

use measure::Ssh;
use payload::Payload;
use subject::Subject;
use table::Row;
use world::World;

/// What to measure, and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The rows, in the table's order.
    pub kinds: Vec<Kind>,
    /// 10⁹ bytes moved each way; 0 leaves the columns out.
    pub gigabytes: f64,
    /// What those bytes are.
    pub data: Data,
    /// Sessions set up one after another.
    pub sessions: u32,
    /// How many clients at once do that.
    pub parallel: u32,
    /// Keystrokes echoed.
    pub keys: u32,
    /// Sessions that type besides, five keys a second each, for the figures in a crowd; 0 leaves them out.
    pub typists: u32,
    /// Idle sessions held at once.
    pub idle: u32,
    /// How often everything is measured; the table shows medians.
    pub rounds: u32,
    /// Threads of the forwarders that this tool brings along.
    pub workers: usize,
    /// The `weir` binary.
    pub weir: PathBuf,
    /// Print JSON instead of the table.
    pub json: bool,
}

/// Starts everything, measures, prints, and takes everything down again.
///
/// # Errors
/// If the world cannot be built. A row that fails is shown as failed, with its reason, and the others go on.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.rounds > 0 && !options.kinds.is_empty(),
        "nothing to measure: got no rounds or no rows"
    );
    let mut world = World::build().context("cannot build the throwaway world")?;
    let mut rows: Vec<Row> = options.kinds.iter().map(|kind| Row::new(*kind)).collect();
    // Weir makes the host certificate that sshd shows, so it stands before the target does.
    if options.kinds.iter().any(|kind| kind.recorded().is_some()) {
        world.set_weir_up(&options.weir)?;
    }
    world.start_sshd()?;
    let payload = Payload::prepare(options.data, options.gigabytes)?;
    for round in 1..=options.rounds {
        for row in &mut rows {
            eprintln!("round {round} of {}: {}", options.rounds, row.kind.title());
            if let Err(error) = measure_row(&mut world, options, &payload, row) {
                eprintln!("  failed: {error:#}");
                row.failures.push(format!("{error:#}"));
            }
        }
    }
    let recordings = world.recordings();
    if options.json {
        println!("{}", table::json(&rows, options, recordings));
    } else {
        print!("{}", table::text(&rows, options, recordings));
    }
    Ok(())
}

fn measure_row(world: &mut World, options: &Options, payload: &Payload, row: &mut Row) -> Result<()> {
    let subject = Subject::start(row.kind, world, options.workers)?;
    let (ssh, pid) = (subject.ssh(), subject.pid());
    // The first session pays for what every program does once.
    measure::sessions(&ssh, pid, 4, 1)?;
    if row.kind != Kind::WeirLimited {
        measure_small(&ssh, pid, options, row)?;
    }
    if options.gigabytes > 0.0 {
        let down = measure::bulk(&ssh, pid, payload, measure::Direction::Down)?;
        row.down_cpu.push(down.cpu_s_per_gb);
        row.down_rate.push(down.gb_per_s);
        let up = measure::bulk(&ssh, pid, payload, measure::Direction::Up)?;
        row.up_cpu.push(up.cpu_s_per_gb);
        row.up_rate.push(up.gb_per_s);
    }
    Ok(())
}

/// What moves no bulk, and so does not differ by how much of it is recorded.
fn measure_small(ssh: &Ssh, pid: Option<u32>, options: &Options, row: &mut Row) -> Result<()> {
    // Before anything else: what bulk and keystrokes leave behind in an allocator is not an idle session's.
    if options.idle > 0 {
        row.idle_kib.push(measure::idle(ssh, pid, options.idle)?);
    }
    if options.keys > 0 {
        let echo = measure::keystrokes(ssh, pid, options.keys)?;
        row.echo_p50.push(echo.p50_us);
        row.echo_p99.push(echo.p99_us);
        row.key_us.push(echo.cpu_us);
    }
    if options.keys > 0 && options.typists > 0 && row.kind.recorded().is_some() {
        let echo = measure::in_crowd(ssh, pid, options.keys, options.typists)?;
        row.crowd_p50.push(echo.p50_us);
        row.crowd_p99.push(echo.p99_us);
        row.crowd_key_us.push(echo.cpu_us);
    }
    if options.sessions > 0 {
        row.session_ms
            .push(measure::sessions(ssh, pid, options.sessions, options.parallel)?);
    }
    Ok(())
}
