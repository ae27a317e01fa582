//! Making certificates.

use weir_crypto::random::Random;

use super::{Certificate, CertificateOption, CertificateType, Network};
use crate::key::{PublicKey, SigningKey};
use crate::wire::Writer;

/// Longest key id that should be given, in bytes: sshd cuts a line of its log at 1,023, and the key id is not all of it.
pub const MAX_KEY_ID_LEN: usize = 512;

/// What a certificate is to say. Starts with no principals, no options and no extensions: each is a grant.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    key: PublicKey,
    kind: CertificateType,
    serial: u64,
    key_id: String,
    principals: Vec<String>,
    validity: std::ops::Range<u64>,
    critical_options: Vec<CertificateOption>,
    extensions: Vec<CertificateOption>,
}

impl CertificateRequest {
    /// A certificate for `key`, valid from the start of `validity` until before its end, in seconds since 1970.
    pub fn new(
        kind: CertificateType,
        key: PublicKey,
        key_id: impl Into<String>,
        validity: std::ops::Range<u64>,
    ) -> CertificateRequest {
        CertificateRequest {
            key,
            kind,
            serial: 0,
            key_id: key_id.into(),
            principals: Vec::new(),
            validity,
            critical_options: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// The number by which the authority knows it.
    #[must_use]
    pub fn serial(mut self, serial: u64) -> Self {
        self.serial = serial;
        self
    }

    /// Adds a login or a host name.
    #[must_use]
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principals.push(principal.into());
        self
    }

    /// Allows it to be used from these networks only. An empty list allows none, and sshd refuses it.
    #[must_use]
    pub fn source_addresses(self, networks: &[Network]) -> Self {
        let list: Vec<String> = networks.iter().map(Network::to_string).collect();
        self.critical_option("source-address", &list.join(","))
    }

    /// Runs `command` whatever is asked for.
    #[must_use]
    pub fn force_command(self, command: &str) -> Self {
        self.critical_option("force-command", command)
    }

    /// Adds a critical option; with an empty `value`, as a flag.
    #[must_use]
    pub fn critical_option(mut self, name: &str, value: &str) -> Self {
        add(&mut self.critical_options, name, value);
        self
    }

    /// Adds an extension that is a flag, `permit-pty` for example.
    #[must_use]
    pub fn extension(mut self, name: &str) -> Self {
        add(&mut self.extensions, name, "");
        self
    }

    /// Has `authority` sign it, with a nonce from `random`.
    ///
    /// # Panics
    /// As [`sign_with`](CertificateRequest::sign_with).
    pub fn sign(self, authority: &SigningKey, random: &mut dyn Random) -> Certificate {
        let signed = self.sign_with(authority.public_key(), random, |message| {
            Ok::<_, std::convert::Infallible>(authority.sign_with_best(message))
        });
        match signed {
            Ok(certificate) => certificate,
            Err(never) => match never {},
        }
    }

    /// Has somebody who holds the private half of `authority` sign it: `sign` gets the bytes to be signed and answers
    /// with a signature blob.
    ///
    /// # Errors
    /// Whatever `sign` answers.
    ///
    /// # Panics
    /// If the request asks for something that no certificate can hold (more than 256 principals, a megabyte of options):
    /// a caller's mistake that must not become a certificate that nobody can read.
    pub fn sign_with<E>(
        self,
        authority: &PublicKey,
        random: &mut dyn Random,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Certificate, E> {
        let mut nonce = [0; 32];
        random.fill(&mut nonce);
        let mut blob = self.encode(authority, &nonce);
        let signature = sign(&blob)?;
        blob.put_string(&signature);
        Ok(Certificate::parse(&blob).expect("a certificate of our own making is well formed"))
    }

    /// Everything up to the signature.
    pub(super) fn encode(mut self, authority: &PublicKey, nonce: &[u8]) -> Vec<u8> {
        let kind = self.key.key_type();
        let mut out = Vec::with_capacity(1024);
        out.put_string(kind.certificate_name());
        out.put_string(nonce);
        // The fields of the key without its type, which is the first string of its blob.
        out.put_bytes(&self.key.blob()[4 + kind.name().len()..]);
        out.put_u64(self.serial);
        out.put_u32(self.kind as u32);
        out.put_string(&self.key_id);
        out.put_nested(|out| {
            self.principals
                .iter()
                .for_each(|principal| out.put_string(principal))
        });
        out.put_u64(self.validity.start);
        out.put_u64(self.validity.end);
        for options in [&mut self.critical_options, &mut self.extensions] {
            // PROTOCOL.certkeys: "Options must be lexically ordered by name".
            options.sort_by(|a, b| a.name.cmp(&b.name));
            out.put_nested(|out| {
                for option in options {
                    out.put_string(&option.name);
                    out.put_string(&option.data);
                }
            });
        }
        out.put_string("");
        out.put_string(authority.blob());
        out
    }
}

fn add(options: &mut Vec<CertificateOption>, name: &str, value: &str) {
    let mut data = Vec::new();
    if !value.is_empty() {
        data.put_string(value);
    }
    options.push(CertificateOption {
        name: name.to_owned(),
        data,
    });
}
