use core::net::{IpAddr, Ipv4Addr};

use weir_crypto::random::SystemRandom;

use super::*;
use crate::key::fixtures::{SoftwareSecurityKey, signing_key, signing_keys};
use crate::key::{SignatureAlgorithm, SigningKey};

/// A certificate that ssh-keygen made.
macro_rules! made_by_ssh_keygen {
    ($name:literal) => {
        Certificate::from_openssh(include_str!(concat!("testdata/", $name, "-cert.pub"))).unwrap()
    };
}

/// 2026-07-01, in the middle of what the certificates of ssh-keygen are valid for.
const NOW: u64 = 1_782_864_000;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn authority() -> PublicKey {
    PublicKey::from_openssh(include_str!("testdata/ca.pub")).unwrap()
}

fn check(certificate: Certificate, principal: &str) -> Result<UserCertificate, CertificateError> {
    let authority = certificate.authority().clone();
    certificate.check_user(principal, NOW, CLIENT, |key| key == authority.blob())
}

/// A request that is good for root at `NOW`, to be made worse.
fn request(key: &PublicKey) -> CertificateRequest {
    let key = key.clone();
    CertificateRequest::new(CertificateType::User, key, "alice", NOW - 60..NOW + 60).principal("root")
}

fn issue(request: CertificateRequest) -> Certificate {
    request.sign(&signing_key("ecdsa256"), &mut SystemRandom)
}

fn user_key() -> PublicKey {
    signing_key("ed25519").public_key().clone()
}

#[test]
fn certificates_of_ssh_keygen_are_read_and_accepted_for_every_kind_of_key() {
    for certificate in [
        made_by_ssh_keygen!("user_ed25519"),
        made_by_ssh_keygen!("user_ecdsa256"),
        made_by_ssh_keygen!("user_ecdsa384"),
        made_by_ssh_keygen!("user_ecdsa521"),
        made_by_ssh_keygen!("user_rsa"),
        made_by_ssh_keygen!("user_sk_ed25519"),
        made_by_ssh_keygen!("user_sk_ecdsa256"),
    ] {
        assert_eq!(certificate.authority(), &authority());
        assert_eq!((certificate.serial(), certificate.key_id()), (4242, "alice"));
        assert_eq!(certificate.principals(), ["root", "ubuntu"]);
        assert_eq!(
            (certificate.valid_after(), certificate.valid_before()),
            (1_767_225_600, 1_798_761_600)
        );
        let checked = check(certificate, "ubuntu").unwrap();
        assert!(checked.permits_pty() && checked.permits_port_forwarding());
        assert!(checked.permits_agent_forwarding() && checked.permits_x11_forwarding());
        assert_eq!(checked.force_command(), None);
        assert!(!checked.requires_verification());
    }
}

#[test]
fn authorities_of_every_kind_are_accepted_but_sha_1_is_not() {
    check(made_by_ssh_keygen!("by_rsa-sha2-512"), "root").unwrap();
    check(made_by_ssh_keygen!("by_rsa-sha2-256"), "root").unwrap();
    check(made_by_ssh_keygen!("by_ecdsa"), "root").unwrap();
    let error = check(made_by_ssh_keygen!("by_ssh-rsa"), "root").unwrap_err();
    assert_eq!(
        error.to_string(),
        "certificate signature: got a signature of \"ssh-rsa\" while expecting rsa-sha2-512 or rsa-sha2-256"
    );
}

#[test]
fn what_is_written_reads_back_for_every_kind_of_key_and_authority() {
    let keys: Vec<PublicKey> = signing_keys()
        .map(|key| key.public_key().clone())
        .chain([
            SoftwareSecurityKey::ed25519().public,
            SoftwareSecurityKey::ecdsa().public,
        ])
        .collect();
    for authority in signing_keys() {
        for key in &keys {
            let certificate = request(key)
                .serial(7)
                .extension("permit-pty")
                .sign(&authority, &mut SystemRandom);
            assert_eq!(certificate.key(), key);
            assert_eq!(certificate.authority(), authority.public_key());
            let line = certificate.to_openssh("a comment");
            assert_eq!(Certificate::from_openssh(&line).unwrap(), certificate);
            check(certificate, "root").unwrap();
        }
    }
}

