//! U²-Net and U²-Netp, salient-object detection (Qin et al. 2020): a U of small Us.
//!
//! Input (b, 3, h, w), normalised RGB; output (b, 1, h, w), the probability that a pixel belongs to the subject. Every
//! block is convolution, batch normalisation, ReLU; the normalisation is folded into the convolution at load, and files in
//! which it already is folded (no `bn_s1` tensors) load as they are. Tensor names are those of the published `.pth` files.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use kernels::{Activation, Conv2d, Corners, Input, Rounding};
use serde::{Deserialize, Serialize};

use crate::weights::{Change, Renamed, Source, WeightFile};
use crate::{Result, Weights};

/// Epsilon of the batch normalisations.
const EPS: f64 = 1e-5;

/// Channels of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageWidths {
    /// Channels inside the stage's small U.
    pub mid: usize,
    /// Channels the stage gives.
    pub out: usize,
}

/// Channels of every stage; all other dimensions are fixed by the architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct U2NetConfig {
    /// Stages 1 to 6.
    pub encoder: [StageWidths; 6],
    /// Stages 5d, 4d, 3d, 2d, 1d, in this order.
    pub decoder: [StageWidths; 5],
}

impl U2NetConfig {
    /// The full network, 44 million parameters.
    pub fn u2net() -> Self {
        let widths = |(mid, out)| StageWidths { mid, out };
        Self {
            encoder: [(32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512)].map(widths),
            decoder: [(256, 512), (128, 256), (64, 128), (32, 64), (16, 64)].map(widths),
        }
    }

    /// The small network, 1.1 million parameters.
    pub fn u2netp() -> Self {
        let widths = StageWidths { mid: 16, out: 64 };
        Self { encoder: [widths; 6], decoder: [widths; 5] }
    }
}

/// Name and kind of each stage, encoder then decoder: convolutions in its small U, and whether that U pools (otherwise it
/// dilates: RSU-4F).
const STAGES: [(&str, usize, bool); 11] = [
    ("stage1", 7, true),
    ("stage2", 6, true),
    ("stage3", 5, true),
    ("stage4", 4, true),
    ("stage5", 4, false),
    ("stage6", 4, false),
    ("stage5d", 4, false),
    ("stage4d", 4, true),
    ("stage3d", 5, true),
    ("stage2d", 6, true),
    ("stage1d", 7, true),
];

/// What the stages give, fine to coarse for the encoder, coarse to fine for the decoder.
#[derive(Clone, Debug)]
pub struct Stages {
    /// Stages 1 to 6.
    pub encoder: Vec<Tensor>,
    /// Stages 5d to 1d.
    pub decoder: Vec<Tensor>,
}

/// The network.
#[derive(Clone, Debug)]
pub struct U2Net {
    encoder: Vec<SmallU>,
    decoder: Vec<SmallU>,
    /// One logit map each from stages 1d to 5d and 6.
    sides: Vec<Conv2d>,
    fusion: Conv2d,
}

impl U2Net {
    /// Builds the network from tensors named as in the published `.pth` files.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &U2NetConfig, weights: &Weights) -> Result<Self> {
        let mut encoder = Vec::new();
        let mut decoder = Vec::new();
        let mut input = 3;
        for (kind, widths) in STAGES.iter().zip(&config.encoder) {
            encoder.push(SmallU::load(kind, input, *widths, weights)?);
            input = widths.out;
        }
        for (k, (kind, widths)) in STAGES[6..].iter().zip(&config.decoder).enumerate() {
            let skip = config.encoder[4 - k].out;
            decoder.push(SmallU::load(kind, input + skip, *widths, weights)?);
            input = widths.out;
        }
        let from_decoder = config.decoder.iter().rev().map(|widths| widths.out);
        let side_inputs = from_decoder.chain([config.encoder[5].out]).enumerate();
        let sides = side_inputs
            .map(|(i, input)| Ok(weights.conv2d(&format!("side{}", i + 1), input, 1, 3)?.padding(1)))
            .collect::<Result<_>>()?;
        let fusion = weights.conv2d("outconv", 6, 1, 1)?;
        weights.ignore(&["num_batches_tracked"]);
        weights.finish()?;
        Ok(Self { encoder, decoder, sides, fusion })
    }

    /// The tensors of a file under the published names: safetensors or `.pth`, or an ONNX export whose convolutions stand
    /// in execution order (rembg's `u2net.onnx` and `u2netp.onnx`).
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn weights(path: &Path, dtype: DType, device: &Device) -> Result<Weights> {
        let file: Arc<dyn Source> = Arc::new(WeightFile::open(path)?);
        let exported = file.shape("conv.0.weight").is_some();
        let source = if exported { Arc::new(Renamed::new(file, published_name)) } else { file };
        Ok(Weights::new(path.display().to_string(), source, dtype, device))
    }

    /// `x` (b, 3, h, w) → subject probability (b, 1, h, w).
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let logits = self.side_logits(&self.stages(x)?)?;
        self.fuse(&logits)
    }

    /// The stages' features.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn stages(&self, x: &Tensor) -> Result<Stages> {
        let mut encoder: Vec<Tensor> = Vec::new();
        for stage in &self.encoder {
            let input = match encoder.last() {
                None => x.clone(),
                Some(finer) => kernels::max_pool2d(finer, 2, Rounding::Ceil)?,
            };
            encoder.push(stage.forward(&[&input])?);
        }
        let mut decoder: Vec<Tensor> = Vec::new();
        for (stage, skip) in self.decoder.iter().zip(encoder.iter().rev().skip(1)) {
            let coarser = decoder.last().or(encoder.last()).unwrap_or(skip);
            decoder.push(stage.forward(&[&resized(coarser, skip)?, skip])?);
        }
        Ok(Stages { encoder, decoder })
    }

    /// The six side maps as logits (b, 1, h, w), finest first; their sigmoids are the outputs d1 to d6.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn side_logits(&self, stages: &Stages) -> Result<Vec<Tensor>> {
        let features = stages.decoder.iter().rev().chain(stages.encoder.last());
        let mut maps: Vec<Tensor> = Vec::new();
        for (side, features) in self.sides.iter().zip(features) {
            let map = side.forward(features)?;
            let (_, _, h, w) = maps.first().unwrap_or(&map).dims4()?;
            maps.push(kernels::upsample_bilinear(&map, h, w, Corners::HalfPixel)?);
        }
        Ok(maps)
    }

    /// The output d0 from the side maps.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn fuse(&self, logits: &[Tensor]) -> Result<Tensor> {
        let logits: Vec<&Tensor> = logits.iter().collect();
        Ok(kernels::sigmoid(&self.fusion.forward(Input::Concat(&logits))?)?)
    }
}

