//! Child processes that cannot outlive the test, and runs that cannot hang it.
//!
//! Every child is started through `setpriv --pdeathsig KILL` in a process group of its own: it dies
//! with the thread that started it (so a thread waits for its children before it ends), and whatever
//! it started itself is killed with the group. That costs one `execve` and needs no unsafe code here.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use crate::wait::{PATIENCE, eventually};

/// A command to be run: arguments, input and the time it may take.
pub struct Job {
    command: Command,
    typed: Vec<String>,
    input: Vec<u8>,
    limit: Duration,
}

/// How a command ended.
pub struct Outcome {
    /// What was run.
    pub typed: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// Wall time from start to end.
    pub took: Duration,
}

/// A command that is going on; killed, with everything it started, when dropped.
pub struct Running {
    child: Child,
    typed: String,
    started: Instant,
    stdin: Option<ChildStdin>,
    stdout: Collected,
    stderr: Collected,
    feeder: Option<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Job {
    /// A run of `program`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut job = Self::in_session_of_its_own(program);
        job.command.process_group(0);
        job
    }

    /// As [`Job::new`], but left in the caller's process group, so that `setsid` need not fork.
    pub(crate) fn in_session_of_its_own(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref());
        // The suite must not use, or be changed by, what belongs to whoever runs it.
        command
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("WEIR_DATA")
            .env("LC_ALL", "C.UTF-8");
        let typed = vec![program.as_ref().to_string_lossy().into_owned()];
        Self {
            command,
            typed,
            input: Vec::new(),
            limit: PATIENCE,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.typed.push(arg.as_ref().to_string_lossy().into_owned());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Adds `-o OPTION` for `ssh` and its relatives.
    #[must_use]
    pub fn option(self, option: &str) -> Self {
        self.arg("-o").arg(option)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Bytes for standard input, which is closed after them.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// How long it may take; [`PATIENCE`] if nothing is said.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end, and panics if that does not come within the limit.
    pub fn run(mut self) -> Outcome {
        let limit = self.limit;
        let input = std::mem::take(&mut self.input);
        let mut running = self.spawn();
        let mut stdin = running.stdin.take().expect("standard input was asked for");
        // A child that ends before it has read everything is no fault of the run.
        running.feeder = Some(thread::spawn(move || drop(stdin.write_all(&input))));
        running.wait_within(limit)
    }

    /// Runs it and asserts that it succeeded.
    pub fn succeed(self) -> Outcome {
        self.run().succeeded()
    }

    /// Starts it; standard input stays open until [`Running::close_stdin`].
    pub fn spawn(mut self) -> Running {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .expect("setpriv (util-linux) must be installed");
        Running {
            typed: self.typed.join(" "),
            started: Instant::now(),
            stdin: child.stdin.take(),
            stdout: Collected::from(child.stdout.take().expect("piped")),
            stderr: Collected::from(child.stderr.take().expect("piped")),
            feeder: None,
            status: None,
            child,
        }
    }

    /// The command itself, for a caller that sets its own standard streams.
    pub(crate) fn into_command(self) -> (Command, String) {
        (self.command, self.typed.join(" "))
    }
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.status.is_none()
            && self
                .child
                .try_wait()
                .expect("a child can be waited for")
                .is_none()
    }

    /// Writes to its standard input.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin
            .write_all(bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", self.typed));
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Waits until its standard output contains `needle`.
    pub fn expect_stdout(&mut self, needle: &str) {
        let found = |running: &Self| String::from_utf8_lossy(&running.stdout()).contains(needle);
        eventually(&format!("`{}` prints {needle:?}", self.typed), || {
            let alive = self.is_running();
            let done = found(self);
            assert!(
                done || alive || found(self),
                "`{}` ended without {needle:?}; stderr: {}",
                self.typed,
                self.stderr()
            );
            done.then_some(())
        });
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|error| panic!("{}: {error}", self.typed));
    }

    /// Waits for its end, and panics if that does not come within `limit`.
    pub fn wait_within(mut self, limit: Duration) -> Outcome {
        let ended = ends_within(&self.child, limit);
        if !ended {
            self.end();
            panic!(
                "`{}` did not end within {limit:?}\n{}",
                self.typed,
                self.transcript()
            );
        }
        let status = self.child.wait().expect("a child can be waited for");
        self.status = Some(status);
        let took = self.started.elapsed();
        if let Some(feeder) = self.feeder.take() {
            feeder.join().expect("the feeder only writes");
        }
        Outcome {
            typed: self.typed.clone(),
            status,
            stdout: self.stdout.whole(&self.typed),
            stderr: self.stderr.whole(&self.typed),
            took,
        }
    }

    /// Waits for its end within [`PATIENCE`].
    pub fn wait(self) -> Outcome {
        self.wait_within(PATIENCE)
    }

    fn end(&mut self) {
        if self.status.is_none() {
            end_group(&mut self.child);
            self.status = self.child.wait().ok();
        }
    }

    fn transcript(&self) -> String {
        let stdout = self.stdout.so_far();
        format!(
            "--- stdout\n{}\n--- stderr\n{}",
            tail(&stdout),
            tail(&self.stderr.so_far())
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("`{}` at the panic:\n{}", self.typed, self.transcript());
        }
    }
}

impl Outcome {
    /// The exit status as a shell sees it: the code, or 128 and the signal.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Asserts success, and gives itself back.
    pub fn succeeded(self) -> Self {
        self.ended_with(0)
    }