#[test]
fn critical_options_and_extensions_are_exposed() {
    let restricted = made_by_ssh_keygen!("restricted");
    assert_eq!(restricted.extensions()[1].name, "note@example.org");
    assert_eq!(restricted.extensions()[1].value(), Ok("hello"));
    let checked = check(restricted, "root").unwrap();
    assert_eq!(checked.force_command(), Some("uname -a"));
    assert!(checked.requires_verification());
    assert!(checked.permits_pty() && !checked.permits_port_forwarding());
    assert!(checked.has_extension("no-touch-required"));
}

#[test]
fn source_address_lets_only_those_networks_in() {
    let from = |address: &str| {
        let authority = authority();
        let trusted = |key: &[u8]| key == authority.blob();
        made_by_ssh_keygen!("restricted")
            .check_user("root", NOW, address.parse().unwrap(), trusted)
            .map(|_| ())
    };
    from("192.0.2.255").unwrap();
    from("2001:db8:1::1").unwrap();
    from("::ffff:192.0.2.1").unwrap();
    let refused = |address: &str| {
        Err(CertificateError::SourceAddress {
            address: address.parse().unwrap(),
        })
    };
    assert_eq!(from("192.0.3.1"), refused("192.0.3.1"));
    assert_eq!(from("::ffff:192.0.3.1"), refused("192.0.3.1"));
    assert_eq!(from("2001:db9::1"), refused("2001:db9::1"));

    for list in ["192.0.2.0/24,nonsense", "", "192.0.2.1/24"] {
        let certificate = issue(request(&user_key()).critical_option("source-address", list));
        let error = check(certificate, "root").unwrap_err();
        assert!(
            matches!(
                error,
                CertificateError::SourceAddressList(_) | CertificateError::MalformedOption(_)
            ),
            "{error}"
        );
    }
}

#[test]
fn options_that_are_not_understood_refuse() {
    assert_eq!(
        check(made_by_ssh_keygen!("unknown_critical"), "root"),
        Err(CertificateError::UnknownCriticalOption(
            "unknown@example.org".into()
        ))
    );
    let flag_with_value = issue(request(&user_key()).critical_option("verify-required", "x"));
    assert_eq!(
        check(flag_with_value, "root"),
        Err(CertificateError::MalformedOption("verify-required".into()))
    );
    let value_missing = issue(request(&user_key()).critical_option("force-command", ""));
    assert_eq!(
        check(value_missing, "root"),
        Err(CertificateError::MalformedOption("force-command".into()))
    );
    // A plain key has no way to show that its user was verified.
    let required = issue(request(&user_key()).critical_option("verify-required", ""));
    assert_eq!(
        check(required, "root"),
        Err(CertificateError::VerificationImpossible(KeyType::Ed25519))
    );
}

#[test]
fn an_option_that_stands_there_twice_is_refused() {
    let signer = signing_key("ecdsa256");
    let twice = request(&user_key())
        .critical_option("force-command", "true")
        .critical_option("force-command", "id")
        .encode(signer.public_key(), &[0; 32]);
    let mut blob = twice.clone();
    blob.put_string(signer.sign_with_best(&twice));
    assert_eq!(
        Certificate::parse(&blob),
        Err(CertificateError::RepeatedOption("force-command".into()))
    );
}

