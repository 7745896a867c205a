//! Scaled dot-product attention (Vaswani et al. 2017), softmax(s·Q·Kᵀ + M)·V, in tiles of queries.
//!
//! Scores exist for one tile of queries at a time, so memory is bounded by [`SCORES_BUDGET`] elements and never grows
//! with tokens². Softmax, and on the CPU the products too, are computed in f32 whatever the dtype of the inputs.

use candle_core::{DType, Device, Result, Tensor};

use crate::cpu::attention::{Operand, Sizes};
use crate::cpu::microkernel::Microkernel;
use crate::cpu::{self, Values};

/// Most scores held at once by the reference: 2²⁴ f32 = 64 MiB (and as much again for their softmax).
pub const SCORES_BUDGET: usize = 1 << 24;

/// `q` (b, heads, n, d), `k` and `v` (b, heads, m, d) → (b, heads, n, d).
///
/// `scale` multiplies the scores; `mask` (n, m) is added to them (−∞ forbids a key).
///
/// # Errors
/// Where the shapes do not fit, or the device fails.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, mask: Option<&Tensor>) -> Result<Tensor> {
    if mask.is_none()
        && let Some(fused) = crate::gpu::attention(q, k, v, scale)
    {
        return fused;
    }
    if let Some(sizes) = sizes(q, k, v, mask) {
        return optimised(Microkernel::best(), [q, k, v], sizes, scale, mask);
    }
    let (batch, heads, queries, _) = q.dims4()?;
    let keys = k.dim(2)?;
    let tile = (SCORES_BUDGET / (batch * heads * keys).max(1)).clamp(1, queries.max(1));
    attention_in_tiles(q, k, v, scale, mask, tile)
}

/// The sizes of a case that the optimised algorithm takes.
fn sizes(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Option<Sizes> {
    let (batch, heads, queries, dim) = q.dims4().ok()?;
    let keys = k.dim(2).ok()?;
    let fits = [q, k, v].into_iter().all(cpu::supports)
        && k.dims() == [batch, heads, keys, dim]
        && v.dims() == k.dims()
        && mask.is_none_or(|mask| mask.device().is_cpu() && mask.dims() == [queries, keys])
        && keys > 0
        && dim > 0;
    fits.then_some(Sizes { batch, heads, queries, keys, dim })
}

/// The result lies in memory as (b, n, heads, d), so that [`merge_heads`] copies nothing.
fn optimised(
    microkernel: &'static Microkernel,
    [q, k, v]: [&Tensor; 3],
    sizes: Sizes,
    scale: f64,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let mask = mask.map(|mask| mask.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()).transpose()?;
    let values = [Values::of(q)?, Values::of(k)?, Values::of(v)?];
    let [q_values, k_values, v_values] = &values;
    let operands = [
        Operand { values: q_values, layout: q.layout() },
        Operand { values: k_values, layout: k.layout() },
        Operand { values: v_values, layout: v.layout() },
    ];
    let y = cpu::attention::attend(microkernel, operands, sizes, scale as f32, mask.as_deref());
    let Sizes { batch, heads, queries, dim, .. } = sizes;
    Tensor::from_vec(y, (batch, queries, heads, dim), &Device::Cpu)?.transpose(1, 2)
}

/// `y` plus `weight` times [`attention`] of the same shape. May be computed within `y`.
///
/// # Errors
/// Where the shapes do not fit, or the device fails.
pub fn attention_add(y: Tensor, [q, k, v]: [&Tensor; 3], scale: f64, weight: f64) -> Result<Tensor> {
    match crate::gpu::attention_add(&y, [q, k, v], scale, weight) {
        Some(added) => added.map(|()| y),
        None => y + (attention(q, k, v, scale, None)? * weight)?,
    }
}

/// [`attention`] with `tile` queries at a time: the result does not depend on it beyond rounding.
///
/// # Errors
/// Where the shapes do not fit, or the device fails.
pub fn attention_in_tiles(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f64,
    mask: Option<&Tensor>,
    tile: usize,
) -> Result<Tensor> {
    let dtype = q.dtype();
    // Half-precision products on the CPU would round the scores; GPU libraries accumulate in f32 by themselves.
    let work = if q.device().is_cpu() { DType::F32 } else { dtype };
    let k_t = k.to_dtype(work)?.t()?.contiguous()?;
    let v = v.to_dtype(work)?.contiguous()?;
    let queries = q.dim(2)?;
    let mut tiles = Vec::with_capacity(queries.div_ceil(tile));
    for start in (0..queries).step_by(tile) {
        let rows = tile.min(queries - start);
        let q = (q.narrow(2, start, rows)?.to_dtype(work)?.contiguous()? * scale)?;
        let mut scores = q.matmul(&k_t)?.to_dtype(DType::F32)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(&mask.narrow(0, start, rows)?.to_dtype(DType::F32)?)?;
        }
        let shares = candle_nn::ops::softmax_last_dim(&scores)?.to_dtype(work)?;
        tiles.push(shares.matmul(&v)?.to_dtype(dtype)?);
    }
    match tiles.as_slice() {
        [one] => Ok(one.clone()),
        many => Tensor::cat(many, 2),
    }
}

