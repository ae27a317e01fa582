//! What a hostile or broken peer can send instead of what is awaited.

use proptest::prelude::*;

use super::exchange::{client_with, protections};
use super::forged::{Forged, LAX, Offered, STRICT};
use super::pair::{End, Pair, Verdict, host_keys};
use crate::algorithm::CipherAlgorithm;
use crate::config::{Limits, TransportConfig};
use crate::error::{DisconnectReason, Error, Misbehaviour};
use crate::hop::{Env, Hop, Timestamp};
use crate::wire::{Writer, msg};

fn peers() -> [Forged; 2] {
    [Forged::client(), Forged::server()]
}

fn misbehaviour<T: std::fmt::Debug>(result: Result<T, Error>) -> Misbehaviour {
    match result {
        Err(Error::PeerMisbehaved(misbehaviour)) => misbehaviour,
        other => panic!("{other:?}"),
    }
}

fn method_message(peer: usize) -> u8 {
    [msg::KEX_ECDH_INIT, msg::KEX_ECDH_REPLY][peer]
}

#[test]
fn garbage_instead_of_an_identification_is_refused_without_waiting_for_its_end() {
    for garbage in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01\x02\0\x01",
        b"SSH-1.5-old\r\n",
        b"\0",
    ] {
        let mut server = End::new(Hop::server(TransportConfig::server().into(), host_keys()));
        let mut random = super::pair::TestRandom(1);
        let mut env = Env {
            now: Timestamp::default(),
            random: &mut random,
        };
        server.hop.start(&mut env, &mut server.out);
        let error = misbehaviour(server.take(&mut env, garbage));
        assert!(matches!(error, Misbehaviour::Ident { .. }));
        // Nothing more is looked at.
        assert!(matches!(
            server.hop.receive(&mut env, &mut [0], &mut server.out),
            Err(Error::Misuse(_))
        ));
    }
}

#[test]
fn a_banner_of_ten_megabytes_ends_within_its_bounds() {
    for line in [&[b'x'; 4096][..], b"a line\r\n"] {
        let check = Box::new(Verdict(Ok(())));
        let mut client = End::new(Hop::client(TransportConfig::client().into(), check));
        let mut random = super::pair::TestRandom(1);
        let mut env = Env {
            now: Timestamp::default(),
            random: &mut random,
        };
        client.hop.start(&mut env, &mut client.out);
        let mut fed = 0;
        let error = loop {
            match client.take(&mut env, line) {
                Ok(()) => fed += line.len(),
                Err(error) => break error,
            }
            assert!(fed < 10_000, "{fed} bytes were taken");
        };
        assert!(matches!(
            misbehaviour::<()>(Err(error)),
            Misbehaviour::Greeting(_)
        ));
    }
}

#[test]
fn lengths_of_zero_and_of_four_gigabytes_are_refused_at_the_length_field() {
    for length in [0u32, 1, 4, 5, 7, 256 * 1024 + 4, 0x7fff_fffc, u32::MAX] {
        for mut peer in peers() {
            let error = misbehaviour(peer.bytes(&length.to_be_bytes()));
            assert!(matches!(error, Misbehaviour::PacketLength { length: seen, .. } if seen == length));
        }
        // Under keys, where the field is authenticated only later or is not even readable.
        for protection in protections() {
            let mut pair = Pair::established(client_with(protection), TransportConfig::server());
            pair.seal(true, &[94; 300]).unwrap();
            let mut wire = std::mem::take(&mut pair.client.out);
            match protection.cipher {
                CipherAlgorithm::Aes128Gcm | CipherAlgorithm::Aes256Gcm => {
                    wire[..4].copy_from_slice(&length.to_be_bytes());
                }
                _ if protection.mac.is_some_and(|mac| mac.is_etm()) => {
                    wire[..4].copy_from_slice(&length.to_be_bytes());
                }
                // A stream cipher: what is added to the ciphertext is added to the plaintext.
                _ => {
                    let plain: u32 = sealed_length(&pair, 300, protection);
                    for (byte, change) in wire.iter_mut().zip((plain ^ length).to_be_bytes()) {
                        *byte ^= change;
                    }
                }
            }
            let mut env = Env {
                now: pair.now,
                random: &mut pair.random,
            };
            let error = misbehaviour(pair.server.take(&mut env, &wire[..16]));
            let refused = matches!(error, Misbehaviour::PacketLength { length: seen, .. } if seen == length);
            assert!(refused, "{protection:?} {length}: {error}");
        }
    }
}