/// A residual U-block (RSU): a U of 3×3 convolutions whose result is added to its first convolution's.
#[derive(Clone, Debug)]
struct SmallU {
    entry: Conv2d,
    down: Vec<Conv2d>,
    up: Vec<Conv2d>,
    pools: bool,
}

impl SmallU {
    fn load(
        kind: &(&str, usize, bool),
        input: usize,
        widths: StageWidths,
        weights: &Weights,
    ) -> Result<Self> {
        let (stage, depth, pools) = *kind;
        let w = weights.at(stage);
        let StageWidths { mid, out } = widths;
        // The deepest convolution of a pooling U is dilated by 2; RSU-4F doubles the dilation at every step.
        let dilation = |level: usize| if pools { 1 + usize::from(level == depth) } else { 1 << (level - 1) };
        let down = (1..=depth).map(|level| {
            let from = if level == 1 { out } else { mid };
            block(&w.at(format!("rebnconv{level}")), from, mid, dilation(level))
        });
        let up = (1..depth).rev().map(|level| {
            let to = if level == 1 { out } else { mid };
            block(&w.at(format!("rebnconv{level}d")), 2 * mid, to, if pools { 1 } else { dilation(level) })
        });
        Ok(Self {
            entry: block(&w.at("rebnconvin"), input, out, 1)?,
            down: down.collect::<Result<_>>()?,
            up: up.collect::<Result<_>>()?,
            pools,
        })
    }

    /// `x`: pictures concatenated along their channels.
    fn forward(&self, x: &[&Tensor]) -> Result<Tensor> {
        let entry = self.entry.forward(x)?;
        let mut levels = vec![self.down[0].forward(&entry)?];
        let mut deepest = levels[0].clone();
        for (i, conv) in self.down.iter().enumerate().skip(1) {
            let pool = self.pools && i + 1 < self.down.len();
            let input = if pool { kernels::max_pool2d(&deepest, 2, Rounding::Ceil)? } else { deepest };
            deepest = conv.forward(&input)?;
            levels.push(deepest.clone());
        }
        levels.pop();
        let mut x = deepest;
        for (conv, skip) in self.up.iter().zip(levels.iter().rev()) {
            x = conv.forward(&[&resized(&x, skip)?, skip])?;
        }
        Ok((x + entry)?)
    }
}

/// `coarse` at the size of `fine`.
fn resized(coarse: &Tensor, fine: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = fine.dims4()?;
    Ok(kernels::upsample_bilinear(coarse, h, w, Corners::HalfPixel)?)
}

/// Convolution 3×3 (padding = dilation), batch normalisation folded in, ReLU.
fn block(w: &Weights, input: usize, output: usize, dilation: usize) -> Result<Conv2d> {
    let (conv, bn) = (w.at("conv_s1"), w.at("bn_s1"));
    let mut weight = conv.get("weight", &[output, input, 3, 3])?;
    let mut bias = conv.get("bias", &[output])?;
    if bn.has("running_var") {
        let [gamma, beta, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|name| bn.get(name, &[output]));
        let scale = (gamma? / (variance? + EPS)?.sqrt()?)?;
        weight = weight.broadcast_mul(&scale.reshape((output, 1, 1, 1))?)?;
        bias = (((bias - mean?)? * scale)? + beta?)?;
    }
    // Exact: the mask is cut to 8 bits, where a rounding error ten times as large moves ten times as many pixels.
    let conv = Conv2d::new(weight, Some(bias)).padding(dilation).dilation(dilation).exact();
    Ok(conv.activation(Activation::Relu))
}

/// The published name of an export's tensor: `conv.K.weight` is the K-th block in execution order.
fn published_name(exported: &str) -> Vec<(String, Change)> {
    let name = match exported.strip_prefix("conv.").and_then(|rest| rest.split_once('.')) {
        Some((k, role)) => {
            let block = k.parse().ok().and_then(|k: usize| blocks().nth(k));
            block.map(|block| format!("{block}.conv_s1.{role}"))
        }
        None => Some(exported.to_owned()),
    };
    // Sides and fusion keep their names; constants of resizes and the like have none of interest.
    let name = name.filter(|name| name.contains('.'));
    name.map(|name| (name, Change::Keep)).into_iter().collect()
}

/// The names of all blocks in execution order.
fn blocks() -> impl Iterator<Item = String> {
    STAGES.iter().flat_map(|(stage, depth, _)| {
        let down = (1..=*depth).map(|level| format!("rebnconv{level}"));
        let up = (1..*depth).rev().map(|level| format!("rebnconv{level}d"));
        let names = std::iter::once("rebnconvin".to_owned()).chain(down).chain(up);
        names.map(move |name| format!("{stage}.{name}"))
    })
}
