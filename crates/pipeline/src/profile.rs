//! Profiles: which engine runs, with which weights and which numbers.
//!
//! A profile is a TOML file (`configs/profiles/NAME.toml`). Those named in [`EMBEDDED`] are part of the binary; any other is
//! named by its path. `engine` says what kind it is; every other key belongs to that engine, and an unknown key is an error.

mod dimensions;
mod exemplar;
mod sdxl;
mod weights;

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::Deserialize;

pub use self::dimensions::Dimensions;
pub use self::exemplar::{ExemplarProfile, ExemplarTunables};
pub use self::sdxl::{
    Conditioning, Fidelity, HintStrength, MemoryPlan, Precision, Sampling, SdxlProfile, VaePrecision,
};
pub use self::weights::{LoraFile, WeightFiles};
use crate::exemplar::Exemplar;
use crate::hub::{Hub, Manifest};
use crate::sdxl::Sdxl;
use crate::{Engine, Error};

/// Names and texts of the profiles inside the binary.
pub const EMBEDDED: [(&str, &str); 4] = [
    ("exemplar", include_str!("../../../../configs/profiles/exemplar.toml")),
    ("juggernaut-x", include_str!("../../../../configs/profiles/juggernaut-x.toml")),
    ("sdxl-base", include_str!("../../../../configs/profiles/sdxl-base.toml")),
    ("sdxl-lightning", include_str!("../../../../configs/profiles/sdxl-lightning.toml")),
];

/// A profile, by engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Profile {
    /// The embedded engine: patches of the material picture, no downloads.
    Exemplar(Box<ExemplarProfile>),
    /// The reference pipeline on SDXL.
    Sdxl(Box<SdxlProfile>),
}

impl Profile {
    /// The files of the model hub that this profile's engine needs, each once.
    #[must_use]
    pub fn downloads(&self) -> Vec<&'static Manifest> {
        match self {
            Self::Exemplar(_) => Vec::new(),
            Self::Sdxl(profile) => profile.downloads(),
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

/// Whether the files are all there that [`engine`] will read; it says the same about them.
///
/// # Errors
/// [`Error::Profile`] naming those that are not, with the command that fetches them.
pub fn check_files(profile: &Profile) -> Result<(), Error> {
    match profile {
        Profile::Exemplar(_) => Ok(()),
        Profile::Sdxl(profile) => profile.locate(&Hub::from_env()).map(drop),
    }
}

/// Makes the engine that `profile` describes, on `device`.
///
/// # Errors
/// [`Error::Profile`] when the profile's numbers or weights cannot be used.
pub fn engine(profile: &Profile, device: &Device) -> Result<Box<dyn Engine>, Error> {
    match profile {
        Profile::Exemplar(profile) => Ok(Box::new(Exemplar::new(profile, device)?)),
        Profile::Sdxl(profile) => Ok(Box::new(Sdxl::new(profile, &Hub::from_env(), device)?)),
    }
}

/// The profile in `text`. `origin` names it in errors; paths in it are relative to `folder`.
fn parse(text: &str, origin: &str, folder: &Path) -> Result<Profile, Error> {
    let bad = |reason: String| Error::Profile(format!("profile {origin}: {}", reason.trim_end()));
    let told = |error: toml::de::Error| bad(error.to_string());
    let table: toml::Table = text.parse().map_err(told)?;
    let head: Head = table.try_into().map_err(told)?;
    match head.engine.as_str() {
        "exemplar" => Ok(Profile::Exemplar(Box::new(toml::from_str(text).map_err(told)?))),
        "sdxl" => {
            let profile: SdxlProfile = toml::from_str(text).map_err(told)?;
            profile.check().map_err(bad)?;
            let (origin, folder) = (origin.to_owned(), folder.to_owned());
            Ok(Profile::Sdxl(Box::new(SdxlProfile { origin, folder, ..profile })))
        }
        other => Err(bad(format!("engine is {other:?}; this build knows \"exemplar\" and \"sdxl\""))),
    }
}

/// A complaint about the first of these numbers (name, value, least, most) that is out of its range.
fn out_of_range(numbers: &[(&str, f64, f64, f64)]) -> Option<String> {
    let (name, value, low, high) =
        numbers.iter().find(|(_, value, low, high)| !(*low..=*high).contains(value))?;
    Some(format!("{name} is {value}; it must lie between {low} and {high}"))
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
        let engine = engine(&load("exemplar").expect("loads"), &Device::Cpu).expect("needs no files");
        assert_eq!(engine.name(), "exemplar");
    }

    #[test]
    fn weights_that_are_not_there_are_named_with_the_remedy() {
        let Profile::Sdxl(profile) = load("juggernaut-x").expect("loads") else { panic!("an SDXL profile") };
        let empty = tempfile::tempdir().expect("folder");
        let hub = Hub::at(empty.path().to_owned(), None, None, true);
        let error = Sdxl::new(&profile, &hub, &Device::Cpu).err().expect("no weights").to_string();
        assert!(error.contains("weights.checkpoint"), "{error}");
        assert!(error.contains("material-transfer models pull juggernaut-x"), "{error}");
    }

    #[test]
    fn everything_that_is_absent_is_told_at_once_with_one_command() {
        let empty = tempfile::tempdir().expect("folder");
        let hub = Hub::at(empty.path().to_owned(), None, None, true);
        let text = text("juggernaut-x").replace("\"u2net\"", "\"mine.onnx\"");
        let text = text.replace("\"lineart\"", "\"lines.pth\"");
        let path = empty.path().join("mine.toml");
        std::fs::write(&path, text).expect("written");
        let path = path.to_str().expect("utf-8");
        let Profile::Sdxl(profile) = load(path).expect("loads") else { panic!("an SDXL profile") };
        let error = profile.locate(&hub).expect_err("no weights").to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 4, "all at once: {error}");
        assert!(lines[0].contains("weights.background") && lines[0].contains("mine.onnx"), "{error}");
        assert!(lines[1].contains("weights.lineart") && lines[1].contains("lines.pth"), "{error}");
        assert!(lines[2].starts_with("7 of 7 files (~13") && lines[2].contains("weights.depth"), "{error}");
        assert_eq!(lines[3], format!("material-transfer models pull {path}"));
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

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        let Profile::Exemplar(mut profile) = load("exemplar").expect("loads") else {
            panic!("the embedded engine's")
        };
        profile.exemplar.relief_broad = 2.5;
        let error = engine(&Profile::Exemplar(profile), &Device::Cpu).err().expect("refused").to_string();
        assert!(error.contains("exemplar.relief_broad is 2.5"), "{error}");
    }
}
