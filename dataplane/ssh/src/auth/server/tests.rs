use core::net::Ipv4Addr;

use weir_crypto::random::SystemRandom;

use super::super::request::write_public_key;
use super::super::{ProofError, proof::ProofCheck, verify_proof};
use super::*;
use crate::certificate::{CertificateRequest, CertificateType};
use crate::key::fixtures::{SoftwareSecurityKey, signing_key, signing_keys};
use crate::key::{PublicKeyAlgorithm, SignatureAlgorithm, SigningKey};

const NOW: u64 = 1_782_864_000;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const SESSION: &[u8] = b"the first exchange hash of this connection";
const HOST_KEY: &[u8] = b"the host key that this client was shown";
const USER: &str = "root@web1";

/// Trusts the fixture `ecdsa256` and reads `login@node`.
struct Cluster;

impl Authority for Cluster {
    fn principal<'u>(&self, user: &'u str) -> Option<&'u str> {
        user.split_once('@').map(|(login, _)| login)
    }

    fn trusts_user_ca(&self, key: &[u8]) -> bool {
        key == authority().public_key().blob()
    }
}

fn authority() -> SigningKey {
    signing_key("ecdsa256")
}

fn request(key: &PublicKey) -> CertificateRequest {
    CertificateRequest::new(CertificateType::User, key.clone(), "alice", NOW - 60..NOW + 60).principal("root")
}

fn issue(request: CertificateRequest) -> Certificate {
    request.sign(&authority(), &mut SystemRandom)
}

fn good_certificate(key: &SigningKey) -> Certificate {
    issue(request(key.public_key()))
}

/// A server behind an accepted service request.
fn server() -> ServerAuth {
    let mut server = ServerAuth::new(SESSION, CLIENT, HOST_KEY, 6, None);
    let mut replies = Replies::new();
    server
        .receive(&service_request("ssh-userauth"), NOW, &Cluster, &mut replies)
        .unwrap();
    assert_eq!(
        replies,
        [[&[msg::SERVICE_ACCEPT, 0, 0, 0, 12][..], b"ssh-userauth"].concat()]
    );
    server
}

fn service_request(service: &str) -> Vec<u8> {
    let mut payload = vec![msg::SERVICE_REQUEST];
    payload.put_string(service);
    payload
}

fn simple_request(user: &str, service: &str, method: &str) -> Vec<u8> {
    let mut payload = vec![msg::USERAUTH_REQUEST];
    payload.put_string(user);
    payload.put_string(service);
    payload.put_string(method);
    payload
}

/// A request by public key, honest unless a field is changed.
#[derive(Clone)]
struct Attempt<'a> {
    user: &'a str,
    session: &'a [u8],
    host_key: Option<&'a [u8]>,
    certificate: Vec<u8>,
    algorithm: PublicKeyAlgorithm,
}

impl<'a> Attempt<'a> {
    fn new(certificate: &Certificate) -> Attempt<'a> {
        let signature = certificate.key().key_type().signature_algorithms()[0];
        Attempt {
            user: USER,
            session: SESSION,
            host_key: None,
            certificate: certificate.blob().to_vec(),
            algorithm: PublicKeyAlgorithm::certified(signature),
        }
    }

    fn probe(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        write_public_key(
            &mut payload,
            self.user,
            false,
            self.algorithm,
            &self.certificate,
            self.host_key,
        );
        payload
    }

    fn signed(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let mut payload = Vec::new();
        write_public_key(
            &mut payload,
            self.user,
            true,
            self.algorithm,
            &self.certificate,
            self.host_key,
        );
        let mut signed_data = Vec::new();
        signed_data.put_string(self.session);
        signed_data.put_bytes(&payload);
        payload.put_string(sign(&signed_data));
        payload
    }

    fn signed_by(&self, key: &SigningKey) -> Vec<u8> {
        self.signed(|data| key.sign(self.algorithm.signature, data).unwrap())
    }
}

/// What the server makes of one payload.
fn receive(server: &mut ServerAuth, payload: &[u8]) -> (Result<ServerStep, AuthError>, Replies) {
    let mut replies = Replies::new();
    (server.receive(payload, NOW, &Cluster, &mut replies), replies)
}

