//! The SDXL UNet (Podell et al. 2023): latent and timestep in, predicted noise (or v) out, conditioned on text tokens, on
//! a vector, and optionally on image tokens (IP-Adapter) and spatial features (T2I-Adapter).
//!
//! Latents are (b, 4, h, w), any h and w; text tokens (b, n, context). Tensor names are those of diffusers; single-file
//! checkpoints are renamed by [`crate::checkpoint`]. Keys and values of the tokens are computed once per run
//! ([`UNet::context`]), not once per step.

mod blocks;
mod config;
mod transformer;

use candle_core::{DType, Tensor};
use kernels::{Activation, Conv2d, GroupNorm, Input, Linear};

pub use config::{AdapterLayer, UNetConfig};
pub use transformer::{Context, ImagePart, ImagePrompt, RegionMask};

use crate::{Result, Weights};
use blocks::{ResBlock, Stage, with_features};
use transformer::SpatialTransformer;

/// Epsilon of the group normalisations outside transformers.
const EPS: f64 = 1e-5;

/// The network.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    time: [Linear; 2],
    vector: [Linear; 2],
    conv_in: Conv2d,
    down: Vec<Stage>,
    /// Convolutions of stride 2 after every level but the last.
    downsamplers: Vec<Conv2d>,
    mid: (ResBlock, SpatialTransformer, ResBlock),
    /// Coarse to fine.
    up: Vec<Stage>,
    upsamplers: Vec<Conv2d>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl UNet {
    /// Builds the network from tensors with diffusers' names.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &UNetConfig, weights: &Weights) -> Result<Self> {
        config.check()?;
        let (base, emb) = (config.model_channels, config.embedding());
        let two = |name: &str, input| -> Result<[Linear; 2]> {
            // One row a pass, on which every pixel depends.
            let w = weights.at(name).exact();
            Ok([w.linear("linear_1", input, emb)?, w.linear("linear_2", emb, emb)?])
        };
        let levels = config.channel_mult.len();
        let (mut down, mut downsamplers) = (Vec::new(), Vec::new());
        for level in 0..levels {
            let w = weights.at("down_blocks").at(level);
            down.push(Stage::load(config, &config.down_blocks(level), &w)?);
            if level + 1 < levels {
                let channels = config.channels(level);
                downsamplers
                    .push(w.conv2d("downsamplers.0.conv", channels, channels, 3)?.stride(2).padding(1));
            }
        }
        let (mut up, mut upsamplers) = (Vec::new(), Vec::new());
        for (block, level) in (0..levels).rev().enumerate() {
            let w = weights.at("up_blocks").at(block);
            up.push(Stage::load(config, &config.up_blocks(level), &w)?);
            if level > 0 {
                let channels = config.channels(level);
                upsamplers.push(w.conv2d("upsamplers.0.conv", channels, channels, 3)?.padding(1));
            }
        }
        let deepest = config.channels(levels - 1);
        let w = weights.at("mid_block");
        let res = |i: usize| ResBlock::load(config, deepest, deepest, &w.at("resnets").at(i));
        let transformer =
            SpatialTransformer::load(config, deepest, &config.middle_layers(), &w.at("attentions.0"))?;
        let unet = Self {
            time: two("time_embedding", base)?,
            vector: two("add_embedding", config.vector_dim)?,
            conv_in: weights.conv2d("conv_in", config.in_channels, base, 3)?.padding(1),
            down,
            downsamplers,
            mid: (res(0)?, transformer, res(1)?),
            up,
            upsamplers,
            norm_out: weights
                .group_norm("conv_norm_out", base, config.groups, EPS)?
                .activation(Activation::Silu),
            conv_out: weights.conv2d("conv_out", base, config.out_channels, 3)?.padding(1),
            config: config.clone(),
        };
        weights.finish()?;
        Ok(unet)
    }

    /// Keys and values of `text` (b, n, context) and, where an image prompt says so, of image tokens, for all
    /// cross-attentions.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn context(&self, text: &Tensor, image: Option<&ImagePrompt>) -> Result<Context> {
        let down = self.down.iter().flat_map(Stage::transformers);
        let up = self.up.iter().flat_map(Stage::transformers);
        let transformers = down.chain([&self.mid.1]).chain(up);
        let mut context = Context::default();
        for transformer in transformers {
            transformer.extend(&mut context, text, image)?;
        }
        Ok(context)
    }

    /// The prediction (b, 4, h, w) in f32 for the scaled latent `x` (b, 4, h, w) at `timestep` (0 to 999).
    ///
    /// `vector` (b, vector_dim) is the pooled text with its sizes; `features` are a T2I-Adapter's four maps, already
    /// multiplied by their strength.
    ///
    /// # Errors
    /// Where a shape does not fit the network, the context was made by another one, or the device fails.
    pub fn forward(
        &self,
        x: &Tensor,
        timestep: f64,
        context: &Context,
        vector: &Tensor,
        features: Option<&[Tensor]>,
    ) -> Result<Tensor> {
        self.forward_observed(x, timestep, context, vector, features, &mut |_, _| Ok(()))
    }

    /// [`UNet::forward`], showing every block's output, before features are added, to `observe` under the block's name
    /// (`time`, `vector`, `in0`…, `mid`, `out0`…).
    ///
    /// # Errors
    /// Those of [`UNet::forward`], and of `observe`.
    pub fn forward_observed(
        &self,
        x: &Tensor,
        timestep: f64,
        context: &Context,
        vector: &Tensor,
        features: Option<&[Tensor]>,
        observe: &mut dyn FnMut(&str, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut context = context.reader();
        let dtype = vector.dtype();
        let emb = self.embedding(x.dim(0)?, timestep, vector, observe)?;
        let mut skips = Vec::new();
        let mut keep = |skips: &mut Vec<Tensor>, x: Tensor, feature: Option<usize>| -> Result<Tensor> {
            observe(&format!("in{}", skips.len()), &x)?;
            let x = with_features(x, feature.and_then(|i| features?.get(i)))?;
            skips.push(x.clone());
            Ok(x)
        };
        let mut x = self.conv_in.forward(&x.to_dtype(dtype)?)?;
        x = keep(&mut skips, x, None)?;
        for (level, stage) in self.down.iter().enumerate() {
            let last = stage.len() - 1;
            for i in 0..=last {
                x = stage.forward(i, &[&x], &emb, &mut context)?;
                // T2I features come after the first downsampling and after the last block of the coarser levels.
                x = keep(&mut skips, x, (level > 0 && i == last).then_some(level))?;
            }
            if let Some(downsampler) = self.downsamplers.get(level) {
                x = downsampler.forward(&x)?;
                x = keep(&mut skips, x, (level == 0).then_some(0))?;
            }
        }
        x = self.mid.0.forward(&[&x], &emb)?;
        x = self.mid.1.forward(&x, &mut context)?;
        x = self.mid.2.forward(&[&x], &emb)?;
        observe("mid", &x)?;
        x = with_features(x, features.and_then(|f| f.get(self.down.len())))?;
        let mut block = 0;
        for (level, stage) in self.up.iter().enumerate() {
            for i in 0..stage.len() {
                let skip = skips.pop().ok_or_else(|| candle_core::Error::msg("too few skips"))?;
                x = stage.forward(i, &[&x, &skip], &emb, &mut context)?;
                if i + 1 == stage.len()
                    && let (Some(upsampler), Some(finer)) = (self.upsamplers.get(level), skips.last())
                {
                    // To the exact size of the next skip, so that odd sizes work.
                    let (_, _, h, w) = finer.dims4()?;
                    x = upsampler.forward(Input::Upsampled { picture: &x, height: h, width: w })?;
                }
                observe(&format!("out{block}"), &x)?;
                block += 1;
            }
        }
        let x = self.norm_out.forward(&x)?;
        Ok(self.conv_out.forward(&x)?.to_dtype(DType::F32)?)
    }

    /// SiLU of the embedding of timestep and vector, (b, embedding): every residual block takes it in this form.
    fn embedding(
        &self,
        batch: usize,
        timestep: f64,
        vector: &Tensor,
        observe: &mut dyn FnMut(&str, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mlp =
            |x: &Tensor, [first, second]: &[Linear; 2]| second.forward(&kernels::silu(&first.forward(x)?)?);
        let timesteps = Tensor::full(timestep as f32, batch, vector.device())?;
        // Sinusoids in f32 even for an f16 model: f16 cannot tell timesteps near 999 apart.
        let sinusoid = kernels::sinusoid(&timesteps, self.config.model_channels)?.to_dtype(vector.dtype())?;
        let time = mlp(&sinusoid, &self.time)?;
        observe("time", &time)?;
        let vector = mlp(vector, &self.vector)?;
        observe("vector", &vector)?;
        Ok(kernels::silu(&(time + vector)?)?)
    }
}
