//! What the values of settings must be beside of their kind: ranges, and what they mean together. And the keys that stand
//! in a file of their own.

use std::time::Duration;

use super::load::value_error;
use super::{Config, ConfigError, Secret, Span};

/// The longest span of time that can be set; what is longer is a mistake.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

impl Config {
    /// What single values cannot show.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |name: &str, reason: &str| Err(value_error("configuration", name, reason.to_owned()));
        if !self.path_prefix.is_empty()
            && (!self.path_prefix.starts_with('/') || self.path_prefix.ends_with('/'))
        {
            return refuse("path_prefix", "begins with a slash and does not end with one, such as /api");
        }
        if let Some(url) = &self.public_url
            && !(matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none())
        {
            return refuse("public_url", "must be an absolute http or https URL without a query");
        }
        self.check_sharing()?;
        self.check_checker()?;
        if self.max_steps == 0 {
            return refuse("max_steps", "must be at least 1");
        }
        if self.workers < self.devices.len() {
            return refuse("workers", "every one of the `devices` needs a worker: raise it, or leave it out");
        }
        let counts = [
            ("queue_limit", self.queue_limit),
            ("queue_limit_per_key", self.queue_limit_per_key),
            ("keep_jobs", self.keep_jobs),
            ("max_connections", self.max_connections),
            ("fetch_at_once", self.fetch_at_once),
            ("max_body", self.max_body.0),
            ("check_at_once", self.check_at_once),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return refuse(name, "must be at least 1");
        }
        if self.max_output_pixels < 64 * 64 {
            return refuse("max_output_pixels", "must be at least 4096");
        }
        if self.body_memory.0 < self.max_body.0 {
            return refuse("body_memory", "must be at least max_body");
        }
        for (name, span, least) in self.spans() {
            if span.0 < least {
                return refuse(name, &format!("must be at least {}", Span(least)));
            }
            if span.0 > LONGEST {
                return refuse(name, &format!("must be at most {}", Span(LONGEST)));
            }
        }
        if let Some(secret) = &self.webhook_secret
            && let Err(reason) = crate::webhooks::Signer::new(&secret.0)
        {
            return refuse("webhook_secret", reason);
        }
        if self.api_key.iter().any(|key| key.0.trim().is_empty()) {
            return refuse("api_key", "an API key must not be empty");
        }
        for (at, key) in self.keys.iter().enumerate() {
            if crate::keys::is_reserved(&key.id) {
                return refuse("keys", &format!("the id {:?} is taken; choose another one", key.id));
            }
            if self.keys[..at].iter().any(|other| other.id == key.id) {
                return refuse("keys", &format!("there are two keys with the id {:?}", key.id));
            }
        }
        Ok(())
    }

    /// What belongs to a shared home, and to no other.
    fn check_sharing(&self) -> Result<(), ConfigError> {
        let refuse = |name: &str, reason: &str| Err(value_error("configuration", name, reason.to_owned()));
        let shared = self.database.is_some();
        if self.workers == 0 && !shared {
            return refuse(
                "workers",
                "must be at least 1, for there is no `database` that others could work for",
            );
        }
        if self.workers == 0 && !self.api {
            return refuse(
                "workers",
                "must be at least 1 where there is no `api`: there would be nothing to do",
            );
        }
        if !self.api && !shared {
            return refuse("api", "can be false only with a `database`");
        }
        if shared && !self.files.starts_with("s3://") {
            return refuse(
                "files",
                "with a `database` there must be a place for pictures, such as s3://bucket/prefix",
            );
        }
        if !shared && !self.files.is_empty() {
            return refuse("files", "is of use only with a `database`");
        }
        if self.database_connections < 2 {
            return refuse("database_connections", "must be at least 2");
        }
        Ok(())
    }

    /// What is asked about pictures.
    fn check_checker(&self) -> Result<(), ConfigError> {
        let refuse = |name: &str, reason: &str| Err(value_error("configuration", name, reason.to_owned()));
        if let Some(url) = &self.check_url {
            if !(matches!(url.scheme(), "http" | "https") && url.has_host()) {
                return refuse("check_url", "must be an absolute http or https URL");
            }
            if !url.username().is_empty() || url.password().is_some() {
                return refuse("check_url", "must not hold a password; use check_token");
            }
            if !self.check_command.is_empty() {
                return refuse("check_command", "there is a `check_url` too; give one of the two");
            }
        }
        if let Some(reason) = crate::checker::missing(&self.check_command) {
            return refuse("check_command", &reason);
        }
        let asked = self.check_url.is_some() || !self.check_command.is_empty();
        if asked && self.check_stages.is_empty() {
            return refuse("check_stages", "must be input, output or both");
        }
        Ok(())
    }

    /// Takes the address of the database from its file.
    pub(super) fn read_database(&mut self) -> Result<(), ConfigError> {
        let Some(path) = &self.database_file else { return Ok(()) };
        let refuse = |reason: String| value_error("configuration", "database_file", reason);
        let text = std::fs::read_to_string(path)
            .map_err(|error| refuse(format!("cannot read {}: {error}", path.display())))?;
        if self.database.is_some() {
            return Err(refuse("there is a `database` too; give one of the two".to_owned()));
        }
        self.database = Some(Secret(text.trim().to_owned()));
        Ok(())
    }

    /// Every span of time, and the least it may be.
    fn spans(&self) -> [(&'static str, Span, Duration); 10] {
        let (none, moment, second) = (Duration::ZERO, Duration::from_millis(10), Duration::from_secs(1));
        [
            ("result_ttl", self.result_ttl, second),
            ("file_ttl", self.file_ttl, none),
            ("v1_deadline", self.v1_deadline, moment),
            ("job_timeout", self.job_timeout, second),
            ("keep_alive", self.keep_alive, if self.keep_alive.0.is_zero() { none } else { moment }),
            ("shutdown_grace", self.shutdown_grace, none),
            ("lease", self.lease, second),
            ("fetch_connect_timeout", self.fetch_connect_timeout, moment),
            ("fetch_timeout", self.fetch_timeout, moment),
            ("check_timeout", self.check_timeout, moment),
        ]
    }

    /// Adds the keys of the file of keys.
    pub(super) fn read_keys(&mut self) -> Result<(), ConfigError> {
        let Some(path) = &self.api_key_file else { return Ok(()) };
        let refuse = |reason: String| value_error("configuration", "api_key_file", reason);
        let text = std::fs::read_to_string(path)
            .map_err(|error| refuse(format!("cannot read {}: {error}", path.display())))?;
        let keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let before = self.api_key.len();
        self.api_key.extend(keys.map(|key| Secret(key.to_owned())));
        if self.api_key.len() == before {
            return Err(refuse(format!("there is no key in {}", path.display())));
        }
        Ok(())
    }
}
