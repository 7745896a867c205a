//! Layers and operations on GPUs, behind the types and functions of this crate; candle's own are the fallback. Type-checked
//! without hardware by `tests/gpu-check/run`, tested on one where `MATERIAL_TRANSFER_TEST_DEVICE` names it.

#[cfg(any(feature = "flash-attn", feature = "metal"))]
mod attention;
#[cfg(feature = "cuda")]
mod cuda;
mod none;
mod optimisations;

use candle_core::{DType, Device, Result, Tensor};

#[cfg(any(feature = "flash-attn", feature = "metal"))]
use attention::fused as library_attention;
#[cfg(feature = "cudnn")]
pub(crate) use cuda::cudnn::conv2d;
#[cfg(feature = "cuda")]
pub use cuda::open::{Card, card, missing_kernels, open_cuda, peak_memory, trim};
#[cfg(feature = "cuda")]
use cuda::{attention::fused as own_attention, norms};
#[cfg(feature = "cuda")]
pub(crate) use cuda::{
    attention::fused_add as attention_add,
    pointwise::{add_wide, bytes, finish_picture, finish_rows, geglu, nearest},
};
#[cfg(not(feature = "cudnn"))]
pub(crate) use none::conv2d;
#[cfg(not(any(feature = "flash-attn", feature = "metal")))]
use none::library_attention;
#[cfg(not(feature = "cuda"))]
pub(crate) use none::{add_wide, attention_add, bytes, finish_picture, finish_rows, geglu, nearest};
#[cfg(not(feature = "cuda"))]
use none::{norms, own_attention};
pub use optimisations::{Optimisation, disable};

use crate::Activation;

/// Fused attention where the device and this build have one that fits: `q` (b, heads, n, d), `k` and `v`
/// (b, heads, m, d).
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Option<Result<Tensor>> {
    own_attention(q, k, v, scale).or_else(|| library_attention(q, k, v, scale))
}

/// What is added to a result, and the function after it.
#[derive(Clone, Copy, Default)]
#[allow(dead_code)] // read by GPU builds
pub(crate) struct Epilogue<'a> {
    /// One value a channel.
    pub(crate) bias: Option<&'a Tensor>,
    /// One value per image and channel, or one per channel: (b, c, 1, 1) or (1, c, 1, 1).
    pub(crate) embedding: Option<&'a Tensor>,
    /// One value each.
    pub(crate) residual: Option<&'a Tensor>,
    pub(crate) activation: Option<Activation>,
}

/// Whether pictures (b, c, h, w) of this type are kept with their channels side by side, which convolutions on tensor cores want.
pub(crate) fn channels_last(device: &Device, dtype: DType) -> bool {
    let half = matches!(dtype, DType::F16 | DType::BF16);
    cfg!(feature = "cudnn")
        && device.is_cuda()
        && half
        && optimisations::enabled(Optimisation::ChannelsLast)
        && optimisations::enabled(Optimisation::TensorCores)
}

/// Whether Metal's attention takes heads of this width: those it is built for, but no f32 of 512, which needs more threadgroup
/// memory than there is and is refused with an error.
#[cfg(any(feature = "metal", test))]
fn metal_supports(dtype: DType, head: usize) -> bool {
    let half = matches!(dtype, DType::F16 | DType::BF16);
    match head {
        32 | 64 | 72 | 80 | 96 | 128 | 256 => half || dtype == DType::F32,
        512 => half,
        _ => false,
    }
}

/// Whether candle's fused layer normalisation may take `x`: CUDA's takes the variance as E[x²] − E[x]², so that f32 would lose
/// digits that half precision never had; Metal's merges variances, and takes f32 too.
fn layer_norm_supports(x: &Tensor) -> bool {
    match x.dtype() {
        DType::F16 | DType::BF16 => !x.device().is_cpu(),
        DType::F32 => x.device().is_metal(),
        _ => false,
    }
}

/// Layer normalisation in one kernel with sums in f32, where [`layer_norm_supports`] it: `x` (…, c), `weight` and `bias` (c).
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Option<Result<Tensor>> {
    if let Some(y) = norms::layer_norm(x, weight, bias, eps) {
        return Some(y);
    }
    let fused = || {
        let (weight, bias) = (weight.to_dtype(x.dtype())?, bias.to_dtype(x.dtype())?);
        candle_nn::ops::layer_norm(&x.contiguous()?, &weight, &bias, eps as f32)
    };
    layer_norm_supports(x).then(fused)
}

/// Group normalisation, then the activation, in few passes over memory, where this build and device have that: `x` (b, c, h, w),
/// `weight` and `bias` (c), which `groups` divides. On CUDA by a kernel of ours, elsewhere by candle's layer normalisation.
pub(crate) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    activation: Option<Activation>,
) -> Option<Result<Tensor>> {
    if let Some(y) = norms::group_norm(x, weight, bias, groups, eps, activation) {
        return Some(y);
    }
    layer_norm_supports(x).then(|| grouped_layer_norm(x, weight, bias, groups, eps, activation))
}

/// Group normalisation as a layer normalisation of every group, then weight, bias and activation: four to five passes over
/// memory instead of eleven.
fn grouped_layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    let size = channels / groups * height * width;
    let rows = x.contiguous()?.reshape((images * groups, size))?;
    let (one, zero) =
        (Tensor::ones(size, x.dtype(), x.device())?, Tensor::zeros(size, x.dtype(), x.device())?);
    let y = candle_nn::ops::layer_norm(&rows, &one, &zero, eps as f32)?.reshape(x.shape())?;
    let by_channel = |t: &Tensor| t.to_dtype(x.dtype())?.reshape((1, channels, 1, 1));
    let y = y.broadcast_mul(&by_channel(weight)?)?.broadcast_add(&by_channel(bias)?)?;
    match activation {
        Some(activation) => activation.apply(&y),
        None => Ok(y),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Result};

    use super::{grouped_layer_norm, metal_supports};
    use crate::compare::{assert_close, noise};
    use crate::{Activation, GroupNorm};

    #[test]
    fn the_autoencoder_s_attention_goes_to_metal_in_half_precision_only() {
        assert!(
            metal_supports(DType::F16, 512)
                && metal_supports(DType::BF16, 512)
                && !metal_supports(DType::F32, 512)
        );
        assert!(metal_supports(DType::F32, 64) && metal_supports(DType::F16, 80));
        assert!(!metal_supports(DType::F16, 40) && !metal_supports(DType::F64, 64));
    }

    #[test]
    fn a_layer_norm_of_every_group_is_a_group_norm() -> Result<()> {
        for ([b, c, h, w], groups) in [([2, 6, 5, 7], 3), ([1, 64, 9, 16], 32), ([3, 8, 20, 21], 1)] {
            let x = (noise(&[b, c, h, w], 1) + 0.5)?;
            let (weight, bias) = (noise(&[c], 2), noise(&[c], 3));
            let silu = Some(Activation::Silu);
            let norm = GroupNorm::new(weight.clone(), bias.clone(), groups, 1e-5)?;
            let want = norm.activation(Activation::Silu).forward(&x)?;
            for (dtype, bound) in [(DType::F32, 1e-5), (DType::F16, 3e-3), (DType::BF16, 2e-2)] {
                let got = grouped_layer_norm(&x.to_dtype(dtype)?, &weight, &bias, groups, 1e-5, silu)?;
                assert_eq!(got.dtype(), dtype);
                assert_close(&got, &want, bound, &format!("{dtype:?} {b} {c} {h}x{w}"));
            }
        }
        Ok(())
    }
}
