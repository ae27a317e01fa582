//! *ring*, with P-521 from `p521` and ML-KEM from `ml-kem`.
//!
//! *ring* does not erase the keys that it has expanded (its authors hold that Rust cannot do it reliably); what passes
//! through this crate's own hands is erased, and an AES-GCM key is overwritten by another.

use ml_kem::MlKem768 as MlKem768Parameters;
use ml_kem::kem::{Decapsulate, Encapsulate, Kem, KeyExport};
use p521::ecdsa::signature::{Signer, Verifier};
use p521::elliptic_curve::Generate;
use ring::aead::chacha20_poly1305_openssh as openssh;
use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::SecureRandom;
use ring::signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use ring::{digest, hmac, rand};

use crate::Unauthentic;
use crate::agreement::{Curve, SharedSecret};
use crate::digest::HashAlgorithm;
use crate::hmac::HmacAlgorithm;
use crate::random::PooledRandom;
use crate::sign::{CrtComponents, KeyRejected, NistCurve, SignatureScheme};

pub(crate) const NAME: &str = "ring";

pub(crate) fn fill_random(out: &mut [u8]) {
    rand::SystemRandom::new()
        .fill(out)
        .expect("the operating system gives entropy");
}

/// In one place from its making to its end, where another key takes its place.
pub(crate) struct AesGcm(Box<LessSafeKey>);

impl AesGcm {
    pub(crate) fn new(key: &[u8]) -> Self {
        let algorithm = if key.len() == 16 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        AesGcm(Box::new(Self::expand(algorithm, key)))
    }

    fn expand(algorithm: &'static Algorithm, key: &[u8]) -> LessSafeKey {
        let unbound = UnboundKey::new(algorithm, key).expect("the key's length was checked");
        LessSafeKey::new(unbound)
    }

    pub(crate) fn open_in_place<'a>(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        data: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unauthentic> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place(nonce, Aad::from(aad), data)
            .map_err(|_| Unauthentic)
    }

    pub(crate) fn seal_to(&self, nonce: &[u8; 12], aad: &[u8], plain: &[u8], out: &mut [u8], tag: &mut [u8]) {
        out.copy_from_slice(plain);
        tag.copy_from_slice(&self.seal_in_place(nonce, aad, out));
    }

    pub(crate) fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let sealed = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), data);
        let tag = sealed.expect("a packet is far below AES-GCM's limit of 64 GiB");
        tag.as_ref().try_into().expect("an AES-GCM tag has 16 bytes")
    }
}

impl Drop for AesGcm {
    fn drop(&mut self) {
        *self.0 = Self::expand(&AES_256_GCM, &[0; 32]);
        // Or the compiler finds that nobody reads it.
        std::hint::black_box(&*self.0);
    }
}

/// Under a key that is used once.
pub(crate) fn chacha20_poly1305_seal(key: &[u8; 32], nonce: &[u8; 12], data: &mut [u8]) -> [u8; 16] {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the cipher's length");
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let sealed = LessSafeKey::new(key).seal_in_place_separate_tag(nonce, Aad::empty(), data);
    let tag = sealed.expect("it is far below the cipher's limit of 256 GiB");
    tag.as_ref().try_into().expect("a Poly1305 tag has 16 bytes")
}

/// Both types hold the same two ChaCha20 keys; which one is used is decided by the caller's direction.
pub(crate) struct ChaChaPoly {
    opening: openssh::OpeningKey,
    sealing: openssh::SealingKey,
}

impl ChaChaPoly {
    pub(crate) fn new(key: &[u8; 64]) -> Self {
        ChaChaPoly {
            opening: openssh::OpeningKey::new(key),
            sealing: openssh::SealingKey::new(key),
        }
    }

    pub(crate) fn decrypt_length(&self, seq: u32, length: [u8; 4]) -> [u8; 4] {
        self.opening.decrypt_packet_length(seq, length)
    }

    pub(crate) fn open_in_place(
        &self,
        seq: u32,
        sealed: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Unauthentic> {
        self.opening
            .open_in_place(seq, sealed, tag)
            .map(|_| ())
            .map_err(|_| Unauthentic)
    }

    pub(crate) fn seal_in_place(&self, seq: u32, plain: &mut [u8]) -> [u8; 16] {
        let mut tag = [0; 16];
        self.sealing.seal_in_place(seq, plain, &mut tag);
        tag
    }
}

pub(crate) struct HmacKey(hmac::Key);

impl HmacKey {
    pub(crate) fn new(algorithm: HmacAlgorithm, key: &[u8]) -> Self {
        HmacKey(match algorithm {
            HmacAlgorithm::Sha256 => hmac::Key::new(hmac::HMAC_SHA256, key),
            HmacAlgorithm::Sha512 => hmac::Key::new(hmac::HMAC_SHA512, key),
        })
    }

