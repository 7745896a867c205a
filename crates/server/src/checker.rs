//! Asks a program of the operator's own whether pictures may be used and shown: a service at a URL, or a command.
//!
//! Either gets one JSON document for each picture (a [`Question`]) and answers with another (an [`Answer`]). Pictures that come with a
//! request are looked at while the job waits, beside those that are fetched; those that were made after the worker has turned
//! to the next job. So a checker that is slow, down or out of its mind costs no job but those that it is asked about.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use fetch::Service;
use jobs::{BlobKey, Failure, Job};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::config::Config;
use crate::error::Error;
use crate::failure::INTERNAL;
use crate::state::App;

mod command;

/// The most characters of a reason that are handed on.
const REASON: usize = 200;

/// Which pictures are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStage {
    /// Those that come with a request, before anything is computed.
    Input,
    /// Those that were made, before anybody can see them.
    Output,
}

/// What becomes of a job whose pictures could not be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unchecked {
    /// It fails.
    Refuse,
    /// It goes on.
    Allow,
}

/// What the checker is sent, one picture at a time.
#[derive(Serialize)]
struct Question<'a> {
    request_id: Uuid,
    stage: CheckStage,
    /// The picture's name in the request or in the result.
    name: &'a str,
    /// Whose job it is: the id of a key.
    owner: &'a str,
    prompt: &'a str,
    negative_prompt: &'a str,
    content_type: &'a str,
    /// The file, in base64.
    data: String,
}

/// What it says.
#[derive(Deserialize)]
struct Answer {
    allowed: bool,
    #[serde(default)]
    reason: String,
}

/// Where it is.
enum Place {
    Url(Service),
    Command(Vec<String>),
}

/// The checker of this server.
pub(crate) struct Checker {
    place: Place,
    stages: Vec<CheckStage>,
    timeout: Duration,
    unchecked: Unchecked,
    /// Questions at the same time.
    at_once: Semaphore,
}

/// Pictures of a job, and the texts that came with them.
pub(crate) struct Checked<'a> {
    pub(crate) job: &'a Job,
    pub(crate) prompt: &'a str,
    pub(crate) negative_prompt: &'a str,
    pub(crate) stage: CheckStage,
    /// By name.
    pub(crate) pictures: Vec<(&'a str, &'a BlobKey)>,
}

impl Checker {
    /// The one that the configuration names, if it names one.
    ///
    /// # Errors
    /// [`Error::Fetch`].
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, Error> {
        let place = match (&config.check_url, config.check_command.as_slice()) {
            (Some(url), _) => {
                let token = config.check_token.as_ref().map(|token| token.0.clone());
                Place::Url(Service::new(url.clone(), token, config.check_timeout.0)?)
            }
            (None, []) => return Ok(None),
            (None, command) => Place::Command(command.to_vec()),
        };
        Ok(Some(Self {
            place,
            stages: config.check_stages.clone(),
            timeout: config.check_timeout.0,
            unchecked: config.check_failure,
            at_once: Semaphore::new(config.check_at_once),
        }))
    }

    /// Whether it wants to see the pictures of this stage.
    pub(crate) fn wants(&self, stage: CheckStage) -> bool {
        self.stages.contains(&stage)
    }

    /// Has every picture looked at, one after the other, until one is refused.
    ///
    /// # Errors
    /// How the job is to fail: by its client's doing if a picture is refused, by ours if it cannot be checked and has to be.
    pub(crate) async fn check(&self, app: &App, what: &Checked<'_>) -> Result<(), Failure> {
        for (name, key) in &what.pictures {
            match self.ask(app, what, name, key).await {
                Ok(Answer { allowed: true, .. }) => {
                    app.metrics.checks.allowed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Answer { reason, .. }) => {
                    app.metrics.checks.refused.fetch_add(1, Ordering::Relaxed);
                    return Err(Failure::client(refusal(name, &reason)));
                }
                Err(reason) => {
                    app.metrics.checks.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(id = %what.job.id, name, reason, "a picture could not be checked");
                    return match self.unchecked {
                        Unchecked::Allow => Ok(()),
                        Unchecked::Refuse => {
                            Err(Failure::server(format!("{INTERNAL}: the pictures could not be checked")))
                        }
                    };
                }
            }
        }
        Ok(())
    }

    /// Asks about one picture; `Err` is why there is no answer.
    async fn ask(&self, app: &App, what: &Checked<'_>, name: &str, key: &BlobKey) -> Result<Answer, String> {
        let _turn = self.at_once.acquire().await.map_err(|error| error.to_string())?;
        let stored = app.blobs.get(key).await.map_err(|error| error.to_string())?;
        let file = stored.ok_or("it is not in the store")?;
        let question = Question {
            request_id: what.job.id,
            stage: what.stage,
            name,
            owner: &what.job.owner,
            prompt: what.prompt,
            negative_prompt: what.negative_prompt,
            content_type: api::ImageKind::sniff(&file)
                .map_or("application/octet-stream", |kind| kind.media_type()),
            data: BASE64_STANDARD.encode(&file),
        };
        let document = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
        drop((question, file));
        let asking = self.send(document.into());
        let answer = tokio::time::timeout(self.timeout, asking)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", self.timeout.as_secs_f64())))?;
        serde_json::from_slice(&answer).map_err(|error| format!("its answer is not understood: {error}"))
    }

    async fn send(&self, document: Bytes) -> Result<Bytes, String> {
        match &self.place {
            Place::Url(service) => service.ask(document).await.map_err(|error| error.to_string()),
            Place::Command(command) => command::run(command, &document).await,
        }
    }
}

/// Says in one line what is wrong with a command, if it cannot be run: a path that leads nowhere, a name that is in no folder of
/// `PATH`.
pub(crate) fn missing(command: &[String]) -> Option<String> {
    let program = command.first()?;
    let found = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
    };
    (!found).then(|| format!("there is no program {program:?}"))
}

/// The sentence for the client.
fn refusal(name: &str, reason: &str) -> String {
    let reason: String =
        reason.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(REASON).collect();
    match reason.as_str() {
        "" => format!("Content blocked: {name}"),
        reason => format!("Content blocked: {name}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_short_line() {
        assert_eq!(refusal("subject_image", ""), "Content blocked: subject_image");
        assert_eq!(refusal("output", " a\n\tb  "), "Content blocked: output: a b");
        assert_eq!(
            refusal("output", &"ü".repeat(1000)).chars().count(),
            "Content blocked: output: ".len() + REASON
        );
    }
}
