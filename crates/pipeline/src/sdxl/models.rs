//! The pipeline's networks: loaded when first needed, kept or released as the memory plan says.
//!
//! Opening checks every file's names and shapes against the profile's dimensions without reading a value, so that a wrong
//! file or dimension is told at the start and not in the middle of the first transfer.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device};
use networks::checkpoint::{self, Checkpoint, diffusers_vae};
use networks::clip::conditioning::TextEncoders;
use networks::clip::text::ClipText;
use networks::clip::vision::ClipVision;
use networks::depth::DepthAnything;
use networks::ip_adapter::IpAdapter;
use networks::line_art::LineArt;
use networks::lora::Lora;
use networks::t2i_adapter::T2iAdapter;
use networks::u2net::U2Net;
use networks::unet::UNet;
use networks::vae::Vae;
use networks::weights::WeightFile;
use networks::{Result, Weights};

use super::files::Files;
use crate::hub::Hub;
use crate::profile::{Dimensions, MemoryPlan, Precision, SdxlProfile, VaePrecision};
use crate::{Error, Strength};

/// One network: its home while it is in memory.
#[derive(Debug)]
struct Slot<T> {
    keep: bool,
    held: Mutex<Option<Arc<T>>>,
}

impl<T> Slot<T> {
    fn new(keep: bool) -> Self {
        Self { keep, held: Mutex::new(None) }
    }

    /// The network: as kept, else loaded. A load holds up others who want the same network, so that it happens once.
    fn get(&self, load: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        if !self.keep {
            return load().map(Arc::new);
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = held.as_ref() {
            return Ok(Arc::clone(network));
        }
        let network = Arc::new(load()?);
        *held = Some(Arc::clone(&network));
        Ok(network)
    }
}

/// The networks of one profile on one device.
pub(super) struct Models {
    dimensions: Dimensions,
    files: Files,
    checkpoint: Checkpoint,
    device: Device,
    unet_dtype: DType,
    vae_dtype: DType,
    unet: Slot<UNet>,
    vae: Slot<Vae>,
    text: Slot<TextEncoders>,
    vision: Slot<ClipVision>,
    ip_adapter_medium: Slot<IpAdapter>,
    ip_adapter_strong: Slot<IpAdapter>,
    t2i_depth: Slot<T2iAdapter>,
    t2i_lineart: Slot<T2iAdapter>,
    depth: Slot<DepthAnything>,
    lineart: Slot<LineArt>,
    background: Slot<U2Net>,
}

impl Models {
    /// Finds and checks all files; reads values only where everything is to stay resident.
    ///
    /// # Errors
    /// [`Error::Profile`] for files that are missing or do not fit.
    pub(super) fn open(
        profile: &SdxlProfile,
        hub: &Hub,
        device: &Device,
    ) -> std::result::Result<Self, Error> {
        let files = Files::locate(profile, hub)?;
        let mut checkpoint = Checkpoint::open(&files.checkpoint)?;
        for (path, strength) in &files.loras {
            checkpoint = checkpoint.with_lora(Lora::open(path)?, *strength);
        }
        let keep_main = profile.memory != MemoryPlan::Staged;
        let keep_all = profile.memory == MemoryPlan::Resident;
        let models = Self {
            dimensions: profile.dimensions.clone(),
            files,
            checkpoint,
            device: device.clone(),
            unet_dtype: unet_dtype(profile.precision, device),
            vae_dtype: vae_dtype(profile.vae_precision),
            unet: Slot::new(keep_main),
            vae: Slot::new(keep_main),
            text: Slot::new(keep_all),
            vision: Slot::new(keep_all),
            ip_adapter_medium: Slot::new(keep_all),
            ip_adapter_strong: Slot::new(keep_all),
            t2i_depth: Slot::new(keep_all),
            t2i_lineart: Slot::new(keep_all),
            depth: Slot::new(keep_all),
            lineart: Slot::new(keep_all),
            background: Slot::new(keep_all),
        };
        models.check()?;
        if keep_all {
            models.warm()?;
        }
        Ok(models)
    }

