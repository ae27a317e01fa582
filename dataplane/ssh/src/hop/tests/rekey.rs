//! Exchanges of new keys while packets flow.

use std::time::Duration;

use super::exchange::{client_with, protections};
use super::pair::{Pair, TestRandom};
use crate::config::{RekeyLimits, TransportConfig};
use crate::error::{Error, Misbehaviour};

/// Packets numbered by both sides, with exchanges begun by whom `begins` says, at random moments.
fn load(mut pair: Pair, begins: &[bool], seed: u64) {
    pair.set_authenticated();
    let mut random = TestRandom(seed);
    let mut sent = [0u32; 2];
    let mut rekeys = 0;
    for round in 0..400 {
        for from_client in [true, false] {
            let hop = if from_client {
                &pair.client.hop
            } else {
                &pair.server.hop
            };
            for _ in 0..random.below(4) {
                if hop.can_seal() {
                    let number = &mut sent[usize::from(from_client)];
                    let mut payload = vec![94; 1 + random.below(2000)];
                    payload.extend_from_slice(&number.to_be_bytes());
                    *number += 1;
                    let end = if from_client {
                        &mut pair.client
                    } else {
                        &mut pair.server
                    };
                    let mut env = crate::hop::Env {
                        now: pair.now,
                        random: &mut pair.random,
                    };
                    end.hop.seal(&mut env, &payload, &mut end.out).unwrap();
                    break;
                }
            }
        }
        if round % 20 == 0 {
            for &from_client in begins {
                pair.rekey(from_client);
                rekeys += 1;
            }
        }
        pair.exchange(1 + random.below(4000)).unwrap();
    }
    pair.settle(1000).unwrap();
    for (end, from_client) in [(&pair.server, true), (&pair.client, false)] {
        let numbers: Vec<u32> = end
            .payloads
            .iter()
            .map(|payload| u32::from_be_bytes(*payload.last_chunk().unwrap()))
            .collect();
        assert!(
            numbers.iter().copied().eq(0..sent[usize::from(from_client)]),
            "seed {seed}: {numbers:?}"
        );
        assert!(numbers.len() > 100);
        assert!(end.key_changes > 5 && end.key_changes <= rekeys + 1);
    }
}

#[test]
fn rekey_under_load_keeps_byte_order() {
    for (i, protection) in protections().into_iter().enumerate() {
        for begins in [&[true][..], &[false], &[true, false]] {
            let pair = Pair::established(client_with(protection), TransportConfig::server());
            load(pair, begins, 100 + i as u64);
        }
    }
}

#[test]
fn session_id_stays_and_keys_change() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    let id = pair.client.hop.session_id().unwrap().to_vec();
    pair.rekey(false);
    assert!(pair.server.hop.is_rekeying() && !pair.server.hop.can_seal());
    assert!(matches!(pair.seal(false, b"\x50"), Err(Error::Misuse(_))));
    pair.settle(7).unwrap();
    assert!(!pair.server.hop.is_rekeying() && !pair.client.hop.is_rekeying());
    assert_eq!(pair.client.key_changes, 2);
    assert_eq!(pair.client.hop.session_id(), Some(&id[..]));
    assert_eq!(pair.server.hop.session_id(), Some(&id[..]));
}

#[test]
fn no_exchange_is_begun_with_a_stranger() {
    // OpenSSH ends the connection with "bad message during authentication: type 20".
    let rekey = RekeyLimits {
        bytes: 1,
        interval: Duration::from_secs(1),
    };
    let mut pair = Pair::established(
        TransportConfig {
            rekey,
            ..TransportConfig::client()
        },
        TransportConfig::server(),
    );
    pair.pass(Duration::from_secs(2));
    assert!(!pair.client.hop.wants_rekey(pair.now));
    let mut env = crate::hop::Env {
        now: pair.now,
        random: &mut pair.random,
    };
    pair.client.hop.start_rekey(&mut env, &mut pair.client.out);
    assert_eq!(pair.client.out, b"");
    pair.set_authenticated();
    assert!(pair.client.hop.wants_rekey(pair.now));
}

#[test]
fn packets_sent_before_the_peer_saw_our_kexinit_are_delivered() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    pair.rekey(true);
    for number in 0..5 {
        pair.seal(false, &[80, number]).unwrap();
    }
    let kexinit = std::mem::take(&mut pair.client.out);
    pair.settle(usize::MAX).unwrap();
    assert_eq!(pair.client.payloads.len(), 5);
    assert!(pair.client.hop.is_rekeying());
    pair.client.out = kexinit;
    pair.settle(usize::MAX).unwrap();
    assert!(!pair.client.hop.is_rekeying());
}

#[test]
fn both_begin_at_once_and_one_exchange_comes_of_it() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    pair.rekey(true);
    pair.rekey(false);
    pair.rekey(true);
    pair.settle(3).unwrap();
    assert_eq!((pair.client.key_changes, pair.server.key_changes), (2, 2));
}

#[test]
fn steering_holds_when_the_server_begins() {
    let client = TransportConfig {
        prefer_gcm: false,
        ..client_that_lists_chacha_first()
    };
    let mut pair = Pair::established(
        client,
        TransportConfig {
            prefer_gcm: true,
            ..TransportConfig::server()
        },
    );
    let first = *pair.client.hop.negotiated().unwrap();
    assert!(first.client_to_server.cipher.is_gcm());
    pair.rekey(false);
    pair.settle(usize::MAX).unwrap();
    assert_eq!(pair.client.hop.negotiated(), Some(&first));
}

