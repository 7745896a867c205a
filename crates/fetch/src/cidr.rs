//! Ranges of IP addresses in CIDR form: `10.0.0.0/8`, `fd00::/8`, or a single address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// A range of addresses.
///
/// IPv4 written as IPv6 counts as the IPv4 it is, in addresses and in ranges alike: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
/// Bits behind the prefix have no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

/// A text that is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address range; write it like 192.168.0.0/16, fd00::/8 or 127.0.0.1")]
pub struct CidrError(String);

/// Bits before the IPv4 address in an IPv6 address that stands for it.
const MAPPED: u8 = 96;

impl Cidr {
    /// A range known to be well-formed when this is compiled; `prefix` counts leading bits. Not for mapped IPv4.
    ///
    /// # Panics
    /// A prefix longer than the address.
    #[must_use]
    pub const fn new(network: IpAddr, prefix: u8) -> Self {
        Self(IpNet::new_assert(network, prefix))
    }

    /// Does the range hold the address?
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl From<IpNet> for Cidr {
    fn from(net: IpNet) -> Self {
        let mapped = match net {
            IpNet::V6(six) => six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(MAPPED)),
            IpNet::V4(_) => None,
        };
        let four = mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
        Self(four.map_or(net, IpNet::V4).trunc())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let trimmed = text.trim();
        let net = trimmed.parse::<IpNet>().or_else(|_| trimmed.parse::<IpAddr>().map(IpNet::from));
        net.map(Self::from).map_err(|_| CidrError(text.to_owned()))
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(range: &str, address: &str) -> bool {
        range.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn ranges_hold_what_they_should() {
        assert!(holds("10.0.0.0/8", "10.255.255.255") && !holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("192.168.1.7", "192.168.1.7") && !holds("192.168.1.7", "192.168.1.8"));
        assert!(holds("0.0.0.0/0", "255.255.255.255") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "fe80::1") && !holds("::/0", "127.0.0.1"));
        assert!(holds("fd00::/8", "fdff::1") && !holds("fd00::/8", "fe00::1"));
        assert!(holds("::1", "::1") && !holds("::1", "::2"));
        assert!(holds("127.0.0.0/8", "::ffff:127.0.0.1"), "mapped IPv4");
    }

    #[test]
    fn ranges_are_canonical_like_addresses() {
        for range in ["::ffff:10.0.0.0/104", "::ffff:a00:0/104", "10.0.0.0/8", "10.9.8.7/8"] {
            assert!(holds(range, "10.1.2.3") && holds(range, "::ffff:10.1.2.3"), "{range}");
            assert!(!holds(range, "11.0.0.0"), "{range}");
            assert_eq!(range.parse::<Cidr>().unwrap().to_string(), "10.0.0.0/8");
        }
        assert!(holds("::ffff:0:0/96", "8.8.8.8"), "all of IPv4");
        assert!(holds("::ffff:192.168.1.7", "192.168.1.7") && !holds("::ffff:192.168.1.7", "192.168.1.8"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/-1"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
