//! What a build without a GPU library has in place of its functions, with their signatures: nothing.

#![allow(dead_code)] // each build takes what it lacks

use candle_core::{Result, Tensor};

use super::Epilogue;
use crate::window::Window;

/// Fused attention by a kernel of ours.
pub(super) fn own_attention(_q: &Tensor, _k: &Tensor, _v: &Tensor, _scale: f64) -> Option<Result<Tensor>> {
    None
}

/// Fused attention by FlashAttention or Metal's kernels.
pub(super) fn library_attention(
    _q: &Tensor,
    _k: &Tensor,
    _v: &Tensor,
    _scale: f64,
) -> Option<Result<Tensor>> {
    None
}

/// `y` plus `weight` times the attention, in `y` itself, which nobody else may hold.
pub(crate) fn attention_add(
    _y: &Tensor,
    _qkv: [&Tensor; 3],
    _scale: f64,
    _weight: f64,
) -> Option<Result<()>> {
    None
}

/// Adds to rows `y` (…, width), contiguous and held by nobody else, in place.
pub(crate) fn finish_rows(_y: &Tensor, _epilogue: Epilogue<'_>) -> Option<Result<()>> {
    None
}

/// Adds to a picture `y` (b, c, h, w) held by nobody else, in place.
pub(crate) fn finish_picture(_y: &Tensor, _epilogue: Epilogue<'_>) -> Option<Result<()>> {
    None
}

/// GEGLU of rows `x` (…, 2·width) after their bias (2·width): (…, width).
pub(crate) fn geglu(_x: &Tensor, _bias: Option<&Tensor>) -> Option<Result<Tensor>> {
    None
}

/// `x` (b, c, h, w) in half precision plus `feature` (1, c, h, w) in f32.
pub(crate) fn add_wide(_x: &Tensor, _feature: &Tensor) -> Option<Result<Tensor>> {
    None
}

/// Nearest neighbours of `x` (b, c, h, w).
pub(crate) fn nearest(_x: &Tensor, _height: usize, _width: usize) -> Option<Result<Tensor>> {
    None
}

/// A picture (1, c, h, w) from -1 to 1 as bytes (h, w, c).
pub(crate) fn bytes(_x: &Tensor) -> Option<Result<Tensor>> {
    None
}

/// Convolution with sums in f32: `x` (b, in, h, w), `weight` (out, in, kh, kw), no bias; `window` without padding at the end.
pub(crate) fn conv2d(_x: &Tensor, _weight: &Tensor, _window: Window) -> Option<Result<Tensor>> {
    None
}

/// Normalisations by kernels of ours.
pub(super) mod norms {
    use candle_core::{Result, Tensor};

    use crate::Activation;

    /// `x` (…, c), `weight` and `bias` (c).
    pub(in crate::gpu) fn layer_norm(
        _x: &Tensor,
        _weight: &Tensor,
        _bias: &Tensor,
        _eps: f64,
    ) -> Option<Result<Tensor>> {
        None
    }

    /// `x` (b, c, h, w), `weight` and `bias` (c).
    pub(in crate::gpu) fn group_norm(
        _x: &Tensor,
        _weight: &Tensor,
        _bias: &Tensor,
        _groups: usize,
        _eps: f64,
        _activation: Option<Activation>,
    ) -> Option<Result<Tensor>> {
        None
    }
}