fn sealed_length(pair: &Pair, payload: usize, protection: crate::negotiation::Protection) -> u32 {
    // Padding is up to the next block, at least four bytes.
    let (block, counted) = match protection.cipher {
        CipherAlgorithm::ChaCha20Poly1305 => (8, 0),
        _ => (16, 4),
    };
    assert!(pair.client.hop.can_seal());
    let mut length = 1 + payload + 4;
    while !usize::is_multiple_of(length + counted, block) {
        length += 1;
    }
    u32::try_from(length).unwrap()
}

#[test]
fn a_changed_bit_anywhere_in_a_packet_is_refused_by_every_cipher() {
    for protection in protections() {
        let mut pair = Pair::established(client_with(protection), TransportConfig::server());
        pair.set_authenticated();
        pair.seal(true, b"\x5esome payload").unwrap();
        let wire = std::mem::take(&mut pair.client.out);
        // A changed length can announce a longer packet: then its bytes come, too.
        let flood = vec![0; 300 * 1024];
        for byte in 0..wire.len() {
            let mut pair = Pair::established(client_with(protection), TransportConfig::server());
            pair.set_authenticated();
            pair.seal(true, b"\x5esome payload").unwrap();
            let mut wire = std::mem::take(&mut pair.client.out);
            wire[byte] ^= 1 << (byte % 8);
            let mut env = Env {
                now: pair.now,
                random: &mut pair.random,
            };
            let mut buf = [&wire[..], &flood].concat();
            let result = pair.server.hop.receive(&mut env, &mut buf, &mut pair.server.out);
            let error = misbehaviour(result);
            let reason = Error::from(error.clone()).disconnect_reason();
            match error {
                Misbehaviour::Mac { sequence } => {
                    assert_eq!((sequence, reason), (1, DisconnectReason::MacError));
                }
                Misbehaviour::PacketLength { .. } => assert!(byte < 4, "{protection:?} byte {byte}"),
                other => panic!("{protection:?} byte {byte}: {other}"),
            }
        }
    }
}

#[test]
fn packets_cannot_be_dropped_repeated_or_swapped() {
    for protection in protections() {
        let sealed = || {
            let mut pair = Pair::established(client_with(protection), TransportConfig::server());
            let mut packets = Vec::new();
            for number in 0..3 {
                pair.seal(true, &[94, number]).unwrap();
                packets.push(std::mem::take(&mut pair.client.out));
            }
            (pair, packets)
        };
        for order in [&[1][..], &[0, 0], &[0, 2], &[1, 0]] {
            let (mut pair, packets) = sealed();
            let wire: Vec<u8> = order
                .iter()
                .flat_map(|&i| packets[i].clone())
                .chain([0; 512])
                .collect();
            let mut env = Env {
                now: pair.now,
                random: &mut pair.random,
            };
            let error = misbehaviour(pair.server.take(&mut env, &wire));
            // Under an encrypted length the wrong keystream may be noticed there already.
            let noticed = matches!(
                error,
                Misbehaviour::Mac { .. } | Misbehaviour::PacketLength { .. }
            );
            assert!(noticed, "{protection:?} {order:?}: {error}");
        }
    }
}

#[test]
fn nothing_may_precede_kexinit_when_it_is_strict() {
    for early in [
        &[msg::IGNORE, 0, 0, 0, 0][..],
        &[msg::DEBUG],
        &[msg::UNIMPLEMENTED, 0, 0, 0, 1],
    ] {
        for mut peer in peers() {
            peer.say(early).unwrap();
            let error = misbehaviour(peer.exchange(&STRICT));
            assert_eq!(error, Misbehaviour::StrictKex { packets: 1 });
        }
        for mut peer in peers() {
            peer.say(early).unwrap();
            peer.exchange(&LAX).unwrap();
        }
    }
}

