//! A throwaway `sshd` on loopback.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::process::{Daemon, Job};
use crate::wait::eventually;

/// What an `sshd` shows as its host key: files made beforehand.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// Private key file.
    pub key: PathBuf,
    /// Its certificate, if it has one.
    pub certificate: Option<PathBuf>,
}

/// A running `sshd`; killed, with all its sessions, when dropped.
pub struct Sshd {
    daemon: Daemon,
    port: u16,
    log: PathBuf,
}

impl Sshd {
    /// Starts one with its files below `dir`. `options` are lines of `sshd_config`, and win over the defaults.
    pub fn start(dir: &Path, port: u16, keys: &[HostKey], options: &[String]) -> Self {
        fs::create_dir_all(dir).expect("a directory for sshd");
        if geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("sshd's own empty directory");
        }
        let config = dir.join("sshd_config");
        fs::write(&config, configuration(port, keys, options)).expect("sshd_config");
        let log = dir.join("log");
        // Outside PATH for many users, and sshd insists on an absolute path.
        let program = std::env::var_os("WEIR_TESTS_SSHD").unwrap_or_else(|| "/usr/sbin/sshd".into());
        let job = Job::new(program).args(["-D", "-e", "-f"]).arg(&config);
        let mut daemon = Daemon::start(job, &log);
        eventually("sshd listens", || {
            let alive = daemon.is_running();
            assert!(
                alive,
                "sshd ended: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            listening(port, &log).then_some(())
        });
        Self { daemon, port, log }
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

/// Its own word is waited for first: a bare connect would stand in its log and count as a start-up.
fn listening(port: u16, log: &Path) -> bool {
    let said = fs::read_to_string(log).unwrap_or_default();
    said.contains(&format!("Server listening on 127.0.0.1 port {port}."))
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
    lines.extend(DEFAULTS.iter().map(|line| (*line).to_owned()));
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
