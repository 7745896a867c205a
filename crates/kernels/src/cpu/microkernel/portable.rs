//! The microkernel without intrinsics: 4 × 8, small enough for sixteen registers of four lanes.

use super::Microkernel;
use crate::cpu::lanes::{Four, Lanes};

const MR: usize = 4;

pub(super) static MICRO: Microkernel = Microkernel {
    mr: MR,
    nr: 8,
    name: "portable",
    wide: false,
    tiles: &[tile::<1>, tile::<2>, tile::<3>, tile::<MR>],
};

#[allow(unsafe_code)]
unsafe fn tile<const ROWS: usize>(
    k: usize,
    (a, b): (*const f32, *const f32),
    (c, ldc): (*mut f32, usize),
    accumulate: bool,
) {
    let mut sums = [[Four::splat(0.0); 2]; ROWS];
    // SAFETY: the promise of `Microkernel::tile`: k·4 values at `a`, k·8 at `b`, ROWS rows of 8 at `c`.
    unsafe {
        for i in 0..k {
            let (b0, b1) = (Four::load(b.add(8 * i)), Four::load(b.add(8 * i + 4)));
            for (row, sum) in sums.iter_mut().enumerate() {
                let x = Four::splat(*a.add(MR * i + row));
                sum[0] = x.mul_add(b0, sum[0]);
                sum[1] = x.mul_add(b1, sum[1]);
            }
        }
        for (row, sum) in sums.iter().enumerate() {
            for (half, sum) in sum.iter().enumerate() {
                let to = c.add(row * ldc + 4 * half);
                let sum = if accumulate { sum.add(Four::load(to)) } else { *sum };
                sum.store(to);
            }
        }
    }
}