#[test]
fn nothing_may_come_between_the_messages_of_a_strict_exchange() {
    for number in (0..=255).filter(|&number| number != msg::DISCONNECT) {
        for (i, mut peer) in peers().into_iter().enumerate() {
            peer.say(&STRICT.payload()).unwrap();
            // What is awaited, empty, is malformed; all else is out of place.
            let error = misbehaviour(peer.say(&[number]));
            match number == method_message(i) {
                true => assert!(
                    matches!(error, Misbehaviour::Malformed { .. }),
                    "{number}: {error}"
                ),
                false => assert!(matches!(error, Misbehaviour::Unexpected { got, .. } if got == number)),
            }
        }
        for mut peer in peers() {
            let own = STRICT.payload();
            peer.say(&own).unwrap();
            peer.method(&own).unwrap();
            let result = peer.say(&[number]);
            match number == msg::NEWKEYS {
                true => assert!(result.is_ok()),
                false => assert!(matches!(misbehaviour(result), Misbehaviour::Unexpected { .. })),
            }
        }
    }
}

#[test]
fn nothing_but_kexinit_is_awaited_first() {
    for number in 0..=255 {
        for mut peer in peers() {
            let result = peer.say(&[number]);
            match number {
                msg::DISCONNECT | msg::IGNORE | msg::UNIMPLEMENTED | msg::DEBUG => {
                    assert_eq!(result, Ok(vec![]));
                }
                msg::KEXINIT => {
                    assert!(matches!(misbehaviour(result), Misbehaviour::Malformed { .. }));
                }
                _ => assert!(
                    matches!(misbehaviour(result), Misbehaviour::Unexpected { .. }),
                    "{number}"
                ),
            }
        }
    }
}

#[test]
fn a_lax_peer_may_ignore_and_debug_during_its_exchange() {
    for mut peer in peers() {
        let own = LAX.payload();
        peer.say(&own).unwrap();
        peer.say(&[msg::IGNORE]).unwrap();
        let (schedule, _) = peer.method(&own).unwrap();
        peer.say(&[msg::DEBUG]).unwrap();
        peer.finish(&schedule).unwrap();
        assert_eq!(peer.say(b"\x5eover"), Ok(vec![b"\x5eover".to_vec()]));
        // RFC 4253 §6.4: the sequence number went on.
        assert!(peer.sealer.usage.sequence > 5);
    }
}

#[test]
fn sequence_numbers_begin_anew_with_every_newkeys_of_a_strict_connection() {
    for mut peer in peers() {
        for _ in 0..3 {
            peer.exchange(&STRICT).unwrap();
            assert_eq!(peer.hop.opener.usage.sequence, 0);
            // EXT_INFO was the only packet, and only after the first exchange.
            assert!(peer.hop.core.sealer.usage.sequence <= 1);
            assert_eq!(peer.say(b"\x5eover"), Ok(vec![b"\x5eover".to_vec()]));
        }
    }
    for mut peer in peers() {
        for _ in 0..3 {
            peer.exchange(&LAX).unwrap();
        }
        assert_eq!(peer.hop.opener.usage.sequence, 9);
    }
}

#[test]
fn markers_count_in_the_first_kexinit_only() {
    for mut peer in peers() {
        peer.exchange(&LAX).unwrap();
        peer.hop.set_authenticated();
        let own = STRICT.payload();
        peer.say(&own).unwrap();
        peer.exchange_after(&own, false).unwrap();
        assert!(!peer.hop.negotiated().unwrap().strict);
        assert!(peer.hop.opener.usage.sequence > 0);
    }
    for mut peer in peers() {
        peer.exchange(&STRICT).unwrap();
        peer.exchange(&LAX).unwrap();
        assert!(peer.hop.negotiated().unwrap().strict);
    }
}

