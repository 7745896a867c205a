//! What is said between us and the hub: what it announces about a file, and the file's bytes.
//!
//! Nothing the hub says is believed that becomes a path: its name for the bytes must be a hash, its name for the revision a
//! commit, both in hexadecimal digits and of their length. The token goes to the hub itself and to nobody it redirects to,
//! and nothing goes over plain HTTP, unless that is asked for or the hub is on this machine.

use std::io::Read;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_RANGE, ETAG, HeaderMap, LOCATION, RANGE};
use http::{HeaderValue, StatusCode};
use ureq::Agent;
use url::{Host, Url};

use super::{HubError, Manifest};

/// The hub, unless `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";
const MAX_REDIRECTS: usize = 10;
const CONNECT: Duration = Duration::from_secs(20);
/// A connection that brings nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// A hub that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    agent: Agent,
    endpoint: Url,
    token: Option<HeaderValue>,
}

/// What the hub says about a file, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    /// 40 hexadecimal digits.
    pub(super) commit: String,
    /// The hub's name for the bytes: SHA-256 (64 hexadecimal digits) of large files, Git's own hash (40) of small ones.
    pub(super) etag: String,
    pub(super) size: u64,
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the hub answered {0}")]
    Status(u16),
    #[error("{0}")]
    Broken(String),
    /// The name server does not know the host.
    #[error("there is no host {0}")]
    NoHost(String),
    /// An answer that is not used.
    #[error("{0}")]
    Nonsense(String),
    /// What has arrived so far does not go with what the hub has.
    #[error("the download cannot be resumed")]
    Resume,
    #[error(transparent)]
    Disk(std::io::Error),
}

impl Transport {
    /// # Errors
    /// [`HubError::Insecure`], [`HubError::Endpoint`], [`HubError::Token`].
    pub(super) fn new(endpoint: Option<&str>, token: Option<&str>, insecure: bool) -> Result<Self, HubError> {
        let text = endpoint.unwrap_or(ENDPOINT).trim().trim_end_matches('/');
        let endpoint: Url = text.parse().map_err(|_| HubError::Endpoint)?;
        match endpoint.scheme() {
            "https" => {}
            "http" if insecure || is_local(&endpoint) => {}
            "http" => return Err(HubError::Insecure { host: host(&endpoint) }),
            _ => return Err(HubError::Endpoint),
        }
        if !endpoint.has_host() {
            return Err(HubError::Endpoint);
        }
        let bearer = |token: &str| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| HubError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        };
        // Files and Kubernetes secrets end in a newline.
        let token = token.map(str::trim).filter(|token| !token.is_empty()).map(bearer).transpose()?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("material-transfer/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build()
            .new_agent();
        Ok(Self { agent, endpoint, token })
    }

