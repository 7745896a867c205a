//! Operands in panels, as microkernels read them.
//!
//! A panel holds `width` lanes (rows of A, columns of B) for a run of k: value (k, lane) lies at k·width + lane. Weights
//! are packed once; activations are packed a block at a time into working memory.

use std::ops::Range;

use bytemuck::Pod;
use half::f16;

use super::lanes::{Lanes, versions};
use super::microkernel::Microkernel;
use super::parallel;
use super::scratch::{Aligned, Lease, lease};

/// Values as a weight stores them.
#[derive(Clone, Copy)]
pub(crate) enum Stored<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

impl<'a> Stored<'a> {
    /// Values `range`, in f32: widened into `space` if they are not so stored.
    fn read(self, microkernel: &Microkernel, range: Range<usize>, space: &'a mut Space) -> &'a [f32] {
        match self {
            Self::F32(values) => &values[range],
            Self::F16(values) => {
                let wide = space.get(range.len());
                widen(microkernel, &values[range], wide);
                wide
            }
        }
    }
}

versions! {
    /// f16 → f32, exactly.
    pub(crate) fn widen(from: &[f16], to: &mut [f32]) = widen_body
}

#[inline(always)]
#[allow(unsafe_code)]
fn widen_body<L: Lanes>(from: &[f16], to: &mut [f32]) {
    assert!(from.len() == to.len());
    let mut at = 0;
    while at + L::N <= from.len() {
        // SAFETY: N values from `at` lie inside both slices.
        unsafe { L::load_half(from.as_ptr().add(at)).store(to.as_mut_ptr().add(at)) };
        at += L::N;
    }
    for (to, from) in to[at..].iter_mut().zip(&from[at..]) {
        *to = from.to_f32();
    }
}

/// Some panels over some of k: panel i begins `i·stride` values after the first.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    values: Stored<'a>,
    stride: usize,
}

impl<'a> Block<'a> {
    /// Panels in working memory.
    pub(crate) fn ready(values: &'a [f32], stride: usize) -> Self {
        Self { values: Stored::F32(values), stride }
    }

    /// The first `len` values of panel `i`; widened into `space` if need be.
    pub(crate) fn panel(
        self,
        microkernel: &Microkernel,
        i: usize,
        len: usize,
        space: &'a mut Space,
    ) -> &'a [f32] {
        self.values.read(microkernel, i * self.stride..i * self.stride + len, space)
    }

    /// `count` panels in f32 and the distance between them, the first `len` values of each valid: for the operand that is
    /// read over and over.
    pub(crate) fn widened(
        self,
        microkernel: &Microkernel,
        count: usize,
        len: usize,
        space: &'a mut Space,
    ) -> (&'a [f32], usize) {
        let values = match self.values {
            Stored::F32(values) => return (values, self.stride),
            Stored::F16(values) => values,
        };
        let wide = space.get(count * len);
        for (i, wide) in wide.chunks_exact_mut(len.max(1)).enumerate() {
            widen(microkernel, &values[i * self.stride..][..len], wide);
        }
        (wide, len)
    }
}

/// An operand that can be had in panels.
pub(crate) trait Panels: Sync {
    /// Panels `panels` over `ks`; written to `space` unless they lie packed.
    fn block<'a>(&'a self, panels: Range<usize>, ks: Range<usize>, space: &'a mut Space) -> Block<'a>;
}

/// Working memory of one task for one operand; taken when first needed.
#[derive(Default)]
pub(crate) struct Space(Option<Lease>);

impl Space {
    /// At least `len` values.
    pub(crate) fn get(&mut self, len: usize) -> &mut [f32] {
        if self.0.as_ref().is_none_or(|lease| lease.len() < len) {
            self.0 = None;
            self.0 = Some(lease(len));
        }
        match &mut self.0 {
            Some(lease) => &mut lease[..len],
            None => &mut [],
        }
    }
}

