//! Attention with an online softmax over blocks of keys (Milakov and Gimelshein 2018; Dao et al. 2022), on the
//! microkernel. No buffer grows with tokens².
//!
//! Everything is transposed: a block of scores is Sᵀ = K·Qᵀ, keys by queries, stored with as many queries to a row as a
//! panel has lanes. So maximum, exponential and sum run down the columns without a step across lanes, and the shares Pᵀ
//! are at once the packed operand of Oᵀ = Vᵀ·Pᵀ. Keys and values are packed once for all queries of a head.

use std::ops::Range;

use candle_core::Layout;

use super::lanes::{Lanes, versions};
use super::math::exp;
use super::microkernel::Microkernel;
use super::pack::Rows;
use super::parallel;
use super::scratch::{Output, Shared, lease};

/// Values of a block of scores, or up to a quarter more: 16 KiB, half of the L1 cache.
const SCORES: usize = 4096;
/// Panels of queries of a task: a block of keys is read from the L2 cache once for all of them.
const PANELS: usize = 4;

/// One operand: values of (b, heads, rows, d) in any layout.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) layout: &'a Layout,
}

impl<'a> Operand<'a> {
    fn step(&self, dimension: usize) -> usize {
        self.layout.stride()[dimension]
    }

    /// One head as lanes of `width`, either its rows (k runs over d) or its columns (k runs over rows).
    fn head(
        &self,
        microkernel: &'static Microkernel,
        head: usize,
        heads: usize,
        width: usize,
        columns: bool,
    ) -> Rows<'a> {
        let start = head / heads * self.step(0) + head % heads * self.step(1);
        let (lane, k) = if columns { (3, 2) } else { (2, 3) };
        let rows = self.layout.dims()[lane];
        let steps = [0, self.step(lane), self.step(k)];
        let values = &self.values[start.min(self.values.len())..];
        Rows { microkernel, values, rows, inner: rows.max(1), steps, width }
    }
}

/// Sizes of an attention: `queries` × `keys` scores for each of `heads` heads of each of `batch` elements.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) dim: usize,
}

impl Sizes {
    /// Heads of all elements together.
    fn all(&self) -> usize {
        self.batch * self.heads
    }
}

/// softmax(scale·Q·Kᵀ + mask)·V as (b, queries, heads, d). `mask` (queries, keys). There is at least one key.
#[allow(unsafe_code)]
pub(crate) fn attend(
    microkernel: &'static Microkernel,
    [q, k, v]: [Operand<'_>; 3],
    sizes: Sizes,
    scale: f32,
    mask: Option<&[f32]>,
) -> Vec<f32> {
    let (mr, nr) = (microkernel.mr, microkernel.nr);
    let panels = Panels { keys: sizes.keys.div_ceil(mr), dim: sizes.dim.div_ceil(mr) };
    let (k_size, v_size) = (panels.keys * sizes.dim * mr, panels.dim * sizes.keys * mr);
    let mut packed = lease(sizes.all() * (k_size + v_size));
    let packed = Shared::of(&mut packed);
    let mut output = Output::new(sizes.all() * sizes.queries * sizes.dim);
    // Blocks of one size, as few as may be: a last one of a few keys would cost as much as a whole one.
    let most = SCORES / nr;
    let blocks = sizes.keys.saturating_sub(most / 4).div_ceil(most).max(1);
    let block = sizes.keys.div_ceil(blocks).next_multiple_of(mr);
    let out = output.shared();
    let job = Job { microkernel, q, sizes, panels, k_size, v_size, packed, block, scale, mask, out };
    job.pack(k, v);
    let query_panels = sizes.queries.div_ceil(nr);
    // Fewer panels a task where threads would go without.
    let per_task = PANELS.min((sizes.all() * query_panels).div_ceil(4 * parallel::threads())).max(1);
    let tasks = query_panels.div_ceil(per_task);
    parallel::each(sizes.all() * tasks, |task| {
        let (head, first) = (task / tasks, task % tasks * per_task);
        job.run(head, first..(first + per_task).min(query_panels));
    });
    // SAFETY: the tasks cover all queries of all heads.
    unsafe { output.finish() }
}

/// Panels of a head: of keys, whose k runs over d, and of dimensions of values, whose k runs over keys.
#[derive(Clone, Copy)]
struct Panels {
    keys: usize,
    dim: usize,
}

/// One attention.
struct Job<'a> {
    microkernel: &'static Microkernel,
    q: Operand<'a>,
    sizes: Sizes,
    panels: Panels,
    /// Values of a head's packed keys, and of its packed values.
    k_size: usize,
    v_size: usize,
    /// Keys of all heads, then values of all heads.
    packed: Shared,
    /// Keys of a block of scores.
    block: usize,
    scale: f32,
    mask: Option<&'a [f32]>,
    out: Shared,
}

