use core::net::{IpAddr, Ipv4Addr};

use weir_crypto::random::SystemRandom;

use super::super::server::{Authority, ServerAuth, ServerStep};
use super::*;
use crate::certificate::{CertificateRequest, CertificateType};
use crate::extensions::server_ext_info;
use crate::key::fixtures::{signing_key, signing_keys};

const NOW: u64 = 1_782_864_000;
const SESSION: &[u8] = b"the first exchange hash";
const HOST_KEY: &[u8] = b"a host key";

struct Anybody;

impl Authority for Anybody {
    fn principal<'u>(&self, user: &'u str) -> Option<&'u str> {
        Some(user)
    }

    fn trusts_user_ca(&self, _: &[u8]) -> bool {
        true
    }
}

fn certified(key: SigningKey) -> Credential {
    let request = CertificateRequest::new(CertificateType::User, key.public_key().clone(), "s", 0..NOW + 1)
        .principal("root");
    let certificate = request.sign(&signing_key("ed25519"), &mut SystemRandom);
    Credential::certified(key, certificate).unwrap()
}

fn extensions(algorithms: &[&str]) -> Extensions {
    let payload = server_ext_info(algorithms.iter().copied());
    let mut extensions = Extensions::default();
    extensions.receive(&payload[1..]).unwrap();
    extensions
}

fn client(credential: Credential) -> ClientAuth {
    ClientAuth::new("root", credential, SESSION, HOST_KEY)
}

/// Lets both sides talk until the client has its verdict.
fn sign_in(
    mut client: ClientAuth,
    extensions: &Extensions,
    banner: Option<String>,
) -> (Vec<ClientStep>, bool) {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut server = ServerAuth::new(SESSION, address, HOST_KEY, 6, banner);
    let (mut to_server, mut steps, mut is_in) = (Replies::new(), Vec::new(), false);
    client.start(&mut to_server);
    while !to_server.is_empty() {
        let mut to_client = Replies::new();
        for payload in std::mem::take(&mut to_server) {
            let step = server.receive(&payload, NOW, &Anybody, &mut to_client).unwrap();
            is_in |= matches!(step, ServerStep::Authenticated(_));
        }
        for payload in to_client {
            steps.push(client.receive(&payload, extensions, &mut to_server).unwrap());
        }
    }
    (steps, is_in)
}

#[test]
fn a_client_with_a_certificate_is_let_in_by_our_server() {
    for key in signing_keys() {
        for extensions in [
            Extensions::default(),
            extensions(&["ssh-ed25519", "rsa-sha2-256"]),
        ] {
            let (steps, is_in) = sign_in(
                client(certified(key.clone())),
                &extensions,
                Some("hello\n".into()),
            );
            assert_eq!(
                steps,
                [
                    ClientStep::Continue,
                    ClientStep::Banner("hello\n".into()),
                    ClientStep::Success
                ]
            );
            assert!(is_in);
        }
    }
}

#[test]
fn a_refusal_names_the_login_and_what_is_accepted() {
    let (steps, is_in) = sign_in(
        client(Credential::plain(signing_key("rsa"))),
        &Extensions::default(),
        None,
    );
    let ClientStep::Failed(failure) = &steps[1] else {
        panic!("{steps:?}")
    };
    assert_eq!(
        failure.to_string(),
        "the key for login \"root\" was refused (accepted there: publickey)"
    );
    assert!(!is_in);

    let mut partial = client(certified(signing_key("ed25519")));
    let mut replies = Replies::new();
    partial
        .receive(&[msg::SERVICE_ACCEPT], &Extensions::default(), &mut replies)
        .unwrap();
    let mut payload = vec![msg::USERAUTH_FAILURE];
    payload.put_name_list(["password"]);
    payload.put_bool(true);
    let step = partial
        .receive(&payload, &Extensions::default(), &mut replies)
        .unwrap();
    let ClientStep::Failed(failure) = step else {
        panic!("{step:?}")
    };
    assert_eq!(
        failure.to_string(),
        "the certificate for login \"root\" was accepted, but password is required as well"
    );
}

#[test]
fn rsa_signs_with_what_the_server_takes_and_never_with_sha_1() {
    let chosen = |algorithms: &[&str]| {
        client(certified(signing_key("rsa"))).signature_algorithm(&extensions(algorithms))
    };
    assert_eq!(
        chosen(&["rsa-sha2-256", "ssh-rsa"]),
        Ok(SignatureAlgorithm::RsaSha256)
    );
    assert_eq!(
        chosen(&["rsa-sha2-256", "rsa-sha2-512"]),
        Ok(SignatureAlgorithm::RsaSha512)
    );
    assert_eq!(
        chosen(&["ssh-rsa"]).unwrap_err().to_string(),
        "cannot sign: the server takes signatures of ssh-rsa only"
    );
    let silent = client(certified(signing_key("rsa"))).signature_algorithm(&Extensions::default());
    assert_eq!(silent, Ok(SignatureAlgorithm::RsaSha512));
}

#[test]
fn banners_are_cleaned_and_bounded() {
    let mut client = client(certified(signing_key("ed25519")));
    let mut banner = vec![msg::USERAUTH_BANNER];
    banner.put_string(b"\x1b]0;title\x07 caf\xc3\xa9 \xff\n");
    banner.put_string("");
    let mut receive = |payload: &[u8]| client.receive(payload, &Extensions::default(), &mut Replies::new());
    let cleaned = "\u{fffd}]0;title\u{fffd} café \u{fffd}\n";
    for _ in 0..MAX_BANNERS {
        assert_eq!(receive(&banner), Ok(ClientStep::Banner(cleaned.into())));
    }
    assert_eq!(receive(&banner), Ok(ClientStep::Continue));
}

#[test]
fn a_server_that_answers_out_of_order_is_left() {
    let extensions = Extensions::default();
    for number in 0..=255 {
        let mut early = client(certified(signing_key("ed25519")));
        let result = early.receive(&[number], &extensions, &mut Replies::new());
        // Above all no SUCCESS before anything was asked for.
        assert_eq!(result.is_ok(), number == msg::SERVICE_ACCEPT, "{number}");
        let mut asked = client(certified(signing_key("ed25519")));
        asked
            .receive(&[msg::SERVICE_ACCEPT], &extensions, &mut Replies::new())
            .unwrap();
        let result = asked.receive(&[number], &extensions, &mut Replies::new());
        assert_eq!(result.is_ok(), number == msg::USERAUTH_SUCCESS, "{number}");
    }
    let mut done = client(certified(signing_key("ed25519")));
    done.receive(&[msg::SERVICE_ACCEPT], &extensions, &mut Replies::new())
        .unwrap();
    done.receive(&[msg::USERAUTH_SUCCESS], &extensions, &mut Replies::new())
        .unwrap();
    assert!(
        done.receive(&[msg::USERAUTH_SUCCESS], &extensions, &mut Replies::new())
            .is_err()
    );
    assert!(
        client(certified(signing_key("ed25519")))
            .receive(&[], &extensions, &mut Replies::new())
            .is_err()
    );
}

#[test]
fn a_credential_of_two_keys_is_refused() {
    let Credential { certificate, .. } = certified(signing_key("rsa"));
    let other = Credential::certified(signing_key("ed25519"), certificate.unwrap());
    assert_eq!(other.unwrap_err(), CertificateError::OtherKey);
}