fn refusal(server: &mut ServerAuth, payload: &[u8]) -> Refusal {
    let (step, replies) = receive(server, payload);
    let failure = [&[msg::USERAUTH_FAILURE, 0, 0, 0, 9][..], b"publickey", &[0]].concat();
    assert_eq!(replies.last(), Some(&failure));
    match step.unwrap() {
        ServerStep::Refused(failure) => failure.why,
        other => panic!("got {other:?} while expecting a refusal"),
    }
}

fn accepted(server: &mut ServerAuth, payload: &[u8]) -> Authenticated {
    let (step, replies) = receive(server, payload);
    match step.unwrap() {
        ServerStep::Authenticated(authenticated) => {
            assert_eq!(replies, [[msg::USERAUTH_SUCCESS]]);
            *authenticated
        }
        other => panic!("got {other:?} while expecting success"),
    }
}

#[test]
fn a_user_with_a_certificate_is_let_in_after_a_probe() {
    for key in signing_keys() {
        for &signature in key.public_key().key_type().signature_algorithms() {
            let mut attempt = Attempt::new(&good_certificate(&key));
            attempt.algorithm.signature = signature;
            let mut server = server();
            let (step, replies) = receive(&mut server, &attempt.probe());
            assert!(matches!(step, Ok(ServerStep::Continue)));
            let mut ok = vec![msg::USERAUTH_PK_OK];
            ok.put_string(attempt.algorithm.name());
            ok.put_string(&attempt.certificate);
            assert_eq!(replies, [ok]);
            let user = accepted(&mut server, &attempt.signed_by(&key));
            assert_eq!((user.user(), user.certificate().principal()), (USER, "root"));
            assert_eq!(user.certificate().certificate().key_id(), "alice");
        }
    }
}

#[test]
fn a_request_bound_to_our_host_key_is_let_in_and_to_another_ends_the_connection() {
    let key = signing_key("ed25519");
    let mut attempt = Attempt::new(&good_certificate(&key));
    attempt.host_key = Some(HOST_KEY);
    let mut bound = server();
    assert!(matches!(
        receive(&mut bound, &attempt.probe()).0,
        Ok(ServerStep::Continue)
    ));
    accepted(&mut bound, &attempt.signed_by(&key));

    for other in [&b"another host key"[..], b"", &HOST_KEY[1..]] {
        attempt.host_key = Some(other);
        for payload in [attempt.probe(), attempt.signed_by(&key)] {
            let (step, replies) = receive(&mut server(), &payload);
            assert_eq!(step.unwrap_err(), AuthError::HostKeyMismatch);
            assert!(replies.is_empty());
        }
    }
}

#[test]
fn security_keys_sign_in_with_a_touch_and_with_a_pin_where_required() {
    for key in [SoftwareSecurityKey::ed25519(), SoftwareSecurityKey::ecdsa()] {
        let certificate = issue(request(&key.public));
        let attempt = Attempt::new(&certificate);
        accepted(&mut server(), &attempt.signed(|data| key.sign(1, data)));
        let untouched = refusal(&mut server(), &attempt.signed(|data| key.sign(0, data)));
        assert_eq!(untouched, Refusal::Signature(SignatureError::NoUserPresence));

        let pin = issue(request(&key.public).critical_option("verify-required", ""));
        let attempt = Attempt::new(&pin);
        accepted(&mut server(), &attempt.signed(|data| key.sign(5, data)));
        let unverified = refusal(&mut server(), &attempt.signed(|data| key.sign(1, data)));
        assert_eq!(unverified, Refusal::UserNotVerified);
    }
}

#[test]
fn the_first_none_asks_for_methods_and_later_ones_count() {
    let mut server = server();
    let none = simple_request(USER, "ssh-connection", "none");
    let (step, replies) = receive(&mut server, &none);
    assert!(matches!(step, Ok(ServerStep::Continue)));
    assert_eq!(
        replies,
        [[&[msg::USERAUTH_FAILURE, 0, 0, 0, 9][..], b"publickey", &[0]].concat()]
    );
    for _ in 0..5 {
        assert_eq!(refusal(&mut server, &none), Refusal::Method("none".into()));
    }
    assert!(matches!(
        receive(&mut server, &none).0,
        Err(AuthError::TooManyFailures { last: Some(_) })
    ));
}

