//! Changes of resolution over (batch, channels, height, width): nearest and bilinear resizing, pooling, padding,
//! pixel-unshuffle.
//!
//! Conventions are torch's: `nearest` takes source floor(i·in/out); `bilinear` uses half-pixel centres, or corner-aligned
//! ones ([`Corners`]), never anti-aliasing.

use candle_core::{Device, Result, Tensor};

use crate::cpu::{self, Values, resize};

/// Which points of two pictures of different sizes fall together in a bilinear resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corners {
    /// The centres of the pixels in the corners (torch's `align_corners=True`).
    Aligned,
    /// The outer corners of these pixels, whose centres lie half a pixel inside.
    HalfPixel,
}

/// How a number of windows that is no integer is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// A partial window does not count.
    Floor,
    /// It does (torch's `ceil_mode=True`).
    Ceil,
}

impl Rounding {
    fn divide(self, length: usize, size: usize) -> usize {
        match self {
            Self::Floor => length / size,
            Self::Ceil => length.div_ceil(size),
        }
    }
}

/// Nearest-neighbour resize to `height` × `width`: source index floor(i·in/out).
///
/// # Errors
/// Where `x` has other dimensions, or the device fails.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if (h, w) == (height, width) {
        return Ok(x.clone());
    }
    if supports(x) {
        return planes(x, (height, width), |values, planes, from, to| {
            resize::nearest(values, planes, from, to)
        });
    }
    if let Some(y) = crate::gpu::nearest(x, height, width) {
        return y;
    }
    x.contiguous()?.upsample_nearest2d(height, width)
}

/// Whether the optimised algorithms take `x`.
fn supports(x: &Tensor) -> bool {
    cpu::supports(x) && x.elem_count() > 0
}

/// The planes of `x` by an optimised `resize`: values, number of planes, their size, the size wanted.
fn planes(
    x: &Tensor,
    to: (usize, usize),
    resize: impl FnOnce(&[f32], usize, (usize, usize), (usize, usize)) -> Vec<f32>,
) -> Result<Tensor> {
    let (batch, channels, h, w) = x.dims4()?;
    let x = x.contiguous()?;
    let y = resize(&Values::of(&x)?, batch * channels, (h, w), to);
    Tensor::from_vec(y, (batch, channels, to.0, to.1), &Device::Cpu)
}

/// Bilinear resize to `height` × `width` (also downwards, without anti-aliasing).
///
/// # Errors
/// Where `x` has other dimensions, or the device fails.
pub fn upsample_bilinear(x: &Tensor, height: usize, width: usize, corners: Corners) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if (h, w) == (height, width) {
        return Ok(x.clone());
    }
    if supports(x) {
        return planes(x, (height, width), |values, planes, from, to| {
            resize::bilinear(values, planes, from, to, corners == Corners::Aligned)
        });
    }
    x.contiguous()?.upsample_bilinear2d(height, width, corners == Corners::Aligned)
}

/// Maximum over `size` × `size` windows at stride `size`; `rounding` says whether a last, partial window counts too.
///
/// # Errors
/// Where `x` has other dimensions, or the device fails.
pub fn max_pool2d(x: &Tensor, size: usize, rounding: Rounding) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if supports(x) && size > 0 {
        let out = |n: usize| rounding.divide(n, size);
        return planes(x, (out(h), out(w)), |values, planes, from, to| {
            resize::max_pool(values, planes, from, to, size)
        });
    }
    reference_max_pool2d(x, size, rounding)
}

/// The definition.
fn reference_max_pool2d(x: &Tensor, size: usize, rounding: Rounding) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let missing = |n: usize| (rounding.divide(n, size) * size).saturating_sub(n);
    // Repeating the last row or column leaves the maximum of a partial window as it is.
    x.pad_with_same(2, 0, missing(h))?.pad_with_same(3, 0, missing(w))?.contiguous()?.max_pool2d(size)
}

