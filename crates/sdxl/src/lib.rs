//! The reference pipeline: the workflow behind the hosted service, node by node, on SDXL.
//!
//! [`Sdxl`] is the engine, [`SdxlProfile`] its settings. Its pixel stages are public modules of pure functions, each one node of the workflow with its
//! quirks, as the goldens in `tests/golden/` show it: the resize cap, background removal before and after its network, mask
//! blur, grey-out, the crops, the two hints, the way back to 8 bits. There, 8-bit pictures are `image` buffers, masks are
//! [`Plane`]s in [0, 1] with 1 = subject, network inputs are f32 tensors (1, c, h, w) on the CPU.

use candle_core::{Device, Result, Tensor};
use engine::{
    Background, Cancel, Clock, Engine, Error, Intermediate, MaterialFit, Outcome, Pictures, Progress,
    Settings, Strength, Transfer, View,
};
use image::{ImageBuffer, Luma};
use pixels::Picture;

pub mod background;
pub mod blur;
mod cache;
mod card;
pub mod crop;
mod denoiser;
pub mod depth;
pub mod exact;
mod frame;
pub mod greyout;
pub mod hint;
pub mod inpaint;
pub mod lineart;
mod loader;
pub mod material;
mod models;
mod profile;
mod regions;
pub mod resize;
mod run;
pub mod save;
mod sdxl;

pub use self::profile::{
    Conditioning, Corrected, Corrections, Dimensions, EditFiles, EditScales, Fidelity, HintStrength, Hybrid,
    ImageLayers, LoraFile, MemoryPlan, Precision, Sampling, SdxlProfile, VaePrecision, WeightFiles,
};
pub use self::sdxl::Sdxl;

/// One f32 channel, row-major.
pub type Plane = ImageBuffer<Luma<f32>, Vec<f32>>;

/// Mean and deviation of ImageNet's training pixels, RGB; U²-Net and Depth Anything expect their input normalised by them.
pub(crate) const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
pub(crate) const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

/// A plane from values that are known to be `width`·`height` many.
pub(crate) fn plane(width: u32, height: u32, values: impl Iterator<Item = f32>) -> Plane {
    let mut values = values;
    Plane::from_fn(width, height, |_, _| Luma([values.next().unwrap_or(0.0)]))
}

/// Interleaved RGB samples (height × width × 3) as a network reads them, each through `value` with its channel: (1, 3, h, w).
pub(crate) fn planar<T: Copy>(
    samples: &[T],
    (width, height): (usize, usize),
    value: impl Fn(usize, T) -> f32,
) -> Result<Tensor> {
    let channel = |c: usize| samples.iter().skip(c).step_by(3).map(move |sample| (c, *sample));
    let values: Vec<f32> = (0..3).flat_map(channel).map(|(c, sample)| value(c, sample)).collect();
    Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu)
}

/// Stretched from its own minimum and maximum to 0 and 255, fractions dropped; a flat map is all 0.
#[must_use]
pub fn stretched(map: &[f32]) -> Vec<u8> {
    let low = map.iter().copied().fold(f32::INFINITY, f32::min);
    let high = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = high - low;
    map.iter().map(|v| if range > 0.0 { truncate_u8((v - low) / range * 255.0) } else { 0 }).collect()
}

/// `v` brought to 8 bits by dropping the fraction, as the reference does wherever it leaves floating point.
pub(crate) fn truncate_u8(v: f32) -> u8 {
    v.clamp(0.0, 255.0) as u8
}
