//! The two halves of the autoencoder and what both are made of.

use candle_core::Tensor;
use kernels::{Activation, Conv2d, GroupNorm, Input, Linear};

use super::VaeConfig;
use crate::{Result, Weights};

/// Epsilon of all group normalisations.
const EPS: f64 = 1e-6;

/// A group normalisation with SiLU after it.
fn normed(config: &VaeConfig, name: &str, channels: usize, w: &Weights) -> Result<GroupNorm> {
    Ok(w.group_norm(name, channels, config.groups, EPS)?.activation(Activation::Silu))
}

#[derive(Clone, Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    levels: Vec<(Vec<ResBlock>, Option<Conv2d>)>,
    mid: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    pub(super) fn load(config: &VaeConfig, w: &Weights) -> Result<Self> {
        let widths = config.widths();
        let mut input = config.channels;
        let mut levels = Vec::new();
        for (level, width) in widths.iter().enumerate() {
            let w = w.at("down_blocks").at(level);
            let blocks = ResBlock::chain(config, config.res_blocks, input, *width, &w)?;
            let down = if level + 1 < widths.len() {
                Some(w.conv2d("downsamplers.0.conv", *width, *width, 3)?.stride(2).padding_end(1))
            } else {
                None
            };
            levels.push((blocks, down));
            input = *width;
        }
        Ok(Self {
            conv_in: w.conv2d("conv_in", 3, config.channels, 3)?.padding(1),
            levels,
            mid: Middle::load(config, input, &w.at("mid_block"))?,
            norm_out: normed(config, "conv_norm_out", input, w)?,
            conv_out: w.conv2d("conv_out", input, 2 * config.latent_channels, 3)?.padding(1),
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(x)?;
        for (blocks, down) in &self.levels {
            for block in blocks {
                x = block.forward(&x)?;
            }
            if let Some(down) = down {
                x = down.forward(&x)?;
            }
        }
        let x = self.norm_out.forward(&self.mid.forward(&x)?)?;
        Ok(self.conv_out.forward(&x)?)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid: Middle,
    /// Coarse to fine.
    levels: Vec<(Vec<ResBlock>, Option<Conv2d>)>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    pub(super) fn load(config: &VaeConfig, w: &Weights) -> Result<Self> {
        let widths = config.widths();
        let deepest = widths[widths.len() - 1];
        let mut input = deepest;
        let mut levels = Vec::new();
        for (block, width) in widths.iter().rev().enumerate() {
            let w = w.at("up_blocks").at(block);
            let blocks = ResBlock::chain(config, config.res_blocks + 1, input, *width, &w)?;
            let up = if block + 1 < widths.len() {
                Some(w.conv2d("upsamplers.0.conv", *width, *width, 3)?.padding(1))
            } else {
                None
            };
            levels.push((blocks, up));
            input = *width;
        }
        Ok(Self {
            conv_in: w.conv2d("conv_in", config.latent_channels, deepest, 3)?.padding(1),
            mid: Middle::load(config, deepest, &w.at("mid_block"))?,
            levels,
            norm_out: normed(config, "conv_norm_out", input, w)?,
            conv_out: w.conv2d("conv_out", input, 3, 3)?.padding(1),
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.mid.forward(&self.conv_in.forward(x)?)?;
        for (blocks, up) in &self.levels {
            for block in blocks {
                x = block.forward(&x)?;
            }
            if let Some(up) = up {
                let (_, _, h, w) = x.dims4()?;
                x = up.forward(Input::Upsampled { picture: &x, height: 2 * h, width: 2 * w })?;
            }
        }
        let x = self.norm_out.forward(&x)?;
        Ok(self.conv_out.forward(&x)?)
    }
}

#[derive(Clone, Debug)]
struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResBlock {
    /// `count` blocks named `resnets.0`…, the first of which changes the width.
    fn chain(
        config: &VaeConfig,
        count: usize,
        input: usize,
        output: usize,
        w: &Weights,
    ) -> Result<Vec<Self>> {
        let block =
            |i| Self::load(config, if i == 0 { input } else { output }, output, &w.at("resnets").at(i));
        (0..count).map(block).collect()
    }

    fn load(config: &VaeConfig, input: usize, output: usize, w: &Weights) -> Result<Self> {
        let shortcut =
            if input == output { None } else { Some(w.conv2d("conv_shortcut", input, output, 1)?) };
        Ok(Self {
            norm1: normed(config, "norm1", input, w)?,
            conv1: w.conv2d("conv1", input, output, 3)?.padding(1),
            norm2: normed(config, "norm2", output, w)?,
            conv2: w.conv2d("conv2", output, output, 3)?.padding(1),
            shortcut,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.conv1.forward(&self.norm1.forward(x)?)?;
        let normed = self.norm2.forward(&y)?;
        let skip = match &self.shortcut {
            Some(shortcut) => &shortcut.forward(x)?,
            None => x,
        };
        Ok(self.conv2.forward_with_residual(&normed, skip)?)
    }
}

/// Residual block, attention over all positions with one head, residual block.
#[derive(Clone, Debug)]
struct Middle {
    before: ResBlock,
    norm: GroupNorm,
    qkv: [Linear; 3],
    out: Linear,
    after: ResBlock,
}

impl Middle {
    fn load(config: &VaeConfig, width: usize, w: &Weights) -> Result<Self> {
        let res = |i: usize| ResBlock::load(config, width, width, &w.at("resnets").at(i));
        let attention = w.at("attentions.0");
        let linear = |name| attention.linear(name, width, width);
        Ok(Self {
            before: res(0)?,
            norm: attention.group_norm("group_norm", width, config.groups, EPS)?,
            qkv: [linear("to_q")?, linear("to_k")?, linear("to_v")?],
            out: linear("to_out.0")?,
            after: res(1)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.before.forward(x)?;
        let width = x.dim(1)?;
        let tokens = kernels::as_tokens(&self.norm.forward(&x)?)?;
        let [q, k, v] = &self.qkv;
        let project = |map: &Linear| map.forward(&tokens)?.unsqueeze(1);
        let scale = (width as f64).sqrt().recip();
        let y = kernels::attention(&project(q)?, &project(k)?, &project(v)?, scale, None)?;
        self.after.forward(&kernels::linear_picture_add(&y.squeeze(1)?, &self.out, &x)?)
    }
}
