//! OpenSSH certificates (PROTOCOL.certkeys): reading, checking and making them.
//!
//! A [`Certificate`] is what somebody *claims*: parsed, bounded, not checked. [`Certificate::check_user`] turns it into
//! a [`UserCertificate`], which exists only for a certificate that a trusted authority signed and that is good for
//! this login, at this time, from this address. [`Certificate::check_host`] is the same question about a host.
//!
//! The signature is checked over the bytes that came, never over a re-encoding of what was understood of them: an
//! option that occurs twice, or in another order, is then judged as it was signed.

mod address;
mod check;
mod host_policy;
mod issue;
mod time;

use crate::key::{KeyError, KeyType, PublicKey, SignatureError, decode_line, encode_line, printable};
use crate::wire::{Reader, WireError, Writer};

pub use address::{AddressError, Network};
pub use check::UserCertificate;
pub use host_policy::{HostKeyPolicy, PLAIN_HOST_KEY};
pub use issue::{CertificateRequest, MAX_KEY_ID_LEN};
pub use time::UtcTime;

/// Longest certificate that is read, in bytes. The largest that ssh-keygen makes in earnest (RSA 8192, a few hundred
/// principals) stays below a quarter of it.
pub const MAX_CERTIFICATE_LEN: usize = 64 * 1024;

/// Most principals in a certificate; OpenSSH's `SSHKEY_CERT_MAX_PRINCIPALS`.
pub const MAX_PRINCIPALS: usize = 256;

/// Most critical options and most extensions in a certificate; OpenSSH knows eight in all.
pub const MAX_OPTIONS: usize = 64;

/// Whom a certificate speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateType {
    /// `SSH_CERT_TYPE_USER`
    User = 1,
    /// `SSH_CERT_TYPE_HOST`
    Host = 2,
}

impl CertificateType {
    fn name(self) -> &'static str {
        match self {
            CertificateType::User => "user",
            CertificateType::Host => "host",
        }
    }
}

impl std::fmt::Display for CertificateType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A critical option or an extension: its name, and its data as it stands in the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateOption {
    /// `source-address`, `permit-pty`, …
    pub name: String,
    /// Empty for a flag; else one `string` with the value.
    pub data: Vec<u8>,
}

impl CertificateOption {
    /// The value in the data, if it is text.
    pub fn value(&self) -> Result<&str, CertificateError> {
        let malformed = || CertificateError::MalformedOption(printable(self.name.as_bytes()));
        let mut reader = Reader::new(&self.data);
        let value = reader.text().map_err(|_| malformed())?;
        reader.finish().map_err(|_| malformed())?;
        Ok(value)
    }
}

/// A certificate as it was claimed: well formed, and neither its signature nor anything in it checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    blob: Vec<u8>,
    /// How much of the blob the authority signed.
    signed_len: usize,
    key: PublicKey,
    serial: u64,
    kind: CertificateType,
    key_id: String,
    principals: Vec<String>,
    valid_after: u64,
    valid_before: u64,
    critical_options: Vec<CertificateOption>,
    extensions: Vec<CertificateOption>,
    authority: PublicKey,
    signature: Vec<u8>,
}

