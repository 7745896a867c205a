//! What follows a product or a convolution, by our own kernels (`pointwise.cu`): one pass over memory for all of it.

use candle_core::{DType, Result, Tensor};

use super::{
    Arg, Source, address, address_or_none, blocks, device, half_precision, launch, narrow, pack, rows_of,
    there, unwritten,
};
use crate::Activation;
use crate::gpu::Epilogue;
use crate::gpu::optimisations::{self, Optimisation};

/// Threads of a block.
const THREADS: usize = 256;

/// The number of a function in `pointwise.cu`.
fn number(activation: Option<Activation>) -> i32 {
    match activation {
        None => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Silu) => 2,
        Some(Activation::Gelu) => 3,
        Some(Activation::QuickGelu) => 4,
        Some(Activation::Sigmoid) => 5,
    }
}

fn known(x: &Tensor) -> bool {
    matches!(x.dtype(), DType::F16 | DType::BF16 | DType::F32)
        && optimisations::enabled(Optimisation::Pointwise)
        && x.elem_count() > 0
        && device(x).is_some_and(|cuda| there(cuda, Source::Pointwise, "finish", Some(x.dtype())))
}

/// Adds to rows `y` (…, width), contiguous and held by nobody else, in place.
pub(crate) fn finish_rows(y: &Tensor, epilogue: Epilogue<'_>) -> Option<Result<()>> {
    (known(y) && y.is_contiguous()).then(|| {
        let width = y.dims().last().copied().unwrap_or(1);
        finish(y, &epilogue, ("finish", "finish_one"), width, y.elem_count(), width)
    })
}

/// Adds to a picture `y` (b, c, h, w), channels first or last, held by nobody else, in place.
pub(crate) fn finish_picture(y: &Tensor, epilogue: Epilogue<'_>) -> Option<Result<()>> {
    let &[_, channels, height, width] = y.dims() else { return None };
    if !known(y) {
        return None;
    }
    if let Some(rows) = rows_of(y) {
        let residual = epilogue.residual.map(|residual| residual.permute((0, 2, 3, 1))).transpose();
        return Some(residual.and_then(|residual| {
            let epilogue = Epilogue { residual: residual.as_ref(), ..epilogue };
            finish(&rows, &epilogue, ("finish", "finish_one"), channels, channels * height * width, channels)
        }));
    }
    let names = ("finish_planes", "finish_planes_one");
    y.is_contiguous().then(|| finish(y, &epilogue, names, height * width, 0, channels))
}

/// `width`: values of a row, or of a plane; `image`: values of an image, for rows; `channels`: values of the bias.
#[allow(unsafe_code)]
fn finish(
    y: &Tensor,
    epilogue: &Epilogue<'_>,
    (packs, ones): (&'static str, &'static str),
    width: usize,
    image: usize,
    channels: usize,
) -> Result<()> {
    let Epilogue { bias, embedding, residual, activation } = epilogue;
    if bias.is_none() && embedding.is_none() && residual.is_none() && activation.is_none() {
        return Ok(());
    }
    let Some(cuda) = device(y) else { candle_core::bail!("a CUDA tensor is needed") };
    let fitting = |x: Option<&Tensor>| -> Result<Option<Tensor>> {
        x.map(|x| x.to_dtype(y.dtype())?.contiguous()).transpose()
    };
    let bias = fitting(epilogue.bias)?;
    if let Some(bias) = bias.as_ref().filter(|bias| bias.elem_count() != channels) {
        candle_core::bail!("a bias of {:?} where {channels} values are needed", bias.dims());
    }
    let embedding = match epilogue.embedding {
        Some(embedding) => {
            let images = y.dim(0)?;
            let each = embedding.reshape(((), channels))?;
            fitting(Some(&each.broadcast_as((images, channels))?))?
        }
        None => None,
    };
    let residual = fitting(epilogue.residual)?;
    if let Some(residual) = residual.as_ref().filter(|residual| residual.dims() != y.dims()) {
        candle_core::bail!("{:?} cannot be added to {:?}", residual.dims(), y.dims());
    }
    let n = pack(y.dtype());
    let aligned = |x: &Option<Tensor>| x.as_ref().is_none_or(|x| x.layout().start_offset().is_multiple_of(n));
    let packed = width.is_multiple_of(n)
        && y.layout().start_offset().is_multiple_of(n)
        && [&bias, &embedding, &residual].into_iter().all(aligned);
    let (name, n) = if packed { (packs, n) } else { (ones, 1) };
    let count = y.elem_count() / n;
    // For planes the last number is that of channels, for rows the packs of an image.
    let last = if image > 0 { image / n } else { channels };
    let arguments = [
        Arg::Address(address(y)?),
        address_or_none(bias.as_ref())?,
        address_or_none(embedding.as_ref())?,
        address_or_none(residual.as_ref())?,
        Arg::U32(narrow(count)?),
        Arg::U32(narrow(width / n)?),
        Arg::U32(narrow(last)?),
        Arg::I32(number(epilogue.activation)),
    ];
    let grid = (blocks(count, THREADS)?, 1, 1);
    let kernel = (Source::Pointwise, name, Some(y.dtype()));
    // SAFETY: the kernel's arguments are these; all tensors are contiguous, of the sizes checked above.
    unsafe { launch(cuda, kernel, grid, (THREADS as u32, 1, 1), &arguments) }
}

