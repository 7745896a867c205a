//! Fetches input pictures from URLs that strangers give (and tells results to such URLs: [`Fetcher::post`]), without being led anywhere it should not go.
//!
//! A name is resolved by the guard's resolver, which hands on only addresses that may be reached, and the connection goes
//! to one of exactly those: there is no second look-up for a rebinding name server to answer differently. Redirects are
//! followed by hand, five at most, each checked like the first URL. Nothing of the client's request travels along.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use reqwest::redirect;
use url::{Host, Url};

mod cidr;
mod guard;
mod post;
mod proxy;
mod service;

use guard::{Guard, GuardedResolver, Reach, Refused};

pub use cidr::{Cidr, CidrError};
pub use proxy::ProxyUrl;
pub use service::{Service, ServiceError};

/// How many redirects one picture may take.
const MAX_REDIRECTS: usize = 5;
/// Enough of a file to tell its kind; checked before the rest is fetched.
const SNIFFED: usize = 32;

/// What may be fetched.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The largest file, in bytes.
    pub max_bytes: usize,
    /// For each connection.
    pub connect_timeout: Duration,
    /// For the whole of one fetch.
    pub timeout: Duration,
    /// Ranges that may be reached although they are not public.
    pub allow: Vec<Cidr>,
    /// Ranges that may not be reached, whatever else holds.
    pub deny: Vec<Cidr>,
    /// Ports that may be connected to; none: all. Ranges of `allow` are open on every port.
    pub ports: Vec<u16>,
    /// A proxy that resolves names and so has to guard addresses itself; only addresses written in URLs are checked here.
    pub proxy: Option<ProxyUrl>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            allow: Vec::new(),
            deny: Vec::new(),
            ports: vec![80, 443],
            proxy: None,
        }
    }
}

/// Why a picture was not fetched. The texts follow the name of the field on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// A scheme other than `http` and `https`, or no host; possible for a redirect too.
    #[error("URL must be a valid HTTP or HTTPS URL")]
    BadUrl,
    /// The address is private, local or otherwise not to be reached.
    #[error("address not allowed: it is private or local; the operator can open it with fetch_allow")]
    NotAllowed,
    /// A port other than those of the web.
    #[error("address not allowed: port {0} is closed; the operator can open it with fetch_ports")]
    Port(u16),
    /// The server answered, but not with a file.
    #[error("could not be downloaded (HTTP {0})")]
    Status(u16),
    /// No answer, no such host, a broken connection, a bad certificate.
    #[error("could not be downloaded ({0})")]
    Failed(&'static str),
    /// More bytes than allowed.
    #[error("image too large (more than {0} bytes)")]
    TooLarge(usize),
    /// What came does not begin like a picture.
    #[error("not a readable image")]
    NotAnImage,
    /// What came begins like something else that is known.
    #[error("not a readable image: the URL led to {0}")]
    Foreign(&'static str),
}

/// The fetcher cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the fetching of URLs: {0}; check fetch_proxy")]
pub struct SetupError(#[from] reqwest::Error);

/// Fetches pictures under a [`Policy`]. Clones share connections.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: reqwest::Client,
    /// For all other ports: connects to nothing but what [`Policy::allow`] has opened.
    opened: reqwest::Client,
    guard: Arc<Guard>,
    policy: Policy,
}

impl Fetcher {
    /// A fetcher that keeps to `policy`. Trusts the certificates of the system and Mozilla's list.
    ///
    /// # Errors
    /// [`SetupError`], if the proxy cannot be used.
    pub fn new(policy: Policy) -> Result<Self, SetupError> {
        let guard = Arc::new(Guard::new(policy.allow.clone(), policy.deny.clone()));
        // The resolver guards every name but the proxy's own, also if the client should not go through the proxy after all.
        let client = |reach| {
            let exempt = policy.proxy.as_ref().map(|proxy| proxy.host().to_owned());
            let resolver = GuardedResolver { guard: guard.clone(), reach, exempt };
            let client = builder(policy.connect_timeout).dns_resolver(resolver);
            match &policy.proxy {
                Some(proxy) => client.proxy(reqwest::Proxy::all(proxy.url().clone())?).build(),
                None => client.build(),
            }
        };
        let (client, opened) = (client(Reach::Permitted)?, client(Reach::Opened)?);
        Ok(Self { client, opened, guard, policy })
    }

    /// Fetches the file at `url`: at most [`Policy::max_bytes`], beginning like a picture.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch(&self, url: &Url) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.policy.timeout, self.follow(url.clone()))
            .await
            .unwrap_or(Err(FetchError::Failed("timed out")))
    }

    async fn follow(&self, mut url: Url) -> Result<Bytes, FetchError> {
        for _ in 0..=MAX_REDIRECTS {
            let client = self.client_for(&url)?;
            let request = client.get(url.clone()).header(header::ACCEPT, "image/*");
            let response = request.send().await.map_err(|error| reason(&error, &url))?;
            let status = response.status();
            if !status.is_redirection() {
                return if status.is_success() {
                    self.read(response, &url).await
                } else {
                    Err(FetchError::Status(status.as_u16()))
                };
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let target = location.ok_or(FetchError::Status(status.as_u16()))?;
            url = url.join(target).map_err(|_| FetchError::BadUrl)?;
        }
        Err(FetchError::Failed("too many redirects"))
    }

    /// The client that may fetch this URL. A host written as an address never meets the resolver, so it is checked here.
    fn client_for(&self, url: &Url) -> Result<&reqwest::Client, FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::BadUrl);
        }
        let usual = self.usual_port(url);
        let address = match url.host().ok_or(FetchError::BadUrl)? {
            // A proxy resolves names by itself, so that there is nothing to hold against the opened ranges.
            Host::Domain(_) if !usual && self.policy.proxy.is_some() => return Err(refused_port(url)),
            Host::Domain(_) if usual => return Ok(&self.client),
            Host::Domain(_) => return Ok(&self.opened),
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        match (self.guard.permits(address), usual || self.guard.opened(address)) {
            (false, _) => Err(FetchError::NotAllowed),
            (true, false) => Err(refused_port(url)),
            (true, true) => Ok(&self.client),
        }
    }

    fn usual_port(&self, url: &Url) -> bool {
        let ports = &self.policy.ports;
        ports.is_empty() || url.port_or_known_default().is_some_and(|port| ports.contains(&port))
    }

    async fn read(&self, mut response: reqwest::Response, url: &Url) -> Result<Bytes, FetchError> {
        let limit = self.policy.max_bytes;
        let too_large = || FetchError::TooLarge(limit);
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let packed = packed(response.headers())?;
        let mut file = BytesMut::new();
        let mut sniffed = packed;
        while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error, url))? {
            if file.len() + chunk.len() > limit {
                return Err(too_large());
            }
            file.extend_from_slice(&chunk);
            if !sniffed && file.len() >= SNIFFED {
                sniff(&file)?;
                sniffed = true;
            }
        }
        let file = file.freeze();
        let file = if packed { unpack(file, limit).await? } else { file };
        sniff(&file)?;
        Ok(file)
    }
}

