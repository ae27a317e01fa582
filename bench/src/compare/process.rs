//! What `/proc` knows of a process tree: CPU time and memory. And children that end with their owner.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// A child process that is killed and reaped when dropped.
pub(super) struct Owned(Child);

impl Owned {
    pub(super) fn spawn(command: &mut Command) -> Result<Owned> {
        let program = command.get_program().to_owned();
        command
            .spawn()
            .map(Owned)
            .with_context(|| format!("cannot start {}", program.display()))
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn end(&mut self) -> Result<()> {
        let patience = Duration::from_secs(30);
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let began = Instant::now();
        while self.0.try_wait()?.is_none() {
            ensure!(
                began.elapsed() < patience,
                "process {} does not end within {patience:?} of SIGTERM",
                self.pid()
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until somebody accepts on `address`.
    pub(super) fn await_listening(&mut self, address: SocketAddr) -> Result<()> {
        let patience = Duration::from_secs(10);
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(status) = self.0.try_wait()? {
                bail!("the process for {address} ended early: {status}");
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("nobody listens on {address} after {patience:?}")
    }
}

impl std::ops::Deref for Owned {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Owned {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time that `pid`, its descendants and its reaped children have used, user and system. The kernel counts it
/// in hundredths of a second.
pub(super) fn cpu_time(pid: u32) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    let ticks: u64 = tree(pid).into_iter().filter_map(ticks).sum();
    Duration::from_secs(1).mul_f64(ticks as f64 / per_second as f64)
}

/// Fields 14 to 17 of `/proc/PID/stat`, see proc_pid_stat(5).
fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, and may hold anything; the third follows the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse::<u64>().ok())
        .sum()
}

/// Proportional set size of `pid` and its descendants in KiB: what is shared counts once.
pub(super) fn memory_kib(pid: u32) -> u64 {
    let of_one = |pid| {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = smaps.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    tree(pid).into_iter().filter_map(of_one).sum()
}

/// `pid` and all that descend from it. A process that ends meanwhile has no children.
fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let children: Vec<u32> = threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .flat_map(|children| {
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse().ok())
                    .collect::<Vec<u32>>()
            })
            .collect();
        found.extend(children);
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_child_is_in_its_parents_account() {
        let me = std::process::id();
        let before = cpu_time(me);
        let mut child = Owned::spawn(Command::new("sh").args(["-c", "while :; do :; done"])).unwrap();
        assert!(tree(me).contains(&child.pid()));
        while cpu_time(child.pid()) < Duration::from_millis(50) {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(cpu_time(me) - before >= Duration::from_millis(50));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            cpu_time(me) - before >= Duration::from_millis(50),
            "a reaped child still counts"
        );
        assert!(memory_kib(me) > 100);
        assert_eq!(memory_kib(child.pid()), 0);
    }
}
