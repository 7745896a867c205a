//! Vectors of f32: one trait, an AVX2 form and a portable form that compilers turn into SSE2 or NEON.
//!
//! A kernel is written once over [`Lanes`] as an `#[inline(always)]` body; the `versions!` macro compiles it for AVX2 with
//! FMA and F16C and for the baseline, and chooses at run time.

use half::f16;

/// Most values of a vector of any form.
pub(super) const MOST: usize = 8;

/// `N` values of f32 that are worked on together.
///
/// # Safety
/// Loads and stores touch exactly [`Lanes::N`] values (4·N in the interleaving forms) at the given address, which the
/// caller has to own. A form may need an instruction set; whoever uses it has checked for it.
#[allow(unsafe_code)]
pub(super) trait Lanes: Copy {
    /// Values in a vector; at most [`MOST`].
    const N: usize;
    unsafe fn load(from: *const f32) -> Self;
    /// N values of f16, widened.
    unsafe fn load_half(from: *const f16) -> Self;
    unsafe fn store(self, to: *mut f32);
    fn splat(value: f32) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    /// self·b + c, fused where the processor can.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The bits of `self` plus the bits of `exponent` shifted into a float's exponent: self·2ⁿ for n in the low bits.
    fn scale_by_low_bits(self, exponent: Self) -> Self;
    /// 4·N values at `from`, value 4t + i as lane t of vector i.
    unsafe fn load_interleaved(from: *const f32) -> [Self; 4];
    /// The inverse of [`Lanes::load_interleaved`].
    unsafe fn store_interleaved(vectors: [Self; 4], to: *mut f32);

    /// Eight values at each of eight addresses, transposed: value (row, i) goes to `to[i·apart + row]`.
    unsafe fn transpose_eight(rows: [*const f32; 8], to: *mut f32, apart: usize);

    /// The values of a slice shorter than a vector, then zeros.
    #[inline(always)]
    fn load_part(from: &[f32]) -> Self {
        let mut all = [0f32; MOST];
        all[..from.len()].copy_from_slice(from);
        // SAFETY: `all` holds MOST values, at least N.
        unsafe { Self::load(all.as_ptr()) }
    }

    /// The first lanes, as many as a slice shorter than a vector takes.
    #[inline(always)]
    fn store_part(self, to: &mut [f32]) {
        let mut all = [0f32; MOST];
        // SAFETY: as in `load_part`.
        unsafe { self.store(all.as_mut_ptr()) };
        to.copy_from_slice(&all[..to.len()]);
    }
}

/// Four values in an array.
#[derive(Clone, Copy)]
pub(super) struct Four([f32; 4]);

macro_rules! four {
    ($a:expr, $b:expr, $op:expr) => {{
        let (a, b, op) = ($a.0, $b.0, $op);
        Four([op(a[0], b[0]), op(a[1], b[1]), op(a[2], b[2]), op(a[3], b[3])])
    }};
}

