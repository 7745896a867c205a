//! Fused attention by our own kernel (`attention.cu`): heads of 64 channels in half precision, from Ampere on.

use candle_core::{D, DType, Result, Tensor};

use super::{Arg, Source, address, capability, device, launch, there, unwritten};
use crate::gpu::optimisations::{self, Optimisation};

/// Channels of a head.
const HEAD: usize = 64;
/// Compute capability from which the kernel's instructions exist.
const AMPERE: i32 = 80;
/// Most values of the second and third dimension of a grid.
const GRID: usize = 65_535;

/// Whether the kernel takes these: `q` (b, heads, n, 64), `k` and `v` (b, heads, m, 64), values of a head side by side.
fn supports(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> bool {
    let Some(cuda) = device(q) else { return false };
    let &[batch, heads, queries, HEAD] = q.dims() else { return false };
    let &[_, _, keys, _] = k.dims() else { return false };
    let aligned = |x: &Tensor| {
        let layout = x.layout();
        let steps = &layout.stride()[..3];
        layout.stride()[3] == 1
            && layout.start_offset().is_multiple_of(8)
            && steps.iter().all(|step| step.is_multiple_of(8))
    };
    let name = name(queries, keys);
    optimisations::enabled(Optimisation::Attention)
        && matches!(q.dtype(), DType::F16 | DType::BF16)
        && [k, v].iter().all(|x| x.dtype() == q.dtype() && x.dims() == [batch, heads, keys, HEAD])
        && [q, k, v].into_iter().all(aligned)
        && scale > 0.0
        && batch * heads * queries * keys > 0
        && batch <= GRID
        && heads <= GRID
        && i32::try_from(queries.max(keys)).is_ok()
        && capability(cuda).is_ok_and(|capability| capability >= AMPERE)
        && there(cuda, Source::Attention, name, Some(q.dtype()))
}

/// Keys from which a block of 128 queries is faster than one of 64. On an H200 it took 0.88 of the time with 4096 keys, 1.01 to 1.2 with
/// 1024 and fewer: it reads keys and values half as often, but fills a card in larger pieces.
const MANY_KEYS: usize = 2048;

/// The kernel for so many queries and keys.
fn name(queries: usize, keys: usize) -> &'static str {
    if queries > 128 && keys >= MANY_KEYS && optimisations::enabled(Optimisation::WideAttention) {
        "attend_128"
    } else {
        "attend_64"
    }
}

/// softmax(scale·q·kᵀ)·v, in memory (b, n, heads, 64), so that merging heads copies nothing.
pub(in crate::gpu) fn fused(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Option<Result<Tensor>> {
    supports(q, k, v, scale).then(|| {
        let (batch, heads, queries, _) = q.dims4()?;
        let Some(cuda) = device(q) else { candle_core::bail!("a CUDA tensor is needed") };
        let y = unwritten(cuda, q.dtype(), (batch, queries, heads, HEAD))?.transpose(1, 2)?;
        attend([q, k, v, &y], scale, 1.0, false)?;
        Ok(y)
    })
}

/// `y` plus `weight` times the attention, written into `y`, which nobody else may hold.
pub(crate) fn fused_add(y: &Tensor, [q, k, v]: [&Tensor; 3], scale: f64, weight: f64) -> Option<Result<()>> {
    let fits = supports(q, k, v, scale)
        && supports(y, k, v, scale)
        && y.dims() == q.dims()
        && y.dtype() == q.dtype();
    fits.then(|| attend([q, k, v, y], scale, weight, true))
}

#[allow(unsafe_code)]
fn attend([q, k, v, y]: [&Tensor; 4], scale: f64, weight: f64, add: bool) -> Result<()> {
    let Some(cuda) = device(q) else { candle_core::bail!("a CUDA tensor is needed") };
    let (batch, heads, queries, _) = q.dims4()?;
    let keys = k.dim(D::Minus2)?;
    let name = name(queries, keys);
    let block = if name == "attend_128" { 128 } else { 64 };
    let step = |dimension: usize| [q, k, v, y].map(|x| Arg::U64(x.layout().stride()[dimension] as u64));
    let mut arguments = Vec::with_capacity(21);
    for x in [q, k, v, y] {
        arguments.push(Arg::Address(address(x)?));
    }
    arguments.extend([Arg::I32(queries as i32), Arg::I32(keys as i32)]);
    for dimension in [2, 0, 1] {
        arguments.extend(step(dimension));
    }
    arguments.extend([Arg::F32(scale as f32), Arg::F32(weight as f32), Arg::I32(i32::from(add))]);
    let grid = (queries.div_ceil(block) as u32, heads as u32, batch as u32);
    // SAFETY: the kernel's arguments are these; rows, heads and images lie where the strides say, within their tensors.
    unsafe { launch(cuda, (Source::Attention, name, Some(q.dtype())), grid, (128, 1, 1), &arguments) }
}