    pub(crate) fn sign(&self, parts: &[&[u8]], out: &mut [u8; 64]) -> usize {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let tag = context.sign();
        out[..tag.as_ref().len()].copy_from_slice(tag.as_ref());
        tag.as_ref().len()
    }
}

#[derive(Clone)]
pub(crate) struct Hasher(digest::Context);

impl Hasher {
    pub(crate) fn new(algorithm: HashAlgorithm) -> Self {
        Hasher(digest::Context::new(match algorithm {
            HashAlgorithm::Sha256 => &digest::SHA256,
            HashAlgorithm::Sha384 => &digest::SHA384,
            HashAlgorithm::Sha512 => &digest::SHA512,
        }))
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(crate) fn finish(self, out: &mut [u8; 64]) -> usize {
        let digest = self.0.finish();
        out[..digest.as_ref().len()].copy_from_slice(digest.as_ref());
        digest.as_ref().len()
    }
}

pub(crate) enum EphemeralKey {
    Ring(EphemeralPrivateKey),
    P521(Box<p521::ecdh::EphemeralSecret>),
}

impl EphemeralKey {
    pub(crate) fn generate(curve: Curve) -> (Self, Vec<u8>) {
        let Some(algorithm) = agreement_algorithm(curve) else {
            let private = p521::ecdh::EphemeralSecret::generate_from_rng(&mut PooledRandom::default());
            let public = p521::Sec1Point::from(private.public_key()).as_bytes().to_vec();
            return (EphemeralKey::P521(Box::new(private)), public);
        };
        let private = EphemeralPrivateKey::generate(algorithm, &rand::SystemRandom::new())
            .expect("the operating system gives entropy");
        let public = private
            .compute_public_key()
            .expect("a generated key has a public half");
        let public = public.as_ref().to_vec();
        (EphemeralKey::Ring(private), public)
    }

    pub(crate) fn agree(self, _curve: Curve, peer: &[u8]) -> Result<SharedSecret, Unauthentic> {
        match self {
            EphemeralKey::Ring(private) => {
                let peer = UnparsedPublicKey::new(private.algorithm(), peer);
                agreement::agree_ephemeral(private, &peer, SharedSecret::copy_of).map_err(|_| Unauthentic)
            }
            EphemeralKey::P521(private) => {
                let peer = p521::PublicKey::from_sec1_bytes(peer).map_err(|_| Unauthentic)?;
                Ok(SharedSecret::copy_of(
                    private.diffie_hellman(&peer).raw_secret_bytes(),
                ))
            }
        }
    }
}

/// `None` for the curve that *ring* lacks.
fn agreement_algorithm(curve: Curve) -> Option<&'static agreement::Algorithm> {
    match curve {
        Curve::X25519 => Some(&agreement::X25519),
        Curve::P256 => Some(&agreement::ECDH_P256),
        Curve::P384 => Some(&agreement::ECDH_P384),
        Curve::P521 => None,
    }
}

pub(crate) struct MlKem768(ml_kem::ml_kem_768::DecapsulationKey);

impl MlKem768 {
    pub(crate) fn generate() -> (Self, Vec<u8>) {
        let (private, public) = MlKem768Parameters::generate_keypair_from_rng(&mut PooledRandom::default());
        (MlKem768(private), public.to_bytes().to_vec())
    }

