//! Scaled dot-product attention (Vaswani et al. 2017), softmax(s·Q·Kᵀ + M)·V, in tiles of queries.
//!
//! Scores exist for one tile of queries at a time, so memory is bounded by [`SCORES_BUDGET`] elements and never grows
//! with tokens². Softmax, and on the CPU the products too, are computed in f32 whatever the dtype of the inputs.

use candle_core::{DType, Device, Result, Tensor};

/// Most scores held at once: 2²⁴ f32 = 64 MiB (and as much again for their softmax).
pub const SCORES_BUDGET: usize = 1 << 24;

/// `q` (b, heads, n, d), `k` and `v` (b, heads, m, d) → (b, heads, n, d).
///
/// `scale` multiplies the scores; `mask` (n, m) is added to them (−∞ forbids a key).
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, mask: Option<&Tensor>) -> Result<Tensor> {
    let (batch, heads, queries, _) = q.dims4()?;
    let keys = k.dim(2)?;
    let tile = (SCORES_BUDGET / (batch * heads * keys).max(1)).clamp(1, queries.max(1));
    attention_in_tiles(q, k, v, scale, mask, tile)
}

/// [`attention`] with `tile` queries at a time: the result does not depend on it beyond rounding.
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
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    x.reshape((batch, tokens, heads, width / heads))?.transpose(1, 2)
}

/// (b, heads, n, d) → (b, n, heads·d), the inverse of [`split_heads`].
pub fn merge_heads(x: &Tensor) -> Result<Tensor> {
    x.transpose(1, 2)?.contiguous()?.flatten_from(2)
}

/// The mask that lets a token attend to itself and to earlier ones: (n, n), 0 or −∞, f32.
pub fn causal_mask(tokens: usize, device: &Device) -> Result<Tensor> {
    let index = Tensor::arange(0u32, u32::try_from(tokens).map_err(candle_core::Error::wrap)?, device)?;
    let query = index.reshape((tokens, 1))?.broadcast_as((tokens, tokens))?;
    let key = index.reshape((1, tokens))?.broadcast_as((tokens, tokens))?;
    let zero = Tensor::zeros((tokens, tokens), DType::F32, device)?;
    let never = Tensor::full(f32::NEG_INFINITY, (tokens, tokens), device)?;
    key.le(&query)?.where_cond(&zero, &never)
}
