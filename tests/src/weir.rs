//! `weir up` as a child, and the command line around it.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::process::{Daemon, Job, Outcome};
use crate::wait::eventually;

/// A control and data plane in one process; killed when dropped.
pub struct Weir {
    daemon: Daemon,
    address: SocketAddr,
    data: PathBuf,
    log: PathBuf,
}

/// What Weir waits for sockets with, and writes its spool with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring.
    Uring,
    /// epoll, and plain file writes.
    Epoll,
}

/// One row of `weir sessions ls --json`.
#[derive(Clone, Debug)]
pub struct Session(Value);

impl Weir {
    /// Starts it over `data`, and waits with `weir status --wait` until it is ready.
    pub fn start(data: &Path, port: u16, args: &[String]) -> Self {
        Self::start_with(&[], data, port, args)
    }

    /// The same by a program that begins with `wrapper` and executes what follows.
    pub fn start_with(wrapper: &[String], data: &Path, port: u16, args: &[String]) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log = data.with_extension("log");
        let job = match wrapper.split_first() {
            Some((program, given)) => Job::new(program).args(given).arg(binary()),
            None => Job::new(binary()),
        };
        let job = job
            .args(["up", "--data"])
            .arg(data)
            .args(["--listen", &address.to_string()])
            .args(args)
            .env("RUST_BACKTRACE", "1");
        let daemon = Daemon::start(job, &log);
        let mut weir = Self {
            daemon,
            address,
            data: data.to_owned(),
            log,
        };
        let status = Job::new(binary())
            .args(["status", "--data"])
            .arg(data)
            .args(["--wait", "10s"])
            .run();
        assert!(weir.is_running(), "weir ended at once:\n{}", weir.log());
        assert_eq!(status.code(), 0, "{status}\n--- log of weir\n{}", weir.log());
        weir
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.daemon.pid()
    }

    /// Whether the process is alive.
    pub fn is_running(&mut self) -> bool {
        self.daemon.is_running()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Waits for the process's end.
    pub fn wait_within(&mut self, limit: Duration) -> std::process::ExitStatus {
        self.daemon.wait_within(limit)
    }

    /// Everything it has written to standard output and standard error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for a line of the log that contains all of `needles`, and gives it.
    pub fn expect_log(&self, needles: &[&str]) -> String {
        eventually(
            &format!("weir logs a line with {needles:?}; the log:\n{}", self.log()),
            || {
                let log = self.log();
                log.lines()
                    .find(|line| needles.iter().all(|needle| line.contains(needle)))
                    .map(str::to_owned)
            },
        )
    }

    /// `weir --data D` to be continued.
    pub fn cli(&self) -> Job {
        Job::new(binary()).arg("--data").arg(&self.data)
    }

    /// Runs `weir --data D ARGS` and asserts success; gives its standard output.
    pub fn admin(&self, args: &[&str]) -> String {
        self.cli().args(args).succeed().out()
    }

    /// Runs `weir --data D ARGS --json`.
    pub fn json(&self, args: &[&str]) -> Value {
        let said = self.cli().args(args).arg("--json").succeed();
        serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("not JSON: {error}\n{said}"))
    }

    /// All sessions, in the order in which `sessions ls` lists them.
    pub fn sessions(&self) -> Vec<Session> {
        rows(self.json(&["sessions", "ls"]))
            .into_iter()
            .map(Session)
            .collect()
    }

    /// All recordings.
    pub fn recordings(&self) -> Vec<Session> {
        rows(self.json(&["recordings", "ls"]))
            .into_iter()
            .map(Session)
            .collect()
    }

    /// Waits until exactly `count` sessions are known and each has ended and is in the list of recordings.
    pub fn finished_sessions(&self, count: usize) -> Vec<Session> {
        eventually(
            &format!("{count} sessions are over and recorded; the log:\n{}", self.log()),
            || {
                let sessions = self.sessions();
                let recordings = self.recordings();
                let over = |session: &&Session| {
                    session.has_ended() && recordings.iter().any(|recording| recording.id() == session.id())
                };
                (sessions.len() == count && sessions.iter().filter(over).count() == count).then_some(sessions)
            },
        )
    }

    /// Waits until the world's only session is over and recorded.
    pub fn only_session(&self) -> Session {
        self.finished_sessions(1).remove(0)
    }

    /// `weir recordings export ID --format FORMAT`.
    pub fn export(&self, session: &Session, format: &str) -> Vec<u8> {
        self.cli()
            .args(["recordings", "export", session.id(), "--format", format])
            .succeed()
            .stdout
    }

    /// `weir recordings export ID --format json`, a value per line.
    pub fn exported_events(&self, session: &Session) -> Vec<Value> {
        json_lines(&self.export(session, "json"))
    }

    /// `weir recordings verify ID`.
    pub fn verify(&self, session: &Session) -> Outcome {
        self.cli().args(["recordings", "verify", session.id()]).run()
    }

    /// How many file descriptors the process has open beside the database's: of those it keeps as many as were ever
    /// read through at once, up to a bound, and when that is reached is chance.
    pub fn open_files(&self) -> usize {
        let database = self.data.join("weir.db");
        let database = database.to_string_lossy();
        let targets = self.descriptors().filter_map(|fd| fs::read_link(fd).ok());
        targets
            .filter(|target| !target.to_string_lossy().starts_with(&*database))
            .count()
    }

    /// What the process really runs on, by the kernel's word: whether it holds a ring.
    pub fn driver(&self) -> Driver {
        let is_ring = |target: &Path| target == Path::new("anon_inode:[io_uring]");
        // One that is closed meanwhile has no target any more.
        let mut targets = self.descriptors().filter_map(|fd| fs::read_link(fd).ok());
        if targets.any(|target| is_ring(&target)) {
            Driver::Uring
        } else {
            Driver::Epoll
        }
    }

    fn descriptors(&self) -> impl Iterator<Item = PathBuf> {
        let dir = format!("/proc/{}/fd", self.pid().as_raw_nonzero());
        let entries = fs::read_dir(dir).expect("weir is alive");
        entries.map(|entry| entry.expect("weir is alive").path())
    }

    /// Its resident set.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = fs::read_to_string(path).expect("weir is alive");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS is there");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse()
            .expect("a number of kB");
        kib * 1024
    }
}

