//! Every error answer of the server: a status and `{"error": "…"}`. The texts are what people and programs see; the ones
//! that the hosted service is known to use are kept.

use std::time::Duration;

use api::{ErrorBody, RequestError};
use axum::Json;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::state::SLUG;

/// A refused or failed request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    body: ErrorBody,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The one sentence about faults of ours; what happened stands in the log.
pub(crate) const INTERNAL: &str = "Internal server error";

impl Failure {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, body: ErrorBody::new(error), headers: Vec::new() }
    }

    pub(crate) fn no_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Missing Authorization or x-api-key in header")
    }

    /// The key came as a bearer token, which is not looked at.
    pub(crate) fn no_bearer() -> Self {
        let error = "Missing x-api-key in header: Authorization is not read here; send the key in x-api-key, or have the \
             operator set bearer";
        Self::new(StatusCode::UNAUTHORIZED, error)
    }

    pub(crate) fn bad_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized. API key is invalid or may have expired.")
    }

    /// An address that has tried many wrong keys tried another one.
    pub(crate) fn guessing(wait: Duration) -> Self {
        let seconds = whole_seconds(wait);
        let error = format!("Too many requests with wrong API keys. Retry in {seconds} s");
        Self::new(StatusCode::TOO_MANY_REQUESTS, error).retry_after(wait).reset(wait)
    }

    pub(crate) fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, error)
    }

    /// A file that is not there, or not any more.
    pub(crate) fn no_file() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "File not found; files are kept as long as the results they belong to",
        )
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found; /docs lists all routes")
    }

    /// A path that no route has; with what was probably meant, if that can be seen.
    pub(crate) fn no_route(path: &str) -> Self {
        let meant = match path {
            "/material-transfer" => "/v1/material-transfer (the base URL ends with /v1)",
            _ if path.starts_with("/requests/") => "/v2/requests/{id} (the base URL ends with /v1)",
            _ if path.ends_with("/v1/material-transfer") || path.ends_with("/v2/material-transfer") => {
                "/v1/material-transfer (the path has one /v1)"
            }
            _ => return Self::not_found(),
        };
        Self::new(StatusCode::NOT_FOUND, format!("Not found; did you mean {meant}?"))
    }

    pub(crate) fn no_model(slug: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Model {slug} not found; this server has {SLUG}"))
    }

    pub(crate) fn retired(slug: &str) -> Self {
        Self::new(
            StatusCode::GONE,
            format!("Model {slug} is no longer available: the operator has switched it off"),
        )
    }

    pub(crate) fn no_request(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Request {id} not found"))
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed; the header Allow names the right ones")
    }

    /// No word here may be "credit": clients take that for an empty account.
    pub(crate) fn content_type(given: &str) -> Self {
        let error = match given {
            "" => "Invalid content type. None was sent; use application/json or multipart/form-data",
            _ => "Invalid content type. Use application/json or multipart/form-data",
        };
        Self::new(StatusCode::NOT_ACCEPTABLE, error)
    }

    pub(crate) fn not_form() -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "Invalid content type. Use multipart/form-data")
    }

    /// The same in the shape that clients of OpenAI's API read.
    pub(crate) fn for_openai(self) -> Response {
        let kind = match self.status.as_u16() {
            401 | 403 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let param = self.body.details.first().map(|bad| bad.field);
        let error = json!({ "message": self.body.error, "type": kind, "param": param, "code": null });
        (self.status, AppendHeaders(self.headers), Json(json!({ "error": error }))).into_response()
    }

    pub(crate) fn not_json() -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "Invalid content type. Use application/json")
    }

    /// A compressed body.
    pub(crate) fn packed(coding: &str) -> Self {
        let coding: String = coding.chars().take(40).collect();
        let error = format!("Content-Encoding {coding} is not taken; send the body as it is");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)
    }

    /// A body that is no form.
    pub(crate) fn bad_form(reason: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Request body is not a valid form: {reason}"))
    }

    /// The client stopped in the middle.
    pub(crate) fn cut_short() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Request body was cut short; send all of it")
    }

    /// The client sends, but hardly.
    pub(crate) fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "Request body came too slowly; send it again over a faster connection",
        )
        .header(header::CONNECTION, "close")
    }

    /// No room in memory for one more body.
    pub(crate) fn busy() -> Self {
        let wait = Duration::from_secs(5);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The server is busy. Retry in 5 s").retry_after(wait)
    }

    pub(crate) fn no_credits() -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "Insufficient credits. You have 0.0 credits.")
    }

    pub(crate) fn bad_idempotency_key(longest: usize) -> Self {
        let error =
            format!("Idempotency-Key: must be 1 to {longest} visible ASCII characters without blanks");
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// A parameter of a query that is not understood.
    pub(crate) fn bad_query(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let limit = crate::config::Size(limit);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("Request body too large (limit {limit})"))
    }

    pub(crate) fn rate(wait: Duration) -> Self {
        let seconds = whole_seconds(wait);
        Self::new(StatusCode::TOO_MANY_REQUESTS, format!("Rate limit exceeded. Retry in {seconds} s"))
            .retry_after(wait)
            .reset(wait)
    }

    pub(crate) fn queue_full(wait: Duration) -> Self {
        let seconds = whole_seconds(wait);
        let error = format!("Too many requests are waiting. Retry in {seconds} s");
        Self::new(StatusCode::TOO_MANY_REQUESTS, error).retry_after(wait).reset(wait)
    }

    pub(crate) fn unavailable() -> Self {
        let wait = Duration::from_secs(5);
        Self::new(StatusCode::BAD_GATEWAY, "Service temporarily unavailable. Retry in 5 s").retry_after(wait)
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
    }

    /// The job store cannot do it; the client learns that much, the log the rest.
    fn store(error: &jobs::Error) -> Self {
        match error {
            jobs::Error::Exhausted { .. } => Self::no_credits(),
            jobs::Error::Closed => Self::unavailable(),
            jobs::Error::KeyReused { id } => {
                let error =
                    "Idempotency-Key was used for another request; use a new key for what is not the same";
                Self::new(StatusCode::CONFLICT, error).about(*id)
            }
            jobs::Error::Kept { what, wait } => {
                let error = format!("Too much is kept: {what}. Retry in {} s", whole_seconds(*wait));
                Self::new(StatusCode::TOO_MANY_REQUESTS, error).retry_after(*wait).reset(*wait)
            }
            error if error.is_disk() => {
                tracing::error!(%error, "the job store failed");
                Self::disk()
            }
            error => {
                tracing::error!(%error, "the job store failed");
                let text = "Internal server error: the request could not be stored";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }

    /// The server's disk takes nothing just now.
    pub(crate) fn disk() -> Self {
        let wait = Duration::from_secs(10);
        let text =
            "Service temporarily unavailable: the server's disk is full or cannot be written. Retry in 10 s";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(wait)
    }

    /// A page of another site calls an open server.
    pub(crate) fn cross_site() -> Self {
        let text =
            "Pages of other sites may not call this server; the operator can allow them with cors_origins";
        Self::forbidden(text)
    }

    /// A range behind the end of a file of that many bytes.
    pub(crate) fn range(length: u64) -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            format!("Range is behind the end: the file has {length} bytes"),
        )
        .header(header::CONTENT_RANGE, &format!("bytes */{length}"))
    }

    pub(crate) fn deadline() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Request timed out; the job goes on, poll its request_id")
    }

    /// Names the job that can still be polled, in the body and in the header alike.
    pub(crate) fn about(mut self, id: uuid::Uuid) -> Self {
        self.body.request_id = Some(id.to_string());
        self.header(REQUEST_ID, &id.to_string())
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Whole seconds: a well-known client feeds this header to `int()`.
    fn retry_after(self, wait: Duration) -> Self {
        self.header(header::RETRY_AFTER, &whole_seconds(wait).to_string())
    }

    fn reset(self, wait: Duration) -> Self {
        self.header(RATE_RESET, &crate::rate::utc(std::time::SystemTime::now() + wait))
    }
}

/// When a limited key may send again.
pub(crate) const RATE_RESET: HeaderName = HeaderName::from_static("x-rate-limit-reset-at-utc");

/// The job of answers that are about a job; else made up for the answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs_f64().ceil() as u64).max(1)
}

impl From<jobs::Error> for Failure {
    fn from(error: jobs::Error) -> Self {
        Self::store(&error)
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, body: ErrorBody::from(&error), headers: Vec::new() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, AppendHeaders(self.headers), Json(self.body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_cannot_do() {
        let (id, wait) = (uuid::Uuid::nil(), Duration::from_secs(7));
        let kept = jobs::Error::Kept { what: "results", wait };
        for (error, status, says) in [
            (jobs::Error::Exhausted { owner: "studio".to_owned() }, 406, "credits"),
            (jobs::Error::Closed, 502, "Retry in 5 s"),
            (jobs::Error::KeyReused { id }, 409, "use a new key"),
            (kept, 429, "results. Retry in 7 s"),
            (jobs::Error::Duplicate { id }, 500, "could not be stored"),
        ] {
            let failure = Failure::from(error);
            assert_eq!(failure.status.as_u16(), status);
            assert!(failure.body.error.contains(says), "{failure:?}");
        }
    }
}
