//! Golden tensors of the reference pipeline (`tests/golden/` at the top of the repository) and the comparison with them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use candle_core::{DType, Tensor};
use networks::checkpoint::Checkpoint;
use networks::clip::vision::ClipVisionConfig;
use networks::ip_adapter::{IpAdapterConfig, PlusConfig, StandardConfig};
use networks::t2i_adapter::T2iConfig;
use networks::unet::UNetConfig;
use networks::weights::Source;
use networks::{Result, Weights, synthetic};

#[path = "../../../kernels/tests/device/mod.rs"]
mod shared;

pub(crate) use shared::device;

/// A file of the golden folder.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name)
}

/// The tensors of one stage, on the device under test.
pub(crate) struct Golden(HashMap<String, Tensor>);

impl Golden {
    pub(crate) fn open(stage: &str) -> Result<Self> {
        let file = path(&format!("stages/{stage}.safetensors"));
        Ok(Self(candle_core::safetensors::load(file, &device())?))
    }

    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("golden tensor {name} is missing")).clone()
    }

    /// An H×W×3 u8 picture as (1, 3, H, W) in [0, 1].
    pub(crate) fn picture(&self, name: &str) -> Result<Tensor> {
        let picture = self.get(name).to_dtype(DType::F32)?.permute((2, 0, 1))?.unsqueeze(0)?;
        Ok((picture.contiguous()? / 255.0)?)
    }

    /// Fails if any element of `got` is farther than `tolerance` from the golden tensor `name`; prints the largest error.
    #[track_caller]
    pub(crate) fn compare(&self, name: &str, got: &Tensor, tolerance: f64) -> Result<()> {
        let want = self.get(name);
        assert_eq!(got.dims(), want.dims(), "shape of {name}");
        let (error, tolerance) = (largest_difference(got, &want)?, tolerance * shared::slack());
        println!("{name}: {error:.2e} of {tolerance:.0e}");
        assert!(error <= tolerance, "{name}: error {error:e} exceeds {tolerance:e}");
        Ok(())
    }
}

/// max |a − b|; NaN anywhere counts as infinite.
pub(crate) fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    let values = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let pairs = values(a)?.into_iter().zip(values(b)?);
    let worst = |worst: f64, (a, b): (f64, f64)| worst.max(if a == b { 0.0 } else { (a - b).abs() });
    Ok(pairs
        .map(|(a, b)| if (a - b).is_nan() && a != b { (f64::INFINITY, 0.0) } else { (a, b) })
        .fold(0.0, worst))
}

/// The synthetic weights of a model of the manifest, as its file would give them.
pub(crate) fn weights(model: &str) -> Result<Weights> {
    Ok(Weights::new(format!("synthetic {model}"), source(model)?, DType::F32, &device()))
}

pub(crate) use networks::weights::Shapes;

/// The synthetic weights of a model of the manifest, under the names of its file.
pub(crate) fn source(model: &str) -> Result<Arc<dyn Source>> {
    synthetic::source(model, &synthetic::read_manifest(&path("weights_manifest.json"))?[model])
}

/// Values in all tensors together.
pub(crate) fn parameters(shapes: &Shapes) -> usize {
    shapes.values().map(|shape| shape.iter().product::<usize>()).sum()
}

/// The tiny SDXL checkpoint, written once as the single file users have, and opened as such.
pub(crate) fn tiny_checkpoint() -> Result<Checkpoint> {
    static FILE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("sdxl_tiny.safetensors");
        let manifest = synthetic::read_manifest(&path("weights_manifest.json")).expect("a manifest");
        synthetic::write("sdxl_tiny", &manifest["sdxl_tiny"], &file).expect("a written checkpoint");
        (folder, file)
    });
    Checkpoint::open(&FILE.1)
}

/// Dimensions of the tiny UNet (`weights_manifest.json`).
pub(crate) fn tiny_unet() -> UNetConfig {
    UNetConfig { model_channels: 32, head_dim: 16, context_dim: 80, vector_dim: 1584, ..UNetConfig::sdxl() }
}

