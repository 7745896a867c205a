//! Which addresses may be reached: public unicast ones, and what the operator allows on top.
//!
//! The ranges are those of the IANA special-purpose registries (RFC 6890 and its updates). For IPv6 the rule is turned
//! round: only `2000::/3` is in public use, less a few ranges in it. Addresses that carry an IPv4 address inside
//! (mapped, NAT64) are judged by that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::cidr::Cidr;

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Cidr {
    Cidr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix)
}

const fn v6(a: u16, b: u16, prefix: u8) -> Cidr {
    Cidr::new(IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), prefix)
}

/// IPv4 that is not public unicast.
const SPECIAL_V4: [Cidr; 16] = [
    v4(0, 0, 0, 0, 8),        // this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // carrier-grade NAT
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // Azure's host agent, a public address that is not public
    v4(169, 254, 0, 0, 16),   // link-local, where cloud metadata lives
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, broadcast
];

/// IPv6 in public use.
const PUBLIC_V6: Cidr = v6(0x2000, 0, 3);
/// What is special within [`PUBLIC_V6`].
const SPECIAL_V6: [Cidr; 4] = [
    v6(0x2001, 0, 23),     // protocol assignments, Teredo
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16),     // 6to4, which carries any IPv4 address
    v6(0x3fff, 0, 20),     // documentation
];
/// NAT64: the last 32 bits are the IPv4 address that is reached.
const NAT64: Cidr = v6(0x64, 0xff9b, 96);

/// Judges addresses, and resolves names to those that pass.
#[derive(Debug)]
pub(super) struct Guard {
    allow: Vec<Cidr>,
    deny: Vec<Cidr>,
}

/// Why a name was not resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the host has no address that may be reached")]
    NotAllowed,
    /// Public, but the port is not one that public hosts are reached on.
    #[error("the host may not be reached on this port")]
    Port,
    #[error("there is no such host")]
    Unknown,
}

impl Guard {
    pub(super) fn new(allow: Vec<Cidr>, deny: Vec<Cidr>) -> Self {
        Self { allow, deny }
    }

    /// May this address be reached?
    pub(super) fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        !self.denied(address)
            && (self.opened(address)
                || match address {
                    IpAddr::V4(_) => !in_any(&SPECIAL_V4, address),
                    IpAddr::V6(v6) if NAT64.contains(address) => self.permits(IpAddr::V4(inner(v6))),
                    IpAddr::V6(_) => PUBLIC_V6.contains(address) && !in_any(&SPECIAL_V6, address),
                })
    }

    /// Has the operator opened a range that holds the address, and not closed it again?
    pub(super) fn opened(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        !self.denied(address)
            && (in_any(&self.allow, address)
                || matches!(address, IpAddr::V6(v6) if NAT64.contains(address) && self.opened(IpAddr::V4(inner(v6)))))
    }

    /// Has the operator closed it, or the IPv4 address that it leads to?
    fn denied(&self, address: IpAddr) -> bool {
        in_any(&self.deny, address)
            || matches!(address, IpAddr::V6(v6) if NAT64.contains(address) && self.denied(IpAddr::V4(inner(v6))))
    }

    /// Those of the addresses that may be reached on a port for `which`.
    fn filter(
        &self,
        found: impl Iterator<Item = SocketAddr>,
        which: Reach,
    ) -> Result<Vec<SocketAddr>, Refused> {
        let found: Vec<_> = found.collect();
        let passes = |address: &SocketAddr| match which {
            Reach::Permitted => self.permits(address.ip()),
            Reach::Opened => self.opened(address.ip()),
        };
        let passed: Vec<_> = found.iter().copied().filter(passes).collect();
        match (found.is_empty(), passed.is_empty()) {
            (true, _) => Err(Refused::Unknown),
            (false, true) if found.iter().any(|address| self.permits(address.ip())) => Err(Refused::Port),
            (false, true) => Err(Refused::NotAllowed),
            (false, false) => Ok(passed),
        }
    }
}

fn in_any(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

fn inner(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// Which addresses a connection may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All that the guard permits.
    Permitted,
    /// Only what the operator has opened by name, on whatever port.
    Opened,
}

/// A [`Guard`] as the client's resolver.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    pub(super) guard: Arc<Guard>,
    pub(super) reach: Reach,
    /// The name of the operator's own proxy, which may well be private.
    pub(super) exempt: Option<String>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { guard, reach, exempt } = self.clone();
        Box::pin(async move {
            // Port 0 is replaced by the URL's.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|_| Refused::Unknown)?;
            if exempt.is_some_and(|host| host.eq_ignore_ascii_case(name.as_str())) {
                return Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs);
            }
            Ok(Box::new(guard.filter(found, reach)?.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(guard: &Guard, address: &str) -> bool {
        guard.permits(address.parse().unwrap())
    }

    #[test]
    fn what_is_not_public_is_denied() {
        let guard = Guard::new(vec![], vec![]);
        let denied = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.0.1",
            "198.19.0.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "3fff::1",
        ];
        for address in denied {
            assert!(!permits(&guard, address), "{address}");
        }
        let allowed = [
            "1.1.1.1",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2001:4860::8888",
        ];
        for address in allowed {
            assert!(permits(&guard, address), "{address}");
        }
    }

    #[test]
    fn the_operator_may_open_and_close() {
        let guard = Guard::new(
            vec!["192.168.1.0/24".parse().unwrap()],
            vec!["192.168.1.66".parse().unwrap(), "1.1.1.1".parse().unwrap()],
        );
        assert!(permits(&guard, "192.168.1.7") && permits(&guard, "::ffff:192.168.1.7"));
        assert!(
            !permits(&guard, "192.168.2.7")
                && !permits(&guard, "192.168.1.66")
                && !permits(&guard, "1.1.1.1")
        );
        assert!(permits(&guard, "64:ff9b::c0a8:107"), "NAT64 of an allowed address");
        assert!(!permits(&guard, "64:ff9b::101:101"), "NAT64 of a denied address");
    }

    #[test]
    fn a_denied_address_stays_closed_however_it_is_written_or_wrapped() {
        let guard = Guard::new(
            vec!["64:ff9b::/96".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
            vec!["::ffff:10.0.0.0/104".parse().unwrap()],
        );
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203"] {
            assert!(!permits(&guard, address), "{address}");
        }
        assert!(permits(&guard, "64:ff9b::c0a8:107"), "all else of an opened range");
    }

    #[test]
    fn a_name_with_good_and_bad_addresses_keeps_the_good() {
        let guard = Guard::new(vec![], vec![]);
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        assert_eq!(
            guard.filter([at("10.0.0.1"), at("1.1.1.1")].into_iter(), Reach::Permitted),
            Ok(vec![at("1.1.1.1")])
        );
        assert_eq!(guard.filter([at("10.0.0.1")].into_iter(), Reach::Permitted), Err(Refused::NotAllowed));
        assert_eq!(guard.filter(std::iter::empty(), Reach::Permitted), Err(Refused::Unknown));
    }
}
