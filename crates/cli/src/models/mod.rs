//! `material-transfer models`: which weights there are, fetching them, checking them, removing them.
//!
//! The work is the hub's ([`pipeline::hub`]); here names are read and results are told, as lines for people or as one JSON
//! object on standard output.

mod bars;
mod list;
mod names;
mod pull;
mod remove;
mod verify;

use anyhow::Context;
use pipeline::hub::Hub;
use serde_json::Value;

use crate::arguments::{ModelsArguments, ModelsCommand};
use crate::failure::Failure;

pub(crate) fn run(arguments: &ModelsArguments) -> Result<(), Failure> {
    let hub = Hub::from_env();
    match &arguments.command {
        ModelsCommand::List => list::run(&hub, arguments.json),
        ModelsCommand::Pull { names } => pull::run(&hub, names, arguments.json),
        ModelsCommand::Verify { names } => verify::run(&hub, names, arguments.json),
        ModelsCommand::Remove { names, all } => remove::run(&hub, names, *all, arguments.json),
    }
}

/// Writes a line to standard output.
fn say(line: &str) -> Result<(), Failure> {
    let written = std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes());
    Ok(written.context("standard output")?)
}

/// Writes an object to standard output.
fn say_json(object: &Value) -> Result<(), Failure> {
    say(&format!("{object:#}"))
}
