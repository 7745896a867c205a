//! `models list`: every file that can be fetched, and which profile needs which.

use pipeline::hub::{Hub, Manifest, manifests};
use pipeline::profile::{self, EMBEDDED};
use serde_json::{Value, json};

use super::names;
use crate::failure::Failure;
use crate::stdout;

pub(super) fn run(hub: &Hub, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return stdout::json(&object(hub)?);
    }
    stdout::line(&text(hub)?)
}

fn object(hub: &Hub) -> Result<Value, Failure> {
    let mut files = Vec::new();
    for manifest in manifests() {
        let size = hub.size(manifest);
        files.push(json!({
            "name": manifest.name,
            "purpose": manifest.purpose,
            "repository": manifest.repository,
            "file": manifest.file,
            "size": size.map(|size| size.bytes),
            "size_is_exact": size.is_some_and(|size| size.exact),
            "sha256": manifest.sha256,
            "licence": manifest.licence,
            "licence_url": manifest.licence_url,
            "path": hub.locate(manifest),
            "profiles": names::profiles_with(manifest)?,
        }));
    }
    let mut profiles = Vec::new();
    for (name, _) in EMBEDDED {
        let needed = profile::load(name)?.downloads();
        let names: Vec<&str> = needed.iter().map(|manifest| manifest.name.as_str()).collect();
        profiles.push(json!({
            "name": name,
            "files": names,
            "complete": needed.iter().all(|manifest| hub.locate(manifest).is_some()),
        }));
    }
    Ok(json!({ "cache": hub.folder(), "files": files, "profiles": profiles }))
}

fn text(hub: &Hub) -> Result<String, Failure> {
    let mut lines = Vec::new();
    for (profiles, files) in groups()? {
        lines.push(match profiles.join(", ") {
            none if none.is_empty() => "for profiles of your own".to_owned(),
            profiles => format!("for {profiles}"),
        });
        lines.extend(files.iter().map(|manifest| {
            let state = if hub.locate(manifest).is_some() { "here" } else { "absent" };
            let size = hub.total(&[manifest]);
            format!("  {:<28}{size:>8}  {state:<6}  {}", manifest.name, manifest.licence)
        }));
    }
    lines.push("profiles".to_owned());
    for (name, _) in EMBEDDED {
        lines.push(format!("  {name:<28}{}", needs(hub, &profile::load(name)?.downloads())));
    }
    lines.push(format!("cache: {}", hub.folder().display()));
    Ok(lines.join("\n"))
}

/// Files that are needed by the same profiles, and these profiles.
type Group = (Vec<&'static str>, Vec<&'static Manifest>);

fn groups() -> Result<Vec<Group>, Failure> {
    let mut groups: Vec<Group> = Vec::new();
    for manifest in manifests() {
        let profiles = names::profiles_with(manifest)?;
        match groups.iter_mut().find(|(each, _)| *each == profiles) {
            Some((_, files)) => files.push(manifest),
            None => groups.push((profiles, vec![manifest])),
        }
    }
    // What no profile needs comes last.
    groups.sort_by_key(|(profiles, _)| profiles.is_empty());
    Ok(groups)
}

/// What a profile needs, in a few words.
fn needs(hub: &Hub, files: &[&Manifest]) -> String {
    if files.is_empty() {
        return "needs no download".to_owned();
    }
    let here = files.iter().filter(|manifest| hub.locate(manifest).is_some()).count();
    format!("{:>8}  {here} of {} files here", hub.total(files), files.len())
}
