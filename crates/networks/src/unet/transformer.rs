//! The UNet's transformers: self-attention over positions, cross-attention to tokens, a gated feed-forward layer.
//!
//! Cross-attention reads keys and values from a [`Context`] made once per run. An image prompt adds a second attention
//! over image tokens, with a softmax of its own and a weight on its result (IP-Adapter, Ye et al. 2023, "V only").

use std::collections::BTreeMap;

use candle_core::Tensor;
use kernels::{GroupNorm, LayerNorm, Linear};

use super::{AdapterLayer, UNetConfig};
use crate::{Result, Weights};

/// Epsilon of the group normalisation before a transformer.
const GROUP_EPS: f64 = 1e-6;
/// Epsilon of the layer normalisations.
const LAYER_EPS: f64 = 1e-5;

/// Keys and values (b, tokens, channels) of image tokens by [`AdapterLayer::index`], and their weight.
#[derive(Clone, Debug)]
pub struct ImagePrompt {
    /// Layers that attend to the image; all others are untouched.
    pub layers: BTreeMap<usize, (Tensor, Tensor)>,
    /// Factor on the attention's result.
    pub weight: f64,
}

/// Keys and values of every cross-attention, in the order the network visits them.
#[derive(Clone, Debug, Default)]
pub struct Context {
    blocks: Vec<BlockContext>,
}

#[derive(Clone, Debug)]
struct BlockContext {
    text: KeysValues,
    image: Option<(KeysValues, f64)>,
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
        let image = image.and_then(|image| Some((image.layers.get(&self.layer.index)?, image.weight)));
        let image = match image {
            Some(((k, v), weight)) => Some((KeysValues::new(k, v, heads)?, weight)),
            None => None,
        };
        Ok(BlockContext { text: self.cross.keys_values(text)?, image })
    }

    fn forward(&self, x: &Tensor, context: &BlockContext) -> Result<Tensor> {
        let normed = self.norms[0].forward(x)?;
        let keys_values = self.own.keys_values(&normed)?;
        let x = self.own.attend(x, &normed, &keys_values, None)?;
        let normed = self.norms[1].forward(&x)?;
        let x = self.cross.attend(&x, &normed, &context.text, context.image.as_ref())?;
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

    /// `x` plus what its normalised form finds in the text and the image.
    fn attend(
        &self,
        x: &Tensor,
        normed: &Tensor,
        text: &KeysValues,
        image: Option<&(KeysValues, f64)>,
    ) -> Result<Tensor> {
        let q = kernels::split_heads(&self.to_q.forward(normed)?, self.heads)?;
        let mut y = kernels::attention(&q, &text.k, &text.v, self.scale, None)?;
        if let Some((image, weight)) = image {
            y = kernels::attention_add(y, [&q, &image.k, &image.v], self.scale, *weight)?;
        }
        Ok(self.to_out.forward_with_residual(&kernels::merge_heads(&y)?, x)?)
    }
}
