//! API keys: who is calling and what they may do. Only hashes are kept, and compared in constant time.
//!
//! With no keys configured the server is open: everybody is the one caller `open`, whatever key they send.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::request::Parts;
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::base_url;
use crate::config::{Config, Permission};
use crate::failure::Failure;
use crate::rate::RateLimiter;
use crate::state::App;

/// The owner of jobs on an open server.
const OPEN: &str = "open";
/// What the owners of plain keys begin with.
const PLAIN: &str = "key-";
/// Addresses whose wrong keys are counted each for itself; further ones share a count.
const GUESSERS: usize = 4096;

/// Whether an id of a key could be taken for somebody else's.
pub(crate) fn is_reserved(id: &str) -> bool {
    id == OPEN || id.starts_with(PLAIN)
}

/// One known key.
#[derive(Debug)]
struct Key {
    hash: [u8; 32],
    caller: Arc<Caller>,
}

/// Who is calling.
#[derive(Debug, PartialEq)]
pub(crate) struct Caller {
    /// The id of the key; jobs belong to it.
    pub(crate) owner: String,
    permissions: Vec<Permission>,
    /// `None` is all.
    models: Option<Vec<String>>,
    /// 0 is no limit.
    pub(crate) requests_per_minute: u32,
    /// Of its jobs.
    pub(crate) priority: i16,
    disabled: bool,
}

impl Caller {
    fn unlimited(owner: String, requests_per_minute: u32) -> Self {
        let permissions = vec![Permission::Transfer, Permission::Read];
        Self { owner, permissions, models: None, requests_per_minute, priority: 0, disabled: false }
    }

    /// May the caller use this model?
    pub(crate) fn check_model(&self, slug: &str) -> Result<(), Failure> {
        match &self.models {
            Some(models) if !models.iter().any(|model| model == slug) => {
                Err(Failure::forbidden(format!("This API key may not use {slug}; the operator can allow it")))
            }
            _ => Ok(()),
        }
    }
}

/// What a caller may be admitted for.
pub(crate) trait Right {
    /// The permission that its key needs.
    const PERMISSION: Permission;
}

/// The right to submit requests.
#[derive(Debug)]
pub(crate) struct Transfer;

impl Right for Transfer {
    const PERMISSION: Permission = Permission::Transfer;
}

/// The right to see one's own jobs and credits, and to cancel them.
#[derive(Debug)]
pub(crate) struct Read;

impl Right for Read {
    const PERMISSION: Permission = Permission::Read;
}

/// A caller whose key was checked for a right. Only [`KeyRing::admit`] makes one, and what acts for a caller asks for one:
/// a handler that forgets the check does not compile.
#[derive(Debug)]
pub(crate) struct Admitted<R> {
    caller: Arc<Caller>,
    right: PhantomData<R>,
}

impl<R> Deref for Admitted<R> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<R: Right> FromRequestParts<Arc<App>> for Admitted<R> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        app.keys.admit(&parts.headers, base_url::client(&app.config, parts))
    }
}

/// All known keys.
#[derive(Debug)]
pub(crate) struct KeyRing {
    keys: Vec<Key>,
    open: Arc<Caller>,
    bearer: bool,
    /// Of each address in a minute; 0 is no limit.
    wrong_keys_per_minute: u32,
    guesses: RateLimiter,
}

impl KeyRing {
    pub(crate) fn new(config: &Config) -> Self {
        let rate = config.requests_per_minute;
        let plain = config.api_key.iter().map(|key| {
            let hash: [u8; 32] = Sha256::digest(key.0.trim()).into();
            // The same after a restart, so that jobs keep their owner; eight bytes tell nobody the key, and no two keys
            // share them.
            let owner = format!("{PLAIN}{}", hex::encode(&hash[..8]));
            Key { hash, caller: Arc::new(Caller::unlimited(owner, rate)) }
        });
        let hashed = config.keys.iter().map(|entry| {
            let caller = Caller {
                owner: entry.id.clone(),
                permissions: entry.permissions.clone(),
                models: entry.models.clone(),
                requests_per_minute: entry.requests_per_minute.unwrap_or(rate),
                priority: entry.priority,
                disabled: entry.disabled,
            };
            Key { hash: entry.sha256.0, caller: Arc::new(caller) }
        });
        let keys = plain.chain(hashed).collect();
        Self {
            keys,
            open: Arc::new(Caller::unlimited(OPEN.to_owned(), rate)),
            bearer: config.bearer,
            wrong_keys_per_minute: config.wrong_keys_per_minute,
            guesses: RateLimiter::new(GUESSERS),
        }
    }

