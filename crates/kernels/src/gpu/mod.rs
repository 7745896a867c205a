//! Forms for GPUs behind the functions of this crate; candle's own forms are the fallback. Type-checked without hardware by
//! `tests/gpu-check/run`.

#[cfg(any(feature = "flash-attn", feature = "metal"))]
mod attention;
#[cfg(feature = "cudnn")]
mod cudnn;

use candle_core::{Result, Tensor};

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

/// Convolution of half-precision tensors with sums in f32, where this build and device have one: `x` (b, in, h, w),
/// `weight` (out, in, kh, kw), no bias.
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

/// Layer normalisation in one kernel with sums in f32: `x` (…, c), `weight` and `bias` (c).
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Option<Result<Tensor>> {
    let fused = || {
        let (weight, bias) = (weight.to_dtype(x.dtype())?, bias.to_dtype(x.dtype())?);
        candle_nn::ops::layer_norm(&x.contiguous()?, &weight, &bias, eps as f32)
    };
    (!x.device().is_cpu()).then(fused)
}
