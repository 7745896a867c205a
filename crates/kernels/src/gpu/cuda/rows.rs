//! Normalisations whose channels come last, in half precision, by our own kernels (`rows.cu`).

use candle_core::{D, DType, Result, Tensor};

use super::{
    Arg, Source, address, blocks, device, half_precision, launch, narrow, rows_of, there, unwritten,
};
use crate::gpu::optimisations::{self, Optimisation};

/// Most channels of a row: a warp holds it in registers.
const WIDEST: usize = 8 * 32 * 8;
/// Warps of a block, a row each.
const WARPS: usize = 4;
/// Pixels that a block measures at least, and blocks of an image at most.
const CHUNK: usize = 64;
const CHUNKS: usize = 1024;

fn known(x: &Tensor) -> bool {
    half_precision(x)
        && optimisations::enabled(Optimisation::Norms)
        && x.elem_count() > 0
        && device(x).is_some_and(|cuda| there(cuda, Source::Rows, "layer", Some(x.dtype())))
}

/// See [`crate::gpu::layer_norm`]; `weight` and `bias` in f32.
#[allow(unsafe_code)]
pub(in crate::gpu) fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Option<Result<Tensor>> {
    let width = x.dim(D::Minus1).unwrap_or(0);
    let fits = known(x) && width.is_multiple_of(8) && (8..=WIDEST).contains(&width);
    let run = || {
        let Some(cuda) = device(x) else { candle_core::bail!("a CUDA tensor is needed") };
        let mut x = x.contiguous()?;
        if !x.layout().start_offset().is_multiple_of(8) {
            x = x.force_contiguous()?;
        }
        let (weight, bias) = affine(weight, bias, width)?;
        let y = unwritten(cuda, x.dtype(), x.shape().clone())?;
        let rows = x.elem_count() / width;
        let arguments = [
            Arg::Address(address(&x)?),
            Arg::Address(address(&weight)?),
            Arg::Address(address(&bias)?),
            Arg::Address(address(&y)?),
            Arg::I32(narrow(rows)? as i32),
            Arg::I32(width as i32),
            Arg::F32(eps as f32),
        ];
        let kernel = (Source::Rows, "layer", Some(x.dtype()));
        let grid = (blocks(rows, WARPS)?, 1, 1);
        // SAFETY: the kernel's arguments are these; a warp reads and writes its row, and one value a channel.
        unsafe { launch(cuda, kernel, grid, (32 * WARPS as u32, 1, 1), &arguments)? };
        Ok(y)
    };
    fits.then(run)
}

/// Weight and bias in f32, `channels` of each.
fn affine(weight: &Tensor, bias: &Tensor, channels: usize) -> Result<(Tensor, Tensor)> {
    if weight.elem_count() != channels || bias.elem_count() != channels {
        candle_core::bail!("a norm of {} channels cannot take {channels}", weight.elem_count());
    }
    let f32s = |t: &Tensor| t.to_dtype(DType::F32)?.contiguous();
    Ok((f32s(weight)?, f32s(bias)?))
}

/// Group normalisation of a picture whose channels come last, then SiLU if `silu`; the result's do too.
#[allow(unsafe_code)]
pub(in crate::gpu) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Option<Result<Tensor>> {
    let rows = rows_of(x)?;
    let fits = known(x) && x.dims()[1].is_multiple_of(8) && rows.layout().start_offset().is_multiple_of(8);
    let run = || {
        let Some(cuda) = device(x) else { candle_core::bail!("a CUDA tensor is needed") };
        let (images, height, width, channels) = rows.dims4()?;
        let (weight, bias) = affine(weight, bias, channels)?;
        let pixels = height * width;
        let chunk = pixels.div_ceil(CHUNKS).max(CHUNK);
        let chunks = pixels.div_ceil(chunk);
        let parts = unwritten(cuda, DType::F32, (images, chunks, channels, 3))?;
        let table = unwritten(cuda, DType::F32, (images, channels, 2))?;
        let y = unwritten(cuda, x.dtype(), rows.shape().clone())?;
        let [x_at, parts_at, table_at, y_at] =
            [address(&rows)?, address(&parts)?, address(&table)?, address(&y)?].map(Arg::Address);
        let (weight_at, bias_at) = (Arg::Address(address(&weight)?), Arg::Address(address(&bias)?));
        let int = |n: usize| Ok::<_, candle_core::Error>(Arg::I32(narrow(n)? as i32));
        let dtype = Some(x.dtype());

        let arguments = [x_at, parts_at, int(pixels)?, int(channels)?, int(chunk)?];
        let grid = (narrow(chunks)?, narrow(images)?, blocks(channels / 8, 32)?);
        // SAFETY: the kernel's arguments are these; it writes a part for every chunk and channel.
        unsafe { launch(cuda, (Source::Rows, "measure_rows", dtype), grid, (32, 8, 1), &arguments)? };

        let arguments =
            [parts_at, weight_at, table_at, int(channels)?, int(groups)?, int(chunks)?, Arg::F32(eps as f32)];
        let grid = (narrow(groups)?, narrow(images)?, 1);
        // SAFETY: as above; it reads all parts of a group and writes two numbers a channel.
        unsafe { launch(cuda, (Source::Rows, "settle", None), grid, (128, 1, 1), &arguments)? };

        let count = y.elem_count() / 8;
        let arguments = [
            x_at,
            table_at,
            bias_at,
            y_at,
            Arg::U32(narrow(count)?),
            Arg::U32(narrow(channels / 8)?),
            Arg::U32(narrow(pixels * channels / 8)?),
            Arg::I32(i32::from(silu)),
        ];
        let grid = (blocks(count, 256)?, 1, 1);
        // SAFETY: as above; a pack a thread.
        unsafe { launch(cuda, (Source::Rows, "apply_rows", dtype), grid, (256, 1, 1), &arguments)? };
        y.permute((0, 3, 1, 2))
    };
    fits.then(run)
}
