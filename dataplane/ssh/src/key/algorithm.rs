//! The names of keys and signatures, and which belongs to which.
//!
//! Three name spaces look alike and are easily confused:
//!
//! | where | RSA | RSA certificate | type here |
//! |---|---|---|---|
//! | first string of a key blob | `ssh-rsa` | `ssh-rsa-cert-v01@openssh.com` | [`KeyType`], certified or not |
//! | KEXINIT, USERAUTH_REQUEST, `server-sig-algs` | `rsa-sha2-256` | `rsa-sha2-256-cert-v01@openssh.com` | [`PublicKeyAlgorithm`] |
//! | first string of a signature blob | `rsa-sha2-256` | `rsa-sha2-256` | [`SignatureAlgorithm`] |
//!
//! `ssh-rsa` as a *signature* (SHA-1) has no value in these types: it can be neither made nor accepted.

use std::fmt;

use weir_crypto::sign::{NistCurve, SignatureScheme};

/// What kind of key a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RFC 8709.
    Ed25519,
    /// RFC 5656.
    Ecdsa(NistCurve),
    /// RFC 4253 §6.6; signs with SHA-2 only (RFC 8332).
    Rsa,
    /// OpenSSH PROTOCOL.u2f.
    SkEd25519,
    /// OpenSSH PROTOCOL.u2f.
    SkEcdsaP256,
}

impl KeyType {
    /// Every kind of key, in the order in which OpenSSH lists them.
    pub const ALL: [KeyType; 7] = [
        KeyType::Ed25519,
        KeyType::Ecdsa(NistCurve::P256),
        KeyType::Ecdsa(NistCurve::P384),
        KeyType::Ecdsa(NistCurve::P521),
        KeyType::SkEd25519,
        KeyType::SkEcdsaP256,
        KeyType::Rsa,
    ];

    /// First string of the blob of a plain key.
    pub fn name(self) -> &'static str {
        match self {
            KeyType::Ed25519 => "ssh-ed25519",
            KeyType::Ecdsa(NistCurve::P256) => "ecdsa-sha2-nistp256",
            KeyType::Ecdsa(NistCurve::P384) => "ecdsa-sha2-nistp384",
            KeyType::Ecdsa(NistCurve::P521) => "ecdsa-sha2-nistp521",
            KeyType::Rsa => "ssh-rsa",
            KeyType::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            KeyType::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// First string of the blob of a certificate for such a key (PROTOCOL.certkeys).
    pub fn certificate_name(self) -> &'static str {
        match self {
            KeyType::Ed25519 => "ssh-ed25519-cert-v01@openssh.com",
            KeyType::Ecdsa(NistCurve::P256) => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            KeyType::Ecdsa(NistCurve::P384) => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            KeyType::Ecdsa(NistCurve::P521) => "ecdsa-sha2-nistp521-cert-v01@openssh.com",
            KeyType::Rsa => "ssh-rsa-cert-v01@openssh.com",
            KeyType::SkEd25519 => "sk-ssh-ed25519-cert-v01@openssh.com",
            KeyType::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        }
    }

