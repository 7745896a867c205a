//! The one configuration struct. Each setting is declared once, with its meaning and its default; the file, the
//! environment, the table in `docs/configuration.md` and the commented `configs/server.toml` all follow from that.
//!
//! Precedence: defaults < file < environment (`MATERIAL_TRANSFER_` and the name in capitals) < command line.

use std::path::PathBuf;

use fetch::{Cidr, ProxyUrl};
use pipeline::{DecodeLimits, DeviceChoice};
use serde::{Deserialize, Serialize};
use toml::Table;
use url::Url;

mod check;
mod document;
mod key;
mod load;
mod value;

pub use crate::checker::{CheckStage, Unchecked};
pub use document::{explained, markdown_table, toml_file};
pub use key::{KeyEntry, Permission};
pub use load::value_of;
pub use value::{Listen, Secret, Size, Span};

/// What the names of environment variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "MATERIAL_TRANSFER_";

/// One setting, for documents.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// Its doc comment, line by line.
    pub(crate) lines: &'static [&'static str],
}

macro_rules! settings {
    ($($(#[doc = $line:literal])+ $name:ident: $kind:ty = $default:expr;)+) => {
        /// All settings of the server. See `docs/configuration.md`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Config {
            $($(#[doc = $line])+ pub $name: $kind,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// Every setting, in the order of the struct.
        pub(crate) const SETTINGS: &[Setting] = &[$(Setting { name: stringify!($name), lines: &[$($line),+] },)+];
    };
}

settings! {
    /// Address and port to listen on. `0.0.0.0:8000` to be reached from other machines.
    listen: Listen = Listen::default();
    /// Folder for jobs and pictures. Each server has its own.
    data_dir: PathBuf = "data".into();
    /// PostgreSQL that many servers and workers share, in place of the data folder: `postgres://user:password@host/name`. Other hosts must speak TLS unless it says `?sslmode=disable`; `&sslrootcert=FILE` trusts an authority of one's own. A flag shows in the list of processes; the environment and `database_file` do not.
    database: Option<Secret> = None;
    /// File with that address.
    database_file: Option<PathBuf> = None;
    /// Schema of our tables in the database; made if it is not there.
    database_schema: String = "material_transfer".into();
    /// Connections of this server to the database at most, besides one that listens.
    database_connections: usize = 8;
    /// S3-compatible store for pictures, with the database: `s3://bucket/prefix`. Credentials, region and endpoint are those of the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`.
    files: String = String::new();
    /// Serve the API. `false`: only work for other servers, with `/health` and `/metrics`; what the command `worker` does.
    api: bool = true;
    /// What this server calls itself among many. Empty: the host's name.
    node_name: String = String::new();
    /// Profile of the engine: a name, or a path to a profile file.
    profile: String = "exemplar".into();
    /// Device of the engine: `auto`, `cpu`, `cuda` or `metal`; `cuda:1` is the second GPU.
    device: DeviceChoice = DeviceChoice::Auto;
    /// Devices in place of `device`, for several GPUs: the first worker takes the first of them, and so on, beginning anew after the last.
    devices: Vec<DeviceChoice> = Vec::new();
    /// Workers, each with an engine of its own. Not given: one, or as many as there are `devices`. 0, with a database: others work.
    workers: usize = 1;
    /// Jobs whose output has at most so many pixels, at the default number of steps (fewer with more steps), are computed in between while one of four times their cost is; they take half of the time at most. 0: every job waits for its turn. No effect with profiles that do not keep all networks in memory.
    overtaking_pixels: u64 = 512 * 512;
    /// Threads that compute on the CPU, one pool for all workers. 0: one per processor.
    threads: usize = 0;
    /// The base of all URLs in answers, path prefix included, such as `https://pictures.example/api`. Unset: what the client reached.
    public_url: Option<Url> = None;
    /// Path under which all routes live, such as `/api`, for a proxy that does not strip it.
    path_prefix: String = String::new();
    /// Address ranges of proxies whose `X-Forwarded-Host`, `-Proto` and `-Prefix` are believed.
    trusted_proxies: Vec<Cidr> = Vec::new();
    /// Keys with all rights, in the clear. No key here and none under `keys`: the server is open.
    api_key: Vec<Secret> = Vec::new();
    /// File with keys with all rights, one on each line; read at the start. A flag shows in the list of processes, a file does not.
    api_key_file: Option<PathBuf> = None;
    /// Keys by their SHA-256, with rights, credits and rates; `[[keys]]` sections at the end of the file.
    keys: Vec<KeyEntry> = Vec::new();
    /// Take keys as `Authorization: Bearer` too.
    bearer: bool = false;
    /// Transfers per minute for each key that does not say otherwise. 0: no limit.
    requests_per_minute: u32 = 0;
    /// Requests with a wrong key that one address may send in a minute (for IPv6 one /64 network); more are answered 429. Right keys are always taken. 0: no limit.
    wrong_keys_per_minute: u32 = 120;
    /// Origins that browsers may call from, such as `https://app.example`; `*` is all. `auto`: all where keys are asked for, none but the server's own on an open one.
    cors_origins: Vec<String> = vec!["auto".into()];
    /// How long results are kept after the end of a job.
    result_ttl: Span = Span::seconds(3600);
    /// How long the pictures of results are kept, if longer than the results.
    file_ttl: Span = Span::seconds(0);
    /// Jobs that may wait; more are answered 429.
    queue_limit: usize = 100;
    /// Jobs of one key that may wait (on an open server: of one machine); more are answered 429. Keys are served in turn.
    queue_limit_per_key: usize = 50;
    /// Jobs that are over and kept at most; half of them for one key. Failed ones go first; new work is refused if there are none.
    keep_jobs: usize = 20_000;
    /// Bytes of pictures of results and uploads that are kept at most; half of them for one key. With more, new work is answered 429.
    keep_files: Size = Size(16 << 30);
    /// Files that one key may have uploaded and kept.
    upload_files: usize = 1000;
    /// Bytes of files that one key may have uploaded and kept.
    upload_bytes: Size = Size(1 << 30);
    /// Bytes left alone on the disk of the data folder: with less, new work is answered 503.
    disk_reserve: Size = Size(256 << 20);
    /// Accept invalid v2 bodies and let the job fail, as the hosted service does.
    validate_late: bool = false;
    /// How long a v1 call waits for its picture before it is answered 504. The job goes on.
    v1_deadline: Span = Span::seconds(600);
    /// How long one job may compute; then it fails, and costs nothing.
    job_timeout: Span = Span::seconds(1800);
    /// How often a waiting v1 call of the Python SDK is kept alive with `102 Processing`. Its read timeout is 30 s. `0s`: never.
    keep_alive: Span = Span::seconds(15);
    /// How long running jobs may go on after a signal to stop; then they go back to the queue.
    shutdown_grace: Span = Span::seconds(30);
    /// A worker that is silent for so long has lost its job to the queue.
    lease: Span = Span::seconds(30);
    /// Connections at the same time; half of them from one address. At the limit the one that is idle for longest is closed. Fewer where the limit of open files does not allow so many.
    max_connections: usize = 2048;
    /// Polls that wait (`?wait=`) and streams of events at the same time; half of them for one key. Beyond that polls are answered at once, and streams 503.
    max_waiting: usize = 1024;
    /// The largest request body.
    max_body: Size = Size(64 << 20);
    /// The memory that all request bodies may take together, a quarter of it for those of up to 1 MiB. When there is no room for 15 s, a request is answered 503.
    body_memory: Size = Size(192 << 20);
    /// The most steps a request may ask for.
    max_steps: u32 = 150;
    /// The most pixels of an input picture.
    max_pixels: u64 = DecodeLimits::default().max_pixels;
    /// Memory for decoding pictures, of all requests and workers together; one that takes more is refused. Unset: what the limit of memory leaves beside all other budgets, between 192 MiB and 768 MiB. 100 megapixels take up to 450 MB as a baseline JPEG, 700 MB as an 8-bit PNG, 900 MB with 16 bits, 1.2 GB as a progressive JPEG of full colour.
    decode_memory: Option<Size> = None;
    /// The shortest side of an input picture, in pixels.
    min_side: u32 = DecodeLimits::default().min_side;
    /// The most pixels of an output picture. A larger one is made smaller, whatever `max_width` and `max_height` ask for.
    max_output_pixels: u64 = 1920 * 1920;
    /// Jobs whose pictures are fetched at the same time; a quarter of them from one host, half for one key.
    fetch_at_once: usize = 8;
    /// The largest input picture to be fetched, in bytes.
    fetch_max_bytes: Size = Size(32 << 20);
    /// How long connecting to an image host may take.
    fetch_connect_timeout: Span = Span::seconds(10);
    /// How long fetching one picture may take, redirects included.
    fetch_timeout: Span = Span::seconds(60);
    /// Address ranges to fetch from although they are not public, such as `192.168.1.0/24`.
    fetch_allow: Vec<Cidr> = Vec::new();
    /// Address ranges never to fetch from, even if allowed above.
    fetch_deny: Vec<Cidr> = Vec::new();
    /// HTTP proxy for fetching pictures (`http` or `https`). It resolves names itself, so it has to guard the private ranges itself. The proxy variables of the environment are not looked at.
    fetch_proxy: Option<ProxyUrl> = None;
    /// Ports that pictures are fetched from; none: all. Ranges in `fetch_allow` are open on every port.
    fetch_ports: Vec<u16> = vec![80, 443];
    /// Secret that messages to `webhook_url` are signed with: any text of 16 characters or more, or `whsec_` and base64. Unset: requests with a `webhook_url` are refused.
    webhook_secret: Option<Secret> = None;
    /// Service that is asked whether pictures may be used and shown, such as `http://127.0.0.1:9000/check`. Unset, and no `check_command`: nobody is asked.
    check_url: Option<Url> = None;
    /// Sent to `check_url` as `Authorization: Bearer`.
    check_token: Option<Secret> = None;
    /// Program and arguments, run without a shell, in place of `check_url`.
    check_command: Vec<String> = Vec::new();
    /// What the checker is shown: `input` is every picture of a request, `output` every picture of a result.
    check_stages: Vec<CheckStage> = vec![CheckStage::Input, CheckStage::Output];
    /// How long the checker may take for one picture.
    check_timeout: Span = Span::seconds(10);
    /// Pictures that it looks at at the same time.
    check_at_once: usize = 4;
    /// What becomes of a job whose pictures could not be checked, as the checker is down, slow or not understood: `refuse` or `allow`.
    check_failure: Unchecked = Unchecked::Refuse;
    /// Models that are switched off: answered 410.
    retired_models: Vec<String> = Vec::new();
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: line {line}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1. It is not shown, as it may hold a key or a password.
        line: usize,
        /// What was expected.
        reason: String,
    },
    /// A name that is no setting.
    #[error("{origin}: there is no setting `{name}`{}", .similar.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// File, environment or command line.
        origin: String,
        /// The name.
        name: String,
        /// A setting that looks like it.
        similar: Option<&'static str>,
    },
    /// A value of the wrong kind or out of range.
    #[error("{origin}: `{name}`: {reason}")]
    Value {
        /// File, environment variable or command line.
        origin: String,
        /// The setting.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Whether there is a setting of that name that has a variable.
#[must_use]
pub fn has_variable(name: &str) -> bool {
    name != "keys" && SETTINGS.iter().any(|setting| setting.name == name)
}

impl Config {
    /// The device of a worker, by its number from 0.
    #[must_use]
    pub fn device_of(&self, worker: usize) -> DeviceChoice {
        match self.devices.len() {
            0 => self.device,
            count => self.devices[worker % count],
        }
    }

    /// What may be fetched from where.
    #[must_use]
    pub fn fetch_policy(&self) -> fetch::Policy {
        fetch::Policy {
            max_bytes: self.fetch_max_bytes.0,
            connect_timeout: self.fetch_connect_timeout.0,
            timeout: self.fetch_timeout.0,
            allow: self.fetch_allow.clone(),
            deny: self.fetch_deny.clone(),
            ports: self.fetch_ports.clone(),
            proxy: self.fetch_proxy.clone(),
        }
    }

    /// What a picture may weigh.
    #[must_use]
    pub fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits {
            max_pixels: self.max_pixels,
            min_side: self.min_side,
            max_bytes: crate::memory::for_decoding(self),
        }
    }

    /// What a request may ask for.
    #[must_use]
    pub fn request_limits(&self) -> api::Limits {
        api::Limits { max_steps: self.max_steps, ..api::Limits::default() }
    }
}

/// The defaults as a table; unset options are not in it.
pub(crate) fn defaults() -> Table {
    Table::try_from(Config::default()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
