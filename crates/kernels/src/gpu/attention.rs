//! Fused attention: FlashAttention 2 (Dao 2023) on CUDA, Metal's scaled-dot-product kernel.

use candle_core::{Result, Tensor};

/// See [`super::attention`].
pub(super) fn fused(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Option<Result<Tensor>> {
    #[cfg(feature = "flash-attn")]
    if q.device().is_cuda() && flash_fits(q) {
        return Some(flash(q, k, v, scale));
    }
    #[cfg(feature = "metal")]
    if q.device().is_metal() && super::metal_supports(q.dtype(), q.dim(3).unwrap_or(0)) {
        let fused = || {
            let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
            candle_nn::ops::sdpa(&q, &k, &v, None, false, scale as f32, 1.0)
        };
        return Some(fused());
    }
    let _ = (k, v, scale);
    None
}

/// The kernel takes half precision only, heads of up to 512 channels in multiples of eight.
#[cfg(feature = "flash-attn")]
fn flash_fits(q: &Tensor) -> bool {
    use candle_core::DType;
    let head = q.dim(3).unwrap_or(0);
    matches!(q.dtype(), DType::F16 | DType::BF16) && head.is_multiple_of(8) && (8..=512).contains(&head)
}

/// The kernel wants (b, n, heads, d).
#[cfg(feature = "flash-attn")]
fn flash(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Result<Tensor> {
    let rows = |x: &Tensor| x.transpose(1, 2)?.contiguous();
    candle_flash_attn::flash_attn(&rows(q)?, &rows(k)?, &rows(v)?, scale as f32, false)?.transpose(1, 2)
}
