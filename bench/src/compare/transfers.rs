//! What reading file transfers in passing costs: `sftp` through Weir with it off, on, and with hashes, by turns.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::measure::{self, SETTLE, Ssh};
use super::process::{Owned, cpu_time};
use super::table::{machine, median};
use super::world::World;

/// How much, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// 10⁹ bytes put, and got, in each round.
    pub gigabytes: f64,
    /// The table shows medians of so many.
    pub rounds: u32,
    /// The `weir` binary.
    pub weir: PathBuf,
}

/// The ways in which Weir can treat a transfer, with their part of its configuration.
const MODES: [(&str, &str); 3] = [
    ("not followed", "file_operations = false"),
    ("followed", "file_operations = true"),
    ("followed, with SHA-256", "file_hashes = true"),
];

/// Figures of one mode, a round each.
#[derive(Default)]
struct Figures {
    put: Vec<Moved>,
    get: Vec<Moved>,
}

#[derive(Clone, Copy)]
struct Moved {
    wall_s: f64,
    cpu_s: f64,
}

/// Starts everything, measures, prints, and takes everything down again.
///
/// # Errors
/// If anything fails: figures of some rounds only would not compare.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.rounds > 0 && options.gigabytes > 0.0,
        "nothing to measure: got no rounds or no bytes"
    );
    let mut world = World::build().context("cannot build the throwaway world")?;
    world.set_weir_up(&options.weir)?;
    world.start_sshd()?;
    // A file without blocks, read from nowhere and written to nowhere: disks are not what is measured.
    let source = world.path("source");
    let bytes: u64 = format!("{:.0}", options.gigabytes * 1e9).parse()?;
    File::create(&source)?.set_len(bytes)?;
    let source = source.display();
    let mut figures: [Figures; 3] = Default::default();
    for round in 0..options.rounds {
        // Each mode is as often first as last.
        for turn in 0..MODES.len() {
            let mode = (turn + round as usize) % MODES.len();
            let (title, setting) = MODES[mode];
            eprintln!("round {} of {}: {title}", round + 1, options.rounds);
            world.start_weir_with(&format!("[recording]\n{setting}\n"))?;
            let ssh = world.ssh_through_weir()?;
            let pid = world.weir_pid().context("Weir does not run")?;
            measure::sessions(&ssh, Some(pid), 4, 1)?;
            let moved = |batch: String| sftp(&ssh, pid, &batch);
            figures[mode]
                .put
                .push(moved(format!("put {source} /dev/null\n"))?);
            figures[mode]
                .get
                .push(moved(format!("get {source} /dev/null\n"))?);
        }
    }
    print!("{}", table(&figures, options));
    Ok(())
}

fn sftp(ssh: &Ssh, pid: u32, batch: &str) -> Result<Moved> {
    let (cpu, began) = (cpu_time(pid), Instant::now());
    let mut command = Command::new("sftp");
    command
        .arg("-F")
        .arg(&ssh.config)
        .args(["-q", "-b", "-", ssh.host]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut client = Owned::spawn(&mut command)?;
    let mut input = client.stdin.take().context("sftp has no input")?;
    input.write_all(batch.as_bytes())?;
    drop(input);
    let status = client.wait()?;
    let wall = began.elapsed();
    ensure!(status.success(), "sftp failed with {status}: {batch}");
    thread::sleep(SETTLE);
    Ok(Moved {
        wall_s: wall.as_secs_f64(),
        cpu_s: (cpu_time(pid) - cpu).as_secs_f64(),
    })
}

fn table(figures: &[Figures; 3], options: &Options) -> String {
    let of =
        |moved: &[Moved], figure: fn(&Moved) -> f64| median(moved.iter().map(figure)).unwrap_or(f64::NAN);
    let wall: fn(&Moved) -> f64 = |moved| moved.wall_s;
    let cpu: fn(&Moved) -> f64 = |moved| moved.cpu_s;
    let mut out = format!(
        "{}\n{} GB by sftp each way; medians of {} rounds\n\n{:24}{:>10}{:>10}{:>12}{:>10}{:>10}{:>12}\n",
        machine().join(", "),
        options.gigabytes,
        options.rounds,
        "",
        "put s",
        "ratio",
        "CPU s/GB",
        "get s",
        "ratio",
        "CPU s/GB"
    );
    for ((title, _), mode) in MODES.iter().zip(figures) {
        out += &format!("{title:24}");
        for (moved, plain) in [(&mode.put, &figures[0].put), (&mode.get, &figures[0].get)] {
            let seconds = of(moved, wall);
            let ratio = seconds / of(plain, wall);
            let cpu_per_gb = of(moved, cpu) / options.gigabytes;
            out += &format!("{seconds:>10.2}{ratio:>10.3}{cpu_per_gb:>12.3}");
        }
        out += "\n";
    }
    out
}
