//! Forms for GPUs behind the functions of this crate; candle's own forms are the fallback. Type-checked without hardware by
//! `tests/gpu-check/run`, tested on one where `MATERIAL_TRANSFER_TEST_DEVICE` names it.

#[cfg(any(feature = "flash-attn", feature = "metal"))]
mod attention;
#[cfg(feature = "cuda")]
mod cuda;
mod forms;

use candle_core::{DType, Device, Result, Tensor};

#[cfg(feature = "cuda")]
pub use cuda::open::{Card, card, missing_kernels, open_cuda, peak_memory, trim};
pub use forms::{Form, leave_out};

use crate::Activation;
use crate::normalisation::channels_of_group;

/// Fused attention where the device and this build have one that fits: `q` (b, heads, n, d), `k` and `v`
/// (b, heads, m, d).
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Option<Result<Tensor>> {
    #[cfg(feature = "cuda")]
    if let Some(y) = cuda::attention::fused(q, k, v, scale) {
        return Some(y);
    }
    #[cfg(any(feature = "flash-attn", feature = "metal"))]
    return attention::fused(q, k, v, scale);
    #[cfg(not(any(feature = "flash-attn", feature = "metal")))]
    {
        let _ = (q, k, v, scale);
        None
    }
}

/// `y` plus `weight` times the attention, in `y` itself, which nobody else may hold; where this build and device have that.
pub(crate) fn attention_add(y: &Tensor, qkv: [&Tensor; 3], scale: f64, weight: f64) -> Option<Result<()>> {
    #[cfg(feature = "cuda")]
    return cuda::attention::fused_add(y, qkv, scale, weight);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (y, qkv, scale, weight);
        None
    }
}

/// What is added to a result, and the function after it.
#[derive(Clone, Copy, Default)]
#[allow(dead_code)] // read by GPU builds
pub(crate) struct Ending<'a> {
    /// One value a channel.
    pub(crate) bias: Option<&'a Tensor>,
    /// One value an image and channel, or one a channel: (b, c, 1, 1) or (1, c, 1, 1).
    pub(crate) embedding: Option<&'a Tensor>,
    /// One value each.
    pub(crate) skip: Option<&'a Tensor>,
    pub(crate) activation: Option<Activation>,
}

/// Ends rows `y` (…, width), contiguous and held by nobody else, in place, where this build and device can.
pub(crate) fn finish_rows(y: &Tensor, ending: Ending<'_>) -> Option<Result<()>> {
    #[cfg(feature = "cuda")]
    return cuda::pointwise::finish_rows(y, ending);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (y, ending);
        None
    }
}

/// Ends a picture `y` (b, c, h, w) held by nobody else, in place, where this build and device can.
pub(crate) fn finish_picture(y: &Tensor, ending: Ending<'_>) -> Option<Result<()>> {
    #[cfg(feature = "cuda")]
    return cuda::pointwise::finish_picture(y, ending);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (y, ending);
        None
    }
}

/// GEGLU of rows `x` (…, 2·width) after their bias (2·width), where this build and device have one: (…, width).
pub(crate) fn geglu(x: &Tensor, bias: Option<&Tensor>) -> Option<Result<Tensor>> {
    #[cfg(feature = "cuda")]
    return cuda::pointwise::geglu(x, bias);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (x, bias);
        None
    }
}

/// `x` (b, c, h, w) in half precision plus `feature` (1, c, h, w) in f32, where this build and device have that.
pub(crate) fn add_wide(x: &Tensor, feature: &Tensor) -> Option<Result<Tensor>> {
    #[cfg(feature = "cuda")]
    return cuda::pointwise::add_wide(x, feature);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (x, feature);
        None
    }
}

/// Nearest neighbours of `x` (b, c, h, w) where this build and device have a form that fits.
pub(crate) fn nearest(x: &Tensor, height: usize, width: usize) -> Option<Result<Tensor>> {
    #[cfg(feature = "cuda")]
    return cuda::pointwise::nearest(x, height, width);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (x, height, width);
        None
    }
}

/// A picture (1, c, h, w) from -1 to 1 as bytes (h, w, c), where this build and device have that.
pub(crate) fn bytes(x: &Tensor) -> Option<Result<Tensor>> {
    #[cfg(feature = "cuda")]
    return cuda::pointwise::bytes(x);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = x;
        None
    }
}

/// Whether pictures (b, c, h, w) of this type are kept with their channels side by side, which convolutions on tensor cores want.
pub(crate) fn channels_last(device: &Device, dtype: DType) -> bool {
    let half = matches!(dtype, DType::F16 | DType::BF16);
    cfg!(feature = "cudnn")
        && device.is_cuda()
        && half
        && forms::on(Form::ChannelsLast)
        && forms::on(Form::TensorCores)
}

/// Whether Metal's attention takes heads of this width: those it is built for, but no f32 of 512, which needs more threadgroup
/// memory than there is and is refused with an error.
#[cfg(any(feature = "metal", test))]
fn metal_takes(dtype: DType, head: usize) -> bool {
    let half = matches!(dtype, DType::F16 | DType::BF16);
    match head {
        32 | 64 | 72 | 80 | 96 | 128 | 256 => half || dtype == DType::F32,
        512 => half,
        _ => false,
    }
}

/// Convolution with sums in f32, where this build and device have one: `x` (b, in, h, w), `weight` (out, in, kh, kw), no
/// bias. The result is held by nobody else, and has its channels last where [`channels_last`] says so.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    padding: usize,
    stride: usize,
    dilation: usize,
) -> Option<Result<Tensor>> {
    #[cfg(feature = "cudnn")]
    return cuda::cudnn::conv2d(x, weight, cuda::cudnn::Geometry { padding, stride, dilation });
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
    #[cfg(feature = "cuda")]
    if let Some(y) = cuda::rows::layer_norm(x, weight, bias, eps) {
        return Some(y);
    }
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
    {
        let fused = cuda::rows::group_norm(x, weight, bias, groups, eps, silu);
        if let Some(y) = fused.or_else(|| cuda::norm::group_norm(x, weight, bias, groups, eps, silu)) {
            return Some(y);
        }
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

    use super::{grouped_layer_norm, metal_takes};
    use crate::Norm;
    use crate::compare::{assert_close, noise};

    #[test]
    fn the_autoencoder_s_attention_goes_to_metal_in_half_precision_only() {
        assert!(
            metal_takes(DType::F16, 512) && metal_takes(DType::BF16, 512) && !metal_takes(DType::F32, 512)
        );
        assert!(metal_takes(DType::F32, 64) && metal_takes(DType::F16, 80));
        assert!(!metal_takes(DType::F16, 40) && !metal_takes(DType::F64, 64));
    }

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
