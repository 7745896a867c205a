//! Where the two pictures come from: files, URLs, or data URIs.
//!
//! URLs go through the server's guarded fetcher (size, time and redirect limits, content sniffed). Private and loopback
//! addresses are allowed here, unlike in the server: whoever sits at the terminal could reach them anyway. Link-local
//! ranges, where clouds keep their metadata, stay closed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use api::{FormValue, ImageSource};
use pipeline::{Cancel, DecodeLimits, Picture};
use server::cidr::Cidr;
use server::fetch::{Fetcher, Policy};
use tokio::runtime::Runtime;

use crate::failure::Failure;
use crate::signal;

/// A picture option as a form field: a URL as it is, anything else as the file's bytes.
pub(crate) fn given(text: &str, option: &str) -> Result<FormValue, Failure> {
    if text.contains("://") || text.starts_with("data:") {
        return Ok(FormValue::Text(text.to_owned()));
    }
    let bytes = std::fs::read(text).map_err(|error| Failure::Input(format!("{option} {text}: {error}")))?;
    Ok(FormValue::File(bytes))
}

/// Fetches the picture if need be, and decodes it.
pub(crate) fn picture(
    source: ImageSource,
    option: &str,
    runtime: &Runtime,
    cancel: &Cancel,
) -> Result<Picture, Failure> {
    let unusable = |reason: &dyn std::fmt::Display| Failure::Input(format!("{option}: {reason}"));
    let bytes = match source {
        ImageSource::Inline(bytes) => bytes,
        ImageSource::Url(url) => {
            let fetcher = Fetcher::new(policy()).context("URLs cannot be fetched")?;
            let fetched = runtime.block_on(async {
                tokio::select! {
                    fetched = fetcher.fetch(&url) => Ok(fetched),
                    () = signal::raised(cancel) => Err(Failure::Cancelled),
                }
            })?;
            fetched.map_err(|error| unusable(&error))?.to_vec()
        }
    };
    Picture::decode(&bytes, &DecodeLimits::default()).map_err(|error| unusable(&error))
}

/// The server's limits, with the private and loopback ranges opened (RFC 1918, RFC 4193, RFC 6598, RFC 1122, RFC 4291).
fn policy() -> Policy {
    let four = |a, b, prefix| Cidr::new(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix);
    let allow = vec![
        four(10, 0, 8),
        four(172, 16, 12),
        four(192, 168, 16),
        four(100, 64, 10),
        four(127, 0, 8),
        Cidr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        Cidr::new(IpAddr::V6(Ipv6Addr::new(0xFC00, 0, 0, 0, 0, 0, 0, 0)), 7),
    ];
    Policy { allow, ..Policy::default() }
}
