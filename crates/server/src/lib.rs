//! HTTP in front of jobs and pipeline: admission, keys, limits, safe fetching, workers.
//!
//! [`app`] is the service as a router (tests call it in process), [`serve()`] puts it on a listener with workers beside
//! it, [`run`] is the whole program from a [`Config`] to the last closed connection.

mod about;
mod base_url;
mod budget;
mod checker;
pub mod config;
mod connections;
mod credits;
mod decoding;
mod effort;
mod error;
mod estimate;
mod failure;
mod fetching;
mod fleet;
mod homes;
mod idempotency;
mod interim;
mod keys;
mod lifecycle;
mod memory;
mod metrics;
mod process;
mod rate;
mod routes;
mod serve;
mod state;
mod task;
mod turnstile;
mod unclaimed;
mod webhooks;
mod worker;

pub use about::About;
pub use config::{Config, ConfigError};
pub use error::Error;
#[cfg(feature = "cluster")]
pub use homes::{list_workers, move_credits};
pub use routes::app;
pub use serve::{run, serve};
pub use state::{App, SLUG};
pub use worker::{EngineFactory, Workers};
