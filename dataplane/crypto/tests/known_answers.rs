//! Published vectors, or ones made with OpenSSL where none are published, for every primitive that has no random input.

use std::collections::HashMap;

use hex_literal::hex;
use weir_crypto::Unauthentic;
use weir_crypto::aes_ctr::AesCtr;
use weir_crypto::aes_gcm::AesGcm;
use weir_crypto::chachapoly::ChaChaPoly;
use weir_crypto::digest::{HashAlgorithm, Hasher, hash};
use weir_crypto::hmac::{HmacAlgorithm, HmacKey};
use weir_crypto::sign::{
    NistCurve, OwnedPublicKey, PrivateKey, PublicKey, RsaComponents, SignError, SignatureScheme, verify,
};

/// Every way to change one bit of `good`.
fn tampered(good: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..good.len() * 8).map(|bit| {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        bad
    })
}

#[test]
fn aes_gcm_matches_the_submission_to_nist() {
    // McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 4 and 16.
    let key = hex!("feffe9928665731c6d6a8f9467308308 feffe9928665731c6d6a8f9467308308");
    let nonce = hex!("cafebabefacedbaddecaf888");
    let aad = hex!("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let plain = hex!(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    );
    let sealed_128 = hex!(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
         21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091
         5bc94fbc3221a5db94fae95ae7121a47"
    );
    let sealed_256 = hex!(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662
         76fc6ece0f4e1768cddf8853bb2d551b"
    );
    for (key, sealed) in [(&key[..16], sealed_128), (&key[..], sealed_256)] {
        let cipher = AesGcm::new(key);
        let mut out = vec![0; plain.len() + 16];
        cipher.seal_to(&nonce, &aad, &plain, &mut out);
        assert_eq!(out, sealed);
        assert_eq!(cipher.open_in_place(&nonce, &aad, &mut out).unwrap(), plain);
        for mut bad in tampered(&sealed) {
            assert_eq!(cipher.open_in_place(&nonce, &aad, &mut bad), Err(Unauthentic));
        }
        assert!(
            cipher
                .open_in_place(&nonce, &aad[1..], &mut sealed.to_vec())
                .is_err()
        );
        assert!(
            cipher
                .open_in_place(&nonce, &aad, &mut sealed[..15].to_vec())
                .is_err()
        );
    }
}

#[test]
#[should_panic(expected = "an AES-GCM key has 16 or 32 bytes, got 24")]
fn aes_gcm_with_192_bits_is_a_bug_of_the_caller() {
    let _ = AesGcm::new(&[0; 24]);
}

#[test]
fn chachapoly_matches_openssl_and_detects_every_bit() {
    // K_2 || K_1 = 00 01 … 3f, packet 7; made from OpenSSL's ChaCha20 and Poly1305 by PROTOCOL.chacha20poly1305.
    let key: [u8; 64] = std::array::from_fn(|i| u8::try_from(i).unwrap());
    let plain = hex!("00000020 0477656972206d65617375726573207768617420666c6f7773206f76a5a5a5a5");
    let sealed = hex!(
        "a39afc8a 2c31702a3ca3473b0d1ece82b2fcf35b5cd34416188f52f4334a74a925f6a6f1
         acff2ea7f101e64009f8559d7b073a51"
    );
    let cipher = ChaChaPoly::new(&key);
    let mut frame = [&plain[..], &[0; 16]].concat();
    cipher.seal_in_place(7, &mut frame);
    assert_eq!(frame, sealed);
    assert_eq!(
        cipher.decrypt_length(7, *frame.first_chunk().unwrap()),
        [0, 0, 0, 32]
    );
    assert_eq!(cipher.open_in_place(7, &mut frame).unwrap(), &plain[4..]);

    for mut bad in tampered(&sealed) {
        assert_eq!(cipher.open_in_place(7, &mut bad), Err(Unauthentic));
    }
    assert!(cipher.open_in_place(8, &mut sealed.to_vec()).is_err());
    assert!(cipher.open_in_place(7, &mut [0; 19]).is_err());
}

#[test]
fn aes_ctr_matches_sp_800_38a_however_it_is_cut() {
    // NIST SP 800-38A, F.5.1, F.5.3 and F.5.5.
    let iv = hex!("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    let plain = hex!(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    );
    let vectors: [(&[u8], [u8; 64]); 3] = [
        (
            &hex!("2b7e151628aed2a6abf7158809cf4f3c"),
            hex!(
                "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff
                 5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee"
            ),
        ),
        (
            &hex!("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b"),
            hex!(
                "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e94
                 1e36b26bd1ebc670d1bd1d665620abf74f78a7f6d29809585a97daec58c6b050"
            ),
        ),
        (
            &hex!("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
            hex!(
                "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5
                 2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
            ),
        ),
    ];
    for (key, sealed) in vectors {
        for cut in 0..=plain.len() {
            let mut cipher = AesCtr::new(key, &iv);
            let mut data = plain;
            let (first, second) = data.split_at_mut(cut);
            cipher.apply(first);
            cipher.apply(second);
            assert_eq!(data, sealed, "cut at {cut}");
        }
    }
}

#[test]
fn hmac_matches_rfc_4231() {
    // RFC 4231 §4.2, §4.3 and §4.7: a short key, a message in two parts, a key above the block size.
    type Case<'a> = (&'a [u8], &'a [&'a [u8]], [u8; 32], [u8; 64]);
    let cases: [Case<'_>; 3] = [
        (
            &[0x0b; 20],
            &[b"Hi There"],
            hex!("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            hex!(
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde
                 daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
            ),
        ),
        (
            b"Jefe",
            &[b"what do ya want ", b"", b"for nothing?"],
            hex!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            hex!(
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
            ),
        ),
        (
            &[0xaa; 131],
            &[b"Test Using Larger Than Block-Size Key - Hash Key First"],
            hex!("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
            hex!(
                "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352
                 6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"
            ),
        ),
    ];
    for (key, parts, tag_256, tag_512) in cases {
        for (algorithm, tag) in [
            (HmacAlgorithm::Sha256, &tag_256[..]),
            (HmacAlgorithm::Sha512, &tag_512[..]),
        ] {
            let key = HmacKey::new(algorithm, key);
            assert_eq!(key.sign(parts).as_ref(), tag);
            assert_eq!(algorithm.tag_len(), tag.len());
            key.verify(parts, tag).unwrap();
            for bad in tampered(tag) {
                assert_eq!(key.verify(parts, &bad), Err(Unauthentic));
            }
            // A truncated tag is another algorithm, never a shorter proof.
            assert!(key.verify(parts, &tag[..16]).is_err());
            assert!(key.verify(parts, &[]).is_err());
            assert!(key.verify(&[b"something else"], tag).is_err());
        }
    }
}

#[test]
fn sha_2_matches_fips_180_4() {
    let vectors: [(HashAlgorithm, &[u8]); 3] = [
        (
            HashAlgorithm::Sha256,
            &hex!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ),
        (
            HashAlgorithm::Sha384,
            &hex!(
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed
                 8086072ba1e7cc2358baeca134c825a7"
            ),
        ),
        (
            HashAlgorithm::Sha512,
            &hex!(
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            ),
        ),
    ];
    for (algorithm, digest) in vectors {
        assert_eq!(hash(algorithm, &[b"abc"]).as_ref(), digest);
        assert_eq!(hash(algorithm, &[b"a", b"", b"bc"]).as_ref(), digest);
        assert_eq!(algorithm.output_len(), digest.len());
        let mut hasher = Hasher::new(algorithm);
        hasher.update(b"ab");
        let mut fork = hasher.clone();
        fork.update(b"x");
        hasher.update(b"c");
        assert_eq!(hasher.finish().as_ref(), digest);
        assert_ne!(fork.finish().as_ref(), digest);
    }
}

#[test]
fn ed25519_matches_rfc_8032() {
    // RFC 8032 §7.1, test 3.
    let seed = hex!("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
    let public = hex!("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
    let message = hex!("af82");
    let signature = hex!(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac
         18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    );
    let key = PrivateKey::ed25519_from_seed(&seed);
    assert_eq!(key.public_key(), &OwnedPublicKey::Ed25519(public));
    assert_eq!(*key.ed25519_seed().unwrap(), seed);
    assert_eq!(key.sign(SignatureScheme::Ed25519, &message).unwrap(), signature);
    let public = PublicKey::Ed25519(&public);
    verify(SignatureScheme::Ed25519, &public, &message, &signature).unwrap();
    for bad in tampered(&signature) {
        assert!(verify(SignatureScheme::Ed25519, &public, &message, &bad).is_err());
    }
    assert!(verify(SignatureScheme::Ed25519, &public, b"other", &signature).is_err());
    assert!(verify(SignatureScheme::Ed25519, &public, &message, &signature[..63]).is_err());
    assert!(verify(SignatureScheme::EcdsaP256Sha256, &public, &message, &signature).is_err());
}

struct EcdsaVector {
    curve: NistCurve,
    scalar: &'static [u8],
    point: Vec<u8>,
    signature: Vec<u8>,
}

/// RFC 6979 A.2.5 to A.2.7: the keys, and the signatures of "sample" with the curve's own hash.
fn ecdsa_vectors() -> [EcdsaVector; 3] {
    let point = |x: &[u8], y: &[u8]| [&[4], x, y].concat();
    [
        EcdsaVector {
            curve: NistCurve::P256,
            scalar: &hex!("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"),
            point: point(
                &hex!("60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"),
                &hex!("7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"),
            ),
            signature: hex!(
                "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
                 F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
            )
            .to_vec(),
        },
        EcdsaVector {
            curve: NistCurve::P384,
            scalar: &hex!(
                "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D8
                 96D5724E4C70A825F872C9EA60D2EDF5"
            ),
            point: point(
                &hex!(
                    "EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64
                     DEF8F0EA9055866064A254515480BC13"
                ),
                &hex!(
                    "8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1
                     288B231C3AE0D4FE7344FD2533264720"
                ),
            ),
            signature: hex!(
                "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C
                 81A648152E44ACF96E36DD1E80FABE46
                 99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94F
                 A329C145786E679E7B82C71A38628AC8"
            )
            .to_vec(),
        },
        EcdsaVector {
            curve: NistCurve::P521,
            scalar: &hex!(
                "00FAD06DAA62BA3B25D2FB40133DA757205DE67F5BB0018FEE8C86E1B68C7E75
                 CAA896EB32F1F47C70855836A6D16FCC1466F6D8FBEC67DB89EC0C08B0E996B83538"
            ),
            point: point(
                &hex!(
                    "01894550D0785932E00EAA23B694F213F8C3121F86DC97A04E5A7167DB4E5BCD
                     371123D46E45DB6B5D5370A7F20FB633155D38FFA16D2BD761DCAC474B9A2F5023A4"
                ),
                &hex!(
                    "00493101C962CD4D2FDDF782285E64584139C2F91B47F87FF82354D6630F746A
                     28A0DB25741B5B34A828008B22ACC23F924FAAFBD4D33F81EA66956DFEAA2BFDFCF5"
                ),
            ),
            signature: hex!(
                "00C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F
                 174E25A1EE9017B5D450606ADD152B534931D7D4E8455CC91F9B15BF05EC36E377FA
                 00617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF
                 282623EAA63E5B5C0723D8B8C37FF0777B1A20F8CCB1DCCC43997F1EE0E44DA4A67A"
            )
            .to_vec(),
        },
    ]
}

#[test]
fn ecdsa_matches_rfc_6979() {
    for EcdsaVector {
        curve,
        scalar,
        point,
        signature,
    } in ecdsa_vectors()
    {
        let scheme = SignatureScheme::for_curve(curve);
        let public = PublicKey::Ecdsa { curve, point: &point };
        verify(scheme, &public, b"sample", &signature).unwrap();
        for bad in tampered(&signature).step_by(7) {
            assert!(verify(scheme, &public, b"sample", &bad).is_err(), "{curve:?}");
        }
        assert!(verify(scheme, &public, b"Sample", &signature).is_err());
        assert!(verify(SignatureScheme::Ed25519, &public, b"sample", &signature).is_err());
        assert!(verify(scheme, &public, b"sample", &[&[0], &signature[..]].concat()).is_err());
        assert!(verify(scheme, &public, b"sample", &vec![0; signature.len()]).is_err());

        // A private key as SSH carries it: an mpint, with a leading zero or without the zeros of a small number.
        let stripped = &scalar[scalar.iter().take_while(|byte| **byte == 0).count()..];
        for scalar in [scalar, stripped, &[&[0, 0], scalar].concat()] {
            let key = PrivateKey::ecdsa_from_scalar(curve, scalar, &point).unwrap();
            let made = key.sign(scheme, b"weir").unwrap();
            verify(scheme, &public, b"weir", &made).unwrap();
            assert_eq!(
                key.sign(SignatureScheme::RsaSha256, b""),
                Err(SignError::WrongScheme(SignatureScheme::RsaSha256))
            );
        }
    }
}

#[test]
fn ecdsa_keys_that_do_not_fit_are_refused() {
    for EcdsaVector {
        curve,
        scalar,
        point,
        signature,
    } in ecdsa_vectors()
    {
        let scheme = SignatureScheme::for_curve(curve);
        let mut off_curve = point.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        let compressed = [&[2 + (point.last().unwrap() & 1)], &point[1..=curve.scalar_len()]].concat();
        for bad in [
            &off_curve[..],
            &compressed,
            &point[1..],
            &[],
            &[0],
            &vec![4; point.len()],
        ] {
            let public = PublicKey::Ecdsa { curve, point: bad };
            assert!(
                verify(scheme, &public, b"sample", &signature).is_err(),
                "{curve:?}"
            );
            assert!(
                PrivateKey::ecdsa_from_scalar(curve, scalar, bad).is_err(),
                "{curve:?}"
            );
        }
        let other = [&scalar[..scalar.len() - 1], &[scalar[scalar.len() - 1] ^ 1]].concat();
        for bad in [
            &other[..],
            &[],
            &[0],
            &vec![0xff; scalar.len()],
            &vec![1; scalar.len() + 1],
        ] {
            assert!(
                PrivateKey::ecdsa_from_scalar(curve, bad, &point).is_err(),
                "{curve:?}"
            );
        }
    }
}

fn rsa_vector() -> HashMap<&'static str, Vec<u8>> {
    let parse = |hex: &str| {
        let hex = if hex.len() % 2 == 1 {
            format!("0{hex}")
        } else {
            hex.to_owned()
        };
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    };
    let lines = include_str!("vectors/rsa2048.txt").lines().skip(1);
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, hex)| (name, parse(hex)))
        .collect()
}

#[test]
fn rsa_matches_openssl() {
    let message = b"what flows over the weir";
    let v = rsa_vector();
    // SSH's mpint puts a zero before a number with the top bit set.
    let mpint = |name: &str| [&[0], &v[name][..]].concat();
    let (n, e, d, p, q, iqmp) = (
        mpint("n"),
        mpint("e"),
        mpint("d"),
        mpint("p"),
        mpint("q"),
        mpint("iqmp"),
    );
    let components = RsaComponents {
        n: &n,
        e: &e,
        d: &d,
        iqmp: &iqmp,
        p: &p,
        q: &q,
    };
    let key = PrivateKey::rsa_from_components(&components).unwrap();
    let public = PublicKey::Rsa { n: &n, e: &e };
    assert_eq!(
        key.public_key(),
        &OwnedPublicKey::Rsa {
            n: v["n"].clone(),
            e: v["e"].clone()
        }
    );
    for (scheme, signature) in [
        (SignatureScheme::RsaSha256, &v["sha256"]),
        (SignatureScheme::RsaSha512, &v["sha512"]),
    ] {
        assert_eq!(&key.sign(scheme, message).unwrap(), signature);
        verify(scheme, &public, message, signature).unwrap();
        for bad in tampered(signature).step_by(31) {
            assert!(verify(scheme, &public, message, &bad).is_err());
        }
        assert!(verify(scheme, &public, b"", signature).is_err());
        assert!(verify(scheme, &public, message, &[]).is_err());
        assert!(verify(scheme, &public, message, &[&[0], &signature[..]].concat()).is_err());
    }
    assert!(verify(SignatureScheme::RsaSha256, &public, message, &v["sha512"]).is_err());
    assert!(key.sign(SignatureScheme::Ed25519, message).is_err());
}

#[test]
fn rsa_signatures_may_lack_their_leading_zeros() {
    let v = rsa_vector();
    let components = RsaComponents {
        n: &v["n"],
        e: &v["e"],
        d: &v["d"],
        iqmp: &v["iqmp"],
        p: &v["p"],
        q: &v["q"],
    };
    let key = PrivateKey::rsa_from_components(&components).unwrap();
    let public = key.public_key().as_borrowed();
    let scheme = SignatureScheme::RsaSha256;
    // One signature in 256 begins with a zero byte.
    let (message, signature) = (0u32..)
        .map(|i| (i.to_be_bytes(), key.sign(scheme, &i.to_be_bytes()).unwrap()))
        .find(|(_, signature)| signature[0] == 0)
        .unwrap();
    verify(scheme, &public, &message, &signature).unwrap();
    verify(scheme, &public, &message, &signature[1..]).unwrap();
    assert!(verify(scheme, &public, &message, &signature[2..]).is_err());
}

#[test]
fn rsa_keys_whose_numbers_disagree_are_refused() {
    let v = rsa_vector();
    let good = || RsaComponents {
        n: &v["n"],
        e: &v["e"],
        d: &v["d"],
        iqmp: &v["iqmp"],
        p: &v["p"],
        q: &v["q"],
    };
    let short = &v["n"][1..];
    for bad in [
        RsaComponents { n: short, ..good() },
        RsaComponents { n: &v["p"], ..good() },
        RsaComponents { e: &[2], ..good() },
        RsaComponents { p: &v["q"], ..good() },
        RsaComponents { p: &[], ..good() },
        RsaComponents { q: &[1], ..good() },
        RsaComponents { d: &[0], ..good() },
        RsaComponents { iqmp: &[], ..good() },
    ] {
        assert!(PrivateKey::rsa_from_components(&bad).is_err());
    }
}

#[test]
fn contexts_of_idle_sessions_are_small() {
    // An idle session keeps four; what a context boxes is bounded by the key schedule, also below a kilobyte.
    assert!(size_of::<AesGcm>() <= 640, "{}", size_of::<AesGcm>());
    assert!(size_of::<ChaChaPoly>() <= 128, "{}", size_of::<ChaChaPoly>());
    assert!(size_of::<AesCtr>() <= 16, "{}", size_of::<AesCtr>());
    assert!(size_of::<HmacKey>() <= 8, "{}", size_of::<HmacKey>());
    assert!(size_of::<PrivateKey>() <= 8, "{}", size_of::<PrivateKey>());
}

#[test]
fn debug_prints_no_secret() {
    let v = rsa_vector();
    let components = RsaComponents {
        n: &v["n"],
        e: &v["e"],
        d: &v["d"],
        iqmp: &v["iqmp"],
        p: &v["p"],
        q: &v["q"],
    };
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    hasher.update(b"secret");
    let hmac = HmacKey::new(HmacAlgorithm::Sha256, &[0xee; 32]);
    for (shown, expected) in [
        (format!("{:?}", AesGcm::new(&[0xee; 16])), "AesGcm(..)"),
        (format!("{:?}", AesCtr::new(&[0xee; 16], &[0; 16])), "AesCtr(..)"),
        (format!("{:?}", ChaChaPoly::new(&[0xee; 64])), "ChaChaPoly(..)"),
        (format!("{:?}", hmac.sign(&[])), "Tag(32 bytes)"),
        (format!("{hmac:?}"), "HmacKey(..)"),
        (format!("{hasher:?}"), "Hasher(..)"),
        (format!("{:?}", hasher.finish()), "Digest(32 bytes)"),
        (
            format!("{:?}", PrivateKey::ed25519_from_seed(&[0xee; 32])),
            "PrivateKey(ed25519, ..)",
        ),
        (
            format!("{:?}", PrivateKey::rsa_from_components(&components).unwrap()),
            "PrivateKey(rsa 2048, ..)",
        ),
    ] {
        assert_eq!(shown, expected);
    }
}
