//! T2I-Adapter XL (Mou et al. 2023): a hint picture to four feature maps the UNet adds to its activations.
//!
//! Hints are (b, 3, 16a, 16c) in [0, 1]; the features are a × c and, for the coarser two, half of that rounded up. They
//! depend on neither timestep nor latent: one pass per run. Tensor names are those of diffusers.

use candle_core::Tensor;
use kernels::{Activation, Conv2d};
use serde::{Deserialize, Serialize};

use crate::{Result, Weights};

/// Side of the pixel-unshuffle.
const UNSHUFFLE: usize = 16;

/// Dimensions of an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct T2iConfig {
    /// Width of the four features.
    pub channels: [usize; 4],
    /// Channels of the hint: 3, or 1 (the mean of the three).
    pub hint_channels: usize,
    /// Residual units of a stage.
    pub res_blocks: usize,
}

impl T2iConfig {
    /// TencentARC's `full_adapter_xl`, 79 million parameters.
    pub fn xl() -> Self {
        Self { channels: [320, 640, 1280, 1280], hint_channels: 3, res_blocks: 2 }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct T2iAdapter {
    hint_channels: usize,
    conv_in: Conv2d,
    stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
struct Stage {
    /// 1×1, where the width changes.
    widen: Option<Conv2d>,
    units: Vec<(Conv2d, Conv2d)>,
}

impl T2iAdapter {
    /// Builds the network from tensors named `adapter.…`.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &T2iConfig, weights: &Weights) -> Result<Self> {
        let w = weights.at("adapter");
        let inputs = config.hint_channels * UNSHUFFLE * UNSHUFFLE;
        let conv_in = w.conv2d("conv_in", inputs, config.channels[0], 3)?.padding(1);
        let mut before = config.channels[0];
        let mut stages = Vec::new();
        for (i, width) in config.channels.iter().enumerate() {
            stages.push(Stage::load(&w.at("body").at(i), before, *width, config.res_blocks)?);
            before = *width;
        }
        weights.finish()?;
        Ok(Self { hint_channels: config.hint_channels, conv_in, stages })
    }

    /// The four features of `hint` (b, 3, 16a, 16c).
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn forward(&self, hint: &Tensor) -> Result<Vec<Tensor>> {
        let hint = match self.hint_channels {
            1 => hint.mean_keepdim(1)?,
            _ => hint.clone(),
        };
        let mut x = self.conv_in.forward(&kernels::pixel_unshuffle(&hint, UNSHUFFLE)?)?;
        let mut features = Vec::new();
        for (i, stage) in self.stages.iter().enumerate() {
            // Only the third stage halves the size.
            let input = if i == 2 { kernels::avg_pool2d_padded(&x)? } else { x };
            x = stage.forward(input)?;
            features.push(x.clone());
        }
        Ok(features)
    }
}

impl Stage {
    fn load(w: &Weights, before: usize, width: usize, units: usize) -> Result<Self> {
        let widen = if before == width { None } else { Some(w.conv2d("in_conv", before, width, 1)?) };
        let unit = |j: usize| {
            let w = w.at("resnets").at(j);
            let first = w.conv2d("block1", width, width, 3)?.padding(1).activation(Activation::Relu);
            Ok((first, w.conv2d("block2", width, width, 1)?))
        };
        Ok(Self { widen, units: (0..units).map(unit).collect::<Result<_>>()? })
    }

    fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        if let Some(widen) = &self.widen {
            x = widen.forward(&x)?;
        }
        for (first, second) in &self.units {
            x = second.forward_with_residual(&first.forward(&x)?, &x)?;
        }
        Ok(x)
    }
}