impl Driver {
    /// The one that `WEIR_TESTS_IO` names.
    pub fn asked_for() -> Option<Self> {
        let name = env::var("WEIR_TESTS_IO").ok()?;
        let named = [Self::Uring, Self::Epoll]
            .into_iter()
            .find(|driver| driver.name() == name);
        Some(named.unwrap_or_else(|| panic!("WEIR_TESTS_IO is {name:?}: expected uring or epoll")))
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }

    /// The line of the configuration that demands it.
    pub fn line(&self) -> String {
        format!("io = {:?}", self.name())
    }
}

impl Session {
    /// The session's id.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// A field that is text.
    pub fn text(&self, field: &str) -> &str {
        self.0[field]
            .as_str()
            .unwrap_or_else(|| panic!("no text in {field:?} of {}", self.0))
    }

    /// A field as it stands.
    pub fn field(&self, field: &str) -> &Value {
        &self.0[field]
    }

    /// A field that is a number.
    pub fn number(&self, field: &str) -> u64 {
        self.0[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no number in {field:?} of {}", self.0))
    }

    /// Whether it is not live any more.
    pub fn has_ended(&self) -> bool {
        self.text("status") != "live"
    }
}

/// The directory of the binaries to be tested: where this test was built, or what `WEIR_BINARIES` names.
pub fn binary_dir() -> PathBuf {
    if let Some(dir) = env::var_os("WEIR_BINARIES") {
        return dir.into();
    }
    // target/PROFILE/deps/e2e-HASH → target/PROFILE
    let test = env::current_exe().expect("a test knows its own path");
    test.parent()
        .and_then(Path::parent)
        .expect("tests lie in target/PROFILE/deps")
        .to_owned()
}

/// The `weir` to be tested.
pub fn binary() -> PathBuf {
    built("weir", "weir-cli")
}

/// The `weir-load` to be tested.
pub fn load_binary() -> PathBuf {
    built("weir-load", "weir-loadtest")
}

/// Cargo builds a package's binaries for the tests of that package alone, so these must be there already.
fn built(name: &str, package: &str) -> PathBuf {
    let binary = binary_dir().join(name);
    assert!(
        binary.exists(),
        "no {} to test: run `cargo build -p {package}` first (`make test` does)",
        binary.display()
    );
    binary
}

/// One JSON value per line.
pub fn json_lines(text: &[u8]) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    String::from_utf8_lossy(text).lines().map(parse).collect()
}

fn rows(listing: Value) -> Vec<Value> {
    match listing {
        Value::Array(rows) => rows,
        other => panic!("a listing is an array, got {other}"),
    }
}
