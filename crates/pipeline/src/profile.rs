//! Profiles: which engine runs, with which weights and which numbers.
//!
//! A profile is a TOML file (`configs/profiles/NAME.toml`). Those named in [`EMBEDDED`] are part of the binary; any other is
//! named by its path. `engine` says what kind it is; every other key belongs to that engine, and an unknown key is an error.

use std::path::PathBuf;

use candle_core::Device;
use serde::Deserialize;

use crate::exemplar::Exemplar;
use crate::{Engine, Error};

/// Names and texts of the profiles inside the binary.
pub const EMBEDDED: [(&str, &str); 1] =
    [("exemplar", include_str!("../../../configs/profiles/exemplar.toml"))];

/// A profile, by engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Profile {
    /// The embedded engine: patches of the material picture, no downloads.
    Exemplar(ExemplarProfile),
}

/// What the `exemplar` engine needs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExemplarProfile {
    /// Always `exemplar`.
    pub engine: String,
    /// The subject mask's network: `embedded`, or the path of a TOML file like `models/mask.toml`.
    pub mask: String,
    /// The numbers of the sampler and the relighting.
    pub exemplar: ExemplarTunables,
}

/// The `exemplar` engine's numbers; `configs/profiles/exemplar.toml` explains each.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // one explanation, in the profile, where people change them
pub struct ExemplarTunables {
    pub material_extent: f64,
    pub material_least_scale: f64,
    pub material_most_busy: f64,
    pub shading_scale: f32,
    pub form_scale: f32,
    pub coarse_patch: usize,
    pub middle_patch: usize,
    pub finest_patch: usize,
    pub coarse_calls: usize,
    pub middle_calls: usize,
    pub finest_calls: usize,
    pub rounds: usize,
    pub finest_rounds: usize,
    pub samples: usize,
    pub repetition: f32,
    pub completeness_smooth: f64,
    pub completeness_textured: f64,
    pub block_smooth: f32,
    pub block_textured: f32,
    pub guidance: f32,
    pub sigma_coarse: f64,
    pub sigma_fine: f64,
    pub sigma_min: f64,
    pub sharp_below: f64,
    pub form: f32,
    pub form_strong: f32,
    pub least_relight: f32,
    pub least_contrast: f32,
    pub most_contrast: f32,
    pub fine_share: f32,
    pub fine_floor: f32,
    pub fine_most: f32,
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
        return parse(text, name);
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
    parse(&text, &path.display().to_string())
}

/// Makes the engine that `profile` describes, on `device`.
///
/// # Errors
/// [`Error::Profile`] when the profile's numbers or weights cannot be used.
pub fn engine(profile: &Profile, device: &Device) -> Result<Box<dyn Engine>, Error> {
    match profile {
        Profile::Exemplar(profile) => Ok(Box::new(Exemplar::new(profile, device)?)),
    }
}

fn parse(text: &str, origin: &str) -> Result<Profile, Error> {
    let bad = |error: toml::de::Error| Error::Profile(format!("profile {origin}: {error}"));
    let table: toml::Table = text.parse().map_err(bad)?;
    let head: Head = table.try_into().map_err(bad)?;
    match head.engine.as_str() {
        "exemplar" => Ok(Profile::Exemplar(toml::from_str(text).map_err(bad)?)),
        other => Err(Error::Profile(format!(
            "profile {origin}: engine is {other:?}; this build knows \"exemplar\""
        ))),
    }
}

