//! Clients that exchange keys properly and misbehave afterwards, before and after they have logged in.

use weir_ssh::TransportConfig;
use weir_ssh::algorithm::{CipherAlgorithm, MacAlgorithm};
use weir_ssh::auth::client::{ClientStep, Credential};
use weir_ssh::key::SigningKey;
use weir_ssh::wire::{Writer, msg};
use weir_tests::peer::Peer;
use weir_tests::wire::Ending;

use crate::bad_input::{OUT_OF_BOUNDS, Scene};

const CIPHERS: [CipherAlgorithm; 3] = [
    CipherAlgorithm::Aes128Gcm,
    CipherAlgorithm::ChaCha20Poly1305,
    CipherAlgorithm::Aes256Ctr,
];

#[test]
fn a_wrong_mac_ends_the_connection() {
    let scene = Scene::new();
    for cipher in CIPHERS {
        for mac in [MacAlgorithm::HmacSha256Etm, MacAlgorithm::HmacSha512] {
            let mut peer = with(&scene, cipher, mac);
            peer.say_altered(&service_request(), |out| *out.last_mut().unwrap() ^= 1);
            ends_with_a_line(&scene, peer, "packet 1 does not authenticate");
        }
    }
}

/// With AES-GCM and etm MACs the length is readable on the wire, and is believed by nobody before it is bounded.
#[test]
fn an_impossible_length_under_encryption_ends_the_connection() {
    let scene = Scene::new();
    for (length, expected) in [
        (0_u32, OUT_OF_BOUNDS),
        (7, "while expecting a multiple of the cipher's block"),
        (0x0010_0000, OUT_OF_BOUNDS),
        (0xffff_ffff, OUT_OF_BOUNDS),
    ] {
        let mut peer = with(&scene, CipherAlgorithm::Aes128Gcm, MacAlgorithm::HmacSha256Etm);
        peer.say_altered(&service_request(), |out| {
            out[..4].copy_from_slice(&length.to_be_bytes())
        });
        peer.send_raw(&[0; 1024]);
        ends_with_a_line(
            &scene,
            peer,
            &format!("got a packet of {length} bytes {expected}"),
        );
    }
}

#[test]
fn a_replayed_packet_ends_the_connection() {
    let scene = Scene::new();
    for cipher in CIPHERS {
        let mut peer = with(&scene, cipher, MacAlgorithm::HmacSha256Etm);
        peer.say_altered(&[msg::IGNORE, 0, 0, 0, 0], |out| out.extend_from_within(..));
        let words = match cipher {
            // It hides the length by the packet's number as well: another number gives another length, of 32 bits.
            CipherAlgorithm::ChaCha20Poly1305 => OUT_OF_BOUNDS,
            _ => "packet 2 does not authenticate",
        };
        ends_with_a_line(&scene, peer, words);
    }
}

#[test]
fn messages_before_authentication_that_belong_after_it() {
    let scene = Scene::new();
    let (service, rekey) = ("SERVICE_REQUEST", "KEXINIT or messages of the layers above");
    for (payload, expected) in [
        (channel_open(), service),
        (vec![msg::CHANNEL_DATA, 0, 0, 0, 0, 0, 0, 0, 1, b'x'], service),
        (vec![msg::GLOBAL_REQUEST, 0, 0, 0, 1, b'x', 1], service),
        (vec![msg::USERAUTH_SUCCESS], service),
        (vec![msg::KEX_ECDH_INIT], rekey),
        (vec![msg::NEWKEYS], rekey),
    ] {
        let mut peer = Peer::connect(scene.world.weir().address());
        peer.say(&payload);
        let words = format!("got message {} while expecting {expected}", payload[0]);
        ends_with_a_line(&scene, peer, &words);
    }
}

#[test]
fn requests_that_cannot_be_read() {
    let scene = Scene::new();
    for length in [0_u32, 1, 0x00ff_ffff, 0xffff_ffff] {
        let mut peer = Peer::connect(scene.world.weir().address());
        peer.say(&service_request());
        peer.expect_message(msg::SERVICE_ACCEPT);
        let mut request = vec![msg::USERAUTH_REQUEST];
        request.put_u32(length);
        peer.say(&request);
        ends_with_a_line(&scene, peer, "malformed USERAUTH_REQUEST");
    }
    for service in ["ssh-connection", "no-such-service"] {
        let mut peer = Peer::connect(scene.world.weir().address());
        let mut request = vec![msg::SERVICE_REQUEST];
        request.put_string(service);
        peer.say(&request);
        ends_with_a_line(&scene, peer, &format!("service {service:?} is not available"));
    }
}

