//! Group, instance and layer normalisation: (x − mean)/√(variance + eps), then weight and bias.
//!
//! In the plain form, mean and (biased) variance are taken in f32 in two passes; E[x²]−E[x]² would cancel where the mean is
//! large. Sums run over rows first and then over the row means, which keeps f32 exact enough for millions of elements.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::cpu;
use crate::cpu::micro::Micro;
use crate::cpu::norm::Affine;
use crate::cpu::planes;
use crate::pictures::cat_channels;
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
        // CUDA's kernels read them in f32: cast once, not at every call.
        let wide = |t: Tensor| match t.device().is_cuda() {
            true => t.to_dtype(DType::F32).unwrap_or(t),
            false => t,
        };
        Self { weight: wide(weight), bias: wide(bias), eps }
    }
}

/// Normalises `x` (b, c, h, w) over each of `groups` groups of channels and all positions (Wu and He 2018).
pub fn group_norm(x: &Tensor, norm: &Norm, groups: usize) -> Result<Tensor> {
    match cpu::takes(x) {
        true => fast_group_norm(Micro::best(), &[x], Some(norm), groups, norm.eps, false),
        false => other_group_norm(x, norm, groups, false),
    }
}

/// Where the CPU's form does not apply: the device's own, or the plain one.
fn other_group_norm(x: &Tensor, norm: &Norm, groups: usize, then_silu: bool) -> Result<Tensor> {
    if let Some(fused) = crate::gpu::group_norm(x, &norm.weight, &norm.bias, groups, norm.eps, then_silu) {
        return fused;
    }
    let y = plain_group_norm(x, norm, groups)?;
    if then_silu { silu(&y) } else { Ok(y) }
}

/// The definition.
fn plain_group_norm(x: &Tensor, norm: &Norm, groups: usize) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let affine = |t: &Tensor| t.to_dtype(DType::F32)?.reshape((1, channels, 1, 1));
    let y = standardise(x, groups, norm.eps)?;
    y.broadcast_mul(&affine(&norm.weight)?)?.broadcast_add(&affine(&norm.bias)?)?.to_dtype(x.dtype())
}

/// [`group_norm`], then SiLU.
pub fn group_norm_silu(x: &Tensor, norm: &Norm, groups: usize) -> Result<Tensor> {
    group_norm_silu_joined(&[x], norm, groups)
}

/// [`group_norm_silu`] of pictures joined along their channels, without joining them first.
pub fn group_norm_silu_joined(x: &[&Tensor], norm: &Norm, groups: usize) -> Result<Tensor> {
    match x.iter().all(|x| cpu::takes(x)) {
        true => fast_group_norm(Micro::best(), x, Some(norm), groups, norm.eps, true),
        false => other_group_norm(&cat_channels(x)?, norm, groups, true),
    }
}

/// How many of `channels` each of `groups` has; an error if they cannot be cut so.
pub(crate) fn channels_of_group(channels: usize, groups: usize) -> Result<usize> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        candle_core::bail!("{channels} channels cannot be cut into {groups} groups");
    }
    Ok(channels / groups)
}

fn fast_group_norm(
    micro: &Micro,
    x: &[&Tensor],
    norm: Option<&Norm>,
    groups: usize,
    eps: f64,
    then_silu: bool,
) -> Result<Tensor> {
    let (images, channels, height, width) = planes::joined_dims(x)?;
    let sizes = [images, groups, channels_of_group(channels, groups)?, height * width];
    let y = planes::read(x, |x| {
        let run = |affine: Option<Affine<'_>>| cpu::norm::group(micro, &x, sizes, eps, affine, then_silu);
        match norm {
            Some(norm) => with_affine(norm, channels, |affine| Ok(run(Some(affine)))),
            None => Ok(run(None)),
        }
    })?;
    Tensor::from_vec(y, (images, channels, height, width), &Device::Cpu)
}