    /// The kind of plain key whose blobs begin with `name`.
    pub fn from_name(name: &[u8]) -> Option<KeyType> {
        Self::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// The kind of key that certificates beginning with `name` certify.
    pub fn from_certificate_name(name: &[u8]) -> Option<KeyType> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.certificate_name().as_bytes() == name)
    }

    /// The signatures such a key makes, best first.
    pub fn signature_algorithms(self) -> &'static [SignatureAlgorithm] {
        match self {
            KeyType::Ed25519 => &[SignatureAlgorithm::Ed25519],
            KeyType::Ecdsa(NistCurve::P256) => &[SignatureAlgorithm::Ecdsa(NistCurve::P256)],
            KeyType::Ecdsa(NistCurve::P384) => &[SignatureAlgorithm::Ecdsa(NistCurve::P384)],
            KeyType::Ecdsa(NistCurve::P521) => &[SignatureAlgorithm::Ecdsa(NistCurve::P521)],
            KeyType::Rsa => &[SignatureAlgorithm::RsaSha512, SignatureAlgorithm::RsaSha256],
            KeyType::SkEd25519 => &[SignatureAlgorithm::SkEd25519],
            KeyType::SkEcdsaP256 => &[SignatureAlgorithm::SkEcdsaP256],
        }
    }

    /// The curve of an elliptic-curve key over a NIST curve.
    ///
    /// # Panics
    /// For other keys.
    pub(super) fn curve(self) -> NistCurve {
        match self {
            KeyType::Ecdsa(curve) => curve,
            KeyType::SkEcdsaP256 => NistCurve::P256,
            kind => panic!("a key of type {kind} is on no NIST curve"),
        }
    }

    /// Whether the key lives in a security key and signs with flags and a counter.
    pub fn is_security_key(self) -> bool {
        matches!(self, KeyType::SkEd25519 | KeyType::SkEcdsaP256)
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a signature was made; names the signature blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RFC 8709.
    Ed25519,
    /// RFC 5656 §3.1.2, with the hash that belongs to the curve.
    Ecdsa(NistCurve),
    /// RFC 8332.
    RsaSha256,
    /// RFC 8332.
    RsaSha512,
    /// OpenSSH PROTOCOL.u2f.
    SkEd25519,
    /// OpenSSH PROTOCOL.u2f.
    SkEcdsaP256,
}

impl SignatureAlgorithm {
    /// Every signature algorithm, in the order in which they are offered.
    pub const ALL: [SignatureAlgorithm; 8] = [
        SignatureAlgorithm::Ed25519,
        SignatureAlgorithm::Ecdsa(NistCurve::P256),
        SignatureAlgorithm::Ecdsa(NistCurve::P384),
        SignatureAlgorithm::Ecdsa(NistCurve::P521),
        SignatureAlgorithm::SkEd25519,
        SignatureAlgorithm::SkEcdsaP256,
        SignatureAlgorithm::RsaSha512,
        SignatureAlgorithm::RsaSha256,
    ];

