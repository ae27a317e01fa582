//! A throwaway world on loopback: keys, an `sshd`, and Weir set up as its handbook says. It ends with its owner.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::measure::Ssh;
use super::process::Owned;

pub(super) struct World {
    login: String,
    target: SocketAddr,
    sshd: Option<Owned>,
    weir: Option<Weir>,
    /// Last: what lives in it ends before.
    dir: TempDir,
}

struct Weir {
    binary: PathBuf,
    address: SocketAddr,
    process: Option<Owned>,
}

/// How much of a command's output Weir records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    Whole,
    ToDefaultLimit,
    /// Whole, and nothing is passed on before it is on disk.
    Synchronously,
    NotAtAll,
}

impl World {
    pub(super) fn build() -> Result<World> {
        let dir = tempfile::Builder::new().prefix("weir-compare-").tempdir()?;
        let login = output(Command::new("id").arg("-un"))?.trim().to_owned();
        let world = World {
            login,
            target: free_address()?,
            sshd: None,
            weir: None,
            dir,
        };
        for key in ["host", "user"] {
            output(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(world.path(key)),
            )?;
        }
        fs::copy(world.path("user.pub"), world.path("authorized_keys"))?;
        Ok(world)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn target(&self) -> SocketAddr {
        self.target
    }

    pub(super) fn free_address(&self) -> Result<SocketAddr> {
        free_address()
    }

    /// Starts Weir on the state that [`World::set_weir_up`] has made, as a fresh process, as every row's is.
    pub(super) fn start_weir(&mut self, recorded: Recorded) -> Result<()> {
        let configuration = match recorded {
            Recorded::Whole => "[recording]\nexec_output_limit = \"0\"\n",
            Recorded::Synchronously => "[recording]\nexec_output_limit = \"0\"\nmode = \"sync\"\n",
            Recorded::ToDefaultLimit | Recorded::NotAtAll => "",
        };
        self.start_weir_with(configuration)?;
        let role = self.path("access.toml");
        let record_session = if recorded == Recorded::NotAtAll {
            "off"
        } else {
            "strict"
        };
        fs::write(
            &role,
            format!(
                "name = \"access\"\n[allow]\nlogins = \"*\"\nnode_labels = {{ \"*\" = \"*\" }}\n\
                 [options]\nrecord_session = \"{record_session}\"\n"
            ),
        )?;
        self.weir(&["roles", "put", utf8(&role)?])?;
        Ok(())
    }

    /// The same with this configuration file.
    pub(super) fn start_weir_with(&mut self, configuration: &str) -> Result<()> {
        let (data, config, log) = (self.path("weir"), self.path("weir.toml"), self.path("weir.log"));
        let weir = self.weir.as_mut().context("Weir is not part of this run")?;
        if let Some(mut before) = weir.process.take() {
            before.end()?;
        }
        fs::write(&config, configuration)?;
        let mut up = Command::new(&weir.binary);
        up.args(["up", "--listen", &weir.address.to_string(), "--data"]);
        up.arg(data).arg("--config").arg(config);
        let log = fs::File::options().create(true).append(true).open(log)?;
        weir.process = Some(Owned::spawn(
            up.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log),
        )?);
        self.weir(&["status", "--wait", "10s"])?;
        Ok(())
    }

    /// Starts Weir and gives it one user and one node; leaves the files that `sshd` and the client need.
    pub(super) fn set_weir_up(&mut self, binary: &Path) -> Result<()> {
        ensure!(
            binary.is_file(),
            "no weir at {}: build it, or name it with --weir",
            binary.display()
        );
        self.weir = Some(Weir {
            binary: binary.to_owned(),
            address: free_address()?,
            process: None,
        });
        self.start_weir(Recorded::Whole)?;
        fs::write(
            self.path("openssh_ca.pub"),
            self.weir(&["ca", "export", "--type", "openssh"])?,
        )?;
        let host_ca = self.weir(&["ca", "export", "--type", "host"])?;
        fs::write(self.path("known_hosts"), format!("@cert-authority * {host_ca}"))?;
        let (node_key, user_key, user_cert) = (
            self.path("web1"),
            self.path("user.pub"),
            self.path("user-cert.pub"),
        );
        let (node_key, user_key, user_cert) = (utf8(&node_key)?, utf8(&user_key)?, utf8(&user_cert)?);
        self.weir(&["ca", "sign-host", "--hosts", "web1,127.0.0.1", "--out", node_key])?;
        self.weir(&[
            "nodes",
            "add",
            "web1",
            "--addr",
            &self.target.to_string(),
            "--labels",
            "env=dev",
        ])?;
        self.weir(&[
            "users",
            "add",
            "alice",
            "--logins",
            &self.login,
            "--roles",
            "access",
        ])?;
        self.weir(&[
            "users",
            "sign",
            "alice",
            "--public-key",
            user_key,
            "--ttl",
            "8h",
            "--out",
            user_cert,
        ])?;
        Ok(())
    }

