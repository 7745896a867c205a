//! Profiles: which engine runs, with which weights and which numbers.
//!
//! A profile is a TOML file (`configs/profiles/NAME.toml`). Those named in [`EMBEDDED`] are part of the binary; any other is
//! named by its path. `engine` says what kind it is; every other key belongs to that engine, and an unknown key is an error.

use std::path::{Path, PathBuf};

pub use exemplar::{ExemplarProfile, ExemplarTunables};
pub use sdxl::{
    Conditioning, Corrections, Dimensions, EditFiles, EditScales, Fidelity, HintStrength, Hybrid,
    ImageLayers, LoraFile, MemoryPlan, Precision, Sampling, SdxlProfile, VaePrecision, WeightFiles,
};
use serde::Deserialize;

use crate::hub::Manifest;
use crate::{Error, weights};

/// Names and texts of the profiles inside the binary.
pub const EMBEDDED: [(&str, &str); 5] = [
    ("exemplar", exemplar::PROFILE),
    ("juggernaut-x", include_str!("../../../configs/profiles/juggernaut-x.toml")),
    ("sdxl-base", include_str!("../../../configs/profiles/sdxl-base.toml")),
    ("sdxl-lightning", include_str!("../../../configs/profiles/sdxl-lightning.toml")),
    ("hybrid", include_str!("../../../configs/profiles/hybrid.toml")),
];

/// A profile, by engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Profile {
    /// The embedded engine: patches of the material picture, no downloads.
    Exemplar(Box<ExemplarProfile>),
    /// The reference pipeline on SDXL; as `hybrid`, from the embedded engine's picture onwards.
    Sdxl(Box<SdxlProfile>),
}

impl Profile {
    /// The files of the model hub that this profile's engine needs, each once.
    #[must_use]
    pub fn downloads(&self) -> Vec<&'static Manifest> {
        match self {
            Self::Exemplar(_) => Vec::new(),
            Self::Sdxl(profile) => weights::downloads(profile),
        }
    }
}

/// The part of every profile that says how to read the rest.
#[derive(Deserialize)]
struct Head {
    engine: String,
}

/// Reads the profile that `name_or_path` means: an embedded name, else the path of a TOML file.
///
/// # Errors
/// [`Error::File`] when the file cannot be read, [`Error::Profile`] when it is not a profile; the text says what is wrong.
pub fn load(name_or_path: &str) -> Result<Profile, Error> {
    if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
        return parse(text, name, Path::new(""));
    }
    let path = PathBuf::from(name_or_path);
    if !path.exists() && path.extension().is_none() {
        let known: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
        return Err(Error::Profile(format!(
            "there is no profile {name_or_path:?}: choose {} or give the path of a TOML file",
            known.join(", ")
        )));
    }
    let text = std::fs::read_to_string(&path).map_err(|source| Error::File { path: path.clone(), source })?;
    parse(&text, &path.display().to_string(), path.parent().unwrap_or(Path::new("")))
}

/// The profile in `text`. `origin` names it in errors; paths in it are relative to `folder`.
fn parse(text: &str, origin: &str, folder: &Path) -> Result<Profile, Error> {
    let bad = |reason: String| Error::Profile(format!("profile {origin}: {}", reason.trim_end()));
    let invalid = |error: toml::de::Error| bad(error.to_string());
    let named = |error: Error| match error {
        Error::Profile(reason) => bad(reason),
        other => other,
    };
    let table: toml::Table = text.parse().map_err(invalid)?;
    let head: Head = table.try_into().map_err(invalid)?;
    match head.engine.as_str() {
        "exemplar" => Ok(Profile::Exemplar(Box::new(ExemplarProfile::parse(text).map_err(named)?))),
        "sdxl" | "hybrid" => {
            Ok(Profile::Sdxl(Box::new(SdxlProfile::parse(text, origin, folder).map_err(named)?)))
        }
        other => {
            Err(bad(format!("engine is {other:?}; this build knows \"exemplar\", \"sdxl\" and \"hybrid\"")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> &'static str {
        EMBEDDED.iter().find(|(each, _)| *each == name).expect("embedded").1
    }

    #[test]
    fn every_embedded_profile_loads() {
        for (name, _) in EMBEDDED {
            load(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }

    #[test]
    fn a_profile_knows_its_downloads() {
        assert!(load("exemplar").expect("loads").downloads().is_empty());
        let names = |profile: &str| -> Vec<&str> {
            load(profile).expect("loads").downloads().iter().map(|m| m.name.as_str()).collect()
        };
        assert_eq!(names("juggernaut-x").len(), 9);
        assert!(names("sdxl-lightning").contains(&"sdxl-lightning-4step"));
    }

    #[test]
    fn a_file_is_read_by_its_path() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, text("exemplar")).expect("written");
        assert_eq!(load(path.to_str().expect("utf-8")).expect("loads"), load("exemplar").expect("loads"));
    }

    #[test]
    fn errors_name_the_culprit() {
        let message = |text: &str| parse(text, "test", Path::new("")).expect_err("refused").to_string();
        assert!(message("engine = 3").contains("engine"));
        assert!(message("engine = \"magic\"").contains("\"magic\""));
        assert!(message(&text("exemplar").replace("repetition =", "repitition =")).contains("repitition"));
        assert!(message("this is not toml").contains("profile test"));
        let sdxl = text("juggernaut-x");
        assert!(message(&sdxl.replace("sampler = \"dpmpp_sde\"", "sampler = \"heun\"")).contains("heun"));
        assert!(message(&sdxl.replace("rescale = 0.9", "rescale = 1.5")).contains("sampling.rescale is 1.5"));
        let unet = format!("{sdxl}\n[dimensions.unet]\nheads = 3\n");
        assert!(message(&unet).contains("dimensions.unet"), "{}", message(&unet));
        assert!(load("nowhere").expect_err("refused").to_string().contains("exemplar"));
        assert!(matches!(load("nowhere/at-all.toml"), Err(Error::File { .. })));
    }
}
