//! The salient-object network: from a picture to a coarse mask.
//!
//! A description (`models/mask.toml`, written by `training/` together with the weights) says how wide the stages are and how
//! pictures are brought to the network: squeezed to a square, divided by the largest value, normalised a channel.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use networks::Weights;
use networks::u2net::{StageWidths, U2Net, U2NetConfig};
use networks::weights::Memory;
use serde::Deserialize;

use crate::Error;
use crate::exemplar::raster::{Kernel, Raster};

const DESCRIPTION: &str = include_str!("../../../../models/mask.toml");
const WEIGHTS: &[u8] = include_bytes!("../../../../models/mask.safetensors");

/// A network and its way of looking at pictures.
#[derive(Debug)]
pub(crate) struct MaskNetwork {
    network: U2Net,
    description: Description,
    device: Device,
}

/// The file around the description; the keys that document the weights' origin are read by people only.
#[derive(Deserialize)]
struct Document {
    mask: Description,
}

#[derive(Debug, Clone, Deserialize)]
struct Description {
    /// The weights' file, beside the description.
    file: String,
    /// Side of the network's square input, in pixels.
    input: usize,
    divide_by: Divisor,
    mean: [f32; 3],
    std: [f32; 3],
    stages: BTreeMap<String, Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Divisor {
    /// The largest value in the picture.
    Max,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Stage {
    mid: usize,
    out: usize,
}

/// Below this, the network is sure of nothing anywhere.
const LEAST_CERTAINTY: f32 = 0.5;

impl MaskNetwork {
    pub(crate) fn open(name: &str, device: &Device) -> Result<Self, Error> {
        if name == "embedded" {
            return Self::new(DESCRIPTION, "embedded", |_| Ok(WEIGHTS.to_vec()), device);
        }
        let path = Path::new(name);
        let read =
            |path: &Path| std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source });
        let text = String::from_utf8(read(path)?).map_err(|error| bad(name, &error))?;
        Self::new(&text, name, |file| read(&path.with_file_name(file)), device)
    }

    fn new(
        text: &str,
        origin: &str,
        weights: impl Fn(&str) -> Result<Vec<u8>, Error>,
        device: &Device,
    ) -> Result<Self, Error> {
        let Document { mask: description } = toml::from_str(text).map_err(|error| bad(origin, &error))?;
        if !(32..=1024).contains(&description.input) {
            return Err(bad(
                origin,
                &format!("mask.input is {}; it must lie between 32 and 1024", description.input),
            ));
        }
        let tensors: HashMap<String, Tensor> =
            candle_core::safetensors::load_buffer(&weights(&description.file)?, &Device::Cpu)
                .map_err(|error| bad(origin, &error))?;
        let weights = Weights::new(description.file.clone(), Arc::new(Memory(tensors)), DType::F32, device);
        let network =
            U2Net::load(&description.widths(origin)?, &weights).map_err(|error| bad(origin, &error))?;
        Ok(Self { network, description, device: device.clone() })
    }

    /// The coarse mask, stretched to its full range; `None` when nothing in the picture stands out.
    pub(crate) fn look(&self, picture: &RgbImage) -> Result<Option<Raster>, Error> {
        let side = self.description.input;
        let square = Raster::from_rgb(picture).resize(side, side, Kernel::Lanczos);
        let divisor = match self.description.divide_by {
            Divisor::Max => square.data.iter().copied().fold(0.0, f32::max),
        };
        if divisor <= 0.0 {
            return Ok(None);
        }
        let Description { mean, std, .. } = self.description;
        let normal = square.map(3, |p, o| {
            for (c, o) in o.iter_mut().enumerate() {
                *o = (p[c].clamp(0.0, 1.0) / divisor - mean[c]) / std[c];
            }
        });
        let x = Tensor::from_vec(normal.data, (1, side, side, 3), &Device::Cpu)?;
        let x = x.permute((0, 3, 1, 2))?.contiguous()?.to_device(&self.device)?;
        let d0 = self.network.forward(&x).map_err(|error| Error::Compute(candle_core::Error::wrap(error)))?;
        let values = d0.flatten_all()?.to_vec1::<f32>()?;
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // `is_nan` hides in the comparison: a network gone wrong finds nothing.
        if !(most >= LEAST_CERTAINTY && most - least > 0.1) {
            return Ok(None);
        }
        let data = values.iter().map(|v| (v - least) / (most - least)).collect();
        Ok(Some(Raster { width: side, height: side, channels: 1, data }))
    }
}

impl Description {
    fn widths(&self, origin: &str) -> Result<U2NetConfig, Error> {
        let stage = |name: &str| {
            let Stage { mid, out } = *self
                .stages
                .get(name)
                .ok_or_else(|| bad(origin, &format!("mask.stages.{name} is missing")))?;
            Ok::<_, Error>(StageWidths { mid, out })
        };
        Ok(U2NetConfig {
            encoder: [
                stage("stage1")?,
                stage("stage2")?,
                stage("stage3")?,
                stage("stage4")?,
                stage("stage5")?,
                stage("stage6")?,
            ],
            decoder: [
                stage("stage5d")?,
                stage("stage4d")?,
                stage("stage3d")?,
                stage("stage2d")?,
                stage("stage1d")?,
            ],
        })
    }
}

fn bad(origin: &str, what: &dyn std::fmt::Display) -> Error {
    Error::Profile(format!("mask network {origin}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_without_a_stage_or_with_wrong_widths_is_refused_by_name() {
        let refused = |text: &str| {
            MaskNetwork::new(text, "test", |_| Ok(WEIGHTS.to_vec()), &Device::Cpu)
                .expect_err("refused")
                .to_string()
        };
        assert!(refused(&DESCRIPTION.replace("stage5d ", "stage5x ")).contains("mask.stages.stage5d"));
        assert!(refused(&DESCRIPTION.replacen("out = 16", "out = 17", 1)).contains("stage2"));
        assert!(refused("nonsense").contains("mask network test"));
        assert!(matches!(MaskNetwork::open("no/such.toml", &Device::Cpu), Err(Error::File { .. })));
    }

    #[test]
    fn a_bright_disc_on_a_dark_ground_stands_out() {
        let network = MaskNetwork::open("embedded", &Device::Cpu).expect("embedded");
        let picture = RgbImage::from_fn(200, 160, |x, y| {
            let (dx, dy) = (f64::from(x) - 100.0, f64::from(y) - 80.0);
            let r = dx.hypot(dy);
            if r < 45.0 {
                image::Rgb([(230.0 - r) as u8, (120.0 - r) as u8, 30])
            } else {
                image::Rgb([40 + (x / 10) as u8, 60, 70 + (y / 8) as u8])
            }
        });
        let mask = network.look(&picture).expect("computes").expect("something stands out");
        let side = mask.width;
        assert!(mask.pixel(side / 2, side / 2)[0] > mask.pixel(side / 20, side / 20)[0] + 0.5);
    }
}
