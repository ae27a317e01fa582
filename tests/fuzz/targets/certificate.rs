//! Keys, certificates and private key files: read, checked, and written back.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{CLIENT, LOGIN, NOW, Replay, authority, certificate_request, parts, user_key};
use weir_ssh::certificate::{Certificate, HostKeyPolicy, Network};
use weir_ssh::key::{PublicKey, SigningKey};

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    match mode % 4 {
        0 => claimed(rest),
        1 => signed(rest),
        2 => key(rest),
        _ => text(rest),
    }
});

/// A certificate as anybody may send it: whoever it names is trusted, and the signature decides.
fn claimed(blob: &[u8]) {
    let _ = HostKeyPolicy::Certified {
        name: "web1".into(),
        authorities: Vec::new(),
    }
    .judge(blob, NOW);
    let Ok(certificate) = Certificate::parse(blob) else {
        return;
    };
    assert_eq!(certificate.blob(), blob);
    assert_eq!(
        Certificate::from_openssh(&certificate.to_openssh("c")).as_ref(),
        Ok(&certificate)
    );
    assert_eq!(
        &PublicKey::from_blob(certificate.key().blob()).unwrap(),
        certificate.key()
    );
    let _ = certificate.check_host("web1", NOW, |_| true);
    let _ = certificate.check_user(LOGIN, NOW, CLIENT, |_| true);
}

/// A certificate that the authority did sign, with options and names out of the input.
fn signed(data: &[u8]) {
    let mut request = certificate_request(user_key().public_key());
    // The builder takes each name once, as the format demands.
    let mut taken = HashSet::new();
    for (i, pair) in parts(data).take(24).enumerate() {
        let Ok(pair) = std::str::from_utf8(pair) else {
            return;
        };
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        request = match i % 3 {
            0 if taken.insert((0, name)) => request.critical_option(name, value),
            1 if taken.insert((1, name)) => request.extension(name),
            _ => request.principal(pair),
        };
    }
    let certificate = request.sign(&authority(), &mut Replay(9));
    let trusted = |key: &[u8]| key == authority().public_key().blob();
    if let Ok(checked) = certificate.check_user(LOGIN, NOW, CLIENT, trusted) {
        let _ = (
            checked.force_command(),
            checked.permits_pty(),
            checked.requires_verification(),
        );
    }
}

fn key(data: &[u8]) {
    let mut pieces = parts(data);
    let (blob, signature) = (
        pieces.next().unwrap_or_default(),
        pieces.next().unwrap_or_default(),
    );
    let Ok(key) = PublicKey::from_blob(blob) else {
        return;
    };
    assert_eq!(key.blob(), blob);
    assert_eq!(PublicKey::from_openssh(&key.to_openssh("")).as_ref(), Ok(&key));
    assert!(
        key.verify_any(b"a message that nobody signed", signature)
            .is_err()
    );
}

fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = (PublicKey::from_openssh(text), Certificate::from_openssh(text));
    if let Ok(networks) = Network::parse_list(text) {
        let written: Vec<String> = networks.iter().map(Network::to_string).collect();
        assert_eq!(Network::parse_list(&written.join(",")), Ok(networks.clone()));
        let _ = networks.iter().any(|network| network.contains(CLIENT));
    }
    if let Ok(key) = SigningKey::from_openssh(text) {
        let message = b"signed by what was read";
        key.public_key()
            .verify_any(message, &key.sign_with_best(message))
            .unwrap();
    }
}
