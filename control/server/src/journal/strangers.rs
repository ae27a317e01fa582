//! Failed sign-ins, written one by one only as long as they are few.
//!
//! Everybody who can reach the port makes them, and each would be a row for ever. So an address gets [`EACH`] of its
//! own in a minute; what comes beyond is counted, and the minute ends with one `auth.repeated` for each address that has any.
//!
//! Invariant: a minute is open from its first attempt until its end has been seen; `counted` is empty while none is.
//! Both maps are bounded by [`ADDRESS_LIMIT`], past which addresses share one entry.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;
use weir_api::audit::AuthRepeated;
use weir_store::AuditEvent;

use crate::convert;

/// Attempts of an address in a minute that are written one by one: a person who tries keys stays far below.
const EACH: u64 = 30;

const MINUTE: Duration = Duration::from_secs(60);

/// Addresses that are told apart, in some 400 KB.
const ADDRESS_LIMIT: usize = 4096;

#[derive(Default)]
pub(super) struct Strangers {
    ends: Option<Instant>,
    /// Attempts in this minute, by address.
    counted: HashMap<Box<str>, u64>,
    /// Of minutes that are over: attempts that were not written.
    owed: HashMap<Box<str>, u64>,
}

impl Strangers {
    /// Whether an attempt from `client` (an address, with or without port) is to be written; else it is counted.
    pub(super) fn admit(&mut self, client: &str, now: Instant) -> bool {
        self.turn(now);
        self.ends.get_or_insert(now + MINUTE);
        let count = add(&mut self.counted, &address_of(client), 1);
        count <= EACH
    }

    /// When the open minute ends.
    pub(super) fn due(&self) -> Option<Instant> {
        self.ends
    }

    /// What is owed of minutes that are over; still without ids and times.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<AuditEvent> {
        self.turn(now);
        self.owed
            .drain()
            .map(|(address, attempts)| AuditEvent {
                client_address: address.to_string(),
                ..convert::event(&AuthRepeated {
                    success: false,
                    address: address.into(),
                    attempts,
                })
            })
            .collect()
    }

    /// The same, with the minute that is open.
    pub(super) fn take_all(&mut self) -> Vec<AuditEvent> {
        let end = self.ends.unwrap_or_else(Instant::now);
        self.take_due(end)
    }

    fn turn(&mut self, now: Instant) {
        if self.ends.is_none_or(|ends| now < ends) {
            return;
        }
        self.ends = None;
        for (address, attempts) in self.counted.drain() {
            if attempts > EACH {
                add(&mut self.owed, &address, attempts - EACH);
            }
        }
    }
}

/// Adds to an address's count, or to the count of all the rest, and gives it.
fn add(counts: &mut HashMap<Box<str>, u64>, address: &str, attempts: u64) -> u64 {
    if let Some(count) = counts.get_mut(address) {
        *count += attempts;
        return *count;
    }
    let address = if counts.len() < ADDRESS_LIMIT {
        address
    } else {
        REST
    };
    let count = counts.entry(address.into()).or_default();
    *count += attempts;
    *count
}

/// In place of an address, for those that are not told apart.
const REST: &str = "others";

/// What one stranger is known by: an IPv4 address, or the network of an IPv6 address, whose other half anybody chooses.
fn address_of(client: &str) -> String {
    let address = match client.parse::<SocketAddr>() {
        Ok(client) => Ok(client.ip()),
        Err(_) => client.parse::<IpAddr>(),
    };
    match address.map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.to_string(),
        Ok(IpAddr::V6(address)) => {
            let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
            format!("{network}/64")
        }
        Err(_) => client.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(strangers: &mut Strangers, client: &str, count: usize, now: Instant) -> usize {
        (0..count).filter(|_| strangers.admit(client, now)).count()
    }

    #[test]
    fn beyond_thirty_a_minute_attempts_of_an_address_are_one_event() {
        let mut strangers = Strangers::default();
        let start = Instant::now();
        assert_eq!(strangers.due(), None);
        assert_eq!(attempts(&mut strangers, "192.0.2.1:4000", 20, start), 20);
        assert_eq!(attempts(&mut strangers, "192.0.2.1:4001", 100, start), 10);
        assert_eq!(attempts(&mut strangers, "192.0.2.2:4000", 30, start), 30);
        let end = start + MINUTE;
        assert_eq!(strangers.due(), Some(end));
        assert!(strangers.take_due(end - Duration::from_millis(1)).is_empty());

        let events = strangers.take_due(end);
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].client_address.as_str(), events[0].detail.as_str()),
            (
                "192.0.2.1",
                r#"{"success":false,"address":"192.0.2.1","attempts":90}"#
            )
        );
        assert_eq!(strangers.due(), None);
        assert_eq!(attempts(&mut strangers, "192.0.2.1:4000", 31, end), 30);
    }

    #[test]
    fn minutes_that_nobody_asked_for_are_added_up_and_the_last_is_not_waited_for() {
        let mut strangers = Strangers::default();
        let start = Instant::now();
        for minute in 0..3 {
            assert_eq!(
                attempts(&mut strangers, "192.0.2.1", 40, start + minute * MINUTE),
                30
            );
        }
        let events = strangers.take_all();
        assert_eq!(events.len(), 1);
        assert!(
            events[0].detail.contains("\"attempts\":30"),
            "{}",
            events[0].detail
        );
    }

    #[test]
    fn an_ipv6_network_is_one_stranger_and_too_many_are_one_too() {
        let mut strangers = Strangers::default();
        let now = Instant::now();
        let admitted = (0..100).filter(|n| strangers.admit(&format!("[2001:db8::{n:x}]:22"), now));
        assert_eq!(admitted.count(), 30);
        assert!(strangers.admit("::ffff:192.0.2.1", now));
        assert!(strangers.counted.contains_key("192.0.2.1"));
        for n in 0..2 * ADDRESS_LIMIT {
            strangers.admit(&format!("10.0.{}.{}", n / 256, n % 256), now);
        }
        assert_eq!(strangers.counted.len(), ADDRESS_LIMIT + 1);
        assert!(!strangers.admit("198.51.100.1", now));
    }
}