#[test]
fn upper_layers_are_silent_between_a_peers_kexinit_and_its_newkeys() {
    for number in [
        msg::SERVICE_REQUEST,
        msg::USERAUTH_REQUEST,
        msg::CHANNEL_DATA,
        msg::PING,
        255,
    ] {
        for mut peer in peers() {
            peer.exchange(&STRICT).unwrap();
            peer.hop.set_authenticated();
            let own = STRICT.payload();
            peer.say(&own).unwrap();
            assert!(matches!(
                misbehaviour(peer.say(&[number])),
                Misbehaviour::Unexpected { .. }
            ));
        }
        for mut peer in peers() {
            peer.exchange(&STRICT).unwrap();
            peer.hop.set_authenticated();
            let own = STRICT.payload();
            peer.say(&own).unwrap();
            peer.method(&own).unwrap();
            assert!(matches!(
                misbehaviour(peer.say(&[number])),
                Misbehaviour::Unexpected { .. }
            ));
        }
    }
}

#[test]
fn ext_info_kexinit_and_key_messages_have_no_place_inside_a_later_exchange() {
    for number in [
        msg::EXT_INFO,
        msg::KEXINIT,
        msg::NEWKEYS,
        msg::NEWCOMPRESS,
        22,
        49,
    ] {
        for mut peer in peers() {
            peer.exchange(&STRICT).unwrap();
            peer.hop.set_authenticated();
            peer.say(&STRICT.payload()).unwrap();
            assert!(matches!(
                misbehaviour(peer.say(&[number])),
                Misbehaviour::Unexpected { .. }
            ));
        }
    }
    for mut peer in peers() {
        peer.exchange(&STRICT).unwrap();
        peer.hop.set_authenticated();
        let own = STRICT.payload();
        peer.say(&own).unwrap();
        peer.say(&[msg::IGNORE]).unwrap();
        let (schedule, _) = peer.method(&own).unwrap();
        peer.say(&[msg::DEBUG]).unwrap();
        peer.finish(&schedule).unwrap();
    }
}

#[test]
fn a_stranger_is_owed_one_exchange() {
    for mut peer in peers() {
        peer.exchange(&STRICT).unwrap();
        let error = misbehaviour(peer.say(&STRICT.payload()));
        assert!(matches!(
            error,
            Misbehaviour::Unexpected {
                got: msg::KEXINIT,
                ..
            }
        ));
    }
}

#[test]
fn packets_before_the_first_keys_are_small() {
    for mut peer in peers() {
        peer.bytes(&35_004u32.to_be_bytes()).unwrap_err();
    }
    for mut peer in peers() {
        peer.bytes(&34_996u32.to_be_bytes()).unwrap();
    }
}

#[test]
fn key_messages_have_no_place_outside_an_exchange() {
    for number in (msg::NEWKEYS..=49).filter(|number| !(22..=29).contains(number)) {
        for mut peer in peers() {
            peer.exchange(&STRICT).unwrap();
            assert!(matches!(
                misbehaviour(peer.say(&[number])),
                Misbehaviour::Unexpected { .. }
            ));
        }
    }
}

#[test]
fn unknown_messages_are_answered_with_their_number() {
    for number in [8, 19, 22, 29] {
        for mut peer in peers() {
            peer.exchange(&STRICT).unwrap();
            peer.say(b"\x5efirst").unwrap();
            peer.say(&[number]).unwrap();
            assert_eq!(peer.hear(), [msg::UNIMPLEMENTED, 0, 0, 0, 1]);
        }
    }
    // The number that no message has.
    for mut peer in peers() {
        peer.exchange(&STRICT).unwrap();
        assert!(matches!(
            misbehaviour(peer.say(&[0])),
            Misbehaviour::Unexpected { got: 0, .. }
        ));
    }
}

