//! Changes of resolution, plane by plane over all threads. Sizes are (height, width).

use candle_core::{Result, Tensor};

use super::scratch::Output;
use super::{Values, parallel};

/// Planes of `from` → planes of `to`, each by `work(source, target)`, which writes all of its target.
#[allow(unsafe_code)]
fn each_plane(
    x: &[f32],
    planes: usize,
    from: (usize, usize),
    to: (usize, usize),
    work: impl Fn(&[f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    let (from_size, to_size) = (from.0 * from.1, to.0 * to.1);
    let mut output = Output::new(planes * to_size);
    let out = output.shared();
    parallel::each(planes, |plane| {
        // SAFETY: each task writes its own plane.
        let target = unsafe { out.slice(plane * to_size, to_size) };
        work(&x[plane * from_size..][..from_size], target);
    });
    // SAFETY: every plane was written whole.
    unsafe { output.finish() }
}

/// Planes of `to` of which value (stride·i + a, stride·j + b) is value (i, j) of the same plane of part stride·a + b.
#[allow(unsafe_code)]
pub(crate) fn interleave(
    planes: usize,
    stride: usize,
    to: (usize, usize),
    part: impl Fn(usize) -> Result<Tensor>,
) -> Result<Vec<f32>> {
    let size = to.0 * to.1;
    let mut output = Output::new(planes * size);
    let out = output.shared();
    for phase in 0..stride * stride {
        let (a, b) = (phase / stride, phase % stride);
        let (height, width) = ((to.0 - a).div_ceil(stride), (to.1 - b).div_ceil(stride));
        let part = part(phase)?.contiguous()?;
        let values = Values::of(&part)?;
        parallel::each(planes, |plane| {
            // SAFETY: each task writes its own plane; what other phases have not written yet, nobody reads.
            let target = unsafe { out.slice(plane * size, size) };
            let source = values[plane * height * width..][..height * width].chunks_exact(width);
            for (row, source) in target.chunks_exact_mut(to.1).skip(a).step_by(stride).zip(source) {
                row.iter_mut().skip(b).step_by(stride).zip(source).for_each(|(to, from)| *to = *from);
            }
        });
    }
    // SAFETY: the phases cover every value.
    Ok(unsafe { output.finish() })
}

/// Nearest-neighbour resize: source floor(i·in/out).
pub(crate) fn nearest(x: &[f32], planes: usize, from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    // As candle and torch round: the index is taken in floating point.
    let source = |i: usize, from: usize, to: usize| {
        ((i as f64 * (from as f64 / to as f64)) as usize).min(from.saturating_sub(1))
    };
    let double = to.1 == 2 * from.1;
    let columns: Vec<usize> = (0..to.1).map(|i| source(i, from.1, to.1)).collect();
    each_plane(x, planes, from, to, |x, y| {
        let mut last = None;
        for row in 0..to.0 {
            let from_row = source(row, from.0, to.0);
            let (done, rest) = y.split_at_mut(row * to.1);
            let target = &mut rest[..to.1];
            if last == Some(from_row) {
                target.copy_from_slice(&done[(row - 1) * to.1..]);
                continue;
            }
            last = Some(from_row);
            let values = &x[from_row * from.1..][..from.1];
            if double {
                for (pair, value) in target.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                    *pair = [*value; 2];
                }
            } else {
                for (target, column) in target.iter_mut().zip(&columns) {
                    *target = values[*column];
                }
            }
        }
    })
}

/// Bilinear resize, sums in f64: rows are stretched once, then blended.
pub(crate) fn bilinear(
    x: &[f32],
    planes: usize,
    from: (usize, usize),
    to: (usize, usize),
    align_corners: bool,
) -> Vec<f32> {
    let (rows, columns) = (taps(from.0, to.0, align_corners), taps(from.1, to.1, align_corners));
    each_plane(x, planes, from, to, |x, y| {
        let mut stretched = [(usize::MAX, vec![0f64; to.1]), (usize::MAX, vec![0f64; to.1])];
        for (target, (above, below, share)) in y.chunks_exact_mut(to.1).zip(&rows) {
            for row in [*above, *below] {
                let (of, values) = &mut stretched[row % 2];
                if *of != row {
                    *of = row;
                    let source = &x[row * from.1..][..from.1];
                    for (value, (left, right, share)) in values.iter_mut().zip(&columns) {
                        *value = f64::from(source[*left]) * (1.0 - share) + f64::from(source[*right]) * share;
                    }
                }
            }
            let (top, bottom) = (&stretched[above % 2].1, &stretched[below % 2].1);
            for ((target, top), bottom) in target.iter_mut().zip(top).zip(bottom) {
                *target = (top * (1.0 - share) + bottom * share) as f32;
            }
        }
    })
}

/// For every position of `to`: the two neighbours in `from`, and the second one's share.
fn taps(from: usize, to: usize, align_corners: bool) -> Vec<(usize, usize, f64)> {
    let scale = if align_corners {
        from.saturating_sub(1) as f64 / to.saturating_sub(1).max(1) as f64
    } else {
        from as f64 / to as f64
    };
    let tap = |i: usize| {
        let at = if align_corners { scale * i as f64 } else { scale * (i as f64 + 0.5) - 0.5 };
        let at = at.max(0.0);
        let first = (at as usize).min(from - 1);
        (first, (first + 1).min(from - 1), (at - first as f64).clamp(0.0, 1.0))
    };
    (0..to).map(tap).collect()
}

/// Maximum over windows of `size` × `size` at stride `size`; a last, partial window counts if `to` has room for it.
pub(crate) fn max_pool(
    x: &[f32],
    planes: usize,
    from: (usize, usize),
    to: (usize, usize),
    size: usize,
) -> Vec<f32> {
    each_plane(x, planes, from, to, |x, y| {
        for (row, target) in y.chunks_exact_mut(to.1).enumerate() {
            target.fill(f32::NEG_INFINITY);
            for source in x.chunks_exact(from.1).skip(row * size).take(size) {
                for (target, window) in target.iter_mut().zip(source.chunks(size)) {
                    *target =
                        window.iter().fold(*target, |most, value| if *value > most { *value } else { most });
                }
            }
        }
    })
}
