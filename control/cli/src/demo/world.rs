//! The demonstration's files and its parties: a user, a node, an sshd.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use weir_api::admin::{
    AddNodeRequest, AddUserRequest, CaType, ExportCaRequest, SignHostRequest, SignUserRequest,
};

use super::sshd::Sshd;
use crate::client::{Admin, connect};
use crate::failure::refusal;
use crate::files::{Access, write};

/// Name of the only node.
pub(super) const NODE: &str = "web1";
/// Name of the only user.
const USER: &str = "alice";

/// A user with a certificate, a node that trusts Weir, and an `ssh_config` that leads from one to the other.
pub(super) struct World {
    dir: PathBuf,
    data: PathBuf,
    admin: Admin,
    /// Ends with the world.
    _sshd: Sshd,
}

impl World {
    /// Sets everything up in `dir`, through the admin service of the Weir whose state is in `data`.
    pub(super) async fn create(dir: &Path, data: &Path, weir: SocketAddr) -> anyhow::Result<Self> {
        let mut admin = connect(data).await?;
        let login = run("id", &["-un"], "coreutils").context("the current user has no name")?;
        let login = login.trim().to_owned();

        let sshd = start_sshd(dir, &mut admin).await?;
        let node = AddNodeRequest {
            name: NODE.to_owned(),
            address: sshd.address().to_string(),
            labels: [("env".to_owned(), "demo".to_owned())].into(),
            ..AddNodeRequest::default()
        };
        admin.add_node(node).await.map_err(refusal)?;
        make_user(dir, &mut admin, &login).await?;
        write_ssh_config(dir, &mut admin, &login, weir).await?;
        Ok(World {
            dir: dir.to_owned(),
            data: data.to_owned(),
            admin,
            _sshd: sshd,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Weir's data directory.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// The connection over which all this was set up.
    pub(super) fn admin(&self) -> Admin {
        self.admin.clone()
    }

    pub(super) fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }

    /// What a person types.
    pub(super) fn ssh_command(&self) -> String {
        format!("ssh -F {} {NODE}", self.ssh_config().display())
    }
}

/// As `weir ca sign-host`, `weir ca export --type openssh`, and the three lines in `sshd_config`.
async fn start_sshd(dir: &Path, admin: &mut Admin) -> anyhow::Result<Sshd> {
    let hosts = vec![NODE.to_owned(), "127.0.0.1".to_owned()];
    let request = SignHostRequest {
        hosts,
        ..SignHostRequest::default()
    };
    let host = admin.sign_host(request).await.map_err(refusal)?.into_inner();
    let key = dir.join(NODE);
    write(&key, Access::Owner, false, host.private_key.as_bytes())?;
    let certificate = dir.join(format!("{NODE}-cert.pub"));
    write(
        &certificate,
        Access::Everybody,
        false,
        format!("{}\n", host.certificate).as_bytes(),
    )?;
    let trusted = dir.join("openssh_ca.pub");
    write(
        &trusted,
        Access::Everybody,
        false,
        export(admin, CaType::Openssh).await?.as_bytes(),
    )?;
    Sshd::start(dir, &key, &certificate, &trusted).await
}

/// As `ssh-keygen`, `weir users add` and `weir users sign`.
async fn make_user(dir: &Path, admin: &mut Admin, login: &str) -> anyhow::Result<()> {
    let key = dir.join("id");
    let path = key
        .to_str()
        .context("the temporary directory's name is no text")?;
    run(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-C", USER, "-f", path],
        "openssh-client",
    )?;
    let user = AddUserRequest {
        name: USER.to_owned(),
        logins: vec![login.to_owned()],
        ..AddUserRequest::default()
    };
    admin.add_user(user).await.map_err(refusal)?;
    let public_key = fs::read_to_string(dir.join("id.pub"))?.trim().to_owned();
    let request = SignUserRequest {
        name: USER.to_owned(),
        public_key,
        ttl_seconds: 8 * 60 * 60,
    };
    let certificate = admin
        .sign_user(request)
        .await
        .map_err(refusal)?
        .into_inner()
        .certificate;
    write(
        &dir.join("id-cert.pub"),
        Access::Everybody,
        false,
        format!("{certificate}\n").as_bytes(),
    )
}

async fn write_ssh_config(
    dir: &Path,
    admin: &mut Admin,
    login: &str,
    weir: SocketAddr,
) -> anyhow::Result<()> {
    let keys = export(admin, CaType::Host).await?;
    let authorities: String = keys
        .lines()
        .map(|key| format!("@cert-authority * {key}\n"))
        .collect();
    write(
        &dir.join("known_hosts"),
        Access::Everybody,
        false,
        authorities.as_bytes(),
    )?;
    let (host, port, dir_name) = (weir.ip(), weir.port(), dir.display());
    let config = format!(
        "Host {NODE}\n  HostName {host}\n  Port {port}\n  User {login}@{NODE}\n  IdentityFile {dir_name}/id\n  \
         CertificateFile {dir_name}/id-cert.pub\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
         UserKnownHostsFile {dir_name}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  \
         StrictHostKeyChecking yes\n  BatchMode yes\n"
    );
    write(
        &dir.join("ssh_config"),
        Access::Everybody,
        false,
        config.as_bytes(),
    )
}

async fn export(admin: &mut Admin, ca: CaType) -> anyhow::Result<String> {
    let request = ExportCaRequest { r#type: ca.into() };
    let keys = admin
        .export_ca(request)
        .await
        .map_err(refusal)?
        .into_inner()
        .public_keys;
    Ok(keys.into_iter().map(|key| format!("{key}\n")).collect())
}

/// The output of a short-lived program of `package`.
fn run(program: &str, arguments: &[&str], package: &str) -> anyhow::Result<String> {
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("{program} cannot be started: install {package}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} ended with {}: {}",
        output.status,
        error.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