#[test]
fn passwords_are_refused_unread() {
    let mut payload = simple_request(USER, "ssh-connection", "password");
    payload.put_bool(false);
    payload.put_string("hunter2");
    let mut server = server();
    let (step, _) = receive(&mut server, &payload);
    assert!(!format!("{step:?}").contains("hunter2"));
    assert!(
        matches!(step, Ok(ServerStep::Refused(failure)) if failure.why == Refusal::Method("password".into()))
    );
}

#[test]
fn a_plain_key_is_refused_with_the_reason_even_if_it_signs() {
    let key = signing_key("ed25519");
    let mut attempt = Attempt::new(&good_certificate(&key));
    attempt.certificate = key.public_key().blob().to_vec();
    attempt.algorithm = PublicKeyAlgorithm::plain(SignatureAlgorithm::Ed25519);
    for payload in [attempt.probe(), attempt.signed_by(&key)] {
        let why = refusal(&mut server(), &payload);
        assert_eq!(
            why.to_string(),
            "a plain ssh-ed25519 key was offered, and only certificates are accepted; sign it with the user authority"
        );
    }
    // An authority's own key is a plain key like any other.
    let ca = authority();
    attempt.certificate = ca.public_key().blob().to_vec();
    attempt.algorithm = PublicKeyAlgorithm::plain(ca.public_key().key_type().signature_algorithms()[0]);
    assert!(matches!(
        refusal(&mut server(), &attempt.signed_by(&ca)),
        Refusal::PlainKey(_)
    ));
}

#[test]
fn an_algorithm_must_belong_to_the_blob_that_comes_with_it() {
    let key = signing_key("ed25519");
    let certificate = good_certificate(&key);
    let honest = Attempt::new(&certificate);
    let with = |algorithm, blob: &[u8]| {
        let mut attempt = honest.clone();
        attempt.algorithm = algorithm;
        attempt.certificate = blob.to_vec();
        refusal(&mut server(), &attempt.signed(|data| key.sign_with_best(data)))
    };
    let (plain, certified) = (PublicKeyAlgorithm::plain, PublicKeyAlgorithm::certified);
    // The certificate under the name of a plain key, and the reverse.
    assert!(matches!(
        with(plain(SignatureAlgorithm::Ed25519), certificate.blob()),
        Refusal::Algorithm(_)
    ));
    assert!(matches!(
        with(certified(SignatureAlgorithm::Ed25519), key.public_key().blob()),
        Refusal::PlainKey(KeyType::Ed25519)
    ));
    // The certificate of another kind of key.
    assert!(matches!(
        with(certified(SignatureAlgorithm::RsaSha256), certificate.blob()),
        Refusal::Algorithm(_)
    ));
    assert!(matches!(
        with(certified(SignatureAlgorithm::SkEd25519), certificate.blob()),
        Refusal::Algorithm(_)
    ));
    // A name that means SHA-1.
    let rsa = signing_key("rsa");
    let sha1 = good_certificate(&rsa);
    let mut payload = simple_request(USER, "ssh-connection", "publickey");
    payload.put_bool(false);
    payload.put_string("ssh-rsa-cert-v01@openssh.com");
    payload.put_string(sha1.blob());
    assert_eq!(
        refusal(&mut server(), &payload),
        Refusal::Algorithm("ssh-rsa-cert-v01@openssh.com".into())
    );
    // Agreed on SHA-256, signed with SHA-512.
    let mut attempt = Attempt::new(&sha1);
    attempt.algorithm.signature = SignatureAlgorithm::RsaSha256;
    let payload = attempt.signed(|data| rsa.sign(SignatureAlgorithm::RsaSha512, data).unwrap());
    assert!(matches!(
        refusal(&mut server(), &payload),
        Refusal::Signature(SignatureError::WrongAlgorithm { .. })
    ));
}

