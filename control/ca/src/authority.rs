//! What each authority certifies, and within which bounds.

use std::fmt;
use std::time::Duration;

use weir_crypto::random::Random;
use weir_ssh::certificate::{
    Certificate, CertificateRequest, CertificateType, MAX_KEY_ID_LEN, MAX_PRINCIPALS, Network,
};
use weir_ssh::key::PublicKey;

use crate::signer::{Signer, SignerError};

/// How far a certificate reaches back: clocks of servers that keep time by NTP differ by less, and one that has
/// stepped by more cannot tell the age of a certificate anyway.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// How long a session's certificate toward its target is valid unless somebody asks for another time: from its issue to the
/// target's check it has to outlive a wait for a slot (at most 30 s by default) and a handshake.
pub const UPSTREAM_VALIDITY: Duration = Duration::from_secs(60);

/// The longest that may be asked for: a wait of ten minutes, which is the longest that can be configured, its last
/// handshake, and a clock that is a little off.
pub const UPSTREAM_VALIDITY_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What sshd lets the holder of a user's certificate do, by the extension that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// `permit-pty`
    Pty,
    /// `permit-port-forwarding`
    PortForwarding,
    /// `permit-agent-forwarding`
    AgentForwarding,
    /// `permit-X11-forwarding`
    X11Forwarding,
    /// `permit-user-rc`
    UserRc,
}

impl Permission {
    /// The name of the extension.
    pub fn extension(self) -> &'static str {
        match self {
            Permission::Pty => "permit-pty",
            Permission::PortForwarding => "permit-port-forwarding",
            Permission::AgentForwarding => "permit-agent-forwarding",
            Permission::X11Forwarding => "permit-X11-forwarding",
            Permission::UserRc => "permit-user-rc",
        }
    }
}

/// A person toward the data plane.
#[derive(Clone, Debug)]
pub struct UserTerms<'a> {
    /// The person's key.
    pub key: &'a PublicKey,
    /// The person's name in Weir; becomes the key id.
    pub user: &'a str,
    /// Logins that may be asked for; they become the principals.
    pub logins: &'a [String],
    /// What may be done. Policy restricts that further at the time.
    pub permissions: &'a [Permission],
    /// From where it may be used; empty: from everywhere.
    pub source_addresses: &'a [Network],
    /// How long from now.
    pub validity: Duration,
}

/// A host toward people and the data plane.
#[derive(Clone, Debug)]
pub struct HostTerms<'a> {
    /// The host's key.
    pub key: &'a PublicKey,
    /// Names and addresses by which it is dialled.
    pub names: &'a [String],
    /// How long from now.
    pub validity: Duration,
}

/// One session of a person toward one target.
#[derive(Clone, Debug)]
pub struct UpstreamTerms<'a> {
    /// The data plane's key for this session.
    pub key: &'a PublicKey,
    /// The person's name in Weir.
    pub user: &'a str,
    /// The session's id.
    pub session: &'a str,
    /// The one login.
    pub login: &'a str,
    /// Where the data plane dials from; at least one.
    pub source_addresses: &'a [Network],
    /// What the session may need.
    pub permissions: &'a [Permission],
    /// How long from now; at most [`UPSTREAM_VALIDITY_LIMIT`].
    pub validity: Duration,
}

/// Why no certificate was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The terms ask for something that no certificate of this authority says.
    #[error("got {got} while expecting {expected}")]
    Terms {
        /// What the terms hold.
        got: String,
        /// What they may hold.
        expected: &'static str,
    },
    /// The key cannot be used at the moment.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// A certificate authority.
pub struct Authority {
    signer: Box<dyn Signer>,
}

impl Authority {
    /// The authority whose key `signer` holds.
    pub fn new(signer: impl Signer + 'static) -> Authority {
        Authority {
            signer: Box::new(signer),
        }
    }

    /// Its public key.
    pub fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    /// `type base64 comment`, as sshd's `TrustedUserCAKeys` and `@cert-authority` lines of `known_hosts` take it.
    pub fn export(&self, comment: &str) -> String {
        self.public_key().to_openssh(comment)
    }

    /// Certifies a person. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`IssueError`]: no login, names that cannot stand in a certificate, no validity, or the key cannot be used.
    pub fn issue_user(
        &self,
        terms: &UserTerms<'_>,
        serial: u64,
        now: u64,
        random: &mut dyn Random,
    ) -> Result<Certificate, IssueError> {
        check_user_name(terms.user)?;
        let mut request = request(
            CertificateType::User,
            terms.key,
            terms.user.to_owned(),
            now,
            terms.validity,
        )?
        .serial(serial);
        request = with_principals(request, terms.logins)?;
        if !terms.source_addresses.is_empty() {
            request = request.source_addresses(terms.source_addresses);
        }
        self.sign(with_permissions(request, terms.permissions), random)
    }