    /// Asks for the commit, hash and size of a file.
    pub(super) fn announced(&self, manifest: &Manifest) -> Result<Announced, Trouble> {
        let (mut commit, mut etag, mut linked, mut size) = (None, None, None, None);
        let mut seen = |headers: &HeaderMap| {
            let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
            commit = commit.take().or_else(|| text("x-repo-commit"));
            linked = linked.take().or_else(|| text("x-linked-etag"));
            etag = text(ETAG.as_str()).or_else(|| etag.take());
            size = size.take().or_else(|| text("x-linked-size")?.parse().ok());
        };
        let answer = self.get(manifest, "bytes=0-0", &mut seen)?;
        let total =
            answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()?.rsplit_once('/'));
        let size = size.or_else(|| total?.1.parse().ok());
        let missing = |what: &str| Trouble::Nonsense(format!("the hub does not tell the file's {what}"));
        let commit = commit.ok_or_else(|| missing("commit"))?;
        let etag = linked.or(etag).ok_or_else(|| missing("hash"))?;
        let etag = etag.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let size = size.ok_or_else(|| missing("size"))?;
        // The text itself is not repeated: whoever wrote it wants it to be seen.
        if !is_hex(&commit, 40) {
            return Err(Trouble::Nonsense("the hub's commit is not 40 hexadecimal digits".to_owned()));
        }
        if !is_hex(&etag, 40) && !is_hex(&etag, 64) {
            return Err(Trouble::Nonsense(
                "the hub's hash (ETag) is not 40 or 64 hexadecimal digits".to_owned(),
            ));
        }
        Ok(Announced { commit, etag, size })
    }

    /// The file's bytes from `start` on; also where they really start, which is 0 if the hub does not resume.
    pub(super) fn bytes(&self, manifest: &Manifest, start: u64) -> Result<(u64, impl Read + use<>), Trouble> {
        let answer = self.get(manifest, &format!("bytes={start}-"), &mut |_| {})?;
        let start = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
                let first = range
                    .and_then(|range| range.trim().strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
                first.filter(|first: &u64| *first == start).ok_or(Trouble::Resume)?
            }
            _ => 0,
        };
        Ok((start, answer.into_body().into_reader()))
    }

    /// GET of a range, redirects followed. `seen` gets the headers of every answer of the hub itself.
    fn get(
        &self,
        manifest: &Manifest,
        range: &str,
        seen: &mut dyn FnMut(&HeaderMap),
    ) -> Result<http::Response<ureq::Body>, Trouble> {
        let mut url =
            self.url(manifest).ok_or_else(|| Trouble::Nonsense("the file's name is no URL".to_owned()))?;
        for _ in 0..=MAX_REDIRECTS {
            let own = url.origin() == self.endpoint.origin();
            let mut request = self.agent.get(url.as_str()).header(RANGE, range);
            if let Some(token) = self.token.as_ref().filter(|_| own) {
                request = request.header(AUTHORIZATION, token);
            }
            let answer = request.call().map_err(|error| match error {
                ureq::Error::HostNotFound => Trouble::NoHost(host(&url)),
                // The standard library's words for what a name server says; there is no kind of error for it.
                ureq::Error::Io(error) if error.to_string().contains("lookup address") => {
                    Trouble::NoHost(host(&url))
                }
                other => Trouble::Broken(other.to_string()),
            })?;
            if own {
                seen(answer.headers());
            }
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Err(Trouble::Resume);
            }
            let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let Some(location) = location.filter(|_| status.is_redirection()) else {
                return Err(Trouble::Status(status.as_u16()));
            };
            let next = url
                .join(location)
                .map_err(|_| Trouble::Nonsense("the hub redirects to no URL".to_owned()))?;
            let safe =
                next.scheme() == "https" || (next.scheme() == "http" && self.endpoint.scheme() == "http");
            if !safe {
                return Err(Trouble::Nonsense(
                    "the hub redirects to an address that is not https".to_owned(),
                ));
            }
            url = next;
        }
        Err(Trouble::Nonsense("the hub redirects too often".to_owned()))
    }

    /// `ENDPOINT/owner/repository/resolve/revision/path`, each part escaped.
    fn url(&self, manifest: &Manifest) -> Option<Url> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(manifest.repository.split('/'))
            .push("resolve")
            .push(&manifest.revision)
            .extend(manifest.file.split('/'));
        Some(url)
    }
}

/// Hexadecimal digits and as many.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the host is this machine itself.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(endpoint: &str, token: Option<&str>, insecure: bool) -> Result<Transport, String> {
        Transport::new(Some(endpoint), token, insecure).map_err(|error| error.to_string())
    }

    #[test]
    fn plain_http_is_for_this_machine_or_asked_for() {
        for endpoint in
            ["https://hub.example", "http://127.0.0.1:1/", "http://localhost:8080", "http://[::1]:9"]
        {
            assert!(new(endpoint, None, false).is_ok(), "{endpoint}");
        }
        for endpoint in
            ["http://hub.example", "http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example"]
        {
            let refused = new(endpoint, None, false).unwrap_err();
            assert!(refused.contains("HF_ENDPOINT_INSECURE=1"), "{refused}");
            assert!(new(endpoint, None, true).is_ok(), "{endpoint}");
        }
        for endpoint in ["ftp://hub.example", "hub.example", "", "file:///etc"] {
            assert!(new(endpoint, None, true).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn tokens_are_trimmed_and_bad_ones_told_at_once() {
        let token = new("https://hub.example", Some(" hf_abc\n"), false).unwrap().token.unwrap();
        assert_eq!(token, "Bearer hf_abc");
        assert!(!format!("{token:?}").contains("abc"));
        assert!(new("https://hub.example", Some(" \n"), false).unwrap().token.is_none());
        let refused = new("https://hub.example", Some("hf\nabc"), false).unwrap_err();
        assert!(refused.contains("HF_TOKEN") && !refused.contains("abc"), "{refused}");
    }
}
