//! C (m × n) = A (m × k)·B (k × n), with bias and activation put on while C is in the cache.
//!
//! Blocking after Goto and van de Geijn (2008): a task computes a block of C over all of k in runs of [`KC`]; a block of
//! A (`mc` × kc) stays in the L2 cache, a panel of B (kc × nr) in the L1 cache, and tiles of C in registers. Each operand
//! lies packed already or is packed into the task's working memory.

use std::ops::Range;

use super::epilogue::{Epilogue, Sums};
use super::microkernel::Microkernel;
use super::pack::{Panels, Space};
use super::parallel;
use super::scratch::{Shared, lease};

/// Longest run of k: 320 · 16 columns of B are 20 KiB.
pub(crate) const KC: usize = 320;
/// Rows of A that lie in the L2 cache at a time while activations are A: 192 · [`KC`] values are 240 KiB.
const ACTIVATION_ROWS: usize = 192;
/// Most columns of C in a task that packs activations.
const WIDEST_TASK: usize = 1024;
/// Columns of C, pixels of a convolution, in a task that packs windows.
const PIXELS: usize = 128;
/// Rows of A that lie in the L2 cache at a time while weights are A: 96 · [`KC`] values are 120 KiB, beside
/// 160 KiB of a block of B.
const WEIGHT_ROWS: usize = 96;
/// Tasks for each thread, so that the others take over from one that is slowed down.
const TASKS: usize = 4;
/// Largest tile of any microkernel.
const TILE: usize = 8 * 32;

/// Sizes of a product and of its blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Rows of a block of A, and of C in one task; multiples of mr.
    pub(crate) mc: usize,
    pub(crate) task_m: usize,
    /// Columns of C in one task; a multiple of nr.
    pub(crate) task_n: usize,
}

impl Shape {
    /// For an A that is packed on the way (activations) and a B that lies packed (weights): tasks are as wide as C, so
    /// that A is packed once, unless there are too few rows to keep all threads busy.
    pub(crate) fn rows_first(microkernel: &Microkernel, m: usize, n: usize, k: usize) -> Self {
        let mc = parallel::even(m, ACTIVATION_ROWS, microkernel.mr);
        let rows = m.div_ceil(mc).max(1);
        let columns = (TASKS * parallel::threads()).div_ceil(rows).max(n.div_ceil(WIDEST_TASK));
        let task_n = parallel::even(n, n.div_ceil(columns).max(2 * microkernel.nr), microkernel.nr);
        Self { m, n, k, mc, task_m: mc, task_n }
    }

    /// For an A that lies packed (weights) and a B that is packed on the way (pixels).
    pub(crate) fn columns_first(microkernel: &Microkernel, m: usize, n: usize, k: usize) -> Self {
        let task_n = parallel::even(n, PIXELS, microkernel.nr);
        let columns = n.div_ceil(task_n).max(1);
        let least = (TASKS * parallel::threads()).div_ceil(columns);
        // The fewest rows of tasks (each packs its windows anew) of those that keep threads waiting the least.
        let longest = |rows: &usize| (columns * rows).div_ceil(parallel::threads()) as f32 / *rows as f32;
        let rows = (least..=2 * least).min_by(|a, b| longest(a).total_cmp(&longest(b))).unwrap_or(least);
        let task_m = parallel::even(m, m.div_ceil(rows).max(4 * microkernel.mr), microkernel.mr);
        Self { m, n, k, mc: parallel::even(task_m, WEIGHT_ROWS, microkernel.mr), task_m, task_n }
    }
}

/// C = A·B, then the epilogue. Row i of C begins at `c.at(i·ldc)`.
///
/// # Safety
/// `c` must be writable at m rows of n values (n/2 if gated), `ldc` apart, and used by nobody else meanwhile; the panels of `a` must
/// have `microkernel.mr` lanes and those of `b` `microkernel.nr`.
#[allow(unsafe_code)]
pub(crate) unsafe fn gemm(
    microkernel: &Microkernel,
    shape: Shape,
    a: &impl Panels,
    b: &impl Panels,
    (c, ldc): (Shared, usize),
    epilogue: Epilogue<'_>,
) {
    let rows = shape.m.div_ceil(shape.task_m);
    let columns = shape.n.div_ceil(shape.task_n);
    parallel::each(rows * columns, |task| {
        // Neighbouring tasks share a block of B, which threads then find in the L3 cache.
        let (column, row) = (task / rows, task % rows);
        let m = row * shape.task_m..((row + 1) * shape.task_m).min(shape.m);
        let n = column * shape.task_n..((column + 1) * shape.task_n).min(shape.n);
        // SAFETY: tasks write disjoint blocks of C; the rest is the caller's promise.
        unsafe { block(microkernel, shape, (m, n), a, b, (c, ldc), epilogue) }
    });
}