    fn weir(&self, args: &[&str]) -> Result<String> {
        let weir = self.weir.as_ref().context("Weir is not part of this run")?;
        output(
            Command::new(&weir.binary)
                .arg("--data")
                .arg(self.path("weir"))
                .args(args),
        )
        .with_context(|| format!("weir {} failed; its log is:\n{}", args.join(" "), self.weir_log()))
    }

    fn weir_log(&self) -> String {
        fs::read_to_string(self.path("weir.log")).unwrap_or_default()
    }

    pub(super) fn start_sshd(&mut self) -> Result<()> {
        let at = |name: &str| self.path(name).display().to_string();
        let mut config = format!(
            "Port {}\nListenAddress 127.0.0.1\nPidFile none\nHostKey {}\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
             MaxStartups 200:30:400\nMaxSessions 100\nSubsystem sftp internal-sftp\nLogLevel ERROR\n",
            self.target.port(),
            at("host"),
            at("authorized_keys"),
        );
        if self.weir.is_some() {
            config += &format!(
                "HostKey {0}\nHostCertificate {0}-cert.pub\nTrustedUserCAKeys {1}\n",
                at("web1"),
                at("openssh_ca.pub")
            );
        }
        fs::write(self.path("sshd_config"), config)?;
        if rustix::process::geteuid().is_root() {
            // Where sshd was never started as a service, its directory for privilege separation is missing.
            fs::create_dir_all("/run/sshd")?;
        }
        let log = fs::File::create(self.path("sshd.log"))?;
        let mut command = Command::new(find_sshd()?);
        command.args(["-D", "-e", "-f"]).arg(self.path("sshd_config"));
        let mut sshd = Owned::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))?;
        sshd.await_listening(self.target).with_context(|| {
            format!(
                "sshd did not come up: {}",
                fs::read_to_string(self.path("sshd.log")).unwrap_or_default()
            )
        })?;
        self.sshd = Some(sshd);
        Ok(())
    }

    /// A client of `address` that signs in with the plain key.
    pub(super) fn ssh_to(&self, host: &'static str, address: SocketAddr) -> Result<Ssh> {
        // Ports are reused between runs, and this is loopback: the host key is not what is measured.
        let checks = "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null";
        self.ssh(host, address, &self.login, checks)
    }

    /// A client of Weir that signs in with its certificate and checks Weir's.
    pub(super) fn ssh_through_weir(&self) -> Result<Ssh> {
        let weir = self.weir.as_ref().context("Weir is not part of this run")?;
        let checks = format!(
            "CertificateFile {}\nUserKnownHostsFile {}",
            self.path("user-cert.pub").display(),
            self.path("known_hosts").display()
        );
        self.ssh("weir", weir.address, &format!("{}@web1", self.login), &checks)
    }

    fn ssh(&self, host: &'static str, address: SocketAddr, user: &str, checks: &str) -> Result<Ssh> {
        let config = self.path(&format!("ssh_{host}"));
        let text = format!(
            "Host {host}\nHostName {}\nPort {}\nUser {user}\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
             BatchMode yes\nLogLevel ERROR\n{checks}\n",
            address.ip(),
            address.port(),
            self.path("user").display()
        );
        fs::write(&config, text)?;
        Ok(Ssh { config, host })
    }

    pub(super) fn weir_pid(&self) -> Option<u32> {
        self.weir.as_ref()?.process.as_ref().map(Owned::pid)
    }

    /// How many recordings Weir lists, so that the table can say that it did record.
    pub(super) fn recordings(&self) -> Option<usize> {
        let listed = self.weir(&["recordings", "ls", "--json"]).ok()?;
        // One array, or one object a line.
        match serde_json::from_str::<serde_json::Value>(&listed) {
            Ok(serde_json::Value::Array(recordings)) => Some(recordings.len()),
            _ => Some(listed.lines().filter(|line| line.starts_with('{')).count()),
        }
    }
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?)
}

/// sshd insists on an absolute path to itself, and is rarely on a user's path.
fn find_sshd() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let mut candidates = places.map(|place| place.join("sshd"));
    candidates
        .find(|candidate| candidate.is_file())
        .context("no sshd on this machine: install openssh-server")
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        done.status.success(),
        "{program} failed: {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    String::from_utf8(done.stdout).with_context(|| format!("{program} printed something that is not text"))
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not a name in UTF-8", path.display()))
}
