//! C (m × n) = A (m × k)·B (k × n), with bias and activation put on while C is in the cache.
//!
//! Blocking after Goto and van de Geijn (2008): a task computes a block of C over all of k in runs of [`KC`]; a block of
//! A (`mc` × kc) stays in the L2 cache, a panel of B (kc × nr) in the L1 cache, and tiles of C in registers. Each operand
//! lies packed already or is packed into the task's working memory.

use std::ops::Range;

use super::lanes::{Lanes, versions};
use super::math::{Function, by_activation, gelu};
use super::micro::Micro;
use super::pack::{Panels, Space};
use super::parallel;
use super::scratch::{Shared, lease};
use crate::Activation;

/// Longest run of k: 320 · 16 columns of B are 20 KiB.
pub(crate) const KC: usize = 320;
/// Largest tile of any micro-kernel.
const TILE: usize = 8 * 32;

/// What happens to C after the product.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    /// One value for each row (m), added to all of it.
    pub(crate) row_bias: Option<&'a [f32]>,
    /// One value for each column (n), added to all of it.
    pub(crate) column_bias: Option<&'a [f32]>,
    /// Values laid out like C, added to it.
    pub(crate) addend: Option<&'a [f32]>,
    /// Function applied last.
    pub(crate) activation: Option<Activation>,
    /// GEGLU instead of all the above but the column bias: every panel of B has values in its first half and their gates
    /// in its second, and C has half as many columns. `n` is a multiple of nr.
    pub(crate) gated: bool,
}

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
    pub(crate) fn rows_first(micro: &Micro, m: usize, n: usize, k: usize) -> Self {
        let mc = parallel::even(m, 192, micro.mr);
        let rows = m.div_ceil(mc).max(1);
        let columns = (4 * parallel::threads()).div_ceil(rows).max(n.div_ceil(1024));
        let task_n = parallel::even(n, n.div_ceil(columns).max(2 * micro.nr), micro.nr);
        Self { m, n, k, mc, task_m: mc, task_n }
    }

    /// For an A that lies packed (weights) and a B that is packed on the way (pixels).
    pub(crate) fn columns_first(micro: &Micro, m: usize, n: usize, k: usize) -> Self {
        let task_n = parallel::even(n, 128, micro.nr);
        let columns = n.div_ceil(task_n).max(1);
        let rows = (4 * parallel::threads()).div_ceil(columns);
        let task_m = parallel::even(m, m.div_ceil(rows).max(4 * micro.mr), micro.mr);
        Self { m, n, k, mc: parallel::even(task_m, 96, micro.mr), task_m, task_n }
    }
}

/// C = A·B, then the epilogue. Row i of C begins at `c.at(i·ldc)`.
///
/// # Safety
/// `c` must be writable at m rows of n values (n/2 if gated), `ldc` apart, and used by nobody else meanwhile; the panels of `a` must
/// have `micro.mr` lanes and those of `b` `micro.nr`.
#[allow(unsafe_code)]
pub(crate) unsafe fn gemm(
    micro: &Micro,
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
        unsafe { block(micro, shape, (m, n), a, b, (c, ldc), epilogue) }
    });
}

/// One block of C over all of k, on one thread.
#[allow(unsafe_code)]
unsafe fn block(
    micro: &Micro,
    shape: Shape,
    (m, n): (Range<usize>, Range<usize>),
    a: &impl Panels,
    b: &impl Panels,
    (c, ldc): (Shared, usize),
    epilogue: Epilogue<'_>,
) {
    let (mr, nr) = (micro.mr, micro.nr);
    let (mut a_space, mut b_space) = (Space::default(), Space::default());
    let (mut a_wide, mut b_wide) = (Space::default(), Space::default());
    let kc = parallel::even(shape.k, KC, 4);
    let b_panels = n.start / nr..n.end.div_ceil(nr);
    // Where sums are kept between runs of k: in C, or aside if C has no room for values and gates.
    let mut aside = lease(if epilogue.gated { m.len() * n.len() } else { 0 });
    let (sums, ld) = match epilogue.gated {
        true => (Shared::of(&mut aside), n.len()),
        false => (c.from(m.start * ldc + n.start), ldc),
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
            let (a_data, a_stride) = a_block.widened(micro, a_panels.len(), ks.len() * mr, &mut a_wide);
            for (j, column) in b_panels.clone().enumerate() {
                let b_panel = b_block.panel(micro, j, ks.len() * nr, &mut b_wide);
                let columns = nr.min(n.end - column * nr);
                for (i, row) in a_panels.clone().enumerate() {
                    let a_panel = &a_data[i * a_stride..][..ks.len() * mr];
                    let rows = mr.min(m1 - row * mr);
                    let to = sums.at((row * mr - m.start) * ld + column * nr - n.start);
                    // SAFETY: both panels were just cut to size; rows and columns stop at the end of C.
                    unsafe {
                        if rows == mr && columns == nr {
                            micro.tile(ks.len(), a_panel.as_ptr(), b_panel.as_ptr(), to, ld, k0 > 0);
                        } else {
                            partial(micro, (a_panel, b_panel), (rows, columns), (to, ld), k0 > 0);
                        }
                    }
                }
                if !last {
                    continue;
                }
                let strip = sums.at((m0 - m.start) * ld + column * nr - n.start);
                if epilogue.gated {
                    let half = nr / 2;
                    let bias = epilogue.column_bias.map(|bias| {
                        let (values, gates) = bias.split_at(shape.n / 2);
                        (&values[column * half..][..half], &gates[column * half..][..half])
                    });
                    let to = c.at(m0 * ldc + column * half);
                    gate(micro, Gated { sums: strip, ld, rows: m1 - m0, half, bias, to, ldc });
                } else {
                    let (row, column) = (m0, column * nr);
                    let strip = Strip {
                        c: strip,
                        ldc,
                        rows: m1 - m0,
                        columns,
                        row_bias: epilogue.row_bias.map(|bias| &bias[row..m1]),
                        column_bias: epilogue.column_bias.map(|bias| &bias[column..column + columns]),
                        addend: epilogue.addend.map(|addend| &addend[row * ldc + column..]),
                        activation: epilogue.activation,
                    };
                    finish(micro, strip);
                }
            }
        }
        if last {
            break;
        }
        k0 = ks.end;
    }
}