#[test]
fn a_certificate_is_good_from_its_first_second_until_before_its_last() {
    let at = |now| {
        let certificate = made_by_ssh_keygen!("user_ed25519");
        certificate.check_user("root", now, CLIENT, |_| true).map(|_| ())
    };
    at(1_767_225_600).unwrap();
    at(1_798_761_599).unwrap();
    assert_eq!(
        at(1_767_225_599).unwrap_err().to_string(),
        "certificate is not valid before 2026-01-01T00:00:00Z (it is 2025-12-31T23:59:59Z)"
    );
    assert_eq!(
        at(1_798_761_600).unwrap_err().to_string(),
        "certificate expired at 2027-01-01T00:00:00Z (it is 2027-01-01T00:00:00Z)"
    );
    assert!(at(0).is_err() && at(u64::MAX).is_err());
    assert_eq!(made_by_ssh_keygen!("by_ecdsa").valid_before(), u64::MAX);
}

#[test]
fn only_a_named_principal_is_let_in() {
    let wrong = |name: &str| {
        let result = check(made_by_ssh_keygen!("user_ed25519"), name);
        assert!(
            matches!(result, Err(CertificateError::WrongPrincipal { .. })),
            "{name}"
        );
    };
    ["", "roo", "root ", "root,ubuntu", "Root", "*", "root\0", "alice"]
        .into_iter()
        .for_each(wrong);
    assert_eq!(
        check(made_by_ssh_keygen!("user_ed25519"), "postgres")
            .unwrap_err()
            .to_string(),
        "certificate is for root,ubuntu while expecting \"postgres\""
    );
    assert_eq!(
        check(made_by_ssh_keygen!("no_principals"), "root"),
        Err(CertificateError::NoPrincipals)
    );
    // An empty name among the principals lets nobody in.
    let empty = issue(request(&user_key()).principal(""));
    assert!(matches!(
        check(empty, ""),
        Err(CertificateError::WrongPrincipal { .. })
    ));
}

#[test]
fn wrong_type_and_wrong_authority_are_told_apart() {
    let host_as_user = check(made_by_ssh_keygen!("host"), "web1").unwrap_err();
    assert_eq!(
        host_as_user.to_string(),
        "got a host certificate while expecting a user certificate"
    );
    let user_as_host = made_by_ssh_keygen!("user_ed25519")
        .check_host("root", NOW, |_| true)
        .unwrap_err();
    assert_eq!(
        user_as_host.to_string(),
        "got a user certificate while expecting a host certificate"
    );
    let untrusted = made_by_ssh_keygen!("user_ed25519")
        .check_user("root", NOW, CLIENT, |_| false)
        .unwrap_err();
    assert_eq!(
        untrusted,
        CertificateError::UntrustedAuthority {
            fingerprint: authority().fingerprint()
        }
    );
}

#[test]
fn an_authority_that_is_claimed_but_did_not_sign_is_noticed() {
    // Signed by one key, naming another that is trusted.
    let trusted = signing_key("ecdsa384");
    let forged = request(&user_key()).sign_with(trusted.public_key(), &mut SystemRandom, |message| {
        Ok::<_, ()>(SigningKey::generate_ed25519().sign_with_best(message))
    });
    assert!(matches!(
        check(forged.unwrap(), "root"),
        Err(CertificateError::Signature(SignatureError::WrongAlgorithm { .. }))
    ));
    let other = signing_key("ed25519");
    let forged = request(&user_key()).sign_with(&authority(), &mut SystemRandom, |message| {
        Ok::<_, ()>(other.sign(SignatureAlgorithm::Ed25519, message).unwrap())
    });
    assert_eq!(
        check(forged.unwrap(), "root"),
        Err(CertificateError::Signature(SignatureError::Unauthentic))
    );
}

#[test]
fn a_certificate_as_authority_is_refused() {
    // The blob of a certificate where the authority's key stands.
    let signer = signing_key("ecdsa256");
    let whole = request(&user_key()).encode(signer.public_key(), &[0; 32]);
    let mut blob = whole[..whole.len() - 4 - signer.public_key().blob().len()].to_vec();
    blob.put_string(made_by_ssh_keygen!("user_ed25519").blob());
    blob.put_string("");
    assert!(matches!(
        Certificate::parse(&blob),
        Err(CertificateError::Authority(KeyError::UnknownType(_)))
    ));
}