impl Job<'_> {
    /// Packs keys and values of all heads.
    #[allow(unsafe_code)]
    fn pack(&self, k: Operand<'_>, v: Operand<'_>) {
        let Self { microkernel, packed, k_size, v_size, .. } = *self;
        let Sizes { heads, keys, dim, .. } = self.sizes;
        let all = self.sizes.all();
        parallel::each(2 * all, |task| {
            let (head, is_v) = (task / 2, task % 2 == 1);
            // SAFETY: each task writes its own head's keys or values.
            unsafe {
                if is_v {
                    let into = packed.slice(all * k_size + head * v_size, v_size);
                    let lanes = v.head(microkernel, head, heads, microkernel.mr, true);
                    lanes.pack_into(0..self.panels.dim, 0..keys, into);
                } else {
                    let into = packed.slice(head * k_size, k_size);
                    let lanes = k.head(microkernel, head, heads, microkernel.mr, false);
                    lanes.pack_into(0..self.panels.keys, 0..dim, into);
                }
            }
        });
    }

    /// Some panels of queries of one head, on one thread.
    fn run(&self, head: usize, panels: Range<usize>) {
        let (mr, nr) = (self.microkernel.mr, self.microkernel.nr);
        let Sizes { heads, queries, keys, dim, .. } = self.sizes;
        let o_size = self.panels.dim * mr * nr;
        let mut space = lease(panels.len() * (dim * nr + o_size + 2 * nr) + self.block * nr);
        let (q_space, rest) = space.split_at_mut(panels.len() * dim * nr);
        let (o_space, rest) = rest.split_at_mut(panels.len() * o_size);
        let (state, scores) = rest.split_at_mut(panels.len() * 2 * nr);
        self.q.head(self.microkernel, head, heads, nr, false).pack_into(panels.clone(), 0..dim, q_space);
        q_space.iter_mut().for_each(|value| *value *= self.scale);
        o_space.fill(0.0);
        for state in state.chunks_exact_mut(2 * nr) {
            state[..nr].fill(LOWEST);
            state[nr..].fill(0.0);
        }
        for k0 in (0..keys).step_by(self.block) {
            for (i, panel) in panels.clone().enumerate() {
                let q = &q_space[i * dim * nr..][..dim * nr];
                let o = &mut o_space[i * o_size..][..o_size];
                let state = &mut state[i * 2 * nr..][..2 * nr];
                self.step(head, k0..(k0 + self.block).min(keys), panel, (q, scores, state, o));
            }
        }
        for (i, panel) in panels.enumerate() {
            let o = &mut o_space[i * o_size..][..dim * nr];
            let first = panel * nr;
            let start = ((head / heads * queries + first) * heads + head % heads) * dim;
            let to = Target { out: self.out.from(start), apart: heads * dim, rows: nr.min(queries - first) };
            unload(self.microkernel, o, &state[i * 2 * nr + nr..][..nr], to);
        }
    }

    /// One panel of queries and one block of keys: scores, their shares, and what these take of the values.
    #[allow(unsafe_code)]
    fn step(
        &self,
        head: usize,
        ks: Range<usize>,
        panel: usize,
        (q, scores, state, o): (&[f32], &mut [f32], &mut [f32], &mut [f32]),
    ) {
        let (microkernel, dim, keys) = (self.microkernel, self.sizes.dim, self.sizes.keys);
        let (mr, nr, len) = (microkernel.mr, microkernel.nr, ks.len());
        for (row, key_panel) in (ks.start / mr..ks.end.div_ceil(mr)).enumerate() {
            let s = &mut scores[row * mr * nr..][..mr * nr];
            let k = self.packed.at(head * self.k_size + key_panel * dim * mr);
            let rows = mr.min(len - row * mr);
            // SAFETY: `q` holds dim·nr values, `s` mr·nr, and a panel of keys dim·mr that nobody writes now.
            unsafe { microkernel.tile(rows, dim, (k, q.as_ptr()), (s.as_mut_ptr(), nr), false) };
        }
        if let Some(mask) = self.mask {
            for query in panel * nr..((panel + 1) * nr).min(self.sizes.queries) {
                for (key, value) in mask[query * keys + ks.start..][..len].iter().enumerate() {
                    scores[key * nr + query - panel * nr] += value;
                }
            }
        }
        soften(microkernel, &mut scores[..len * nr], nr, state, o);
        let values = self.sizes.all() * self.k_size + head * self.v_size;
        for c in 0..self.panels.dim {
            let v = self.packed.at(values + (c * keys + ks.start) * mr);
            let o = o[c * mr * nr..].as_mut_ptr();
            // SAFETY: `o` holds tiles of mr·nr for all panels of dimensions, `scores` len·nr values, and the panel of values
            // len·mr from the block's first key on.
            unsafe { microkernel.tile(mr, len, (v, scores.as_ptr()), (o, nr), true) };
        }
    }
}

