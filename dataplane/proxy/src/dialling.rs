//! Where connections to targets come from.
//!
//! Without a pool the kernel chooses, as for any program. With one, each user (or each group of users, by a trait) is given
//! one address of it, so that sshd's `PerSource*` limits count them apart and its log tells them apart.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use monoio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{name_hash::name_hash, worker};

/// Addresses of this machine from which targets are dialled.
#[derive(Debug, Clone)]
pub struct SourcePool {
    addresses: Vec<Candidate>,
    by: SourceBy,
}

/// Who shares an address of a [`SourcePool`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceBy {
    /// Nobody, as far as there are addresses enough.
    User,
    /// Users with the same value of this trait; who has none is taken by name.
    Trait(String),
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    address: IpAddr,
    hash: u64,
}

impl SourcePool {
    /// Addresses in a pool: each of them may be one that a target counts by, and is remembered there.
    pub const LIMIT: usize = 1024;

    /// Reads addresses and prefixes (`10.9.0.0/28`); of an IPv4 prefix the first and the last address, which name the net and
    /// everybody in it, are left out.
    ///
    /// # Errors
    ///
    /// A sentence, if an entry is neither, has bits set beyond its prefix, or there are none or too many.
    pub fn parse(pool: &[String], by: SourceBy) -> Result<Self, String> {
        let mut addresses = Vec::new();
        for entry in pool {
            addresses.extend(expand(entry)?);
            if addresses.len() > Self::LIMIT {
                let limit = Self::LIMIT;
                return Err(format!(
                    "the pool of source addresses has more than {limit}: give a longer prefix than {entry}"
                ));
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err("the pool of source addresses is empty: name an address, or leave it out".into());
        }
        let addresses = addresses.into_iter().map(|address| Candidate {
            address,
            hash: name_hash(&address.to_string()),
        });
        Ok(Self {
            addresses: addresses.collect(),
            by,
        })
    }

    /// Who shares an address.
    pub(crate) fn by(&self) -> &SourceBy {
        &self.by
    }

    /// The address for `who` toward a target: always the same one while the pool is, and nearly always when it has grown or
    /// shrunk. None where the pool has none of the target's family.
    pub(crate) fn address_for(&self, who: &str, target: SocketAddr) -> Option<IpAddr> {
        let key = name_hash(who);
        // The highest score wins (rendezvous hashing): an address that comes or goes moves nobody but its own users.
        self.addresses
            .iter()
            .filter(|candidate| candidate.address.is_ipv4() == target.is_ipv4())
            .max_by_key(|candidate| mixed(key ^ candidate.hash))
            .map(|candidate| candidate.address)
    }

    /// The first address that this machine cannot dial from, and why.
    pub(crate) fn unusable(&self) -> Option<(IpAddr, io::Error)> {
        self.addresses.iter().find_map(|candidate| {
            let error = UdpSocket::bind((candidate.address, 0)).err()?;
            Some((candidate.address, error))
        })
    }
}

fn expand(entry: &str) -> Result<Vec<IpAddr>, String> {
    let unreadable =
        || format!("got source address {entry:?} while expecting an address or a prefix such as 10.9.0.0/28");
    let (address, length) = match entry.split_once('/') {
        None => return Ok(vec![entry.parse().map_err(|_| unreadable())?]),
        Some((address, length)) => (address, length),
    };
    let address: IpAddr = address.parse().map_err(|_| unreadable())?;
    let length: u32 = length.parse().map_err(|_| unreadable())?;
    let (bits, first) = match address {
        IpAddr::V4(v4) => (32, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (128, v6.to_bits()),
    };
    let host_bits = u32::checked_sub(bits, length).ok_or_else(unreadable)?;
    // Named before it is counted: 2^64 addresses are not.
    if host_bits > SourcePool::LIMIT.ilog2() {
        let shortest = bits - SourcePool::LIMIT.ilog2();
        return Err(format!(
            "source prefix {entry} has more than {} addresses: give /{shortest} or a longer one",
            SourcePool::LIMIT
        ));
    }
    let last = first | ((1 << host_bits) - 1);
    if host_bits > 0 && first & ((1 << host_bits) - 1) != 0 {
        return Err(format!(
            "source prefix {entry} has bits set beyond its length: give the first address of the net"
        ));
    }
    let all = first..=last;
    Ok(match address {
        IpAddr::V4(_) => all
            .filter(|bits| host_bits < 2 || (*bits != first && *bits != last))
            .map(|bits| Ipv4Addr::from_bits(u32::try_from(bits).expect("32 bits were widened")).into())
            .collect(),
        IpAddr::V6(_) => all.map(|bits| Ipv6Addr::from_bits(bits).into()).collect(),
    })
}

/// The finalizer of SplitMix64: each bit of the argument changes half of those of the answer.
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The address from which the kernel would send to `target`; asking sends nothing.
pub(crate) fn local_address_toward(target: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Connects, from `source` if it is given.
pub(crate) async fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let stream = match source {
        None => TcpStream::connect_addr(target).await?,
        Some(source) => connect_from(target, source).await?,
    };
    worker::prepare(&stream)?;
    Ok(stream)
}

async fn connect_from(target: SocketAddr, source: IpAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.cloexec().nonblocking();
    let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    // The stream does not say how the connection came out, a second handle on the socket does.
    let outcome = socket.try_clone()?;
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable(false).await?;
    match outcome.take_error()? {
        None => Ok(stream),
        Some(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, net::TcpListener};

    use super::*;
    use crate::testing::run;

    fn pool(entries: &[&str]) -> Result<SourcePool, String> {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        SourcePool::parse(&entries, SourceBy::User)
    }

    fn target() -> SocketAddr {
        "192.0.2.1:22".parse().unwrap()
    }

    #[test]
    fn prefixes_and_addresses_are_read_and_nonsense_is_named() {
        assert_eq!(pool(&["10.9.0.0/28"]).unwrap().addresses.len(), 14);
        assert_eq!(
            pool(&["10.9.0.4/31", "10.9.0.5", "::1"]).unwrap().addresses.len(),
            3
        );
        assert_eq!(pool(&["2001:db8::/118"]).unwrap().addresses.len(), 1024);
        for (entries, words) in [
            (&["10.9.0.0/8"][..], "/22 or a longer one"),
            (&["2001:db8::/64"], "/118 or a longer one"),
            (&["10.9.0.1/28"], "bits set"),
            (&["10.9.0.0/33"], "expecting an address"),
            (&["web1"], "\"web1\""),
            (&["10.9.0.0/22", "10.9.4.0/22"], "more than 1024"),
            (&[], "empty"),
        ] {
            let error = pool(entries).unwrap_err();
            assert!(error.contains(words), "{entries:?}: {error}");
        }
    }

    #[test]
    fn user_keeps_the_address_when_another_is_added() {
        let (before, after) = (
            pool(&["10.9.0.0/28"]).unwrap(),
            pool(&["10.9.0.0/28", "10.9.1.1"]).unwrap(),
        );
        let users: Vec<String> = (0..1000).map(|n| format!("user{n}")).collect();
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        let mut moved = 0;
        for user in &users {
            let address = before.address_for(user, target()).unwrap();
            assert_eq!(before.address_for(user, target()), Some(address));
            *counts.entry(address).or_default() += 1;
            moved += usize::from(after.address_for(user, target()) != Some(address));
        }
        // One in fifteen, and with luck a few more.
        assert!((30..120).contains(&moved), "{moved} of 1000 moved");
        assert_eq!(counts.len(), 14);
        assert!(
            counts.values().all(|count| (40..110).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn address_is_of_the_targets_family() {
        let pool = pool(&["10.9.0.1", "2001:db8::1"]).unwrap();
        let six: SocketAddr = "[2001:db8::2]:22".parse().unwrap();
        assert!(pool.address_for("alice", six).unwrap().is_ipv6());
        assert!(pool.address_for("alice", target()).unwrap().is_ipv4());
        let four = super::SourcePool::parse(&["10.9.0.1".to_owned()], SourceBy::User).unwrap();
        assert_eq!(four.address_for("alice", six), None);
    }

    #[test]
    fn connection_comes_from_the_address_that_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (target, source) = (listener.local_addr().unwrap(), IpAddr::from([127, 0, 77, 3]));
        run(async {
            let stream = connect(target, Some(source)).await.unwrap();
            let (_, from) = listener.accept().unwrap();
            assert_eq!(from.ip(), source);
            drop(stream);
        });
    }

    #[test]
    fn refused_port_and_foreign_address_are_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let shut = taken.local_addr().unwrap();
        drop(taken);
        run(async {
            let refused = connect(shut, Some([127, 0, 0, 1].into())).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let foreign = connect(shut, Some([192, 0, 2, 1].into())).await.unwrap_err();
            assert_eq!(foreign.kind(), io::ErrorKind::AddrNotAvailable);
        });
        let (address, _) = pool(&["127.0.0.1", "192.0.2.1"]).unwrap().unusable().unwrap();
        assert_eq!(address, IpAddr::from([192, 0, 2, 1]));
    }
}
