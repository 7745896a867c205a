//! 3×3 convolution at stride 1 and padding 1 by Winograd's F(4×4, 3×3): Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A (Lavin and Gray 2016).
//!
//! An output tile of 4×4 pixels takes a 6×6 window d and 36 products for each pair of channels instead of 144; summed
//! over input channels these are 36 matrix products (out × in)·(in × tiles). The price is rounding: about 3.6e-6 relative
//! in L2 instead of 4e-7.
//!
//! Transformed weights would take four times the memory of the weights (3.8 GB more for the SDXL UNet) and, at 16 × 16
//! pixels, longer to read than to make. So they are never kept: each task transforms the block it is about to use
//! (channels × [`KC`] × 36, in its L2 cache) and applies it to all tiles of the current step. The transformation costs
//! about 60 operations a weight pair against 72 · tiles for the products, so about 1 % at 64 tiles of a step and more.
//!
//! A step works on some rows of tiles: their windows are transformed into a buffer all threads share, then tasks go over
//! blocks of output channels.

// Indices are those of the paper's matrices.
#![allow(clippy::needless_range_loop)]

use std::array;
use std::ops::Range;

use super::epilogue::Epilogue;
use super::lanes::{Lanes, MOST, versions};
use super::math::{Function, by_activation};
use super::micro::Micro;
use super::pack::{Packed, Space};
use super::parallel;
use super::scratch::{Output, Shared, lease};
use crate::convolution::Geometry;

/// Taps of the window.
const TAPS: usize = 9;
/// Products of a tile.
const PRODUCTS: usize = 36;
/// Tiles of a step.
const TILES: usize = 96;
/// Values of a step's transformed windows (12 MiB), which the L3 cache should hold, unless this is too few tiles.
const WINDOWS: usize = 3 << 20;
/// Fewest tiles of a step (where there are as many).
const FEWEST: usize = 64;
/// Output channels of a task.
const CHANNELS: usize = 24;
/// Input channels whose transformed weights a task holds at a time.
const KC: usize = 112;

/// Fewest channels on either side for which the form is taken: below, it saves little and would still round ten times
/// as coarsely.
const LEAST_CHANNELS: usize = 128;

/// Whether the form applies and pays: enough channels on both sides for the products to outweigh the transformations.
pub(crate) fn takes(geometry: &Geometry) -> bool {
    geometry.kernel_height == 3
        && geometry.kernel_width == 3
        && (geometry.stride, geometry.padding, geometry.dilation) == (1, 1, 1)
        && geometry.input >= LEAST_CHANNELS
        && geometry.output >= LEAST_CHANNELS
        && geometry.height * geometry.width >= 64
}