    /// What the UNet's output means.
    pub(super) fn prediction(&self) -> diffusion::Prediction {
        match self.checkpoint.prediction() {
            checkpoint::Prediction::Eps => diffusion::Prediction::Eps,
            checkpoint::Prediction::V => diffusion::Prediction::V,
        }
    }

    /// Where the networks compute.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The UNet's numeric format: that of its context and vector too.
    pub(super) fn unet_dtype(&self) -> DType {
        self.unet_dtype
    }

    /// The autoencoder's numeric format: that of its inputs too.
    pub(super) fn vae_dtype(&self) -> DType {
        self.vae_dtype
    }

    pub(super) fn unet(&self) -> Result<Arc<UNet>> {
        self.unet.get(|| UNet::load(&self.dimensions.unet, &self.unet_weights()?))
    }

    pub(super) fn vae(&self) -> Result<Arc<Vae>> {
        self.vae.get(|| Vae::load(&self.dimensions.vae, &self.vae_weights()?))
    }

    pub(super) fn text(&self) -> Result<Arc<TextEncoders>> {
        self.text.get(|| {
            let (l, g) = self.text_weights()?;
            TextEncoders::new(
                ClipText::load(&self.dimensions.clip_l, &l)?,
                ClipText::load(&self.dimensions.clip_g, &g)?,
            )
        })
    }

    pub(super) fn vision(&self) -> Result<Arc<ClipVision>> {
        let config = &self.dimensions.clip_vision;
        self.vision.get(|| ClipVision::load(config, &self.plain(&self.files.clip_vision)?))
    }

    pub(super) fn ip_adapter(&self, strength: Strength) -> Result<Arc<IpAdapter>> {
        let slot = match strength {
            Strength::Medium => &self.ip_adapter_medium,
            Strength::Strong => &self.ip_adapter_strong,
        };
        slot.get(|| self.load_ip_adapter(strength, &self.ip_adapter_weights(strength)?))
    }

    pub(super) fn t2i_depth(&self) -> Result<Arc<T2iAdapter>> {
        let config = &self.dimensions.t2i;
        self.t2i_depth.get(|| T2iAdapter::load(config, &self.plain(&self.files.t2i_depth)?))
    }

    pub(super) fn t2i_lineart(&self) -> Result<Arc<T2iAdapter>> {
        let config = &self.dimensions.t2i;
        self.t2i_lineart.get(|| T2iAdapter::load(config, &self.plain(&self.files.t2i_lineart)?))
    }

    pub(super) fn depth(&self) -> Result<Arc<DepthAnything>> {
        self.depth.get(|| DepthAnything::load(&self.dimensions.depth, &self.depth_weights()?))
    }

    pub(super) fn lineart(&self) -> Result<Arc<LineArt>> {
        let config = &self.dimensions.lineart;
        self.lineart.get(|| LineArt::load(config, &self.plain(&self.files.lineart)?))
    }

    pub(super) fn background(&self) -> Result<Arc<U2Net>> {
        self.background.get(|| U2Net::load(&self.dimensions.background, &self.background_weights()?))
    }

    /// Builds every network from names and shapes alone.
    fn check(&self) -> Result<()> {
        let d = &self.dimensions;
        UNet::load(&d.unet, &self.unet_weights()?.unread())?;
        Vae::load(&d.vae, &self.vae_weights()?.unread())?;
        let (l, g) = self.text_weights()?;
        ClipText::load(&d.clip_l, &l.unread())?;
        ClipText::load(&d.clip_g, &g.unread())?;
        ClipVision::load(&d.clip_vision, &self.plain(&self.files.clip_vision)?.unread())?;
        for strength in [Strength::Medium, Strength::Strong] {
            self.load_ip_adapter(strength, &self.ip_adapter_weights(strength)?.unread())?;
        }
        T2iAdapter::load(&d.t2i, &self.plain(&self.files.t2i_depth)?.unread())?;
        T2iAdapter::load(&d.t2i, &self.plain(&self.files.t2i_lineart)?.unread())?;
        DepthAnything::load(&d.depth, &self.depth_weights()?.unread())?;
        LineArt::load(&d.lineart, &self.plain(&self.files.lineart)?.unread())?;
        U2Net::load(&d.background, &self.background_weights()?.unread())?;
        Ok(())
    }