fn client_that_lists_chacha_first() -> TransportConfig {
    let mut config = TransportConfig::client();
    config.ciphers.rotate_left(2);
    config
}

#[test]
fn limits_in_bytes_and_time_ask_for_new_keys() {
    let rekey = RekeyLimits {
        bytes: 10_000,
        interval: Duration::from_secs(60),
    };
    let client = TransportConfig {
        rekey,
        ..TransportConfig::client()
    };
    let mut pair = Pair::established(client, TransportConfig::server());
    pair.set_authenticated();
    assert!(!pair.client.hop.wants_rekey(pair.now));
    pair.seal(false, &[94; 10_000]).unwrap();
    pair.settle(usize::MAX).unwrap();
    assert!(pair.client.hop.wants_rekey(pair.now), "by what it has received");
    assert!(!pair.server.hop.wants_rekey(pair.now));

    pair.rekey(true);
    assert!(!pair.client.hop.wants_rekey(pair.now), "an exchange is under way");
    pair.settle(usize::MAX).unwrap();
    assert!(!pair.client.hop.wants_rekey(pair.now));
    let due = pair.client.hop.next_timeout().unwrap();
    assert_eq!(due, pair.now.after(Duration::from_secs(60)));
    pair.pass(Duration::from_secs(60));
    pair.handle_timeouts().unwrap();
    assert!(pair.client.hop.wants_rekey(pair.now), "by the age of its keys");
    assert_eq!(pair.client.hop.next_timeout(), None, "the timer tells once");
    pair.rekey(true);
    pair.settle(usize::MAX).unwrap();
    assert!(!pair.client.hop.wants_rekey(pair.now));
    assert!(pair.client.hop.next_timeout().is_some());
}

#[test]
fn keys_that_are_used_up_seal_and_open_nothing() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    pair.set_authenticated();
    pair.client.hop.core.sealer.usage.packets = crate::packet::SAFE_PACKETS;
    assert!(pair.client.hop.wants_rekey(pair.now));
    pair.client.hop.core.sealer.usage.packets = crate::packet::PACKETS_PER_KEY - 1;
    pair.seal(true, b"\x50last").unwrap();
    assert!(matches!(pair.seal(true, b"\x50more"), Err(Error::Misuse(_))));

    pair.server.hop.opener.usage.packets = crate::packet::PACKETS_PER_KEY;
    let error = pair.settle(usize::MAX).unwrap_err();
    assert_eq!(error, Misbehaviour::KeysUsedUp.into());
}

#[test]
fn keys_are_changed_in_time_and_stop_at_the_safe_number_of_bytes() {
    let rekey = RekeyLimits {
        bytes: u64::MAX,
        interval: Duration::from_secs(3600),
    };
    let client = TransportConfig {
        rekey,
        ..TransportConfig::client()
    };
    let mut pair = Pair::established(client, TransportConfig::server());
    pair.set_authenticated();
    // RFC 4344 §3.2: 2^32 blocks of 16 bytes.
    let safe = 1 << 36;
    pair.client.hop.core.sealer.usage.bytes = safe / 2 - 1;
    assert!(!pair.client.hop.wants_rekey(pair.now));
    pair.client.hop.core.sealer.usage.bytes = safe / 2;
    assert!(pair.client.hop.wants_rekey(pair.now), "whatever is configured");
    pair.client.hop.core.sealer.usage.bytes = safe;
    assert!(matches!(pair.seal(true, b"\x50more"), Err(Error::Misuse(_))));
    pair.client.hop.core.sealer.usage.bytes = 0;
    pair.seal(true, b"\x50more").unwrap();
    pair.server.hop.opener.usage.bytes = safe;
    assert_eq!(
        pair.settle(usize::MAX).unwrap_err(),
        Misbehaviour::KeysUsedUp.into()
    );
}

#[test]
fn exchange_that_the_peer_began_has_a_deadline() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    pair.set_authenticated();
    pair.rekey(true);
    // The server gets the KEXINIT, and its answer never arrives.
    let kexinit = std::mem::take(&mut pair.client.out);
    let mut env = crate::hop::Env {
        now: pair.now,
        random: &mut pair.random,
    };
    pair.server.take(&mut env, &kexinit).unwrap();
    let due = pair.server.hop.next_timeout().unwrap();
    assert_eq!(due, pair.now.after(Duration::from_secs(120)));
    // Who has asked and got no answer waits: the peer may be stopped, and it was not the peer who began.
    assert_eq!(pair.client.hop.next_timeout(), None);
    pair.pass(Duration::from_secs(120));
    let error = pair.handle_timeouts().unwrap_err();
    assert_eq!(error, Error::ExchangeTooSlow { seconds: 120 });
}

#[test]
fn exchange_in_time_leaves_no_deadline() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    pair.set_authenticated();
    pair.rekey(true);
    pair.settle(usize::MAX).unwrap();
    pair.pass(Duration::from_secs(120));
    pair.handle_timeouts().unwrap();
    let keys_age = pair.client.hop.next_timeout().unwrap();
    assert!(keys_age > pair.now.after(Duration::from_secs(3000)));
}

#[test]
fn unknown_message_is_answered_during_an_exchange_of_our_own() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    pair.set_authenticated();
    pair.seal(false, &[80, 1]).unwrap();
    // 9 is not assigned; the peer has not seen our KEXINIT when it sends it.
    pair.seal(false, &[9]).unwrap();
    pair.rekey(true);
    pair.settle(usize::MAX).unwrap();
    assert_eq!(pair.client.payloads, [[80, 1]]);
    assert_eq!((pair.client.key_changes, pair.server.key_changes), (2, 2));
}
