//! Everything that a login needs, in one directory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tempfile::TempDir;

use crate::process::Job;
use crate::sshd::{HostKey, Release, Sshd};
use crate::weir::{Driver, Weir};

/// The name under which the first `sshd` is known to Weir.
pub const NODE: &str = "web1";

/// A user, an `sshd`, and Weir between them (or nothing, in a direct world).
pub struct World {
    // Fields are dropped in this order: what runs first, the directory last.
    weir: Option<Weir>,
    /// What `weir up` is given beside its data and its address.
    weir_options: Vec<String>,
    /// What starts it.
    weir_wrapper: Vec<String>,
    sshds: Vec<Sshd>,
    release: Release,
    login: String,
    dir: TempDir,
}

/// What Weir's spool is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolDisk {
    /// Memory, of which there is so much.
    Memory {
        /// MiB in all.
        mebibytes: u32,
    },
    /// A disk that claims to be large, on so much memory: `D/backing`. Needs root and a loop device.
    Ext4 {
        /// MiB in all.
        mebibytes: u32,
    },
}

/// What is special about a world.
#[derive(Default)]
pub struct Builder {
    sshd_options: Vec<String>,
    config: Vec<String>,
    spool_disk: Option<SpoolDisk>,
    env: Vec<(String, String)>,
    driver: Option<Driver>,
    release: Release,
    direct: bool,
    empty: bool,
}

impl Builder {
    /// A line of `sshd_config`, before the defaults and so winning over them.
    #[must_use]
    pub fn sshd(mut self, line: &str) -> Self {
        self.sshd_options.push(line.to_owned());
        self
    }

    /// Each `sshd` of this version.
    #[must_use]
    pub fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// A line of Weir's configuration file.
    #[must_use]
    pub fn config(mut self, line: &str) -> Self {
        self.config.push(line.to_owned());
        self
    }

    /// Weir's spool on a file system of its own, which only Weir sees: see [`World::within`].
    #[must_use]
    pub fn spool_on(mut self, disk: SpoolDisk) -> Self {
        self.spool_disk = Some(disk);
        self
    }

    /// A variable of Weir's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Weir on this driver, whatever the environment asks for.
    #[must_use]
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = Some(driver);
        self
    }

    /// Without Weir: the same `ssh_config` host leads straight to `sshd`.
    #[must_use]
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// A directory with a key pair in it and nothing started.
    #[must_use]
    pub fn empty(mut self) -> Self {
        self.empty = true;
        self
    }

    /// Starts everything.
    pub fn start(self) -> World {
        let dir = tempfile::Builder::new()
            .prefix("weir-e2e-")
            .tempdir()
            .expect("a temporary directory");
        let mut world = World {
            weir: None,
            weir_options: Vec::new(),
            weir_wrapper: with_environment(self.env),
            sshds: Vec::new(),
            release: self.release,
            login: whoami(),
            dir,
        };
        make_key(&world.path("id"), "ed25519");
        if self.empty {
            return world;
        }
        if self.direct {
            world.start_direct(&self.sshd_options);
        } else {
            if let Some(disk) = self.spool_disk {
                world.weir_wrapper = with_spool(&world.path("D"), disk);
            }
            world.start_weir(&self.config, self.driver.or_else(Driver::asked_for));
            world.add_node(NODE, &self.sshd_options);
            world.add_user("alice", "id");
            let ca = world.weir().admin(&["ca", "export", "--type", "host"]);
            world.write("known_hosts", format!("@cert-authority * {ca}"));
            world.write_config("CertificateFile");
        }
        world
    }
}

impl World {
    /// Weir in front of one certified `sshd`.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// The same `sshd` without Weir.
    pub fn direct() -> Self {
        Self::builder().direct().start()
    }

    /// A world with something special about it.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A path in the world's directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As [`World::path`], as text.
    pub fn path_text(&self, name: &str) -> String {
        self.path(name)
            .to_str()
            .expect("temporary paths are ASCII")
            .to_owned()
    }

