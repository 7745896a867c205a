//! Functions of single values, over all threads.

use super::lanes::{Lanes, versions};
use super::math::{activate_slice, gelu};
use super::micro::Micro;
use super::parallel;
use super::scratch::Output;
use crate::Activation;

/// Values of a task: 256 KiB in and out.
const TASK: usize = 1 << 16;

/// The activation of every value.
#[allow(unsafe_code)]
pub(crate) fn activate(micro: &Micro, x: &[f32], activation: Activation) -> Vec<f32> {
    let mut output = Output::new(x.len());
    let out = output.shared();
    parallel::each(x.len().div_ceil(TASK), |task| {
        let values = &x[task * TASK..((task + 1) * TASK).min(x.len())];
        // SAFETY: each task writes its own run.
        activate_slice(micro, values, unsafe { out.slice(task * TASK, values.len()) }, activation);
    });
    // SAFETY: the tasks cover all values.
    unsafe { output.finish() }
}

/// Rows of 2·`half` values → rows of `half`: first half · gelu(second half).
#[allow(unsafe_code)]
pub(crate) fn geglu(micro: &Micro, x: &[f32], half: usize) -> Vec<f32> {
    let rows = x.len() / (2 * half).max(1);
    let per_task = (TASK / half.max(1)).max(1);
    let mut output = Output::new(rows * half);
    let out = output.shared();
    parallel::each(rows.div_ceil(per_task), |task| {
        for row in task * per_task..((task + 1) * per_task).min(rows) {
            let (value, gate) = x[row * 2 * half..][..2 * half].split_at(half);
            // SAFETY: each task writes its own rows.
            gated(micro, value, gate, unsafe { out.slice(row * half, half) });
        }
    });
    // SAFETY: the tasks cover all rows.
    unsafe { output.finish() }
}

versions! {
    fn gated(value: &[f32], gate: &[f32], y: &mut [f32]) = gated_body
}

#[inline(always)]
#[allow(unsafe_code)]
fn gated_body<L: Lanes>(value: &[f32], gate: &[f32], y: &mut [f32]) {
    let len = y.len();
    assert!(value.len() == len && gate.len() == len);
    let mut at = 0;
    while at + L::N <= len {
        // SAFETY: N values from `at` lie inside all three slices.
        unsafe {
            let gate = gelu(L::load(gate.as_ptr().add(at)));
            L::load(value.as_ptr().add(at)).mul(gate).store(y.as_mut_ptr().add(at));
        }
        at += L::N;
    }
    if at < len {
        L::load_part(&value[at..]).mul(gelu(L::load_part(&gate[at..]))).store_part(&mut y[at..]);
    }
}

/// Planes of `from.0` × `from.1` → `to.0` × `to.1`, source floor(i·in/out).
#[allow(unsafe_code)]
pub(crate) fn upsample_nearest(
    x: &[f32],
    planes: usize,
    from: (usize, usize),
    to: (usize, usize),
) -> Vec<f32> {
    let (from_size, to_size) = (from.0 * from.1, to.0 * to.1);
    let double = to.1 == 2 * from.1;
    // The rounding of candle's and torch's form: the index is taken in floating point.
    let source = |i: usize, from: usize, to: usize| {
        ((i as f64 * (from as f64 / to as f64)) as usize).min(from.saturating_sub(1))
    };
    let columns: Vec<usize> = (0..to.1).map(|i| source(i, from.1, to.1)).collect();
    let mut output = Output::new(planes * to_size);
    let out = output.shared();
    parallel::each(planes, |plane| {
        let x = &x[plane * from_size..][..from_size];
        // SAFETY: each task writes its own plane.
        let y = unsafe { out.slice(plane * to_size, to_size) };
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
    });
    // SAFETY: every plane was written whole.
    unsafe { output.finish() }
}