    pub(crate) fn decapsulate(self, ciphertext: &[u8]) -> Result<SharedSecret, Unauthentic> {
        let secret = self.0.decapsulate_slice(ciphertext).map_err(|_| Unauthentic)?;
        Ok(SharedSecret::copy_of(&secret))
    }
}

pub(crate) fn mlkem768_encapsulate(public: &[u8]) -> Result<(Vec<u8>, SharedSecret), Unauthentic> {
    let encoded = public.try_into().map_err(|_| Unauthentic)?;
    let key = ml_kem::ml_kem_768::EncapsulationKey::new(encoded).map_err(|_| Unauthentic)?;
    let (ciphertext, secret) = key.encapsulate_with_rng(&mut PooledRandom::default());
    Ok((ciphertext.to_vec(), SharedSecret::copy_of(&secret)))
}

pub(crate) fn verify_ed25519(point: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), Unauthentic> {
    sig::UnparsedPublicKey::new(&sig::ED25519, point)
        .verify(message, signature)
        .map_err(|_| Unauthentic)
}

pub(crate) fn verify_ecdsa(
    curve: NistCurve,
    point: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Unauthentic> {
    let algorithm = match curve {
        NistCurve::P256 => &sig::ECDSA_P256_SHA256_FIXED,
        NistCurve::P384 => &sig::ECDSA_P384_SHA384_FIXED,
        NistCurve::P521 => {
            let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| Unauthentic)?;
            let signature = p521::ecdsa::Signature::from_slice(signature).map_err(|_| Unauthentic)?;
            return key.verify(message, &signature).map_err(|_| Unauthentic);
        }
    };
    sig::UnparsedPublicKey::new(algorithm, point)
        .verify(message, signature)
        .map_err(|_| Unauthentic)
}

pub(crate) fn verify_rsa(
    scheme: SignatureScheme,
    n: &[u8],
    e: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Unauthentic> {
    let parameters = match scheme {
        SignatureScheme::RsaSha256 => &sig::RSA_PKCS1_2048_8192_SHA256,
        SignatureScheme::RsaSha512 => &sig::RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(Unauthentic),
    };
    sig::RsaPublicKeyComponents { n, e }
        .verify(parameters, message, signature)
        .map_err(|_| Unauthentic)
}

pub(crate) enum KeyPair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    P521(Box<p521::ecdsa::SigningKey>),
    Rsa(Box<sig::RsaKeyPair>),
}

impl KeyPair {
    pub(crate) fn ed25519(seed: &[u8; 32]) -> (Self, [u8; 32]) {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a seed");
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .expect("an Ed25519 public key has 32 bytes");
        (KeyPair::Ed25519(pair), public)
    }

    pub(crate) fn ecdsa(curve: NistCurve, scalar: &[u8], point: &[u8]) -> Result<Self, KeyRejected> {
        let mismatch = KeyRejected("scalar and point do not belong together");
        let algorithm = match curve {
            NistCurve::P256 => &sig::ECDSA_P256_SHA256_FIXED_SIGNING,
            NistCurve::P384 => &sig::ECDSA_P384_SHA384_FIXED_SIGNING,
            NistCurve::P521 => {
                let key = p521::ecdsa::SigningKey::from_slice(scalar).map_err(|_| mismatch)?;
                let derived = key.verifying_key().to_sec1_point(false);
                return if derived.as_bytes() == point {
                    Ok(KeyPair::P521(Box::new(key)))
                } else {
                    Err(mismatch)
                };
            }
        };
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, point, &rand::SystemRandom::new())
            .map(KeyPair::Ecdsa)
            .map_err(|_| mismatch)
    }

    pub(crate) fn rsa(key: &CrtComponents<'_>) -> Result<Self, KeyRejected> {
        let components = ring::rsa::KeyPairComponents {
            public_key: sig::RsaPublicKeyComponents { n: key.n, e: key.e },
            d: key.d,
            p: key.p,
            q: key.q,
            dP: &key.d_mod_p_minus_1[..],
            dQ: &key.d_mod_q_minus_1[..],
            qInv: key.iqmp,
        };
        sig::RsaKeyPair::from_components(&components)
            .map(|pair| KeyPair::Rsa(Box::new(pair)))
            .map_err(|_| {
                KeyRejected("RSA numbers do not belong together, or are beyond what ring signs with")
            })
    }

    pub(crate) fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, Unauthentic> {
        let random = rand::SystemRandom::new();
        match self {
            KeyPair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            KeyPair::Ecdsa(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| Unauthentic),
            KeyPair::P521(key) => {
                let signature: p521::ecdsa::Signature = key.try_sign(message).map_err(|_| Unauthentic)?;
                Ok(signature.to_bytes().to_vec())
            }
            KeyPair::Rsa(pair) => {
                let padding: &'static dyn sig::RsaEncoding = match scheme {
                    SignatureScheme::RsaSha256 => &sig::RSA_PKCS1_SHA256,
                    SignatureScheme::RsaSha512 => &sig::RSA_PKCS1_SHA512,
                    _ => return Err(Unauthentic),
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .map_err(|_| Unauthentic)?;
                Ok(signature)
            }
        }
    }
}
