//! Synthetic weights: every value a pure function of model name, tensor name and flat index, so that golden tests and
//! full-size rehearsals need no weight files (the rule of `tests/golden/README.md`).
//!
//! splitmix64 seeded with the FNV-1a hash of `model/tensor` gives u in [0, 1) with 24 bits; the value is
//! offset + bound·(2u−1), with a bound that keeps activations near unit variance.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::weights::{Memory, Shapes, Source};
use crate::{Error, Result};

/// Tables and tokens: uniform in ±0.5.
const TABLES: [&str; 8] = [
    "cls_token",
    "pos_embed",
    "mask_token",
    "latents",
    "class_embedding",
    "positional_embedding",
    "position_embedding.weight",
    "token_embedding.weight",
];

/// (model, ending of the tensor's name, factor on the bound): latents near the scale of real ones, masks with contrast.
const GAINS: [(&str, &str, f64); 3] = [
    ("sdxl_tiny", "first_stage_model.quant_conv.weight", 15.0),
    ("sdxl_tiny", "first_stage_model.post_quant_conv.weight", 0.15),
    ("u2netp_synth", "outconv.weight", 20.0),
];

/// (model, tensor, first input channel, value): added to the centre taps [i, first + i], i < 4, so that the tiny UNet has
/// a path from input to output and its prediction resembles noise.
const TAPS: [(&str, &str, usize, f32); 3] = [
    ("sdxl_tiny", "model.diffusion_model.input_blocks.0.0.weight", 0, 4.0),
    ("sdxl_tiny", "model.diffusion_model.output_blocks.8.0.skip_connection.weight", 32, 6.0),
    ("sdxl_tiny", "model.diffusion_model.out.2.weight", 0, 1.8),
];

/// The values of one tensor, row-major.
pub fn values(model: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let (offset, bound) = rule(model, name, shape);
    let seed = fnv1a64(model.bytes().chain([b'/']).chain(name.bytes()));
    let count = shape.iter().product::<usize>() as u64;
    let mut values: Vec<f32> =
        (1..=count).map(|i| (offset + bound * (2.0 * uniform(seed, i) - 1.0)) as f32).collect();
    let tap = TAPS.iter().find(|(m, n, ..)| *m == model && *n == name);
    if let (Some((_, _, first, value)), &[_, inputs, kh, kw]) = (tap, shape) {
        for i in 0..4 {
            values[((i * inputs + first + i) * kh + kh / 2) * kw + kw / 2] += value;
        }
    }
    values
}

/// All tensors of a model, in memory.
///
/// # Errors
/// Where memory for a tensor cannot be had.
pub fn source(model: &str, shapes: &Shapes) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(Memory(tensors(model, shapes)?)))
}

/// Writes a model as one safetensors file, f32.
///
/// # Errors
/// A file that cannot be written.
pub fn write(model: &str, shapes: &Shapes, path: &Path) -> Result<()> {
    safetensors::serialize_to_file(tensors(model, shapes)?, None, path)
        .map_err(|error| Error::file(path, format!("cannot be written: {error}")))
}

/// Names and shapes of every model of a weights manifest (`{"models": {NAME: {"tensors": {NAME: SHAPE}}}}`).
///
/// # Errors
/// A file that cannot be read or is no manifest.
pub fn read_manifest(path: &Path) -> Result<HashMap<String, Shapes>> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        models: HashMap<String, Model>,
    }
    #[derive(serde::Deserialize)]
    struct Model {
        tensors: Shapes,
    }
    let text = std::fs::read(path).map_err(|error| Error::file(path, format!("cannot be read: {error}")))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| Error::file(path, format!("is not a weights manifest: {error}")))?;
    Ok(manifest.models.into_iter().map(|(name, model)| (name, model.tensors)).collect())
}

fn tensors(model: &str, shapes: &Shapes) -> Result<HashMap<String, Tensor>> {
    let tensor = |(name, shape): (&String, &Vec<usize>)| {
        let tensor = Tensor::from_vec(values(model, name, shape), shape.as_slice(), &Device::Cpu)?;
        Ok((name.clone(), tensor))
    };
    shapes.iter().map(tensor).collect()
}

/// (offset, bound) of a tensor's uniform distribution.
fn rule(model: &str, name: &str, shape: &[usize]) -> (f64, f64) {
    let gain = GAINS.iter().find(|(m, ending, _)| *m == model && name.ends_with(ending)).map_or(1.0, |g| g.2);
    if TABLES.iter().any(|ending| name.ends_with(ending)) {
        (0.0, 0.5 * gain)
    } else if shape.len() >= 2 {
        let fan_in: usize = shape[1..].iter().product();
        (0.0, gain * (3.0 / fan_in as f64).sqrt())
    } else if name.ends_with("running_var") {
        (1.0, 0.5)
    } else if name.ends_with("running_mean") {
        (0.0, 0.1)
    } else if name.ends_with("bias") {
        (0.0, 0.1 * gain)
    } else {
        (1.0, 0.1 * gain)
    }
}

fn fnv1a64(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The `i`-th output of splitmix64 from `seed`, its top 24 bits as a fraction.
fn uniform(seed: u64, i: u64) -> f64 {
    let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 40) as f64 / f64::from(1 << 24)
}
