//! AVX2 and AVX-512 microkernels.

use std::arch::x86_64::*;

use super::Microkernel;

/// A tile of 1 to `$mr` rows of two vectors: one function for each number of rows.
macro_rules! tiles {
    (
        $(#[$doc:meta])* $name:ident, $features:literal, $mr:literal x $lanes:literal,
        $zero:ident, $load:ident, $splat:ident, $fma:ident, $add:ident, $store:ident
    ) => {
        $(#[$doc])*
        #[target_feature(enable = $features)]
        #[allow(unsafe_code)]
        unsafe fn $name<const ROWS: usize>(
            k: usize,
            (mut a, mut b): (*const f32, *const f32),
            (c, ldc): (*mut f32, usize),
            accumulate: bool,
        ) {
            const NR: usize = 2 * $lanes;
            let mut sums = [[$zero(); 2]; ROWS];
            // SAFETY: k·MR values at `a`, k·NR at `b`, ROWS rows of NR at `c`, promised by the caller; prefetches cannot
            // fault.
            unsafe {
                for row in 0..ROWS {
                    _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(row * ldc).cast());
                    _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(row * ldc + 16).cast());
                }
                macro_rules! step {
                    ($i:literal) => {
                        let (b0, b1) = ($load(b.add(NR * $i)), $load(b.add(NR * $i + $lanes)));
                        for (row, sum) in sums.iter_mut().enumerate() {
                            let x = $splat(*a.add($mr * $i + row));
                            sum[0] = $fma(x, b0, sum[0]);
                            sum[1] = $fma(x, b1, sum[1]);
                        }
                    };
                }
                for _ in 0..k / 4 {
                    step!(0);
                    step!(1);
                    step!(2);
                    step!(3);
                    a = a.add(4 * $mr);
                    b = b.add(4 * NR);
                }
                for _ in 0..k % 4 {
                    step!(0);
                    a = a.add($mr);
                    b = b.add(NR);
                }
                for (row, sum) in sums.iter().enumerate() {
                    for (half, sum) in sum.iter().enumerate() {
                        let to = c.add(row * ldc + $lanes * half);
                        let sum = if accumulate { $add(*sum, $load(to)) } else { *sum };
                        $store(to, sum);
                    }
                }
            }
        }
    };
}

tiles! {
    /// The promise is that of [`Microkernel::tile`], with AVX2 and FMA detected.
    of_avx2, "avx2,fma", 6 x 8,
    _mm256_setzero_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps, _mm256_storeu_ps
}

tiles! {
    /// The promise is that of [`Microkernel::tile`], with AVX-512F detected.
    of_avx512, "avx512f", 8 x 16,
    _mm512_setzero_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_storeu_ps
}

pub(super) static AVX2: Microkernel = Microkernel {
    mr: 6,
    nr: 16,
    name: "avx2",
    wide: true,
    tiles: &[of_avx2::<1>, of_avx2::<2>, of_avx2::<3>, of_avx2::<4>, of_avx2::<5>, of_avx2::<6>],
};

pub(super) static AVX512: Microkernel = Microkernel {
    mr: 8,
    nr: 32,
    name: "avx512",
    wide: true,
    tiles: &[
        of_avx512::<1>,
        of_avx512::<2>,
        of_avx512::<3>,
        of_avx512::<4>,
        of_avx512::<5>,
        of_avx512::<6>,
        of_avx512::<7>,
        of_avx512::<8>,
    ],
};