/// One block of C over all of k, on one thread.
#[allow(unsafe_code)]
unsafe fn block(
    microkernel: &Microkernel,
    shape: Shape,
    (m, n): (Range<usize>, Range<usize>),
    a: &impl Panels,
    b: &impl Panels,
    (c, ldc): (Shared, usize),
    epilogue: Epilogue<'_>,
) {
    let (mr, nr) = (microkernel.mr, microkernel.nr);
    let (mut a_space, mut b_space) = (Space::default(), Space::default());
    let (mut a_wide, mut b_wide) = (Space::default(), Space::default());
    let kc = parallel::even(shape.k, KC, 4);
    let b_panels = n.start / nr..n.end.div_ceil(nr);
    // Where sums are kept between runs of k: in C, or aside if C has no room for values and gates.
    let mut aside = epilogue.gated.then(|| lease(m.len() * n.len()));
    let (sums, ld) = match &mut aside {
        Some(aside) => (Shared::of(aside), n.len()),
        None => (c.from(m.start * ldc + n.start), ldc),
    };
    let mut k0 = 0;
    loop {
        let ks = k0..(k0 + kc).min(shape.k);
        let last = ks.end == shape.k;
        let b_block = b.block(b_panels.clone(), ks.clone(), &mut b_space);
        for m0 in m.clone().step_by(shape.mc) {
            let m1 = (m0 + shape.mc).min(m.end);
            let a_panels = m0 / mr..m1.div_ceil(mr);
            let a_block = a.block(a_panels.clone(), ks.clone(), &mut a_space);
            let (a_data, a_stride) = a_block.widened(microkernel, a_panels.len(), ks.len() * mr, &mut a_wide);
            for (j, column) in b_panels.clone().enumerate() {
                let b_panel = b_block.panel(microkernel, j, ks.len() * nr, &mut b_wide);
                let columns = nr.min(n.end - column * nr);
                for (i, row) in a_panels.clone().enumerate() {
                    let a_panel = &a_data[i * a_stride..][..ks.len() * mr];
                    let rows = mr.min(m1 - row * mr);
                    let to = sums.at((row * mr - m.start) * ld + column * nr - n.start);
                    // SAFETY: both panels were just cut to size; rows and columns stop at the end of C.
                    unsafe {
                        if columns == nr {
                            let operands = (a_panel.as_ptr(), b_panel.as_ptr());
                            microkernel.tile(rows, ks.len(), operands, (to, ld), k0 > 0);
                        } else {
                            partial(microkernel, (a_panel, b_panel), (rows, columns), (to, ld), k0 > 0);
                        }
                    }
                }
                if last {
                    let from = sums.at((m0 - m.start) * ld + column * nr - n.start);
                    let sums =
                        Sums { at: from, ld, rows: m0..m1, columns: column * nr..column * nr + columns };
                    epilogue.apply(microkernel, sums, shape.n, (c, ldc));
                }
            }
        }
        if last {
            break;
        }
        k0 = ks.end;
    }
}

/// A tile of which only some columns are wanted.
///
/// # Safety
/// `to` must be writable at `rows` rows of `columns` values, `ldc` apart.
#[allow(unsafe_code)]
unsafe fn partial(
    microkernel: &Microkernel,
    (a, b): (&[f32], &[f32]),
    (rows, columns): (usize, usize),
    (to, ldc): (*mut f32, usize),
    accumulate: bool,
) {
    let mut tile = [0f32; TILE];
    // SAFETY: the panels have the same k; the tile holds mr · nr ≤ TILE values, and C the rows and columns asked for.
    unsafe {
        let k = b.len() / microkernel.nr;
        microkernel.tile(rows, k, (a.as_ptr(), b.as_ptr()), (tile.as_mut_ptr(), microkernel.nr), false);
        for row in 0..rows {
            for column in 0..columns {
                let to = to.add(row * ldc + column);
                let value = tile[row * microkernel.nr + column];
                to.write(if accumulate { value + *to } else { value });
            }
        }
    }
}
