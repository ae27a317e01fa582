//! Host keys: what a server shows and signs the exchange hash with.

use std::sync::Arc;

use super::private::SigningError;
use super::{KeyError, PublicKey, PublicKeyAlgorithm, SignatureError, SigningKey};
use crate::algorithm::HostKeyAlgorithm;
use crate::certificate::{Certificate, CertificateError};
use crate::wire::Reader;

/// A host key of ours, plain or with its certificate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HostKey {
    key: SigningKey,
    certificate: Option<Arc<Certificate>>,
}

/// Why a peer's host key does not stand for the exchange.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// The key is of another type than agreed.
    #[error("got a host key of type {got:?} while expecting {expected}")]
    WrongType {
        /// First string of the blob.
        got: String,
        /// What the negotiated algorithm asks for.
        expected: &'static str,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The exchange was not signed by that key.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl HostKey {
    /// A host key without a certificate.
    pub fn plain(key: SigningKey) -> HostKey {
        HostKey {
            key,
            certificate: None,
        }
    }

    /// A host key with the certificate for it. Whether clients will accept the certificate is their matter.
    ///
    /// # Errors
    /// [`CertificateError::OtherKey`] if the certificate is for another key.
    pub fn certified(key: SigningKey, certificate: Certificate) -> Result<HostKey, CertificateError> {
        if certificate.key() != key.public_key() {
            return Err(CertificateError::OtherKey);
        }
        Ok(HostKey {
            key,
            certificate: Some(certificate.into()),
        })
    }

    /// What the client is shown: a plain key or a certificate, in wire format.
    pub fn blob(&self) -> &[u8] {
        match &self.certificate {
            Some(certificate) => certificate.blob(),
            None => self.key.public_key().blob(),
        }
    }

    /// The plain public key.
    pub fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// The algorithms for which this key can be shown, best first.
    pub fn algorithms(&self) -> impl Iterator<Item = HostKeyAlgorithm> + use<'_> {
        HostKeyAlgorithm::ALL
            .iter()
            .copied()
            .filter(|&algorithm| self.serves(algorithm))
    }

    /// Whether this key can be shown for `algorithm`.
    pub fn serves(&self, algorithm: HostKeyAlgorithm) -> bool {
        let algorithm = PublicKeyAlgorithm::from(algorithm);
        algorithm.certified == self.certificate.is_some()
            && algorithm.signature.key_type() == self.key.public_key().key_type()
    }

    /// Signs `message` (the exchange hash) as `algorithm` asks; the answer is a signature blob.
    ///
    /// # Errors
    /// [`SigningError`] if this key does not [serve](HostKey::serves) `algorithm`.
    pub fn sign(&self, algorithm: HostKeyAlgorithm, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let signature = PublicKeyAlgorithm::from(algorithm).signature;
        if !self.serves(algorithm) {
            return Err(SigningError {
                key: self.key.public_key().key_type(),
                algorithm: signature,
            });
        }
        self.key.sign(signature, message)
    }
}

/// Checks that the peer signed `message` (the exchange hash) with the host key that it shows, as negotiated.
/// Says nothing about whether that key is to be trusted.
///
/// # Errors
/// [`HostKeyError`].
pub fn verify_host_signature(
    algorithm: HostKeyAlgorithm,
    host_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), HostKeyError> {
    let algorithm = PublicKeyAlgorithm::from(algorithm);
    let name = Reader::new(host_key).string().unwrap_or(&[]);
    if name != algorithm.blob_name().as_bytes() {
        return Err(HostKeyError::WrongType {
            got: super::printable(name),
            expected: algorithm.blob_name(),
        });
    }
    if algorithm.certified {
        Certificate::parse(host_key)?
            .key()
            .verify(algorithm.signature, message, signature)?;
    } else {
        PublicKey::from_blob(host_key)?.verify(algorithm.signature, message, signature)?;
    }
    Ok(())
}

impl From<HostKeyAlgorithm> for PublicKeyAlgorithm {
    fn from(algorithm: HostKeyAlgorithm) -> PublicKeyAlgorithm {
        PublicKeyAlgorithm::from_name(algorithm.name().as_bytes())
            .expect("hosts use names that user keys have as well")
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{signing_key, signing_keys};
    use super::*;

    #[test]
    fn every_host_key_algorithm_is_one_of_the_user_key_algorithms() {
        for &algorithm in HostKeyAlgorithm::ALL {
            let same = PublicKeyAlgorithm::from(algorithm);
            assert_eq!(same.name(), algorithm.name());
            assert_eq!(same.blob_name(), algorithm.key_type());
            assert_eq!(same.signature.name(), algorithm.signature_name());
        }
    }

    #[test]
    fn host_keys_sign_for_their_algorithms_only() {
        const HASH: &[u8] = b"the exchange hash";
        for key in signing_keys() {
            let host = HostKey::plain(key);
            assert!(host.algorithms().count() >= 1);
            for algorithm in host.algorithms() {
                let signature = host.sign(algorithm, HASH).unwrap();
                verify_host_signature(algorithm, host.blob(), HASH, &signature).unwrap();
                verify_host_signature(algorithm, host.blob(), b"another", &signature).unwrap_err();
            }
            host.sign(HostKeyAlgorithm::Ed25519Cert, HASH).unwrap_err();
        }
        let host = HostKey::plain(signing_key("ed25519"));
        let signature = host.sign(HostKeyAlgorithm::Ed25519, HASH).unwrap();
        let error = verify_host_signature(HostKeyAlgorithm::Ed25519Cert, host.blob(), HASH, &signature);
        assert!(matches!(error, Err(HostKeyError::WrongType { .. })));
    }
}
