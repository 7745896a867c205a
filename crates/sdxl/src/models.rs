//! The memory plan: each network is loaded when first needed, then kept or released; large pictures pass the autoencoder in
//! tiles.
//!
//! How a network is read from its file is the [`Loader`]'s business.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device};
use networks::Result;
use networks::clip::conditioning::TextEncoders;
use networks::clip::vision::ClipVision;
use networks::depth::DepthAnything;
use networks::ip_adapter::IpAdapter;
use networks::line_art::LineArt;
use networks::t2i_adapter::T2iAdapter;
use networks::u2net::U2Net;
use networks::unet::UNet;
use networks::vae::Vae;

use super::loader::Loader;
use crate::Strength;
use crate::card::memory;
use crate::profile::{MemoryPlan, SdxlProfile};

/// Side of the autoencoder's tiles in pixels, where the memory plan asks for tiles and the profile does not say.
const VAE_TILE: usize = 1024;
/// Tiles overlap by this share of their side.
const VAE_OVERLAP: usize = 8;

/// Bytes of a card that networks, hints, CUDA's context and libraries take while the UNet works: where everything is resident, and
/// where only UNet and autoencoder are.
const HELD_RESIDENT: u64 = 16 << 30;
const HELD: u64 = 8 << 30;
/// Bytes that a batch of two needs for each pixel of the output: its widest activations and their workspace.
const BYTES_FOR_TWO: u64 = 2500;

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
    loader: Loader,
    plan: MemoryPlan,
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
    /// Loads at once where everything is to stay resident, else nothing yet.
    pub(super) fn new(loader: Loader, plan: MemoryPlan) -> Result<Self> {
        let keep_main = plan != MemoryPlan::Staged;
        let keep_all = plan == MemoryPlan::Resident;
        let models = Self {
            loader,
            plan,
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
        if keep_all {
            models.warm()?;
        }
        Ok(models)
    }

    /// Loads every network.
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

    /// What the UNet's output means.
    pub(super) fn prediction(&self) -> diffusion::Prediction {
        self.loader.prediction()
    }

    /// Where the networks compute.
    pub(super) fn device(&self) -> &Device {
        &self.loader.device
    }

    /// Whether the UNet takes both halves of guidance in one batch, for an output of this height and width: on CUDA devices whose
    /// memory holds that beside the networks. Decided by what a card has, not by what is free, so that a seed gives the same
    /// picture every time.
    pub(super) fn has_room_for_two(&self, (height, width): (usize, usize)) -> bool {
        let held = if self.plan == MemoryPlan::Resident { HELD_RESIDENT } else { HELD };
        let needed = held + (height * width) as u64 * BYTES_FOR_TWO;
        memory(self.device()).is_some_and(|memory| memory >= needed)
    }

    /// The UNet's numeric format: that of its context and vector too.
    pub(super) fn unet_dtype(&self) -> DType {
        self.loader.unet_dtype
    }

    /// The autoencoder's numeric format: that of its inputs too.
    pub(super) fn vae_dtype(&self) -> DType {
        self.loader.vae_dtype
    }

    pub(super) fn unet(&self) -> Result<Arc<UNet>> {
        self.unet.get(|| self.loader.unet())
    }

    pub(super) fn vae(&self) -> Result<Arc<Vae>> {
        self.vae.get(|| self.loader.vae())
    }

    pub(super) fn text(&self) -> Result<Arc<TextEncoders>> {
        self.text.get(|| self.loader.text())
    }

    pub(super) fn vision(&self) -> Result<Arc<ClipVision>> {
        self.vision.get(|| self.loader.vision())
    }

    pub(super) fn ip_adapter(&self, strength: Strength) -> Result<Arc<IpAdapter>> {
        let slot = match strength {
            Strength::Medium => &self.ip_adapter_medium,
            Strength::Strong => &self.ip_adapter_strong,
        };
        slot.get(|| self.loader.ip_adapter(strength))
    }

    pub(super) fn t2i_depth(&self) -> Result<Arc<T2iAdapter>> {
        self.t2i_depth.get(|| self.loader.t2i_depth())
    }

    pub(super) fn t2i_lineart(&self) -> Result<Arc<T2iAdapter>> {
        self.t2i_lineart.get(|| self.loader.t2i_lineart())
    }

    pub(super) fn depth(&self) -> Result<Arc<DepthAnything>> {
        self.depth.get(|| self.loader.depth())
    }

    pub(super) fn lineart(&self) -> Result<Arc<LineArt>> {
        self.lineart.get(|| self.loader.lineart())
    }

    pub(super) fn background(&self) -> Result<Arc<U2Net>> {
        self.background.get(|| self.loader.background())
    }
}

/// Side and overlap of the autoencoder's tiles in latent pixels; none: never tiled.
pub(super) fn vae_tiles(profile: &SdxlProfile) -> Option<(usize, usize)> {
    let usual = if profile.memory == MemoryPlan::Resident { 0 } else { VAE_TILE };
    let side = profile.vae_tile.unwrap_or(usual) / profile.dimensions.vae.factor();
    (side > 0).then_some((side, side / VAE_OVERLAP))
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
}
