//! Weight files of SDXL's published dimensions with random values in half precision, written as a user would have them.
//!
//! Each network is asked for its tensors (`Weights::blank`), so no list of names is needed. Values are uniform with unit
//! variance through a layer, norm weights one, biases zero, so that activations stay in range through all layers.

use std::borrow::Cow;
use std::path::Path;

use candle_core::{DType, Device};
use networks::clip::text::{ClipText, ClipTextConfig};
use networks::clip::vision::{ClipVision, ClipVisionConfig};
use networks::depth::{DepthAnything, DepthConfig};
use networks::ip_adapter::{IpAdapter, IpAdapterConfig};
use networks::line_art::{LineArt, LineArtConfig};
use networks::t2i_adapter::{T2iAdapter, T2iConfig};
use networks::u2net::{U2Net, U2NetConfig};
use networks::unet::{UNet, UNetConfig};
use networks::vae::{Vae, VaeConfig};
use networks::weights::Shapes;
use networks::{Result, Weights};
use safetensors::tensor::{Dtype, View};

/// Profile over the files of [`write`].
const PROFILE: &str = r#"
engine = "sdxl"
precision = "auto"

[weights]
checkpoint = "checkpoint"
background = "background.safetensors"
clip_vision = "clip_vision.safetensors"
ip_adapter_medium = "ip_adapter_medium.safetensors"
ip_adapter_strong = "ip_adapter_strong.safetensors"
t2i_depth = "t2i.safetensors"
t2i_lineart = "t2i.safetensors"
depth = "depth.safetensors"
lineart = "lineart.safetensors"
"#;

/// Writes every network's file into `folder`, where it is not there already, and the profile with this memory plan and numeric format
/// of the autoencoder.
pub(crate) fn write(
    folder: &Path,
    memory: &str,
    vae: Option<&str>,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let style = UNetConfig::sdxl().style_layers();
    let standard = IpAdapterConfig::standard();
    let plus = IpAdapterConfig::plus();
    file(folder, "checkpoint/unet/diffusion_pytorch_model", |w| {
        UNet::load(&UNetConfig::sdxl(), w).map(drop)
    })?;
    file(folder, "checkpoint/vae/diffusion_pytorch_model", |w| Vae::load(&VaeConfig::sdxl(), w).map(drop))?;
    file(folder, "checkpoint/text_encoder/model", |w| {
        ClipText::load(&ClipTextConfig::clip_l(), w).map(drop)
    })?;
    file(folder, "checkpoint/text_encoder_2/model", |w| {
        ClipText::load(&ClipTextConfig::clip_g(), w).map(drop)
    })?;
    file(folder, "clip_vision", |w| ClipVision::load(&ClipVisionConfig::vit_h(), w).map(drop))?;
    file(folder, "ip_adapter_medium", |w| IpAdapter::load(&standard, &style, w).map(drop))?;
    file(folder, "ip_adapter_strong", |w| IpAdapter::load(&plus, &style, w).map(drop))?;
    file(folder, "t2i", |w| T2iAdapter::load(&T2iConfig::xl(), w).map(drop))?;
    file(folder, "depth", |w| DepthAnything::load(&DepthConfig::large(), w).map(drop))?;
    file(folder, "lineart", |w| LineArt::load(&LineArtConfig::default(), w).map(drop))?;
    file(folder, "background", |w| U2Net::load(&U2NetConfig::u2net(), w).map(drop))?;
    let vae = vae.map_or_else(String::new, |vae| format!("vae_precision = {vae:?}\n"));
    std::fs::write(folder.join("profile.toml"), format!("memory = {memory:?}\n{vae}{PROFILE}"))?;
    Ok(())
}

/// One file with the tensors that `load` asks for.
fn file(
    folder: &Path,
    name: &str,
    load: impl FnOnce(&Weights) -> Result<()>,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let path = folder.join(format!("{name}.safetensors"));
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let weights = Weights::blank(DType::F32, &Device::Cpu);
    load(&weights)?;
    let shapes: Shapes = weights.asked();
    let tensors = shapes.into_iter().map(|(name, shape)| {
        let seed = name.bytes().fold(1u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
        (name.clone(), Random { norm: is_norm(&name, &shape), shape, seed })
    });
    let part = path.with_extension("part");
    safetensors::serialize_to_file(tensors, None, &part)?;
    std::fs::rename(&part, &path)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Vectors called weight scale a normalisation; running variances are divided by.
fn is_norm(name: &str, shape: &[usize]) -> bool {
    shape.len() == 1 && (name.ends_with("weight") || name.ends_with("var") || name.ends_with("lambda1"))
}

/// A tensor whose bytes exist only while they are written.
struct Random {
    shape: Vec<usize>,
    norm: bool,
    seed: u64,
}

impl View for Random {
    fn dtype(&self) -> Dtype {
        Dtype::F16
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let count = self.data_len() / 2;
        let fan_in: usize = self.shape.iter().skip(1).product();
        let bound = (3.0 / fan_in.max(1) as f32).sqrt();
        let mut state = self.seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let value = |u: f32| match (self.shape.len(), self.norm) {
            (1, true) => 1.0,
            (1, false) => 0.0,
            _ => u * bound,
        };
        // A repeated stretch of noise is as good as noise, and written a hundred times as fast.
        let stretch: Vec<u8> =
            (0..count.min(1 << 16)).flat_map(|_| half::f16::from_f32(value(next())).to_le_bytes()).collect();
        stretch.iter().copied().cycle().take(2 * count).collect()
    }

    fn data_len(&self) -> usize {
        2 * self.shape.iter().product::<usize>()
    }
}
