//! What a name at the terminal means: a profile's, a model's, or a profile file.

use std::path::Path;

use pipeline::hub::{Manifest, manifest, manifests};
use pipeline::profile::{self, EMBEDDED};

use crate::failure::Failure;

/// One name, understood.
#[derive(Debug)]
pub(super) enum Meaning {
    /// A profile, embedded or a file, and the files it needs.
    Profile(Vec<&'static Manifest>),
    /// One file.
    Model(&'static Manifest),
}

impl Meaning {
    /// Reads a name. Where a profile and a model share it (`juggernaut-x`), it is the profile, which contains the model.
    pub(super) fn of(name: &str) -> Result<Self, Failure> {
        let embedded = EMBEDDED.iter().any(|(each, _)| *each == name);
        match manifest(name) {
            Some(manifest) if !embedded => Ok(Self::Model(manifest)),
            None if !embedded && !Path::new(name).exists() => Err(unknown(name)),
            _ => Ok(Self::Profile(profile::load(name)?.downloads())),
        }
    }

    /// The files that are meant.
    pub(super) fn files(self) -> Vec<&'static Manifest> {
        match self {
            Self::Profile(files) => files,
            Self::Model(manifest) => vec![manifest],
        }
    }
}

/// The files that all the names mean, each once.
pub(super) fn files(names: &[String]) -> Result<Vec<&'static Manifest>, Failure> {
    let mut found: Vec<&'static Manifest> = Vec::new();
    for name in names {
        for file in Meaning::of(name)?.files() {
            add(&mut found, file);
        }
    }
    Ok(found)
}

/// Adds `file`, unless it is there.
pub(super) fn add(files: &mut Vec<&'static Manifest>, file: &'static Manifest) {
    if !files.contains(&file) {
        files.push(file);
    }
}

/// Names of the embedded profiles that need `file`.
pub(super) fn profiles_with(file: &Manifest) -> Result<Vec<&'static str>, Failure> {
    let mut names = Vec::new();
    for (name, _) in EMBEDDED {
        if profile::load(name)?.downloads().contains(&file) {
            names.push(name);
        }
    }
    Ok(names)
}

fn unknown(name: &str) -> Failure {
    let profiles = EMBEDDED.map(|(name, _)| name).join(", ");
    let models: Vec<&str> = manifests().iter().map(|manifest| manifest.name.as_str()).collect();
    Failure::Input(format!(
        "there is no profile, model or profile file {name:?}\nprofiles: {profiles}\nmodels: {}",
        models.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(names: &[&str]) -> Vec<&'static str> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        files(&names).expect("known").iter().map(|manifest| manifest.name.as_str()).collect()
    }

    #[test]
    fn a_profile_wins_over_a_model_and_contains_it() {
        let files = meant(&["juggernaut-x"]);
        assert_eq!((files[0], files.len()), ("juggernaut-x", 9));
        assert_eq!(meant(&["lineart"]), ["lineart"]);
        assert!(meant(&["exemplar"]).is_empty());
    }

    #[test]
    fn what_is_meant_twice_is_one_file() {
        assert_eq!(meant(&["juggernaut-x", "sdxl-base", "u2net"]).len(), 10);
    }

    #[test]
    fn an_unknown_name_is_told_with_the_known_ones() {
        let message = Meaning::of("jugernaut").expect_err("unknown").to_string();
        assert!(message.contains("\"jugernaut\"") && message.contains("sdxl-lightning"), "{message}");
        assert!(message.contains("sdxl-vae-fp16-fix"), "{message}");
    }

    #[test]
    fn files_know_their_profiles() {
        let profiles = |name| profiles_with(manifest(name).expect("known")).expect("loads");
        assert_eq!(profiles("u2net"), ["juggernaut-x", "sdxl-base", "sdxl-lightning", "hybrid"]);
        assert_eq!(profiles("sdxl-base"), ["sdxl-base", "hybrid"]);
        assert!(profiles("sdxl-vae-fp16-fix").is_empty());
    }
}
