//! The DPT head (Ranftl et al. 2021) as Depth Anything v1 has it: four features of one grid become a pyramid, are fused
//! coarse to fine, and end in one map.
//!
//! All bilinear resizing here aligns corners.

use candle_core::Tensor;
use kernels::{Activation, Conv2d, ConvTranspose2d, Corners};
use serde::{Deserialize, Serialize};

use crate::{Result, Weights};

/// Channels of the last convolution but one.
const OUT_CHANNELS: usize = 32;

/// Dimensions of the head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DptConfig {
    /// Width of the fusion.
    pub features: usize,
    /// Width of the pyramid's levels, fine to coarse.
    pub out_channels: [usize; 4],
}

impl DptConfig {
    /// The head of `depth-anything-large`.
    pub fn large() -> Self {
        Self { features: 256, out_channels: [256, 512, 1024, 1024] }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct DptHead {
    /// 1×1 projections of the four features.
    projections: Vec<Conv2d>,
    enlarge: [ConvTranspose2d; 2],
    shrink: Conv2d,
    /// To the width of the fusion, fine to coarse.
    laterals: Vec<Conv2d>,
    /// Coarse to fine.
    fusions: Vec<Fusion>,
    tail: [Conv2d; 3],
}

impl DptHead {
    /// Builds the head from tensors with transformers' names; `width` is that of the backbone.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &DptConfig, width: usize, weights: &Weights) -> Result<Self> {
        let (neck, head, features) = (weights.at("neck"), weights.at("head"), config.features);
        let stage = |i: usize| neck.at("reassemble_stage.layers").at(i);
        let enlarge = |i: usize, factor: usize| -> Result<ConvTranspose2d> {
            let (w, channels) = (stage(i).at("resize"), config.out_channels[i]);
            let weight = w.get("weight", &[channels, channels, factor, factor])?;
            Ok(ConvTranspose2d::new(weight, Some(w.get("bias", &[channels])?), factor, 0, 0))
        };
        let coarsest = config.out_channels[3];
        let channels = config.out_channels.iter().enumerate();
        let lateral = |(i, channels): (usize, &usize)| -> Result<Conv2d> {
            let weight = neck.at("convs").at(i).get("weight", &[features, *channels, 3, 3])?;
            Ok(Conv2d::new(weight, None).padding(1))
        };
        let half = features / 2;
        Ok(Self {
            projections: channels
                .clone()
                .map(|(i, channels)| stage(i).conv2d("projection", width, *channels, 1))
                .collect::<Result<_>>()?,
            enlarge: [enlarge(0, 4)?, enlarge(1, 2)?],
            shrink: stage(3).conv2d("resize", coarsest, coarsest, 3)?.stride(2).padding(1),
            laterals: channels.map(lateral).collect::<Result<_>>()?,
            fusions: (0..4)
                .map(|i| Fusion::load(features, &neck.at("fusion_stage.layers").at(i)))
                .collect::<Result<_>>()?,
            tail: [
                head.conv2d("conv1", features, half, 3)?.padding(1),
                head.conv2d("conv2", half, OUT_CHANNELS, 3)?.padding(1).activation(Activation::Relu),
                head.conv2d("conv3", OUT_CHANNELS, 1, 1)?.activation(Activation::Relu),
            ],
        })
    }

    /// (b, rows·patch, columns·patch) from four features (b, rows·columns, width).
    ///
    /// # Errors
    /// Where there are not four features of the grid's size, or the device fails.
    pub fn forward(&self, features: &[Tensor], grid: (usize, usize), patch: usize) -> Result<Tensor> {
        let mut pyramid = Vec::new();
        for (i, ((feature, projection), lateral)) in
            features.iter().zip(&self.projections).zip(&self.laterals).enumerate()
        {
            let (batch, _, width) = feature.dims3()?;
            let map = feature.transpose(1, 2)?.contiguous()?.reshape((batch, width, grid.0, grid.1))?;
            let map = projection.forward(&map)?;
            let map = match i {
                0 | 1 => self.enlarge[i].forward(&map)?,
                3 => self.shrink.forward(&map)?,
                _ => map,
            };
            pyramid.push(lateral.forward(&map)?);
        }
        let mut fused: Option<Tensor> = None;
        for (i, (fusion, level)) in self.fusions.iter().zip(pyramid.iter().rev()).enumerate() {
            let (_, _, h, w) = level.dims4()?;
            let size = match pyramid.iter().rev().nth(i + 1) {
                Some(finer) => (finer.dim(2)?, finer.dim(3)?),
                None => (2 * h, 2 * w),
            };
            fused = Some(fusion.forward(fused, level, size)?);
        }
        let fused = fused.ok_or_else(|| candle_core::Error::msg("the depth head needs four features"))?;
        let [first, second, third] = &self.tail;
        let y = first.forward(&fused)?;
        let y = kernels::upsample_bilinear(&y, grid.0 * patch, grid.1 * patch, Corners::Aligned)?;
        Ok(third.forward(&second.forward(&y)?)?.squeeze(1)?)
    }
}

/// Adds a level to what came from the coarser ones, refines, and resizes to the next finer level.
#[derive(Clone, Debug)]
struct Fusion {
    entry: Residual,
    refine: Residual,
    projection: Conv2d,
}

impl Fusion {
    fn load(features: usize, w: &Weights) -> Result<Self> {
        Ok(Self {
            entry: Residual::load(features, &w.at("residual_layer1"))?,
            refine: Residual::load(features, &w.at("residual_layer2"))?,
            projection: w.conv2d("projection", features, features, 1)?,
        })
    }

    fn forward(&self, coarser: Option<Tensor>, level: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        let x = match coarser {
            // The coarsest level goes in as it is: its entry unit is in the file but unused.
            None => level.clone(),
            Some(coarser) => (coarser + self.entry.forward(level)?)?,
        };
        let x = kernels::upsample_bilinear(&self.refine.forward(&x)?, size.0, size.1, Corners::Aligned)?;
        Ok(self.projection.forward(&x)?)
    }
}

/// x + conv(ReLU(conv(ReLU x))).
#[derive(Clone, Debug)]
struct Residual(Conv2d, Conv2d);

impl Residual {
    fn load(features: usize, w: &Weights) -> Result<Self> {
        let conv = |name: &str| w.conv2d(name, features, features, 3);
        let first = conv("convolution1")?.padding(1).activation(Activation::Relu);
        Ok(Self(first, conv("convolution2")?.padding(1)))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.0.forward(&Activation::Relu.apply(x)?)?;
        Ok(self.1.forward_with_residual(&y, x)?)
    }
}
