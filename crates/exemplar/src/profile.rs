//! The settings of the embedded engine.

use serde::Deserialize;

use crate::Error;

/// The embedded profile as a TOML file.
pub const PROFILE: &str = include_str!("../../../configs/profiles/exemplar.toml");

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
    pub sigma_coarse: f64,
    pub sigma_fine: f64,
    pub sigma_min: f64,
    pub sharp_below: f64,
    pub relief_broad: f32,
    pub relief_fine: f32,
    pub relief_carved: f32,
    pub relief_kept: f32,
    pub relief_budget: f32,
    pub pattern_least: f32,
    pub sphere_broad: f32,
    pub sphere_fine: f32,
    pub sphere_carved: f32,
    pub strong_relief: f32,
    pub strong_budget: f32,
}

impl ExemplarProfile {
    /// The profile in `text`, a TOML file like [`PROFILE`].
    ///
    /// # Errors
    /// [`Error::Profile`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| Error::Profile(error.to_string().trim_end().to_owned()))
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
            ("sigma_coarse", self.sigma_coarse, 2.0 * self.sigma_min, 100.0),
            ("sigma_fine", self.sigma_fine, 2.0 * self.sigma_min, 100.0),
            ("sigma_min", self.sigma_min, 1e-4, 1.0),
            ("sharp_below", self.sharp_below, 0.0, 100.0),
            ("relief_broad", f64::from(self.relief_broad), 0.0, 2.0),
            ("relief_fine", f64::from(self.relief_fine), 0.0, 2.0),
            ("relief_carved", f64::from(self.relief_carved), 0.0, 2.0),
            ("relief_kept", f64::from(self.relief_kept), 0.0, 1.0),
            ("relief_budget", f64::from(self.relief_budget), 0.1, 1000.0),
            ("pattern_least", f64::from(self.pattern_least), 0.0, 1.0),
            ("sphere_broad", f64::from(self.sphere_broad), 0.0, 2.0),
            ("sphere_fine", f64::from(self.sphere_fine), 0.0, 2.0),
            ("sphere_carved", f64::from(self.sphere_carved), 0.0, 2.0),
            ("strong_relief", f64::from(self.strong_relief), 0.0, 1.0),
            ("strong_budget", f64::from(self.strong_budget), 1.0, 1000.0),
        ];
        match engine::out_of_range(&ranges) {
            None => Ok(()),
            Some(complaint) => Err(Error::Profile(format!("exemplar.{complaint}"))),
        }
    }
}
