//! The microkernel: C (mr × nr) = A·B over k, A and B packed in panels, C in registers (Goto and van de Geijn 2008; Van
//! Zee and van de Geijn 2015, BLIS).
//!
//! A panel of A holds, for every k, `mr` values; a panel of B `nr` values. Each step of k loads one run of B, broadcasts
//! every value of A, and issues mr·nr/lanes fused multiply-adds:
//!
//! | instructions | mr × nr | accumulators | loads for each step of k |
//! | --- | --- | --- | --- |
//! | AVX-512 | 8 × 32 | 16 of 32 registers | 2 + 8 broadcasts for 16 FMA |
//! | AVX2 + FMA | 6 × 16 | 12 of 16 | 2 + 6 for 12 |
//! | NEON | 6 × 16 | 24 of 32 | 4 + 6 for 24 |
//! | portable | 4 × 8 | SSE2: 8 of 16 | 2 + 4 for 8 |

#[cfg(target_arch = "x86_64")]
mod avx;
pub(crate) mod int8;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::sync::OnceLock;

/// Computes one tile: `(k, (a, b), (c, ldc), accumulate)`.
type TileFn = unsafe fn(usize, (*const f32, *const f32), (*mut f32, usize), bool);

/// A microkernel and its tile.
#[derive(Debug)]
pub(crate) struct Microkernel {
    /// Rows of a tile: lanes of a panel of A.
    pub(crate) mr: usize,
    /// Columns of a tile: lanes of a panel of B.
    pub(crate) nr: usize,
    /// What it is called in benches.
    pub(crate) name: &'static str,
    wide: bool,
    /// For one row of C, two, …, mr.
    tiles: &'static [TileFn],
}

impl Microkernel {
    /// The fastest microkernel this processor has. `KERNELS_ISA` (`portable`, `neon`, `avx2`, `avx512`) asks for another one, for
    /// comparisons; one the processor lacks is never chosen.
    pub(crate) fn best() -> &'static Self {
        static BEST: OnceLock<&'static Microkernel> = OnceLock::new();
        BEST.get_or_init(|| {
            let wish = std::env::var("KERNELS_ISA").unwrap_or_default();
            let all = Self::all();
            all.iter()
                .find(|microkernel| microkernel.name == wish)
                .or(all.first())
                .copied()
                .unwrap_or(&portable::MICRO)
        })
    }

    /// Every one this processor can run, fastest first.
    pub(crate) fn all() -> Vec<&'static Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("f16c")
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(&avx::AVX512);
            }
            all.push(&avx::AVX2);
        }
        #[cfg(target_arch = "aarch64")]
        all.push(&neon::MICRO);
        all.push(&portable::MICRO);
        all
    }

    /// Whether AVX2, FMA and F16C were detected and may be used.
    #[inline]
    pub(crate) fn wide(&self) -> bool {
        self.wide
    }

    /// The first `rows` (1 to mr) rows of C (mr × nr, `ldc` apart) = A·B over `k`, added to C if `accumulate`. A row's sums
    /// do not depend on how many are asked for.
    ///
    /// # Safety
    /// `a` must hold k·mr values, `b` k·nr, and `c` be writable at `rows` rows of nr values, `ldc` apart.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) unsafe fn tile(
        &self,
        rows: usize,
        k: usize,
        (a, b): (*const f32, *const f32),
        (c, ldc): (*mut f32, usize),
        accumulate: bool,
    ) {
        // SAFETY: the caller's promise; it was chosen from those the processor can run.
        unsafe { (self.tiles[rows - 1])(k, (a, b), (c, ldc), accumulate) }
    }
}
