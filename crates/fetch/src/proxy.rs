//! The address of a proxy, which may hold a password and is shown without.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use url::Url;

/// The URL of a proxy that speaks HTTP: `http://proxy.example:3128`, with `user:password@` before the host if it wants that.
///
/// No other scheme is taken: the client would leave a proxy aside that it cannot speak to, and connect by itself.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProxyUrl(Url);

impl ProxyUrl {
    /// The whole of it, password included.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Its host, as a name or an address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

/// Says nothing of what was given, which may hold a password.
const BAD: &str = "must be the URL of an HTTP proxy, such as http://proxy.example:3128; other schemes than http and https \
                   are not spoken";

impl FromStr for ProxyUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Url = text.trim().parse().map_err(|_| BAD)?;
        if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(Self(url)) } else { Err(BAD) }
    }
}

impl TryFrom<String> for ProxyUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Without user and password.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{}://{}{port}", self.0.scheme(), self.host())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_spoken_and_nothing_said_of_it() {
        for good in ["http://proxy:3128", "https://u:p@proxy.example", " http://10.0.0.1:1/ "] {
            assert!(good.parse::<ProxyUrl>().is_ok(), "{good}");
        }
        let bad = [
            "tcp://127.0.0.1:9",
            "htttp://p:1",
            "ftp://p",
            "socks5://p:1",
            "socks5h://p:1",
            "proxy:3128",
            "",
            "127.0.0.1:8080",
            "http://u:pwsecret@bad host",
            "file:///etc/passwd",
            "unix:/run/pwsecret",
            "http://",
        ];
        for text in bad {
            let error = text.parse::<ProxyUrl>().unwrap_err();
            assert!(!error.contains("pwsecret"), "{error}");
        }
        let proxy: ProxyUrl = "http://user:pwsecret@proxy.example:3128/".parse().unwrap();
        let shown = format!("{proxy} {proxy:?} {}", serde_json::to_string(&proxy).unwrap());
        assert!(
            shown.contains("proxy.example:3128") && !shown.contains("pwsecret") && !shown.contains("user"),
            "{shown}"
        );
    }
}
