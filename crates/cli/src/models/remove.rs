//! `models remove`: gives room on the disk back.

use pipeline::hub::{Hub, Manifest, Size, manifests};
use serde_json::json;

use super::names::{self, Meaning};
use crate::failure::Failure;
use crate::stdout;

/// What goes and what stays.
#[derive(Debug, Default)]
struct Plan {
    removed: Vec<&'static Manifest>,
    /// Files of a named profile that stay, and the profiles that need them.
    kept: Vec<(&'static Manifest, Vec<&'static str>)>,
}

impl Plan {
    /// A model's name removes its file. A profile's removes those of its files that no other embedded profile needs;
    /// profiles that are to be removed as well do not count.
    fn new(given: &[String]) -> Result<Self, Failure> {
        let mut plan = Self::default();
        let mut shared = Vec::new();
        for name in given {
            match Meaning::of(name)? {
                Meaning::Model(file) => names::add(&mut plan.removed, file),
                Meaning::Profile(files) => files.into_iter().for_each(|file| names::add(&mut shared, file)),
            }
        }
        let staying = |profile: &&str| !given.iter().any(|name| name == profile);
        for file in shared {
            let needing: Vec<&str> = names::profiles_with(file)?.into_iter().filter(staying).collect();
            if needing.is_empty() {
                names::add(&mut plan.removed, file);
            } else if !plan.removed.contains(&file) {
                plan.kept.push((file, needing));
            }
        }
        Ok(plan)
    }

    /// Everything that the list names.
    fn all() -> Self {
        Self { removed: manifests().iter().collect(), kept: Vec::new() }
    }
}

pub(super) fn run(hub: &Hub, given: &[String], all: bool, as_json: bool) -> Result<(), Failure> {
    let plan = if all { Plan::all() } else { Plan::new(given)? };
    let mut freed = Vec::new();
    for manifest in &plan.removed {
        freed.push(hub.remove(manifest)? + hub.remove_parts(manifest)?);
    }
    let total: u64 = freed.iter().sum();
    let here = |manifest: &Manifest| hub.locate(manifest).is_some();
    if as_json {
        let removed = plan.removed.iter().zip(&freed);
        let removed: Vec<_> =
            removed.map(|(manifest, bytes)| json!({ "name": manifest.name, "freed": bytes })).collect();
        let kept = plan.kept.iter().filter(|(manifest, _)| here(manifest));
        let kept: Vec<_> =
            kept.map(|(manifest, by)| json!({ "name": manifest.name, "needed_by": by })).collect();
        return stdout::json(&json!({ "freed": total, "removed": removed, "kept": kept }));
    }
    for (manifest, bytes) in plan.removed.iter().zip(&freed) {
        match bytes {
            0 if all => {}
            0 => stdout::line(&format!("{}: was not there", manifest.name))?,
            bytes => stdout::line(&format!("{}: removed, {bytes} bytes", manifest.name))?,
        }
    }
    for (manifest, by) in plan.kept.iter().filter(|(manifest, _)| here(manifest)) {
        let name = &manifest.name;
        stdout::line(&format!("{name}: kept, {} can use it too; name it to remove it", listed(by)))?;
    }
    stdout::line(&format!("{total} bytes freed ({})", Size::exact(total)))
}

/// `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use pipeline::profile::EMBEDDED;

    use super::*;

    fn plan(names: &[&str]) -> Plan {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Plan::new(&names).expect("known names")
    }

    fn removed(names: &[&str]) -> Vec<&'static str> {
        plan(names).removed.iter().map(|manifest| manifest.name.as_str()).collect()
    }

    #[test]
    fn a_profile_leaves_what_others_need() {
        assert_eq!(removed(&["juggernaut-x"]), ["juggernaut-x"]);
        assert_eq!(plan(&["juggernaut-x"]).kept.len(), 8);
        assert_eq!(plan(&["juggernaut-x"]).kept[0].1, ["sdxl-base", "sdxl-lightning", "hybrid"]);
    }

    #[test]
    fn a_file_that_is_named_goes() {
        assert_eq!(removed(&["juggernaut-x", "u2net"]), ["u2net", "juggernaut-x"]);
        assert_eq!(plan(&["juggernaut-x", "u2net"]).kept.len(), 7);
    }

    #[test]
    fn when_all_profiles_go_nothing_is_needed() {
        let profiles: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
        let plan = plan(&profiles);
        assert_eq!((plan.removed.len(), plan.kept.len()), (11, 0));
    }
}