    /// Certifies a host. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// As for [`issue_user`](Authority::issue_user).
    pub fn issue_host(
        &self,
        terms: &HostTerms<'_>,
        serial: u64,
        now: u64,
        random: &mut dyn Random,
    ) -> Result<Certificate, IssueError> {
        let key_id = terms.names.first().map(String::as_str).unwrap_or_default();
        let request = request(
            CertificateType::Host,
            terms.key,
            key_id.to_owned(),
            now,
            terms.validity,
        )?;
        self.sign(with_principals(request.serial(serial), terms.names)?, random)
    }

    /// Certifies one session toward its target. `now` is in seconds since 1970.
    ///
    /// The key id is `user:session`, without spaces because sshd prints it raw: the target's own log then names the
    /// recording.
    ///
    /// # Errors
    /// As for [`issue_user`](Authority::issue_user), and if no source address is given or the validity is beyond its limit.
    pub fn issue_upstream(
        &self,
        terms: &UpstreamTerms<'_>,
        serial: u64,
        now: u64,
        random: &mut dyn Random,
    ) -> Result<Certificate, IssueError> {
        check_user_name(terms.user)?;
        if terms.session.is_empty()
            || !terms
                .session
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(refused(
                terms.session,
                "a session id of letters, digits and hyphens",
            ));
        }
        if terms.source_addresses.is_empty() {
            return Err(refused("", "an address from which the data plane dials"));
        }
        if terms.validity > UPSTREAM_VALIDITY_LIMIT {
            return Err(IssueError::Terms {
                got: format!("{:?}", terms.validity),
                expected: "a validity of at most 15 minutes",
            });
        }
        let key_id = format!("{}:{}", terms.user, terms.session);
        let request = request(CertificateType::User, terms.key, key_id, now, terms.validity)?
            .serial(serial)
            .source_addresses(terms.source_addresses);
        let request = with_principals(request, &[terms.login.to_owned()])?;
        self.sign(with_permissions(request, terms.permissions), random)
    }

    fn sign(&self, request: CertificateRequest, random: &mut dyn Random) -> Result<Certificate, IssueError> {
        Ok(request.sign_with(self.public_key(), random, |message| self.signer.sign(message))?)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.public_key().fingerprint())
    }
}

fn request(
    kind: CertificateType,
    key: &PublicKey,
    key_id: String,
    now: u64,
    validity: Duration,
) -> Result<CertificateRequest, IssueError> {
    if key_id.len() > MAX_KEY_ID_LEN {
        return Err(refused(&key_id, "a key id of at most 512 bytes"));
    }
    if validity.as_secs() == 0 {
        return Err(IssueError::Terms {
            got: format!("{validity:?}"),
            expected: "a validity of a second or more",
        });
    }
    let validity = now.saturating_sub(CLOCK_SKEW.as_secs())..now.saturating_add(validity.as_secs());
    Ok(CertificateRequest::new(kind, key.clone(), key_id, validity))
}

fn with_principals(request: CertificateRequest, names: &[String]) -> Result<CertificateRequest, IssueError> {
    if !(1..=MAX_PRINCIPALS).contains(&names.len()) {
        let got = format!("{} names", names.len());
        return Err(IssueError::Terms {
            got,
            expected: "1 to 256",
        });
    }
    // No login or host name has these. A comma would read as two names wherever lists are printed, and from 10.3 on `*`
    // and `?` are patterns to ssh.
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '*' | '?' | '!');
    if let Some(odd) = names.iter().find(|name| name.is_empty() || name.contains(is_odd)) {
        return Err(refused(odd, "a name without spaces, commas and wildcards"));
    }
    Ok(names
        .iter()
        .fold(request, |request, name| request.principal(name)))
}

fn with_permissions(request: CertificateRequest, permissions: &[Permission]) -> CertificateRequest {
    let mut permissions = permissions.to_vec();
    permissions.sort_unstable();
    permissions.dedup();
    permissions.into_iter().fold(request, |request, permission| {
        request.extension(permission.extension())
    })
}

/// The name is read back from key ids: `user`, and `user:session`.
fn check_user_name(name: &str) -> Result<(), IssueError> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == ':';
    match name.is_empty() || name.contains(is_odd) {
        true => Err(refused(name, "a user name without spaces and colons")),
        false => Ok(()),
    }
}