    /// Asserts the exit status, and gives itself back.
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            typed, status, took, ..
        } = self;
        writeln!(f, "`{typed}` ended with {status} after {took:?}")?;
        write!(
            f,
            "--- stdout\n{}\n--- stderr\n{}",
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }
}

/// A stream gathered by a thread of its own, so that a full pipe never blocks the child.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn from(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                sink.lock()
                    .expect("only appended to")
                    .extend_from_slice(&buffer[..n]);
            }
        });
        Self {
            bytes,
            reader: Some(reader),
        }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().expect("only appended to").clone()
    }

    /// Everything up to the end of the stream. A grandchild that keeps the stream open after the
    /// command's end (a ControlMaster in the background, say) is not waited for longer than this.
    fn whole(&mut self, typed: &str) -> Vec<u8> {
        let reader = self.reader.take().expect("awaited once");
        eventually(
            &format!("`{typed}` has ended, but something keeps its output open"),
            || reader.is_finished().then_some(()),
        );
        reader.join().expect("the reader only appends");
        self.so_far()
    }
}

/// A daemon with its output in a log file; killed when dropped.
pub struct Daemon {
    child: Child,
    typed: String,
}

impl Daemon {
    /// Starts `job` with both output streams appended to `log`.
    pub fn start(job: Job, log: &Path) -> Self {
        let (mut command, typed) = job.into_command();
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        command.stdin(Stdio::null());
        command
            .stdout(file.try_clone().expect("a file can be duplicated"))
            .stderr(file);
        let child = command.spawn().expect("setpriv (util-linux) must be installed");
        Self { child, typed }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be waited for")
            .is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|error| panic!("{}: {error}", self.typed));
    }

    /// Waits for its end within `limit`.
    pub fn wait_within(&mut self, limit: Duration) -> ExitStatus {
        assert!(
            ends_within(&self.child, limit),
            "`{}` did not end within {limit:?}",
            self.typed
        );
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end_group(&mut self.child);
        // Reaped, or its id could mean somebody else at the next kill.
        self.child.wait().ok();
    }
}

/// Waits for the end without reaping, so that the id stays ours.
fn ends_within(child: &Child, limit: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid_of(child), PidfdFlags::empty()) else {
        return true;
    };
    let limit = Timespec::try_from(limit).expect("a limit of years is none");
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).expect("poll of a pidfd") > 0
}

/// Kills the child and, where it leads one, its process group.
fn end_group(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        // The group does not exist where the child was left in the caller's.
        kill_process_group(pid_of(child), Signal::KILL).ok();
        child.kill().ok();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// The end of what was seen, enough to tell what went wrong.
fn tail(bytes: &[u8]) -> String {
    const SHOWN: usize = 4000;
    let cut = bytes.len().saturating_sub(SHOWN);
    let text = String::from_utf8_lossy(&bytes[cut..]);
    if cut == 0 {
        text.into_owned()
    } else {
        format!("[{cut} bytes before]{text}")
    }
}