/// A tile of which only some rows and columns are wanted.
///
/// # Safety
/// `to` must be writable at `rows` rows of `columns` values, `ldc` apart.
#[allow(unsafe_code)]
unsafe fn partial(
    micro: &Micro,
    (a, b): (&[f32], &[f32]),
    (rows, columns): (usize, usize),
    (to, ldc): (*mut f32, usize),
    accumulate: bool,
) {
    let mut tile = [0f32; TILE];
    // SAFETY: the panels have the same k; the tile holds mr · nr ≤ TILE values, and C the rows and columns asked for.
    unsafe {
        micro.tile(b.len() / micro.nr, a.as_ptr(), b.as_ptr(), tile.as_mut_ptr(), micro.nr, false);
        for row in 0..rows {
            for column in 0..columns {
                let to = to.add(row * ldc + column);
                let value = tile[row * micro.nr + column];
                to.write(if accumulate { value + *to } else { value });
            }
        }
    }
}

/// Some rows and columns of C whose sums are complete.
#[derive(Clone, Copy)]
struct Strip<'a> {
    c: *mut f32,
    ldc: usize,
    rows: usize,
    columns: usize,
    row_bias: Option<&'a [f32]>,
    column_bias: Option<&'a [f32]>,
    /// From this strip's first value on, with rows as far apart.
    addend: Option<&'a [f32]>,
    activation: Option<Activation>,
}

versions! {
    fn finish(strip: Strip<'_>) = finish_body
}

#[inline(always)]
fn finish_body<L: Lanes>(strip: Strip<'_>) {
    let adds = strip.row_bias.is_some() || strip.column_bias.is_some() || strip.addend.is_some();
    if adds || strip.activation.is_some() {
        by_activation!(strip.activation, f => finish_rows::<L>(strip, f))
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn finish_rows<L: Lanes>(strip: Strip<'_>, f: impl Function) {
    for row in 0..strip.rows {
        let bias = L::splat(strip.row_bias.map_or(0.0, |bias| bias[row]));
        // SAFETY: the strip lies inside the block of C that this task alone writes, and all of it has been written.
        let values = unsafe { std::slice::from_raw_parts_mut(strip.c.add(row * strip.ldc), strip.columns) };
        let addend = strip.addend.map(|addend| &addend[row * strip.ldc..][..strip.columns]);
        let mut at = 0;
        while at + L::N <= values.len() {
            // SAFETY: N values from `at` lie inside `values`, and inside column bias and addend, which are as long.
            unsafe {
                let mut x = L::load(values.as_ptr().add(at)).add(bias);
                if let Some(columns) = strip.column_bias {
                    x = x.add(L::load(columns[at..at + L::N].as_ptr()));
                }
                if let Some(addend) = addend {
                    x = x.add(L::load(addend[at..at + L::N].as_ptr()));
                }
                f.of(x).store(values.as_mut_ptr().add(at));
            }
            at += L::N;
        }
        if at < values.len() {
            let mut x = L::load_part(&values[at..]).add(bias);
            if let Some(columns) = strip.column_bias {
                x = x.add(L::load_part(&columns[at..]));
            }
            if let Some(addend) = addend {
                x = x.add(L::load_part(&addend[at..]));
            }
            f.of(x).store_part(&mut values[at..]);
        }
    }
}

/// Complete sums of one panel's values and gates, and where their products go.
#[derive(Clone, Copy)]
struct Gated<'a> {
    sums: *const f32,
    ld: usize,
    rows: usize,
    /// Values, and as many gates.
    half: usize,
    bias: Option<(&'a [f32], &'a [f32])>,
    to: *mut f32,
    ldc: usize,
}

versions! {
    fn gate(strip: Gated<'_>) = gate_body
}

#[inline(always)]
#[allow(unsafe_code)]
fn gate_body<L: Lanes>(strip: Gated<'_>) {
    assert!(strip.half.is_multiple_of(L::N));
    for at in (0..strip.half).step_by(L::N) {
        let bias = match strip.bias {
            Some((values, gates)) => {
                [L::load_part(&values[at..at + L::N]), L::load_part(&gates[at..at + L::N])]
            }
            None => [L::splat(0.0); 2],
        };
        for row in 0..strip.rows {
            // SAFETY: `rows` rows of 2·half sums, `ld` apart, all written; `to` is `rows` rows of `half` values that
            // this task alone writes.
            unsafe {
                let from = strip.sums.add(row * strip.ld + at);
                let value = L::load(from).add(bias[0]);
                let gate = L::load(from.add(strip.half)).add(bias[1]);
                value.mul(gelu(gate)).store(strip.to.add(row * strip.ldc + at));
            }
        }
    }
}