/// Where some queries' results go: rows `apart` from each other.
#[derive(Clone, Copy)]
struct Target {
    out: Shared,
    apart: usize,
    rows: usize,
}

versions! {
    /// Sums of values, one query a lane, divided by the sums of shares and written as rows, which the calling task alone
    /// writes.
    fn unload(o: &mut [f32], sums: &[f32], to: Target) = unload_body
}

#[inline(always)]
#[allow(unsafe_code)]
fn unload_body<L: Lanes>(o: &mut [f32], sums: &[f32], to: Target) {
    let nr = sums.len();
    assert!(o.len().is_multiple_of(nr) && nr.is_multiple_of(8) && to.rows <= nr);
    for lane in (0..nr).step_by(L::N) {
        // SAFETY: lane + N ≤ nr, and every access lies in a row of nr values.
        unsafe {
            let share = L::splat(1.0).div(L::load(sums.as_ptr().add(lane)));
            for at in (lane..o.len()).step_by(nr) {
                let value = o.as_mut_ptr().add(at);
                L::load(value).mul(share).store(value);
            }
        }
    }
    let dim = o.len() / nr;
    let (whole_rows, whole_dim) = (to.rows / 8 * 8, dim / 8 * 8);
    for d in (0..whole_dim).step_by(8) {
        for lane in (0..whole_rows).step_by(8) {
            // SAFETY: eight lanes of eight dimensions lie inside `o`; the rows they go to are the calling task's.
            unsafe {
                let mut rows = [o.as_ptr(); 8];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = row.add((d + i) * nr + lane);
                }
                L::transpose_eight(rows, to.out.at(lane * to.apart + d), to.apart);
            }
        }
    }
    for lane in 0..to.rows {
        let done = if lane < whole_rows { whole_dim } else { 0 };
        // SAFETY: a row of `dim` values that the calling task alone writes.
        let row = unsafe { to.out.slice(lane * to.apart, dim) };
        for (d, value) in row.iter_mut().enumerate().skip(done) {
            *value = o[d * nr + lane];
        }
    }
}

/// Below every score, and finite, so that differences are never NaN.
const LOWEST: f32 = -1e30;

versions! {
    /// Scores (keys × `nr` queries) become shares relative to the largest so far; `state` (largest, sum) and the
    /// result so far `o` are brought to the same scale.
    fn soften(scores: &mut [f32], nr: usize, state: &mut [f32], o: &mut [f32]) = soften_body
}

#[inline(always)]
#[allow(unsafe_code)]
fn soften_body<L: Lanes>(scores: &mut [f32], nr: usize, state: &mut [f32], o: &mut [f32]) {
    assert!(state.len() == 2 * nr && nr.is_multiple_of(2 * L::N));
    assert!(scores.len().is_multiple_of(nr) && o.len().is_multiple_of(nr));
    // Two vectors at a time hide the latency of the exponential.
    for lane in (0..nr).step_by(2 * L::N) {
        // SAFETY: lane + 2·N ≤ nr, and every access lies in a row of nr values of one of the four slices.
        unsafe {
            let before = [L::load(state.as_ptr().add(lane)), L::load(state.as_ptr().add(lane + L::N))];
            let mut largest = before;
            let mut at = lane;
            while at < scores.len() {
                largest[0] = largest[0].max(L::load(scores.as_ptr().add(at)));
                largest[1] = largest[1].max(L::load(scores.as_ptr().add(at + L::N)));
                at += nr;
            }
            let mut sums = [L::splat(0.0); 2];
            let mut at = lane;
            while at < scores.len() {
                let to = scores.as_mut_ptr().add(at);
                let a = exp(L::load(to).sub(largest[0]));
                let b = exp(L::load(to.add(L::N)).sub(largest[1]));
                sums = [sums[0].add(a), sums[1].add(b)];
                a.store(to);
                b.store(to.add(L::N));
                at += nr;
            }
            let factors = [exp(before[0].sub(largest[0])), exp(before[1].sub(largest[1]))];
            for i in 0..2 {
                let to = state.as_mut_ptr().add(lane + i * L::N);
                largest[i].store(to);
                L::load(to.add(nr)).mul_add(factors[i], sums[i]).store(to.add(nr));
            }
            let mut at = lane;
            while at < o.len() {
                let to = o.as_mut_ptr().add(at);
                L::load(to).mul(factors[0]).store(to);
                L::load(to.add(L::N)).mul(factors[1]).store(to.add(L::N));
                at += nr;
            }
        }
    }
}