    /// Whether everybody may call.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// What opens the stream of events of one job in place of the key, and nothing else. It follows from the key and the job's id,
    /// so that it is the same on every node and after a restart, and ends with the key. `None` where no key is asked for.
    pub(crate) fn ticket(&self, owner: &str, id: Uuid) -> Option<String> {
        let key = self.keys.iter().find(|key| key.caller.owner == owner && !key.caller.disabled)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key.hash).ok()?;
        mac.update(b"events");
        mac.update(id.as_bytes());
        Some(hex::encode(mac.finalize().into_bytes()))
    }

    /// Finds the caller: 401 without a good key, 429 if too many wrong ones came from there, 403 if the key is not for this.
    /// A good key is good whatever else comes from its address.
    pub(crate) fn admit<R: Right>(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Admitted<R>, Failure> {
        let caller = self.caller(headers, address, R::PERMISSION)?;
        Ok(Admitted { caller, right: PhantomData })
    }

    fn caller(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
        wanted: Permission,
    ) -> Result<Arc<Caller>, Failure> {
        if self.keys.is_empty() {
            return Ok(self.open.clone());
        }
        let given = self.presented(headers).ok_or_else(|| match bearer(headers) {
            Some(_) => Failure::no_bearer(),
            None => Failure::no_key(),
        })?;
        let hash: [u8; 32] = Sha256::digest(given).into();
        // Looks at every key whatever is found, so that the time tells nothing.
        let found = self
            .keys
            .iter()
            .fold(None, |found, key| if bool::from(key.hash.ct_eq(&hash)) { Some(key) } else { found });
        let caller = &found.ok_or_else(|| self.wrong(address))?.caller;
        if caller.disabled {
            return Err(Failure::forbidden("This API key is disabled; the operator can enable it"));
        }
        if !caller.permissions.contains(&wanted) {
            let what = match wanted {
                Permission::Transfer => "submit requests",
                Permission::Read => "read results",
            };
            return Err(Failure::forbidden(format!(
                "This API key may not {what}; the operator can allow it"
            )));
        }
        Ok(caller.clone())
    }

    /// The answer to a wrong key.
    fn wrong(&self, address: Option<IpAddr>) -> Failure {
        let Some(address) = address else { return Failure::bad_key() };
        match self.guesses.take(&machine(address), self.wrong_keys_per_minute, Instant::now()) {
            Ok(()) => Failure::bad_key(),
            Err(wait) => Failure::guessing(wait),
        }
    }

    /// Whose share of memory, queue and turns a request takes: its key's, or on an open server its machine's.
    pub(crate) fn client(&self, caller: &Caller, address: Option<IpAddr>) -> String {
        match address {
            _ if !self.keys.is_empty() => caller.owner.clone(),
            Some(address) => machine(address),
            None => caller.owner.clone(),
        }
    }

    fn presented<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let key =
            headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii()).filter(|key| !key.is_empty());
        key.or_else(|| self.bearer.then(|| bearer(headers)).flatten())
    }
}

/// The token of `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// What tells machines apart: the address, or for IPv6 its network, as every machine has many addresses.
fn machine(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V6(address) => format!("{}/64", Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        address @ IpAddr::V4(_) => address.to_string(),
    }
}