#[test]
fn a_signature_counts_for_this_session_user_key_and_method_only() {
    let key = signing_key("ed25519");
    let certificate = good_certificate(&key);
    let honest = Attempt::new(&certificate);
    let unauthentic = Refusal::Signature(SignatureError::Unauthentic);

    // Made for another connection, for none, or with the length of the session identifier shifted into the request.
    for session in [&b"another exchange hash"[..], b"", &SESSION[..SESSION.len() - 1]] {
        let replayed = Attempt {
            session,
            ..honest.clone()
        }
        .signed_by(&key);
        assert_eq!(refusal(&mut server(), &replayed), unauthentic);
    }
    // Made by another key than the certificate's.
    let stranger = SigningKey::generate_ed25519();
    assert_eq!(refusal(&mut server(), &honest.signed_by(&stranger)), unauthentic);

    // Lifted from a request that was different: take its signature and put it under this one.
    let graft = |other: &Attempt<'_>| {
        let mut stolen = Vec::new();
        other.signed(|data| {
            stolen = key.sign_with_best(data);
            stolen.clone()
        });
        refusal(&mut server(), &honest.signed(|_| stolen))
    };
    assert_eq!(
        graft(&Attempt {
            user: "root@web2",
            ..honest.clone()
        }),
        unauthentic
    );
    assert_eq!(
        graft(&Attempt {
            host_key: Some(HOST_KEY),
            ..honest.clone()
        }),
        unauthentic
    );
    let second = issue(request(key.public_key()).serial(2));
    assert_eq!(graft(&Attempt::new(&second)), unauthentic);

    // Over the probe, which differs in the flag alone.
    let mut signed_data = Vec::new();
    signed_data.put_string(SESSION);
    signed_data.put_bytes(&honest.probe());
    let over_probe = key.sign_with_best(&signed_data);
    assert_eq!(
        refusal(&mut server(), &honest.signed(|_| over_probe)),
        unauthentic
    );
}

#[test]
fn a_probe_leaves_nothing_behind_that_a_signed_request_could_lean_on() {
    let key = signing_key("ed25519");
    let good = Attempt::new(&good_certificate(&key));
    let mut server = server();
    assert!(matches!(
        receive(&mut server, &good.probe()).0,
        Ok(ServerStep::Continue)
    ));
    // A certificate of one's own making under the key that was just approved.
    let forged = request(key.public_key()).sign(&key, &mut SystemRandom);
    let why = refusal(&mut server, &Attempt::new(&forged).signed_by(&key));
    assert!(matches!(
        why,
        Refusal::Certificate(CertificateError::UntrustedAuthority { .. })
    ));
    // The approved certificate, expired meanwhile.
    let mut replies = Replies::new();
    let late = server
        .receive(&good.signed_by(&key), NOW + 60, &Cluster, &mut replies)
        .unwrap();
    let ServerStep::Refused(failure) = late else {
        panic!("got {late:?}")
    };
    assert!(matches!(
        failure.why,
        Refusal::Certificate(CertificateError::Expired { .. })
    ));
}

#[test]
fn a_user_or_service_that_changes_ends_the_connection() {
    let key = signing_key("ed25519");
    let attempt = Attempt::new(&good_certificate(&key));
    let mut changed = server();
    receive(&mut changed, &attempt.probe()).0.unwrap();
    let other = Attempt {
        user: "root@web2",
        ..attempt.clone()
    };
    assert_eq!(
        receive(&mut changed, &other.signed_by(&key)).0.unwrap_err(),
        AuthError::NameChanged
    );
    let mut after_none = server();
    receive(&mut after_none, &simple_request("", "ssh-connection", "none"))
        .0
        .unwrap();
    assert_eq!(
        receive(&mut after_none, &attempt.probe()).0.unwrap_err(),
        AuthError::NameChanged
    );
    assert!(matches!(
        receive(&mut server(), &simple_request(USER, "ssh-userauth", "none")).0,
        Err(AuthError::ServiceNotAvailable(_))
    ));
}

#[test]
fn a_name_that_asks_for_no_login_or_for_another_is_refused() {
    let key = signing_key("ed25519");
    let attempt = Attempt::new(&good_certificate(&key));
    let as_user = |user| {
        let attempt = Attempt {
            user,
            ..attempt.clone()
        };
        refusal(&mut server(), &attempt.signed_by(&key))
    };
    assert_eq!(as_user("root"), Refusal::UnknownUser);
    assert_eq!(as_user(""), Refusal::UnknownUser);
    for user in ["@web1", "postgres@web1", "Root@web1", "root\0@web1"] {
        assert!(
            matches!(
                as_user(user),
                Refusal::Certificate(CertificateError::WrongPrincipal { .. })
            ),
            "{user:?}"
        );
    }
}

