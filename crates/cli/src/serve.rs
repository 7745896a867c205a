//! `material-transfer serve`: settings, log and engine, handed to the server.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pipeline::{DeviceChoice, Engine, profile};
use server::{About, Config, EngineFactory, Error};

use crate::about;
use crate::arguments::{self, ServeArguments};
use crate::failure::Failure;
use crate::log::{self, Lines};
use crate::threads;

/// How long the end waits for the log to be written.
const LAST_LINES: Duration = Duration::from_millis(500);
/// Threads for what blocks (the disk, parsing, decoding) at most; each takes 2 MiB of addresses. What there may be of parsing and
/// decoding at a time is far less.
const BLOCKING: usize = 64;

/// Serves, or with `api` false only works for others.
pub(crate) fn run(options: &ServeArguments, api: bool) -> Result<(), Failure> {
    let log = start_log(options)?;
    let served = serve(options, api);
    log.flush(LAST_LINES);
    served
}

fn serve(options: &ServeArguments, api: bool) -> Result<(), Failure> {
    let mut settings = options.settings.table();
    if !api {
        settings.insert("api".to_owned(), toml::Value::from(false));
    }
    let config = load(options.config.as_deref(), settings)?;
    threads::set(config.threads)?;
    let about = about::program();
    let factory = engine_factory(&config, about.clone())?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()
        .context("the server does not start")?
        .block_on(server::run(config, about, factory))
        .map_err(Failure::from)
}

/// The settings of all layers.
pub(crate) fn load(file: Option<&Path>, flags: toml::Table) -> Result<Config, Failure> {
    // Variables that are no text cannot be settings, and those of other options need not be.
    let others = arguments::variables();
    let is_setting = |name: &str| {
        let setting = name.strip_prefix(server::config::ENVIRONMENT_PREFIX).map(str::to_ascii_lowercase);
        setting.is_some_and(|setting| server::config::has_variable(&setting))
    };
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_setting(name) || !others.contains(name));
    Config::load(file, environment, flags).map_err(|error| Failure::Input(error.to_string()))
}

/// Makes engines as the settings say. The profile, its weights and the devices' names are looked at now, so that a mistake in them ends
/// the start. Each worker opens its device itself: what a GPU's libraries keep is for one thread at a time.
fn engine_factory(config: &Config, about: About) -> Result<EngineFactory, Failure> {
    // Others work; their profile's weights need not be here.
    if config.workers == 0 {
        return Ok(Arc::new(|_| Err("there are no workers here".into())));
    }
    let profile = profile::load(&config.profile)
        .map_err(|error| Failure::Input(format!("the setting `profile`: {error}")))?;
    pipeline::check_files(&profile)?;
    let choices: Vec<DeviceChoice> = (0..config.workers).map(|worker| config.device_of(worker)).collect();
    choices.iter().try_for_each(|choice| choice.in_this_build())?;
    Ok(Arc::new(move |worker| {
        let choice = choices.get(worker).copied().unwrap_or_default();
        let opened = pipeline::open(choice)?;
        for warning in &opened.warnings {
            tracing::warn!(worker, "{warning}");
        }
        let why = about::reason(choice, Some(&opened));
        tracing::info!(worker, device = opened.description, why, "computing");
        about.computes_on(worker, &opened.description);
        Ok(Arc::<dyn Engine>::from(pipeline::engine(&profile, &opened.device)?))
    }))
}

/// Lets what is logged, panics included, go to standard error by way of a queue.
fn start_log(arguments: &ServeArguments) -> Result<Lines, Failure> {
    let filter = log::filter(&arguments.log)?;
    let lines = log::standard_error().and_then(Lines::to).context("the log does not start")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines.clone());
    // A failed write would be reported on standard error, which is what has failed.
    let log = log.log_internal_errors(false).with_ansi(std::io::stderr().is_terminal());
    let started = if arguments.log_json { log.json().try_init() } else { log.try_init() };
    started.map_err(|error| Failure::Fault(anyhow::anyhow!("the log does not start: {error}")))?;
    log::log_panics();
    Ok(lines)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Worker(_) => Self::Fault(error.into()),
            // Address, folder, proxy, ledger: all told with the remedy.
            other => Self::Input(other.to_string()),
        }
    }
}
