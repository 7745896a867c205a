//! Group normalisation on CUDA by our own kernel (`norm.cu`): candle's operations would pass over memory eleven times.

use candle_core::{DType, Result, Tensor};

use super::{Arg, Source, address, device, launch, narrow, there, unwritten};

/// Threads of a block.
const THREADS: usize = 512;
/// Values that a block measures or writes at least, as long as a group is cut into no more than [`CHUNKS`].
const CHUNK: usize = 16 * THREADS;
/// Blocks of a group, at most [`THREADS`]: with 32 groups they fill every GPU.
const CHUNKS: usize = 64;

/// See [`crate::gpu::group_norm`]; `weight` and `bias` in f32. For any type, channels first.
#[allow(unsafe_code)]
pub(in crate::gpu) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Option<Result<Tensor>> {
    let cuda = device(x)?;
    let known = matches!(x.dtype(), DType::F16 | DType::BF16 | DType::F32);
    if !known
        || x.rank() != 4
        || x.elem_count() == 0
        || !there(cuda, Source::Norm, "measure", Some(x.dtype()))
    {
        return None;
    }
    let run = || {
        let x = x.contiguous()?;
        let (images, channels, height, width) = x.dims4()?;
        if weight.elem_count() != channels || bias.elem_count() != channels {
            candle_core::bail!("a norm of {} channels cannot take {channels}", weight.elem_count());
        }
        let f32s = |t: &Tensor| t.to_dtype(DType::F32)?.contiguous();
        let (weight, bias) = (f32s(weight)?, f32s(bias)?);
        let plane = height * width;
        let size = plane * (channels / groups);
        let chunks = size.div_ceil(CHUNK).clamp(1, CHUNKS);
        let parts = unwritten(cuda, DType::F32, (images * groups, chunks, 3))?;
        let y = unwritten(cuda, x.dtype(), x.shape().clone())?;
        let (x_at, parts_at) = (Arg::Address(address(&x)?), Arg::Address(address(&parts)?));
        let block = (THREADS as u32, 1, 1);
        let kernel = |name| (Source::Norm, name, Some(x.dtype()));

        let arguments = [x_at, parts_at, Arg::U64(size as u64)];
        let grid = (narrow(chunks)?, narrow(images * groups)?, 1);
        // SAFETY: the kernel's arguments are these; `x` holds images x groups x size values, `parts` three floats a block.
        unsafe { launch(cuda, kernel("measure"), grid, block, &arguments)? };

        let arguments = [
            x_at,
            parts_at,
            Arg::Address(address(&weight)?),
            Arg::Address(address(&bias)?),
            Arg::Address(address(&y)?),
            Arg::U64(plane as u64),
            Arg::I32(narrow(channels)? as i32),
            Arg::I32(narrow(groups)? as i32),
            Arg::I32(narrow(chunks)? as i32),
            Arg::F32(eps as f32),
            Arg::I32(i32::from(silu)),
        ];
        let grid = (narrow(plane.div_ceil(CHUNK))?, narrow(images * channels)?, 1);
        // SAFETY: as above; `weight` and `bias` hold a float a channel, and a block has more threads than a group chunks.
        unsafe { launch(cuda, kernel("apply"), grid, block, &arguments)? };
        Ok(y)
    };
    Some(run())
}
