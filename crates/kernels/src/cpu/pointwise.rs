//! Functions of single values, over all threads.

use super::lanes::{Lanes, versions};
use super::math::{activate_slice, gelu};
use super::microkernel::Microkernel;
use super::parallel;
use super::scratch::Output;
use crate::Activation;

/// Values of a task: 256 KiB in and out.
const TASK: usize = 1 << 16;

/// The activation of every value.
#[allow(unsafe_code)]
pub(crate) fn activate(microkernel: &Microkernel, x: &[f32], activation: Activation) -> Vec<f32> {
    let mut output = Output::new(x.len());
    let out = output.shared();
    parallel::each(x.len().div_ceil(TASK), |task| {
        let values = &x[task * TASK..((task + 1) * TASK).min(x.len())];
        // SAFETY: each task writes its own run.
        activate_slice(microkernel, values, unsafe { out.slice(task * TASK, values.len()) }, activation);
    });
    // SAFETY: the tasks cover all values.
    unsafe { output.finish() }
}

/// Rows of 2·`half` values → rows of `half`: first half · gelu(second half).
#[allow(unsafe_code)]
pub(crate) fn geglu(microkernel: &Microkernel, x: &[f32], half: usize) -> Vec<f32> {
    let rows = x.len() / (2 * half).max(1);
    let per_task = (TASK / half.max(1)).max(1);
    let mut output = Output::new(rows * half);
    let out = output.shared();
    parallel::each(rows.div_ceil(per_task), |task| {
        for row in task * per_task..((task + 1) * per_task).min(rows) {
            let (value, gate) = x[row * 2 * half..][..2 * half].split_at(half);
            // SAFETY: each task writes its own rows.
            gated(microkernel, value, gate, unsafe { out.slice(row * half, half) });
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
