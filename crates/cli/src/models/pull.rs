//! `models pull`: fetches what a profile or a name needs and what is not there yet.

use std::sync::Arc;

use anyhow::Context;
use pipeline::hub::{Hub, Manifest};
use serde_json::{Value, json};

use super::bars::Bars;
use super::names;
use crate::failure::Failure;
use crate::{signal, stdout};

pub(super) fn run(hub: &Hub, names: &[String], as_json: bool) -> Result<(), Failure> {
    let wanted = names::files(names)?;
    let absent: Vec<&'static Manifest> =
        wanted.iter().copied().filter(|manifest| hub.locate(manifest).is_none()).collect();
    if !absent.is_empty() {
        fetch(hub, &absent, as_json)?;
    }
    if as_json {
        return stdout::json(&object(hub, &wanted, &absent));
    }
    stdout::line(&text(hub, names, &wanted, &absent))
}

/// Fetches the files, unless Ctrl-C comes first. The threads that fetch end with the process; what they have written is
/// where the next pull goes on from.
fn fetch(hub: &Hub, absent: &[&'static Manifest], plain: bool) -> Result<(), Failure> {
    let runtime = signal::runtime()?;
    let bars = Arc::new(Bars::new(plain));
    let (hub, absent, shown) = (hub.clone(), absent.to_vec(), Arc::clone(&bars));
    let pulling = runtime.spawn_blocking(move || hub.pull(&absent, shown.as_ref()));
    let pulled = runtime.block_on(async {
        tokio::select! {
            pulled = pulling => pulled.context("the download does not end")?.map_err(Failure::from),
            signal = signal::stop() => {
                signal.context("the signal handler does not work")?;
                Err(Failure::PullStopped)
            }
        }
    });
    bars.clear();
    runtime.shutdown_background();
    pulled.map(drop)
}

fn object(hub: &Hub, wanted: &[&Manifest], fetched: &[&Manifest]) -> Value {
    let files: Vec<Value> = wanted
        .iter()
        .map(|manifest| {
            json!({
                "name": manifest.name,
                "path": hub.locate(manifest),
                "size": hub.size(manifest).map(|size| size.bytes),
                "licence": manifest.licence,
                "licence_url": manifest.licence_url,
                "fetched": fetched.contains(manifest),
            })
        })
        .collect();
    json!({ "cache": hub.folder(), "files": files })
}

fn text(hub: &Hub, names: &[String], wanted: &[&Manifest], fetched: &[&Manifest]) -> String {
    let names = names.join(", ");
    if wanted.is_empty() {
        return format!("{names}: needs no download");
    }
    let news = match fetched.len() {
        0 => "nothing had to be fetched".to_owned(),
        count => format!("{count} fetched"),
    };
    let files =
        if wanted.len() == 1 { "1 file is".to_owned() } else { format!("{} files are", wanted.len()) };
    format!("{names}: {files} here, {} in {}; {news}", hub.total(wanted), hub.folder().display())
}
