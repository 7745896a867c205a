//! SDXL checkpoints: one file with everything in it, or a diffusers folder, as the weights of four networks.
//!
//! Both layouts end in the names of diffusers and transformers. What the model predicts is recognised: noise (eps), v, or
//! the EDM parameterisation, which is refused.

mod folder;
pub(crate) mod keys;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device};

use crate::lora::{Lora, LoraPart};
use crate::unet::UNetConfig;
use crate::weights::{self, Change, Renamed, Source};
use crate::{Error, Result, Weights};

const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";
const CLIP_L: &str = "conditioner.embedders.0.transformer.";
const CLIP_G: &str = "conditioner.embedders.1.model.";

/// What the UNet's output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise.
    Eps,
    /// v = α·noise − σ·signal (Salimans and Ho 2022).
    V,
}

/// An opened checkpoint, with the LoRAs to merge into it.
pub struct Checkpoint {
    path: PathBuf,
    parts: Parts,
    prediction: PredictionType,
    loras: Vec<(Arc<Lora>, f64)>,
}

enum Parts {
    Single(Arc<dyn Source>),
    Folder(folder::Folder),
}

impl Checkpoint {
    /// Opens a single file, or a diffusers folder with `unet`, `vae`, `text_encoder` and `text_encoder_2` in it.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged, and a model that predicts neither noise nor v.
    pub fn open(path: &Path) -> Result<Self> {
        let (parts, prediction) = if path.is_dir() {
            let folder = folder::Folder::open(path)?;
            let prediction = folder.prediction()?;
            (Parts::Folder(folder), prediction)
        } else {
            let file = weights::open(path)?;
            let prediction = prediction(path, file.as_ref())?;
            (Parts::Single(file), prediction)
        };
        Ok(Self { path: path.to_path_buf(), parts, prediction, loras: Vec::new() })
    }

    /// What the UNet predicts.
    pub fn prediction(&self) -> PredictionType {
        self.prediction
    }

    /// Merges a LoRA into the networks loaded from now on, `strength` times.
    pub fn with_lora(mut self, lora: Lora, strength: f64) -> Self {
        self.loras.push((Arc::new(lora), strength));
        self
    }

    /// The UNet's weights.
    ///
    /// # Errors
    /// A part that cannot be read, or a LoRA that does not fit it.
    pub fn unet(&self, config: &UNetConfig, dtype: DType, device: &Device) -> Result<Weights> {
        let source = match &self.parts {
            Parts::Single(file) => below(file, UNET, |name| {
                let new = keys::unet(name, config.res_blocks)?;
                Some(vec![(new, Change::Keep)])
            }),
            Parts::Folder(folder) => folder.part("unet")?,
        };
        let source = self.merged(source, LoraPart::UNet { res_blocks: config.res_blocks })?;
        Ok(self.weights("unet", source, dtype, device))
    }

    /// The autoencoder's weights.
    ///
    /// # Errors
    /// A part that cannot be read, or a LoRA that does not fit it.
    pub fn vae(&self, dtype: DType, device: &Device) -> Result<Weights> {
        let source = match &self.parts {
            Parts::Single(file) => {
                diffusers_vae(below(file, VAE, |name| Some(vec![(name.to_owned(), Change::Keep)])))
            }
            Parts::Folder(folder) => diffusers_vae(folder.part("vae")?),
        };
        Ok(self.weights("vae", source, dtype, device))
    }

    /// CLIP-L's weights.
    ///
    /// # Errors
    /// A part that cannot be read, or a LoRA that does not fit it.
    pub fn clip_l(&self, dtype: DType, device: &Device) -> Result<Weights> {
        let source = match &self.parts {
            Parts::Single(file) => below(file, CLIP_L, |name| Some(vec![(name.to_owned(), Change::Keep)])),
            Parts::Folder(folder) => folder.part("text_encoder")?,
        };
        Ok(self.weights("clip_l", self.merged(source, LoraPart::ClipL)?, dtype, device))
    }

    /// CLIP-G's weights.
    ///
    /// # Errors
    /// A part that cannot be read, or a LoRA that does not fit it.
    pub fn clip_g(&self, dtype: DType, device: &Device) -> Result<Weights> {
        let source = match &self.parts {
            Parts::Single(file) => below(file, CLIP_G, keys::open_clip),
            Parts::Folder(folder) => folder.part("text_encoder_2")?,
        };
        Ok(self.weights("clip_g", self.merged(source, LoraPart::ClipG)?, dtype, device))
    }

    fn merged(&self, source: Arc<dyn Source>, part: LoraPart) -> Result<Arc<dyn Source>> {
        self.loras.iter().try_fold(source, |source, (lora, strength)| lora.merged(source, part, *strength))
    }

    fn weights(&self, part: &str, source: Arc<dyn Source>, dtype: DType, device: &Device) -> Weights {
        Weights::new(format!("{} ({part})", self.path.display()), source, dtype, device)
    }
}

/// The tensors of `file` below `prefix` under new names. What `translate` does not know keeps its full name.
fn below(
    file: &Arc<dyn Source>,
    prefix: &str,
    translate: impl Fn(&str) -> Option<Vec<(String, Change)>>,
) -> Arc<dyn Source> {
    Arc::new(Renamed::new(Arc::clone(file), |name| match name.strip_prefix(prefix) {
        None => Vec::new(),
        Some(rest) => translate(rest).unwrap_or_else(|| vec![(name.to_owned(), Change::Keep)]),
    }))
}

/// An autoencoder's tensors under diffusers' names, whichever layout they have: also for a file with an autoencoder only
/// (`sdxl_vae.safetensors`), with or without `first_stage_model.` before its names.
pub fn diffusers_vae(source: Arc<dyn Source>) -> Arc<dyn Source> {
    let names = source.names();
    let bare = |name: &str| name.strip_prefix(VAE).unwrap_or(name).to_owned();
    let level =
        |name: &String| bare(name).strip_prefix("decoder.up.")?.split('.').next()?.parse::<usize>().ok();
    let levels = names.iter().filter_map(level).max().map(|last| last + 1);
    Arc::new(Renamed::new(source, |name| {
        let keep = || vec![(name.to_owned(), Change::Keep)];
        match levels {
            Some(levels) => keys::vae(&bare(name), levels).map_or_else(keep, |new| vec![new]),
            None => vec![(keys::older_vae(&bare(name)), Change::Keep)],
        }
    }))
}

/// Markers that tools put into single files.
fn prediction(path: &Path, file: &dyn Source) -> Result<PredictionType> {
    let has = |name: &str| file.shape(name).is_some();
    if has("edm_mean") || has("edm_std") || has("edm_vpred.sigma_max") {
        return Err(edm(path));
    }
    Ok(if has("v_pred") { PredictionType::V } else { PredictionType::Eps })
}

fn edm(path: &Path) -> Error {
    let reason =
        "is an EDM model (its noise scale differs from SDXL's); use a checkpoint that predicts noise or v";
    Error::Unsupported { origin: path.display().to_string(), reason: reason.to_owned() }
}
