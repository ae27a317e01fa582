//! The five figures. Each drives OpenSSH clients and reads the proxy's processes before and after.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::payload::Payload;
use super::process::{Owned, cpu_time, memory_kib};

/// A proxy goes on working for a moment after its clients have ended: it closes, records, accounts.
pub(super) const SETTLE: Duration = Duration::from_millis(500);

/// An `ssh` command line up to, and with, the host.
#[derive(Clone)]
pub(super) struct Ssh {
    pub(super) config: std::path::PathBuf,
    pub(super) host: &'static str,
}

impl Ssh {
    fn command(&self, options: &[&str], remote: &str) -> Command {
        let mut command = Command::new("ssh");
        command
            .arg("-F")
            .arg(&self.config)
            .args(options)
            .arg(self.host)
            .arg(remote);
        command
    }
}

/// Which way bulk data goes, as the user sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Down,
    Up,
}

pub(super) struct Bulk {
    pub(super) cpu_s_per_gb: Option<f64>,
    pub(super) gb_per_s: f64,
}

/// Moves `payload` through one session.
pub(super) fn bulk(ssh: &Ssh, proxy: Option<u32>, payload: &Payload, direction: Direction) -> Result<Bulk> {
    let gigabytes = payload.gigabytes();
    let (cpu, began) = (proxy.map(cpu_time), Instant::now());
    let mut source = None;
    let mut client = match direction {
        Direction::Down => ssh.command(&[], payload.command()),
        Direction::Up => ssh.command(&[], "cat > /dev/null"),
    };
    match direction {
        Direction::Down => client.stdin(Stdio::null()),
        Direction::Up => {
            let mut shell = Command::new("sh");
            shell.args(["-c", payload.command()]).stdout(Stdio::piped());
            let mut sender = Owned::spawn(&mut shell)?;
            let pipe = sender.stdout.take().context("the sender has no output")?;
            source = Some(sender);
            client.stdin(pipe)
        }
    };
    let done = client
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?
        .wait_with_output()?;
    let wall = began.elapsed();
    drop(source);
    ensure!(
        done.status.success(),
        "bulk session failed: {}",
        last_line(&done.stderr)
    );
    thread::sleep(SETTLE);
    Ok(Bulk {
        cpu_s_per_gb: spent_since(proxy, cpu).map(|spent| spent.as_secs_f64() / gigabytes),
        gb_per_s: gigabytes / wall.as_secs_f64(),
    })
}

/// CPU milliseconds per session of `total` sessions that run `true`, `parallel` at a time.
pub(super) fn sessions(ssh: &Ssh, proxy: Option<u32>, total: u32, parallel: u32) -> Result<Option<f64>> {
    let cpu = proxy.map(cpu_time);
    let left = AtomicU32::new(total);
    let one_more = || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    };
    let client = || -> Result<()> {
        while one_more() {
            let done = ssh.command(&[], "true").stdin(Stdio::null()).output()?;
            ensure!(
                done.status.success(),
                "session failed: {}",
                last_line(&done.stderr)
            );
        }
        Ok(())
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..parallel.max(1)).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client thread never panics"))
    })?;
    thread::sleep(SETTLE);
    Ok(spent_since(proxy, cpu).map(|spent| spent.as_secs_f64() * 1e3 / f64::from(total)))
}

/// KiB of memory per session, with `count` sessions open that do nothing.
pub(super) fn idle(ssh: &Ssh, proxy: Option<u32>, count: u32) -> Result<Option<f64>> {
    let Some(proxy) = proxy else { return Ok(None) };
    let before = memory_kib(proxy);
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut command = ssh.command(&[], "echo up; sleep 600");
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        clients.push(Owned::spawn(command)?);
    }
    for client in &mut clients {
        let output = client.stdout.take().context("ssh has no output")?;
        ensure!(
            readable(&output, Duration::from_secs(30))?,
            "an idle session did not come up in 30 s"
        );
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(
            line == "up\n",
            "an idle session said {line:?} while expecting \"up\""
        );
    }
    thread::sleep(Duration::from_secs(1));
    let after = memory_kib(proxy);
    Ok(Some(after.saturating_sub(before) as f64 / f64::from(count)))
}

pub(super) struct Echo {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// CPU time of the proxy per keystroke.
    pub(super) cpu_us: Option<f64>,
}

/// Round trips of single bytes that the far terminal echoes.
pub(super) fn keystrokes(ssh: &Ssh, proxy: Option<u32>, count: u32) -> Result<Echo> {
    let mut typist = Typist::start(ssh)?;
    typist.wait_until_ready()?;
    let cpu = proxy.map(cpu_time);
    let mut trips = Vec::new();
    for _ in 0..count {
        trips.push(typist.echo()?);
        thread::sleep(Duration::from_millis(4));
    }
    let cpu = spent_since(proxy, cpu).map(|spent| spent.as_secs_f64() * 1e6 / f64::from(count));
    trips.sort_unstable();
    let at = |share: usize| trips[(trips.len() * share / 100).min(trips.len() - 1)].as_secs_f64() * 1e6;
    Ok(Echo {
        p50_us: at(50),
        p99_us: at(99),
        cpu_us: cpu,
    })
}

