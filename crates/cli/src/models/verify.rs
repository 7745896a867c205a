//! `models verify`: reads files and compares them with their announced sizes and hashes.

use pipeline::hub::{Hub, Manifest, Verdict, manifests};
use serde_json::{Value, json};

use super::names;
use crate::failure::Failure;
use crate::stdout;

pub(super) fn run(hub: &Hub, names: &[String], as_json: bool) -> Result<(), Failure> {
    let files = if names.is_empty() { in_cache(hub) } else { names::files(names)? };
    let mut objects = Vec::new();
    let mut bad = 0;
    for manifest in &files {
        let verdict = hub.verify(manifest)?;
        bad += usize::from(matches!(verdict, Verdict::Damaged(_) | Verdict::Absent));
        if as_json {
            objects.push(object(manifest, &verdict));
        } else {
            stdout::line(&line(manifest, &verdict))?;
        }
    }
    if as_json {
        stdout::json(&json!({ "cache": hub.folder(), "files": objects }))?;
    } else if files.is_empty() {
        stdout::line(&format!("nothing to check in {}", hub.folder().display()))?;
    }
    match bad {
        0 => Ok(()),
        _ => Err(Failure::Input(format!("{bad} of {} files damaged or absent", files.len()))),
    }
}

fn in_cache(hub: &Hub) -> Vec<&'static Manifest> {
    manifests().iter().filter(|manifest| hub.locate(manifest).is_some()).collect()
}

fn line(manifest: &Manifest, verdict: &Verdict) -> String {
    let name = &manifest.name;
    match verdict {
        Verdict::Sound => format!("{name}: sound"),
        Verdict::Unknown => {
            format!("{name}: here, but its hash is not known, so there is nothing to compare with")
        }
        Verdict::Damaged(how) => format!(
            "{name}: damaged, {how}; run `material-transfer models remove {name}`, then `material-transfer models pull {name}`"
        ),
        Verdict::Absent => format!("{name}: absent; run `material-transfer models pull {name}`"),
    }
}

fn object(manifest: &Manifest, verdict: &Verdict) -> Value {
    let (state, detail) = match verdict {
        Verdict::Sound => ("sound", None),
        Verdict::Unknown => ("unknown", None),
        Verdict::Damaged(how) => ("damaged", Some(how)),
        Verdict::Absent => ("absent", None),
    };
    json!({ "name": manifest.name, "state": state, "detail": detail })
}