    /// Writes a file in the world's directory and gives its path.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Reads a file in the world's directory.
    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The account that the suite runs as and logs in to: only root's `sshd` could offer another.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// Whether Weir is in between.
    pub fn is_direct(&self) -> bool {
        self.weir.is_none()
    }

    /// Weir.
    pub fn weir(&self) -> &Weir {
        self.weir.as_ref().expect("a direct world has no Weir")
    }

    /// Where a client connects to: Weir, or in a direct world `sshd`.
    pub fn address(&self) -> SocketAddr {
        match &self.weir {
            Some(weir) => weir.address(),
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, self.sshd().port())),
        }
    }

    /// The name with which a client logs in there.
    pub fn user(&self) -> String {
        if self.is_direct() {
            self.login.clone()
        } else {
            format!("{}@{NODE}", self.login)
        }
    }

    /// Weir, to look whether it is alive.
    pub fn weir_mut(&mut self) -> &mut Weir {
        self.weir.as_mut().expect("a direct world has no Weir")
    }

    /// The first `sshd`.
    pub fn sshd(&self) -> &Sshd {
        &self.sshds[0]
    }

    /// The first `sshd`, to stop it or start it again.
    pub fn sshd_mut(&mut self) -> &mut Sshd {
        &mut self.sshds[0]
    }

    /// `ssh` to the target, with the configuration that leads there.
    pub fn ssh(&self) -> Job {
        self.job("ssh").arg("-F").arg(self.path("config"))
    }

    /// `ssh target COMMAND`.
    pub fn exec(&self, command: &str) -> Job {
        self.ssh().args(["target", command])
    }

    /// `ssh` through Weir to `node` as `login`.
    pub fn exec_on(&self, login: &str, node: &str, command: &str) -> Job {
        self.ssh()
            .args(["-l", &format!("{login}@{node}"), "target", command])
    }

    /// A program run in the world's directory, with the freshly built `weir` first in PATH.
    pub fn job(&self, program: &str) -> Job {
        let mut path = crate::weir::binary_dir().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        Job::new(program).current_dir(self.dir.path()).env("PATH", path)
    }

    /// A script for `bash`, run in the world's directory; `ssh -F config target` leads to the target.
    pub fn bash(&self, script: &str) -> Job {
        self.job("bash").args(["-euo", "pipefail", "-c", script])
    }

    /// A directory of the far side's own, made empty.
    pub fn far_dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// A path under Weir's data directory, as Weir sees it.
    pub fn within(&self, name: &str) -> PathBuf {
        let path = self.weir().data().join(name);
        let inside = path.strip_prefix("/").expect("a path from the root");
        PathBuf::from(format!("/proc/{}/root", self.weir().pid().as_raw_pid())).join(inside)
    }

    /// Registers a further user of Weir with the world's login, and signs the key in file `id`.
    pub fn add_user(&self, name: &str, id: &str) {
        self.add_user_with(name, id, &self.login, "access");
    }

    fn add_user_with(&self, name: &str, id: &str, login: &str, roles: &str) {
        self.weir()
            .admin(&["users", "add", name, "--logins", login, "--roles", roles]);
        self.sign(name, id);
    }

    /// Registers a further user of Weir with a key of its own, in the file of its name, and this login; see
    /// [`World::ssh_as`].
    pub fn new_user(&self, name: &str, login: &str) {
        self.new_user_with(name, login, "access");
    }

    /// The same with roles other than `access`.
    pub fn new_user_with(&self, name: &str, login: &str, roles: &str) {
        make_key(&self.path(name), "ed25519");
        self.add_user_with(name, name, login, roles);
        let config = self
            .read("config")
            .replace("/id\n", &format!("/{name}\n"))
            .replace("/id-cert.pub\n", &format!("/{name}-cert.pub\n"))
            .replace(&self.user(), &format!("{login}@{NODE}"));
        self.write(&format!("config-{name}"), config);
    }

    /// `ssh` to the target as a user that [`World::new_user`] has made.
    pub fn ssh_as(&self, name: &str) -> Job {
        self.job("ssh").arg("-F").arg(self.path(format!("config-{name}")))
    }

    /// Signs the key in file `id` for a user: `ID-cert.pub`.
    pub fn sign(&self, user: &str, id: &str) {
        let public = self.path_text(&format!("{id}.pub"));
        let out = self.path_text(&format!("{id}-cert.pub"));
        self.weir().admin(&[
            "users",
            "sign",
            user,
            "--public-key",
            &public,
            "--ttl",
            "8h",
            "--out",
            &out,
        ]);
    }

    /// Starts a further `sshd` with a certified host key and registers it; gives its port.
    pub fn add_node(&mut self, name: &str, options: &[String]) -> u16 {
        let key = self.certified_host_key(name, &format!("{name},127.0.0.1"));
        let port = self.start_sshd(name, &[key], options);
        self.register(name, port);
        port
    }

    /// Registers an address on loopback as a node.
    pub fn register(&self, name: &str, port: u16) {
        self.weir().admin(&[
            "nodes",
            "add",
            name,
            "--addr",
            &format!("127.0.0.1:{port}"),
            "--labels",
            "env=dev",
        ]);
    }

    /// Makes or replaces a role.
    pub fn put_role(&self, document: &str) {
        self.weir()
            .cli()
            .args(["roles", "put", "-"])
            .input(document)
            .succeed();
    }

    /// A host key certified by Weir's host CA for these names, made as an operator would.
    pub fn certified_host_key(&self, file: &str, hosts: &str) -> HostKey {
        let key = self.weir().data().join(file);
        let out = key.to_str().expect("temporary paths are ASCII");
        self.weir()
            .admin(&["ca", "sign-host", "--hosts", hosts, "--out", out]);
        let certificate = Some(PathBuf::from(format!("{out}-cert.pub")));
        HostKey { key, certificate }
    }

    /// A host key without a certificate.
    pub fn bare_host_key(&self, file: &str, kind: &str) -> HostKey {
        let key = self.path(file);
        make_key(&key, kind);
        HostKey {
            key,
            certificate: None,
        }
    }

    /// Starts an `sshd` that trusts Weir's OpenSSH CA, without registering it; gives its port.
    pub fn start_sshd(&mut self, name: &str, keys: &[HostKey], options: &[String]) -> u16 {
        let ca = self.write(
            "openssh_ca.pub",
            self.weir().admin(&["ca", "export", "--type", "openssh"]),
        );
        let mut lines = options.to_vec();
        lines.push(format!("TrustedUserCAKeys {}", ca.display()));
        self.launch_sshd(name, keys, &lines)
    }

    fn launch_sshd(&mut self, name: &str, keys: &[HostKey], options: &[String]) -> u16 {
        let port = free_port();
        self.sshds.push(Sshd::start(
            self.release,
            &self.path(format!("sshd-{name}")),
            port,
            keys,
            options,
        ));
        port
    }

    fn start_weir(&mut self, config: &[String], driver: Option<Driver>) {
        // First, so that keys do not fall into a table.
        let given = std::env::var("WEIR_TESTS_CONFIG").into_iter();
        let driver_line = driver.iter().map(Driver::line);
        let config: Vec<String> = given.chain(driver_line).chain(config.iter().cloned()).collect();
        if !config.is_empty() {
            let file = self.write("weir.toml", config.join("\n") + "\n");
            let file = file.to_str().expect("temporary paths are ASCII").to_owned();
            self.weir_options = vec!["--config".to_owned(), file];
        }
        let weir = Weir::start_with(
            &self.weir_wrapper,
            &self.path("D"),
            free_port(),
            &self.weir_options,
        );
        if let Some(asked) = driver {
            assert_eq!(weir.driver(), asked, "{}", weir.log());
        }
        self.weir = Some(weir);
    }

    /// Starts Weir again on the same data, address and configuration, after it has ended.
    pub fn restart_weir(&mut self) {
        let port = self.weir().address().port();
        self.weir = None;
        let data = self.path("D");
        self.weir = Some(Weir::start_with(
            &self.weir_wrapper,
            &data,
            port,
            &self.weir_options,
        ));
    }

    fn start_direct(&mut self, options: &[String]) {
        let key = self.bare_host_key("host", "ed25519");
        let mut lines = options.to_vec();
        lines.push(format!("AuthorizedKeysFile {}", self.path("id.pub").display()));
        let port = self.launch_sshd(NODE, &[key], &lines);
        self.write(
            "known_hosts",
            format!("[127.0.0.1]:{port} {}", self.read("host.pub")),
        );
        self.write_config("#");
    }

    /// `certificate` is the word before the certificate's path, or the sign of a comment.
    fn write_config(&self, certificate: &str) {
        let (dir, port, user) = (self.dir.path().display(), self.address().port(), self.user());
        // Options on the command line win, so the name that is typed may still differ from `target`.
        let config = format!(
            "Host target\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n\
             Host *\n  IdentityFile {dir}/id\n  {certificate} {dir}/id-cert.pub\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {dir}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  \
             StrictHostKeyChecking yes\n  BatchMode yes\n"
        );
        self.write("config", config);
    }
}

