//! Where the two pictures come from: files, URLs, or data URIs.
//!
//! URLs go through the guarded fetcher, as in the server (size, time and redirect limits, content sniffed). Private and loopback
//! addresses are allowed here, unlike in the server: whoever sits at the terminal could reach them anyway. Link-local
//! ranges, where clouds keep their metadata, stay closed.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use api::{FormValue, ImageSource};
use fetch::{Cidr, FetchError, Fetcher, Policy};
use pipeline::{Cancel, DecodeLimits, Picture};
use tokio::runtime::Runtime;

use crate::failure::Failure;
use crate::signal;

/// A picture option as a form field: a URL as it is, anything else as the file's bytes; `-` is standard input.
pub(crate) fn given(text: &str, option: &str) -> Result<FormValue, Failure> {
    if text.contains("://") || text.starts_with("data:") {
        return Ok(FormValue::Text(text.to_owned()));
    }
    let unusable = |reason: &dyn std::fmt::Display| Failure::Input(format!("{option} {text}: {reason}"));
    let bytes = if text == "-" { read(std::io::stdin()) } else { File::open(text).and_then(read) };
    let bytes = bytes.map_err(|error| unusable(&error))?;
    match bytes.len() as u64 {
        0 => Err(unusable(&"is empty")),
        1..=MAX_FILE => Ok(FormValue::File(bytes)),
        _ => Err(unusable(&format!("is larger than {} MiB", MAX_FILE >> 20))),
    }
}

/// The largest file that is read as a picture, in bytes; a device may have no end.
const MAX_FILE: u64 = 1 << 30;

/// All of it, or a byte more than is taken.
fn read(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Fetches the picture if need be, decodes it, and shrinks it to what is enough.
pub(crate) fn picture(
    source: ImageSource,
    option: &str,
    runtime: &Runtime,
    cancel: &Cancel,
    enough: Option<(u32, u32)>,
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
            // Here nobody else is to be asked.
            fetched
                .map_err(|error| match error {
                    FetchError::NotAllowed => unusable(
                        &"address not allowed: nothing is fetched from there; save the picture as a file",
                    ),
                    other => unusable(&other),
                })?
                .to_vec()
        }
    };
    let picture = Picture::decode(&bytes, &DecodeLimits::default()).map_err(|error| unusable(&error))?;
    Ok(match enough {
        Some((width, height)) => picture.shrunk_to_fit(width, height),
        None => picture,
    })
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
    Policy { allow, ports: Vec::new(), ..Policy::default() }
}
