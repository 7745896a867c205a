//! Names and shapes at full size against diffusers and transformers (`tests/golden/full_size_names.py`): none missing, none
//! extra. The names a single file's UNet and autoencoder are translated to are the same.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use networks::clip::text::{ClipText, ClipTextConfig};
use networks::clip::vision::{ClipVision, ClipVisionConfig};
use networks::depth::{DepthAnything, DepthConfig};
use networks::t2i_adapter::{T2iAdapter, T2iConfig};
use networks::unet::{UNet, UNetConfig};
use networks::vae::{Vae, VaeConfig};
use networks::weights::{Memory, Shapes, Source};
use networks::{Result, Weights};

use crate::golden;

fn full_size() -> HashMap<String, Shapes> {
    let text = std::fs::read(golden::path("full_size_names.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Weights that take no memory, with exactly these names and shapes.
fn hollow(shapes: &Shapes) -> Result<Arc<dyn Source>> {
    let zero = Tensor::zeros((), DType::F16, &Device::Cpu)?;
    let tensor =
        |(name, shape): (&String, &Vec<usize>)| Ok((name.clone(), zero.broadcast_as(shape.as_slice())?));
    Ok(Arc::new(Memory(shapes.iter().map(tensor).collect::<Result<_>>()?)))
}

/// Loading ends with [`Weights::finish`], so it fails on an extra tensor too.
#[test]
fn layout_of_diffusers_and_transformers() -> Result<()> {
    let names = full_size();
    let weights = |name: &str| -> Result<Weights> {
        Ok(Weights::new(name, hollow(&names[name])?, DType::F16, &Device::Cpu))
    };
    UNet::load(&UNetConfig::sdxl(), &weights("unet")?)?;
    Vae::load(&VaeConfig::sdxl(), &weights("vae")?)?;
    ClipText::load(&ClipTextConfig::clip_l(), &weights("clip_l")?)?;
    ClipText::load(&ClipTextConfig::clip_g(), &weights("clip_g")?)?;
    ClipVision::load(&ClipVisionConfig::vit_h(), &weights("clip_vision")?)?;
    T2iAdapter::load(&T2iConfig::xl(), &weights("t2i")?)?;
    DepthAnything::load(&DepthConfig::large(), &weights("depth")?).map(drop)
}

/// The tiny checkpoint has as many blocks as the real one, so its translated names are the real ones.
#[test]
fn layout_of_single_files() -> Result<()> {
    let (names, checkpoint) = (full_size(), golden::tiny_checkpoint()?);
    let unet = checkpoint.unet(&golden::tiny_unet(), DType::F32, &Device::Cpu)?;
    UNet::load(&golden::tiny_unet(), &unet)?;
    let vae = checkpoint.vae(DType::F32, &Device::Cpu)?;
    Vae::load(&VaeConfig { channels: 32, ..VaeConfig::sdxl() }, &vae)?;
    for (weights, name) in [(unet, "unet"), (vae, "vae")] {
        assert!(weights.asked().keys().eq(names[name].keys()), "{name}");
    }
    Ok(())
}
