//! The UNet's residual blocks, and a stage: the residual blocks and transformers of one level.

use candle_core::Tensor;
use kernels::{Activation, Conv2d, GroupNorm, Linear};

use super::config::BlockPlan;
use super::transformer::{ContextReader, SpatialTransformer};
use super::{EPS, UNetConfig};
use crate::{Result, Weights};

/// Two normalised convolutions with the embedding added in between, around a skip.
#[derive(Clone, Debug)]
pub(super) struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    embedding: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// 1×1, where the width changes.
    shortcut: Option<Conv2d>,
}

impl ResBlock {
    pub(super) fn load(config: &UNetConfig, input: usize, output: usize, w: &Weights) -> Result<Self> {
        let shortcut =
            if input == output { None } else { Some(w.conv2d("conv_shortcut", input, output, 1)?) };
        let norm = |name, channels| -> Result<GroupNorm> {
            Ok(w.group_norm(name, channels, config.groups, EPS)?.activation(Activation::Silu))
        };
        Ok(Self {
            norm1: norm("norm1", input)?,
            conv1: w.conv2d("conv1", input, output, 3)?.padding(1),
            embedding: w.exact().linear("time_emb_proj", config.embedding(), output)?,
            norm2: norm("norm2", output)?,
            conv2: w.conv2d("conv2", output, output, 3)?.padding(1),
            shortcut,
        })
    }

    /// `x`, concatenated along its channels (b, input, h, w), `emb` (b, embedding) after SiLU → (b, output, h, w).
    pub(super) fn forward(&self, x: &[&Tensor], emb: &Tensor) -> Result<Tensor> {
        let emb = self.embedding.forward(emb)?.unsqueeze(2)?.unsqueeze(3)?;
        let whole = kernels::concat(x)?;
        let x = &whole.as_ref().map_or_else(|| x.to_vec(), |whole| vec![whole])[..];
        let normed = self.norm1.forward(x)?;
        let y = self.conv1.forward_with_residual(&normed, &emb)?;
        let normed = self.norm2.forward(&y)?;
        let skip = match (&self.shortcut, x) {
            (Some(shortcut), x) => &shortcut.forward(x)?,
            (None, [x]) => *x,
            (None, x) => &Tensor::cat(x, 1)?,
        };
        Ok(self.conv2.forward_with_residual(&normed, skip)?)
    }
}

/// The blocks of one level on the way down or up.
#[derive(Clone, Debug)]
pub(super) struct Stage(Vec<(ResBlock, Option<SpatialTransformer>)>);

impl Stage {
    pub(super) fn load(config: &UNetConfig, plan: &[BlockPlan], w: &Weights) -> Result<Self> {
        let block = |(i, plan): (usize, &BlockPlan)| {
            let res = ResBlock::load(config, plan.input, plan.output, &w.at("resnets").at(i))?;
            let transformer = if plan.layers.is_empty() {
                None
            } else {
                let w = w.at("attentions").at(i);
                Some(SpatialTransformer::load(config, plan.output, &plan.layers, &w)?)
            };
            Ok((res, transformer))
        };
        Ok(Self(plan.iter().enumerate().map(block).collect::<Result<_>>()?))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn transformers(&self) -> impl Iterator<Item = &SpatialTransformer> {
        self.0.iter().filter_map(|(_, transformer)| transformer.as_ref())
    }

    /// The `i`-th block, of `x` concatenated along its channels.
    pub(super) fn forward(
        &self,
        i: usize,
        x: &[&Tensor],
        emb: &Tensor,
        context: &mut ContextReader<'_>,
    ) -> Result<Tensor> {
        let (res, transformer) = &self.0[i];
        let x = res.forward(x, emb)?;
        match transformer {
            Some(transformer) => transformer.forward(&x, context),
            None => Ok(x),
        }
    }
}

/// `x` plus a feature map. Features may be f32 beside f16 activations; the sum is taken in f32.
pub(super) fn with_features(x: Tensor, feature: Option<&Tensor>) -> Result<Tensor> {
    let Some(feature) = feature else { return Ok(x) };
    Ok(kernels::add_wide(&x, feature)?)
}
