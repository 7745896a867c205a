//! Forms for GPUs behind the functions of this crate; candle's own forms are the fallback. Type-checked without hardware by
//! `tests/gpu-check/run`, tested on one where `MATERIAL_TRANSFER_TEST_DEVICE` names it.

#[cfg(any(feature = "flash-attn", feature = "metal"))]
mod attention;
#[cfg(feature = "cudnn")]
mod cudnn;
#[cfg(feature = "cuda")]
mod norm;

use candle_core::{DType, Result, Tensor};

use crate::normalisation::channels_of_group;

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

/// Whether candle's fused layer normalisation may take `x`: CUDA's takes the variance as E[x²] − E[x]², so that f32 would lose
/// digits that half precision never had; Metal's merges variances, and takes f32 too.
fn layer_norm_takes(x: &Tensor) -> bool {
    match x.dtype() {
        DType::F16 | DType::BF16 => !x.device().is_cpu(),
        DType::F32 => x.device().is_metal(),
        _ => false,
    }
}

/// Layer normalisation in one kernel with sums in f32, where [`layer_norm_takes`] it: `x` (…, c), `weight` and `bias` (c).
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Option<Result<Tensor>> {
    let fused = || {
        let (weight, bias) = (weight.to_dtype(x.dtype())?, bias.to_dtype(x.dtype())?);
        candle_nn::ops::layer_norm(&x.contiguous()?, &weight, &bias, eps as f32)
    };
    layer_norm_takes(x).then(fused)
}

/// Group normalisation, then SiLU if `silu`, in few passes over memory, where this build and device have that: `x` (b, c, h, w),
/// `weight` and `bias` (c). On CUDA by a kernel of ours, elsewhere by candle's layer normalisation.
pub(crate) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Option<Result<Tensor>> {
    #[cfg(feature = "cuda")]
    if let Some(y) = norm::group_norm(x, weight, bias, groups, eps, silu) {
        return Some(y);
    }
    layer_norm_takes(x).then(|| grouped_layer_norm(x, weight, bias, groups, eps, silu))
}

/// Group normalisation as a layer normalisation of every group, then weight, bias and SiLU: four to five passes over memory
/// instead of eleven.
fn grouped_layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    let size = channels_of_group(channels, groups)? * height * width;
    let rows = x.contiguous()?.reshape((images * groups, size))?;
    let (one, zero) =
        (Tensor::ones(size, x.dtype(), x.device())?, Tensor::zeros(size, x.dtype(), x.device())?);
    let y = candle_nn::ops::layer_norm(&rows, &one, &zero, eps as f32)?.reshape(x.shape())?;
    let by_channel = |t: &Tensor| t.to_dtype(x.dtype())?.reshape((1, channels, 1, 1));
    let y = y.broadcast_mul(&by_channel(weight)?)?.broadcast_add(&by_channel(bias)?)?;
    if silu { y.silu() } else { Ok(y) }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Result};

    use super::grouped_layer_norm;
    use crate::Norm;
    use crate::compare::{assert_close, noise};

    #[test]
    fn a_layer_norm_of_every_group_is_a_group_norm() -> Result<()> {
        for ([b, c, h, w], groups) in [([2, 6, 5, 7], 3), ([1, 64, 9, 16], 32), ([3, 8, 20, 21], 1)] {
            let x = (noise(&[b, c, h, w], 1) + 0.5)?;
            let (weight, bias) = (noise(&[c], 2), noise(&[c], 3));
            let want = crate::group_norm_silu(&x, &Norm::new(weight.clone(), bias.clone(), 1e-5), groups)?;
            for (dtype, bound) in [(DType::F32, 1e-5), (DType::F16, 3e-3), (DType::BF16, 2e-2)] {
                let got = grouped_layer_norm(&x.to_dtype(dtype)?, &weight, &bias, groups, 1e-5, true)?;
                assert_eq!(got.dtype(), dtype);
                assert_close(&got, &want, bound, &format!("{dtype:?} {b} {c} {h}x{w}"));
            }
            assert!(grouped_layer_norm(&x, &weight, &bias, c + 1, 1e-5, false).is_err(), "no whole groups");
        }
        Ok(())
    }
}