#[test]
fn hosts_are_known_by_their_names_without_regard_to_case() {
    let host = |name: &str, now| made_by_ssh_keygen!("host").check_host(name, now, |_| true);
    host("web1", NOW).unwrap();
    host("WEB1", NOW).unwrap();
    host("127.0.0.1", NOW).unwrap();
    for name in ["web", "web1.example.org", "", "*", "web1 "] {
        assert!(
            matches!(host(name, NOW), Err(CertificateError::WrongPrincipal { .. })),
            "{name}"
        );
    }
    assert!(matches!(
        host("web1", 0),
        Err(CertificateError::NotYetValid { .. })
    ));
    assert!(matches!(
        host("web1", u64::MAX),
        Err(CertificateError::Expired { .. })
    ));
    let untrusted = made_by_ssh_keygen!("host").check_host("web1", NOW, |_| false);
    assert!(matches!(
        untrusted,
        Err(CertificateError::UntrustedAuthority { .. })
    ));
    let nameless = CertificateRequest::new(CertificateType::Host, user_key(), "", 0..u64::MAX);
    assert_eq!(
        issue(nameless.clone()).check_host("web1", NOW, |_| true),
        Err(CertificateError::NoPrincipals)
    );
    // There are no critical options for hosts, so the ones of users are unknown here.
    let bound = nameless
        .principal("web1")
        .critical_option("source-address", "0.0.0.0/0");
    assert!(matches!(
        issue(bound).check_host("web1", NOW, |_| true),
        Err(CertificateError::UnknownCriticalOption(_))
    ));
}

#[test]
fn plain_keys_and_foreign_blobs_are_told_apart_from_certificates() {
    for key in signing_keys() {
        let error = Certificate::parse(key.public_key().blob()).unwrap_err();
        assert_eq!(error, CertificateError::PlainKey(key.public_key().key_type()));
    }
    assert_eq!(
        Certificate::parse(b"\0\0\0\x03abc"),
        Err(CertificateError::UnknownType("abc".into()))
    );
    assert!(matches!(
        Certificate::parse(b""),
        Err(CertificateError::Malformed(_))
    ));
    assert!(matches!(
        Certificate::parse(&vec![0; MAX_CERTIFICATE_LEN + 1]),
        Err(CertificateError::MalformedField(_))
    ));
}

#[test]
fn lists_beyond_their_bounds_are_refused() {
    let signer = signing_key("ecdsa256");
    let sealed = |request: CertificateRequest| {
        let mut blob = request.encode(signer.public_key(), &[0; 32]);
        blob.put_string("");
        Certificate::parse(&blob).map(|_| ())
    };
    let principals = |n| {
        (0..n).fold(request(&user_key()), |request, i| {
            request.principal(format!("u{i}"))
        })
    };
    sealed(principals(MAX_PRINCIPALS - 1)).unwrap();
    assert!(matches!(
        sealed(principals(MAX_PRINCIPALS)),
        Err(CertificateError::MalformedField(_))
    ));
    let options = |n| {
        (0..n).fold(request(&user_key()), |request, i| {
            request.extension(&format!("e{i}"))
        })
    };
    sealed(options(MAX_OPTIONS)).unwrap();
    assert!(matches!(
        sealed(options(MAX_OPTIONS + 1)),
        Err(CertificateError::MalformedField(_))
    ));
}

