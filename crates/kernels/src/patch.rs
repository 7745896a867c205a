//! Squared distances between picture patches: the inner loop of every nearest-patch search.
//!
//! A patch is `rows` runs of `run` consecutive f32, `stride` apart (an interleaved picture's rows). The portable code defines
//! the number; those for AVX-512 and AVX2 with FMA, chosen when the processor has them, add the same terms in another order
//! and so agree to rounding (relative 1e-5). Which form runs depends on the machine alone, so one machine always gives one
//! answer.

/// Measures patches; made once by [`PatchMetric::detect`], cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct PatchMetric(InstructionSet);

#[derive(Debug, Clone, Copy)]
enum InstructionSet {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl PatchMetric {
    /// The fastest form this processor has.
    #[must_use]
    pub fn detect() -> Self {
        Self::all().first().copied().unwrap_or_else(Self::portable)
    }

    /// The portable code, whatever the processor.
    #[must_use]
    pub fn portable() -> Self {
        Self(InstructionSet::Portable)
    }

    /// Every form this processor can run, fastest first.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(Self(InstructionSet::Avx512));
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                all.push(Self(InstructionSet::Avx2));
            }
        }
        all.push(Self::portable());
        all
    }

    /// Squared Euclidean distance between the patches that begin at the start of `a` and of `b`.
    ///
    /// May stop early, after some row, once the sum is at least `bound`; the answer is then a lower bound of the distance
    /// that is itself at least `bound`.
    ///
    /// # Panics
    /// When either slice ends before its last row does.
    #[inline]
    #[must_use]
    #[allow(unsafe_code)]
    pub fn squared(self, a: PatchRows<'_>, b: PatchRows<'_>, run: usize, rows: usize, bound: f32) -> f32 {
        if rows == 0 || run == 0 {
            return 0.0;
        }
        assert!(a.holds(run, rows) && b.holds(run, rows), "a patch must lie inside its picture");
        // SAFETY: a form is chosen only when its instructions were detected; the assertion above keeps every read inside
        // both slices.
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { squared_avx512(a, b, run, rows, bound) },
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { squared_avx2(a, b, run, rows, bound) },
            InstructionSet::Portable => squared_portable(a, b, run, rows, bound),
        }
    }
}

/// A picture's samples from a patch's first one on, and the distance between two rows.
#[derive(Debug, Clone, Copy)]
pub struct PatchRows<'a> {
    /// Samples, beginning at the patch's first.
    pub data: &'a [f32],
    /// Samples from the start of one row to the start of the next.
    pub stride: usize,
}

