//! Networks in CIDR form, as `source-address` lists them.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_len: u8,
}

/// Why a text is not a list of networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address, or not a prefix length that such an address has.
    #[error("{0:?} is not an address or a network (address/bits)")]
    NotANetwork(String),
    /// OpenSSH refuses `10.0.0.1/8`: whoever wrote it may have meant the one address.
    #[error("{0:?} has address bits outside its prefix")]
    HostBits(String),
}

impl Network {
    /// The network of one address.
    pub fn host(address: IpAddr) -> Network {
        Network {
            address,
            prefix_len: width(address),
        }
    }

    /// Reads a comma-separated list.
    ///
    /// # Errors
    /// [`AddressError`], also for empty entries and an empty list.
    pub fn parse_list(list: &str) -> Result<Vec<Network>, AddressError> {
        list.split(',').map(str::parse).collect()
    }

    /// Whether `address` lies in the network. An IPv4 address that came through an IPv6 socket (`::ffff:a.b.c.d`)
    /// is taken as the IPv4 address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        // Leading bits that are the same; all of them if the addresses are equal.
        let common = match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        common >= u32::from(self.prefix_len)
    }

    fn has_host_bits(&self) -> bool {
        let trailing = match self.address {
            IpAddr::V4(address) => address.to_bits().trailing_zeros(),
            IpAddr::V6(address) => address.to_bits().trailing_zeros(),
        };
        trailing < u32::from(width(self.address) - self.prefix_len)
    }
}

impl FromStr for Network {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Network, AddressError> {
        let wrong = || AddressError::NotANetwork(crate::key::printable(text.as_bytes()));
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix_len = match bits {
            // Digits only: `parse` alone would take "+8".
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
            None => width(address),
        };
        if prefix_len > width(address) {
            return Err(wrong());
        }
        let network = Network { address, prefix_len };
        if network.has_host_bits() {
            return Err(AddressError::HostBits(crate::key::printable(text.as_bytes())));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(list: &str, address: &str) -> bool {
        let address = address.parse().unwrap();
        Network::parse_list(list)
            .unwrap()
            .iter()
            .any(|network| network.contains(address))
    }

    #[test]
    fn addresses_lie_in_the_networks_that_cover_them() {
        assert!(within("10.0.0.0/8", "10.255.1.2"));
        assert!(!within("10.0.0.0/8", "11.0.0.0"));
        assert!(within("192.0.2.7", "192.0.2.7"));
        assert!(!within("192.0.2.7", "192.0.2.6"));
        assert!(within("2001:db8::/32,192.0.2.0/24", "2001:db8:1::1"));
        assert!(within("2001:db8::/32,192.0.2.0/24", "192.0.2.200"));
        assert!(within("0.0.0.0/0", "8.8.8.8") && !within("0.0.0.0/0", "::1"));
        assert!(within("::/0", "::1") && !within("::/0", "8.8.8.8"));
    }

    #[test]
    fn an_ipv4_peer_on_an_ipv6_socket_is_an_ipv4_peer() {
        assert!(within("192.0.2.0/24", "::ffff:192.0.2.1"));
        assert!(!within("::/0", "::ffff:192.0.2.1"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let not = |text: &str| matches!(Network::parse_list(text), Err(AddressError::NotANetwork(_)));
        for text in [
            "",
            ",",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "a",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "!10.0.0.1",
            "10.0.0.0/8,",
            " 10.0.0.1",
            "10.0.0.1/-1",
            "10.0.0.0/256",
        ] {
            assert!(not(text), "{text:?}");
        }
        assert!(matches!(
            Network::parse_list("10.0.0.1/8"),
            Err(AddressError::HostBits(_))
        ));
        assert!(matches!(
            Network::parse_list("::1/127"),
            Err(AddressError::HostBits(_))
        ));
    }
}
