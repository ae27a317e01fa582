//! User authentication: what a stranger can send to the server's side, a target to the client's, and a data plane to
//! the control plane.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{CLIENT, Cluster, LOGIN, NOW, SESSION, host_key, parts, user_certificate, user_key};
use weir_ssh::Extensions;
use weir_ssh::auth::client::{ClientAuth, Credential};
use weir_ssh::auth::server::{Authority, ServerAuth, ServerStep};
use weir_ssh::auth::{Method, ProofCheck, SignedRequest, UserauthRequest, verify_proof};
use weir_ssh::wire::Writer;

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    match mode % 4 {
        0 => to_server(rest),
        1 => signed_to_server(rest),
        2 => to_client(rest),
        _ => proof(rest),
    }
});

/// Nobody here signs, so nobody may get in.
fn to_server(data: &[u8]) {
    let mut server = ServerAuth::new(SESSION, CLIENT, host_key().blob(), 6, Some("banner".into()));
    let mut replies = Vec::new();
    for payload in parts(data) {
        match server.receive(payload, NOW, &Cluster, &mut replies) {
            Ok(ServerStep::Authenticated(user)) => panic!("{:?} got in without a signature", user.user()),
            Ok(_) => {}
            Err(_) => break,
        }
    }
}

/// A request as the input says, signed as it stands: whoever gets in must be whom the certificate names.
fn signed_to_server(data: &[u8]) {
    let mut payload = data.to_vec();
    let mut signed_data = Vec::new();
    signed_data.put_string(SESSION);
    signed_data.put_bytes(data);
    payload.put_string(user_key().sign_with_best(&signed_data));
    let mut server = ServerAuth::new(SESSION, CLIENT, host_key().blob(), 6, None);
    let mut replies = Vec::new();
    let service = [&[5, 0, 0, 0, 12][..], b"ssh-userauth"].concat();
    server
        .receive(&service, NOW, &Cluster, &mut replies)
        .expect("the service that there is");
    if let Ok(ServerStep::Authenticated(user)) = server.receive(&payload, NOW, &Cluster, &mut replies) {
        assert_eq!(Cluster.principal(user.user()), Some(LOGIN));
        assert_eq!(user.certificate().certificate().key(), user_key().public_key());
        assert_eq!(user.proof().signed_data, signed_data);
    }
}

fn to_client(data: &[u8]) {
    let Some((&told, data)) = data.split_first() else {
        return;
    };
    let credential = Credential::certified(user_key(), user_certificate()).expect("they belong together");
    let mut client = ClientAuth::new(LOGIN, credential, SESSION, host_key().blob());
    let (mut replies, mut extensions) = (Vec::new(), Extensions::default());
    extensions.publickey_hostbound = told & 1 != 0;
    client.start(&mut replies);
    for payload in parts(data) {
        if client.receive(payload, &extensions, &mut replies).is_err() {
            break;
        }
    }
    for reply in &replies[1..] {
        let request = UserauthRequest::parse(reply).expect("what we send is well formed");
        assert!(matches!(request.method, Method::PublicKey(_)));
    }
}

fn proof(data: &[u8]) {
    let mut pieces = parts(data);
    let mut next = || pieces.next().unwrap_or_default().to_vec();
    let (certificate, signed_data, signature) = (next(), next(), next());
    let check = ProofCheck {
        now: NOW,
        client: CLIENT,
        trusts_authority: &|key| Cluster.trusts_user_ca(key),
        principal: &|user| Cluster.principal(user),
    };
    let _ = verify_proof(
        &certificate,
        &SignedRequest {
            signed_data: signed_data.clone(),
            signature,
        },
        &check,
    );
    // The same, really signed, so that the signature does not hide what is behind it.
    let signature = user_key().sign_with_best(&signed_data);
    let certificate = user_certificate();
    if let Ok(proof) = verify_proof(
        certificate.blob(),
        &SignedRequest {
            signed_data,
            signature,
        },
        &check,
    ) {
        assert_eq!(Cluster.principal(&proof.user), Some(LOGIN));
    }
}
