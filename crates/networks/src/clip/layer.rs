//! The layer all CLIP encoders are stacks of: x += attention(LN x); x += mlp(LN x).

use candle_core::Tensor;
use kernels::{LayerNorm, Linear};

use super::ClipActivation;
use crate::{Result, Weights};

/// Epsilon of all layer normalisations.
pub(super) const EPS: f64 = 1e-5;

/// Dimensions of a layer.
#[derive(Clone, Copy)]
pub(super) struct LayerDims {
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) mlp: usize,
    pub(super) activation: ClipActivation,
}

#[derive(Clone, Debug)]
pub(super) struct ClipLayer {
    heads: usize,
    scale: f64,
    norm1: LayerNorm,
    qkv: [Linear; 3],
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl ClipLayer {
    /// `count` layers named `0`, `1`, ….
    pub(super) fn stack(dims: LayerDims, count: usize, w: &Weights) -> Result<Vec<Self>> {
        (0..count).map(|i| Self::load(dims, &w.at(i))).collect()
    }

    fn load(dims: LayerDims, w: &Weights) -> Result<Self> {
        let LayerDims { width, heads, mlp, activation } = dims;
        let attention = w.at("self_attn");
        let project = |name| attention.linear(name, width, width);
        Ok(Self {
            heads,
            scale: ((width / heads) as f64).sqrt().recip(),
            norm1: w.layer_norm("layer_norm1", width, EPS)?,
            qkv: [project("q_proj")?, project("k_proj")?, project("v_proj")?],
            out: project("out_proj")?,
            norm2: w.layer_norm("layer_norm2", width, EPS)?,
            fc1: w.linear("mlp.fc1", width, mlp)?.activation(activation.into()),
            fc2: w.linear("mlp.fc2", mlp, width)?,
        })
    }

    /// (b, n, width) → (b, n, width); `mask` (n, n) is added to the attention scores.
    pub(super) fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let heads = |map: &Linear| kernels::split_heads(&map.forward(&normed)?, self.heads);
        let [q, k, v] = &self.qkv;
        let y = kernels::attention(&heads(q)?, &heads(k)?, &heads(v)?, self.scale, mask)?;
        let x = self.out.forward_with_residual(&kernels::merge_heads(&y)?, x)?;
        let hidden = self.fc1.forward(&self.norm2.forward(&x)?)?;
        Ok(self.fc2.forward_with_residual(&hidden, &x)?)
    }
}
