//! Tells the ends of jobs to the URLs that asked for it, beside all other work: a receiver that does not answer costs nobody
//! but those who named it. What is to be told waits in the store, so that it survives a restart.
//!
//! Messages are signed as the Standard Webhooks specification says, for which receivers find libraries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::RequestError;
use api::response::{Delivery, Webhook as Told};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use fetch::FetchError;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jobs::{Notice, Try, Webhook};
use sha2::Sha256;
use tokio::task::JoinSet;
use url::Url;

use crate::lifecycle::Phase;
use crate::rate::utc;
use crate::routes::message;
use crate::state::App;

/// How many messages are under way at the same time, and how many of them to one receiver.
const AT_ONCE: usize = 32;
const EACH: usize = 2;
/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long other nodes leave a message to this one.
const LEASE: Duration = Duration::from_secs(60);
/// How often is looked for messages whose time has come.
const REST: Duration = Duration::from_secs(1);
/// How long after each failed try the next one comes, in seconds: nine tries within eight hours.
const DELAYS: [u64; 8] = [5, 60, 300, 900, 1800, 3600, 7200, 14_400];
/// A receiver that answers so wants no more of it.
const GONE: u16 = 410;

/// Signs messages.
#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha256>);

impl Signer {
    /// From the operator's setting. `Err` is what is wrong with it.
    pub(crate) fn new(secret: &str) -> Result<Self, &'static str> {
        let bytes = match secret.trim().strip_prefix("whsec_") {
            Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|_| "must be base64 after whsec_")?,
            None => secret.trim().as_bytes().to_vec(),
        };
        if bytes.len() < 16 {
            return Err("must have at least 16 characters, or 16 bytes in base64 after whsec_");
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| "cannot be used as a key")
    }

    /// The value of `webhook-signature`.
    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Checks a URL that a request wants its end told to.
pub(crate) fn wanted(app: &App, base: &str, url: Option<&Url>) -> Result<Option<Webhook>, RequestError> {
    let Some(url) = url else { return Ok(None) };
    let refused = |reason: String| RequestError::field("webhook_url", reason);
    if app.config.webhook_secret.is_none() {
        return Err(refused("webhooks are switched off; the operator can set webhook_secret".to_owned()));
    }
    app.fetcher.permits(url).map_err(|error| refused(words(&error)))?;
    let lane = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0));
    Ok(Some(Webhook { url: url.to_string(), lane, base: base.to_owned() }))
}

/// How far the end of a job has been told, for its status.
pub(crate) fn told(notice: Option<&Notice>) -> Told {
    let moment = |ms: u64| utc(UNIX_EPOCH + Duration::from_millis(ms));
    let Some(notice) = notice else { return Told { state: "pending", tries: Vec::new(), next_try_at: None } };
    let state = match notice.next_at {
        Some(_) => "pending",
        None if notice.is_delivered() => "delivered",
        None => "failed",
    };
    let tries =
        notice.tries.iter().map(|each| Delivery { at: moment(each.at), outcome: each.outcome.clone() });
    Told { state, tries: tries.collect(), next_try_at: notice.next_at.map(moment) }
}

/// Delivers until the server stops.
pub(crate) async fn run(app: Arc<App>) {
    let secret = app.config.webhook_secret.as_ref();
    let Some(signer) = secret.and_then(|secret| Signer::new(&secret.0).ok()) else { return };
    let mut under_way: HashMap<tokio::task::Id, String> = HashMap::new();
    let mut sends = JoinSet::new();
    while app.lifecycle.phase() < Phase::Stopping {
        for notice in due(&app, &under_way).await {
            let lane = notice.job.webhook.as_ref().map(|webhook| webhook.lane.clone()).unwrap_or_default();
            let (app, signer) = (app.clone(), signer.clone());
            let task = sends.spawn(async move { deliver(&app, &signer, &notice).await });
            under_way.insert(task.id(), lane);
        }
        tokio::select! {
            Some(done) = sends.join_next_with_id() => {
                let id = done.map_or_else(|error| error.id(), |(id, ())| id);
                under_way.remove(&id);
            }
            () = tokio::time::sleep(REST) => {}
            () = app.lifecycle.reached(Phase::Stopping) => {}
        }
    }
}

/// What there is to be told now, as far as there is room.
async fn due(app: &App, under_way: &HashMap<tokio::task::Id, String>) -> Vec<Arc<Notice>> {
    let room = AT_ONCE.saturating_sub(under_way.len());
    // What could not be noted would be told again and again.
    if room == 0 || app.jobs.unwell().is_some() {
        return Vec::new();
    }
    let busy: Vec<String> = under_way.values().cloned().collect();
    let taken = app.jobs.take_notices(&busy, EACH, room, LEASE).await;
    taken.unwrap_or_else(|error| {
        tracing::debug!(%error, "it is not known what webhooks are due");
        Vec::new()
    })
}

/// Sends a message and notes what became of it.
async fn deliver(app: &App, signer: &Signer, notice: &Notice) {
    let id = notice.job.id;
    let outcome = send(app, signer, notice).await;
    let (taken, last, outcome) = match outcome {
        Ok(status) => ((200..300).contains(&status), status == GONE, format!("HTTP {status}")),
        Err(reason) => (false, false, reason),
    };
    let again = DELAYS.get(notice.tries.len()).filter(|_| !taken && !last).map(|seconds| {
        // Not all that failed together come back together.
        Duration::from_millis(seconds * 1000 + seconds * (id.as_u128() % 100) as u64)
    });
    match (taken, again) {
        (true, _) => tracing::info!(%id, outcome, "a webhook was delivered"),
        (false, Some(_)) => tracing::info!(%id, outcome, "a webhook was not delivered; it is tried again"),
        (false, None) => tracing::warn!(%id, outcome, "a webhook was not delivered and is given up"),
    }
    if let Err(error) = app.jobs.note_try(id, Try { at: app.jobs.now(), taken, outcome }, again).await {
        tracing::error!(%id, %error, "a try to deliver a webhook could not be noted; it may come twice");
        tokio::time::sleep(REST).await;
    }
}

/// The status of the receiver's answer, or why there is none.
async fn send(app: &App, signer: &Signer, notice: &Notice) -> Result<u16, String> {
    let unsendable = || "it cannot be sent".to_owned();
    let webhook = notice.job.webhook.as_ref().ok_or_else(unsendable)?;
    let url = Url::parse(&webhook.url).map_err(|_| unsendable())?;
    let message = message(&notice.job, &webhook.base).map_err(|_| unsendable())?;
    let body = Bytes::from(message.to_string());
    let id = notice.job.id.to_string();
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("webhook-signature", signer.sign(&id, timestamp, &body)),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-id", id),
    ] {
        let value = HeaderValue::from_str(&value).map_err(|_| unsendable())?;
        headers.insert(HeaderName::from_static(name), value);
    }
    app.fetcher.post(&url, headers, body, PATIENCE).await.map_err(|error| words(&error))
}

/// The guard's reasons without what they say of pictures.
fn words(error: &FetchError) -> String {
    match error {
        FetchError::Failed(reason) => (*reason).to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification.
    #[test]
    fn the_signature_is_the_standard_one() {
        let signer = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        for bad in ["", "short", "whsec_!", "whsec_c2hvcnQ="] {
            assert!(Signer::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_is_tried_for_hours() {
        assert!(DELAYS.len() + 1 >= 8 && DELAYS.iter().sum::<u64>() > 6 * 3600);
        assert!(DELAYS.is_sorted());
    }
}