/// `x` (b, in, h, w) → (b, out, h, w); `weight` packed as for the implicit form. The row bias is (out), or (b, out).
#[allow(unsafe_code)]
pub(crate) fn convolve(
    micro: &Micro,
    x: &[f32],
    weight: &Packed,
    geometry: &Geometry,
    epilogue: Epilogue<'_>,
) -> Vec<f32> {
    let (mr, nr) = (micro.mr, micro.nr);
    let across = geometry.width.div_ceil(4);
    let rows = geometry.batch * geometry.height.div_ceil(4);
    let tiles = (WINDOWS / (PRODUCTS * geometry.input)).clamp(FEWEST, TILES);
    let step = parallel::even(rows, (tiles / across).max(1), 1);
    let most_panels = (step * across).div_ceil(nr);
    let mut windows = lease(PRODUCTS * most_panels * geometry.input * nr);
    let windows = Shared::of(&mut windows);
    let mut output = Output::new(geometry.batch * geometry.output * geometry.height * geometry.width);
    let out = output.shared();
    let out_panels = geometry.output.div_ceil(mr);
    let per_task = parallel::even(geometry.output, CHANNELS, mr) / mr;
    let kc = parallel::even(geometry.input, KC, 4);
    for first in (0..rows).step_by(step) {
        let last = (first + step).min(rows);
        let panels = ((last - first) * across).div_ceil(nr);
        let part = Part { rows: (first, last), across, panels, nr };
        // A few channels a task: planes of a picture are far apart.
        const RUN: usize = 8;
        parallel::each(geometry.input.div_ceil(RUN), |task| {
            let channels = (task * RUN, ((task + 1) * RUN).min(geometry.input));
            transform_windows(micro, x, geometry, part, channels, windows);
        });
        parallel::each(out_panels.div_ceil(per_task), |task| {
            let own = task * per_task..((task + 1) * per_task).min(out_panels);
            let ldm = panels * nr;
            let mut u = lease(PRODUCTS * own.len() * kc * mr);
            let mut m = lease(PRODUCTS * own.len() * mr * ldm);
            let mut widened = Space::default();
            for k0 in (0..geometry.input).step_by(kc) {
                let len = kc.min(geometry.input - k0);
                for (i, panel) in own.clone().enumerate() {
                    let taps: [Range<usize>; TAPS] =
                        array::from_fn(|tap| tap * geometry.input + k0..tap * geometry.input + k0 + len);
                    let taps = weight.runs(micro, panel, taps, &mut widened);
                    transform_weights(micro, taps, &mut u[i * len * mr..], own.len() * len * mr);
                }
                for e in 0..PRODUCTS {
                    for j in 0..panels {
                        let b = windows.at(((e * panels + j) * geometry.input + k0) * nr);
                        for i in 0..own.len() {
                            let a = &u[(e * own.len() + i) * len * mr..][..len * mr];
                            let c = &mut m[(e * own.len() + i) * mr * ldm + j * nr..][..(mr - 1) * ldm + nr];
                            // SAFETY: the slices hold len·mr values and mr rows of nr, ldm apart; `b` is a panel of
                            // the windows, which nobody writes meanwhile.
                            unsafe { micro.tile(len, a.as_ptr(), b, c.as_mut_ptr(), ldm, k0 > 0) };
                        }
                    }
                }
            }
            for channel in own.start * mr..(own.end * mr).min(geometry.output) {
                let row = (channel - own.start * mr) * ldm;
                let to = Target { out, channel, epilogue };
                transform_products(micro, &m[row..], own.len() * mr * ldm, geometry, part, to);
            }
        });
    }
    // SAFETY: the steps cover all rows of tiles, the tasks all channels, and each tile is written to the picture's edge.
    unsafe { output.finish() }
}

/// The rows of tiles of one step, counted through all images, and the shape of their buffers.
#[derive(Clone, Copy)]
struct Part {
    rows: (usize, usize),
    /// Tiles of a row.
    across: usize,
    /// Panels of tiles of a step, and their lanes.
    panels: usize,
    nr: usize,
}

versions! {
    /// Bᵀ d B of every tile of `part` for some input channels, into panels [product][panel][channel][lane].
    fn transform_windows(
        x: &[f32], geometry: &Geometry, part: Part, channels: (usize, usize), windows: Shared
    ) = transform_windows_body
}

/// Bᵀ d for one column of d.
#[inline(always)]
fn bt<L: Lanes>(d: [L; 6]) -> [L; 6] {
    let (two, four, minus5) = (L::splat(2.0), L::splat(4.0), L::splat(-5.0));
    let minus4 = L::splat(-4.0);
    let (a, b) = (d[2].mul_add(minus4, d[4]), d[1].mul_add(minus4, d[3]));
    let (c, e) = (d[4].sub(d[2]), two.mul(d[3].sub(d[1])));
    [
        d[0].mul_add(four, d[2].mul_add(minus5, d[4])),
        a.add(b),
        a.sub(b),
        c.add(e),
        c.sub(e),
        d[1].mul_add(four, d[3].mul_add(minus5, d[5])),
    ]
}