/// GEGLU of rows `x` (…, 2·width) after their bias (2·width): (…, width).
#[allow(unsafe_code)]
pub(crate) fn geglu(x: &Tensor, bias: Option<&Tensor>) -> Option<Result<Tensor>> {
    let both = x.dims().last().copied().unwrap_or(0);
    if !known(x) || !x.is_contiguous() || both % 2 != 0 || both == 0 {
        return None;
    }
    let run = || {
        let Some(cuda) = device(x) else { candle_core::bail!("a CUDA tensor is needed") };
        let width = both / 2;
        let bias = bias.map(|bias| bias.to_dtype(x.dtype())?.contiguous()).transpose()?;
        if let Some(bias) = bias.as_ref().filter(|bias| bias.elem_count() != both) {
            candle_core::bail!("a bias of {:?} where {both} values are needed", bias.dims());
        }
        let n = pack(x.dtype());
        let aligned = |x: &Tensor| x.layout().start_offset().is_multiple_of(n);
        let packed = width.is_multiple_of(n) && aligned(x) && bias.as_ref().is_none_or(aligned);
        let (name, n) = if packed { ("gate", n) } else { ("gate_one", 1) };
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = width;
        }
        let y = unwritten(cuda, x.dtype(), dims)?;
        let count = y.elem_count() / n;
        let arguments = [
            Arg::Address(address(x)?),
            address_or_none(bias.as_ref())?,
            Arg::Address(address(&y)?),
            Arg::U32(narrow(count)?),
            Arg::U32(narrow(width / n)?),
        ];
        let kernel = (Source::Pointwise, name, Some(x.dtype()));
        // SAFETY: the kernel's arguments are these; it writes all of `y`, a pack or value a thread.
        unsafe { launch(cuda, kernel, (blocks(count, THREADS)?, 1, 1), (THREADS as u32, 1, 1), &arguments)? };
        Ok(y)
    };
    Some(run())
}

/// `x` (b, c, h, w) in half precision, channels last, plus `feature` (1, c, h, w) in f32.
#[allow(unsafe_code)]
pub(crate) fn add_wide(x: &Tensor, feature: &Tensor) -> Option<Result<Tensor>> {
    let (rows, image) = (rows_of(x)?, rows_of(feature)?);
    let n = pack(x.dtype());
    let fits = known(x)
        && half_precision(x)
        && feature.dtype() == DType::F32
        && feature.dims()[0] == 1
        && feature.dims()[1..] == x.dims()[1..]
        && image.elem_count().is_multiple_of(n)
        && rows.layout().start_offset().is_multiple_of(n)
        && image.layout().start_offset().is_multiple_of(4);
    let run = || {
        let Some(cuda) = device(x) else { candle_core::bail!("a CUDA tensor is needed") };
        let y = unwritten(cuda, x.dtype(), rows.shape().clone())?;
        let count = y.elem_count() / n;
        let arguments = [
            Arg::Address(address(&rows)?),
            Arg::Address(address(&image)?),
            Arg::Address(address(&y)?),
            Arg::U32(narrow(count)?),
            Arg::U32(narrow(image.elem_count() / n)?),
        ];
        let kernel = (Source::Pointwise, "add_wide", Some(x.dtype()));
        // SAFETY: the kernel's arguments are these; sizes are checked above.
        unsafe { launch(cuda, kernel, (blocks(count, THREADS)?, 1, 1), (THREADS as u32, 1, 1), &arguments)? };
        y.permute((0, 3, 1, 2))
    };
    fits.then(run)
}

/// Nearest neighbours of a picture in half precision whose channels come last.
#[allow(unsafe_code)]
pub(crate) fn nearest(x: &Tensor, height: usize, width: usize) -> Option<Result<Tensor>> {
    let rows = rows_of(x)?;
    let n = pack(x.dtype());
    let fits = known(x)
        && half_precision(x)
        && x.dims()[1].is_multiple_of(n)
        && rows.layout().start_offset().is_multiple_of(n)
        && height * width > 0;
    let run = || {
        let Some(cuda) = device(x) else { candle_core::bail!("a CUDA tensor is needed") };
        let (batch, h, w, channels) = rows.dims4()?;
        let y = unwritten(cuda, x.dtype(), (batch, height, width, channels))?;
        let count = y.elem_count() / n;
        let mut arguments = vec![Arg::Address(address(&rows)?), Arg::Address(address(&y)?)];
        for number in [channels / n, h, w, height, width, count] {
            arguments.push(Arg::U32(narrow(number)?));
        }
        let kernel = (Source::Pointwise, "nearest_rows", None);
        // SAFETY: the kernel's arguments are these; every pixel's source lies within the picture.
        unsafe { launch(cuda, kernel, (blocks(count, THREADS)?, 1, 1), (THREADS as u32, 1, 1), &arguments)? };
        y.permute((0, 3, 1, 2))
    };
    fits.then(run)
}

/// A picture (1, 3, h, w) from -1 to 1 as bytes (h, w, 3).
#[allow(unsafe_code)]
pub(crate) fn bytes(x: &Tensor) -> Option<Result<Tensor>> {
    let fits = known(x) && x.rank() == 4 && x.dims()[0] == 1;
    let run = || {
        let Some(cuda) = device(x) else { candle_core::bail!("a CUDA tensor is needed") };
        let rows = x.permute((0, 2, 3, 1))?.contiguous()?;
        let (_, height, width, channels) = rows.dims4()?;
        let y = unwritten(cuda, DType::U8, (height, width, channels))?;
        let count = y.elem_count();
        let arguments = [Arg::Address(address(&rows)?), Arg::Address(address(&y)?), Arg::U32(narrow(count)?)];
        let kernel = (Source::Pointwise, "bytes", Some(x.dtype()));
        // SAFETY: the kernel's arguments are these, one value a thread.
        unsafe { launch(cuda, kernel, (blocks(count, THREADS)?, 1, 1), (THREADS as u32, 1, 1), &arguments)? };
        Ok(y)
    };
    fits.then(run)
}
