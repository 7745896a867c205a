//! C (m × n) = A (m × k)·B (k × n) on 8-bit integers, with an epilogue in f32.
//!
//! Each row of A and each column of B has a scale of its own, a 127th of its largest magnitude, and is rounded to a multiple
//! of it: x ≈ scale · q with q from −127 to 127 (symmetric quantisation, dynamic for A; Dettmers et al. 2022, LLM.int8()).
//! C is the sum of the products of integers, exact in i32, times both scales. It therefore does not depend on the instruction
//! set, nor on how work is split. A tile goes over all of k: panels in i8 are short enough for the caches.

use super::epilogue::{Epilogue, Sums};
use super::lanes::{Lanes, versions};
use super::microkernel::int8::{Int8Microkernel, OFFSET, TILE, Word};
use super::pack::{Rows, Stored, widen};
use super::parallel;
use super::scratch::{Output, Shared, lease};

/// Longest k: 2¹⁷ · 127² is below 2³¹.
pub(crate) const LONGEST: usize = 1 << 17;
/// Largest integer.
const MOST: f32 = 127.0;
/// Magnitudes below this are taken for zero: their scale has no inverse in f32.
const LEAST: f32 = 1e-30;
/// 1.5 · 2²³: adding it rounds to an integer, ties to even, and leaves that in the low bits.
const MAGIC: f32 = 12_582_912.0;
/// Bytes of A in one task, which stay in the L2 cache.
const BLOCK: usize = 256 << 10;

/// Integers for `values`, and their scale: not a number if any value is not finite.
#[inline(always)]
fn quantise(values: &[f32], integers: &mut [i8]) -> f32 {
    // Magnitudes order like their bits, and these keep what is not a number.
    let bits = values.iter().fold(0, |most: i32, x| most.max((x.to_bits() & 0x7fff_ffff).cast_signed()));
    let largest = f32::from_bits(bits.cast_unsigned());
    let (scale, inverse) = if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if largest < LEAST {
        (0.0, 0.0)
    } else {
        (largest / MOST, MOST / largest)
    };
    for (integer, x) in integers.iter_mut().zip(values) {
        *integer = (x * inverse + MAGIC).to_bits() as i8;
    }
    scale
}

/// Columns of B (rows of a weight) in panels of i8.
pub(crate) struct Packed {
    data: Vec<i8>,
    /// Of every column.
    scales: Vec<f32>,
    /// What takes [`OFFSET`] back out of every column's sums.
    starts: Vec<i32>,
    /// Values of a column, with the zeros at its end.
    depth: usize,
}

impl Packed {
    /// Packs `lanes` × `k` values, those of a lane from index `source(lane)` on.
    #[allow(unsafe_code)]
    pub(crate) fn new(
        kernel: &Int8Microkernel,
        values: Stored<'_>,
        lanes: usize,
        k: usize,
        source: impl Fn(usize) -> usize + Sync,
    ) -> Self {
        let (nr, group) = (kernel.float.nr, kernel.group(k));
        let (panels, depth) = (lanes.div_ceil(nr), k.next_multiple_of(group));
        let len = depth * nr;
        let mut data = vec![0; panels * len];
        let (mut scales, mut starts) = (vec![0.0; panels * nr], vec![0; panels * nr]);
        let shared = (Shared::of(&mut data), Shared::of(&mut scales), Shared::of(&mut starts));
        parallel::each(panels, |panel| {
            let (data, scales, starts) = shared;
            // SAFETY: each task writes what belongs to its own panel.
            let (data, scales, starts) = unsafe {
                (data.slice(panel * len, len), scales.slice(panel * nr, nr), starts.slice(panel * nr, nr))
            };
            let (mut wide, mut integers) = (vec![0.0; k], vec![0; depth]);
            for lane in 0..nr.min(lanes - panel * nr) {
                let at = source(panel * nr + lane);
                let row = match values {
                    Stored::F32(values) => &values[at..at + k],
                    Stored::F16(values) => {
                        widen(kernel.float, &values[at..at + k], &mut wide);
                        &wide
                    }
                };
                quantise_row(kernel.float, row, &mut integers, &mut scales[lane]);
                starts[lane] = -OFFSET * integers.iter().map(|integer| i32::from(*integer)).sum::<i32>();
                let to = data[lane * group..].chunks_mut(nr * group);
                for (to, from) in to.zip(integers.chunks_exact(group)) {
                    to[..group].copy_from_slice(from);
                }
            }
        });
        Self { data, scales, starts, depth }
    }
}

versions! {
    /// [`quantise`] as a function of its own.
    fn quantise_row(values: &[f32], integers: &mut [i8], scale: &mut f32) = quantise_row_body
}

#[inline(always)]
fn quantise_row_body<L: Lanes>(values: &[f32], integers: &mut [i8], scale: &mut f32) {
    *scale = quantise(values, integers);
}

/// Rows of A in panels of words.
struct Words {
    data: Vec<u32>,
    scales: Vec<f32>,
    /// Of each row.
    count: usize,
}

impl Words {
    /// Rows of `k` values, filled with zeros up to `depth`.
    #[allow(unsafe_code)]
    fn new(kernel: &Int8Microkernel, rows: &Rows<'_>, k: usize, depth: usize) -> Self {
        let (mr, panels) = (kernel.mr, rows.rows.div_ceil(kernel.mr));
        let count = if kernel.word == Word::Two { depth / 2 } else { depth / 4 };
        let (mut data, mut scales) = (Output::new(panels * count * mr), vec![0.0; panels * mr]);
        let shared = (data.shared(), Shared::of(&mut scales));
        parallel::each(panels, |panel| {
            let (words, scales) = shared;
            // SAFETY: each task writes what belongs to its own panel.
            let (words, scales) =
                unsafe { (words.slice(panel * count * mr, count * mr), scales.slice(panel * mr, mr)) };
            let mut integers = vec![0; depth];
            for (lane, scale) in scales.iter_mut().enumerate() {
                // Lanes past the end repeat the last row: their results are never stored.
                let at = rows.start((panel * mr + lane).min(rows.rows - 1));
                pack_row(kernel.float, kernel, &rows.values[at..at + k], &mut integers, lane, words, scale);
            }
        });
        // SAFETY: every panel has all words of each of its lanes.
        Self { data: unsafe { data.finish() }, scales, count }
    }
}