    /// First string of the signature blob.
    pub fn name(self) -> &'static str {
        match self {
            SignatureAlgorithm::RsaSha256 => "rsa-sha2-256",
            SignatureAlgorithm::RsaSha512 => "rsa-sha2-512",
            _ => self.key_type().name(),
        }
    }

    /// The algorithm of signature blobs that begin with `name`.
    pub fn from_name(name: &[u8]) -> Option<SignatureAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().as_bytes() == name)
    }

    /// The kind of key that makes such signatures.
    pub fn key_type(self) -> KeyType {
        match self {
            SignatureAlgorithm::Ed25519 => KeyType::Ed25519,
            SignatureAlgorithm::Ecdsa(curve) => KeyType::Ecdsa(curve),
            SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::RsaSha512 => KeyType::Rsa,
            SignatureAlgorithm::SkEd25519 => KeyType::SkEd25519,
            SignatureAlgorithm::SkEcdsaP256 => KeyType::SkEcdsaP256,
        }
    }

    pub(super) fn scheme(self) -> SignatureScheme {
        match self {
            SignatureAlgorithm::Ed25519 | SignatureAlgorithm::SkEd25519 => SignatureScheme::Ed25519,
            SignatureAlgorithm::Ecdsa(NistCurve::P256) | SignatureAlgorithm::SkEcdsaP256 => {
                SignatureScheme::EcdsaP256Sha256
            }
            SignatureAlgorithm::Ecdsa(NistCurve::P384) => SignatureScheme::EcdsaP384Sha384,
            SignatureAlgorithm::Ecdsa(NistCurve::P521) => SignatureScheme::EcdsaP521Sha512,
            SignatureAlgorithm::RsaSha256 => SignatureScheme::RsaSha256,
            SignatureAlgorithm::RsaSha512 => SignatureScheme::RsaSha512,
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a signature is made and what vouches for its key: the name in KEXINIT (host keys), in
/// USERAUTH_REQUEST and in `server-sig-algs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKeyAlgorithm {
    /// How signatures are made.
    pub signature: SignatureAlgorithm,
    /// Whether the key comes in a certificate.
    pub certified: bool,
}

impl PublicKeyAlgorithm {
    /// Signatures by a plain key.
    pub const fn plain(signature: SignatureAlgorithm) -> PublicKeyAlgorithm {
        PublicKeyAlgorithm {
            signature,
            certified: false,
        }
    }

    /// Signatures by a key that comes in a certificate.
    pub const fn certified(signature: SignatureAlgorithm) -> PublicKeyAlgorithm {
        PublicKeyAlgorithm {
            signature,
            certified: true,
        }
    }

    /// Every algorithm, certificates first.
    pub fn all() -> impl Iterator<Item = PublicKeyAlgorithm> {
        let certified = SignatureAlgorithm::ALL
            .into_iter()
            .map(PublicKeyAlgorithm::certified);
        certified.chain(SignatureAlgorithm::ALL.into_iter().map(PublicKeyAlgorithm::plain))
    }

    /// Every algorithm that hosts use (not the security keys, which are people's), certificates first.
    pub fn all_for_hosts() -> impl Iterator<Item = PublicKeyAlgorithm> {
        Self::all().filter(|algorithm| !algorithm.signature.key_type().is_security_key())
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match (self.certified, self.signature) {
            (false, signature) => signature.name(),
            // PROTOCOL.certkeys: RSA certificates have one blob format and a name for each signature hash.
            (true, SignatureAlgorithm::RsaSha256) => "rsa-sha2-256-cert-v01@openssh.com",
            (true, SignatureAlgorithm::RsaSha512) => "rsa-sha2-512-cert-v01@openssh.com",
            (true, signature) => signature.key_type().certificate_name(),
        }
    }

    /// The algorithm called `name`. `ssh-rsa` and its certificate name would mean SHA-1 here and are unknown.
    pub fn from_name(name: &[u8]) -> Option<PublicKeyAlgorithm> {
        Self::all().find(|algorithm| algorithm.name().as_bytes() == name)
    }

    /// First string of the key blobs that go with this algorithm.
    pub fn blob_name(self) -> &'static str {
        match self.certified {
            true => self.signature.key_type().certificate_name(),
            false => self.signature.key_type().name(),
        }
    }
}

impl fmt::Display for PublicKeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_as_itself() {
        for kind in KeyType::ALL {
            assert_eq!(KeyType::from_name(kind.name().as_bytes()), Some(kind));
            assert_eq!(
                KeyType::from_certificate_name(kind.certificate_name().as_bytes()),
                Some(kind)
            );
            assert_eq!(KeyType::from_name(kind.certificate_name().as_bytes()), None);
            for signature in kind.signature_algorithms() {
                assert_eq!(signature.key_type(), kind);
            }
        }
        for algorithm in PublicKeyAlgorithm::all() {
            assert_eq!(
                PublicKeyAlgorithm::from_name(algorithm.name().as_bytes()),
                Some(algorithm)
            );
        }
    }

    #[test]
    fn sha_1_signatures_have_no_name_here() {
        for name in [
            &b"ssh-rsa"[..],
            b"ssh-rsa-cert-v01@openssh.com",
            b"ssh-dss",
            b"rsa-sha2-256\0",
            b"",
        ] {
            assert_eq!(SignatureAlgorithm::from_name(name), None);
            assert_eq!(PublicKeyAlgorithm::from_name(name), None);
        }
    }

    #[test]
    fn rsa_certificates_keep_one_blob_name_for_both_hashes() {
        for signature in [SignatureAlgorithm::RsaSha256, SignatureAlgorithm::RsaSha512] {
            let algorithm = PublicKeyAlgorithm::certified(signature);
            assert_eq!(algorithm.blob_name(), "ssh-rsa-cert-v01@openssh.com");
            assert_ne!(algorithm.name(), algorithm.blob_name());
        }
    }
}
