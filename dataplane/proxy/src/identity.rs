//! Keys by which the data plane is known: to clients its host keys, to readers of recordings its signature.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use weir_api::{ControlPlane, dataplane::HostCertificateRequest};
use weir_ssh::{HostKey, certificate::Certificate, key::SigningKey};

use crate::{clock::Clock, config::ProxyConfig, error::StartError, private_file};

/// The data plane's own keys, which never leave it.
pub(crate) struct Identity {
    host_keys: Vec<SigningKey>,
    names: Vec<String>,
}

/// Host keys with certificates, and when to ask for new ones.
pub(crate) struct Certified {
    pub(crate) host_keys: Arc<[HostKey]>,
    pub(crate) renew_in: Duration,
}

impl Identity {
    /// Loads the keys; makes the Ed25519 one at the first start.
    pub(crate) fn open(config: &ProxyConfig) -> Result<Self, StartError> {
        let own = config.data_dir.join(HOST_KEY_FILE);
        if !own.exists() {
            let key = SigningKey::generate_ed25519();
            private_file::write(&own, key.to_openssh("weir").as_bytes()).map_err(file_error(&own))?;
        }
        let mut host_keys = vec![load(&own)?];
        for path in &config.host_keys {
            host_keys.push(load(path)?);
        }
        Ok(Self {
            host_keys,
            names: names(config),
        })
    }

    /// Has every host key certified by the control plane for the names by which clients reach this data plane.
    pub(crate) async fn certify(&self, control: &dyn ControlPlane) -> Result<Certified, StartError> {
        let mut certified = Vec::with_capacity(self.host_keys.len());
        let mut valid_before = u64::MAX;
        for key in &self.host_keys {
            let request = HostCertificateRequest {
                public_key: key.public_key().blob().to_vec(),
                names: self.names.clone(),
            };
            let answer = control
                .certify_host(request)
                .await
                .map_err(|e| StartError::Certificate(e.to_string()))?;
            let certificate = Certificate::parse(&answer.certificate)
                .map_err(|e| StartError::Certificate(e.to_string()))?;
            valid_before = valid_before.min(answer.valid_before);
            certified.push(
                HostKey::certified(key.clone(), certificate)
                    .map_err(|e| StartError::Certificate(e.to_string()))?,
            );
            // Clients that know no CA may pin the plain key.
            certified.push(HostKey::plain(key.clone()));
        }
        // Half of the time is left for a control plane that is away.
        let left = Duration::from_secs(valid_before.saturating_sub(Clock::wall_secs()) / 2);
        Ok(Certified {
            host_keys: certified.into(),
            renew_in: left.clamp(Duration::from_secs(60), Duration::from_secs(7 * 24 * 3600)),
        })
    }
}

/// The key with which the data plane signs the recordings it has written.
pub(crate) fn recording_key(config: &ProxyConfig) -> Result<weir_crypto::sign::PrivateKey, StartError> {
    if let Some(key) = &config.recording_key {
        return Ok(key.clone());
    }
    let path = config.data_dir.join(RECORDING_KEY_FILE);
    if !path.exists() {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        weir_crypto::random::Random::fill(&mut weir_crypto::random::SystemRandom, &mut seed[..]);
        private_file::write(&path, &seed[..]).map_err(file_error(&path))?;
    }
    let seed = zeroize::Zeroizing::new(fs::read(&path).map_err(file_error(&path))?);
    let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| StartError::HostKey {
        path: path.clone(),
        reason: format!("got {} bytes while expecting 32", seed.len()),
    })?;
    Ok(weir_crypto::sign::PrivateKey::ed25519_from_seed(seed))
}

/// Makes a directory that only its owner may enter.
pub(crate) fn private_directory(path: &Path) -> Result<(), StartError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(file_error(path))
}

fn load(path: &Path) -> Result<SigningKey, StartError> {
    let text = zeroize::Zeroizing::new(fs::read_to_string(path).map_err(file_error(path))?);
    SigningKey::from_openssh(&text).map_err(|e| StartError::HostKey {
        path: path.to_owned(),
        reason: e.to_string(),
    })
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path: PathBuf = path.to_owned();
    move |source| StartError::File { path, source }
}

/// What clients may call this data plane: as configured, and what it listens on.
fn names(config: &ProxyConfig) -> Vec<String> {
    let mut names = config.names.clone();
    for address in &config.listen {
        let ip = address.ip();
        if !ip.is_unspecified() {
            names.push(ip.to_string());
        }
        if ip.is_unspecified() || ip.is_loopback() {
            names.extend(["localhost", "127.0.0.1", "::1"].map(String::from));
        }
    }
    if let Ok(host) = rustix::system::uname().nodename().to_str() {
        names.push(host.to_owned());
    }
    names.sort();
    names.dedup();
    names
}

const HOST_KEY_FILE: &str = "host_ed25519";
const RECORDING_KEY_FILE: &str = "recording_ed25519.seed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_only_their_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let config = ProxyConfig::new(vec!["127.0.0.1:0".parse().unwrap()], directory.path().to_owned());
        let first = Identity::open(&config).unwrap().host_keys[0]
            .public_key()
            .fingerprint();
        let again = Identity::open(&config).unwrap().host_keys[0]
            .public_key()
            .fingerprint();
        assert_eq!(first, again);
        recording_key(&config).unwrap();
        for name in [HOST_KEY_FILE, RECORDING_KEY_FILE] {
            let mode = fs::metadata(directory.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn loopback_listener_is_certified_for_its_usual_names() {
        let config = ProxyConfig::new(vec!["127.0.0.1:3023".parse().unwrap()], "/nonexistent".into());
        let names = names(&config);
        for name in ["127.0.0.1", "::1", "localhost"] {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
    }
}