#[test]
fn refused_certificates_say_why_to_the_log_and_once_to_their_holder() {
    let key = signing_key("ed25519");
    let expired = CertificateRequest::new(CertificateType::User, key.public_key().clone(), "al\nice", 0..NOW)
        .principal("root")
        .serial(9);
    let attempt = Attempt::new(&issue(expired));
    let mut server = server();
    let (step, replies) = receive(&mut server, &attempt.probe());
    let Ok(ServerStep::Refused(failure)) = step else {
        panic!("got {step:?}")
    };
    assert_eq!(failure.user, USER);
    assert_eq!(failure.fingerprint, Some(key.public_key().fingerprint()));
    assert_eq!(failure.certificate, Some(("al\u{fffd}ice".into(), 9)));
    assert_eq!(
        replies.iter().map(|reply| reply[0]).collect::<Vec<_>>(),
        [msg::USERAUTH_BANNER, msg::USERAUTH_FAILURE]
    );
    let mut banner = Reader::new(&replies[0][1..]);
    assert_eq!(banner.text().unwrap(), format!("{}\n", failure.why));
    let (_, replies) = receive(&mut server, &attempt.probe());
    assert_eq!(replies.len(), 1);

    // A stranger learns nothing about whom we trust and why not.
    let own_authority = request(key.public_key()).sign(&key, &mut SystemRandom);
    let (_, replies) = receive(&mut self::server(), &Attempt::new(&own_authority).probe());
    assert_eq!(replies.len(), 1);
}

#[test]
fn tries_are_bounded_and_plain_keys_of_an_agent_do_not_use_them_up() {
    let key = signing_key("ed25519");
    let attempt = Attempt::new(&good_certificate(&key));
    let wrong = attempt.signed_by(&SigningKey::generate_ed25519());
    let mut bounded = server();
    for _ in 0..5 {
        refusal(&mut bounded, &wrong);
    }
    let (step, replies) = receive(&mut bounded, &wrong);
    let AuthError::TooManyFailures { last: Some(last) } = step.unwrap_err() else {
        panic!()
    };
    assert_eq!(last.why, Refusal::Signature(SignatureError::Unauthentic));
    assert!(replies.is_empty());

    let mut plain = attempt.clone();
    plain.certificate = key.public_key().blob().to_vec();
    plain.algorithm = PublicKeyAlgorithm::plain(SignatureAlgorithm::Ed25519);
    let mut many = server();
    for _ in 0..MAX_REQUESTS - 1 {
        refusal(&mut many, &plain.probe());
    }
    accepted(&mut many, &attempt.signed_by(&key));
    // Approved probes are bounded as well.
    let mut probing = server();
    for _ in 0..MAX_REQUESTS {
        receive(&mut probing, &attempt.probe()).0.unwrap();
    }
    assert!(matches!(
        receive(&mut probing, &attempt.probe()).0,
        Err(AuthError::TooManyFailures { last: None })
    ));
}

#[test]
fn messages_out_of_order_end_the_connection() {
    let key = signing_key("ed25519");
    let good = Attempt::new(&good_certificate(&key)).signed_by(&key);
    let fresh = || ServerAuth::new(SESSION, CLIENT, HOST_KEY, 6, None);
    // Before the service was asked for: nothing else, above all no request and none of the server's own messages.
    for number in (0..=255).filter(|&number| number != msg::SERVICE_REQUEST) {
        let step = receive(&mut fresh(), &[&[number], &good[1..]].concat()).0;
        assert!(matches!(step, Err(AuthError::Unexpected { got, .. }) if got == number));
    }
    assert!(matches!(
        receive(&mut fresh(), &[]).0,
        Err(AuthError::OutOfBounds(_))
    ));
    for service in ["ssh-connection", "", "ssh-userauth\0"] {
        let step = receive(&mut fresh(), &service_request(service)).0;
        assert!(matches!(step, Err(AuthError::ServiceNotAvailable(_))));
    }
    // While requests are awaited: nothing else, above all no SUCCESS, no channel and no second service.
    for number in (0..=255).filter(|&number| number != msg::USERAUTH_REQUEST) {
        let step = receive(&mut server(), &[&[number], &good[1..]].concat()).0;
        assert!(matches!(step, Err(AuthError::Unexpected { got, .. }) if got == number));
    }
    // Afterwards: further requests are ignored, and prove nothing.
    let mut done = server();
    accepted(&mut done, &good);
    let (step, replies) = receive(&mut done, &good);
    assert!(matches!(step, Ok(ServerStep::Continue)) && replies.is_empty());
    assert!(receive(&mut done, &service_request("ssh-userauth")).0.is_err());
}