    /// Loads everything that stays.
    fn warm(&self) -> Result<()> {
        self.unet()?;
        self.vae()?;
        self.text()?;
        self.vision()?;
        self.ip_adapter(Strength::Medium)?;
        self.ip_adapter(Strength::Strong)?;
        self.t2i_depth()?;
        self.t2i_lineart()?;
        self.depth()?;
        self.lineart()?;
        self.background()?;
        Ok(())
    }

    fn load_ip_adapter(&self, strength: Strength, weights: &Weights) -> Result<IpAdapter> {
        let config = match strength {
            Strength::Medium => &self.dimensions.ip_adapter_medium,
            Strength::Strong => &self.dimensions.ip_adapter_strong,
        };
        IpAdapter::load(config, &self.dimensions.unet.style_layers(), weights)
    }

    fn unet_weights(&self) -> Result<Weights> {
        self.checkpoint.unet(&self.dimensions.unet, self.unet_dtype, &self.device)
    }

    fn vae_weights(&self) -> Result<Weights> {
        match &self.files.vae {
            None => self.checkpoint.vae(self.vae_dtype, &self.device),
            Some(path) => {
                let source = diffusers_vae(Arc::new(WeightFile::open(path)?));
                Ok(Weights::new(path.display().to_string(), source, self.vae_dtype, &self.device))
            }
        }
    }

    fn text_weights(&self) -> Result<(Weights, Weights)> {
        let l = self.checkpoint.clip_l(DType::F32, &self.device)?;
        Ok((l, self.checkpoint.clip_g(DType::F32, &self.device)?))
    }

    fn ip_adapter_weights(&self, strength: Strength) -> Result<Weights> {
        self.plain(match strength {
            Strength::Medium => &self.files.ip_adapter_medium,
            Strength::Strong => &self.files.ip_adapter_strong,
        })
    }

    fn depth_weights(&self) -> Result<Weights> {
        DepthAnything::weights(&self.files.depth, DType::F32, &self.device)
    }

    fn background_weights(&self) -> Result<Weights> {
        U2Net::weights(&self.files.background, DType::F32, &self.device)
    }

    /// A file whose names need no translation, in f32: everything but UNet and autoencoder computes in it.
    fn plain(&self, path: &Path) -> Result<Weights> {
        Weights::open(path, DType::F32, &self.device)
    }
}

fn unet_dtype(precision: Precision, device: &Device) -> DType {
    match precision {
        Precision::Auto if device.is_cpu() => DType::F32,
        Precision::Auto | Precision::F16 => DType::F16,
        Precision::Bf16 => DType::BF16,
        Precision::F32 => DType::F32,
    }
}

fn vae_dtype(precision: VaePrecision) -> DType {
    match precision {
        VaePrecision::F16 => DType::F16,
        VaePrecision::Bf16 => DType::BF16,
        VaePrecision::F32 => DType::F32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_network_is_loaded_once_and_a_released_one_each_time() {
        let loads = |slot: &Slot<u32>| {
            let mut count = 0;
            for _ in 0..3 {
                slot.get(|| {
                    count += 1;
                    Ok(7)
                })
                .expect("loads");
            }
            count
        };
        assert_eq!(loads(&Slot::new(true)), 1);
        assert_eq!(loads(&Slot::new(false)), 3);
    }

    #[test]
    fn half_precision_is_for_gpus() {
        assert_eq!(unet_dtype(Precision::Auto, &Device::Cpu), DType::F32);
        assert_eq!(unet_dtype(Precision::F16, &Device::Cpu), DType::F16);
    }
}