#[inline(always)]
#[allow(unsafe_code)]
fn transform_windows_body<L: Lanes>(
    x: &[f32],
    geometry: &Geometry,
    part: Part,
    channels: (usize, usize),
    windows: Shared,
) {
    let (height, width) = (geometry.height, geometry.width);
    let down = height.div_ceil(4);
    // One row of tiles after the vertical transformation: a zero column, the picture's, zeros.
    let pitch = (4 * part.across + 4 * L::N + 8).next_multiple_of(8);
    let mut vertical = lease(7 * pitch);
    vertical.fill(0.0);
    let (vertical, zeros) = vertical.split_at_mut(6 * pitch);
    // Products of all tiles of one channel; a vector may reach past the last tile.
    let ld = part.panels * part.nr + L::N;
    let mut staged = lease(PRODUCTS * ld);
    staged.fill(0.0);
    for channel in channels.0..channels.1 {
        for row in part.rows.0..part.rows.1 {
            let (image, ty) = (row / down, row % down);
            let plane = &x[(image * geometry.input + channel) * height * width..][..height * width];
            let source: [&[f32]; 6] = std::array::from_fn(|r| match (4 * ty + r).checked_sub(1) {
                Some(y) if y < height => &plane[y * width..][..width],
                _ => &zeros[..width],
            });
            let mut at = 0;
            while at + L::N <= width {
                // SAFETY: N values from `at` lie inside each source row; the rows of `vertical` are longer than width.
                unsafe {
                    let mut d = [L::splat(0.0); 6];
                    for (d, row) in d.iter_mut().zip(&source) {
                        *d = L::load(row.as_ptr().add(at));
                    }
                    let v = bt(d);
                    for i in 0..6 {
                        v[i].store(vertical.as_mut_ptr().add(i * pitch + 1 + at));
                    }
                }
                at += L::N;
            }
            if at < width {
                let mut d = [L::splat(0.0); 6];
                for (d, row) in d.iter_mut().zip(&source) {
                    *d = L::load_part(&row[at..]);
                }
                let v = bt(d);
                for i in 0..6 {
                    v[i].store_part(&mut vertical[i * pitch + 1 + at..][..width - at]);
                }
            }
            let before = (row - part.rows.0) * part.across;
            for i in 0..6 {
                for tx in (0..part.across).step_by(L::N) {
                    // SAFETY: 4·N + 4 + 4·N values from 4·tx lie inside the row's pitch up to reads of [d4, d5], which
                    // end at 4·(tx + N) + 2 ≤ 4·across + 4·N + 2; staged rows have N values to spare.
                    unsafe {
                        let from = vertical.as_ptr().add(i * pitch + 4 * tx);
                        let [d0, d1, d2, d3] = L::load_interleaved(from);
                        let [d4, d5, _, _] = L::load_interleaved(from.add(4));
                        let v = bt([d0, d1, d2, d3, d4, d5]);
                        for j in 0..6 {
                            v[j].store(staged.as_mut_ptr().add((6 * i + j) * ld + before + tx));
                        }
                    }
                }
            }
        }
        for e in 0..PRODUCTS {
            for panel in 0..part.panels {
                let from = panel * part.nr;
                // SAFETY: this task alone writes these channels' lanes; the address lies inside the buffer.
                let to = unsafe {
                    windows.slice(((e * part.panels + panel) * geometry.input + channel) * part.nr, part.nr)
                };
                to.copy_from_slice(&staged[e * ld + from..][..part.nr]);
            }
        }
    }
}

versions! {
    /// G g Gᵀ for a run of weights, tap by tap, into 36 runs `apart` from each other in `u`.
    fn transform_weights(taps: [&[f32]; TAPS], u: &mut [f32], apart: usize) = transform_weights_body
}

/// G g for one column of g.
#[inline(always)]
fn g<L: Lanes>(g: [L; 3]) -> [L; 6] {
    let sum = g[0].add(g[2]).mul(L::splat(-1.0 / 6.0));
    let middle = g[1].mul(L::splat(1.0 / 6.0));
    let outer = g[0].mul_add(L::splat(1.0 / 24.0), g[2].mul(L::splat(1.0 / 6.0)));
    let half = g[1].mul(L::splat(1.0 / 12.0));
    [g[0].mul(L::splat(0.25)), sum.sub(middle), sum.add(middle), outer.add(half), outer.sub(half), g[2]]
}

#[inline(always)]
#[allow(unsafe_code)]
fn transform_weights_body<L: Lanes>(taps: [&[f32]; TAPS], u: &mut [f32], apart: usize) {
    let len = taps[0].len();
    assert!(taps.iter().all(|tap| tap.len() == len) && u.len() >= (PRODUCTS - 1) * apart + len);
    let mut at = 0;
    while at + L::N <= len {
        // SAFETY: the assertion above: N values from `at` lie inside every tap and every product.
        unsafe {
            let mut nine = [L::splat(0.0); TAPS];
            for (v, tap) in nine.iter_mut().zip(taps) {
                *v = L::load(tap.as_ptr().add(at));
            }
            let columns = columns(nine);
            for i in 0..6 {
                let row = g([columns[0][i], columns[1][i], columns[2][i]]);
                for j in 0..6 {
                    row[j].store(u.as_mut_ptr().add((6 * i + j) * apart + at));
                }
            }
        }
        at += L::N;
    }
    if at < len {
        let mut nine = [L::splat(0.0); TAPS];
        for (v, tap) in nine.iter_mut().zip(taps) {
            *v = L::load_part(&tap[at..]);
        }
        let columns = columns(nine);
        for i in 0..6 {
            let row = g([columns[0][i], columns[1][i], columns[2][i]]);
            for j in 0..6 {
                let from = (6 * i + j) * apart;
                row[j].store_part(&mut u[from + at..from + len]);
            }
        }
    }
}