/// What all clients have in common: our name, the certificates of the system and Mozilla's list, no redirects, no proxy.
fn builder(connect_timeout: Duration) -> reqwest::ClientBuilder {
    // The process may have chosen a provider already; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
    reqwest::Client::builder()
        .user_agent(concat!("material-transfer/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .tls_certs_merge(roots.iter().flat_map(|der| reqwest::Certificate::from_der(der)))
        .connect_timeout(connect_timeout)
        .no_proxy()
}

/// Begins like a picture.
fn sniff(file: &[u8]) -> Result<(), FetchError> {
    match (api::ImageKind::sniff(file), api::foreign(file)) {
        (Some(_), _) => Ok(()),
        (None, Some(name)) => Err(FetchError::Foreign(name)),
        (None, None) => Err(FetchError::NotAnImage),
    }
}

/// Whether a host packed its answer although it was not asked to; some always do, and by gzip.
fn packed(headers: &header::HeaderMap) -> Result<bool, FetchError> {
    let coding = headers.get(header::CONTENT_ENCODING).map_or(&b""[..], header::HeaderValue::as_bytes);
    match coding.trim_ascii().to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(false),
        b"gzip" | b"x-gzip" => Ok(true),
        _ => Err(FetchError::Failed("the host sends it packed in a way that was not asked for")),
    }
}

/// Unpacks gzip (RFC 1952), to `limit` bytes and no further.
async fn unpack(file: Bytes, limit: usize) -> Result<Bytes, FetchError> {
    use std::io::Read as _;
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut unpacked = Vec::new();
        let mut reader = flate2::read::MultiGzDecoder::new(&file[..]).take(limit as u64 + 1);
        match reader.read_to_end(&mut unpacked) {
            Ok(_) if unpacked.len() > limit => Err(FetchError::TooLarge(limit)),
            Ok(_) => Ok(Bytes::from(unpacked)),
            Err(_) => Err(FetchError::NotAnImage),
        }
    });
    unpacking.await.unwrap_or(Err(FetchError::NotAnImage))
}

fn refused_port(url: &Url) -> FetchError {
    FetchError::Port(url.port_or_known_default().unwrap_or_default())
}

/// Sorts an error of the client into what the person can do something about.
fn reason(error: &reqwest::Error, url: &Url) -> FetchError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(each) = cause {
        match each.downcast_ref::<Refused>() {
            Some(Refused::NotAllowed) => return FetchError::NotAllowed,
            Some(Refused::Port) => return refused_port(url),
            Some(Refused::Unknown) => return FetchError::Failed("host not found"),
            None => {}
        }
        if each.downcast_ref::<rustls::Error>().is_some() {
            return FetchError::Failed("the certificate or the TLS handshake is bad");
        }
        cause = each.source();
    }
    FetchError::Failed(if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke off"
    })
}

#[cfg(test)]
mod tests;