#[test]
fn a_banner_comes_before_the_first_answer_and_once() {
    let mut server = ServerAuth::new(SESSION, CLIENT, HOST_KEY, 6, Some("be good\n".into()));
    let (_, replies) = receive(&mut server, &service_request("ssh-userauth"));
    assert_eq!(replies.len(), 1);
    let none = simple_request(USER, "ssh-connection", "none");
    let (_, replies) = receive(&mut server, &none);
    assert_eq!((replies.len(), replies[0][0]), (2, msg::USERAUTH_BANNER));
    let (_, replies) = receive(&mut server, &none);
    assert_eq!(replies.len(), 1);
}

#[test]
fn a_flipped_bit_anywhere_in_a_request_is_refused() {
    for bound in [None, Some(HOST_KEY)] {
        let key = signing_key("ed25519");
        let attempt = Attempt {
            host_key: bound,
            ..Attempt::new(&good_certificate(&key))
        };
        let good = attempt.signed_by(&key);
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let step = receive(&mut server(), &flipped).0;
            assert!(!matches!(step, Ok(ServerStep::Authenticated(_))), "bit {bit}");
        }
        for end in 0..good.len() {
            let step = receive(&mut server(), &good[..end]).0;
            assert!(step.is_err(), "cut at {end}");
        }
        assert!(receive(&mut server(), &[&good[..], &[0]].concat()).0.is_err());
    }
}