versions! {
    /// Quantises a row, and puts it into lane `lane` of a panel; `integers` is working memory, zero past the row's end.
    fn pack_row(kernel: &Int8Microkernel, row: &[f32], integers: &mut [i8], lane: usize, words: &mut [u32], scale: &mut f32) = pack_row_body
}

#[inline(always)]
fn pack_row_body<L: Lanes>(
    kernel: &Int8Microkernel,
    row: &[f32],
    integers: &mut [i8],
    lane: usize,
    words: &mut [u32],
    scale: &mut f32,
) {
    *scale = quantise(row, integers);
    let mut apart = words[lane..].iter_mut().step_by(kernel.mr);
    match kernel.word {
        Word::Four => {
            for (q, word) in integers.chunks_exact(4).zip(&mut apart) {
                // The highest bit turned over: 128 more, as u8.
                *word = u32::from_le_bytes([q[0], q[1], q[2], q[3]].map(i8::cast_unsigned)) ^ 0x8080_8080;
            }
        }
        Word::Two => {
            let wide = |q: i8| u32::from(i16::from(q).cast_unsigned());
            for (q, word) in integers.chunks_exact(2).zip(&mut apart) {
                *word = wide(q[0]) | wide(q[1]) << 16;
            }
        }
        Word::Run => {
            let count = integers.len() / 4;
            for (q, word) in integers.chunks_exact(4).zip(&mut words[lane * count..]) {
                *word = u32::from_ne_bytes([q[0], q[1], q[2], q[3]].map(i8::cast_unsigned));
            }
        }
    }
}

versions! {
    /// Sums of integers times the scales of their row and columns.
    fn scaled(sums: &[i32], row: f32, columns: &[f32], to: &mut [f32]) = scaled_body
}

#[inline(always)]
fn scaled_body<L: Lanes>(sums: &[i32], row: f32, columns: &[f32], to: &mut [f32]) {
    for ((to, sum), column) in to.iter_mut().zip(sums).zip(columns) {
        *to = *sum as f32 * row * column;
    }
}

/// C = A·B with `n` columns, then the epilogue. Rows of A have their k side by side; row i of C begins at `c.at(i·ldc)`.
///
/// # Safety
/// `c` must be writable at all rows of n values (n/2 if gated), `ldc` apart, and used by nobody else meanwhile; `b` must be
/// packed for this microkernel.
#[allow(unsafe_code)]
pub(crate) unsafe fn product(
    kernel: &Int8Microkernel,
    rows: &Rows<'_>,
    b: &Packed,
    (n, k): (usize, usize),
    (c, ldc): (Shared, usize),
    epilogue: Epilogue<'_>,
) {
    let (m, mr, nr, depth) = (rows.rows, kernel.mr, kernel.float.nr, b.depth);
    let a = Words::new(kernel, rows, k, depth);
    let task_m = parallel::even(m, BLOCK / (4 * a.count.max(1)), mr);
    let row_tasks = m.div_ceil(task_m).max(1);
    // As wide as C, unless there are too few rows to keep all threads busy.
    let task_n = parallel::even(n, n.div_ceil((4 * parallel::threads()).div_ceil(row_tasks)).max(2 * nr), nr);
    parallel::each(row_tasks * n.div_ceil(task_n), |task| {
        let (column, row) = (task / row_tasks, task % row_tasks);
        let ms = row * task_m..((row + 1) * task_m).min(m);
        let ns = column * task_n..((column + 1) * task_n).min(n);
        // Where sums become f32: in C, or aside if C has no room for values and gates.
        let mut aside = epilogue.gated.then(|| lease(ms.len() * nr));
        for panel in ns.start / nr..ns.end.div_ceil(nr) {
            let columns = panel * nr..((panel + 1) * nr).min(n);
            let (to, ld) = match &mut aside {
                Some(aside) => (Shared::of(aside), nr),
                None => (c.from(ms.start * ldc + columns.start), ldc),
            };
            let b_panel = &b.data[panel * depth * nr..][..depth * nr];
            let starts = &b.starts[panel * nr..][..nr];
            let mut tile = [0; TILE];
            for first in ms.clone().step_by(mr) {
                let a_panel = &a.data[first * a.count..][..a.count * mr];
                let tile_at = tile.as_mut_ptr();
                // SAFETY: panels and starts were just cut to size; a tile holds mr·nr ≤ TILE values.
                unsafe { kernel.tile(a.count, a_panel.as_ptr(), b_panel.as_ptr(), starts.as_ptr(), tile_at) };
                for (row, sums) in (first..ms.end).zip(tile.chunks_exact(nr).take(mr)) {
                    // SAFETY: this task's rows and columns, which stop at the end of C; or its own memory aside.
                    let to = unsafe { to.slice((row - ms.start) * ld, columns.len()) };
                    scaled(kernel.float, sums, a.scales[row], &b.scales[columns.clone()], to);
                }
            }
            let sums = Sums { at: to.at(0), ld, rows: ms.clone(), columns };
            epilogue.apply(kernel.float, sums, n, (c, ldc));
        }
    });
}
