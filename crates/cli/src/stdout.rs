//! Standard output: what a command was asked for, as lines for people or as one JSON object.

use std::io::Write;

use anyhow::Context;
use serde_json::Value;

use crate::failure::Failure;

/// Writes the text and ends its line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().write_all(format!("{text}\n").as_bytes());
    Ok(written.context("standard output")?)
}

/// Writes an object.
pub(crate) fn json(object: &Value) -> Result<(), Failure> {
    line(&format!("{object:#}"))
}
