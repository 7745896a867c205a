//! Forms for GPUs behind the functions of this crate; candle's own forms are the fallback. Type-checked without hardware by
//! `tests/gpu-check/run`, tested on one where `MATERIAL_TRANSFER_TEST_DEVICE` names it.

#[cfg(any(feature = "flash-attn", feature = "metal"))]
mod attention;
#[cfg(feature = "cudnn")]
mod cudnn;
#[cfg(feature = "cuda")]
mod norm;

use candle_core::{DType, Result, Tensor};

/// Fused attention where the device and this build have one that fits: `q` (b, heads, n, d), `k` and `v`
/// (b, heads, m, d).
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Option<Result<Tensor>> {
    #[cfg(any(feature = "flash-attn", feature = "metal"))]
    return attention::fused(q, k, v, scale);
    #[cfg(not(any(feature = "flash-attn", feature = "metal")))]
    {
        let _ = (q, k, v, scale);
        None
    }
}

/// Convolution with sums in f32, where this build and device have one: `x` (b, in, h, w), `weight` (out, in, kh, kw), no
/// bias.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    padding: usize,
    stride: usize,
    dilation: usize,
) -> Option<Result<Tensor>> {
    #[cfg(feature = "cudnn")]
    return cudnn::conv2d(x, weight, cudnn::Geometry { padding, stride, dilation });
    #[cfg(not(feature = "cudnn"))]
    {
        let _ = (x, weight, padding, stride, dilation);
        None
    }
}

/// Layer normalisation of half-precision tensors in one kernel with sums in f32: `x` (…, c), `weight` and `bias` (c).
///
/// The kernel takes the variance as E[x²] − E[x]²: f32 would lose digits that half precision never had.
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Option<Result<Tensor>> {
    let fused = || {
        let (weight, bias) = (weight.to_dtype(x.dtype())?, bias.to_dtype(x.dtype())?);
        candle_nn::ops::layer_norm(&x.contiguous()?, &weight, &bias, eps as f32)
    };
    (!x.device().is_cpu() && matches!(x.dtype(), DType::F16 | DType::BF16)).then(fused)
}

/// Group normalisation in one kernel, then SiLU if `silu`, where this build and device have one: `x` (b, c, h, w), `weight`
/// and `bias` (c).
pub(crate) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Option<Result<Tensor>> {
    #[cfg(feature = "cuda")]
    return norm::group_norm(x, weight, bias, groups, eps, silu);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (x, weight, bias, groups, eps, silu);
        None
    }
}