#[allow(unsafe_code)]
impl Lanes for Four {
    const N: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller owns four values at `from`; arrays of f32 need no further alignment.
        Self(unsafe { *from.cast::<[f32; 4]>() })
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        // SAFETY: the caller owns four values at `from`.
        Self(unsafe { *from.cast::<[f16; 4]>() }.map(f16::to_f32))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { *to.cast::<[f32; 4]>() = self.0 }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        four!(self, other, |a: f32, b: f32| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        four!(self, other, |a: f32, b: f32| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        four!(self, other, |a: f32, b: f32| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        four!(self, other, |a: f32, b: f32| a / b)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        four!(self, other, |a: f32, b: f32| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        four!(self, other, |a: f32, b: f32| if a < b { a } else { b })
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // Without the instruction a fused multiply-add is a slow library call.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            let (a, b, c) = (self.0, b.0, c.0);
            Self([
                a[0].mul_add(b[0], c[0]),
                a[1].mul_add(b[1], c[1]),
                a[2].mul_add(b[2], c[2]),
                a[3].mul_add(b[3], c[3]),
            ])
        } else {
            self.mul(b).add(c)
        }
    }

    #[inline(always)]
    fn scale_by_low_bits(self, exponent: Self) -> Self {
        four!(self, exponent, |a: f32, e: f32| f32::from_bits(a.to_bits().wrapping_add(e.to_bits() << 23)))
    }

    #[inline(always)]
    unsafe fn load_interleaved(from: *const f32) -> [Self; 4] {
        // SAFETY: the caller owns sixteen values at `from`.
        let q = unsafe { *from.cast::<[[f32; 4]; 4]>() };
        let lane = |i: usize| Self([q[0][i], q[1][i], q[2][i], q[3][i]]);
        [lane(0), lane(1), lane(2), lane(3)]
    }

    #[inline(always)]
    unsafe fn store_interleaved(v: [Self; 4], to: *mut f32) {
        let row = |i: usize| [v[0].0[i], v[1].0[i], v[2].0[i], v[3].0[i]];
        // SAFETY: the caller owns sixteen values at `to`.
        unsafe { *to.cast::<[[f32; 4]; 4]>() = [row(0), row(1), row(2), row(3)] }
    }

    #[inline(always)]
    unsafe fn transpose_eight(rows: [*const f32; 8], to: *mut f32, apart: usize) {
        for i in 0..8 {
            for (row, from) in rows.iter().enumerate() {
                // SAFETY: the caller owns eight values at each address and every place that is written.
                unsafe { *to.add(i * apart + row) = *from.add(i) };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use half::f16;

    use super::Lanes;

    /// Eight values in an AVX register; used only behind a check for AVX2, FMA and F16C.
    #[derive(Clone, Copy)]
    pub(in crate::cpu) struct Eight(__m256);

    macro_rules! op {
        ($e:expr) => {{
            // SAFETY: `Eight` is used only in functions compiled for AVX2, FMA and F16C and called after detecting them.
            Self(unsafe { $e })
        }};
    }

    #[allow(unsafe_code)]
    impl Lanes for Eight {
        const N: usize = 8;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            op!(_mm256_loadu_ps(from))
        }

        #[inline(always)]
        unsafe fn load_half(from: *const f16) -> Self {
            op!(_mm256_cvtph_ps(_mm_loadu_si128(from.cast())))
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller owns eight values at `to` and has checked for AVX.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        fn splat(value: f32) -> Self {
            op!(_mm256_set1_ps(value))
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            op!(_mm256_add_ps(self.0, other.0))
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            op!(_mm256_sub_ps(self.0, other.0))
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            op!(_mm256_mul_ps(self.0, other.0))
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            op!(_mm256_div_ps(self.0, other.0))
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            op!(_mm256_max_ps(self.0, other.0))
        }

        #[inline(always)]
        fn min(self, other: Self) -> Self {
            op!(_mm256_min_ps(self.0, other.0))
        }

        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            op!(_mm256_fmadd_ps(self.0, b.0, c.0))
        }

        #[inline(always)]
        fn scale_by_low_bits(self, exponent: Self) -> Self {
            op!(_mm256_castsi256_ps(_mm256_add_epi32(
                _mm256_castps_si256(self.0),
                _mm256_slli_epi32::<23>(_mm256_castps_si256(exponent.0)),
            )))
        }

        #[inline(always)]
        unsafe fn load_interleaved(from: *const f32) -> [Self; 4] {
            // SAFETY: the caller owns 32 values at `from` and has checked for AVX.
            unsafe {
                // Tiles t and t + 4 side by side, then a 4×4 transposition in each half.
                let pair = |t: usize| {
                    let low = _mm256_castps128_ps256(_mm_loadu_ps(from.add(4 * t)));
                    _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(from.add(4 * t + 16)))
                };
                transpose([pair(0), pair(1), pair(2), pair(3)]).map(Self)
            }
        }

        #[inline(always)]
        unsafe fn store_interleaved(v: [Self; 4], to: *mut f32) {
            // SAFETY: the caller owns 32 values at `to` and has checked for AVX.
            unsafe {
                let b = transpose(v.map(|v| v.0));
                _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x20>(b[0], b[1]));
                _mm256_storeu_ps(to.add(8), _mm256_permute2f128_ps::<0x20>(b[2], b[3]));
                _mm256_storeu_ps(to.add(16), _mm256_permute2f128_ps::<0x31>(b[0], b[1]));
                _mm256_storeu_ps(to.add(24), _mm256_permute2f128_ps::<0x31>(b[2], b[3]));
            }
        }

        #[inline(always)]
        unsafe fn transpose_eight(rows: [*const f32; 8], to: *mut f32, apart: usize) {
            // SAFETY: the caller's promise.
            unsafe { transpose_8x8(rows, to, apart) }
        }
    }

    /// Two 4×4 transpositions side by side give columns 0 to 3, two more columns 4 to 7.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn transpose_8x8(rows: [*const f32; 8], to: *mut f32, apart: usize) {
        // SAFETY: the caller owns eight values at each address and every place that is written, and has checked for AVX.
        unsafe {
            for half in 0..2 {
                let pair = |i: usize| {
                    let low = _mm256_castps128_ps256(_mm_loadu_ps(rows[i].add(4 * half)));
                    _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(rows[i + 4].add(4 * half)))
                };
                let b = transpose([pair(0), pair(1), pair(2), pair(3)]);
                for (i, column) in b.into_iter().enumerate() {
                    _mm256_storeu_ps(to.add((4 * half + i) * apart), column);
                }
            }
        }
    }

    /// A 4×4 transposition in each half.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn transpose(b: [__m256; 4]) -> [__m256; 4] {
        // SAFETY: register operations of AVX, for which the caller has checked.
        unsafe {
            let t = [
                _mm256_unpacklo_ps(b[0], b[1]),
                _mm256_unpackhi_ps(b[0], b[1]),
                _mm256_unpacklo_ps(b[2], b[3]),
                _mm256_unpackhi_ps(b[2], b[3]),
            ];
            [
                _mm256_shuffle_ps::<0x44>(t[0], t[2]),
                _mm256_shuffle_ps::<0xEE>(t[0], t[2]),
                _mm256_shuffle_ps::<0x44>(t[1], t[3]),
                _mm256_shuffle_ps::<0xEE>(t[1], t[3]),
            ]
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Eight;

/// Compiles an `#[inline(always)]` body, generic over [`Lanes`], for every instruction set, behind one function whose
/// first argument says which one to run.
///
/// Bodies use loops and no closures on vectors (`map`, `array::from_fn`): a closure is compiled for the baseline, and its
/// vectors would pass through memory.
macro_rules! versions {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name(microkernel: &$crate::cpu::microkernel::Microkernel, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn wide($($arg: $ty),*) {
                    $body::<$crate::cpu::lanes::Eight>($($arg),*)
                }
                if microkernel.wide() {
                    // SAFETY: `wide` is true only where AVX2, FMA and F16C were detected.
                    return unsafe { wide($($arg),*) };
                }
            }
            let _ = microkernel;
            $body::<$crate::cpu::lanes::Four>($($arg),*)
        }
    };
}
pub(super) use versions;