/// Why a certificate cannot be read, or does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A plain key came instead.
    #[error("got a plain {0} key while expecting a certificate")]
    PlainKey(KeyType),
    /// The blob is of a type that is not supported.
    #[error("unsupported certificate type {0:?}")]
    UnknownType(String),
    /// The bytes do not have the form of a certificate.
    #[error("malformed certificate: {0}")]
    Malformed(#[from] WireError),
    /// A field holds what it must not.
    #[error("malformed certificate: {0}")]
    MalformedField(&'static str),
    /// The certified key cannot be used.
    #[error("certified key: {0}")]
    Key(KeyError),
    /// The authority's key cannot be used, or is itself a certificate.
    #[error("certificate authority: {0}")]
    Authority(KeyError),
    /// The text is not `type base64 comment`.
    #[error("not a certificate in openssh's one-line form")]
    NotALine,
    /// The authority's signature is not accepted.
    #[error("certificate signature: {0}")]
    Signature(#[from] SignatureError),
    /// The authority is not one that is trusted for this.
    #[error("certificate authority {fingerprint} is not trusted")]
    UntrustedAuthority {
        /// SHA-256 fingerprint of its key.
        fingerprint: String,
    },
    /// A host's certificate for a user, or the reverse.
    #[error("got a {got} certificate while expecting a {expected} certificate")]
    WrongType {
        /// What it is.
        got: CertificateType,
        /// What was needed.
        expected: CertificateType,
    },
    /// Its time has not come.
    #[error("certificate is not valid before {valid_after} (it is {now})")]
    NotYetValid {
        /// The first second at which it is valid.
        valid_after: UtcTime,
        /// The time of the check.
        now: UtcTime,
    },
    /// Its time is over.
    #[error("certificate expired at {valid_before} (it is {now})")]
    Expired {
        /// The first second at which it is not valid any more.
        valid_before: UtcTime,
        /// The time of the check.
        now: UtcTime,
    },
    /// It names nobody. Old OpenSSH read that as "everybody".
    #[error("certificate names no principals")]
    NoPrincipals,
    /// It does not name who is asked for.
    #[error("certificate is for {named} while expecting {wanted:?}")]
    WrongPrincipal {
        /// The login or host name asked for.
        wanted: String,
        /// The names in it, for the log.
        named: String,
    },
    /// PROTOCOL.certkeys: "If an implementation does not recognise a critical option … it should refuse".
    #[error("certificate has the unknown critical option {0:?}")]
    UnknownCriticalOption(String),
    /// PROTOCOL.certkeys: "Each named option may only appear once in a certificate."
    #[error("certificate has the option {0:?} twice")]
    RepeatedOption(String),
    /// The option's data does not have the form that its name asks for.
    #[error("certificate option {0:?} has malformed data")]
    MalformedOption(String),
    /// `source-address` holds something that is not a list of networks.
    #[error("certificate option \"source-address\": {0}")]
    SourceAddressList(AddressError),
    /// The peer's address is not in `source-address`.
    #[error("certificate may not be used from {address}")]
    SourceAddress {
        /// Where the peer is.
        address: core::net::IpAddr,
    },
    /// `verify-required` with a key that cannot show that anybody was verified.
    #[error("certificate requires user verification, which a {0} key cannot show")]
    VerificationImpossible(KeyType),
    /// It certifies another key than the one at hand.
    #[error("certificate is for another key")]
    OtherKey,
}

impl Certificate {
    /// Reads a certificate in wire format. Nothing is checked but its form.
    ///
    /// # Errors
    /// [`CertificateError`]: a plain key, an unknown type, missing or surplus bytes, fields out of bounds.
    pub fn parse(blob: &[u8]) -> Result<Certificate, CertificateError> {
        if blob.len() > MAX_CERTIFICATE_LEN {
            return Err(CertificateError::MalformedField("it is longer than 64 KiB"));
        }
        let mut reader = Reader::new(blob);
        let kind = certified_type(reader.string()?)?;
        let _nonce = reader.string()?;
        let key = read_key(&mut reader, kind)?;
        let serial = reader.u64()?;
        let kind = match reader.u32()? {
            1 => CertificateType::User,
            2 => CertificateType::Host,
            _ => {
                return Err(CertificateError::MalformedField(
                    "its type is neither user nor host",
                ));
            }
        };
        let key_id = read_text(reader.string()?, "its key id is not utf-8")?;
        let principals = read_principals(reader.string()?)?;
        let (valid_after, valid_before) = (reader.u64()?, reader.u64()?);
        let critical_options = read_options(reader.string()?)?;
        let extensions = read_options(reader.string()?)?;
        let _reserved = reader.string()?;
        // PROTOCOL.certkeys: the authority's key "must not itself be a certificate"; from_blob knows none.
        let authority = PublicKey::from_blob(reader.string()?).map_err(CertificateError::Authority)?;
        let signed_len = reader.position();
        let signature = reader.string()?.to_vec();
        reader.finish()?;
        Ok(Certificate {
            blob: blob.to_vec(),
            signed_len,
            key,
            serial,
            kind,
            key_id,
            principals,
            valid_after,
            valid_before,
            critical_options,
            extensions,
            authority,
            signature,
        })
    }

    /// Reads `type base64 comment`, the form of `id-cert.pub`.
    ///
    /// # Errors
    /// As for [`parse`](Certificate::parse), and if the line does not have that form.
    pub fn from_openssh(line: &str) -> Result<Certificate, CertificateError> {
        let (name, blob) = decode_line(line).ok_or(CertificateError::NotALine)?;
        let certificate = Certificate::parse(&blob)?;
        if certificate.key.key_type().certificate_name() != name {
            return Err(CertificateError::NotALine);
        }
        Ok(certificate)
    }

    /// `type base64 comment`, without a line end; the comment is left out if empty.
    pub fn to_openssh(&self, comment: &str) -> String {
        encode_line(self.key.key_type().certificate_name(), &self.blob, comment)
    }

    /// The certificate in wire format.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The certified key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The number that the authority gave it.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether it is for a user or a host.
    pub fn certificate_type(&self) -> CertificateType {
        self.kind
    }

    /// The name that the authority gave it, for logs.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The logins or host names that it is good for.
    pub fn principals(&self) -> &[String] {
        &self.principals
    }

    /// Seconds since 1970 from which it is valid.
    pub fn valid_after(&self) -> u64 {
        self.valid_after
    }

    /// Seconds since 1970 from which it is not valid any more.
    pub fn valid_before(&self) -> u64 {
        self.valid_before
    }

    /// Options that a checker must understand.
    pub fn critical_options(&self) -> &[CertificateOption] {
        &self.critical_options
    }

    /// Options that a checker may ignore.
    pub fn extensions(&self) -> &[CertificateOption] {
        &self.extensions
    }

    /// The key of the authority that claims to have signed it.
    pub fn authority(&self) -> &PublicKey {
        &self.authority
    }
}

fn certified_type(name: &[u8]) -> Result<KeyType, CertificateError> {
    if let Some(kind) = KeyType::from_certificate_name(name) {
        return Ok(kind);
    }
    Err(match KeyType::from_name(name) {
        Some(plain) => CertificateError::PlainKey(plain),
        None => CertificateError::UnknownType(printable(name)),
    })
}

/// The certified key stands in the certificate without its type, all of its fields `string`s or `mpint`s.
fn read_key(reader: &mut Reader<'_>, kind: KeyType) -> Result<PublicKey, CertificateError> {
    let fields = match kind {
        KeyType::Ed25519 => 1,
        KeyType::Ecdsa(_) | KeyType::Rsa | KeyType::SkEd25519 => 2,
        KeyType::SkEcdsaP256 => 3,
    };
    let start = reader.position();
    for _ in 0..fields {
        reader.string()?;
    }
    let mut blob = Vec::new();
    blob.put_string(kind.name());
    blob.put_bytes(reader.since(start));
    PublicKey::from_blob(&blob).map_err(CertificateError::Key)
}

fn read_principals(list: &[u8]) -> Result<Vec<String>, CertificateError> {
    let mut reader = Reader::new(list);
    let mut principals = Vec::new();
    while !reader.is_empty() {
        if principals.len() == MAX_PRINCIPALS {
            return Err(CertificateError::MalformedField(
                "it has more than 256 principals",
            ));
        }
        principals.push(read_text(reader.string()?, "a principal is not utf-8")?);
    }
    Ok(principals)
}

fn read_options(list: &[u8]) -> Result<Vec<CertificateOption>, CertificateError> {
    let mut reader = Reader::new(list);
    let mut options: Vec<CertificateOption> = Vec::new();
    while !reader.is_empty() {
        if options.len() == MAX_OPTIONS {
            return Err(CertificateError::MalformedField("it has more than 64 options"));
        }
        let name = read_text(reader.string()?, "the name of an option is not utf-8")?;
        if options.iter().any(|option| option.name == name) {
            return Err(CertificateError::RepeatedOption(printable(name.as_bytes())));
        }
        let data = reader.string()?.to_vec();
        options.push(CertificateOption { name, data });
    }
    Ok(options)
}

fn read_text(bytes: &[u8], otherwise: &'static str) -> Result<String, CertificateError> {
    let text = std::str::from_utf8(bytes).map_err(|_| CertificateError::MalformedField(otherwise))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
