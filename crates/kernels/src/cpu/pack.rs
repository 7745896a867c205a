//! Operands in panels: the form micro-kernels read.
//!
//! A panel holds `width` lanes (rows of A, columns of B) for a run of k: value (k, lane) lies at k·width + lane. Weights
//! are packed once; activations are packed a block at a time into working memory.

use std::ops::Range;

use super::parallel;
use super::scratch::{Lease, Output, lease};

/// Some panels over some of k: panel i begins at `data[i·stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
}

impl<'a> Block<'a> {
    /// Panel `i`, `len` values.
    #[inline(always)]
    pub(crate) fn panel(&self, i: usize, len: usize) -> &'a [f32] {
        &self.data[i * self.stride..][..len]
    }
}

/// An operand that can be had in panels.
pub(crate) trait Panels: Sync {
    /// Panels `panels` over `ks`; written to `space` unless they lie ready.
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

/// An operand packed whole: all of k for the first panel, then the next; lanes past the end are zero.
pub(crate) struct Packed {
    data: Vec<f32>,
    k: usize,
    width: usize,
}

impl Packed {
    /// Packs `lanes` × `k` values; `source(lane, k)` is the index in `values` of one.
    #[allow(unsafe_code)]
    pub(crate) fn new(
        values: &[f32],
        lanes: usize,
        k: usize,
        width: usize,
        source: impl Fn(usize, usize) -> usize + Sync,
    ) -> Self {
        let panels = lanes.div_ceil(width);
        let mut output = Output::new(panels * k * width);
        let data = output.shared();
        parallel::each(panels, |panel| {
            // SAFETY: each task writes its own panel.
            let panel_data = unsafe { data.slice(panel * k * width, k * width) };
            let first = panel * width;
            let used = width.min(lanes - first);
            // Runs of k keep the lines that lanes share in the cache.
            for start in (0..k).step_by(64) {
                let end = (start + 64).min(k);
                for lane in 0..width {
                    for i in start..end {
                        let value = if lane < used { values[source(first + lane, i)] } else { 0.0 };
                        panel_data[i * width + lane] = value;
                    }
                }
            }
        });
        // SAFETY: every panel wrote all its k·width values.
        Self { data: unsafe { output.finish() }, k, width }
    }

    /// All values of panel `panel`.
    pub(crate) fn panel(&self, panel: usize) -> &[f32] {
        &self.data[panel * self.k * self.width..][..self.k * self.width]
    }
}

impl Panels for Packed {
    fn block<'a>(&'a self, panels: Range<usize>, ks: Range<usize>, _: &'a mut Space) -> Block<'a> {
        let stride = self.k * self.width;
        let start = (panels.start * stride + ks.start * self.width).min(self.data.len());
        Block { data: &self.data[start..], stride }
    }
}

/// Rows of activations, packed when asked for: value (row, k) at `start(row) + k·step`.
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    /// Rows in all.
    pub(crate) rows: usize,
    /// Rows of one batch element.
    pub(crate) inner: usize,
    /// From one batch element to the next, from one row to the next, from one k to the next.
    pub(crate) steps: [usize; 3],
    pub(crate) width: usize,
}

impl Rows<'_> {
    fn start(&self, row: usize) -> usize {
        row / self.inner * self.steps[0] + row % self.inner * self.steps[1]
    }

    /// Panels `panels` over `ks`, one after the other.
    pub(crate) fn pack_into(&self, panels: Range<usize>, ks: Range<usize>, into: &mut [f32]) {
        let stride = ks.len() * self.width;
        for (into, panel) in into.chunks_exact_mut(stride.max(1)).zip(panels) {
            match self.width {
                4 => self.pack::<4>(panel, ks.clone(), into),
                6 => self.pack::<6>(panel, ks.clone(), into),
                8 => self.pack::<8>(panel, ks.clone(), into),
                16 => self.pack::<16>(panel, ks.clone(), into),
                32 => self.pack::<32>(panel, ks.clone(), into),
                _ => unreachable!("no micro-kernel has panels of {} lanes", self.width),
            }
        }
    }

    /// One panel of `W` lanes.
    fn pack<const W: usize>(&self, panel: usize, ks: Range<usize>, into: &mut [f32]) {
        let first = panel * W;
        let last = self.rows - 1;
        // Lanes past the end repeat the last row: their results are never stored.
        let starts: [usize; W] = std::array::from_fn(|lane| self.start((first + lane).min(last)));
        let step = self.steps[2];
        let (into, _) = into.as_chunks_mut::<W>();
        if step == 1 {
            let rows: [&[f32]; W] = std::array::from_fn(|lane| &self.values[starts[lane]..][ks.clone()]);
            for (k, into) in into.iter_mut().enumerate() {
                for (value, row) in into.iter_mut().zip(rows) {
                    *value = row[k];
                }
            }
            return;
        }
        let adjacent = starts.windows(2).all(|pair| pair[1] == pair[0] + 1);
        for (into, k) in into.iter_mut().zip(ks) {
            if adjacent {
                into.copy_from_slice(&self.values[starts[0] + k * step..][..W]);
            } else {
                for (value, start) in into.iter_mut().zip(starts) {
                    *value = self.values[start + k * step];
                }
            }
        }
    }
}

impl Panels for Rows<'_> {
    fn block<'a>(&'a self, panels: Range<usize>, ks: Range<usize>, space: &'a mut Space) -> Block<'a> {
        let stride = ks.len() * self.width;
        let data = space.get(panels.len() * stride);
        self.pack_into(panels, ks, data);
        Block { data, stride }
    }
}