#[test]
fn the_proof_convinces_somebody_who_was_not_there() {
    for bound in [None, Some(HOST_KEY)] {
        let key = signing_key("rsa");
        let certificate = good_certificate(&key);
        let attempt = Attempt {
            host_key: bound,
            ..Attempt::new(&certificate)
        };
        let user = accepted(&mut server(), &attempt.signed_by(&key));
        let proof = verify(certificate.blob(), user.proof(), NOW).unwrap();
        assert_eq!((&*proof.user, &*proof.session_id), (USER, SESSION));
        assert_eq!(proof.host_key.as_deref(), bound);
        assert_eq!(&proof.certificate, user.certificate());

        // With another certificate for the same key, later, or from elsewhere it proves nothing.
        let second = issue(request(key.public_key()).serial(2));
        assert_eq!(
            verify(second.blob(), user.proof(), NOW),
            Err(ProofError::OtherCertificate)
        );
        let late = verify(certificate.blob(), user.proof(), NOW + 60);
        assert!(matches!(
            late,
            Err(ProofError::Certificate(CertificateError::Expired { .. }))
        ));

        let SignedRequest {
            signed_data,
            signature,
        } = user.proof();
        for bit in 0..signed_data.len() * 8 {
            let mut flipped = signed_data.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let request = SignedRequest {
                signed_data: flipped,
                signature: signature.clone(),
            };
            assert!(verify(certificate.blob(), &request, NOW).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn what_the_key_signed_for_another_purpose_is_no_proof() {
    let key = signing_key("ed25519");
    let certificate = good_certificate(&key);
    let attempt = Attempt::new(&certificate);
    let prove = |signed_data: Vec<u8>| {
        let signature = key.sign_with_best(&signed_data);
        verify(
            certificate.blob(),
            &SignedRequest {
                signed_data,
                signature,
            },
            NOW,
        )
    };
    let request = |session: &[u8]| {
        let mut signed_data = Vec::new();
        signed_data.put_string(session);
        write_public_key(
            &mut signed_data,
            USER,
            true,
            attempt.algorithm,
            certificate.blob(),
            None,
        );
        signed_data
    };
    prove(request(&[7; 32])).unwrap();
    // Sessions that are not told apart, a signed file (PROTOCOL.sshsig), an exchange hash, a request without a session.
    for session in [&[][..], &[7; 31]] {
        assert!(matches!(prove(request(session)), Err(ProofError::Malformed(_))));
    }
    let file = [b"SSHSIG", &request(&[7; 32])[..]].concat();
    assert!(matches!(prove(file), Err(ProofError::Malformed(_))));
    assert!(matches!(prove(vec![7; 32]), Err(ProofError::Malformed(_))));
    assert!(matches!(
        prove(request(&[7; 32])[36..].to_vec()),
        Err(ProofError::Malformed(_))
    ));
}

#[test]
#[should_panic(expected = "has exchanged keys")]
fn a_connection_without_a_session_identifier_authenticates_nobody() {
    ServerAuth::new(b"", CLIENT, HOST_KEY, 6, None);
}

#[test]
fn a_host_certificate_lets_nobody_in() {
    let key = signing_key("ed25519");
    let host = CertificateRequest::new(
        CertificateType::Host,
        key.public_key().clone(),
        "web1",
        NOW - 60..NOW + 60,
    );
    let attempt = Attempt::new(&issue(host.principal("root")));
    let why = refusal(&mut server(), &attempt.signed_by(&key));
    assert!(matches!(
        why,
        Refusal::Certificate(CertificateError::WrongType { .. })
    ));
}

#[test]
fn what_is_no_signed_request_for_a_login_proves_nothing() {
    let key = signing_key("ed25519");
    let certificate = good_certificate(&key);
    let attempt = Attempt::new(&certificate);
    // Signed by the right key over whatever.
    let signed = |payload: &[u8]| {
        let mut signed_data = Vec::new();
        signed_data.put_string(SESSION);
        signed_data.put_bytes(payload);
        let signature = key.sign_with_best(&signed_data);
        verify(
            certificate.blob(),
            &SignedRequest {
                signed_data,
                signature,
            },
            NOW,
        )
    };
    assert!(matches!(signed(&attempt.probe()), Err(ProofError::Malformed(_))));
    assert!(matches!(signed(b""), Err(ProofError::Malformed(_))));
    assert!(matches!(
        signed(&simple_request(USER, "ssh-connection", "none")),
        Err(ProofError::Malformed(_))
    ));
    let elsewhere = simple_request(USER, "ssh-connection", "hostbased");
    assert!(matches!(signed(&elsewhere), Err(ProofError::Malformed(_))));
    let mut other_service = simple_request(USER, "other", "publickey");
    other_service.put_bool(true);
    other_service.put_string(attempt.algorithm.name());
    other_service.put_string(certificate.blob());
    assert_eq!(
        signed(&other_service),
        Err(ProofError::OtherService("other".into()))
    );
    let mut other_user = Vec::new();
    write_public_key(
        &mut other_user,
        "nobody",
        true,
        attempt.algorithm,
        certificate.blob(),
        None,
    );
    assert_eq!(signed(&other_user), Err(ProofError::OtherLogin("nobody".into())));
    // Security keys: verification is asked for here as well.
    let security_key = SoftwareSecurityKey::ed25519();
    let pin = issue(request(&security_key.public).critical_option("verify-required", ""));
    let mut signed_data = Vec::new();
    signed_data.put_string(SESSION);
    let attempt = Attempt::new(&pin);
    write_public_key(&mut signed_data, USER, true, attempt.algorithm, pin.blob(), None);
    let signature = security_key.sign(1, &signed_data);
    let unverified = verify(
        pin.blob(),
        &SignedRequest {
            signed_data,
            signature,
        },
        NOW,
    );
    assert_eq!(unverified, Err(ProofError::UserNotVerified));
}

fn verify(certificate: &[u8], request: &SignedRequest, now: u64) -> Result<super::super::Proof, ProofError> {
    let check = ProofCheck {
        now,
        client: CLIENT,
        trusts_authority: &|key| Cluster.trusts_user_ca(key),
        principal: &|user| Cluster.principal(user),
    };
    verify_proof(certificate, request, &check)
}
