//! `docs/architecture.md` tells the truth about which crate needs which, and the promises that follow from it hold.
#![allow(clippy::expect_used)] // a test fails by panicking

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::Table;

type Needs = BTreeMap<String, BTreeSet<String>>;

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The dependencies of each crate (not those of its tests), as its manifest names them.
fn manifests() -> Needs {
    let folders = std::fs::read_dir(repository().join("crates")).expect("the crates").flatten();
    let of = |folder: PathBuf| {
        let manifest: Table = read(&folder.join("Cargo.toml")).parse().expect("a manifest");
        let needs = manifest.get("dependencies").and_then(|table| table.as_table());
        needs.into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    folders.map(|entry| (entry.file_name().to_string_lossy().into_owned(), of(entry.path()))).collect()
}

/// The last column of the document's table of crates.
fn documented() -> Needs {
    let document = read(&repository().join("docs/architecture.md"));
    let rows = document.lines().filter_map(|line| line.strip_prefix("| [`"));
    let of = |row: &str| {
        let needs = row.trim_end_matches(['|', ' ']).rsplit(" | ").next().unwrap_or_default();
        let names = needs.split(", ").filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'));
        names.map(str::to_owned).collect()
    };
    rows.filter_map(|row| Some((row.split_once('`')?.0.to_owned(), of(row)))).collect()
}

#[test]
fn the_document_names_every_crate_and_what_it_needs() {
    let manifests = manifests();
    let ours: Needs = manifests
        .iter()
        .map(|(name, needs)| {
            (name.clone(), needs.iter().filter(|name| manifests.contains_key(*name)).cloned().collect())
        })
        .collect();
    assert_eq!(documented(), ours);
}

#[test]
fn the_embedded_engine_brings_no_http_no_model_hub_and_no_other_engine() {
    let manifests = manifests();
    let mut found = BTreeSet::new();
    let mut open = vec!["exemplar".to_owned()];
    while let Some(name) = open.pop() {
        if found.insert(name.clone()) {
            open.extend(manifests.get(&name).into_iter().flatten().cloned());
        }
    }
    assert!(found.contains("pixels") && found.contains("candle-core"), "{found:?}");
    for foreign in
        ["pipeline", "sdxl", "fetch", "server", "jobs", "hf-hub", "ureq", "reqwest", "http", "axum"]
    {
        assert!(!found.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_transfer_by_the_command_line_goes_through_no_server() {
    let folder = repository().join("crates/cli/src/transfer");
    let files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path()).collect();
    assert!(files.len() > 3);
    for file in files {
        assert!(!read(&file).contains("server::"), "{}", file.display());
    }
}