/// The credits of the keys that have a quota.
pub(crate) fn quotas(config: &Config) -> BTreeMap<String, u64> {
    config.keys.iter().filter_map(|entry| Some((entry.id.clone(), entry.credits?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn ring(file: &str, plain: &[&str]) -> KeyRing {
        let mut config: Config = toml::from_str(file).unwrap();
        config.api_key = plain.iter().map(|key| Secret((*key).to_owned())).collect();
        KeyRing::new(&config)
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    /// SHA-256 of `secret`.
    const ENTRY: &str = "[[keys]]\nid = \"studio\"\nsha256 = \"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"\n";

    #[test]
    fn an_open_server_takes_everybody() {
        let ring = ring("", &[]);
        for headers in [HeaderMap::new(), with("x-api-key", "anything")] {
            assert_eq!(ring.admit::<Transfer>(&headers, None).unwrap().owner, OPEN);
        }
    }

    #[test]
    fn whose_share() {
        let caller = Caller::unlimited("x".to_owned(), 0);
        let open = ring("", &[]);
        let client = |address: &str| open.client(&caller, Some(address.parse().unwrap()));
        assert_eq!(client("1.2.3.4"), "1.2.3.4");
        assert_eq!(client("::ffff:1.2.3.4"), "1.2.3.4");
        assert_eq!(client("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
        assert_eq!(open.client(&caller, None), "x");
        assert_eq!(ring("", &["K"]).client(&caller, Some("1.2.3.4".parse().unwrap())), "x");
    }

    #[test]
    fn keys_plain_and_hashed() {
        let ring = ring(ENTRY, &["K", "K2"]);
        let owner = |key: &str| {
            ring.admit::<Transfer>(&with("x-api-key", key), None).map(|caller| caller.owner.clone())
        };
        assert_eq!(owner("secret").unwrap(), "studio");
        assert_eq!(owner(" secret ").unwrap(), "studio");
        assert_ne!(owner("K").unwrap(), owner("K2").unwrap());
        assert_eq!(owner("K").unwrap().len(), "key-".len() + 16);
        assert_eq!(owner("BAD").unwrap_err(), Failure::bad_key());
        assert_eq!(owner("").unwrap_err(), Failure::no_key());
        assert_eq!(ring.admit::<Read>(&HeaderMap::new(), None).unwrap_err(), Failure::no_key());
        let bearer = ring.admit::<Read>(&with("authorization", "Bearer K"), None);
        assert_eq!(bearer.unwrap_err(), Failure::no_bearer(), "off unless switched on");
    }

    #[test]
    fn bearer_where_it_is_switched_on() {
        let ring = ring("bearer = true", &["K"]);
        assert!(ring.admit::<Read>(&with("authorization", "bearer K"), None).is_ok());
        assert_eq!(
            ring.admit::<Read>(&with("authorization", "Basic K"), None).unwrap_err(),
            Failure::no_key()
        );
    }

    #[test]
    fn wrong_keys_are_counted_by_address() {
        let ring = ring("wrong_keys_per_minute = 2", &["K"]);
        let status = |key: &str, address: &str| {
            let admitted = ring.admit::<Read>(&with("x-api-key", key), Some(address.parse().unwrap()));
            admitted.map_or_else(|failure| failure.status.as_u16(), |_| 200)
        };
        assert_eq!([0; 4].map(|_| status("BAD", "1.2.3.4")), [401, 401, 429, 429]);
        assert_eq!(status("BAD", "::ffff:1.2.3.4"), 429, "another name of the same address");
        assert_eq!(status("BAD", "1.2.3.5"), 401);
        assert_eq!(status("K", "1.2.3.4"), 200, "a good key is good wherever it comes from");
        let missing = ring.admit::<Read>(&HeaderMap::new(), Some("1.2.3.4".parse().unwrap()));
        assert_eq!(missing.unwrap_err(), Failure::no_key(), "none at all is no guess");
        assert_eq!([0; 3].map(|_| status("BAD", "2001:db8::1")), [401, 401, 429]);
        assert_eq!(status("BAD", "2001:db8::ffff"), 429, "one machine has a whole network of addresses");
    }

    #[test]
    fn rights() {
        fn admitted<R: Right>(more: &str) -> Result<Admitted<R>, http::StatusCode> {
            let ring = ring(&format!("{ENTRY}{more}"), &[]);
            ring.admit(&with("x-api-key", "secret"), None).map_err(|failure| failure.status)
        }
        assert!(admitted::<Read>("permissions = [\"read\"]").is_ok());
        assert_eq!(admitted::<Transfer>("permissions = [\"read\"]").unwrap_err(), 403);
        assert_eq!(admitted::<Read>("disabled = true").unwrap_err(), 403);
        let caller = admitted::<Transfer>("models = [\"other\"]").unwrap();
        assert_eq!(caller.check_model("material-transfer").unwrap_err().status, 403);
        assert!(caller.check_model("other").is_ok());
    }
}