/// The program that starts another with these variables.
fn with_environment(variables: Vec<(String, String)>) -> Vec<String> {
    if variables.is_empty() {
        return Vec::new();
    }
    let settings = variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    std::iter::once("env".to_owned()).chain(settings).collect()
}

impl Drop for World {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for sshd in &self.sshds {
            eprintln!(
                "--- log of sshd on port {}\n{}",
                sshd.port(),
                last_lines(&sshd.log())
            );
        }
        if let Some(weir) = &self.weir {
            eprintln!("--- log of weir\n{}", last_lines(&weir.log()));
        }
        if std::env::var_os("WEIR_TESTS_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        }
    }
}

fn last_lines(log: &str) -> String {
    const SHOWN: usize = 40;
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

/// Executes what follows with a file system of its own for the spool, which ends with it.
fn with_spool(data: &Path, disk: SpoolDisk) -> Vec<String> {
    let (data, spool) = (data.display(), data.join("spool"));
    let spool = spool.display();
    let mount = match disk {
        SpoolDisk::Memory { mebibytes } => {
            format!("mount -t tmpfs -o size={mebibytes}m,mode=700 spool '{spool}'")
        }
        SpoolDisk::Ext4 { mebibytes } => format!(
            "mkdir -m 700 '{data}/backing' && mount -t tmpfs -o size={mebibytes}m backing '{data}/backing' && \
             truncate -s 2G '{data}/backing/disk' && mkfs.ext4 -q -F '{data}/backing/disk' && \
             mount -o loop '{data}/backing/disk' '{spool}'"
        ),
    };
    let script = format!("mkdir -p -m 700 '{data}' '{spool}' && {mount} && exec \"$@\"");
    // Whoever is not root becomes it in a user namespace.
    let namespace = match rustix::process::geteuid().is_root() {
        true => "--mount",
        false => "-rm",
    };
    ["unshare", namespace, "sh", "-c", &script, "sh"]
        .map(str::to_owned)
        .to_vec()
}

/// Makes a key pair without a passphrase. `kind` is a type of `ssh-keygen -t`, with the bits after a hyphen.
pub fn make_key(path: &Path, kind: &str) {
    let (kind, bits) = kind.split_once('-').unwrap_or((kind, ""));
    let bits = if bits.is_empty() { vec![] } else { vec!["-b", bits] };
    Job::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "", "-t", kind])
        .args(bits)
        .arg("-f")
        .arg(path)
        .succeed();
}

/// A port on 127.0.0.1 that nobody listens on.
///
/// Below the range from which the kernel picks for outgoing connections, and from a block of the
/// process's own: parallel test processes would otherwise take each other's between look and use.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    const BLOCK: u32 = 20;
    loop {
        let offset = std::process::id() * BLOCK + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + offset % COUNT).expect("below 32768");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn whoami() -> String {
    Job::new("id").arg("-un").succeed().out().trim().to_owned()
}
