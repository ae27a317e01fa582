use super::fixtures::{KEYS, SoftwareSecurityKey, signing_key, signing_keys};
use super::*;
use crate::wire::Writer;

const RSA_1024: &str = include_str!("testdata/rsa1024.pub");
const ENCRYPTED: &str = include_str!("testdata/encrypted");
const MESSAGE: &[u8] = b"what is signed";

#[test]
fn keys_of_ssh_keygen_are_read_and_written_back_as_they_were() {
    for (name, private, public) in KEYS {
        let key = SigningKey::from_openssh(private).unwrap_or_else(|error| panic!("{name}: {error}"));
        let comment = format!("{name}@example");
        assert_eq!(key.public_key().to_openssh(&comment), public.trim_end());
        assert_eq!(&PublicKey::from_openssh(public).unwrap(), key.public_key());
        // The two check numbers are the writer's choice, so compare what reading yields.
        let written = key.to_openssh(&comment);
        assert_eq!(written.lines().map(str::len).max(), Some(70));
        assert_eq!(
            SigningKey::from_openssh(&written).unwrap().to_openssh(&comment),
            written
        );
        assert_eq!(written.len(), private.len());
    }
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    let fingerprint = |name| signing_key(name).public_key().fingerprint();
    assert_eq!(
        fingerprint("ed25519"),
        "SHA256:jjxozmN56dpthRpgTxLOSk2rxcAXvsyzImJgDQOUzaU"
    );
    assert_eq!(
        fingerprint("ecdsa521"),
        "SHA256:kUnsy0ttZwOTVqwFVKdimOUo9aFDfcZs11Ci8ulJiKw"
    );
    assert_eq!(
        fingerprint("rsa"),
        "SHA256:Tb9jQWEI/aczd27mwnpiXZCbYuqfqIPaXEfIPky/GNE"
    );
    let security_key = SoftwareSecurityKey::ed25519().public.fingerprint();
    assert_eq!(security_key, "SHA256:0zMzH3wVkkEPhBTLI7nhZopdhyBCLjkriZYQwWyGILQ");
}

#[test]
fn every_key_verifies_what_it_signed_and_nothing_else() {
    for key in signing_keys() {
        let public = key.public_key();
        for &algorithm in public.key_type().signature_algorithms() {
            let signature = key.sign(algorithm, MESSAGE).unwrap();
            assert_eq!(
                public.verify(algorithm, MESSAGE, &signature).unwrap().algorithm,
                algorithm
            );
            assert_eq!(
                public.verify_any(MESSAGE, &signature).unwrap().algorithm,
                algorithm
            );
            assert_eq!(
                public.verify_any(b"other", &signature),
                Err(SignatureError::Unauthentic)
            );
        }
    }
}

#[test]
fn a_signature_of_another_algorithm_than_agreed_is_refused() {
    let key = signing_key("rsa");
    let sha512 = key.sign(SignatureAlgorithm::RsaSha512, MESSAGE).unwrap();
    let error = key
        .public_key()
        .verify(SignatureAlgorithm::RsaSha256, MESSAGE, &sha512)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "got a signature of \"rsa-sha2-512\" while expecting rsa-sha2-256"
    );

    // SHA-1, whatever it was agreed as: the name alone is refused.
    let mut sha1 = Vec::new();
    sha1.put_string("ssh-rsa");
    sha1.put_string([0; 256]);
    let error = key.public_key().verify_any(MESSAGE, &sha1).unwrap_err();
    assert!(matches!(error, SignatureError::WrongAlgorithm { got, .. } if got == "ssh-rsa"));

    // Another kind of key than the algorithm's.
    let ed25519 = signing_key("ed25519");
    let signature = ed25519.sign_with_best(MESSAGE);
    assert!(matches!(
        key.public_key()
            .verify(SignatureAlgorithm::Ed25519, MESSAGE, &signature),
        Err(SignatureError::WrongAlgorithm { .. })
    ));
    ed25519.sign(SignatureAlgorithm::RsaSha256, MESSAGE).unwrap_err();
}

#[test]
fn a_flipped_bit_anywhere_in_a_signature_is_noticed() {
    for key in signing_keys() {
        let signature = key.sign_with_best(MESSAGE);
        for flipped in flips(&signature) {
            key.public_key().verify_any(MESSAGE, &flipped).unwrap_err();
        }
        for end in 0..signature.len() {
            key.public_key()
                .verify_any(MESSAGE, &signature[..end])
                .unwrap_err();
        }
        let longer = [&signature[..], &[0]].concat();
        key.public_key().verify_any(MESSAGE, &longer).unwrap_err();
    }
}

#[test]
fn a_flipped_bit_in_a_public_key_makes_another_key_or_none() {
    for key in signing_keys() {
        let signature = key.sign_with_best(MESSAGE);
        for flipped in flips(key.public_key().blob()) {
            if let Ok(other) = PublicKey::from_blob(&flipped) {
                assert_ne!(&other, key.public_key());
                assert!(
                    other.verify_any(MESSAGE, &signature).is_err(),
                    "{flipped:02x?} {:02x?}",
                    key.public_key().blob()
                );
            }
        }
    }
}

