//! Key agreement: one message each way, a secret on both sides, keys made of it.
//!
//! All methods share the messages of RFC 5656 §4: the client's public value, then the server's with its host key
//! and its signature. The hybrids (draft-ietf-sshm-mlkem-hybrid-kex, draft-ietf-sshm-ntruprime-ssh) put a
//! post-quantum and a classical value one behind the other.

mod schedule;

pub(crate) use schedule::{ExchangeHash, KeySchedule, SessionId};

use weir_crypto::Unauthentic;
use weir_crypto::agreement::{Curve, EphemeralKey, SharedSecret, mlkem768, sntrup761};
use weir_crypto::digest::{HashAlgorithm, hash};
use zeroize::Zeroizing;

use crate::algorithm::KexAlgorithm;
use crate::wire::Writer;

/// The shared secret K as it enters the exchange hash and the keys: an mpint or a string.
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// RFC 5656 §4, RFC 8731 §3.1: the number, as an mpint.
    fn number(shared: &SharedSecret) -> Secret {
        let mut encoded = Zeroizing::new(Vec::with_capacity(4 + 1 + shared.as_ref().len()));
        encoded.put_mpint(shared.as_ref());
        Secret(encoded)
    }

    /// draft-ietf-sshm-mlkem-hybrid-kex §2.4: "K = HASH(K_PQ || K_CL)", as a string.
    fn hybrid(algorithm: HashAlgorithm, quantum: &SharedSecret, classical: &SharedSecret) -> Secret {
        let digest = Zeroizing::new(hash(algorithm, &[quantum.as_ref(), classical.as_ref()]));
        let mut encoded = Zeroizing::new(Vec::with_capacity(4 + 64));
        encoded.put_string((*digest).as_ref());
        Secret(encoded)
    }

    fn encoded(&self) -> &[u8] {
        &self.0
    }
}

/// A client's private half.
#[derive(Debug)]
pub(crate) enum ClientKey {
    Classical(EphemeralKey),
    MlKem {
        quantum: mlkem768::DecapsulationKey,
        classical: EphemeralKey,
    },
    Sntrup {
        quantum: Box<sntrup761::DecapsulationKey>,
        classical: EphemeralKey,
    },
}

impl ClientKey {
    /// A fresh key for that method.
    pub(crate) fn generate(method: KexAlgorithm) -> ClientKey {
        let classical = EphemeralKey::generate(curve(method));
        match method {
            KexAlgorithm::MlKem768X25519 => ClientKey::MlKem {
                quantum: mlkem768::DecapsulationKey::generate(),
                classical,
            },
            KexAlgorithm::Sntrup761X25519 | KexAlgorithm::Sntrup761X25519OpenSsh => ClientKey::Sntrup {
                quantum: Box::new(sntrup761::DecapsulationKey::generate()),
                classical,
            },
            _ => ClientKey::Classical(classical),
        }
    }

    /// The public value to send.
    pub(crate) fn public(&self) -> Vec<u8> {
        match self {
            ClientKey::Classical(key) => key.public_key().to_vec(),
            ClientKey::MlKem { quantum, classical } => {
                [quantum.public_key(), classical.public_key()].concat()
            }
            ClientKey::Sntrup { quantum, classical } => {
                [quantum.public_key(), classical.public_key()].concat()
            }
        }
    }

    /// Agrees with the server's public value.
    pub(crate) fn agree(self, server: &[u8]) -> Result<Secret, Unauthentic> {
        match self {
            ClientKey::Classical(key) => Ok(Secret::number(&key.agree(server)?)),
            ClientKey::MlKem { quantum, classical } => {
                let (ciphertext, point) = split(server, mlkem768::CIPHERTEXT_LEN)?;
                let quantum = quantum.decapsulate(ciphertext)?;
                Ok(Secret::hybrid(
                    HashAlgorithm::Sha256,
                    &quantum,
                    &classical.agree(point)?,
                ))
            }
            ClientKey::Sntrup { quantum, classical } => {
                let (ciphertext, point) = split(server, sntrup761::CIPHERTEXT_LEN)?;
                let quantum = quantum.decapsulate(ciphertext)?;
                Ok(Secret::hybrid(
                    HashAlgorithm::Sha512,
                    &quantum,
                    &classical.agree(point)?,
                ))
            }
        }
    }
}

