//! Key agreement draws its private half from the library, so no published vector can be replayed. Instead each one is
//! run against another implementation, whose own arithmetic a published vector pins where that is cheap.

use aws_lc_rs::{agreement as lc, kem};
use hex_literal::hex;
use ml_kem::kem::{Decapsulate, Encapsulate, Kem, KeyExport};
use p256::elliptic_curve::Generate;
use weir_crypto::agreement::{Curve, EphemeralKey, mlkem768, sntrup761};

/// The generator that the other implementations want.
struct TestRng;

impl rand_core::TryRng for TestRng {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        rand_core::utils::next_word_via_fill(self)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        rand_core::utils::next_word_via_fill(self)
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        weir_crypto::random::Random::fill(&mut weir_crypto::random::SystemRandom, out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for TestRng {}

const CURVES: [Curve; 4] = [Curve::X25519, Curve::P256, Curve::P384, Curve::P521];

#[test]
fn both_sides_agree_on_every_curve() {
    for curve in CURVES {
        let (a, b) = (EphemeralKey::generate(curve), EphemeralKey::generate(curve));
        let (public_a, public_b) = (a.public_key().to_vec(), b.public_key().to_vec());
        assert_eq!(public_a.len(), curve.public_len());
        assert_ne!(public_a, public_b);
        let (at_a, at_b) = (a.agree(&public_b).unwrap(), b.agree(&public_a).unwrap());
        assert_eq!(at_a.as_ref(), at_b.as_ref());
        assert_eq!(format!("{at_a:?}"), "SharedSecret(..)");
    }
}

#[test]
fn x25519_agrees_with_dalek() {
    // RFC 7748 §5.2, the first vector, pins the other side.
    let peer = x25519_dalek::StaticSecret::from(hex!(
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"
    ));
    let u = hex!("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    assert_eq!(
        peer.diffie_hellman(&u.into()).to_bytes(),
        hex!("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    );
    let ours = EphemeralKey::generate(Curve::X25519);
    let public: [u8; 32] = ours.public_key().try_into().unwrap();
    let secret = ours
        .agree(x25519_dalek::PublicKey::from(&peer).as_bytes())
        .unwrap();
    assert_eq!(secret.as_ref(), peer.diffie_hellman(&public.into()).as_bytes());
}

macro_rules! agrees_with_rustcrypto {
    ($test:ident, $curve:expr, $other:ident) => {
        #[test]
        fn $test() {
            let peer = $other::ecdh::EphemeralSecret::generate_from_rng(&mut TestRng);
            let peer_public = $other::Sec1Point::from(peer.public_key());
            let ours = EphemeralKey::generate($curve);
            let public = $other::PublicKey::from_sec1_bytes(ours.public_key()).unwrap();
            let secret = ours.agree(peer_public.as_bytes()).unwrap();
            assert_eq!(
                secret.as_ref(),
                &peer.diffie_hellman(&public).raw_secret_bytes()[..]
            );
        }
    };
}

agrees_with_rustcrypto!(p256_agrees_with_rustcrypto, Curve::P256, p256);
agrees_with_rustcrypto!(p384_agrees_with_rustcrypto, Curve::P384, p384);
agrees_with_rustcrypto!(p521_agrees_with_rustcrypto, Curve::P521, p521);

#[test]
fn every_curve_agrees_with_aws_lc() {
    let algorithms = [&lc::X25519, &lc::ECDH_P256, &lc::ECDH_P384, &lc::ECDH_P521];
    for (curve, algorithm) in CURVES.into_iter().zip(algorithms) {
        let peer = lc::PrivateKey::generate(algorithm).unwrap();
        let ours = EphemeralKey::generate(curve);
        let public = lc::UnparsedPublicKey::new(algorithm, ours.public_key().to_vec());
        let secret = ours.agree(peer.compute_public_key().unwrap().as_ref()).unwrap();
        lc::agree(&peer, public, (), |theirs| {
            assert_eq!(secret.as_ref(), theirs);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn bad_public_values_are_refused() {
    for curve in CURVES {
        let good = EphemeralKey::generate(curve).public_key().to_vec();
        let len = curve.public_len();
        let mut bad = vec![
            vec![],
            vec![0; len],
            good[1..].to_vec(),
            [&good[..], &[0]].concat(),
        ];
        if curve != Curve::X25519 {
            let mut off_curve = good.clone();
            off_curve[len - 1] ^= 1;
            let mut hybrid = good.clone();
            hybrid[0] = 6 + (good[len - 1] & 1);
            let compressed = [&[2 + (good[len - 1] & 1)], &good[1..=len / 2]].concat();
            bad.extend([
                off_curve,
                hybrid,
                compressed,
                vec![4; len],
                vec![0],
                vec![0xff; len],
            ]);
        }
        for peer in bad {
            assert!(
                EphemeralKey::generate(curve).agree(&peer).is_err(),
                "{curve:?} {peer:02x?}"
            );
        }
    }
}

#[test]
fn x25519_points_of_small_order_are_refused() {
    // The canonical ones of https://cr.yp.to/ecdh.html#validate, which all lead to the all-zero secret.
    let one = hex!("0100000000000000000000000000000000000000000000000000000000000000");
    let points = [
        [0; 32],
        one,
        hex!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hex!("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        hex!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ];
    for point in points {
        assert!(
            EphemeralKey::generate(Curve::X25519).agree(&point).is_err(),
            "{point:02x?}"
        );
    }
}

#[test]
fn mlkem_agrees_with_aws_lc_and_rustcrypto() {
    // We decapsulate what each of the two has encapsulated …
    let key = mlkem768::DecapsulationKey::generate();
    let lc_public = kem::EncapsulationKey::new(&kem::ML_KEM_768, key.public_key()).unwrap();
    let (ciphertext, theirs) = lc_public.encapsulate().unwrap();
    assert_eq!(
        key.decapsulate(ciphertext.as_ref()).unwrap().as_ref(),
        theirs.as_ref()
    );

    let key = mlkem768::DecapsulationKey::generate();
    let rc_public = ml_kem::ml_kem_768::EncapsulationKey::new(key.public_key().try_into().unwrap()).unwrap();
    let (ciphertext, theirs) = rc_public.encapsulate_with_rng(&mut TestRng);
    assert_eq!(key.decapsulate(&ciphertext).unwrap().as_ref(), &theirs[..]);

    // … and the other way round.
    let lc_key = kem::DecapsulationKey::generate(&kem::ML_KEM_768).unwrap();
    let public = lc_key.encapsulation_key().unwrap();
    let (ciphertext, ours) = mlkem768::encapsulate(public.key_bytes().unwrap().as_ref()).unwrap();
    assert_eq!(
        lc_key.decapsulate(ciphertext[..].into()).unwrap().as_ref(),
        ours.as_ref()
    );

    let (rc_key, rc_public) = ml_kem::MlKem768::generate_keypair_from_rng(&mut TestRng);
    let (ciphertext, ours) = mlkem768::encapsulate(&rc_public.to_bytes()).unwrap();
    assert_eq!(&rc_key.decapsulate_slice(&ciphertext).unwrap()[..], ours.as_ref());
}

#[test]
fn mlkem_rejects_what_fips_203_rejects() {
    let key = mlkem768::DecapsulationKey::generate();
    let public = key.public_key().to_vec();
    assert_eq!(public.len(), mlkem768::PUBLIC_KEY_LEN);
    let (mut ciphertext, secret) = mlkem768::encapsulate(&public).unwrap();
    assert_eq!(ciphertext.len(), mlkem768::CIPHERTEXT_LEN);
    // Implicit rejection: a forged ciphertext yields some other secret.
    ciphertext[17] ^= 1;
    assert_ne!(key.decapsulate(&ciphertext).unwrap().as_ref(), secret.as_ref());
    assert!(
        mlkem768::DecapsulationKey::generate()
            .decapsulate(&ciphertext[1..])
            .is_err()
    );
    assert!(mlkem768::encapsulate(&public[1..]).is_err());
    // FIPS 203 §7.2, modulus check: a coefficient of 4095 is not reduced.
    let mut unreduced = public;
    unreduced[..2].fill(0xff);
    assert!(mlkem768::encapsulate(&unreduced).is_err());
}

#[test]
fn sntrup_round_trips_and_rejects() {
    let key = sntrup761::DecapsulationKey::generate();
    let public = key.public_key().to_vec();
    assert_eq!(public.len(), sntrup761::PUBLIC_KEY_LEN);
    let (ciphertext, secret) = sntrup761::encapsulate(&public).unwrap();
    assert_eq!(
        (ciphertext.len(), secret.as_ref().len()),
        (sntrup761::CIPHERTEXT_LEN, 32)
    );
    assert_eq!(key.decapsulate(&ciphertext).unwrap().as_ref(), secret.as_ref());

    let key = sntrup761::DecapsulationKey::generate();
    let (mut ciphertext, secret) = sntrup761::encapsulate(key.public_key()).unwrap();
    ciphertext[0] ^= 1;
    assert_ne!(key.decapsulate(&ciphertext).unwrap().as_ref(), secret.as_ref());
    assert!(
        sntrup761::DecapsulationKey::generate()
            .decapsulate(&ciphertext[1..])
            .is_err()
    );
    assert!(sntrup761::encapsulate(&public[1..]).is_err());
    // No byte string of the right length may harm, whatever it decodes to.
    for fill in [0, 0x80, 0xff] {
        assert!(sntrup761::encapsulate(&[fill; sntrup761::PUBLIC_KEY_LEN]).is_ok());
        let key = sntrup761::DecapsulationKey::generate();
        assert!(key.decapsulate(&[fill; sntrup761::CIPHERTEXT_LEN]).is_ok());
    }
}
