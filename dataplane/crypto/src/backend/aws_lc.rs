//! AWS-LC through `aws-lc-rs`. It erases its keys itself: contexts are freed by `OPENSSL_free`, which cleanses.

use aws_lc_rs::aead::chacha20_poly1305_openssh as openssh;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use aws_lc_rs::kem;
use aws_lc_rs::signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac, rand};

use crate::Unauthentic;
use crate::agreement::{Curve, SharedSecret};
use crate::digest::HashAlgorithm;
use crate::hmac::HmacAlgorithm;
use crate::sign::{CrtComponents, KeyRejected, NistCurve, SignatureScheme};

pub(crate) const NAME: &str = "aws-lc-rs";

pub(crate) fn fill_random(out: &mut [u8]) {
    rand::fill(out).expect("the operating system gives entropy");
}

pub(crate) struct AesGcm(LessSafeKey);

impl AesGcm {
    pub(crate) fn new(key: &[u8]) -> Self {
        let algorithm = if key.len() == 16 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let unbound = UnboundKey::new(algorithm, key).expect("the key's length was checked");
        AesGcm(LessSafeKey::new(unbound))
    }

    pub(crate) fn open_in_place<'a>(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        data: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unauthentic> {
        self.0
            .open_in_place(Nonce::from(nonce), Aad::from(aad), data)
            .map_err(|_| Unauthentic)
    }

    pub(crate) fn seal_to(&self, nonce: &[u8; 12], aad: &[u8], plain: &[u8], out: &mut [u8], tag: &mut [u8]) {
        self.0
            .seal_out_of_place_scatter(Nonce::from(nonce), Aad::from(aad), plain, out, &[], tag)
            .expect("a packet is far below AES-GCM's limit of 64 GiB");
    }

    pub(crate) fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
        let mut tag = [0; 16];
        self.0
            .seal_in_place_scatter(Nonce::from(nonce), Aad::from(aad), data, &[], &mut tag)
            .expect("a packet is far below AES-GCM's limit of 64 GiB");
        tag
    }
}

/// Under a key that is used once.
pub(crate) fn chacha20_poly1305_seal(key: &[u8; 32], nonce: &[u8; 12], data: &mut [u8]) -> [u8; 16] {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the cipher's length");
    let mut tag = [0; 16];
    LessSafeKey::new(key)
        .seal_in_place_scatter(Nonce::from(nonce), Aad::empty(), data, &[], &mut tag)
        .expect("it is far below the cipher's limit of 256 GiB");
    tag
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

pub(crate) struct EphemeralKey(EphemeralPrivateKey);

impl EphemeralKey {
    pub(crate) fn generate(curve: Curve) -> (Self, Vec<u8>) {
        let private = EphemeralPrivateKey::generate(agreement_algorithm(curve), &rand::SystemRandom::new())
            .expect("the operating system gives entropy");
        let public = private
            .compute_public_key()
            .expect("a generated key has a public half");
        let public = public.as_ref().to_vec();
        (EphemeralKey(private), public)
    }

    pub(crate) fn agree(self, curve: Curve, peer: &[u8]) -> Result<SharedSecret, Unauthentic> {
        let peer = UnparsedPublicKey::new(agreement_algorithm(curve), peer);
        agreement::agree_ephemeral(self.0, peer, Unauthentic, |secret| {
            Ok(SharedSecret::copy_of(secret))
        })
    }
}

fn agreement_algorithm(curve: Curve) -> &'static agreement::Algorithm {
    match curve {
        Curve::X25519 => &agreement::X25519,
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P384 => &agreement::ECDH_P384,
        Curve::P521 => &agreement::ECDH_P521,
    }
}

pub(crate) struct MlKem768(kem::DecapsulationKey);

impl MlKem768 {
    pub(crate) fn generate() -> (Self, Vec<u8>) {
        let private =
            kem::DecapsulationKey::generate(&kem::ML_KEM_768).expect("the operating system gives entropy");
        let public = private
            .encapsulation_key()
            .and_then(|key| key.key_bytes().map(|bytes| bytes.as_ref().to_vec()))
            .expect("a generated key has a public half");
        (MlKem768(private), public)
    }

    pub(crate) fn decapsulate(self, ciphertext: &[u8]) -> Result<SharedSecret, Unauthentic> {
        let secret = self.0.decapsulate(ciphertext.into()).map_err(|_| Unauthentic)?;
        Ok(SharedSecret::copy_of(secret.as_ref()))
    }
}

pub(crate) fn mlkem768_encapsulate(public: &[u8]) -> Result<(Vec<u8>, SharedSecret), Unauthentic> {
    let key = kem::EncapsulationKey::new(&kem::ML_KEM_768, public).map_err(|_| Unauthentic)?;
    let (ciphertext, secret) = key.encapsulate().map_err(|_| Unauthentic)?;
    Ok((
        ciphertext.as_ref().to_vec(),
        SharedSecret::copy_of(secret.as_ref()),
    ))
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
        NistCurve::P521 => &sig::ECDSA_P521_SHA512_FIXED,
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
    Rsa(sig::RsaKeyPair),
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
        let algorithm = match curve {
            NistCurve::P256 => &sig::ECDSA_P256_SHA256_FIXED_SIGNING,
            NistCurve::P384 => &sig::ECDSA_P384_SHA384_FIXED_SIGNING,
            NistCurve::P521 => &sig::ECDSA_P521_SHA512_FIXED_SIGNING,
        };
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, point)
            .map(KeyPair::Ecdsa)
            .map_err(|_| KeyRejected("scalar and point do not belong together"))
    }

    pub(crate) fn rsa(key: &CrtComponents<'_>) -> Result<Self, KeyRejected> {
        let components = aws_lc_rs::rsa::KeyPairComponents {
            public_key: sig::RsaPublicKeyComponents { n: key.n, e: key.e },
            d: key.d,
            p: key.p,
            q: key.q,
            dP: &key.d_mod_p_minus_1[..],
            dQ: &key.d_mod_q_minus_1[..],
            qInv: key.iqmp,
        };
        sig::RsaKeyPair::from_components(&components)
            .map(KeyPair::Rsa)
            .map_err(|_| KeyRejected("RSA numbers do not belong together"))
    }

    pub(crate) fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, Unauthentic> {
        let random = rand::SystemRandom::new();
        match self {
            KeyPair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            KeyPair::Ecdsa(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| Unauthentic),
            KeyPair::Rsa(pair) => {
                let padding: &'static dyn sig::RsaEncoding = match scheme {
                    SignatureScheme::RsaSha256 => &sig::RSA_PKCS1_SHA256,
                    SignatureScheme::RsaSha512 => &sig::RSA_PKCS1_SHA512,
                    _ => return Err(Unauthentic),
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .map_err(|_| Unauthentic)?;
                Ok(signature)
            }
        }
    }
}
