//! The first exchange, by every algorithm and in pieces of every size; packets after it.

use proptest::prelude::*;

use super::pair::{Pair, TestRandom};
use crate::algorithm::{CipherAlgorithm, HostKeyAlgorithm, KexAlgorithm, MacAlgorithm};
use crate::config::TransportConfig;
use crate::negotiation::Protection;

/// Every cipher with every MAC that it takes.
pub(super) fn protections() -> Vec<Protection> {
    let mut all = Vec::new();
    for &cipher in CipherAlgorithm::ALL {
        match cipher.is_aead() {
            true => all.push(Protection { cipher, mac: None }),
            false => all.extend(MacAlgorithm::ALL.iter().map(|&mac| Protection {
                cipher,
                mac: Some(mac),
            })),
        }
    }
    all
}

/// A client that offers nothing but these.
pub(super) fn client_of(
    kex: KexAlgorithm,
    host_key: HostKeyAlgorithm,
    protection: Protection,
) -> TransportConfig {
    TransportConfig {
        kex: vec![kex],
        host_key_algs: vec![host_key],
        ciphers: vec![protection.cipher],
        macs: protection.mac.map_or(MacAlgorithm::ALL.to_vec(), |mac| vec![mac]),
        ..TransportConfig::client()
    }
}

pub(super) fn client_with(protection: Protection) -> TransportConfig {
    client_of(KexAlgorithm::Curve25519, HostKeyAlgorithm::Ed25519, protection)
}

fn connects(kex: KexAlgorithm) {
    for &host_key in HostKeyAlgorithm::ALL {
        for protection in protections() {
            let client = client_of(kex, host_key, protection);
            let mut pair = Pair::established(client, TransportConfig::server());
            let negotiated = *pair.client.hop.negotiated().unwrap();
            assert_eq!(pair.server.hop.negotiated(), Some(&negotiated));
            assert_eq!((negotiated.kex, negotiated.host_key), (kex, host_key));
            assert_eq!(
                (negotiated.client_to_server, negotiated.server_to_client),
                (protection, protection)
            );
            assert!(negotiated.strict);
            assert_eq!(pair.client.hop.session_id(), pair.server.hop.session_id());
            assert_eq!(pair.client.hop.host_key(), pair.server.hop.host_key());

            pair.seal(true, b"\x32from the client").unwrap();
            pair.seal(false, b"\x33from the server").unwrap();
            pair.settle(usize::MAX).unwrap();
            assert_eq!(pair.server.payloads, [b"\x32from the client"], "{negotiated:?}");
            assert_eq!(pair.client.payloads, [b"\x33from the server"], "{negotiated:?}");
        }
    }
}

#[test]
fn mlkem768x25519_connects_with_every_host_key_and_cipher() {
    connects(KexAlgorithm::MlKem768X25519);
}

#[test]
fn sntrup761x25519_connects_with_every_host_key_and_cipher() {
    connects(KexAlgorithm::Sntrup761X25519);
    connects(KexAlgorithm::Sntrup761X25519OpenSsh);
}

#[test]
fn curve25519_connects_with_every_host_key_and_cipher() {
    connects(KexAlgorithm::Curve25519);
    connects(KexAlgorithm::Curve25519LibSsh);
}

#[test]
fn ecdh_connects_with_every_host_key_and_cipher() {
    connects(KexAlgorithm::EcdhP256);
    connects(KexAlgorithm::EcdhP384);
    connects(KexAlgorithm::EcdhP521);
}

#[test]
fn splits_at_every_byte_change_nothing() {
    for protection in protections() {
        let mut pair = Pair::new(client_with(protection), TransportConfig::server());
        pair.start();
        pair.settle(1).unwrap();
        pair.rekey(true);
        pair.settle(1).unwrap();
        for len in [1, 2, 15, 16, 17, 300] {
            let payload = vec![94; len];
            pair.seal(true, &payload).unwrap();
            pair.seal(false, &payload).unwrap();
            pair.settle(1).unwrap();
            assert_eq!(pair.server.payloads.pop(), Some(payload.clone()));
            assert_eq!(pair.client.payloads.pop(), Some(payload));
        }
        assert_eq!((pair.client.key_changes, pair.server.key_changes), (2, 2));
    }
}

