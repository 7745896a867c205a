//! The definition of a convolution in candle's operations; on a GPU with what is fused there.

use candle_core::{DType, Result, Tensor};

use super::Conv2d;
use crate::gpu;
use crate::pictures::channels_last;

/// The convolution of `x` (b, in, h, w), plus `residual`, then the activation.
pub(super) fn convolve(x: &Tensor, conv: &Conv2d, residual: Option<&Tensor>) -> Result<Tensor> {
    finish(sums(&padded(x, conv.window.padding_end)?, conv)?, conv, residual)
}

/// `x` with `end` further rows and columns of zeros below and to the right.
fn padded(x: &Tensor, end: usize) -> Result<Tensor> {
    if end == 0 {
        return Ok(x.clone());
    }
    match channels_last(x) {
        Some(rows) => rows.pad_with_zeros(1, 0, end)?.pad_with_zeros(2, 0, end)?.permute((0, 3, 1, 2)),
        None => x.pad_with_zeros(2, 0, end)?.pad_with_zeros(3, 0, end),
    }
}

/// The sums of products alone.
fn sums(x: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    let weight = if gpu::channels_last(x.device(), x.dtype()) {
        conv.weight.tensor_channels_last(x)?
    } else {
        conv.weight.tensor(x)?
    };
    let window = conv.window;
    // A window of one pixel is a matrix product where channels lie side by side: cuDNN's own took twice the time on an H200.
    let one_pixel = weight.dims().get(2..) == Some(&[1, 1][..]) && (window.padding, window.stride) == (0, 1);
    if let (true, Some(rows)) = (one_pixel, channels_last(x)) {
        let (batch, height, width, channels) = rows.dims4()?;
        let flat = weight.reshape(((), channels))?;
        let y = rows.reshape(((), channels))?.matmul(&flat.t()?)?;
        return y.reshape((batch, height, width, flat.dim(0)?))?.permute((0, 3, 1, 2));
    }
    if let Some(y) = gpu::conv2d(x, &weight, window) {
        return y;
    }
    let by_candle = |x: &Tensor, weight: &Tensor| {
        x.contiguous()?.conv2d(weight, window.padding, window.stride, window.dilation, 1)
    };
    // On the CPU, candle has none in bf16.
    if x.device().is_cpu() && x.dtype() == DType::BF16 {
        return by_candle(&x.to_dtype(DType::F32)?, &weight.to_dtype(DType::F32)?)?.to_dtype(DType::BF16);
    }
    by_candle(x, &weight)
}

/// What follows the sums `y`, which nobody else holds.
fn finish(y: Tensor, conv: &Conv2d, residual: Option<&Tensor>) -> Result<Tensor> {
    let (embedding, skip) = match residual {
        Some(residual) if residual.rank() == 4 && residual.dims()[2..] == [1, 1] => (Some(residual), None),
        other => (None, other),
    };
    let epilogue =
        gpu::Epilogue { bias: conv.bias.as_ref(), embedding, residual: skip, activation: conv.activation };
    if let Some(finished) = gpu::finish_picture(&y, epilogue) {
        finished?;
        return Ok(y);
    }
    let y = biased(y, conv.bias.as_ref())?;
    let y = match residual {
        Some(residual) => y.broadcast_add(residual)?,
        None => y,
    };
    match conv.activation {
        Some(activation) => activation.apply(&y),
        None => Ok(y),
    }
}

/// `y` (b, c, h, w) plus a bias (c).
pub(crate) fn biased(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?),
        None => Ok(y),
    }
}