#[test]
fn extensions_are_told_as_often_as_is_allowed_and_to_strangers_only() {
    let none = [msg::EXT_INFO, 0, 0, 0, 0];
    for (most, mut peer) in [1, 2].into_iter().zip(peers()) {
        peer.exchange(&STRICT).unwrap();
        for _ in 0..most {
            peer.say(&none).unwrap();
        }
        assert!(matches!(
            misbehaviour(peer.say(&none)),
            Misbehaviour::Unexpected { .. }
        ));
    }
    for mut peer in peers() {
        peer.exchange(&STRICT).unwrap();
        peer.hop.set_authenticated();
        assert!(matches!(
            misbehaviour(peer.say(&none)),
            Misbehaviour::Unexpected { .. }
        ));
    }
}

#[test]
fn a_wrong_guess_is_passed_over_and_a_right_one_counts() {
    // As dropbear does: its first method is not ours, and it has sent that method's message already.
    const WRONG: Offered = Offered {
        kex: "ecdh-sha2-nistp256,curve25519-sha256",
        guess_follows: true,
        ..STRICT
    };
    for (i, mut peer) in peers().into_iter().enumerate() {
        let own = WRONG.payload();
        peer.say(&own).unwrap();
        peer.say(&[method_message(i), 0, 0, 0, 1, 4]).unwrap();
        // Both list curve25519-sha256; which comes first is the client's choice.
        if i == 0 {
            let error = misbehaviour(peer.say(&[method_message(i), 0, 0, 0, 1, 4]));
            assert_eq!(error, Misbehaviour::KeyAgreement, "only one is passed over");
        } else {
            peer.exchange_after(&own, false).unwrap();
        }
    }
    // Our first method and host key, so the message that follows is the answer.
    const RIGHT: Offered = Offered {
        kex: "mlkem768x25519-sha256,curve25519-sha256",
        host_keys: "ssh-ed25519-cert-v01@openssh.com,ssh-ed25519",
        guess_follows: true,
    };
    let mut peer = Forged::client();
    peer.say(&RIGHT.payload()).unwrap();
    let error = misbehaviour(peer.say(&[msg::KEX_ECDH_INIT, 0, 0, 0, 1, 4]));
    assert_eq!(error, Misbehaviour::KeyAgreement);
    // A guess that was announced and does not come leaves the awaited message counted as it.
    let mut peer = Forged::client();
    peer.say(&WRONG.payload()).unwrap();
    assert!(matches!(
        misbehaviour(peer.say(&[msg::NEWKEYS])),
        Misbehaviour::Unexpected { .. }
    ));
}

#[test]
fn a_signature_by_another_key_or_over_another_exchange_is_refused() {
    // Somebody in between changes one byte: of the host key, of the public value, of the signature.
    for part in 0..3 {
        let mut pair = Pair::new(TransportConfig::client(), TransportConfig::server());
        pair.start();
        while pair.server.hop.session_id().is_none() {
            pair.exchange(usize::MAX).unwrap();
        }
        let reply = &mut pair.server.out;
        assert_eq!(reply[5], msg::KEX_ECDH_REPLY);
        let mut end = 6;
        for _ in 0..=part {
            let length = u32::from_be_bytes(*reply[end..].first_chunk().unwrap());
            end += 4 + usize::try_from(length).unwrap();
        }
        reply[end - 1] ^= 1;
        let error = pair.settle(usize::MAX).unwrap_err();
        assert_eq!(
            error.disconnect_reason(),
            DisconnectReason::KeyExchangeFailed,
            "{error}"
        );
        assert!(matches!(
            misbehaviour::<()>(Err(error)),
            Misbehaviour::HostKey { .. }
        ));
        assert!(!pair.client.hop.can_seal() && pair.client.hop.session_id().is_none());
        assert_eq!(pair.client.hop.host_key(), None);
    }
}