#[test]
fn security_keys_need_a_touch_and_tell_of_a_pin() {
    for key in [SoftwareSecurityKey::ed25519(), SoftwareSecurityKey::ecdsa()] {
        let verify = |flags| {
            key.public
                .verify(key.algorithm, MESSAGE, &key.sign(flags, MESSAGE))
        };
        assert!(!verify(1).unwrap().user_verified);
        assert!(verify(5).unwrap().user_verified);
        assert_eq!(verify(0), Err(SignatureError::NoUserPresence));
        assert_eq!(verify(4), Err(SignatureError::NoUserPresence));
        for flipped in flips(&key.sign(1, MESSAGE)) {
            key.public.verify(key.algorithm, MESSAGE, &flipped).unwrap_err();
        }
        // A plain signature by the same key pair is none of the security key's.
        let mut plain = Vec::new();
        plain.put_string(key.algorithm.name());
        plain.put_string([0; 64]);
        assert!(matches!(
            key.public.verify(key.algorithm, MESSAGE, &plain),
            Err(SignatureError::Malformed(_))
        ));
    }
}

#[test]
fn keys_that_are_unsafe_or_not_canonical_are_refused() {
    assert_eq!(PublicKey::from_openssh(RSA_1024), Err(KeyError::RsaBits(1024)));

    let with = |name: &str, fields: &[&[u8]]| {
        let mut blob = Vec::new();
        blob.put_string(name);
        fields.iter().for_each(|field| blob.put_string(field));
        PublicKey::from_blob(&blob)
    };
    let point = &signing_key("ecdsa256").public_key().blob()[39..].to_vec();
    assert_eq!(point.len(), 65);
    with("ecdsa-sha2-nistp256", &[b"nistp256", point]).unwrap();
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    let modulus = [&[0][..], &[0x80; 256]].concat();
    with("ssh-rsa", &[&[1, 0, 1], &modulus]).unwrap();
    let malformed = |result| matches!(result, Err(KeyError::Malformed(_)));
    assert!(malformed(with(
        "ecdsa-sha2-nistp256",
        &[b"nistp256", &compressed]
    )));
    assert!(malformed(with("ecdsa-sha2-nistp256", &[b"nistp384", point])));
    assert!(malformed(with("ecdsa-sha2-nistp384", &[b"nistp384", point])));
    assert!(malformed(with("ssh-ed25519", &[&[1; 31]])));
    assert!(malformed(with("ssh-ed25519", &[&[1; 32], b""])));
    assert!(malformed(with("ssh-rsa", &[&[1, 0, 1], &[0x80; 256]])));
    assert!(malformed(with("ssh-rsa", &[&[0, 1, 0, 1], &modulus])));
    assert!(matches!(
        with("ssh-dss", &[&[1], &[2], &[3], &[4]]),
        Err(KeyError::UnknownType(_))
    ));
    assert!(matches!(
        with("ssh-ed25519-cert-v01@openssh.com", &[&[1; 32]]),
        Err(KeyError::UnknownType(_))
    ));
    assert_eq!(
        PublicKey::from_blob(b""),
        Err(KeyError::UnknownType(String::new()))
    );
}

#[test]
fn a_point_off_its_curve_verifies_nothing() {
    let key = signing_key("ecdsa256");
    let mut blob = key.public_key().blob().to_vec();
    *blob.last_mut().unwrap() ^= 1;
    let off_curve = PublicKey::from_blob(&blob).unwrap();
    off_curve
        .verify_any(MESSAGE, &key.sign_with_best(MESSAGE))
        .unwrap_err();
}

#[test]
fn private_key_files_that_cannot_be_used_say_why() {
    let error = |text: &str| SigningKey::from_openssh(text).unwrap_err();
    assert_eq!(error(""), PrivateKeyError::NotAKeyFile);
    assert_eq!(
        error("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n"),
        PrivateKeyError::NotAKeyFile
    );
    assert_eq!(error(ENCRYPTED), PrivateKeyError::Encrypted("aes256-ctr".into()));
    let (_, text, _) = KEYS[0];
    assert_eq!(
        error(&text.replace("b3BlbnNz", "b3BlbnN!")),
        PrivateKeyError::Malformed("it is not base64")
    );
}

#[test]
fn a_flipped_bit_in_a_private_key_file_is_an_error_or_another_comment() {
    for (_, text, _) in KEYS {
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let file = Base64::decode_vec(&body).unwrap();
        let key = SigningKey::from_openssh(text).unwrap();
        for flipped in flips(&file).step_by(3) {
            let armored = format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
                Base64::encode_string(&flipped)
            );
            if let Ok(read) = SigningKey::from_openssh(&armored) {
                assert_eq!(read.public_key(), key.public_key());
                let signature = read.sign_with_best(MESSAGE);
                key.public_key().verify_any(MESSAGE, &signature).unwrap();
            }
        }
    }
}

#[test]
fn debug_shows_the_public_half_only() {
    let key = signing_key("ed25519");
    let shown = format!("{key:?}");
    assert_eq!(
        shown,
        format!("SigningKey(ssh-ed25519 {})", key.public_key().fingerprint())
    );
}

/// Every copy of `bytes` with one bit flipped.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut copy = bytes.to_vec();
        copy[bit / 8] ^= 1 << (bit % 8);
        copy
    })
}
