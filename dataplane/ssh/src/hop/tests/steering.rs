//! Identification, the wait for the client's KEXINIT, what it decides, and the time that strangers have.

use std::time::Duration;

use super::pair::{Pair, Verdict, host_keys};
use crate::algorithm::{CipherAlgorithm, HostKeyAlgorithm, KexAlgorithm, MacAlgorithm};
use crate::config::TransportConfig;
use crate::error::{DisconnectReason, Error, Fault};
use crate::hop::{Env, Hop, HostKeyCheck, Timestamp};
use crate::negotiation::Protection;
use crate::wire::msg;

/// The order of OpenSSH before 10: ChaCha20 first.
fn openssh_client() -> TransportConfig {
    use CipherAlgorithm::{Aes128Ctr, Aes128Gcm, Aes192Ctr, Aes256Ctr, Aes256Gcm, ChaCha20Poly1305};
    TransportConfig {
        ciphers: vec![
            ChaCha20Poly1305,
            Aes128Ctr,
            Aes192Ctr,
            Aes256Ctr,
            Aes128Gcm,
            Aes256Gcm,
        ],
        prefer_gcm: false,
        ..TransportConfig::client()
    }
}

fn server(prefer_gcm: bool) -> TransportConfig {
    TransportConfig {
        prefer_gcm,
        ..TransportConfig::server()
    }
}

fn cipher_of(pair: &Pair) -> CipherAlgorithm {
    pair.server.hop.negotiated().unwrap().server_to_client.cipher
}

#[test]
fn a_client_that_has_gcm_is_steered_to_it() {
    let pair = Pair::established(openssh_client(), server(true));
    assert_eq!(cipher_of(&pair), CipherAlgorithm::Aes128Gcm);
}

#[test]
fn without_aes_in_the_cpu_the_clients_order_stands() {
    let pair = Pair::established(openssh_client(), server(false));
    assert_eq!(cipher_of(&pair), CipherAlgorithm::ChaCha20Poly1305);
}

#[test]
fn a_client_without_gcm_connects_all_the_same() {
    let ciphers = vec![CipherAlgorithm::ChaCha20Poly1305, CipherAlgorithm::Aes128Ctr];
    let pair = Pair::established(
        TransportConfig {
            ciphers,
            ..openssh_client()
        },
        server(true),
    );
    assert_eq!(cipher_of(&pair), CipherAlgorithm::ChaCha20Poly1305);
}

#[test]
fn as_a_client_gcm_comes_first() {
    let pair = Pair::established(
        TransportConfig {
            prefer_gcm: true,
            ..openssh_client()
        },
        server(false),
    );
    assert_eq!(cipher_of(&pair), CipherAlgorithm::Aes128Gcm);
}

#[test]
fn a_client_that_waits_for_our_kexinit_gets_it_after_the_steering_wait() {
    for ident_first in [true, false] {
        let client = TransportConfig {
            ident: "SSH-2.0-waits".into(),
            ..openssh_client()
        };
        let mut pair = Pair::new(client, server(true));
        pair.start();
        let said = std::mem::take(&mut pair.client.out);
        let ident = said.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let ident = if ident_first { ident } else { 0 };
        pair.client.out = said[..ident].to_vec();
        pair.exchange(usize::MAX).unwrap();

        assert_eq!(
            pair.server.hop.next_timeout(),
            Some(pair.now.after(Duration::from_millis(200)))
        );
        assert_eq!(pair.server.out, b"");
        pair.pass(Duration::from_millis(199));
        pair.handle_timeouts().unwrap();
        assert_eq!(pair.server.out, b"", "the wait is not over");
        pair.pass(Duration::from_millis(1));
        pair.handle_timeouts().unwrap();
        assert_eq!(pair.server.out[5], msg::KEXINIT);

        pair.client.out = said[ident..].to_vec();
        pair.settle(usize::MAX).unwrap();
        assert_eq!(pair.client.key_changes, 1);
        assert_eq!(
            cipher_of(&pair),
            CipherAlgorithm::ChaCha20Poly1305,
            "what was not known could not steer"
        );
    }
}