#[test]
fn messages_cut_short_or_lengthened_are_refused() {
    let whole = STRICT.payload();
    let longer = [&whole[..], &[0]].concat();
    for wrong in (1..whole.len()).map(|len| &whole[..len]).chain([&longer[..]]) {
        for mut peer in peers() {
            assert!(matches!(
                misbehaviour(peer.say(wrong)),
                Misbehaviour::Malformed { .. }
            ));
        }
    }
    for len in 0..36 {
        let mut peer = Forged::client();
        peer.say(&STRICT.payload()).unwrap();
        let mut request = vec![msg::KEX_ECDH_INIT];
        request.put_string([9; 32]);
        peer.say(&request[..=len]).unwrap_err();
    }
    for mut peer in peers() {
        let own = STRICT.payload();
        peer.say(&own).unwrap();
        peer.method(&own).unwrap();
        assert!(matches!(
            misbehaviour(peer.say(&[msg::NEWKEYS, 0])),
            Misbehaviour::Malformed { .. }
        ));
    }
}

#[test]
fn strangers_have_a_budget_of_bytes_and_packets() {
    let limits = Limits {
        unauthenticated_bytes: 20_000,
        unauthenticated_packets: 40,
        ..Limits::default()
    };
    let server = TransportConfig {
        limits,
        ..TransportConfig::server()
    };
    let mut pair = Pair::established(TransportConfig::client(), server.clone());
    let error = loop {
        pair.seal(true, b"\x32").unwrap();
        if let Err(error) = pair.settle(usize::MAX) {
            break error;
        }
    };
    assert_eq!(
        misbehaviour::<()>(Err(error)),
        Misbehaviour::Budget {
            limit: 40,
            unit: "packets"
        }
    );

    // Refused when it is announced, before it is buffered.
    let mut pair = Pair::established(TransportConfig::client(), server.clone());
    pair.seal(true, &[50; 30_000]).unwrap();
    pair.client.out.truncate(16);
    let error = misbehaviour(pair.settle(usize::MAX));
    assert_eq!(
        error,
        Misbehaviour::Budget {
            limit: 20_000,
            unit: "bytes"
        }
    );

    let mut pair = Pair::established(TransportConfig::client(), server);
    pair.set_authenticated();
    for _ in 0..100 {
        pair.seal(true, &[50; 1000]).unwrap();
    }
    pair.settle(usize::MAX).unwrap();
    assert_eq!(pair.server.payloads.len(), 100);
}

#[test]
fn padding_that_fills_the_packet_or_is_too_short_is_refused() {
    for padding in [0u8, 1, 3, 11, 12, 255] {
        let mut peer = Forged::client();
        let mut frame = 12u32.to_be_bytes().to_vec();
        frame.push(padding);
        frame.resize(16, 2);
        assert!(
            matches!(misbehaviour(peer.bytes(&frame)), Misbehaviour::Padding { .. }),
            "{padding}"
        );
    }
}

#[test]
fn a_torn_farewell_is_a_farewell() {
    for payload in [
        &[msg::DISCONNECT][..],
        &[msg::DISCONNECT, 0, 0, 0, 2],
        &[msg::DISCONNECT, 0, 0, 0, 2, 0, 0, 0, 9],
    ] {
        for mut peer in peers() {
            peer.say(payload).unwrap();
            assert!(matches!(peer.say(&[msg::IGNORE]), Err(Error::Misuse(_))));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_from_a_stranger_end_in_an_error_or_a_wait(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for mut peer in peers() {
            let _ = peer.bytes(&bytes);
        }
    }

    #[test]
    fn any_message_at_any_time_is_an_error_or_taken(
        stage in 0usize..4, number: u8, body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        for mut peer in peers() {
            let own = STRICT.payload();
            match stage {
                0 => {}
                1 => { peer.say(&own).unwrap(); }
                2 => { peer.say(&own).unwrap(); peer.method(&own).unwrap(); }
                _ => peer.exchange(&STRICT).unwrap(),
            }
            let _ = peer.say(&[&[number], &body[..]].concat());
        }
    }

    #[test]
    fn kexinits_changed_at_random_are_an_error_or_taken(at in 0usize..400, byte: u8) {
        for mut peer in peers() {
            let mut payload = STRICT.payload();
            let at = 1 + at % (payload.len() - 1);
            payload[at] = byte;
            let _ = peer.say(&payload);
        }
    }
}
