//! `material-transfer serve`: settings, log and engine, handed to the server.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use pipeline::{DeviceChoice, Engine, profile};
use server::{Config, EngineFactory, Error};
use tracing_subscriber::EnvFilter;

use crate::arguments::{self, ServeArguments};
use crate::failure::Failure;
use crate::threads;

pub(crate) fn run(options: &ServeArguments) -> Result<(), Failure> {
    start_log(options)?;
    // Variables that are no text cannot be settings, and those of other options need not be.
    let others = arguments::variables();
    let is_setting = |name: &str| {
        let setting = name.strip_prefix(server::config::ENVIRONMENT_PREFIX).map(str::to_ascii_lowercase);
        setting.is_some_and(|setting| server::config::has_variable(&setting))
    };
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_setting(name) || !others.contains(name));
    let config = Config::load(options.config.as_deref(), environment, options.settings());
    let config = config.map_err(|error| Failure::Input(error.to_string()))?;
    threads::set(config.threads)?;
    let factory = engine_factory(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime
        .context("the server does not start")?
        .block_on(server::run(config, factory))
        .map_err(Failure::from)
}

/// Makes engines as the settings say. The profile, its weights and the devices' names are looked at now, so that a mistake in them ends
/// the start. Each worker opens its device itself: what a GPU's libraries keep is for one thread at a time.
fn engine_factory(config: &Config) -> Result<EngineFactory, Failure> {
    let profile = profile::load(&config.profile)?;
    profile::check_files(&profile)?;
    let choices = (0..config.workers).map(|worker| config.device_of(worker).parse());
    let choices = choices.collect::<Result<Vec<DeviceChoice>, _>>()?;
    Ok(Arc::new(move |worker| {
        let choice = choices.get(worker).copied().unwrap_or_default();
        let opened = pipeline::open(choice)?;
        for warning in &opened.warnings {
            tracing::warn!(worker, "{warning}");
        }
        tracing::info!(worker, device = opened.description, "computing");
        Ok(Arc::<dyn Engine>::from(profile::engine(&profile, &opened.device)?))
    }))
}

fn start_log(arguments: &ServeArguments) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&arguments.log);
    let filter = filter.map_err(|error| Failure::Input(format!("--log {:?}: {error}", arguments.log)))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    let started = if arguments.log_json { log.json().try_init() } else { log.try_init() };
    started.map_err(|error| Failure::Fault(anyhow::anyhow!("the log does not start: {error}")))
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