#[test]
fn an_openssh_client_far_away_is_waited_for_and_steered() {
    let mut pair = Pair::new(openssh_client(), server(true));
    pair.start();
    let said = std::mem::take(&mut pair.client.out);
    let ident = said.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    pair.client.out = said[..ident].to_vec();
    pair.exchange(usize::MAX).unwrap();
    pair.pass(Duration::from_millis(1500));
    pair.handle_timeouts().unwrap();
    assert_eq!(pair.server.out, b"");
    pair.client.out = said[ident..].to_vec();
    pair.settle(usize::MAX).unwrap();
    assert_eq!(cipher_of(&pair), CipherAlgorithm::Aes128Gcm);
}

#[test]
fn a_client_that_was_missed_is_steered_at_the_next_exchange() {
    let client = TransportConfig {
        ident: "SSH-2.0-waits".into(),
        ..openssh_client()
    };
    let mut pair = Pair::new(client, server(true));
    pair.start();
    pair.pass(Duration::from_millis(200));
    pair.handle_timeouts().unwrap();
    pair.settle(usize::MAX).unwrap();
    assert_eq!(cipher_of(&pair), CipherAlgorithm::ChaCha20Poly1305);
    pair.rekey(false);
    pair.settle(usize::MAX).unwrap();
    assert_eq!(cipher_of(&pair), CipherAlgorithm::Aes128Gcm);
}

#[test]
fn strangers_run_out_of_time() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    assert_eq!(
        pair.server.hop.next_timeout(),
        Some(pair.now.after(Duration::from_secs(120)))
    );
    pair.pass(Duration::from_secs(120));
    let error = pair.handle_timeouts().unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.fault(), Fault::Peer);

    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    pair.set_authenticated();
    pair.pass(Duration::from_secs(120));
    pair.handle_timeouts().unwrap();
}

#[test]
fn incompatible_peers_are_named_with_both_lists() {
    let protection = Protection {
        cipher: CipherAlgorithm::Aes128Ctr,
        mac: Some(MacAlgorithm::HmacSha256),
    };
    let client = super::exchange::client_of(KexAlgorithm::EcdhP256, HostKeyAlgorithm::Ed25519, protection);
    let expected = |what: &'static str, ours: &str, theirs: &str| Error::PeerIncompatible {
        what,
        ours: ours.into(),
        theirs: theirs.into(),
    };
    let mut server = TransportConfig::server();
    server.macs = vec![MacAlgorithm::HmacSha512, MacAlgorithm::HmacSha512Etm];
    let mut pair = Pair::new(client.clone(), server);
    pair.start();
    let error = pair.settle(usize::MAX).unwrap_err();
    let lists = expected(
        "message authentication code",
        "hmac-sha2-512,hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
    );
    assert_eq!(error, lists);
    assert_eq!(error.disconnect_reason(), DisconnectReason::KeyExchangeFailed);

    let mut server = TransportConfig::server();
    server.kex = vec![KexAlgorithm::Curve25519];
    let mut pair = Pair::new(client, server);
    pair.start();
    let ours = "curve25519-sha256,ext-info-s,kex-strict-s-v00@openssh.com";
    let theirs = "ecdh-sha2-nistp256,ext-info-c,kex-strict-c-v00@openssh.com";
    assert_eq!(
        pair.settle(usize::MAX),
        Err(expected("key exchange method", ours, theirs))
    );
}

#[test]
fn markers_are_no_methods() {
    // A client that lists the server's own marker must not have it chosen.
    let mut pair = Pair::new(TransportConfig::client(), TransportConfig::server());
    pair.start();
    let names = b"ext-info-c".as_slice();
    let at = pair
        .client
        .out
        .windows(names.len())
        .position(|window| window == names)
        .unwrap();
    pair.client.out[at..at + names.len()].copy_from_slice(b"ext-info-s");
    pair.exchange(usize::MAX).unwrap();
    pair.exchange(usize::MAX).unwrap();
    // The transcripts differ now, so all that is asked is that a real method was chosen.
    assert!(pair.settle(usize::MAX).is_err());
}

