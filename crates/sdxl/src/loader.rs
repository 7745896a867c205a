//! How each network is read: from which file, with which dimensions, in which numeric format. One function a network.
//!
//! A new loader gives networks whose tensors are checked by name and shape but not read; building all of them takes
//! milliseconds: a wrong file or dimension is told at the start and not in the middle of the first transfer. What stays in
//! memory once it is loaded is decided elsewhere ([`Models`](super::models::Models)).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device};
use networks::checkpoint::{Checkpoint, PredictionType, diffusers_vae};
use networks::clip::conditioning::TextEncoders;
use networks::clip::text::ClipText;
use networks::clip::vision::ClipVision;
use networks::depth::DepthAnything;
use networks::ip_adapter::IpAdapter;
use networks::line_art::LineArt;
use networks::lora::Lora;
use networks::material_edit::MaterialEdit;
use networks::t2i_adapter::T2iAdapter;
use networks::u2net::U2Net;
use networks::unet::UNet;
use networks::vae::Vae;
use networks::weights::WeightFile;
use networks::{Result, Weights};

use crate::card::capability;
use crate::profile::{Dimensions, ImageLayers, Precision, SdxlProfile, VaePrecision, WeightFiles};
use crate::{Error, Strength};

/// The networks of the edits that a profile has, by name.
pub(super) struct Edits(Vec<(&'static str, MaterialEdit)>);

impl Edits {
    /// The network of this name.
    pub(super) fn of(&self, name: &str) -> Option<&MaterialEdit> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, network)| network)
    }
}

/// The networks of one profile, as they lie in their files.
pub(super) struct Loader {
    files: WeightFiles<PathBuf>,
    dimensions: Dimensions,
    image_layers: ImageLayers,
    checkpoint: Checkpoint,
    /// Where the networks compute.
    pub(super) device: Device,
    /// The UNet's numeric format: that of its context and vector too.
    pub(super) unet_dtype: DType,
    /// Whether the UNet's linear layers compute on 8-bit integers.
    unet_int8: bool,
    /// The autoencoder's numeric format: that of its inputs too.
    pub(super) vae_dtype: DType,
    /// False: tensors are checked, and zeros take their place.
    read: bool,
}

impl Loader {
    /// Opens the files. Networks are only checked until [`reading`](Self::reading).
    ///
    /// # Errors
    /// [`Error::Profile`] for files that are missing or no weights, and for a precision that the device lacks.
    pub(super) fn open(
        profile: &SdxlProfile,
        files: WeightFiles<PathBuf>,
        device: &Device,
    ) -> std::result::Result<Self, Error> {
        let unet_int8 = profile.precision == Precision::Int8;
        if unet_int8 && !device.is_cpu() {
            return Err(Error::Profile(format!(
                "profile {}: precision = \"int8\" computes on the CPU only; set \"auto\" for this device, or ask for \
                 the device cpu",
                profile.origin
            )));
        }
        let halves = [profile.precision == Precision::Bf16, profile.vae_precision == VaePrecision::Bf16];
        if halves.contains(&true)
            && let Some(found) = capability(device).filter(|it| *it < AMPERE)
        {
            return Err(Error::Profile(format!(
                "profile {}: bf16 needs a GPU of compute capability 8.0 (Ampere) or newer, and this one has {}.{}; set \
                 precision and vae_precision to \"auto\"",
                profile.origin,
                found / 10,
                found % 10
            )));
        }
        let mut checkpoint = Checkpoint::open(&files.checkpoint)?;
        for lora in &files.loras {
            checkpoint = checkpoint.with_lora(Lora::open(&lora.file)?, lora.strength);
        }
        Ok(Self {
            files,
            dimensions: profile.dimensions.clone(),
            image_layers: profile.conditioning.image_layers,
            checkpoint,
            device: device.clone(),
            unet_dtype: unet_dtype(profile.precision, device),
            unet_int8,
            vae_dtype: vae_dtype(
                profile.vae_precision,
                unet_dtype(profile.precision, device),
                capability(device),
            ),
            read: false,
        })
    }

    /// The same loader, which from now on reads values.
    pub(super) fn reading(self) -> Self {
        Self { read: true, ..self }
    }

    /// What the UNet's output means.
    pub(super) fn prediction(&self) -> diffusion::Prediction {
        match self.checkpoint.prediction() {
            PredictionType::Eps => diffusion::Prediction::Eps,
            PredictionType::V => diffusion::Prediction::V,
        }
    }

    pub(super) fn unet(&self) -> Result<UNet> {
        let config = &self.dimensions.unet;
        let weights = self.checkpoint.unet(config, self.unet_dtype, &self.device)?;
        let weights = if self.unet_int8 { weights.int8() } else { weights };
        UNet::load(config, &self.as_asked(weights))
    }

    /// The checkpoint's autoencoder, or another that the profile names.
    pub(super) fn vae(&self) -> Result<Vae> {
        let weights = match &self.files.vae {
            None => self.checkpoint.vae(self.vae_dtype, &self.device)?,
            Some(path) => {
                let source = diffusers_vae(Arc::new(WeightFile::open(path)?));
                Weights::new(path.display().to_string(), source, self.vae_dtype, &self.device)
            }
        };
        Vae::load(&self.dimensions.vae, &self.as_asked(weights))
    }

