//! The UNet's transformers: self-attention over positions, cross-attention to tokens, a gated feed-forward layer.
//!
//! Cross-attention reads keys and values from a [`Context`] made once per run. An image prompt adds a second attention
//! over image tokens, with a softmax of its own and a weight on its result (IP-Adapter, Ye et al. 2023, "V only").

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use kernels::{GroupNorm, LayerNorm, Linear};

use super::{AdapterLayer, UNetConfig};
use crate::{Result, Weights};

/// Epsilon of the group normalisation before a transformer.
const GROUP_EPS: f64 = 1e-6;
/// Epsilon of the layer normalisations.
const LAYER_EPS: f64 = 1e-5;

/// What pictures the network sees, and where: their attentions are added up.
#[derive(Clone, Debug)]
pub struct ImagePrompt {
    /// One for each picture.
    pub parts: Vec<ImagePart>,
}

/// Keys and values (b, tokens, channels) of image tokens by [`AdapterLayer::index`], and how they count.
#[derive(Clone, Debug)]
pub struct ImagePart {
    /// Layers that attend to the image; all others are untouched.
    pub layers: BTreeMap<usize, (Tensor, Tensor)>,
    /// Factor on the attention's result.
    pub weight: f64,
    /// Where in the picture it counts; `None`: everywhere.
    pub region: Option<RegionMask>,
}

/// A factor for every position, at all sizes of the network's feature maps.
#[derive(Clone, Debug)]
pub struct RegionMask {
    /// (1, 1, n, 1) each.
    levels: Vec<Tensor>,
}

impl RegionMask {
    /// From the same mask at all sizes, each (h, w): those of the latent, of half of it, of a quarter …, odd sides rounded up.
    ///
    /// # Errors
    /// Where a level is not two-dimensional.
    pub fn new(levels: &[Tensor]) -> Result<Self> {
        let flat = |level: &Tensor| level.flatten_all()?.reshape((1, 1, (), 1));
        Ok(Self { levels: levels.iter().map(flat).collect::<candle_core::Result<_>>()? })
    }

    /// Its values in another numeric format.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let levels = self.levels.iter().map(|level| level.to_dtype(dtype));
        Ok(Self { levels: levels.collect::<candle_core::Result<_>>()? })
    }

    /// `y` (b, heads, n, d) times the mask at the size that has as many positions.
    fn times(&self, y: &Tensor) -> Result<Tensor> {
        let positions = y.dim(2)?;
        let Some(level) = self.levels.iter().find(|level| level.dims()[2] == positions) else {
            return Err(candle_core::Error::msg(format!("no region mask has {positions} positions")).into());
        };
        Ok(y.broadcast_mul(level)?)
    }
}

/// Keys and values of every cross-attention, in the order the network visits them.
#[derive(Clone, Debug, Default)]
pub struct Context {
    blocks: Vec<BlockContext>,
}

#[derive(Clone, Debug)]
struct BlockContext {
    text: KeysValues,
    images: Vec<Seen>,
}

/// A picture as one block attends to it.
#[derive(Clone, Debug)]
struct Seen {
    tokens: KeysValues,
    weight: f64,
    region: Option<RegionMask>,
}

/// (b, heads, tokens, head_dim) each.
#[derive(Clone, Debug)]
struct KeysValues {
    k: Tensor,
    v: Tensor,
}

impl KeysValues {
    fn new(k: &Tensor, v: &Tensor, heads: usize) -> Result<Self> {
        Ok(Self { k: kernels::split_heads(k, heads)?, v: kernels::split_heads(v, heads)? })
    }
}

impl Context {
    pub(super) fn reader(&self) -> ContextReader<'_> {
        ContextReader(self.blocks.iter())
    }
}

/// Hands out one block's keys and values after the other.
pub(super) struct ContextReader<'a>(std::slice::Iter<'a, BlockContext>);

impl<'a> ContextReader<'a> {
    fn next(&mut self) -> Result<&'a BlockContext> {
        let block = self.0.next();
        Ok(block.ok_or_else(|| candle_core::Error::msg("the context was made by a smaller network"))?)
    }
}

/// Transformer blocks over the positions of a feature map, with a residual around all of them.
#[derive(Clone, Debug)]
pub(super) struct SpatialTransformer {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<TransformerBlock>,
    proj_out: Linear,
}

impl SpatialTransformer {
    pub(super) fn load(
        config: &UNetConfig,
        channels: usize,
        layers: &[AdapterLayer],
        w: &Weights,
    ) -> Result<Self> {
        let block = |(i, layer): (usize, &AdapterLayer)| {
            TransformerBlock::load(config, *layer, &w.at("transformer_blocks").at(i))
        };
        Ok(Self {
            norm: w.group_norm("norm", channels, config.groups, GROUP_EPS)?,
            proj_in: w.linear("proj_in", channels, channels)?,
            blocks: layers.iter().enumerate().map(block).collect::<Result<_>>()?,
            proj_out: w.linear("proj_out", channels, channels)?,
        })
    }

