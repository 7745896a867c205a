//! Networks and addresses of the fetch guard.

use std::net::IpAddr;

use fetch::Cidr;

use crate::limits::bounded;

/// One input.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (network, address) = text.split_once(' ').unwrap_or((text, "127.0.0.1"));
    bounded(text.len(), 0, || {
        let Ok(network) = network.parse::<Cidr>() else { return };
        let again: Cidr = network.to_string().parse().expect("what we wrote ourselves");
        assert_eq!(network.to_string(), again.to_string());
        if let Ok(address) = address.parse::<IpAddr>() {
            assert_eq!(network.contains(address), again.contains(address));
            assert_eq!(network.contains(address), network.contains(address.to_canonical()));
        }
    });
}
