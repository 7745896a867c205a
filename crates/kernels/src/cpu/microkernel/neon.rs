//! The microkernel for NEON, which every aarch64 processor has: 6 × 16 with 24 accumulators.

use std::arch::aarch64::{float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_n_f32, vld1q_f32, vst1q_f32};

use super::Microkernel;

const MR: usize = 6;
const NR: usize = 16;

pub(super) static MICRO: Microkernel = Microkernel {
    mr: MR,
    nr: NR,
    name: "neon",
    wide: false,
    tiles: &[tile::<1>, tile::<2>, tile::<3>, tile::<4>, tile::<5>, tile::<MR>],
};

#[allow(unsafe_code)]
unsafe fn tile<const ROWS: usize>(
    k: usize,
    (a, b): (*const f32, *const f32),
    (c, ldc): (*mut f32, usize),
    accumulate: bool,
) {
    // SAFETY: the promise of `Microkernel::tile`: k·6 values at `a`, k·16 at `b`, ROWS rows of 16 at `c`.
    unsafe {
        let mut sums = [[vdupq_n_f32(0.0); NR / 4]; ROWS];
        for i in 0..k {
            let mut columns: [float32x4_t; NR / 4] = [vdupq_n_f32(0.0); NR / 4];
            for (q, column) in columns.iter_mut().enumerate() {
                *column = vld1q_f32(b.add(NR * i + 4 * q));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = *a.add(MR * i + row);
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = vfmaq_n_f32(*sum, column, x);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (q, sum) in sums.iter().enumerate() {
                let to = c.add(row * ldc + 4 * q);
                let sum = if accumulate { vaddq_f32(*sum, vld1q_f32(to)) } else { *sum };
                vst1q_f32(to, sum);
            }
        }
    }
}