    /// Appends this transformer's keys and values to `context`.
    pub(super) fn extend(
        &self,
        context: &mut Context,
        text: &Tensor,
        image: Option<&ImagePrompt>,
    ) -> Result<()> {
        for block in &self.blocks {
            context.blocks.push(block.context(text, image)?);
        }
        Ok(())
    }

    /// (b, c, h, w) → (b, c, h, w).
    pub(super) fn forward(&self, x: &Tensor, context: &mut ContextReader<'_>) -> Result<Tensor> {
        let tokens = kernels::as_tokens(&self.norm.forward(x)?)?;
        let mut tokens = self.proj_in.forward(&tokens)?;
        for block in &self.blocks {
            tokens = block.forward(&tokens, context.next()?)?;
        }
        Ok(kernels::linear_picture_add(&tokens, &self.proj_out, x)?)
    }
}

#[derive(Clone, Debug)]
struct TransformerBlock {
    layer: AdapterLayer,
    norms: [LayerNorm; 3],
    own: Attention,
    cross: Attention,
    ff_in: Linear,
    ff_out: Linear,
}

impl TransformerBlock {
    fn load(config: &UNetConfig, layer: AdapterLayer, w: &Weights) -> Result<Self> {
        let channels = layer.channels;
        let norm = |name| w.layer_norm(name, channels, LAYER_EPS);
        Ok(Self {
            layer,
            norms: [norm("norm1")?, norm("norm2")?, norm("norm3")?],
            own: Attention::load(config, channels, None, &w.at("attn1"))?,
            cross: Attention::load(config, channels, Some(config.context_dim), &w.at("attn2"))?,
            ff_in: w.geglu("ff.net.0.proj", channels, 4 * channels)?,
            ff_out: w.linear("ff.net.2", 4 * channels, channels)?,
        })
    }

    fn context(&self, text: &Tensor, image: Option<&ImagePrompt>) -> Result<BlockContext> {
        let heads = self.cross.heads;
        let parts = image.into_iter().flat_map(|image| &image.parts);
        let here = parts.filter_map(|part| Some((part.layers.get(&self.layer.index)?, part)));
        let images = here.map(|((k, v), part)| {
            let tokens = KeysValues::new(k, v, heads)?;
            Ok(Seen { tokens, weight: part.weight, region: part.region.clone() })
        });
        Ok(BlockContext { text: self.cross.keys_values(text)?, images: images.collect::<Result<_>>()? })
    }

    fn forward(&self, x: &Tensor, context: &BlockContext) -> Result<Tensor> {
        let normed = self.norms[0].forward(x)?;
        let keys_values = self.own.keys_values(&normed)?;
        let x = self.own.attend(x, &normed, &keys_values, &[])?;
        let normed = self.norms[1].forward(&x)?;
        let x = self.cross.attend(&x, &normed, &context.text, &context.images)?;
        let hidden = self.ff_in.forward(&self.norms[2].forward(&x)?)?;
        Ok(self.ff_out.forward_with_residual(&hidden, &x)?)
    }
}

#[derive(Clone, Debug)]
struct Attention {
    heads: usize,
    scale: f64,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl Attention {
    /// Attention to tokens of width `context`, or to the positions themselves.
    fn load(config: &UNetConfig, channels: usize, context: Option<usize>, w: &Weights) -> Result<Self> {
        // Text encoders' states have a few very large channels, which 8 bits would take from all others; and their keys and
        // values are made once per run.
        let (context, keys_values) = match context {
            Some(width) => (width, &w.exact()),
            None => (channels, w),
        };
        Ok(Self {
            heads: channels / config.head_dim,
            scale: (config.head_dim as f64).sqrt().recip(),
            to_q: w.linear_no_bias("to_q", channels, channels)?,
            to_k: keys_values.linear_no_bias("to_k", context, channels)?,
            to_v: keys_values.linear_no_bias("to_v", context, channels)?,
            to_out: w.linear("to_out.0", channels, channels)?,
        })
    }

    fn keys_values(&self, tokens: &Tensor) -> Result<KeysValues> {
        let (k, v) = (self.to_k.forward(tokens)?, self.to_v.forward(tokens)?);
        KeysValues::new(&k, &v, self.heads)
    }

    /// `x` plus what its normalised form finds in the text and the images.
    fn attend(&self, x: &Tensor, normed: &Tensor, text: &KeysValues, images: &[Seen]) -> Result<Tensor> {
        let q = kernels::split_heads(&self.to_q.forward(normed)?, self.heads)?;
        let mut y = kernels::attention(&q, &text.k, &text.v, self.scale, None)?;
        for Seen { tokens, weight, region } in images {
            y = match region {
                None => kernels::attention_add(y, [&q, &tokens.k, &tokens.v], self.scale, *weight)?,
                Some(region) => {
                    let found = kernels::attention(&q, &tokens.k, &tokens.v, self.scale, None)?;
                    (y + (region.times(&found)? * *weight)?)?
                }
            };
        }
        Ok(self.to_out.forward_with_residual(&kernels::merge_heads(&y)?, x)?)
    }
}
