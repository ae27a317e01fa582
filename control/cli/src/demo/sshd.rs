//! An unmodified sshd on loopback, as the current user, with the configuration that any server behind Weir needs.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::LOOK_AGAIN;
use crate::files::{Access, write};

/// How long sshd may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// A running sshd; ended when dropped.
pub(super) struct Sshd {
    child: Child,
    address: SocketAddr,
}

impl Sshd {
    pub(super) async fn start(
        dir: &Path,
        host_key: &Path,
        host_certificate: &Path,
        trusted_ca: &Path,
    ) -> anyhow::Result<Self> {
        let root = rustix::process::geteuid().is_root();
        if root {
            // Where a root's sshd drops its privileges; the package's service makes it, and no service runs here.
            fs::create_dir_all("/run/sshd").context("/run/sshd cannot be made")?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        // A root whose password is locked is refused, unless PAM is asked instead.
        let pam = if root && root_is_locked() { "yes" } else { "no" };
        let text = format!(
            "# What Weir needs of a server:\nTrustedUserCAKeys {}\nHostKey {}\nHostCertificate {}\n\n\
             # What makes it a throwaway one:\nListenAddress {address}\nPidFile none\nUsePAM {pam}\n\
             StrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             AuthorizedKeysFile none\nPrintMotd no\nPrintLastLog no\nSubsystem sftp internal-sftp\n",
            trusted_ca.display(),
            host_key.display(),
            host_certificate.display(),
        );
        let config = dir.join("sshd_config");
        write(&config, Access::Everybody, false, text.as_bytes())?;
        let log = dir.join("sshd.log");
        // sshd starts itself anew for every connection, and so must be called by its full path.
        let child = Command::new(program()?)
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("sshd cannot be started")?;
        let mut sshd = Sshd { child, address };
        sshd.wait_until_it_listens(&log).await?;
        Ok(sshd)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its log says when; a connection to find out would be counted against us as one that never signed in.
    async fn wait_until_it_listens(&mut self, log: &Path) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(log).unwrap_or_default();
            if text.contains("Server listening on") {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "sshd ended with {status}: {}",
                    text.lines().last().unwrap_or("it said nothing")
                );
            }
            ensure!(
                begin.elapsed() < LISTENS_WITHIN,
                "sshd does not listen after {LISTENS_WITHIN:?}"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // By SIGTERM, which lets it tidy up; it may have gone by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Packages put it where a user's PATH often does not lead.
fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("sshd"))
        .find(|program| program.is_file())
        .context("got no sshd while expecting one to stand in front of: install openssh-server, or use `make demo`")
}

/// A port that nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

fn root_is_locked() -> bool {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    shadow
        .lines()
        .filter_map(|line| line.strip_prefix("root:"))
        .any(|rest| rest.starts_with('!'))
}