fn refused(got: &str, expected: &'static str) -> IssueError {
    IssueError::Terms {
        got: format!("{got:?}"),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use weir_crypto::random::SystemRandom;
    use weir_ssh::key::SigningKey;

    use super::*;
    use crate::signer::KeySigner;

    const NOW: u64 = 1_782_864_000;

    fn key() -> PublicKey {
        SigningKey::generate_ed25519().public_key().clone()
    }

    fn authority() -> Authority {
        Authority::new(KeySigner::generate())
    }

    fn upstream<'a>(key: &'a PublicKey, networks: &'a [Network]) -> UpstreamTerms<'a> {
        UpstreamTerms {
            key,
            user: "alice",
            session: "01J9ZQ7VX8Y4K2M3N5P6R7S8T9",
            login: "root",
            source_addresses: networks,
            permissions: &[Permission::Pty],
            validity: UPSTREAM_VALIDITY,
        }
    }

    #[test]
    fn an_upstream_certificate_grants_one_login_one_minute_from_one_place() {
        let (authority, key) = (authority(), key());
        let networks = ["192.0.2.7".parse().unwrap()];
        let issued = authority
            .issue_upstream(&upstream(&key, &networks), 4711, NOW, &mut SystemRandom)
            .unwrap();
        assert_eq!(issued.key_id(), "alice:01J9ZQ7VX8Y4K2M3N5P6R7S8T9");
        assert_eq!(
            (issued.serial(), issued.principals()),
            (4711, &["root".to_owned()][..])
        );
        assert_eq!(
            (issued.valid_after(), issued.valid_before()),
            (NOW - 60, NOW + 60)
        );
        let check = |login, now, from: &str| {
            let trusted = |key: &[u8]| key == authority.public_key().blob();
            issued
                .clone()
                .check_user(login, now, from.parse().unwrap(), trusted)
        };
        let checked = check("root", NOW, "192.0.2.7").unwrap();
        assert!(
            checked.permits_pty()
                && !checked.permits_port_forwarding()
                && !checked.permits_agent_forwarding()
        );
        check("root", NOW, "192.0.2.8").unwrap_err();
        check("postgres", NOW, "192.0.2.7").unwrap_err();
        check("root", NOW + 60, "192.0.2.7").unwrap_err();
    }

    #[test]
    fn terms_that_would_mislead_somebody_are_refused() {
        let (authority, key) = (authority(), key());
        let networks = ["192.0.2.7".parse().unwrap()];
        let good = upstream(&key, &networks);
        let refused = |terms: UpstreamTerms<'_>| {
            let error = authority
                .issue_upstream(&terms, 1, NOW, &mut SystemRandom)
                .unwrap_err();
            assert!(matches!(error, IssueError::Terms { .. }), "{error}");
        };
        refused(UpstreamTerms {
            source_addresses: &[],
            ..good.clone()
        });
        for validity in [
            Duration::ZERO,
            UPSTREAM_VALIDITY_LIMIT + Duration::from_secs(1),
            Duration::MAX,
        ] {
            refused(UpstreamTerms {
                validity,
                ..good.clone()
            });
        }
        for user in ["", "alice smith", "alice:01J9", "alice\n"] {
            refused(UpstreamTerms { user, ..good.clone() });
        }
        for session in ["", "01J9 serial=1", "a:b"] {
            refused(UpstreamTerms {
                session,
                ..good.clone()
            });
        }
        for login in ["", "root,postgres", "*", "ro ot", "root\0"] {
            refused(UpstreamTerms {
                login,
                ..good.clone()
            });
        }
        let long = "x".repeat(600);
        refused(UpstreamTerms {
            user: &long,
            ..good.clone()
        });

        let nobody = UserTerms {
            key: &key,
            user: "alice",
            logins: &[],
            permissions: &[],
            source_addresses: &[],
            validity: Duration::from_secs(1),
        };
        authority
            .issue_user(&nobody, 1, NOW, &mut SystemRandom)
            .unwrap_err();
        let logins = ["root".to_owned()];
        let never = UserTerms {
            logins: &logins,
            validity: Duration::ZERO,
            ..nobody.clone()
        };
        authority
            .issue_user(&never, 1, NOW, &mut SystemRandom)
            .unwrap_err();
        let nameless = HostTerms {
            key: &key,
            names: &[],
            validity: Duration::from_secs(1),
        };
        authority
            .issue_host(&nameless, 1, NOW, &mut SystemRandom)
            .unwrap_err();
    }

    #[test]
    fn a_signer_that_fails_makes_no_certificate() {
        struct Unplugged(PublicKey);
        impl Signer for Unplugged {
            fn public_key(&self) -> &PublicKey {
                &self.0
            }
            fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignerError> {
                Err(SignerError("the token is unplugged".into()))
            }
        }
        let authority = Authority::new(Unplugged(key()));
        let names = ["web1".to_owned()];
        let terms = HostTerms {
            key: &key(),
            names: &names,
            validity: Duration::from_secs(60),
        };
        let error = authority
            .issue_host(&terms, 1, NOW, &mut SystemRandom)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "authority key cannot sign: the token is unplugged"
        );
    }
}