#[test]
fn pieces_of_every_size_change_nothing() {
    for piece in 2..700 {
        let mut pair = Pair::new(TransportConfig::client(), TransportConfig::server());
        pair.start();
        pair.settle(piece).unwrap();
        assert_eq!(
            (pair.client.key_changes, pair.server.key_changes),
            (1, 1),
            "pieces of {piece}"
        );
    }
}

#[test]
fn both_sides_know_each_others_extensions_and_names() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    pair.settle(1).unwrap();
    let server = pair.client.hop.peer_extensions();
    assert!(server.publickey_hostbound && server.ping);
    assert!(
        server
            .server_sig_algs()
            .unwrap()
            .any(|name| name == "rsa-sha2-512")
    );
    assert!(pair.server.hop.peer_extensions().ext_info_in_auth);
    assert!(
        pair.client
            .hop
            .peer_ident()
            .starts_with("SSH-2.0-OpenSSH_9.9 Weir_")
    );
    assert_eq!(pair.server.hop.peer_ident(), pair.client.hop.peer_ident());
}

#[test]
fn what_is_sent_in_one_piece_with_the_last_message_of_the_exchange_is_read_under_the_new_keys() {
    let mut pair = Pair::new(TransportConfig::client(), TransportConfig::server());
    pair.start();
    while !pair.client.hop.can_seal() {
        pair.exchange(usize::MAX).unwrap();
    }
    pair.seal(true, b"\x05service").unwrap();
    pair.settle(usize::MAX).unwrap();
    assert_eq!(pair.server.payloads, [b"\x05service"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(seed in 1u64.., index in 0usize..15, count in 1usize..40) {
        let protections = protections();
        let protection = protections[index % protections.len()];
        let mut pair = Pair::established(client_with(protection), TransportConfig::server());
        pair.set_authenticated();
        let mut random = TestRandom(seed);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let from_client = random.next() & 1 == 0;
            let most = [40, 400, 40_000][random.below(3)];
            let mut payload = vec![94; 1 + random.below(most)];
            weir_crypto::random::Random::fill(&mut random, &mut payload[1..]);
            pair.seal(from_client, &payload).unwrap();
            if from_client { to_server.push(payload) } else { to_client.push(payload) }
            pair.exchange(1 + random.below(50_000)).unwrap();
        }
        pair.settle(10_000).unwrap();
        prop_assert_eq!(pair.server.payloads, to_server);
        prop_assert_eq!(pair.client.payloads, to_client);
    }

    #[test]
    fn what_one_hop_opens_another_reseals(seed in 1u64.., from in 0usize..15, to in 0usize..15, count in 1usize..20) {
        let protections = protections();
        let mut left = Pair::established(client_with(protections[from % 15]), TransportConfig::server());
        let mut right = Pair::established(client_with(protections[to % 15]), TransportConfig::server());
        let mut random = TestRandom(seed);
        for _ in 0..count {
            let mut payload = vec![94; 1 + random.below(3000)];
            weir_crypto::random::Random::fill(&mut random, &mut payload[1..]);
            left.seal(true, &payload).unwrap();
            let mut wire = std::mem::take(&mut left.client.out);
            let mut env = crate::hop::Env { now: left.now, random: &mut random };
            let step = left.server.hop.receive(&mut env, &mut wire, &mut left.server.out).unwrap();
            let crate::hop::Event::Packet(packet) = step.event else { panic!("{step:?}") };
            right.client.hop.reseal(&mut env, &wire[packet.body], &mut right.client.out).unwrap();
            right.settle(usize::MAX).unwrap();
            prop_assert_eq!(right.server.payloads.pop().unwrap(), payload);
        }
    }
}