pub(crate) fn tiny_vision() -> ClipVisionConfig {
    ClipVisionConfig { width: 64, layers: 4, heads: 4, mlp: 256, projection: 40, ..ClipVisionConfig::vit_h() }
}

pub(crate) fn tiny_standard() -> IpAdapterConfig {
    IpAdapterConfig::Standard(StandardConfig { embedding: 40, tokens: 4, context: 80 })
}

pub(crate) fn tiny_plus() -> IpAdapterConfig {
    IpAdapterConfig::Plus(PlusConfig {
        states: 64,
        width: 48,
        depth: 4,
        heads: 3,
        head_dim: 16,
        tokens: 16,
        mlp_mult: 4,
        context: 80,
    })
}

pub(crate) fn tiny_t2i() -> T2iConfig {
    T2iConfig { channels: [32, 64, 128, 128], ..T2iConfig::xl() }
}

/// CLIP's input from a picture (1, 3, h, w) in [0, 1] (ComfyUI's `clip_preprocess`): antialiased bicubic to a short side of 224, centre
/// crop, rounding to 8 bits, normalisation.
pub(crate) fn clip_pixels(picture: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = picture.dims4()?;
    let scale = 224.0 / h.min(w) as f64;
    let size = |n: usize| (n as f64 * scale).round_ties_even() as usize;
    let x = picture.squeeze(0)?;
    let x = x.broadcast_matmul(&bicubic(w, size(w))?.t()?)?;
    let x = bicubic(h, size(h))?.broadcast_matmul(&x)?;
    let x = x.narrow(1, (size(h) - 224) / 2, 224)?.narrow(2, (size(w) - 224) / 2, 224)?.unsqueeze(0)?;
    // Halves are not to be expected after a resize, so plain rounding will do.
    let x = ((x * 255.0)?.clamp(0f32, 255f32)?.round()? / 255.0)?;
    let (mean, deviation) = (channels(CLIP_MEAN)?, channels(CLIP_DEVIATION)?);
    Ok(x.broadcast_sub(&mean)?.broadcast_div(&deviation)?)
}

/// Resampling matrix (out, input), a = −0.5, widened when shrinking.
fn bicubic(input: usize, out: usize) -> Result<Tensor> {
    const A: f64 = -0.5;
    let kernel = |x: f64| match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => A * x * x * x - 5.0 * A * x * x + 8.0 * A * x - 4.0 * A,
        _ => 0.0,
    };
    let scale = input as f64 / out as f64;
    let (widen, mut weights) = (scale.max(1.0), vec![0f32; out * input]);
    for (i, row) in weights.chunks_mut(input).enumerate() {
        let centre = (i as f64 + 0.5) * scale;
        let low = (centre - 2.0 * widen + 0.5).max(0.0) as usize;
        let high = ((centre + 2.0 * widen + 0.5) as usize).min(input);
        let taps: Vec<f64> = (low..high).map(|j| kernel((j as f64 - centre + 0.5) / widen)).collect();
        let total: f64 = taps.iter().sum();
        row[low..high].iter_mut().zip(taps).for_each(|(weight, tap)| *weight = (tap / total) as f32);
    }
    Ok(Tensor::from_vec(weights, (out, input), &device())?)
}

const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const CLIP_DEVIATION: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

fn channels(values: [f64; 3]) -> Result<Tensor> {
    Ok(Tensor::new(&values.map(|v| v as f32), &device())?.reshape((1, 3, 1, 1))?)
}

/// The black picture after CLIP's normalisation: −mean/deviation in every channel.
pub(crate) fn black_pixels() -> Result<Tensor> {
    let black = Tensor::zeros((1, 3, 224, 224), DType::F32, &device())?;
    Ok(black.broadcast_sub(&channels(CLIP_MEAN)?)?.broadcast_div(&channels(CLIP_DEVIATION)?)?)
}