/// An operand packed whole: all of k for the first panel, then the next; lanes past the end are zero. Weights that are
/// stored in f16 stay so, at half the memory, and are widened on their way into the cache.
pub(crate) struct Packed {
    data: Data,
    k: usize,
    width: usize,
}

enum Data {
    F32(Aligned<f32>),
    F16(Aligned<f16>),
}

impl Packed {
    /// Packs `lanes` × `k` values; `source(lane, k)` is the index in `values` of one.
    pub(crate) fn new(
        values: Stored<'_>,
        lanes: usize,
        k: usize,
        width: usize,
        source: impl Fn(usize, usize) -> usize + Sync,
    ) -> Self {
        let data = match values {
            Stored::F32(values) => Data::F32(panels(values, lanes, k, width, source)),
            Stored::F16(values) => Data::F16(panels(values, lanes, k, width, source)),
        };
        Self { data, k, width }
    }

    fn values(&self) -> Stored<'_> {
        match &self.data {
            Data::F32(values) => Stored::F32(values),
            Data::F16(values) => Stored::F16(values),
        }
    }

    /// Runs `ks` of panel `panel`, each of the same length.
    pub(crate) fn runs<'a, const N: usize>(
        &'a self,
        microkernel: &Microkernel,
        panel: usize,
        ks: [Range<usize>; N],
        space: &'a mut Space,
    ) -> [&'a [f32]; N] {
        let within = |k: usize| (panel * self.k + k) * self.width;
        let ks = ks.map(|ks| within(ks.start)..within(ks.end));
        match self.values() {
            Stored::F32(values) => ks.map(|ks| &values[ks]),
            Stored::F16(values) => {
                let len = ks.first().map_or(0, Range::len);
                let wide = space.get(N * len);
                for (wide, ks) in wide.chunks_exact_mut(len.max(1)).zip(&ks) {
                    widen(microkernel, &values[ks.clone()], wide);
                }
                let wide = &*wide;
                std::array::from_fn(|i| &wide[i * len..][..len])
            }
        }
    }
}

/// The panels of an operand, one after the other.
#[allow(unsafe_code)]
fn panels<T: Pod + Send + Sync>(
    values: &[T],
    lanes: usize,
    k: usize,
    width: usize,
    source: impl Fn(usize, usize) -> usize + Sync,
) -> Aligned<T> {
    let panels = lanes.div_ceil(width);
    let fill = |panel: usize, into: &mut [T]| {
        let first = panel * width;
        let used = width.min(lanes - first);
        // Runs of k keep the lines that lanes share in the cache.
        for start in (0..k).step_by(64) {
            let end = (start + 64).min(k);
            for lane in 0..width {
                for i in start..end {
                    into[i * width + lane] =
                        if lane < used { values[source(first + lane, i)] } else { T::zeroed() };
                }
            }
        }
    };
    let size = k * width;
    // SAFETY: each task writes its own panel, and all of it.
    unsafe {
        Aligned::written(panels * size, |data| {
            parallel::each(panels, |panel| fill(panel, data.slice(panel * size, size)));
        })
    }
}

impl Panels for Packed {
    fn block<'a>(&'a self, panels: Range<usize>, ks: Range<usize>, _: &'a mut Space) -> Block<'a> {
        let stride = self.k * self.width;
        let start = panels.start * stride + ks.start * self.width;
        let values = match self.values() {
            Stored::F32(values) => Stored::F32(&values[start.min(values.len())..]),
            Stored::F16(values) => Stored::F16(&values[start.min(values.len())..]),
        };
        Block { values, stride }
    }
}

/// Rows of activations, packed when asked for: value (row, k) at `start(row) + k·step`.
pub(crate) struct Rows<'a> {
    pub(crate) microkernel: &'static Microkernel,
    pub(crate) values: &'a [f32],
    /// Rows in all.
    pub(crate) rows: usize,
    /// Rows of one batch element.
    pub(crate) inner: usize,
    /// From one batch element to the next, from one row to the next, from one k to the next.
    pub(crate) steps: [usize; 3],
    /// Lanes of a panel; at most [`WIDEST`].
    pub(crate) width: usize,
}

