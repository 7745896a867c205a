//! The microkernel on 8-bit integers: C (mr × nr, i32) = A·B over all of k, A and B packed in panels.
//!
//! k is cut into groups, the last filled with zeros. For every group a panel of A holds the values of each of `mr` rows in
//! words of 32 bits, and a panel of B those of each of `nr` columns in i8. Integers are added exactly, so that every one
//! gives the same sums:
//!
//! | instructions | mr × nr | group | a word of A | step |
//! | --- | --- | --- | --- | --- |
//! | AVX-512 VNNI | 12 × 32 | 4 | four u8, each the value + 128 | `vpdpbusd`: four products and their sum |
//! | AVX-512 BW | 8 × 32 | 2 | two i16 | B widened to i16, `vpmaddwd`, an addition |
//! | AVX2 | 6 × 16 | 2 | two i16 | the same |
//! | SSE2, any x86-64 | 4 × 8 | 2 | two i16 | the same |
//! | portable | 4 × 8 | all of k | four i8 | a loop that compilers turn into NEON's `sdot` where it is |
//!
//! `vpmaddubsw`, which takes 8 bits at once, is no alternative on AVX2: it saturates at 16.

use std::sync::OnceLock;

use super::{Microkernel, portable};

/// Computes one tile: `(words, a, b, start, c)`.
type TileFn = unsafe fn(usize, *const u32, *const i8, *const i32, *mut i32);

/// Values of the largest tile.
pub(crate) const TILE: usize = 12 * 32;
/// What [`Word::Four`] adds to each value: the instruction multiplies u8 by i8.
pub(crate) const OFFSET: i32 = 128;

/// What a word of A holds, and so how k is cut into groups.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// A group of four: u8, each its value and [`OFFSET`].
    Four,
    /// A group of two: i16.
    Two,
    /// Four i8 of a group that is all of k.
    Run,
}

/// A microkernel on integers and its tile.
pub(crate) struct Int8Microkernel {
    /// The microkernel that works on the sums; a tile has as many columns as its.
    pub(crate) float: &'static Microkernel,
    /// Rows of a tile: lanes of a panel of A.
    pub(crate) mr: usize,
    pub(crate) word: Word,
    tile: TileFn,
}

static PORTABLE: Int8Microkernel =
    Int8Microkernel { float: &portable::MICRO, mr: 4, word: Word::Run, tile: tile_4x8 };

impl Int8Microkernel {
    /// The one that goes with [`Microkernel::best`], or the fastest.
    pub(crate) fn best() -> &'static Self {
        static BEST: OnceLock<&'static Int8Microkernel> = OnceLock::new();
        BEST.get_or_init(|| {
            let (all, wish) = (Self::all(), Microkernel::best().name);
            all.iter().find(|kernel| kernel.float.name == wish).or(all.first()).copied().unwrap_or(&PORTABLE)
        })
    }

    /// Every one this processor can run, fastest first.
    pub(crate) fn all() -> Vec<&'static Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let floats = Microkernel::all();
            let has = |name| floats.iter().any(|float| float.name == name);
            if has("avx512") && std::arch::is_x86_feature_detected!("avx512vnni") {
                all.push(&x86::VNNI);
            }
            if has("avx512") && std::arch::is_x86_feature_detected!("avx512bw") {
                all.push(&x86::AVX512);
            }
            if has("avx2") {
                all.push(&x86::AVX2);
            }
            all.push(&x86::SSE2);
        }
        all.push(&PORTABLE);
        all
    }

    /// Values of a group of k, at most `k` of them followed by zeros.
    pub(crate) fn group(&self, k: usize) -> usize {
        match self.word {
            Word::Four => 4,
            Word::Two => 2,
            Word::Run => k.next_multiple_of(4).max(4),
        }
    }

    /// C (mr × nr, rows side by side) = A·B over groups of `words` words in all, plus `start` for [`Word::Four`].
    ///
    /// # Safety
    /// `a` must hold words·mr words, `b` as many values for each of nr columns as those of a row, `start` nr, and `c` be
    /// writable at mr·nr.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) unsafe fn tile(
        &self,
        words: usize,
        a: *const u32,
        b: *const i8,
        start: *const i32,
        c: *mut i32,
    ) {
        // SAFETY: the caller's promise; it was chosen from those the processor can run.
        unsafe { (self.tile)(words, a, b, start, c) }
    }
}

#[allow(unsafe_code)]
unsafe fn tile_4x8(words: usize, a: *const u32, b: *const i8, _: *const i32, c: *mut i32) {
    let len = 4 * words;
    // SAFETY: the promise of `Int8Microkernel::tile`: 4 rows and 8 columns of `len` values, 4 rows of 8 at `c`.
    unsafe {
        for row in 0..4 {
            let x = std::slice::from_raw_parts(a.add(row * words).cast::<i8>(), len);
            for column in 0..8 {
                let y = std::slice::from_raw_parts(b.add(column * len), len);
                c.add(8 * row + column).write(dot(x, y));
            }
        }
    }
}

