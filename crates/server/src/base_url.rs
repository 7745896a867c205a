//! The base of the URLs in answers: what is configured, else what a trusted proxy says the client reached, else `Host`.
//!
//! Clients follow these URLs byte for byte, so they are absolute and lead to where the client already is.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{HeaderMap, header};

use crate::config::Config;

/// The other end of the connection; absent where the router is called in process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The machine that a request comes from: the other end, or whom a trusted proxy names there. `None` in process.
pub(crate) fn client(config: &Config, parts: &Parts) -> Option<IpAddr> {
    let trusted = |address: IpAddr| config.trusted_proxies.iter().any(|range| range.contains(address));
    let mut address = parts.extensions.get::<Peer>()?.0.ip();
    // Each proxy adds whom it heard from at the end, so the list is believed from there for as long as they are trusted.
    let named = parts.headers.get_all("x-forwarded-for").iter().rev();
    let named = named.filter_map(|value| value.to_str().ok()).flat_map(|value| value.rsplit(','));
    for each in named {
        match each.trim().parse() {
            Ok(next) if trusted(address) => address = next,
            _ => break,
        }
    }
    Some(address)
}

/// `http://host:8000/api`, without a slash at the end.
pub(crate) fn base_url(config: &Config, parts: &Parts) -> String {
    if let Some(url) = &config.public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let peer = parts.extensions.get::<Peer>();
    let trusted =
        peer.is_some_and(|peer| config.trusted_proxies.iter().any(|range| range.contains(peer.0.ip())));
    let forwarded = |name: &str| if trusted { first(&parts.headers, name) } else { None };
    let scheme =
        forwarded("x-forwarded-proto").filter(|proto| matches!(*proto, "http" | "https")).unwrap_or("http");
    let host = forwarded("x-forwarded-host")
        .filter(|host| is_host(host))
        .or_else(|| parts.uri.authority().map(|authority| authority.as_str()).filter(|host| is_host(host)))
        .or_else(|| first(&parts.headers, header::HOST.as_str()).filter(|host| is_host(host)))
        .unwrap_or(config.listen.as_str());
    let prefix = forwarded("x-forwarded-prefix").filter(|prefix| is_prefix(prefix)).unwrap_or("");
    format!("{scheme}://{host}{}{}", prefix.trim_end_matches('/'), config.path_prefix)
}

/// The first of the values that a chain of proxies may have left: the one the client sent to.
fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()?.split(',').next().map(str::trim).filter(|value| !value.is_empty())
}

/// A name or an address with or without a port, and nothing that could change the meaning of a URL.
fn is_host(text: &str) -> bool {
    text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

fn is_prefix(text: &str) -> bool {
    text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(config: &str, peer: &str, headers: &[(&str, &str)]) -> String {
        let config: Config = toml::from_str(config).unwrap();
        let mut request = http::Request::builder().uri("/v2/material-transfer");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(Peer(peer.parse().unwrap()));
        base_url(&config, &parts)
    }

    const TRUST: &str = "trusted_proxies = [\"10.0.0.0/8\"]";
    const FORWARDED: [(&str, &str); 3] = [
        ("host", "inner:8000"),
        ("x-forwarded-host", "outer.example, middle"),
        ("x-forwarded-proto", "https"),
    ];

    #[test]
    fn in_order_of_trust() {
        assert_eq!(base("", "1.2.3.4:5", &[("host", "other.example:1234")]), "http://other.example:1234");
        assert_eq!(base(TRUST, "10.0.0.9:5", &FORWARDED), "https://outer.example");
        assert_eq!(base(TRUST, "1.2.3.4:5", &FORWARDED), "http://inner:8000", "a stranger is not believed");
        let configured = "public_url = \"https://p.example/x/\"\ntrusted_proxies = [\"10.0.0.0/8\"]";
        assert_eq!(base(configured, "10.0.0.9:5", &FORWARDED), "https://p.example/x");
        assert_eq!(base("path_prefix = \"/api\"", "1.2.3.4:5", &[("host", "h")]), "http://h/api");
        let prefixed = [("host", "h"), ("x-forwarded-prefix", "/front/")];
        assert_eq!(base(TRUST, "10.0.0.9:5", &prefixed), "http://h/front");
    }

    #[test]
    fn the_client_behind_trusted_proxies() {
        let client = |config: &str, peer: &str, forwarded: &[&str]| {
            let config: Config = toml::from_str(config).unwrap();
            let mut request = http::Request::builder().uri("/");
            for each in forwarded {
                request = request.header("x-forwarded-for", *each);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            parts.extensions.insert(Peer(peer.parse().unwrap()));
            client(&config, &parts).unwrap().to_string()
        };
        assert_eq!(
            client(TRUST, "10.0.0.9:5", &["6.6.6.6, 1.2.3.4"]),
            "1.2.3.4",
            "the last hop that is not ours"
        );
        assert_eq!(client(TRUST, "10.0.0.9:5", &["1.2.3.4, 10.0.0.8"]), "1.2.3.4");
        assert_eq!(client(TRUST, "10.0.0.9:5", &["1.2.3.4", "10.0.0.8"]), "1.2.3.4");
        assert_eq!(client(TRUST, "5.5.5.5:5", &["1.2.3.4"]), "5.5.5.5", "a stranger is not believed");
        assert_eq!(client(TRUST, "10.0.0.9:5", &["nonsense"]), "10.0.0.9");
        assert_eq!(client("", "[::1]:5", &[]), "::1");
    }

    #[test]
    fn nonsense_in_host_is_not_repeated() {
        for host in ["a b", "evil/path", "x@y", "\"", ""] {
            assert_eq!(base("", "1.2.3.4:5", &[("host", host)]), "http://127.0.0.1:8000", "{host}");
        }
        assert_eq!(base("", "1.2.3.4:5", &[]), "http://127.0.0.1:8000");
        assert_eq!(base("", "1.2.3.4:5", &[("host", "[::1]:80")]), "http://[::1]:80");
    }
}
