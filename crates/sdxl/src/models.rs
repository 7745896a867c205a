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

use super::loader::{Edits, Loader};
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

/// One network: how it is read, and its home while it is in memory.
struct Slot<T, From = Loader> {
    keep: bool,
    load: fn(&From) -> Result<T>,
    held: Mutex<Option<Arc<T>>>,
}

impl<T, From> Slot<T, From> {
    fn new(keep: bool, load: fn(&From) -> Result<T>) -> Self {
        Self { keep, load, held: Mutex::new(None) }
    }

    /// The network: as kept, else loaded. A load holds up others who want the same network, so that it happens once.
    fn get(&self, loader: &From) -> Result<Arc<T>> {
        if !self.keep {
            return (self.load)(loader).map(Arc::new);
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = held.as_ref() {
            return Ok(Arc::clone(network));
        }
        let network = Arc::new((self.load)(loader)?);
        *held = Some(Arc::clone(&network));
        Ok(network)
    }
}

/// The one list of a profile's networks. Each line makes a slot and the function of [`Models`] that gives the network:
/// its name, its type, the memory plans that keep it, and how a [`Loader`] reads it.
macro_rules! networks {
    ($($name:ident: $type:ty, kept by $plans:pat, read by $load:expr;)*) => {
        /// A slot for each network.
        struct Slots {
            $($name: Slot<$type>,)*
        }

        impl Slots {
            fn new(plan: MemoryPlan) -> Self {
                Self { $($name: Slot::new(matches!(plan, $plans), $load),)* }
            }

            /// Builds every network and drops it.
            fn check(&self, loader: &Loader) -> Result<()> {
                $((self.$name.load)(loader)?;)*
                Ok(())
            }

            /// Loads every network.
            fn fill(&self, loader: &Loader) -> Result<()> {
                $(self.$name.get(loader)?;)*
                Ok(())
            }
        }

        impl Models {
            $(pub(super) fn $name(&self) -> Result<Arc<$type>> {
                self.slots.$name.get(&self.loader)
            })*
        }
    };
}

networks! {
    unet: UNet, kept by MemoryPlan::Resident | MemoryPlan::Released, read by Loader::unet;
    vae: Vae, kept by MemoryPlan::Resident | MemoryPlan::Released, read by Loader::vae;
    text: TextEncoders, kept by MemoryPlan::Resident, read by Loader::text;
    vision: ClipVision, kept by MemoryPlan::Resident, read by Loader::vision;
    ip_adapter_medium: IpAdapter, kept by MemoryPlan::Resident, read by |l| l.ip_adapter(Strength::Medium);
    ip_adapter_strong: IpAdapter, kept by MemoryPlan::Resident, read by |l| l.ip_adapter(Strength::Strong);
    t2i_depth: T2iAdapter, kept by MemoryPlan::Resident, read by Loader::t2i_depth;
    t2i_lineart: T2iAdapter, kept by MemoryPlan::Resident, read by Loader::t2i_lineart;
    depth: DepthAnything, kept by MemoryPlan::Resident, read by Loader::depth;
    lineart: LineArt, kept by MemoryPlan::Resident, read by Loader::lineart;
    background: U2Net, kept by MemoryPlan::Resident, read by Loader::background;
    edits: Edits, kept by MemoryPlan::Resident, read by Loader::edits;
}

/// The networks of one profile on one device.
pub(super) struct Models {
    loader: Loader,
    plan: MemoryPlan,
    slots: Slots,
}

impl Models {
    /// Checks every network's tensors by name and shape; loads at once where everything is to stay resident, else nothing
    /// yet.
    pub(super) fn new(loader: Loader, plan: MemoryPlan) -> Result<Self> {
        let slots = Slots::new(plan);
        slots.check(&loader)?;
        let loader = loader.reading();
        if plan == MemoryPlan::Resident {
            slots.fill(&loader)?;
        }
        Ok(Self { loader, plan, slots })
    }

    /// The adapter of this strength.
    pub(super) fn ip_adapter(&self, strength: Strength) -> Result<Arc<IpAdapter>> {
        match strength {
            Strength::Medium => self.ip_adapter_medium(),
            Strength::Strong => self.ip_adapter_strong(),
        }
    }

    /// Whether the adapter of this strength reads the embedding, which is what edits change.
    pub(super) fn reads_embedding(&self, strength: Strength) -> bool {
        self.loader.reads_embedding(strength)
    }

    /// Whether there is a network for the edit of this name.
    pub(super) fn has_edit(&self, name: &str) -> bool {
        self.loader.has_edit(name)
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

    /// Whether all networks stay in memory: then a second transfer loads none beside those of the first.
    pub(super) fn keeps_all(&self) -> bool {
        self.plan == MemoryPlan::Resident
    }

    /// The UNet's numeric format: that of its context and vector too.
    pub(super) fn unet_dtype(&self) -> DType {
        self.loader.unet_dtype
    }

    /// The autoencoder's numeric format: that of its inputs too.
    pub(super) fn vae_dtype(&self) -> DType {
        self.loader.vae_dtype
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
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_kept_network_is_loaded_once_and_a_released_one_each_time() {
        let loads = |keep: bool| {
            let slot: Slot<u32, Cell<u32>> = Slot::new(keep, |count| {
                count.set(count.get() + 1);
                Ok(7)
            });
            let count = Cell::new(0);
            for _ in 0..3 {
                assert_eq!(*slot.get(&count).expect("loads"), 7);
            }
            count.get()
        };
        assert_eq!(loads(true), 1);
        assert_eq!(loads(false), 3);
    }
}