fn dot(x: &[i8], y: &[i8]) -> i32 {
    x.iter().zip(y).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::{avx, portable};
    use super::{Int8Microkernel, Word};

    pub(super) static VNNI: Int8Microkernel =
        Int8Microkernel { float: &avx::AVX512, mr: 12, word: Word::Four, tile: tile_12x32 };
    pub(super) static AVX512: Int8Microkernel =
        Int8Microkernel { float: &avx::AVX512, mr: 8, word: Word::Two, tile: tile_8x32 };
    pub(super) static AVX2: Int8Microkernel =
        Int8Microkernel { float: &avx::AVX2, mr: 6, word: Word::Two, tile: tile_6x16 };
    pub(super) static SSE2: Int8Microkernel =
        Int8Microkernel { float: &portable::MICRO, mr: 4, word: Word::Two, tile: tile_4x8 };

    /// The promise is that of [`Int8Microkernel::tile`], with AVX-512F and VNNI detected.
    #[target_feature(enable = "avx512f,avx512vnni")]
    #[allow(unsafe_code)]
    unsafe fn tile_12x32(words: usize, a: *const u32, b: *const i8, start: *const i32, c: *mut i32) {
        const MR: usize = 12;
        let (mut a, mut b) = (a, b);
        // SAFETY: 4·32 values for 12 words, 32 values at `start`, 12 rows of 32 at `c`, promised by the caller.
        unsafe {
            let start = [_mm512_loadu_si512(start.cast()), _mm512_loadu_si512(start.add(16).cast())];
            let mut sums = [start; MR];
            macro_rules! step {
                ($i:literal) => {
                    let b0 = _mm512_loadu_si512(b.add(128 * $i).cast());
                    let b1 = _mm512_loadu_si512(b.add(128 * $i + 64).cast());
                    for (row, sum) in sums.iter_mut().enumerate() {
                        let x = _mm512_set1_epi32((*a.add(MR * $i + row)).cast_signed());
                        sum[0] = _mm512_dpbusd_epi32(sum[0], x, b0);
                        sum[1] = _mm512_dpbusd_epi32(sum[1], x, b1);
                    }
                };
            }
            for _ in 0..words / 4 {
                step!(0);
                step!(1);
                step!(2);
                step!(3);
                a = a.add(4 * MR);
                b = b.add(4 * 128);
            }
            for _ in 0..words % 4 {
                step!(0);
                a = a.add(MR);
                b = b.add(128);
            }
            for (row, sum) in sums.iter().enumerate() {
                _mm512_storeu_si512(c.add(32 * row).cast(), sum[0]);
                _mm512_storeu_si512(c.add(32 * row + 16).cast(), sum[1]);
            }
        }
    }

    /// A tile on i16, of MR rows and two vectors of N columns.
    macro_rules! tile_of_pairs {
        ($name:ident, $features:literal, $mr:literal, $n:literal, $zero:ident, $load:ident, $widen:ident, $splat:ident,
         $multiply:ident, $add:ident, $store:ident) => {
            /// The promise is that of [`Int8Microkernel::tile`], with these features detected.
            #[target_feature(enable = $features)]
            #[allow(unsafe_code)]
            unsafe fn $name(words: usize, a: *const u32, b: *const i8, _: *const i32, c: *mut i32) {
                const MR: usize = $mr;
                const N: usize = $n;
                let (mut a, mut b) = (a, b);
                let mut sums = [[$zero(); 2]; MR];
                // SAFETY: 2·2·N values for MR words, MR rows of 2·N at `c`, promised by the caller.
                unsafe {
                    macro_rules! step {
                        ($i:literal) => {
                            let b0 = $widen($load(b.add(4 * N * $i).cast()));
                            let b1 = $widen($load(b.add(4 * N * $i + 2 * N).cast()));
                            for (row, sum) in sums.iter_mut().enumerate() {
                                let x = $splat((*a.add(MR * $i + row)).cast_signed());
                                sum[0] = $add(sum[0], $multiply(x, b0));
                                sum[1] = $add(sum[1], $multiply(x, b1));
                            }
                        };
                    }
                    for _ in 0..words / 2 {
                        step!(0);
                        step!(1);
                        a = a.add(2 * MR);
                        b = b.add(2 * 4 * N);
                    }
                    for _ in 0..words % 2 {
                        step!(0);
                        a = a.add(MR);
                        b = b.add(4 * N);
                    }
                    for (row, sum) in sums.iter().enumerate() {
                        $store(c.add(2 * N * row).cast(), sum[0]);
                        $store(c.add(2 * N * row + N).cast(), sum[1]);
                    }
                }
            }
        };
    }

    tile_of_pairs!(
        tile_8x32,
        "avx512f,avx512bw",
        8,
        16,
        _mm512_setzero_si512,
        _mm256_loadu_si256,
        _mm512_cvtepi8_epi16,
        _mm512_set1_epi32,
        _mm512_madd_epi16,
        _mm512_add_epi32,
        _mm512_storeu_si512
    );
    tile_of_pairs!(
        tile_6x16,
        "avx2",
        6,
        8,
        _mm256_setzero_si256,
        _mm_loadu_si128,
        _mm256_cvtepi8_epi16,
        _mm256_set1_epi32,
        _mm256_madd_epi16,
        _mm256_add_epi32,
        _mm256_storeu_si256
    );
    tile_of_pairs!(
        tile_4x8,
        "sse2",
        4,
        4,
        _mm_setzero_si128,
        _mm_loadl_epi64,
        widen_sse2,
        _mm_set1_epi32,
        _mm_madd_epi16,
        _mm_add_epi32,
        _mm_storeu_si128
    );

    /// The lower eight i8 as i16: each in the upper half of one, then shifted down.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn widen_sse2(values: __m128i) -> __m128i {
        _mm_srai_epi16::<8>(_mm_unpacklo_epi8(values, values))
    }
}
