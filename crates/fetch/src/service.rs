//! Asking a program of the operator's own, at the one address that the configuration names.
//!
//! No stranger has a say in that address, so the guard over addresses is not asked: it may be private. What keeps it to that one
//! place is that redirects are not followed, and that no proxy is used.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use url::Url;

use crate::{FetchError, SetupError, builder, reason};

/// The most bytes of an answer.
const ANSWER: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// A status other than 200 to 299.
    #[error("it answered HTTP {0}")]
    Status(u16),
    /// No such host, no connection, a broken one, a bad certificate.
    #[error("{0}")]
    Failed(&'static str),
    /// More bytes than anybody could mean.
    #[error("its answer is longer than {ANSWER} bytes")]
    TooLong,
}

/// A program that takes JSON by POST and answers in a few words. Clones share connections.
#[derive(Debug, Clone)]
pub struct Service {
    client: reqwest::Client,
    url: Url,
    token: Option<String>,
}

impl Service {
    /// The service at `url`, `http` or `https`, which is sent `token` as `Authorization: Bearer` if there is one. Connecting takes
    /// `connect_timeout` at most; an answer takes as long as the caller waits.
    ///
    /// # Errors
    /// [`SetupError`], if there can be no client.
    pub fn new(url: Url, token: Option<String>, connect_timeout: Duration) -> Result<Self, SetupError> {
        Ok(Self { client: builder(connect_timeout).build()?, url, token })
    }

    /// Sends a JSON document and returns the answer's body.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn ask(&self, document: Bytes) -> Result<Bytes, ServiceError> {
        let request = self.client.post(self.url.clone()).header(header::CONTENT_TYPE, "application/json");
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let mut answer = request.body(document).send().await.map_err(|error| self.failed(&error))?;
        if !answer.status().is_success() {
            return Err(ServiceError::Status(answer.status().as_u16()));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(&error))? {
            if body.len() + chunk.len() > ANSWER {
                return Err(ServiceError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn failed(&self, error: &reqwest::Error) -> ServiceError {
        match reason(error, &self.url) {
            FetchError::Failed(reason) => ServiceError::Failed(reason),
            _ => ServiceError::Failed("no connection"),
        }
    }
}