impl ExemplarTunables {
    /// Numbers that would make the sampler meaningless, named one by one.
    ///
    /// # Errors
    /// [`Error::Profile`] naming the first one and its range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let ranges = [
            ("material_extent", self.material_extent, 0.05, 10.0),
            ("material_least_scale", self.material_least_scale, 0.0, 1.0),
            ("material_most_busy", self.material_most_busy, 1.0, 1000.0),
            ("shading_scale", f64::from(self.shading_scale), 0.001, 0.5),
            ("form_scale", f64::from(self.form_scale), 0.001, 0.5),
            ("coarse_patch", self.coarse_patch as f64, 3.0, 11.0),
            ("middle_patch", self.middle_patch as f64, 3.0, 11.0),
            ("finest_patch", self.finest_patch as f64, 3.0, 11.0),
            ("coarse_calls", self.coarse_calls as f64, 1.0, 100.0),
            ("middle_calls", self.middle_calls as f64, 1.0, 100.0),
            ("finest_calls", self.finest_calls as f64, 1.0, 100.0),
            ("rounds", self.rounds as f64, 1.0, 50.0),
            ("finest_rounds", self.finest_rounds as f64, 1.0, 50.0),
            ("samples", self.samples as f64, 0.0, 50.0),
            ("repetition", f64::from(self.repetition), 0.0, 100.0),
            ("completeness_smooth", self.completeness_smooth, 1e-6, 1e6),
            ("completeness_textured", self.completeness_textured, 1e-6, 1e6),
            ("block_smooth", f64::from(self.block_smooth), 3.0, 64.0),
            ("block_textured", f64::from(self.block_textured), 0.0, 64.0),
            ("guidance", f64::from(self.guidance), 0.0, 100.0),
            ("sigma_coarse", self.sigma_coarse, 2.0 * self.sigma_min, 100.0),
            ("sigma_fine", self.sigma_fine, 2.0 * self.sigma_min, 100.0),
            ("sigma_min", self.sigma_min, 1e-4, 1.0),
            ("sharp_below", self.sharp_below, 0.0, 100.0),
            ("form", f64::from(self.form), 0.0, 0.99),
            ("form_strong", f64::from(self.form_strong), 0.0, 0.99),
            ("least_relight", f64::from(self.least_relight), 0.0, 1.0),
            ("least_contrast", f64::from(self.least_contrast), 0.0, f64::from(self.most_contrast)),
            ("most_contrast", f64::from(self.most_contrast), 0.01, 3.0),
            ("fine_share", f64::from(self.fine_share), 0.0, 10.0),
            ("fine_most", f64::from(self.fine_most), 0.0, 10.0),
            ("fine_floor", f64::from(self.fine_floor), 0.0, 1.0),
        ];
        match ranges.iter().find(|(_, value, low, high)| !(*low..=*high).contains(value)) {
            None => Ok(()),
            Some((name, value, low, high)) => Err(Error::Profile(format!(
                "exemplar.{name} is {value}; it must lie between {low} and {high}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> &'static str {
        EMBEDDED[0].1
    }

    #[test]
    fn every_embedded_profile_loads_and_makes_its_engine() {
        for (name, _) in EMBEDDED {
            let profile = load(name).unwrap_or_else(|e| panic!("{name}: {e}"));
            let engine = engine(&profile, &Device::Cpu).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(engine.name(), name);
        }
    }

    #[test]
    fn a_file_is_read_by_its_path() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, text()).expect("written");
        assert_eq!(load(path.to_str().expect("utf-8")).expect("loads"), load("exemplar").expect("loads"));
    }

    #[test]
    fn errors_name_the_culprit() {
        let message = |text: &str| parse(text, "test").expect_err("refused").to_string();
        assert!(message("engine = 3").contains("engine"));
        assert!(message("engine = \"magic\"").contains("\"magic\""));
        assert!(message(&text().replace("guidance =", "guidence =")).contains("guidence"));
        assert!(message("this is not toml").contains("profile test"));
        assert!(load("nowhere").expect_err("refused").to_string().contains("exemplar"));
        assert!(matches!(load("nowhere/at-all.toml"), Err(Error::File { .. })));
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        let Profile::Exemplar(mut profile) = load("exemplar").expect("loads");
        profile.exemplar.form = 1.5;
        let error = engine(&Profile::Exemplar(profile), &Device::Cpu).err().expect("refused").to_string();
        assert!(error.contains("exemplar.form is 1.5"), "{error}");
    }
}
