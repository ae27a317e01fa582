//! A farewell that takes the place of packets that were sealed and never sent.

use super::exchange::{client_with, protections};
use super::pair::Pair;
use crate::config::TransportConfig;
use crate::error::DisconnectReason;
use crate::hop::Env;
use crate::packet::SealPoint;

/// The server says goodbye instead of what it sealed since `point`, which began at `kept`.
fn goodbye(pair: &mut Pair, point: &SealPoint, kept: usize) -> bool {
    let end = &mut pair.server;
    end.out.truncate(kept);
    let mut env = Env {
        now: pair.now,
        random: &mut pair.random,
    };
    end.hop.disconnect_instead(
        point,
        &mut env,
        DisconnectReason::ByApplication,
        "no",
        &mut end.out,
    )
}

#[test]
fn farewell_takes_the_place_of_packets_that_nobody_has_seen() {
    for protection in protections() {
        let mut pair = Pair::established(client_with(protection), TransportConfig::server());
        pair.set_authenticated();
        pair.seal(false, &[94, 1]).unwrap();
        let (point, kept) = (pair.server.hop.seal_point(), pair.server.out.len());
        for payload in [[94, 2], [94, 3]] {
            pair.seal(false, &payload).unwrap();
        }
        assert!(goodbye(&mut pair, &point, kept), "{protection:?}");
        assert!(!pair.server.hop.can_seal(), "the farewell is the last of it");
        pair.settle(7).unwrap();
        assert_eq!(pair.client.payloads.last().unwrap(), &[94, 1], "{protection:?}");
        let (reason, text) = pair.client.farewell.unwrap();
        assert_eq!((reason, text.as_str()), (11, "no"), "{protection:?}");
    }
}

#[test]
fn farewell_replaces_one_that_was_not_sent() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    let (point, kept) = (pair.server.hop.seal_point(), pair.server.out.len());
    assert!(goodbye(&mut pair, &point, kept));
    assert!(goodbye(&mut pair, &point, kept));
    pair.settle(usize::MAX).unwrap();
    assert_eq!(pair.client.farewell.unwrap().1, "no");
}

#[test]
fn nothing_is_said_once_keys_have_changed() {
    let mut pair = Pair::established(TransportConfig::client(), TransportConfig::server());
    pair.set_authenticated();
    let point = pair.server.hop.seal_point();
    pair.rekey(false);
    pair.settle(usize::MAX).unwrap();
    assert!(!goodbye(&mut pair, &point, 0));
    assert!(pair.server.out.is_empty());
    assert!(!pair.server.hop.can_seal());
}