    /// CLIP-L and CLIP-G, both from the checkpoint.
    pub(super) fn text(&self) -> Result<TextEncoders> {
        let l = self.checkpoint.clip_l(DType::F32, &self.device)?;
        let g = self.checkpoint.clip_g(DType::F32, &self.device)?;
        TextEncoders::new(
            ClipText::load(&self.dimensions.clip_l, &self.as_asked(l))?,
            ClipText::load(&self.dimensions.clip_g, &self.as_asked(g))?,
        )
    }

    pub(super) fn vision(&self) -> Result<ClipVision> {
        ClipVision::load(&self.dimensions.clip_vision, &self.plain(&self.files.clip_vision)?)
    }

    /// The adapter of this strength, for the layers that the profile names.
    pub(super) fn ip_adapter(&self, strength: Strength) -> Result<IpAdapter> {
        let (config, path) = match strength {
            Strength::Medium => (&self.dimensions.ip_adapter_medium, &self.files.ip_adapter_medium),
            Strength::Strong => (&self.dimensions.ip_adapter_strong, &self.files.ip_adapter_strong),
        };
        IpAdapter::load(config, &self.image_layers.of(&self.dimensions.unet), &self.plain(path)?)
    }

    /// The networks of those edits that the profile has files for.
    pub(super) fn edits(&self) -> Result<Edits> {
        let config = &self.dimensions.material_edit;
        let width = self.dimensions.clip_vision.projection;
        let given = self.files.edits.all().into_iter().filter_map(|(name, file)| Some((name, file?)));
        let read = |(name, path): (&'static str, &PathBuf)| {
            Ok((name, MaterialEdit::load(config, width, &self.plain(path)?)?))
        };
        Ok(Edits(given.map(read).collect::<Result<_>>()?))
    }

    /// Whether the profile has a file for the edit of this name.
    pub(super) fn has_edit(&self, name: &str) -> bool {
        self.files.edits.all().iter().any(|(known, file)| *known == name && file.is_some())
    }

    /// Whether the adapter of this strength reads the embedding.
    pub(super) fn reads_embedding(&self, strength: Strength) -> bool {
        match strength {
            Strength::Medium => self.dimensions.ip_adapter_medium.reads_embedding(),
            Strength::Strong => self.dimensions.ip_adapter_strong.reads_embedding(),
        }
    }

    pub(super) fn t2i_depth(&self) -> Result<T2iAdapter> {
        T2iAdapter::load(&self.dimensions.t2i, &self.plain(&self.files.t2i_depth)?)
    }

    pub(super) fn t2i_lineart(&self) -> Result<T2iAdapter> {
        T2iAdapter::load(&self.dimensions.t2i, &self.plain(&self.files.t2i_lineart)?)
    }

    pub(super) fn depth(&self) -> Result<DepthAnything> {
        let weights = DepthAnything::weights(&self.files.depth, DType::F32, &self.device)?;
        DepthAnything::load(&self.dimensions.depth, &self.as_asked(weights))
    }

    pub(super) fn lineart(&self) -> Result<LineArt> {
        LineArt::load(&self.dimensions.lineart, &self.plain(&self.files.lineart)?)
    }

    pub(super) fn background(&self) -> Result<U2Net> {
        let weights = U2Net::weights(&self.files.background, DType::F32, &self.device)?;
        U2Net::load(&self.dimensions.background, &self.as_asked(weights))
    }

    /// A file whose names need no translation, in f32: everything but UNet and autoencoder computes in it.
    fn plain(&self, path: &Path) -> Result<Weights> {
        Ok(self.as_asked(Weights::open(path, DType::F32, &self.device)?))
    }

    /// The weights, to be read or only checked.
    fn as_asked(&self, weights: Weights) -> Weights {
        if self.read { weights } else { weights.unread() }
    }
}

/// Compute capability from which CUDA devices compute in bf16.
const AMPERE: i32 = 80;

fn unet_dtype(precision: Precision, device: &Device) -> DType {
    match precision {
        Precision::Auto if device.is_cpu() => DType::F32,
        Precision::Auto | Precision::F16 => DType::F16,
        Precision::Bf16 => DType::BF16,
        Precision::F32 | Precision::Int8 => DType::F32,
    }
}

/// `capability`: that of a CUDA device.
fn vae_dtype(precision: VaePrecision, unet: DType, capability: Option<i32>) -> DType {
    match precision {
        VaePrecision::Auto if unet != DType::F32 && capability.is_some_and(|it| it >= AMPERE) => DType::BF16,
        VaePrecision::Auto => DType::F32,
        VaePrecision::F16 => DType::F16,
        VaePrecision::Bf16 => DType::BF16,
        VaePrecision::F32 => DType::F32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_for_gpus() {
        assert_eq!(unet_dtype(Precision::Auto, &Device::Cpu), DType::F32);
        assert_eq!(unet_dtype(Precision::F16, &Device::Cpu), DType::F16);
    }

    #[test]
    fn the_autoencoder_takes_bf16_where_the_card_does_and_the_unet_is_no_finer() {
        let auto = |unet, capability| vae_dtype(VaePrecision::Auto, unet, capability);
        assert_eq!(auto(DType::F16, Some(80)), DType::BF16);
        assert_eq!(auto(DType::F16, Some(75)), DType::F32);
        assert_eq!(auto(DType::F32, Some(90)), DType::F32);
        assert_eq!(auto(DType::F16, None), DType::F32);
        assert_eq!(vae_dtype(VaePrecision::F32, DType::F16, Some(90)), DType::F32);
    }
}