#[test]
fn a_rejected_host_key_ends_the_exchange_with_the_checks_own_words() {
    let words = "ssh: handshake failed: remote host presented a public key, expected a host certificate";
    let check = Verdict(Err(words.into()));
    let mut pair = Pair::new(TransportConfig::client(), TransportConfig::server());
    pair.client.hop = Hop::client(TransportConfig::client().into(), Box::new(check));
    pair.start();
    let error = pair.settle(usize::MAX).unwrap_err();
    assert_eq!(error, Error::Rejected(words.into()));
    assert_eq!(error.to_string(), words);
    assert!(!pair.client.hop.can_seal());
    assert_eq!(error.disconnect_reason().code(), 9);
}

#[test]
fn the_checks_order_of_host_keys_is_asked_for_within_the_configuration() {
    struct Wants(Vec<HostKeyAlgorithm>);
    impl HostKeyCheck for Wants {
        fn algorithms(&self) -> Option<Vec<HostKeyAlgorithm>> {
            Some(self.0.clone())
        }
        fn check(&mut self, _: &[u8]) -> Result<(), String> {
            Ok(())
        }
    }
    let mut config = TransportConfig::client();
    config
        .host_key_algs
        .retain(|algorithm| *algorithm != HostKeyAlgorithm::RsaSha512);
    let wants = Wants(vec![
        HostKeyAlgorithm::RsaSha512,
        HostKeyAlgorithm::RsaSha256,
        HostKeyAlgorithm::Ed25519,
    ]);
    let mut pair = Pair::new(TransportConfig::client(), TransportConfig::server());
    pair.client.hop = Hop::client(config.into(), Box::new(wants));
    pair.start();
    pair.settle(usize::MAX).unwrap();
    assert_eq!(
        pair.client.hop.negotiated().unwrap().host_key,
        HostKeyAlgorithm::RsaSha256
    );
}

#[test]
fn a_server_offers_only_what_its_keys_can_sign() {
    let keys: Vec<_> = host_keys()
        .iter()
        .filter(|key| key.serves(HostKeyAlgorithm::EcdsaP384))
        .cloned()
        .collect();
    let mut pair = Pair::new(TransportConfig::client(), TransportConfig::server());
    pair.server.hop = Hop::server(TransportConfig::server().into(), keys.into());
    pair.start();
    pair.settle(usize::MAX).unwrap();
    assert_eq!(
        pair.client.hop.negotiated().unwrap().host_key,
        HostKeyAlgorithm::EcdsaP384
    );
}

#[test]
fn a_servers_greeting_is_kept_until_its_identification() {
    let mut pair = Pair::new(TransportConfig::client(), TransportConfig::server());
    pair.start();
    let mut env = Env {
        now: Timestamp::default(),
        random: &mut pair.random,
    };
    pair.client.take(&mut env, b"Exceeded MaxStartups\r\n").unwrap();
    assert_eq!(pair.client.hop.greeting(), "Exceeded MaxStartups");
    pair.client.take(&mut env, b"line \x1b[2Jtwo\n").unwrap();
    assert_eq!(
        pair.client.hop.greeting(),
        "Exceeded MaxStartups\nline \u{fffd}[2Jtwo"
    );
    pair.settle(1).unwrap();
    assert_eq!(pair.client.key_changes, 1);
    assert_eq!(pair.client.hop.greeting(), "");
}

#[test]
fn a_farewell_is_heard_with_its_reason_and_said_once() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    let mut env = Env {
        now: pair.now,
        random: &mut pair.random,
    };
    let end = &mut pair.server;
    end.hop.disconnect(
        &mut env,
        DisconnectReason::TooManyConnections,
        "come \x07again",
        &mut end.out,
    );
    let said = end.out.len();
    end.hop
        .disconnect(&mut env, DisconnectReason::ByApplication, "twice", &mut end.out);
    assert_eq!(end.out.len(), said);
    assert!(!end.hop.can_seal());
    pair.settle(3).unwrap();
    assert_eq!(pair.client.farewell, Some((12, "come \u{fffd}again".into())));
    assert!(!pair.client.hop.can_seal());
}