/// A server's whole part: its public value and the secret, from the client's public value.
pub(crate) fn respond(method: KexAlgorithm, client: &[u8]) -> Result<(Vec<u8>, Secret), Unauthentic> {
    match method {
        KexAlgorithm::MlKem768X25519 => {
            let (public, point) = split(client, mlkem768::PUBLIC_KEY_LEN)?;
            let (own_point, classical) = respond_on(Curve::X25519, point)?;
            let (ciphertext, quantum) = mlkem768::encapsulate(public)?;
            let secret = Secret::hybrid(HashAlgorithm::Sha256, &quantum, &classical);
            Ok(([ciphertext, own_point].concat(), secret))
        }
        KexAlgorithm::Sntrup761X25519 | KexAlgorithm::Sntrup761X25519OpenSsh => {
            let (public, point) = split(client, sntrup761::PUBLIC_KEY_LEN)?;
            let (own_point, classical) = respond_on(Curve::X25519, point)?;
            let (ciphertext, quantum) = sntrup761::encapsulate(public)?;
            let secret = Secret::hybrid(HashAlgorithm::Sha512, &quantum, &classical);
            Ok(([ciphertext, own_point].concat(), secret))
        }
        classical => {
            let (point, shared) = respond_on(curve(classical), client)?;
            Ok((point, Secret::number(&shared)))
        }
    }
}

fn respond_on(curve: Curve, peer: &[u8]) -> Result<(Vec<u8>, SharedSecret), Unauthentic> {
    let key = EphemeralKey::generate(curve);
    let public = key.public_key().to_vec();
    Ok((public, key.agree(peer)?))
}

fn split(value: &[u8], at: usize) -> Result<(&[u8], &[u8]), Unauthentic> {
    value.split_at_checked(at).ok_or(Unauthentic)
}

fn curve(method: KexAlgorithm) -> Curve {
    match method {
        KexAlgorithm::EcdhP256 => Curve::P256,
        KexAlgorithm::EcdhP384 => Curve::P384,
        KexAlgorithm::EcdhP521 => Curve::P521,
        KexAlgorithm::MlKem768X25519
        | KexAlgorithm::Curve25519
        | KexAlgorithm::Curve25519LibSsh
        | KexAlgorithm::Sntrup761X25519
        | KexAlgorithm::Sntrup761X25519OpenSsh => Curve::X25519,
    }
}

/// The hash that belongs to a method.
pub(crate) fn hash_of(method: KexAlgorithm) -> HashAlgorithm {
    match method {
        KexAlgorithm::MlKem768X25519
        | KexAlgorithm::Curve25519
        | KexAlgorithm::Curve25519LibSsh
        | KexAlgorithm::EcdhP256 => HashAlgorithm::Sha256,
        KexAlgorithm::EcdhP384 => HashAlgorithm::Sha384,
        KexAlgorithm::EcdhP521 | KexAlgorithm::Sntrup761X25519 | KexAlgorithm::Sntrup761X25519OpenSsh => {
            HashAlgorithm::Sha512
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_by_every_method() {
        for &method in KexAlgorithm::ALL {
            let client = ClientKey::generate(method);
            let (reply, theirs) = respond(method, &client.public()).unwrap();
            let ours = client.agree(&reply).unwrap();
            assert_eq!(ours.encoded(), theirs.encoded(), "{method:?}");
        }
    }

    #[test]
    fn values_of_any_other_length_are_refused() {
        for &method in KexAlgorithm::ALL {
            let public = ClientKey::generate(method).public();
            for len in [0, 1, 31, 32, public.len() - 1] {
                if len != public.len() {
                    respond(method, &public[..len])
                        .err()
                        .expect("a short value is refused");
                }
            }
            respond(method, &[&public[..], &[0]].concat())
                .err()
                .expect("a long value is refused");
            let client = ClientKey::generate(method);
            let (reply, _) = respond(method, &client.public()).unwrap();
            client.agree(&reply[1..]).err().expect("a short reply is refused");
        }
    }

    #[test]
    fn a_point_of_small_order_is_refused() {
        respond(KexAlgorithm::Curve25519, &[0; 32])
            .err()
            .expect("all zeros are refused");
        ClientKey::generate(KexAlgorithm::Curve25519)
            .agree(&[0; 32])
            .err()
            .expect("all zeros are refused");
    }
}
