//! What happens to the sums of a product while they are in the cache: bias, skip, activation, GEGLU.

use std::ops::Range;

use super::lanes::{Lanes, versions};
use super::math::{Function, by_activation, gelu};
use super::microkernel::Microkernel;
use super::scratch::Shared;
use crate::Activation;

/// What happens to C after the product.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    /// One value for each row (m), added to all of it.
    pub(crate) row_bias: Option<&'a [f32]>,
    /// One value for each column (n), added to all of it.
    pub(crate) column_bias: Option<&'a [f32]>,
    /// Values laid out like C, added to it.
    pub(crate) residual: Option<&'a [f32]>,
    /// Function applied last.
    pub(crate) activation: Option<Activation>,
    /// GEGLU instead of all the above but the column bias: every panel of B has values in its first half and their gates
    /// in its second, and C has half as many columns. `n` is a multiple of nr.
    pub(crate) gated: bool,
}

/// Complete sums of a product, over some of its rows and columns.
pub(crate) struct Sums {
    /// The first one, and the distance between rows.
    pub(crate) at: *mut f32,
    pub(crate) ld: usize,
    /// Which rows and columns of the product these are; the columns of one panel.
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Epilogue<'_> {
    /// Finishes sums of a product with `n` columns, on one thread. Unless gated they lie in C already; else what comes of
    /// them goes there, to rows `ldc` apart. The calling task alone uses both places.
    pub(crate) fn apply(self, microkernel: &Microkernel, sums: Sums, n: usize, (c, ldc): (Shared, usize)) {
        let Sums { at, ld, rows, columns } = sums;
        if self.gated {
            let half = microkernel.nr / 2;
            let own = columns.start / 2..columns.start / 2 + half;
            let bias = self.column_bias.map(|bias| {
                let (values, gates) = bias.split_at(n / 2);
                (&values[own.clone()], &gates[own.clone()])
            });
            let to = c.at(rows.start * ldc + own.start);
            gate(microkernel, Gated { sums: at, ld, rows: rows.len(), half, bias, to, ldc });
        } else {
            let strip = Strip {
                c: at,
                ldc,
                rows: rows.len(),
                columns: columns.len(),
                row_bias: self.row_bias.map(|bias| &bias[rows.clone()]),
                column_bias: self.column_bias.map(|bias| &bias[columns.clone()]),
                residual: self.residual.map(|residual| &residual[rows.start * ldc + columns.start..]),
                activation: self.activation,
            };
            finish(microkernel, strip);
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
    residual: Option<&'a [f32]>,
    activation: Option<Activation>,
}

versions! {
    fn finish(strip: Strip<'_>) = finish_body
}

#[inline(always)]
fn finish_body<L: Lanes>(strip: Strip<'_>) {
    let adds = strip.row_bias.is_some() || strip.column_bias.is_some() || strip.residual.is_some();
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
        let residual = strip.residual.map(|residual| &residual[row * strip.ldc..][..strip.columns]);
        let mut at = 0;
        while at + L::N <= values.len() {
            // SAFETY: N values from `at` lie inside `values`, and inside column bias and residual, which are as long.
            unsafe {
                let mut x = L::load(values.as_ptr().add(at)).add(bias);
                if let Some(columns) = strip.column_bias {
                    x = x.add(L::load(columns[at..at + L::N].as_ptr()));
                }
                if let Some(residual) = residual {
                    x = x.add(L::load(residual[at..at + L::N].as_ptr()));
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
            if let Some(residual) = residual {
                x = x.add(L::load_part(&residual[at..]));
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
