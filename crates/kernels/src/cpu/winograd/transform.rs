//! The transformations: windows into products' columns, weights into their rows, products into pixels.
//!
//! Tiles lie in a buffer row by row of 4×4 pixels; within a row first those of the squares' upper left tiles, then
//! upper right, lower left and lower right (F(4×4) has one tile a square).

// Indices are those of the paper's matrices.
#![allow(clippy::needless_range_loop)]

use super::matrices::{Four, Matrices, Two};
use super::{Part, Source, TAPS, TileSize};
use crate::cpu::epilogue::Epilogue;
use crate::cpu::geometry::Geometry;
use crate::cpu::lanes::{Lanes, MOST, versions};
use crate::cpu::math::{Function, by_activation};
use crate::cpu::scratch::{Shared, lease};

versions! {
    /// Bᵀ d B of every tile of `part` for some input channels, into panels [product][panel][channel][lane].
    pub(super) fn transform_windows(
        tile_size: TileSize, x: Source<'_>, geometry: &Geometry, part: Part, channels: (usize, usize), windows: Shared
    ) = transform_windows_body
}

#[inline(always)]
fn transform_windows_body<L: Lanes>(
    tile_size: TileSize,
    x: Source<'_>,
    geometry: &Geometry,
    part: Part,
    channels: (usize, usize),
    windows: Shared,
) {
    match tile_size {
        TileSize::Two => windows_by::<L, Two, 2, 4, 2>(x, geometry, part, channels, windows),
        TileSize::Four => windows_by::<L, Four, 1, 6, 4>(x, geometry, part, channels, windows),
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn windows_by<L: Lanes, M: Matrices<T, P, R>, const T: usize, const P: usize, const R: usize>(
    x: Source<'_>,
    geometry: &Geometry,
    part: Part,
    channels: (usize, usize),
    windows: Shared,
) {
    let (height, width) = (geometry.height, geometry.width);
    let down = height.div_ceil(4);
    // One row of squares after the vertical transformation: a zero column, the picture's, zeros.
    let pitch = (4 * part.across + 4 * L::N + 8).next_multiple_of(8);
    let mut vertical = lease((T * P + 1) * pitch);
    vertical.fill(0.0);
    let (vertical, zeros) = vertical.split_at_mut(T * P * pitch);
    // The stored rows below a row of squares' windows, upsampled: 2·ty − 1 to 2·ty + 2.
    let mut wide = lease(if x.upsampled { 4 * width } else { 0 });
    // Products of all tiles of one channel; a vector may reach past the last tile.
    let ld = part.panels * part.nr + L::N;
    let mut staged = lease(P * P * ld);
    staged.fill(0.0);
    for channel in channels.0..channels.1 {
        for row in part.rows.0..part.rows.1 {
            let (image, ty) = (row / down, row % down);
            let plane = x.planes.plane(image, channel);
            if x.upsampled {
                let stored = plane.chunks_exact(width / 2).skip((2 * ty).saturating_sub(1));
                let first = usize::from(ty == 0) * width;
                wide[first..].chunks_exact_mut(width).zip(stored).for_each(|(wide, row)| double(row, wide));
            }
            let source: [&[f32]; 6] = std::array::from_fn(|r| match (4 * ty + r).checked_sub(1) {
                Some(y) if y >= height => &zeros[..width],
                Some(y) if x.upsampled => &wide[(y / 2 + 1 - 2 * ty) * width..][..width],
                Some(y) => &plane[y * width..][..width],
                None => &zeros[..width],
            });
            let mut at = 0;
            while at + L::N <= width {
                // SAFETY: N values from `at` lie inside each source row; the rows of `vertical` are longer than width.
                unsafe {
                    let mut d = [L::splat(0.0); 6];
                    for (d, row) in d.iter_mut().zip(&source) {
                        *d = L::load(row.as_ptr().add(at));
                    }
                    for tile in 0..T {
                        let v = M::window(tile, d);
                        for i in 0..P {
                            v[i].store(vertical.as_mut_ptr().add((tile * P + i) * pitch + 1 + at));
                        }
                    }
                }
                at += L::N;
            }
            if at < width {
                let mut d = [L::splat(0.0); 6];
                for (d, row) in d.iter_mut().zip(&source) {
                    *d = L::load_part(&row[at..]);
                }
                for tile in 0..T {
                    let v = M::window(tile, d);
                    for i in 0..P {
                        v[i].store_part(&mut vertical[(tile * P + i) * pitch + 1 + at..][..width - at]);
                    }
                }
            }
            // In order of tiles, as a vector at a row's end reaches into the next tiles, which are written later.
            for tile in 0..T * T {
                let before = ((row - part.rows.0) * T * T + tile) * part.across;
                for i in 0..P {
                    for tx in (0..part.across).step_by(L::N) {
                        // SAFETY: 4·N + 4 + 4·N values from 4·tx lie inside the row's pitch up to reads of [d4, d5],
                        // which end at 4·(tx + N) + 2 ≤ 4·across + 4·N + 2; staged rows have N values to spare.
                        unsafe {
                            let from = vertical.as_ptr().add((tile / T * P + i) * pitch + 4 * tx);
                            let [d0, d1, d2, d3] = L::load_interleaved(from);
                            let [d4, d5, _, _] = L::load_interleaved(from.add(4));
                            let v = M::window(tile % T, [d0, d1, d2, d3, d4, d5]);
                            for j in 0..P {
                                v[j].store(staged.as_mut_ptr().add((P * i + j) * ld + before + tx));
                            }
                        }
                    }
                }
            }
        }
        for e in 0..P * P {
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

/// Every value twice.
#[inline(always)]
fn double(row: &[f32], wide: &mut [f32]) {
    for (pair, value) in wide.as_chunks_mut::<2>().0.iter_mut().zip(row) {
        *pair = [*value; 2];
    }
}

versions! {
    /// G g Gᵀ for a run of weights, tap by tap, into as many runs as there are products, `apart` from each other in `u`.
    pub(super) fn transform_weights(
        tile_size: TileSize, taps: [&[f32]; TAPS], u: &mut [f32], apart: usize
    ) = transform_weights_body
}

#[inline(always)]
fn transform_weights_body<L: Lanes>(tile_size: TileSize, taps: [&[f32]; TAPS], u: &mut [f32], apart: usize) {
    match tile_size {
        TileSize::Two => weights_by::<L, Two, 2, 4, 2>(taps, u, apart),
        TileSize::Four => weights_by::<L, Four, 1, 6, 4>(taps, u, apart),
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn weights_by<L: Lanes, M: Matrices<T, P, R>, const T: usize, const P: usize, const R: usize>(
    taps: [&[f32]; TAPS],
    u: &mut [f32],
    apart: usize,
) {
    let len = taps[0].len();
    assert!(taps.iter().all(|tap| tap.len() == len) && u.len() >= (P * P - 1) * apart + len);
    let mut at = 0;
    while at + L::N <= len {
        // SAFETY: the assertion above: N values from `at` lie inside every tap and every product.
        unsafe {
            let mut nine = [L::splat(0.0); TAPS];
            for (v, tap) in nine.iter_mut().zip(taps) {
                *v = L::load(tap.as_ptr().add(at));
            }
            let columns = columns::<L, M, T, P, R>(nine);
            for i in 0..P {
                let row = M::weights([columns[0][i], columns[1][i], columns[2][i]]);
                for j in 0..P {
                    row[j].store(u.as_mut_ptr().add((P * i + j) * apart + at));
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
        let columns = columns::<L, M, T, P, R>(nine);
        for i in 0..P {
            let row = M::weights([columns[0][i], columns[1][i], columns[2][i]]);
            for j in 0..P {
                let from = (P * i + j) * apart;
                row[j].store_part(&mut u[from + at..from + len]);
            }
        }
    }
}

/// G g, column by column.
#[inline(always)]
fn columns<L: Lanes, M: Matrices<T, P, R>, const T: usize, const P: usize, const R: usize>(
    g: [L; TAPS],
) -> [[L; P]; 3] {
    [M::weights([g[0], g[3], g[6]]), M::weights([g[1], g[4], g[7]]), M::weights([g[2], g[5], g[8]])]
}

/// Where one channel's results go.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) out: Shared,
    pub(super) channel: usize,
    pub(super) epilogue: Epilogue<'a>,
}

versions! {
    /// Aᵀ m A of every tile of `part` for one output channel, with bias and activation, into the picture. Product e of
    /// tile t is `m[e·apart + t]`.
    pub(super) fn transform_products(
        tile_size: TileSize, m: &[f32], apart: usize, geometry: &Geometry, part: Part, to: Target<'_>
    ) = transform_products_body
}

#[inline(always)]
fn transform_products_body<L: Lanes>(
    tile_size: TileSize,
    m: &[f32],
    apart: usize,
    geometry: &Geometry,
    part: Part,
    to: Target<'_>,
) {
    match tile_size {
        TileSize::Two => {
            by_activation!(to.epilogue.activation, f => products_by::<L, Two, 2, 4, 2>(m, apart, geometry, part, to, f))
        }
        TileSize::Four => {
            by_activation!(to.epilogue.activation, f => products_by::<L, Four, 1, 6, 4>(m, apart, geometry, part, to, f))
        }
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn products_by<L: Lanes, M: Matrices<T, P, R>, const T: usize, const P: usize, const R: usize>(
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
        let plane = (image * geometry.output + to.channel) * height * width;
        let bias = to.epilogue.row_bias.map_or(0.0, |bias| geometry.bias_of(bias, image)[to.channel]);
        let bias = L::splat(bias);
        for tx in (0..part.across).step_by(L::N) {
            let lanes = L::N.min(part.across - tx);
            for upper in 0..T.min((height - 4 * ty).div_ceil(R)) {
                let mut columns = [[[L::splat(0.0); R]; P]; T];
                for left in 0..T {
                    let tile = (row - part.rows.0) * T * T + upper * T + left;
                    for j in 0..P {
                        let mut column = [L::splat(0.0); P];
                        for (i, v) in column.iter_mut().enumerate() {
                            let from = (P * i + j) * apart + tile * part.across + tx;
                            if from + L::N <= m.len() {
                                // SAFETY: N values from `from` lie inside `m`.
                                *v = unsafe { L::load(m.as_ptr().add(from)) };
                            } else {
                                *v = L::load_part(&m[from..from + lanes]);
                            }
                        }
                        columns[left][j] = M::results(column);
                    }
                }
                for y in 0..R.min(height - 4 * ty - R * upper) {
                    let mut values = [bias; 4];
                    for left in 0..T {
                        let mut row = [bias; P];
                        for (v, column) in row.iter_mut().zip(&columns[left]) {
                            *v = column[y];
                        }
                        let row = M::results(row);
                        for x in 0..R {
                            values[left * R + x] = row[x].add(bias);
                        }
                    }
                    let start = plane + (4 * ty + R * upper + y) * width + 4 * tx;
                    let wanted = (4 * lanes).min(width - 4 * tx);
                    if let Some(residual) = to.epilogue.residual {
                        let mut some = [0f32; 4 * MOST];
                        some[..wanted].copy_from_slice(&residual[start..start + wanted]);
                        // SAFETY: `some` holds 4·MOST values, at least 4·N.
                        let residual = unsafe { L::load_interleaved(some.as_ptr()) };
                        for (value, residual) in values.iter_mut().zip(residual) {
                            *value = value.add(residual);
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
}
