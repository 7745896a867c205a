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
use pipeline::hub::{Hub, Manifest};
use pipeline::profile::Profile;
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

/// Refuses a profile whose files have not all been fetched, with the command that fetches them. `name` is the profile's.
pub(crate) fn require(profile: &Profile, name: &str) -> Result<(), Failure> {
    let hub = Hub::from_env();
    let mut absent = profile.downloads();
    let needed = absent.len();
    absent.retain(|manifest| hub.locate(manifest).is_none());
    if absent.is_empty() {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "profile {name}: {} of {needed} files ({}) are not in the model cache, {}; fetch them with\n       \
         material-transfer models pull {name}",
        absent.len(),
        total(&hub, &absent),
        hub.folder().display()
    )))
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

/// Bytes for people, in three digits: 7.11 GB.
fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["kB", "MB", "GB", "TB"].into_iter();
    let mut unit = "B";
    while value >= 999.5
        && let Some(next) = units.next()
    {
        (value, unit) = (value / 1000.0, next);
    }
    let decimals = match value {
        _ if unit == "B" => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// Size of a manifest's file, and whether that is exact: as stated, else as found in the cache, else roughly.
fn size(hub: &Hub, manifest: &Manifest) -> Option<(u64, bool)> {
    let found = || Some(std::fs::metadata(hub.locate(manifest)?).ok()?.len());
    let exact = manifest.size.or_else(found).map(|bytes| (bytes, true));
    exact.or_else(|| Some((manifest.about?, false)))
}

/// The sum of the files' sizes for people, with a tilde where one of them is rough.
fn total(hub: &Hub, files: &[&Manifest]) -> String {
    let sizes: Vec<(u64, bool)> = files.iter().filter_map(|manifest| size(hub, manifest)).collect();
    let exact = sizes.len() == files.len() && sizes.iter().all(|(_, exact)| *exact);
    let sum = human(sizes.iter().map(|(bytes, _)| bytes).sum());
    if exact { sum } else { format!("~{sum}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let sizes = [0, 999, 1000, 17_200_000, 99_960_000, 335_000_000, 999_600_000, 7_105_348_672];
        let told = sizes.map(human);
        assert_eq!(told, ["0 B", "999 B", "1.00 kB", "17.2 MB", "100 MB", "335 MB", "1.00 GB", "7.11 GB"]);
    }
}