/// Most lanes of a panel.
pub(crate) const WIDEST: usize = 32;

impl Rows<'_> {
    /// Where the values of a row begin.
    pub(crate) fn start(&self, row: usize) -> usize {
        row / self.inner * self.steps[0] + row % self.inner * self.steps[1]
    }

    /// Panels `panels` over `ks`, one after the other.
    pub(crate) fn pack_into(&self, panels: Range<usize>, ks: Range<usize>, into: &mut [f32]) {
        let stride = ks.len() * self.width;
        let last = self.rows - 1;
        let step = self.steps[2];
        for (into, panel) in into.chunks_exact_mut(stride.max(1)).zip(panels) {
            // Lanes past the end repeat the last row: their results are never stored.
            let mut starts = [0; WIDEST];
            for (lane, start) in starts[..self.width].iter_mut().enumerate() {
                *start = self.start((panel * self.width + lane).min(last));
            }
            let starts = &starts[..self.width];
            if step == 1 {
                interleave(self.microkernel, self.values, starts, ks.clone(), into);
            } else if starts.windows(2).all(|pair| pair[1] == pair[0] + 1) {
                for (into, k) in into.chunks_exact_mut(self.width).zip(ks.clone()) {
                    into.copy_from_slice(&self.values[starts[0] + k * step..][..self.width]);
                }
            } else {
                for (into, k) in into.chunks_exact_mut(self.width).zip(ks.clone()) {
                    for (value, start) in into.iter_mut().zip(starts) {
                        *value = self.values[start + k * step];
                    }
                }
            }
        }
    }
}

versions! {
    /// Runs `ks` of the rows that begin at `starts`, value k of every row, then value k + 1.
    fn interleave(values: &[f32], starts: &[usize], ks: Range<usize>, into: &mut [f32]) = interleave_body
}

#[inline(always)]
#[allow(unsafe_code)]
fn interleave_body<L: Lanes>(values: &[f32], starts: &[usize], ks: Range<usize>, into: &mut [f32]) {
    let (width, len) = (starts.len(), ks.len());
    assert!(into.len() == width * len && starts.iter().all(|start| start + ks.end <= values.len()));
    let eights = len / 8 * 8;
    for lane in (0..width).step_by(8) {
        let lanes = 8.min(width - lane);
        for k in (0..eights).step_by(8) {
            let mut rows = [values.as_ptr(); 8];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = row.wrapping_add(starts[lane + i.min(lanes - 1)] + ks.start + k);
            }
            let into = &mut into[k * width + lane..];
            if lanes == 8 {
                // SAFETY: the assertion above: eight values from `ks.start + k` lie inside each row, and eight rows of
                // `width` values inside `into`.
                unsafe { L::transpose_eight(rows, into.as_mut_ptr(), width) };
            } else {
                let mut eight = [0f32; 64];
                // SAFETY: as above for the rows; `eight` holds eight rows of eight.
                unsafe { L::transpose_eight(rows, eight.as_mut_ptr(), 8) };
                for (into, row) in into.chunks_mut(width).zip(eight.chunks_exact(8)) {
                    into[..lanes].copy_from_slice(&row[..lanes]);
                }
            }
        }
    }
    for (k, into) in into.chunks_exact_mut(width.max(1)).enumerate().skip(eights) {
        for (value, start) in into.iter_mut().zip(starts) {
            *value = values[start + ks.start + k];
        }
    }
}

impl Panels for Rows<'_> {
    fn block<'a>(&'a self, panels: Range<usize>, ks: Range<usize>, space: &'a mut Space) -> Block<'a> {
        let stride = ks.len() * self.width;
        let data = space.get(panels.len() * stride);
        self.pack_into(panels, ks, data);
        Block::ready(data, stride)
    }
}
