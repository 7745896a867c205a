//! Convolution as a matrix product without a column buffer: weights (out × taps·in) times windows (taps·in × pixels), the
//! windows being packed from the picture a block at a time. A 1×1 convolution is a plain product of the same form.
//!
//! k runs over taps first, then over input channels, so that one tap's source addresses serve all channels.

use std::ops::Range;

use super::epilogue::Epilogue;
use super::gemm::{Shape, gemm};
use super::micro::Micro;
use super::pack::{Block, Packed, Panels, Space, Values};
use super::planes::Planes;
use super::scratch::Output;
use crate::convolution::Geometry;

/// Packs a weight (out, in, kh, kw): lanes are output channels, k is tap·in + channel.
pub(crate) fn pack(micro: &Micro, weight: Values<'_>, geometry: &Geometry) -> Packed {
    let (channels, taps) = (geometry.input, geometry.taps());
    Packed::new(weight, geometry.output, taps * channels, micro.mr, move |out, k| {
        (out * channels + k % channels) * taps + k / channels
    })
}

/// `x` (b, in, h, w) → (b, out, h', w'). The row bias is (out), or (b, out).
#[allow(unsafe_code)]
pub(crate) fn convolve(
    micro: &Micro,
    x: &Planes<'_>,
    weight: &Packed,
    geometry: &Geometry,
    epilogue: Epilogue<'_>,
) -> Vec<f32> {
    let pixels = geometry.out_height * geometry.out_width;
    let k = geometry.taps() * geometry.input;
    let shape = Shape::columns_first(micro, geometry.output, pixels, k);
    let mut output = Output::new(geometry.batch * geometry.output * pixels);
    let out = output.shared();
    for image in 0..geometry.batch {
        let windows = Windows { x, image, geometry, width: micro.nr };
        let c = out.from(image * geometry.output * pixels);
        let epilogue = Epilogue {
            row_bias: epilogue.row_bias.map(|bias| geometry.bias_of(bias, image)),
            addend: epilogue.addend.map(|addend| &addend[image * geometry.output * pixels..]),
            ..epilogue
        };
        // SAFETY: the image's (out, pixels) block of the output; both operands were packed for `micro`.
        unsafe { gemm(micro, shape, weight, &windows, (c, pixels), epilogue) };
    }
    // SAFETY: every image's block was written whole.
    unsafe { output.finish() }
}

/// The windows of one image as columns: lanes are output pixels.
struct Windows<'a> {
    x: &'a Planes<'a>,
    image: usize,
    geometry: &'a Geometry,
    width: usize,
}

/// Output pixels of one row whose sources lie inside the picture, a stride apart.
#[derive(Clone, Copy, Default)]
struct Run {
    lane: usize,
    len: usize,
    source: usize,
}

/// Most lanes of a panel.
const LANES: usize = 32;

impl Windows<'_> {
    /// For one tap, where the lanes of panel `panel` come from. Lanes in no run are zero. Returns the number of runs.
    fn runs(&self, panel: usize, tap: usize, runs: &mut [Run; LANES]) -> usize {
        let g = self.geometry;
        let (dy, dx) = (tap / g.kernel_width * g.dilation, tap % g.kernel_width * g.dilation);
        let first = panel * self.width;
        let end = (first + self.width).min(g.out_height * g.out_width);
        let mut count: usize = 0;
        let (mut oy, mut ox) = (first / g.out_width, first % g.out_width);
        for lane in 0..end - first {
            let (y, x) = (oy * g.stride + dy, ox * g.stride + dx);
            let inside = (g.padding..g.height + g.padding).contains(&y)
                && (g.padding..g.width + g.padding).contains(&x);
            if inside {
                let source = (y - g.padding) * g.width + x - g.padding;
                match count.checked_sub(1).map(|last| &mut runs[last]) {
                    Some(run) if run.lane + run.len == lane && run.source + run.len * g.stride == source => {
                        run.len += 1;
                    }
                    _ => {
                        runs[count] = Run { lane, len: 1, source };
                        count += 1;
                    }
                }
            }
            ox += 1;
            if ox == g.out_width {
                (oy, ox) = (oy + 1, 0);
            }
        }
        count
    }

    /// Panels `panels` over `ks`. Channel by channel, so that a channel's pixels are read in one go: planes of a picture
    /// lie far apart.
    fn pack<const W: usize>(&self, panels: Range<usize>, ks: Range<usize>, into: &mut [f32]) {
        let channels = self.geometry.input;
        let stride = self.geometry.stride;
        let (into, _) = into.as_chunks_mut::<W>();
        let mut runs = vec![([Run::default(); LANES], 0); panels.len()];
        let mut k = ks.start;
        while k < ks.end {
            let tap = k / channels;
            let stop = ks.end.min((tap + 1) * channels);
            for ((runs, count), panel) in runs.iter_mut().zip(panels.clone()) {
                *count = self.runs(panel, tap, runs);
            }
            for k in k..stop {
                let source = self.x.plane(self.image, k % channels);
                let rows = into[k - ks.start..].iter_mut().step_by(ks.len());
                for (into, (runs, count)) in rows.zip(&runs) {
                    match &runs[..*count] {
                        [run] if run.len == W => gather(into, &source[run.source..], stride),
                        runs => {
                            into.fill(0.0);
                            for run in runs {
                                gather(&mut into[run.lane..][..run.len], &source[run.source..], stride);
                            }
                        }
                    }
                }
            }
            k = stop;
        }
    }
}

/// Every `stride`th value.
#[inline(always)]
fn gather(to: &mut [f32], from: &[f32], stride: usize) {
    match stride {
        1 => to.copy_from_slice(&from[..to.len()]),
        // Pairs are what compilers make shuffles of; the last one may lack its second value.
        2 if from.len() >= 2 * to.len() => {
            let (pairs, _) = from.as_chunks::<2>();
            to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
        }
        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to = *from),
    }
}

impl Panels for Windows<'_> {
    fn block<'a>(&'a self, panels: Range<usize>, ks: Range<usize>, space: &'a mut Space) -> Block<'a> {
        let stride = ks.len() * self.width;
        let data = space.get(panels.len() * stride);
        match self.width {
            8 => self.pack::<8>(panels, ks, data),
            16 => self.pack::<16>(panels, ks, data),
            32 => self.pack::<32>(panels, ks, data),
            _ => unreachable!("no micro-kernel has panels of {} lanes", self.width),
        }
        Block::ready(data, stride)
    }
}
