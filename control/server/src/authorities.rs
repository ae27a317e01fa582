use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ulid::Ulid;
use weir_ca::{
    Authority, HostTerms, IssueError, KeyEncryptionKey, KeySigner, Permission, SealedKey, Signer,
    UpstreamTerms, UserTerms,
};
use weir_crypto::random::{Random, SystemRandom};
use weir_policy::{Feature, Grant};
use weir_ssh::certificate::{Certificate, Network};
use weir_ssh::key::PublicKey;
use weir_store::Change;

use crate::clock::now_us;
use crate::directory::{AuthorityKey, Directory, Purpose, put_authority};
use crate::error::OpenError;

/// What a user's certificate permits: everything, since policy decides at the time, session by session.
const USER_PERMISSIONS: [Permission; 4] = [
    Permission::Pty,
    Permission::PortForwarding,
    Permission::AgentForwarding,
    Permission::X11Forwarding,
];

/// The three authorities, each with its newest key.
pub(crate) struct Authorities {
    user: Authority,
    host: Authority,
    openssh: Authority,
    serials: Serials,
}

/// The session that a data plane may open with a certificate.
pub(crate) struct UpstreamSession<'a> {
    pub(crate) key: &'a PublicKey,
    pub(crate) user: &'a str,
    pub(crate) session: &'a str,
    pub(crate) login: &'a str,
    pub(crate) source_addresses: &'a [Network],
    pub(crate) grant: &'a Grant,
    pub(crate) validity: Duration,
}

impl Authorities {
    /// Makes the keys of a new installation.
    pub(crate) fn make(key: &KeyEncryptionKey) -> Vec<Change> {
        let make = |purpose: Purpose| {
            let signer = KeySigner::generate();
            let name = format!("{}/{}", purpose.as_str(), Ulid::generate());
            let sealed = SealedKey::seal(&signer, key, &name, &mut SystemRandom)
                .as_bytes()
                .to_vec();
            put_authority(
                &name,
                &AuthorityKey {
                    purpose,
                    public_key: signer.public_key().clone(),
                    sealed,
                },
            )
        };
        Purpose::ALL.into_iter().map(make).collect()
    }

    /// Decrypts the keys of an installation.
    pub(crate) fn open(directory: &Directory, key: &KeyEncryptionKey) -> Result<Authorities, OpenError> {
        let authority = |purpose: Purpose| {
            let what = || format!("{} CA", purpose.as_str());
            // Names end with a ULID: the last is the newest.
            let newest = directory
                .authorities
                .iter()
                .rfind(|(_, stored)| stored.purpose == purpose);
            let (name, stored) = newest.ok_or_else(|| OpenError::Damaged {
                what: what(),
                problem: "there is no key".to_owned(),
            })?;
            let signer = SealedKey::from_bytes(stored.sealed.clone())
                .open(key, name)
                .map_err(|error| OpenError::sealed(what(), &error))?;
            if signer.public_key() != &stored.public_key {
                return Err(OpenError::Damaged {
                    what: what(),
                    problem: "its private key belongs to another public key".to_owned(),
                });
            }
            Ok(Authority::new(signer))
        };
        Ok(Authorities {
            user: authority(Purpose::User)?,
            host: authority(Purpose::Host)?,
            openssh: authority(Purpose::OpenSsh)?,
            serials: Serials::default(),
        })
    }

    /// Certifies a person's key. `now` is in seconds since 1970-01-01 UTC, here and below.
    pub(crate) fn user(
        &self,
        key: &PublicKey,
        user: &str,
        logins: &[String],
        validity: Duration,
        now: u64,
    ) -> Result<Certificate, IssueError> {
        let permissions = &USER_PERMISSIONS;
        let terms = UserTerms {
            key,
            user,
            logins,
            permissions,
            source_addresses: &[],
            validity,
        };
        self.user
            .issue_user(&terms, self.serials.next(), now, &mut SystemRandom)
    }

    /// Certifies a host's key.
    pub(crate) fn host(
        &self,
        key: &PublicKey,
        names: &[String],
        validity: Duration,
        now: u64,
    ) -> Result<Certificate, IssueError> {
        let terms = HostTerms { key, names, validity };
        self.host
            .issue_host(&terms, self.serials.next(), now, &mut SystemRandom)
    }

    /// Certifies a data plane's key for one session.
    pub(crate) fn upstream(
        &self,
        session: &UpstreamSession<'_>,
        now: u64,
    ) -> Result<Certificate, IssueError> {
        let terms = UpstreamTerms {
            key: session.key,
            user: session.user,
            session: session.session,
            login: session.login,
            source_addresses: session.source_addresses,
            permissions: &permissions(session.grant),
            validity: session.validity,
        };
        self.openssh
            .issue_upstream(&terms, self.serials.next(), now, &mut SystemRandom)
    }
}

/// What the target enforces of a grant as well. Commands and file copies have no extension: the data plane alone
/// enforces those.
fn permissions(grant: &Grant) -> Vec<Permission> {
    let granted = |feature: Feature| match feature {
        Feature::Pty => Some(Permission::Pty),
        Feature::LocalForwarding | Feature::RemoteForwarding => Some(Permission::PortForwarding),
        Feature::AgentForwarding => Some(Permission::AgentForwarding),
        Feature::X11 => Some(Permission::X11Forwarding),
        Feature::Exec | Feature::FileCopy => None,
    };
    Feature::ALL
        .into_iter()
        .filter(|feature| grant.permits(*feature))
        .filter_map(granted)
        .collect()
}

/// Serial numbers of certificates: microseconds since 1970, then 11 random bits.
///
/// They grow, so that a list of revoked ones stays short; they are unique within a process by construction, and
/// across restarts and servers as long as two do not draw the same bits in the same microsecond.
#[derive(Debug, Default)]
struct Serials(AtomicU64);

impl Serials {
    fn next(&self) -> u64 {
        let mut random = [0; 2];
        SystemRandom.fill(&mut random);
        let candidate = now_us() << 11 | u64::from(u16::from_ne_bytes(random) & 0x7ff);
        let serial = |last: u64| candidate.max(last + 1);
        match self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(serial(last)))
        {
            Ok(last) | Err(last) => serial(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_grow_and_never_repeat() {
        let serials = Serials::default();
        let drawn: Vec<u64> = (0..10_000).map(|_| serials.next()).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