/// G g, column by column.
#[inline(always)]
fn columns<L: Lanes>(taps: [L; TAPS]) -> [[L; 6]; 3] {
    [g([taps[0], taps[3], taps[6]]), g([taps[1], taps[4], taps[7]]), g([taps[2], taps[5], taps[8]])]
}

/// Where one channel's results go.
#[derive(Clone, Copy)]
struct Target<'a> {
    out: Shared,
    channel: usize,
    epilogue: Epilogue<'a>,
}

versions! {
    /// Aᵀ m A of every tile of `part` for one output channel, with bias and activation, into the picture. Product e of
    /// tile t is `m[e·apart + t]`.
    fn transform_products(
        m: &[f32], apart: usize, geometry: &Geometry, part: Part, to: Target<'_>
    ) = transform_products_body
}

/// Aᵀ m for one column of m.
#[inline(always)]
fn at<L: Lanes>(m: [L; 6]) -> [L; 4] {
    let (two, four, eight) = (L::splat(2.0), L::splat(4.0), L::splat(8.0));
    let (a, b) = (m[1].add(m[2]), m[1].sub(m[2]));
    let (c, d) = (m[3].add(m[4]), m[3].sub(m[4]));
    [m[0].add(a).add(c), d.mul_add(two, b), c.mul_add(four, a), d.mul_add(eight, b).add(m[5])]
}

#[inline(always)]
fn transform_products_body<L: Lanes>(
    m: &[f32],
    apart: usize,
    geometry: &Geometry,
    part: Part,
    to: Target<'_>,
) {
    by_activation!(to.epilogue.activation, f => finish_tiles::<L>(m, apart, geometry, part, to, f))
}

#[inline(always)]
#[allow(unsafe_code)]
fn finish_tiles<L: Lanes>(
    m: &[f32],
    apart: usize,
    geometry: &Geometry,
    part: Part,
    to: Target<'_>,
    f: impl Function,
) {
    let (height, width) = (geometry.height, geometry.width);
    let down = height.div_ceil(4);
    for row in part.rows.0..part.rows.1 {
        let (image, ty) = (row / down, row % down);
        let first = (row - part.rows.0) * part.across;
        let plane = (image * geometry.output + to.channel) * height * width;
        let bias = to.epilogue.row_bias.map_or(0.0, |bias| geometry.bias_of(bias, image)[to.channel]);
        let bias = L::splat(bias);
        for tx in (0..part.across).step_by(L::N) {
            let tile = first + tx;
            let lanes = L::N.min(part.across - tx);
            let mut columns = [[L::splat(0.0); 4]; 6];
            for j in 0..6 {
                let mut column = [L::splat(0.0); 6];
                for (i, v) in column.iter_mut().enumerate() {
                    let from = (6 * i + j) * apart + tile;
                    if from + L::N <= m.len() {
                        // SAFETY: N values from `from` lie inside `m`.
                        *v = unsafe { L::load(m.as_ptr().add(from)) };
                    } else {
                        *v = L::load_part(&m[from..from + lanes]);
                    }
                }
                columns[j] = at(column);
            }
            for y in 0..4.min(height - 4 * ty) {
                let mut row = [bias; 6];
                for (v, column) in row.iter_mut().zip(&columns) {
                    *v = column[y];
                }
                let mut values = at(row);
                let start = plane + (4 * ty + y) * width + 4 * tx;
                let wanted = (4 * lanes).min(width - 4 * tx);
                for value in &mut values {
                    *value = value.add(bias);
                }
                if let Some(addend) = to.epilogue.addend {
                    let mut some = [0f32; 4 * MOST];
                    some[..wanted].copy_from_slice(&addend[start..start + wanted]);
                    // SAFETY: `some` holds 4·MOST values, at least 4·N.
                    let addend = unsafe { L::load_interleaved(some.as_ptr()) };
                    for (value, addend) in values.iter_mut().zip(addend) {
                        *value = value.add(addend);
                    }
                }
                for value in &mut values {
                    *value = f.of(*value);
                }
                // SAFETY: `wanted` values of this channel's row, which this task alone writes.
                unsafe {
                    if wanted == 4 * L::N {
                        L::store_interleaved(values, to.out.at(start));
                    } else {
                        let mut some = [0f32; 4 * MOST];
                        L::store_interleaved(values, some.as_mut_ptr());
                        to.out.slice(start, wanted).copy_from_slice(&some[..wanted]);
                    }
                }
            }
        }
    }
}
