//! Which host key of a target is accepted.

use super::{Certificate, CertificateError};
use crate::algorithm::HostKeyAlgorithm;
use crate::hop::HostKeyCheck;
use crate::key::fingerprint_sha256;
use crate::wire::Reader;

/// What the user reads when the target has no certificate; the words that operators of such proxies search for.
pub const PLAIN_HOST_KEY: &str =
    "ssh: handshake failed: remote host presented a public key, expected a host certificate";

/// How the host key of one target is judged.
#[derive(Clone, Debug)]
pub enum HostKeyPolicy {
    /// It must come in a certificate of one of these authorities that names the target.
    Certified {
        /// The name that was dialled, without its port.
        name: String,
        /// Keys of the host authorities, in wire format.
        authorities: Vec<Vec<u8>>,
    },
    /// It must be one of these keys, in wire format; certificates are not asked for.
    Pinned(Vec<Vec<u8>>),
    /// It may be anything. Whoever sits between can then be the target.
    Unchecked,
}

impl HostKeyPolicy {
    /// Judges the host key `blob` (a plain key or a certificate) at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// The sentence for the user.
    pub fn judge(&self, blob: &[u8], now: u64) -> Result<(), String> {
        match self {
            HostKeyPolicy::Certified { name, authorities } => {
                let trusted = |key: &[u8]| authorities.iter().any(|authority| authority == key);
                let checked = Certificate::parse(blob)
                    .and_then(|certificate| certificate.check_host(name, now, trusted));
                checked.map_err(|error| match error {
                    CertificateError::PlainKey(_) => PLAIN_HOST_KEY.to_owned(),
                    error => format!("ssh: handshake failed: host certificate of {name}: {error}"),
                })
            }
            HostKeyPolicy::Pinned(keys) if keys.iter().any(|key| key == blob) => Ok(()),
            HostKeyPolicy::Pinned(_) => {
                let shown = fingerprint_sha256(blob);
                Err(format!(
                    "ssh: handshake failed: remote host presented the key {shown}, which is not pinned for it"
                ))
            }
            HostKeyPolicy::Unchecked => Ok(()),
        }
    }

    /// The policy at one moment: what the transport asks when the host shows its key.
    pub fn at(self, now: u64) -> impl HostKeyCheck + 'static {
        PolicyAt { policy: self, now }
    }
}

struct PolicyAt {
    policy: HostKeyPolicy,
    /// Seconds since 1970.
    now: u64,
}

impl HostKeyCheck for PolicyAt {
    /// Certificates are asked for first, and plain keys behind them, so that a host that has no certificate can be
    /// told so instead of being "incompatible". Pinned are plain keys, so certificates are not asked for: such a host
    /// would show one for the key that is pinned.
    fn algorithms(&self) -> Option<Vec<HostKeyAlgorithm>> {
        let all = HostKeyAlgorithm::ALL.iter().copied();
        let (certified, plain): (Vec<_>, Vec<_>) = all.partition(|algorithm| algorithm.is_certificate());
        Some(match &self.policy {
            HostKeyPolicy::Certified { .. } => [certified, plain].concat(),
            HostKeyPolicy::Unchecked => [plain, certified].concat(),
            HostKeyPolicy::Pinned(keys) => {
                let is_pinned = |algorithm: &HostKeyAlgorithm| {
                    let name = algorithm.key_type().as_bytes();
                    keys.iter().any(|key| Reader::new(key).string() == Ok(name))
                };
                plain.into_iter().filter(is_pinned).collect()
            }
        })
    }

    fn check(&mut self, host_key: &[u8]) -> Result<(), String> {
        self.policy.judge(host_key, self.now)
    }
}
