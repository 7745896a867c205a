//! Telling something to a program at a URL that a stranger gave, behind the same guard as fetching.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use url::Url;

use crate::{FetchError, Fetcher, reason};

impl Fetcher {
    /// Whether this URL may be called, as far as can be told without resolving its name.
    ///
    /// # Errors
    /// [`FetchError::BadUrl`], [`FetchError::NotAllowed`] or [`FetchError::Port`].
    pub fn permits(&self, url: &Url) -> Result<(), FetchError> {
        self.client_for(url).map(|_| ())
    }

    /// Sends `body` to `url` by POST, within `timeout`, and returns the status of the answer, whose body is not read. A redirect
    /// is not followed.
    ///
    /// # Errors
    /// [`FetchError::NotAllowed`] and its like, or [`FetchError::Failed`] if there was no answer.
    pub async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<u16, FetchError> {
        let request = self.client_for(url)?.post(url.clone()).headers(headers).body(body).timeout(timeout);
        let answer = request.send().await.map_err(|error| reason(&error, url))?;
        Ok(answer.status().as_u16())
    }
}