/// (b, n, heads·d) → (b, heads, n, d).
///
/// # Errors
/// Where the shapes do not fit, or the device fails.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    x.reshape((batch, tokens, heads, width / heads))?.transpose(1, 2)
}

/// (b, heads, n, d) → (b, n, heads·d), the inverse of [`split_heads`].
///
/// # Errors
/// Where the shapes do not fit, or the device fails.
pub fn merge_heads(x: &Tensor) -> Result<Tensor> {
    x.transpose(1, 2)?.contiguous()?.flatten_from(2)
}

/// The mask that lets a token attend to itself and to earlier ones: (n, n), 0 or −∞, f32.
///
/// # Errors
/// For more than 2³² tokens, or where the device fails.
pub fn causal_mask(tokens: usize, device: &Device) -> Result<Tensor> {
    let index = Tensor::arange(0u32, u32::try_from(tokens).map_err(candle_core::Error::wrap)?, device)?;
    let query = index.reshape((tokens, 1))?.broadcast_as((tokens, tokens))?;
    let key = index.reshape((1, tokens))?.broadcast_as((tokens, tokens))?;
    let zero = Tensor::zeros((tokens, tokens), DType::F32, device)?;
    let never = Tensor::full(f32::NEG_INFINITY, (tokens, tokens), device)?;
    key.le(&query)?.where_cond(&zero, &never)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result};

    use super::{attention_in_tiles, causal_mask, merge_heads, optimised, sizes};
    use crate::compare::{assert_close, noise};
    use crate::cpu::microkernel::Microkernel;

    #[test]
    fn optimised_agrees_with_reference() -> Result<()> {
        for microkernel in Microkernel::all() {
            for [b, h, n, m, d] in [
                [1, 1, 1, 1, 1],
                [2, 3, 5, 4, 7],
                [1, 2, 33, 77, 64],
                [1, 2, 77, 16, 80],
                [2, 1, 130, 300, 40],
                [1, 1, 65, 1025, 512],
                [1, 5, 700, 700, 64],
            ] {
                // Strong scores, so that the largest one moves from block to block.
                let q = (noise(&[b, h, n, d], 1) * 6.0)?;
                let (k, v) = (noise(&[b, h, m, d], 2), noise(&[b, h, m, d], 3));
                let scale = (d as f64).sqrt().recip() * 3.0;
                let want = attention_in_tiles(&q, &k, &v, scale, None, n)?;
                let sizes = sizes(&q, &k, &v, None).unwrap();
                let what = format!("{} {b} {h} {n}x{m} d{d}", microkernel.name);
                assert_close(&optimised(microkernel, [&q, &k, &v], sizes, scale, None)?, &want, 5e-6, &what);
            }
        }
        Ok(())
    }

    #[test]
    fn masks_and_layouts() -> Result<()> {
        for microkernel in Microkernel::all() {
            for n in [1, 40, 77, 300] {
                // (b, n, h, d) seen as (b, h, n, d), as it comes out of a projection.
                let view = |seed| noise(&[2, n, 3, 24], seed).transpose(1, 2);
                let (q, k, v) = (view(1)?, view(2)?, view(3)?);
                let mask = causal_mask(n, &Device::Cpu)?;
                let want = attention_in_tiles(&q, &k, &v, 0.7, Some(&mask), n)?;
                let sizes = sizes(&q, &k, &v, Some(&mask)).unwrap();
                let got = optimised(microkernel, [&q, &k, &v], sizes, 0.7, Some(&mask))?;
                assert_close(&got, &want, 5e-6, microkernel.name);
                assert_close(&merge_heads(&got)?, &merge_heads(&want)?, 5e-6, microkernel.name);
            }
        }
        Ok(())
    }
}