/// The same while others type besides, each a key every [`PACE`]. What a key costs is taken over all that are typed then: the
/// kernel counts in hundredths of a second, and of one typist's keys a hundredth is too many.
pub(super) fn in_crowd(ssh: &Ssh, proxy: Option<u32>, count: u32, others: u32) -> Result<Echo> {
    let mut crowd = Vec::new();
    for _ in 0..others {
        crowd.push(Typist::start(ssh)?);
        // What sshd starts takes a core; it should not all be at once.
        thread::sleep(Duration::from_millis(60));
    }
    for typist in &mut crowd {
        typist.wait_until_ready()?;
    }
    let is_over = AtomicBool::new(false);
    let typed = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let pause = PACE / others;
            let mut next = Instant::now();
            for turn in (0..crowd.len()).cycle() {
                if is_over.load(Ordering::Relaxed) || crowd[turn].type_on().is_err() {
                    return;
                }
                typed.fetch_add(1, Ordering::Relaxed);
                next += pause;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let measured = keystrokes(ssh, None, count).map(|echo| {
            let (cpu, begin) = (proxy.map(cpu_time), typed.load(Ordering::Relaxed));
            thread::sleep(PACE / others * count * KEYS_IN_CROWD);
            let keys = typed.load(Ordering::Relaxed) - begin;
            let cpu = spent_since(proxy, cpu).map(|spent| spent.as_secs_f64() * 1e6 / f64::from(keys));
            Echo { cpu_us: cpu, ..echo }
        });
        is_over.store(true, Ordering::Relaxed);
        measured
    })
}

/// How often one of a crowd types.
const PACE: Duration = Duration::from_millis(200);

/// How many keys of a crowd are counted for each of the one whose echo is timed.
const KEYS_IN_CROWD: u32 = 20;

/// A session on a terminal whose far end echoes every byte.
struct Typist {
    terminal: File,
    _client: Owned,
}

impl Typist {
    fn start(ssh: &Ssh) -> Result<Typist> {
        let (terminal, far_end) = raw_terminal()?;
        let mut command = ssh.command(&["-tt"], "stty raw echo; echo ready; cat > /dev/null");
        let side = || far_end.try_clone().map(Stdio::from);
        let client = Owned::spawn(command.stdin(side()?).stdout(side()?).stderr(side()?))?;
        Ok(Typist {
            terminal,
            _client: client,
        })
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let mut seen = Vec::new();
        let mut room = [0; 4096];
        while !seen.windows(5).any(|word| word == b"ready") {
            ensure!(
                readable(&self.terminal, Duration::from_secs(20))?,
                "the terminal session did not come up in 20 s"
            );
            let count = self.terminal.read(&mut room)?;
            seen.extend_from_slice(&room[..count]);
        }
        // What still comes of the start must not be taken for an echo.
        while readable(&self.terminal, Duration::from_millis(100))? {
            ensure!(
                self.terminal.read(&mut room)? > 0,
                "the terminal session ended early"
            );
        }
        Ok(())
    }

    /// Types a key and waits until it is on the screen.
    fn echo(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.terminal.write_all(b"x")?;
        ensure!(
            readable(&self.terminal, Duration::from_secs(5))?,
            "a keystroke was not echoed in 5 s"
        );
        ensure!(
            self.terminal.read(&mut [0; 4096])? > 0,
            "the terminal session ended early"
        );
        Ok(began.elapsed())
    }

    /// Reads what has been echoed, and types a key.
    fn type_on(&mut self) -> Result<()> {
        while readable(&self.terminal, Duration::ZERO)? {
            ensure!(
                self.terminal.read(&mut [0; 4096])? > 0,
                "the terminal session ended early"
            );
        }
        Ok(self.terminal.write_all(b"x")?)
    }
}

/// A terminal that passes every byte as it is: our end, and the end for a program.
fn raw_terminal() -> Result<(File, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("no pseudo-terminal to be had")?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = File::options().read(true).write(true).open(name.to_str()?)?;
    let mut attributes = tcgetattr(&theirs)?;
    attributes.make_raw();
    tcsetattr(&theirs, OptionalActions::Now, &attributes)?;
    Ok((File::from(ours), theirs.into()))
}

/// Whether there is something to read (or an end to see) within `patience`.
fn readable(source: &impl AsFd, patience: Duration) -> Result<bool> {
    let timeout = Timespec::try_from(patience).context("a wait is out of range")?;
    Ok(poll(&mut [PollFd::new(source, PollFlags::IN)], Some(&timeout))? > 0)
}

fn spent_since(proxy: Option<u32>, before: Option<Duration>) -> Option<Duration> {
    Some(cpu_time(proxy?).saturating_sub(before?))
}

fn last_line(output: &[u8]) -> String {
    String::from_utf8_lossy(output)
        .trim_end()
        .lines()
        .last()
        .unwrap_or("no reason given")
        .to_owned()
}