#[test]
fn a_flipped_bit_anywhere_in_a_certificate_is_refused() {
    let rich = |key: PublicKey| request(&key).force_command("id").extension("permit-pty");
    let refused = |certificate: &Certificate, bit: usize| {
        let mut flipped = certificate.blob().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Trusts whoever is named, so that the signature alone decides.
        let checked =
            Certificate::parse(&flipped).and_then(|parsed| parsed.check_user("root", NOW, CLIENT, |_| true));
        assert!(
            checked.is_err(),
            "bit {bit} under {}",
            certificate.authority().key_type()
        );
    };
    // Each bit under the fastest authority, one bit of each byte under the others.
    for key in [user_key(), signing_key("rsa").public_key().clone()] {
        let certificate = rich(key).sign(&signing_key("ed25519"), &mut SystemRandom);
        (0..certificate.blob().len() * 8).for_each(|bit| refused(&certificate, bit));
    }
    for authority in signing_keys() {
        let certificate = rich(user_key()).sign(&authority, &mut SystemRandom);
        (0..certificate.blob().len()).for_each(|byte| refused(&certificate, byte * 8 + byte % 8));
    }
}

#[test]
fn a_certificate_cut_or_extended_anywhere_is_refused() {
    let certificate = made_by_ssh_keygen!("restricted");
    for end in 0..certificate.blob().len() {
        assert!(
            Certificate::parse(&certificate.blob()[..end]).is_err(),
            "cut at {end}"
        );
    }
    let longer = [certificate.blob(), &[0]].concat();
    assert_eq!(
        Certificate::parse(&longer),
        Err(CertificateError::Malformed(WireError::Trailing(1)))
    );
}

#[test]
fn upstream_host_keys_are_judged_by_policy() {
    let authorities = vec![authority().blob().to_vec()];
    let certified = |name: &str| HostKeyPolicy::Certified {
        name: name.into(),
        authorities: authorities.clone(),
    };
    let host = made_by_ssh_keygen!("host");
    let plain = host.key().blob();
    certified("web1").judge(host.blob(), NOW).unwrap();
    assert_eq!(
        certified("web1").judge(plain, NOW).unwrap_err(),
        "ssh: handshake failed: remote host presented a public key, expected a host certificate"
    );
    assert_eq!(
        certified("web2").judge(host.blob(), NOW).unwrap_err(),
        "ssh: handshake failed: host certificate of web2: certificate is for web1,127.0.0.1 while expecting \"web2\""
    );
    let nobody = HostKeyPolicy::Certified {
        name: "web1".into(),
        authorities: Vec::new(),
    };
    assert!(
        nobody
            .judge(host.blob(), NOW)
            .unwrap_err()
            .ends_with("is not trusted")
    );

    let pinned = HostKeyPolicy::Pinned(vec![
        signing_key("rsa").public_key().blob().to_vec(),
        plain.to_vec(),
    ]);
    pinned.judge(plain, NOW).unwrap();
    let other = signing_key("ecdsa256");
    assert!(
        pinned
            .judge(other.public_key().blob(), NOW)
            .unwrap_err()
            .contains("not pinned")
    );
    assert!(pinned.judge(host.blob(), NOW).is_err());
    HostKeyPolicy::Unchecked.judge(b"anything", NOW).unwrap();
}

#[test]
fn plain_host_keys_are_asked_for_last_or_where_they_are_pinned() {
    use crate::algorithm::HostKeyAlgorithm::{self, *};
    use crate::hop::HostKeyCheck;
    let asked = |policy: HostKeyPolicy| -> Vec<HostKeyAlgorithm> { policy.at(NOW).algorithms().unwrap() };
    let certified = asked(HostKeyPolicy::Certified {
        name: "web1".into(),
        authorities: Vec::new(),
    });
    assert_eq!(
        (certified[0], certified.len()),
        (Ed25519Cert, HostKeyAlgorithm::ALL.len())
    );
    assert!(
        certified
            .iter()
            .skip_while(|algorithm| algorithm.is_certificate())
            .count()
            == 6
    );
    let pinned = asked(HostKeyPolicy::Pinned(vec![
        signing_key("rsa").public_key().blob().to_vec(),
    ]));
    assert_eq!(pinned, [RsaSha512, RsaSha256]);
    assert_eq!(asked(HostKeyPolicy::Unchecked)[0], Ed25519);
}