/// Mean over 2 × 2 windows at stride 2. An odd axis gets one zero on BOTH sides, and these zeros count in the mean
/// (the pooling of ComfyUI's T2I-Adapter; windows (0,x0), (x1,x2), …), giving ceil(n/2).
///
/// # Errors
/// Where `x` has other dimensions, or the device fails.
pub fn avg_pool2d_padded(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    x.pad_with_zeros(2, h % 2, h % 2)?.pad_with_zeros(3, w % 2, w % 2)?.contiguous()?.avg_pool2d(2)
}

/// Mirrors `margin` rows and columns on every side without repeating the edge. `margin` must be below both sizes.
///
/// # Errors
/// Where `margin` reaches across the picture, or the device fails.
pub fn pad_reflect(x: &Tensor, margin: usize) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if margin >= h || margin >= w {
        candle_core::bail!(
            "reflection padding of {margin} needs more than {margin} rows and columns, got {h} x {w}"
        );
    }
    let mirror = |n: usize| -> Result<Tensor> {
        let period = 2 * (n - 1).max(1);
        let index = (0..n + 2 * margin).map(|i| {
            let i = (i + period - margin) % period;
            u32::try_from(i.min(period - i)).map_err(candle_core::Error::wrap)
        });
        Tensor::from_vec(index.collect::<Result<Vec<_>>>()?, n + 2 * margin, x.device())
    };
    x.contiguous()?.index_select(&mirror(h)?, 2)?.index_select(&mirror(w)?, 3)
}

/// (b, c, h·f, w·f) → (b, c·f², h, w), channel index c·f² + dy·f + dx (torch's pixel_unshuffle).
///
/// # Errors
/// Where the sides are no multiples of `factor`, or the device fails.
pub fn pixel_unshuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (h, w) = (height / factor, width / factor);
    x.reshape(&[batch, channels, h, factor, w, factor][..])?
        .permute([0, 1, 3, 5, 2, 4])?
        .contiguous()?
        .reshape((batch, channels * factor * factor, h, w))
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::{Corners, Rounding, max_pool2d, reference_max_pool2d, upsample_bilinear, upsample_nearest};
    use crate::compare::{assert_close, noise};

    #[test]
    fn nearest_agrees_with_reference() -> Result<()> {
        let sizes =
            [((1, 1), (5, 3)), ((4, 6), (8, 12)), ((5, 7), (9, 14)), ((7, 5), (3, 2)), ((16, 31), (31, 62))];
        for (from, to) in sizes {
            let x = noise(&[2, 3, from.0, from.1], 1);
            let want = x.upsample_nearest2d(to.0, to.1)?;
            assert_close(&upsample_nearest(&x, to.0, to.1)?, &want, 0.0, &format!("{from:?} {to:?}"));
        }
        Ok(())
    }

    #[test]
    fn bilinear_agrees_with_reference() -> Result<()> {
        let sizes =
            [((1, 1), (5, 3)), ((4, 6), (8, 12)), ((5, 7), (9, 1)), ((7, 5), (3, 2)), ((16, 31), (1, 62))];
        for (from, to) in sizes {
            for corners in [Corners::HalfPixel, Corners::Aligned] {
                let x = noise(&[2, 3, from.0, from.1], 1);
                let want = x.upsample_bilinear2d(to.0, to.1, corners == Corners::Aligned)?;
                let got = upsample_bilinear(&x, to.0, to.1, corners)?;
                assert_close(&got, &want, 0.0, &format!("{from:?} {to:?} {corners:?}"));
            }
        }
        Ok(())
    }

    #[test]
    fn maximum_pooling_agrees_with_reference() -> Result<()> {
        for (h, w, size) in [(1, 1, 1), (4, 6, 2), (5, 7, 2), (9, 11, 3), (7, 40, 4)] {
            for rounding in [Rounding::Floor, Rounding::Ceil] {
                if rounding == Rounding::Floor && h < size {
                    continue;
                }
                let x = (noise(&[2, 3, h, w], 1) - 2.0)?;
                let want = reference_max_pool2d(&x, size, rounding)?;
                assert_close(
                    &max_pool2d(&x, size, rounding)?,
                    &want,
                    0.0,
                    &format!("{h}x{w} {size} {rounding:?}"),
                );
            }
        }
        Ok(())
    }
}
