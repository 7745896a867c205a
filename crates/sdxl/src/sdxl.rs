//! The engine: a profile's networks and numbers, ready for any number of transfers.

use std::path::PathBuf;

use candle_core::Device;
use diffusion::SigmaTable;

use super::cache::Cache;
use super::loader::Loader;
use super::models::{Models, vae_tiles};
use super::run::{Pace, Stage};
use crate::profile::{Conditioning, Corrected, Sampling, SdxlProfile, WeightFiles};
use crate::{Engine, Error};

/// The `sdxl` engine.
///
/// The subject's alpha channel is ignored, as in the reference, unless the profile corrects that; a note says so. A profile for a distilled model fixes
/// steps and guidance; [`Outcome::ignored`](engine::Outcome::ignored) then lists them.
pub struct Sdxl {
    pub(super) models: Models,
    pub(super) sampling: Sampling,
    pub(super) conditioning: Conditioning,
    pub(super) corrected: Corrected,
    /// Side and overlap of the autoencoder's tiles in latent pixels; none: never tiled.
    pub(super) tiles: Option<(usize, usize)>,
    pub(super) table: SigmaTable,
    pub(super) cache: Cache,
    pub(super) pace: Pace,
    /// The engine whose picture is gone on from, and the share of the way that is gone.
    pub(super) start: Option<(Box<dyn Engine>, f64)>,
}

impl Sdxl {
    /// The engine that `profile` describes, on `device`; `files` is where the profile's weights are on this machine.
    ///
    /// # Errors
    /// [`Error::Profile`] for weights that are missing or do not fit the profile's dimensions.
    pub fn new(profile: &SdxlProfile, files: WeightFiles<PathBuf>, device: &Device) -> Result<Self, Error> {
        Ok(Self {
            models: Models::new(Loader::open(profile, files, device)?, profile.memory)?,
            sampling: profile.sampling.clone(),
            conditioning: profile.conditioning.clone(),
            corrected: profile.corrections.at(profile.fidelity),
            tiles: vae_tiles(profile),
            table: SigmaTable::scaled_linear(),
            cache: Cache::default(),
            pace: Pace::default(),
            start: None,
        })
    }

    /// The same engine, which sets out from what `painter` makes of a transfer instead of a grey subject, and goes the last
    /// `denoise` (0 to 1) of the way: the real pattern with learned realism. It is called `hybrid`.
    #[must_use]
    pub fn starting_from(self, painter: Box<dyn Engine>, denoise: f64) -> Self {
        Self { start: Some((painter, denoise)), ..self }
    }

    /// The stages that no transfer of this profile has.
    pub(super) fn left_out(&self) -> Vec<Stage> {
        let Conditioning { depth, lineart, .. } = &self.conditioning;
        let stages = [
            (depth.strength == 0.0, Stage::Depth),
            (lineart.strength == 0.0, Stage::Lineart),
            (self.start.is_none(), Stage::Start),
        ];
        stages.into_iter().filter_map(|(absent, stage)| absent.then_some(stage)).collect()
    }
}