/// A client without rights may not try for ever.
#[test]
fn attempts_are_counted() {
    let scene = Scene::new();
    let mut peer = Peer::connect(scene.world.weir().address());
    peer.say(&service_request());
    peer.expect_message(msg::SERVICE_ACCEPT);
    let mut attempts = 0;
    loop {
        let mut request = vec![msg::USERAUTH_REQUEST];
        for field in ["root@web1", "ssh-connection", "password"] {
            request.put_string(field);
        }
        request.put_bool(false);
        request.put_string("secret");
        peer.say(&request);
        let Some(payload) = peer.message() else { break };
        assert_eq!(payload[0], msg::USERAUTH_FAILURE);
        attempts += 1;
        assert!(attempts < 50, "the server lets us try for ever");
    }
    ends_with_a_line(&scene, peer, "too many");
    assert!(
        !scene.world.weir().log().contains("secret"),
        "a password stands in the log"
    );
}

#[test]
fn an_unknown_key_is_refused_and_the_next_client_let_in() {
    let scene = Scene::new();
    let mut peer = Peer::connect(scene.world.weir().address());
    let verdict = peer.authenticate("root@web1", Credential::plain(SigningKey::generate_ed25519()));
    assert!(matches!(verdict, ClientStep::Failed(_)), "{verdict:?}");
    let mut peer = Peer::connect(scene.world.weir().address());
    peer.log_in(&scene.world);
}

/// What is wrong at the level of channels may cost the connection (sshd ends it) or be passed over, but is
/// answered one way or the other, and touches nobody else.
#[test]
fn channel_messages_without_a_channel() {
    let scene = Scene::new();
    for payload in [
        vec![msg::CHANNEL_DATA, 0, 0, 0, 9, 0, 0, 0, 1, b'x'],
        vec![msg::CHANNEL_WINDOW_ADJUST, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff],
        vec![msg::CHANNEL_CLOSE, 0, 0, 0, 9],
        vec![msg::CHANNEL_OPEN],
        vec![msg::CHANNEL_REQUEST, 0, 0, 0],
        vec![msg::GLOBAL_REQUEST, 0xff, 0xff, 0xff, 0xff],
    ] {
        let mut peer = Peer::connect(scene.world.weir().address());
        peer.log_in(&scene.world);
        peer.say(&payload);
        let mut open = channel_open();
        open.truncate(open.len() - 8);
        open.put_u32(1 << 20);
        open.put_u32(32 << 10);
        peer.say(&open);
        while let Some(answer) = peer.message() {
            if answer[0] == msg::CHANNEL_OPEN_CONFIRMATION {
                break;
            }
        }
        scene.goes_on();
    }
}

#[test]
fn an_unknown_message_is_answered_as_unimplemented() {
    let scene = Scene::new();
    let mut peer = Peer::connect(scene.world.weir().address());
    peer.log_in(&scene.world);
    let channel = peer.exec("cat", 1 << 20);
    peer.say(&[243, 1, 2, 3]);
    let mut data = vec![msg::CHANNEL_DATA];
    data.put_u32(channel);
    data.put_string("still here");
    peer.say(&data);
    let echoed = peer.expect_message(msg::CHANNEL_DATA);
    assert!(echoed.ends_with(b"still here"));
    scene.goes_on();
}

fn with(scene: &Scene, cipher: CipherAlgorithm, mac: MacAlgorithm) -> Peer {
    let config = TransportConfig {
        ciphers: vec![cipher],
        macs: vec![mac],
        prefer_gcm: false,
        ..TransportConfig::client()
    };
    Peer::connect_with(scene.world.weir().address(), config)
}

/// The connection ends, a line of the log names the client and contains `words`, and the other session goes on.
fn ends_with_a_line(scene: &Scene, peer: Peer, words: &str) {
    let address = peer.local_address().to_string();
    let ending = peer.ending();
    if let Ending::Disconnect { text, .. } = &ending {
        assert!(!text.is_empty(), "a disconnect without words");
    }
    scene.world.weir().expect_log(&[&address, words]);
    scene.goes_on();
}

fn service_request() -> Vec<u8> {
    let mut payload = vec![msg::SERVICE_REQUEST];
    payload.put_string("ssh-userauth");
    payload
}

fn channel_open() -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_OPEN];
    payload.put_string("session");
    payload.put_bytes(&[0; 12]);
    payload
}
