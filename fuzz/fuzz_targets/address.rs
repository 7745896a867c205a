//! Networks and addresses of the fetch guard.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use fetch::Cidr;

fuzz_target!(|text: &str| {
    let (network, address) = text.split_once(' ').unwrap_or((text, "127.0.0.1"));
    fuzz::bounded(text.len(), 0, || {
        let Ok(network) = network.parse::<Cidr>() else { return };
        let again: Cidr = network.to_string().parse().expect("what we wrote ourselves");
        assert_eq!(network.to_string(), again.to_string());
        if let Ok(address) = address.parse::<IpAddr>() {
            assert_eq!(network.contains(address), again.contains(address));
            assert_eq!(network.contains(address), network.contains(address.to_canonical()));
        }
    });
});
