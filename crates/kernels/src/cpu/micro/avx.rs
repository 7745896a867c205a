//! AVX2 and AVX-512 micro-kernels.

use std::arch::x86_64::*;

use super::Micro;

pub(super) static AVX2: Micro = Micro { mr: 6, nr: 16, name: "avx2", wide: true, tile: tile_6x16 };
pub(super) static AVX512: Micro = Micro { mr: 8, nr: 32, name: "avx512", wide: true, tile: tile_8x32 };

/// The promise is that of [`Micro::tile`], with AVX2 and FMA detected.
#[target_feature(enable = "avx2,fma")]
#[allow(unsafe_code)]
unsafe fn tile_6x16(k: usize, a: *const f32, b: *const f32, c: *mut f32, ldc: usize, accumulate: bool) {
    const MR: usize = 6;
    let mut sums = [[_mm256_setzero_ps(); 2]; MR];
    let (mut a, mut b) = (a, b);
    // SAFETY: k·6 values at `a`, k·16 at `b`, 6 rows of 16 at `c`, promised by the caller; prefetches cannot fault.
    unsafe {
        for row in 0..MR {
            _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(row * ldc).cast());
        }
        macro_rules! step {
            ($i:literal) => {
                let b0 = _mm256_loadu_ps(b.add(16 * $i));
                let b1 = _mm256_loadu_ps(b.add(16 * $i + 8));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let x = _mm256_broadcast_ss(&*a.add(MR * $i + row));
                    sum[0] = _mm256_fmadd_ps(x, b0, sum[0]);
                    sum[1] = _mm256_fmadd_ps(x, b1, sum[1]);
                }
            };
        }
        for _ in 0..k / 4 {
            step!(0);
            step!(1);
            step!(2);
            step!(3);
            a = a.add(4 * MR);
            b = b.add(4 * 16);
        }
        for _ in 0..k % 4 {
            step!(0);
            a = a.add(MR);
            b = b.add(16);
        }
        for (row, sum) in sums.iter().enumerate() {
            for (half, sum) in sum.iter().enumerate() {
                let to = c.add(row * ldc + 8 * half);
                let sum = if accumulate { _mm256_add_ps(*sum, _mm256_loadu_ps(to)) } else { *sum };
                _mm256_storeu_ps(to, sum);
            }
        }
    }
}

/// The promise is that of [`Micro::tile`], with AVX-512F detected.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
unsafe fn tile_8x32(k: usize, a: *const f32, b: *const f32, c: *mut f32, ldc: usize, accumulate: bool) {
    const MR: usize = 8;
    let mut sums = [[_mm512_setzero_ps(); 2]; MR];
    let (mut a, mut b) = (a, b);
    // SAFETY: k·8 values at `a`, k·32 at `b`, 8 rows of 32 at `c`, promised by the caller; prefetches cannot fault.
    unsafe {
        for row in 0..MR {
            _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(row * ldc).cast());
            _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(row * ldc + 16).cast());
        }
        macro_rules! step {
            ($i:literal) => {
                let b0 = _mm512_loadu_ps(b.add(32 * $i));
                let b1 = _mm512_loadu_ps(b.add(32 * $i + 16));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.add(MR * $i + row));
                    sum[0] = _mm512_fmadd_ps(x, b0, sum[0]);
                    sum[1] = _mm512_fmadd_ps(x, b1, sum[1]);
                }
            };
        }
        for _ in 0..k / 4 {
            step!(0);
            step!(1);
            step!(2);
            step!(3);
            a = a.add(4 * MR);
            b = b.add(4 * 32);
        }
        for _ in 0..k % 4 {
            step!(0);
            a = a.add(MR);
            b = b.add(32);
        }
        for (row, sum) in sums.iter().enumerate() {
            for (half, sum) in sum.iter().enumerate() {
                let to = c.add(row * ldc + 16 * half);
                let sum = if accumulate { _mm512_add_ps(*sum, _mm512_loadu_ps(to)) } else { *sum };
                _mm512_storeu_ps(to, sum);
            }
        }
    }
}