impl PatchRows<'_> {
    #[inline]
    fn holds(&self, run: usize, rows: usize) -> bool {
        (rows - 1) * self.stride + run <= self.data.len()
    }

    /// Asks for the first `rows` rows of a patch that will be measured soon, `run` samples each, to be brought into the
    /// cache; a hint without any other effect.
    #[inline]
    #[allow(unsafe_code, clippy::missing_const_for_fn)]
    pub fn prefetch(&self, run: usize, rows: usize) {
        #[cfg(target_arch = "x86_64")]
        for row in 0..rows {
            let start = self.data.as_ptr().wrapping_add(row * self.stride);
            for line in (0..run).step_by(16).chain([run.saturating_sub(1)]) {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                // SAFETY: prefetching reads nothing and cannot fault, whatever the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line).cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (run, rows);
    }
}

fn squared_portable(a: PatchRows<'_>, b: PatchRows<'_>, run: usize, rows: usize, bound: f32) -> f32 {
    let mut total = 0.0f32;
    for row in 0..rows {
        let p = &a.data[row * a.stride..][..run];
        let q = &b.data[row * b.stride..][..run];
        // Four running sums: one SSE register in a baseline build.
        let mut lanes = [0.0f32; 4];
        let (p4, p_rest) = p.as_chunks::<4>();
        let (q4, q_rest) = q.as_chunks::<4>();
        for (x, y) in p4.iter().zip(q4) {
            for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
                let d = x - y;
                *lane += d * d;
            }
        }
        total += (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
        total += p_rest.iter().zip(q_rest).map(|(x, y)| (x - y) * (x - y)).sum::<f32>();
        if total >= bound {
            return total;
        }
    }
    total
}

/// Whether the sum so far is compared with the bound: after every second row, as adding up a vector takes about as long as
/// a row.
#[cfg(target_arch = "x86_64")]
fn checks(row: usize, rows: usize) -> bool {
    row % 2 == 1 || row + 1 == rows
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn squared_avx512(a: PatchRows<'_>, b: PatchRows<'_>, run: usize, rows: usize, bound: f32) -> f32 {
    use std::arch::x86_64::{
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
        _mm512_sub_ps,
    };
    let mut sum = _mm512_setzero_ps();
    let mut total = 0.0;
    for row in 0..rows {
        // SAFETY: the caller promised `(rows - 1) * stride + run` samples on both sides; every load below ends at or
        // before `run` within its row, what is masked out not being read.
        unsafe {
            let (p, q) = (a.data.as_ptr().add(row * a.stride), b.data.as_ptr().add(row * b.stride));
            let mut at = 0;
            while at + 16 <= run {
                let d = _mm512_sub_ps(_mm512_loadu_ps(p.add(at)), _mm512_loadu_ps(q.add(at)));
                sum = _mm512_fmadd_ps(d, d, sum);
                at += 16;
            }
            if at < run {
                let rest = (1u16 << (run - at)) - 1;
                let d = _mm512_sub_ps(
                    _mm512_maskz_loadu_ps(rest, p.add(at)),
                    _mm512_maskz_loadu_ps(rest, q.add(at)),
                );
                sum = _mm512_fmadd_ps(d, d, sum);
            }
        }
        if checks(row, rows) {
            total = _mm512_reduce_add_ps(sum);
            if total >= bound {
                break;
            }
        }
    }
    total
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma")]
unsafe fn squared_avx2(a: PatchRows<'_>, b: PatchRows<'_>, run: usize, rows: usize, bound: f32) -> f32 {
    use std::arch::x86_64::{
        _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_fmadd_ps, _mm_loadu_ps, _mm_movehdup_ps, _mm_movehl_ps,
        _mm_setzero_ps, _mm_sub_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_setzero_ps, _mm256_sub_ps,
    };
    let (mut eight, mut four, mut rest) = (_mm256_setzero_ps(), _mm_setzero_ps(), 0.0);
    let mut total = 0.0;
    for row in 0..rows {
        // SAFETY: the caller promised `(rows - 1) * stride + run` samples on both sides; every load below ends at or
        // before `run` within its row.
        unsafe {
            let (p, q) = (a.data.as_ptr().add(row * a.stride), b.data.as_ptr().add(row * b.stride));
            let mut at = 0;
            while at + 8 <= run {
                let d = _mm256_sub_ps(_mm256_loadu_ps(p.add(at)), _mm256_loadu_ps(q.add(at)));
                eight = _mm256_fmadd_ps(d, d, eight);
                at += 8;
            }
            if at + 4 <= run {
                let d = _mm_sub_ps(_mm_loadu_ps(p.add(at)), _mm_loadu_ps(q.add(at)));
                four = _mm_fmadd_ps(d, d, four);
                at += 4;
            }
            while at < run {
                let d = *p.add(at) - *q.add(at);
                rest += d * d;
                at += 1;
            }
        }
        if checks(row, rows) {
            let halves = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let sum = _mm_add_ps(four, halves);
            let pairs = _mm_add_ps(sum, _mm_movehdup_ps(sum));
            total = rest + _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehl_ps(pairs, pairs)));
            if total >= bound {
                break;
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::{PatchMetric, PatchRows};

    /// A repeatable stream of values in [0, 1).
    fn values(count: usize, mut state: u64) -> Vec<f32> {
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 24) as f32
            })
            .collect()
    }

    #[test]
    fn optimised_agrees_with_reference() {
        let (a, b) = (values(4000, 1), values(4000, 2));
        for rows in [1, 2, 5, 7] {
            for run in 1..=41 {
                for (stride_a, stride_b) in [(run, run), (64, 97)] {
                    let p = PatchRows { data: &a[3..], stride: stride_a };
                    let q = PatchRows { data: &b[5..], stride: stride_b };
                    let portable = PatchMetric::portable().squared(p, q, run, rows, f32::INFINITY);
                    for metric in PatchMetric::all() {
                        let fast = metric.squared(p, q, run, rows, f32::INFINITY);
                        let same = (portable - fast).abs() <= 1e-5 * portable;
                        assert!(same, "{metric:?}, {rows} rows of {run}: {portable} and {fast}");
                    }
                    let by_hand: f64 = (0..rows)
                        .flat_map(|r| (0..run).map(move |i| (r, i)))
                        .map(|(r, i)| f64::from(a[3 + r * stride_a + i] - b[5 + r * stride_b + i]).powi(2))
                        .sum();
                    assert!((f64::from(portable) - by_hand).abs() <= 1e-5 * by_hand);
                }
            }
        }
    }

    #[test]
    fn early_stop_never_claims_less_than_the_bound() {
        let (a, b) = (values(800, 3), values(800, 4));
        let (p, q) = (PatchRows { data: &a, stride: 28 }, PatchRows { data: &b, stride: 28 });
        for metric in PatchMetric::all() {
            let whole = metric.squared(p, q, 28, 7, f32::INFINITY);
            for bound in [0.1 * whole, 0.5 * whole, 0.99 * whole] {
                let stopped = metric.squared(p, q, 28, 7, bound);
                assert!(stopped >= bound && stopped <= whole * 1.000_01);
            }
            assert_eq!(metric.squared(p, q, 28, 7, 2.0 * whole), whole);
        }
    }

    #[test]
    #[should_panic(expected = "inside its picture")]
    fn a_patch_past_the_end_is_refused() {
        let a = [0.0; 10];
        let p = PatchRows { data: &a, stride: 5 };
        let _ = PatchMetric::detect().squared(p, p, 6, 2, 1.0);
    }
}
