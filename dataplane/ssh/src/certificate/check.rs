//! Is this certificate good for that login, or for that host, here and now?

use core::net::IpAddr;

use super::{Certificate, CertificateError, CertificateType, Network, UtcTime};
use crate::key::printable;

/// A user's certificate that has been checked: by a trusted authority, for this login, at that time, from that
/// address, with no critical option that was not understood.
///
/// Made by [`Certificate::check_user`] alone. It says that the *certificate* is good; that its holder is at the other
/// end says only a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCertificate {
    certificate: Certificate,
    principal: String,
    force_command: Option<String>,
    requires_verification: bool,
}

impl Certificate {
    /// Checks that this certificate lets its holder log in as `principal`.
    ///
    /// `now` is in seconds since 1970; `trusts_authority` is asked with the authority's key in wire format.
    ///
    /// # Errors
    /// [`CertificateError`], the first that applies in this order: type, authority, signature, critical options, time,
    /// principal, address. What a stranger claims is thus not looked at before the authority's signature stands.
    pub fn check_user(
        self,
        principal: &str,
        now: u64,
        client: IpAddr,
        trusts_authority: impl FnOnce(&[u8]) -> bool,
    ) -> Result<UserCertificate, CertificateError> {
        self.check_authority(CertificateType::User, trusts_authority)?;
        let options = self.user_options()?;
        self.check_time(now)?;
        self.check_principal(principal, |named| named == principal)?;
        if let Some(networks) = options.source_addresses
            && !networks.iter().any(|network| network.contains(client))
        {
            return Err(CertificateError::SourceAddress {
                address: client.to_canonical(),
            });
        }
        if options.requires_verification && !self.key.key_type().is_security_key() {
            return Err(CertificateError::VerificationImpossible(self.key.key_type()));
        }
        Ok(UserCertificate {
            certificate: self,
            principal: principal.to_owned(),
            force_command: options.force_command,
            requires_verification: options.requires_verification,
        })
    }

    /// Checks that this certificate speaks for the host that was dialled as `name`, without its port.
    ///
    /// Names are compared whole and without regard to ASCII case, as OpenSSH does up to 10.2; there are no wildcards.
    ///
    /// # Errors
    /// [`CertificateError`], the first that applies in this order: type, authority, signature, critical options (a
    /// host certificate has none), time, name.
    pub fn check_host(
        &self,
        name: &str,
        now: u64,
        trusts_authority: impl FnOnce(&[u8]) -> bool,
    ) -> Result<(), CertificateError> {
        self.check_authority(CertificateType::Host, trusts_authority)?;
        // PROTOCOL.certkeys: "there are no critical options defined for host certificates".
        if let Some(option) = self.critical_options.first() {
            return Err(CertificateError::UnknownCriticalOption(printable(
                option.name.as_bytes(),
            )));
        }
        self.check_time(now)?;
        self.check_principal(name, |named| named.eq_ignore_ascii_case(name))
    }

    fn check_authority(
        &self,
        expected: CertificateType,
        trusts_authority: impl FnOnce(&[u8]) -> bool,
    ) -> Result<(), CertificateError> {
        if self.kind != expected {
            return Err(CertificateError::WrongType {
                got: self.kind,
                expected,
            });
        }
        if !trusts_authority(self.authority.blob()) {
            return Err(CertificateError::UntrustedAuthority {
                fingerprint: self.authority.fingerprint(),
            });
        }
        self.authority
            .verify_any(&self.blob[..self.signed_len], &self.signature)?;
        Ok(())
    }

    fn check_time(&self, now: u64) -> Result<(), CertificateError> {
        // PROTOCOL.certkeys: "valid after <= current time < valid before".
        if now < self.valid_after {
            return Err(CertificateError::NotYetValid {
                valid_after: UtcTime(self.valid_after),
                now: UtcTime(now),
            });
        }
        if now >= self.valid_before {
            return Err(CertificateError::Expired {
                valid_before: UtcTime(self.valid_before),
                now: UtcTime(now),
            });
        }
        Ok(())
    }

    fn check_principal(
        &self,
        wanted: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), CertificateError> {
        // PROTOCOL.certkeys has an empty list mean "any principal"; OpenSSH refuses that for users' certificates that
        // come from a trusted authority's key, and since 10.3 for hosts' too.
        if self.principals.is_empty() {
            return Err(CertificateError::NoPrincipals);
        }
        if wanted.is_empty() || !self.principals.iter().any(|named| is_wanted(named)) {
            return Err(CertificateError::WrongPrincipal {
                wanted: printable(wanted.as_bytes()),
                named: printable(self.principals.join(",").as_bytes()),
            });
        }
        Ok(())
    }

    fn user_options(&self) -> Result<UserOptions, CertificateError> {
        let mut known = UserOptions::default();
        for option in &self.critical_options {
            match option.name.as_str() {
                "force-command" => known.force_command = Some(option.value()?.to_owned()),
                "source-address" => {
                    let networks = Network::parse_list(option.value()?);
                    known.source_addresses = Some(networks.map_err(CertificateError::SourceAddressList)?);
                }
                "verify-required" if option.data.is_empty() => known.requires_verification = true,
                "verify-required" => return Err(CertificateError::MalformedOption(option.name.clone())),
                name => {
                    return Err(CertificateError::UnknownCriticalOption(printable(
                        name.as_bytes(),
                    )));
                }
            }
        }
        Ok(known)
    }
}

#[derive(Default)]
struct UserOptions {
    force_command: Option<String>,
    source_addresses: Option<Vec<Network>>,
    requires_verification: bool,
}

impl UserCertificate {
    /// What was checked.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The login for which it was checked.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The command that runs in place of whatever is asked for.
    pub fn force_command(&self) -> Option<&str> {
        self.force_command.as_deref()
    }

    /// Whether the security key must have checked a PIN or a biometric for each signature.
    pub fn requires_verification(&self) -> bool {
        self.requires_verification
    }

    /// Whether the extension `permit-pty` stands in it. What is not permitted is forbidden.
    pub fn permits_pty(&self) -> bool {
        self.has_extension("permit-pty")
    }

    /// Whether the extension `permit-port-forwarding` stands in it.
    pub fn permits_port_forwarding(&self) -> bool {
        self.has_extension("permit-port-forwarding")
    }

    /// Whether the extension `permit-agent-forwarding` stands in it.
    pub fn permits_agent_forwarding(&self) -> bool {
        self.has_extension("permit-agent-forwarding")
    }

    /// Whether the extension `permit-X11-forwarding` stands in it.
    pub fn permits_x11_forwarding(&self) -> bool {
        self.has_extension("permit-X11-forwarding")
    }

    /// Whether an extension of that name stands in it.
    pub fn has_extension(&self, name: &str) -> bool {
        self.certificate
            .extensions
            .iter()
            .any(|option| option.name == name)
    }
}
