//! Group, instance and layer normalisation: (x − mean)/√(variance + eps), then weight and bias.
//!
//! Mean and (biased) variance are taken in f32 in two passes; E[x²]−E[x]² would cancel where the mean is large. Sums
//! run over rows first and then over the row means, which keeps f32 exact enough for millions of elements.

use candle_core::{D, DType, Result, Tensor};

use crate::silu;

/// Parameters of a normalisation: weight and bias (channels), eps.
#[derive(Clone, Debug)]
pub struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Norm {
    /// `weight` and `bias`: (channels).
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias, eps }
    }
}

/// Normalises `x` (b, c, h, w) over each of `groups` groups of channels and all positions (Wu and He 2018).
pub fn group_norm(x: &Tensor, norm: &Norm, groups: usize) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let affine = |t: &Tensor| t.to_dtype(DType::F32)?.reshape((1, channels, 1, 1));
    let y = standardise(x, groups, norm.eps)?;
    y.broadcast_mul(&affine(&norm.weight)?)?.broadcast_add(&affine(&norm.bias)?)?.to_dtype(x.dtype())
}

/// [`group_norm`], then SiLU.
pub fn group_norm_silu(x: &Tensor, norm: &Norm, groups: usize) -> Result<Tensor> {
    silu(&group_norm(x, norm, groups)?)
}

/// Normalises `x` (b, c, h, w) over the positions of each channel, without weight and bias.
pub fn instance_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    standardise(x, x.dim(1)?, eps)?.to_dtype(x.dtype())
}

/// Normalises `x` (…, c) over its last dimension (Ba et al. 2016).
pub fn layer_norm(x: &Tensor, norm: &Norm) -> Result<Tensor> {
    let y = x.to_dtype(DType::F32)?;
    let y = y.broadcast_sub(&y.mean_keepdim(D::Minus1)?)?;
    let variance = y.sqr()?.mean_keepdim(D::Minus1)?;
    let y = y.broadcast_div(&(variance + norm.eps)?.sqrt()?)?;
    y.broadcast_mul(&norm.weight.to_dtype(DType::F32)?)?
        .broadcast_add(&norm.bias.to_dtype(DType::F32)?)?
        .to_dtype(x.dtype())
}

/// Zero mean and unit variance within each group; (b, c, h, w) f32.
fn standardise(x: &Tensor, groups: usize, eps: f64) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let rows = x.to_dtype(DType::F32)?.reshape((batch, groups, channels / groups, height * width))?;
    let mean = |t: &Tensor| t.mean_keepdim(3)?.mean_keepdim(2);
    let rows = rows.broadcast_sub(&mean(&rows)?)?;
    let variance = mean(&rows.sqr()?)?;
    rows.broadcast_div(&(variance + eps)?.sqrt()?)?.reshape((batch, channels, height, width))
}
