//! Keys that ssh-keygen made, for the tests of this crate. They guard nothing.

use super::signature::security_key_message;
use super::{PublicKey, SignatureAlgorithm, SigningKey};
use crate::wire::{Reader, Writer};

/// One of each kind of key, by the name of its file.
pub(crate) const KEYS: [(&str, &str, &str); 7] = [
    (
        "ed25519",
        include_str!("testdata/ed25519"),
        include_str!("testdata/ed25519.pub"),
    ),
    (
        "ecdsa256",
        include_str!("testdata/ecdsa256"),
        include_str!("testdata/ecdsa256.pub"),
    ),
    (
        "ecdsa384",
        include_str!("testdata/ecdsa384"),
        include_str!("testdata/ecdsa384.pub"),
    ),
    (
        "ecdsa521",
        include_str!("testdata/ecdsa521"),
        include_str!("testdata/ecdsa521.pub"),
    ),
    (
        "rsa",
        include_str!("testdata/rsa"),
        include_str!("testdata/rsa.pub"),
    ),
    (
        "ecdsa256_short",
        include_str!("testdata/ecdsa256_short"),
        include_str!("testdata/ecdsa256_short.pub"),
    ),
    (
        "ecdsa521_short",
        include_str!("testdata/ecdsa521_short"),
        include_str!("testdata/ecdsa521_short.pub"),
    ),
];

/// The key of that name.
pub(crate) fn signing_key(name: &str) -> SigningKey {
    let (_, text, _) = KEYS.iter().find(|(file, ..)| *file == name).unwrap();
    SigningKey::from_openssh(text).unwrap()
}

/// All of them.
pub(crate) fn signing_keys() -> impl Iterator<Item = SigningKey> {
    KEYS.iter()
        .map(|(_, text, _)| SigningKey::from_openssh(text).unwrap())
}

/// A security key in software: the key of a fixture under the name of a security key.
pub(crate) struct SoftwareSecurityKey {
    key: SigningKey,
    pub(crate) public: PublicKey,
    pub(crate) algorithm: SignatureAlgorithm,
}

impl SoftwareSecurityKey {
    pub(crate) fn ed25519() -> SoftwareSecurityKey {
        SoftwareSecurityKey {
            key: signing_key("ed25519"),
            public: PublicKey::from_openssh(include_str!("testdata/sk_ed25519.pub")).unwrap(),
            algorithm: SignatureAlgorithm::SkEd25519,
        }
    }

    pub(crate) fn ecdsa() -> SoftwareSecurityKey {
        SoftwareSecurityKey {
            key: signing_key("ecdsa256"),
            public: PublicKey::from_openssh(include_str!("testdata/sk_ecdsa256.pub")).unwrap(),
            algorithm: SignatureAlgorithm::SkEcdsaP256,
        }
    }

    /// Signs as the hardware does: 1 in `flags` for a touch, 4 for a PIN.
    pub(crate) fn sign(&self, flags: u8, message: &[u8]) -> Vec<u8> {
        const COUNTER: u32 = 4711;
        let plain = self
            .key
            .sign_with_best(&security_key_message("ssh:", flags, COUNTER, message));
        let mut reader = Reader::new(&plain);
        reader.string().unwrap();
        let mut blob = Vec::new();
        blob.put_string(self.algorithm.name());
        blob.put_string(reader.string().unwrap());
        blob.put_u8(flags);
        blob.put_u32(COUNTER);
        blob
    }
}