/// Calls `f` with weight and bias in f32.
fn with_affine<R>(norm: &Norm, channels: usize, f: impl FnOnce(Affine<'_>) -> Result<R>) -> Result<R> {
    let (weight, bias) = (norm.weight.to_dtype(DType::F32)?, norm.bias.to_dtype(DType::F32)?);
    if weight.elem_count() != channels || bias.elem_count() != channels {
        candle_core::bail!("a norm of {} channels cannot take {channels}", weight.elem_count());
    }
    cpu::read_contiguous(&weight, |weight| cpu::read_contiguous(&bias, |bias| f(Affine { weight, bias })))
}

/// Normalises `x` (b, c, h, w) over the positions of each channel, without weight and bias.
pub fn instance_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    if cpu::takes(x) && x.elem_count() > 0 {
        return fast_group_norm(Micro::best(), &[x], None, x.dim(1)?, eps, false);
    }
    standardise(x, x.dim(1)?, eps)?.to_dtype(x.dtype())
}

/// Normalises `x` (…, c) over its last dimension (Ba et al. 2016).
pub fn layer_norm(x: &Tensor, norm: &Norm) -> Result<Tensor> {
    match cpu::takes(x) {
        true => fast_layer_norm(Micro::best(), x, norm),
        false => crate::gpu::layer_norm(x, &norm.weight, &norm.bias, norm.eps)
            .unwrap_or_else(|| plain_layer_norm(x, norm)),
    }
}

fn fast_layer_norm(micro: &Micro, x: &Tensor, norm: &Norm) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let y = with_affine(norm, width, |affine| {
        cpu::read_contiguous(x, |values| Ok(cpu::norm::layer(micro, values, width, norm.eps, affine)))
    })?;
    Tensor::from_vec(y, x.dims(), &Device::Cpu)
}

/// The definition.
fn plain_layer_norm(x: &Tensor, norm: &Norm) -> Result<Tensor> {
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

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::{Norm, fast_group_norm, fast_layer_norm, plain_group_norm, plain_layer_norm, standardise};
    use crate::compare::{assert_close, noise};
    use crate::cpu::micro::Micro;

    #[test]
    fn fast_forms_agree_with_the_plain_ones() -> Result<()> {
        for micro in Micro::all() {
            for ([b, c, h, w], groups) in [
                ([1, 1, 1, 2], 1),
                ([2, 6, 5, 7], 3),
                ([3, 32, 16, 16], 32),
                ([1, 64, 65, 67], 4),
                ([1, 8, 150, 90], 2),
            ] {
                let (x, norm) = (noise(&[b, c, h, w], 1), Norm::new(noise(&[c], 2), noise(&[c], 3), 1e-5));
                let what = format!("{} {b} {c} {h}x{w}", micro.name);
                let want = plain_group_norm(&x, &norm, groups)?;
                let run = |silu| fast_group_norm(micro, &[&x], Some(&norm), groups, 1e-5, silu);
                assert_close(&run(false)?, &want, 3e-6, &what);
                assert_close(&run(true)?, &want.silu()?, 3e-6, &what);
                let parts = [x.narrow(1, 0, c / 3)?, x.narrow(1, c / 3, c - c / 3)?];
                let joined = [&parts[0], &parts[1]];
                let got = fast_group_norm(micro, &joined, Some(&norm), groups, 1e-5, true)?;
                assert_close(&got, &want.silu()?, 3e-6, &format!("joined {what}"));
                let alone = fast_group_norm(micro, &[&x], None, c, 1e-5, false)?;
                assert_close(&alone, &standardise(&x, c, 1e-5)?, 3e-6, &what);
            }
            for dims in [vec![1, 3], vec![7, 33], vec![2, 50, 640], vec![100, 1280]] {
                let width = dims[dims.len() - 1];
                let x = (noise(&dims, 4) + 3.0)?;
                let norm = Norm::new(noise(&[width], 5), noise(&[width], 6), 1e-5);
                let want = plain_layer_norm(&x, &norm)?;
                assert_close(&fast_layer_norm(micro, &x, &norm)?, &want, 3e-6, micro.name);
            }
        }
        Ok(())
    }
}
