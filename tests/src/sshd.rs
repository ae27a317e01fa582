//! A throwaway `sshd` on loopback, of the installed version or of OpenSSH 10.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, geteuid};

use crate::process::{Daemon, Job};
use crate::wait::{PATIENCE, eventually};

/// What an `sshd` shows as its host key: files made beforehand.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// Private key file.
    pub key: PathBuf,
    /// Its certificate, if it has one.
    pub certificate: Option<PathBuf>,
}

/// Which `sshd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// The machine's own, 9.2 on Debian 12.
    #[default]
    Installed,
    /// OpenSSH 10, which `.ci/sshd-10` has unpacked into the target directory: three programs, and penalties for addresses.
    Ten,
}

/// A running `sshd`; killed, with all its sessions, when dropped.
pub struct Sshd {
    daemon: Daemon,
    release: Release,
    config: PathBuf,
    port: u16,
    log: PathBuf,
}

impl Release {
    /// The program; outside PATH for many users, and sshd insists on an absolute path.
    fn program(self) -> PathBuf {
        match self {
            Self::Installed => {
                std::env::var_os("WEIR_TESTS_SSHD").map_or_else(|| "/usr/sbin/sshd".into(), PathBuf::from)
            }
            Self::Ten => ten().join("usr/sbin/sshd"),
        }
    }

    /// What its `sshd_config` must say to be run from there.
    fn lines(self) -> Vec<String> {
        match self {
            Self::Installed => Vec::new(),
            Self::Ten => ["SshdSessionPath", "SshdAuthPath"]
                .iter()
                .zip(["sshd-session", "sshd-auth"])
                .map(|(option, program)| format!("{option} {}/usr/lib/openssh/{program}", ten().display()))
                .collect(),
        }
    }
}

fn ten() -> PathBuf {
    // target/PROFILE/deps/e2e-HASH → target
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps");
    let dir = target.join("openssh-10");
    assert!(
        dir.join("usr/sbin/sshd").exists(),
        "no sshd in {dir}: run `.ci/sshd-10 {dir}` first (`make test` does)",
        dir = dir.display()
    );
    dir
}

impl Sshd {
    /// Starts one with its files below `dir`. `options` are lines of `sshd_config`, and win over the defaults.
    pub fn start(release: Release, dir: &Path, port: u16, keys: &[HostKey], options: &[String]) -> Self {
        fs::create_dir_all(dir).expect("a directory for sshd");
        if geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("sshd's own empty directory");
        }
        let config = dir.join("sshd_config");
        let options = [&release.lines(), options].concat();
        fs::write(&config, configuration(port, keys, &options)).expect("sshd_config");
        let log = dir.join("log");
        let daemon = launch(release, &config, port, &log);
        Self {
            daemon,
            release,
            config,
            port,
            log,
        }
    }

    /// Ends the listener as an operator would; sessions go on.
    pub fn stop(&mut self) {
        self.daemon.signal(Signal::TERM);
        self.daemon.wait_within(PATIENCE);
    }

    /// Starts it on the same port and configuration, after [`Sshd::stop`].
    pub fn start_again(&mut self) {
        self.daemon = launch(self.release, &self.config, self.port, &self.log);
    }

    /// How many connections it counts for `MaxStartups` at this moment, as `ps` shows it:
    /// `sshd: … [listener] 3 of 10-100 startups`.
    pub fn startups(&self) -> u32 {
        let path = format!("/proc/{}/cmdline", self.pid().as_raw_nonzero());
        let title = String::from_utf8_lossy(&fs::read(path).expect("sshd is alive")).into_owned();
        let (_, count) = title
            .split_once("[listener] ")
            .unwrap_or_else(|| panic!("{title:?}"));
        let count = count.split(' ').next().expect("split gives one at least");
        count.parse().unwrap_or_else(|error| panic!("{title:?}: {error}"))
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id: the listener's.
    pub fn pid(&self) -> rustix::process::Pid {
        self.daemon.pid()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The lines of its log that contain `needle`.
    pub fn log_lines(&self, needle: &str) -> Vec<String> {
        self.log()
            .lines()
            .filter(|line| line.contains(needle))
            .map(str::to_owned)
            .collect()
    }
}

fn launch(release: Release, config: &Path, port: u16, log: &Path) -> Daemon {
    let before = times_listening(port, log);
    let job = Job::new(release.program()).args(["-D", "-e", "-f"]).arg(config);
    let mut daemon = Daemon::start(job, log);
    eventually("sshd listens", || {
        let alive = daemon.is_running();
        assert!(
            alive,
            "sshd ended: {}",
            fs::read_to_string(log).unwrap_or_default()
        );
        (times_listening(port, log) > before).then_some(())
    });
    daemon
}

/// Its own word is waited for: a bare connect would stand in its log and count as a start-up.
fn times_listening(port: u16, log: &Path) -> usize {
    let said = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    said.matches(&format!("Server listening on 127.0.0.1 port {port}."))
        .count()
}

fn configuration(port: u16, keys: &[HostKey], options: &[String]) -> String {
    let mut lines: Vec<String> = options.to_vec();
    for HostKey { key, certificate } in keys {
        lines.push(format!("HostKey {}", key.display()));
        lines.extend(
            certificate
                .iter()
                .map(|file| format!("HostCertificate {}", file.display())),
        );
    }
    lines.push(format!("Port {port}"));
    lines.extend(std::env::var("WEIR_TESTS_SSHD_OPTIONS"));
    // For most options the first line wins, for MaxStartups the last.
    let keyword = |line: &str| line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
    let given: Vec<String> = lines.iter().flat_map(|line| line.lines()).map(keyword).collect();
    let defaults = DEFAULTS.iter().filter(|line| !given.contains(&keyword(line)));
    lines.extend(defaults.map(|line| (*line).to_owned()));
    lines.join("\n") + "\n"
}

/// OpenSSH's own defaults, except where a throwaway server for many tests needs otherwise.
const DEFAULTS: &[&str] = &[
    "ListenAddress 127.0.0.1",
    "PidFile none",
    // The directory is below /tmp and belongs to whoever runs the suite.
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin yes",
    "AuthorizedKeysFile none",
    "PermitUserEnvironment no",
    "PrintMotd no",
    "PrintLastLog no",
    "Subsystem sftp internal-sftp",
    // Bash reads ~/.bashrc when sshd runs it, except below other shells: what stands there belongs to whoever runs
    // the suite, and may take longer than the session.
    "SetEnv SHLVL=9",
    "MaxStartups 200:30:400",
    "MaxSessions 100",
    "LogLevel INFO",
];
