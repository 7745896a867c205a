//! Convolution as a matrix product without a column buffer: weights (out × taps·in) times windows (taps·in × pixels), the
//! windows being packed from the picture a block at a time. A 1×1 convolution is a product whose windows are single pixels.
//!
//! k runs over taps first, then over input channels, so that one tap's source addresses serve all channels. Where windows
//! skip pixels, that is so within a block of channels: their planes stay in the cache from one tap to the next.

use std::ops::Range;

use super::epilogue::Epilogue;
use super::gemm::{Shape, gemm};
use super::geometry::Geometry;
use super::lanes::{Lanes, versions};
use super::microkernel::Microkernel;
use super::pack::{Block, Packed, Panels, Space, Stored};
use super::planes::Planes;
use super::scratch::Output;

/// Input channels of a block where windows skip pixels: planes that stay in the cache from one tap to the next (gathering took
/// 11.7 % of such a convolution instead of 17.5 on an Emerald Rapids Xeon).
const BLOCK: usize = 32;

/// Step k of a sum.
struct Step {
    tap: usize,
    channel: usize,
    /// Steps of the same tap from this one on, channel by channel.
    run: usize,
}

impl Step {
    fn of(k: usize, geometry: &Geometry) -> Self {
        let (channels, taps) = (geometry.input, geometry.taps());
        if geometry.stride == 1 {
            let (tap, channel) = (k / channels, k % channels);
            return Self { tap, channel, run: channels - channel };
        }
        let first = k / (taps * BLOCK) * BLOCK;
        let width = BLOCK.min(channels - first);
        let (tap, within) = ((k - first * taps) / width, (k - first * taps) % width);
        Self { tap, channel: first + within, run: width - within }
    }
}

/// Packs a weight (out, in, kh, kw): lanes are output channels, k counts the [`Step`]s. At stride 1 it is tap·in + channel,
/// which Winograd's algorithm read too.
pub(crate) fn pack(microkernel: &Microkernel, weight: Stored<'_>, geometry: &Geometry) -> Packed {
    let (channels, taps) = (geometry.input, geometry.taps());
    Packed::new(weight, geometry.output, taps * channels, microkernel.mr, move |out, k| {
        let step = Step::of(k, geometry);
        (out * channels + step.channel) * taps + step.tap
    })
}

/// `x` (b, in, h, w) → (b, out, h', w'). The row bias is (out), or (b, out).
#[allow(unsafe_code)]
pub(crate) fn convolve(
    microkernel: &Microkernel,
    x: &Planes<'_>,
    weight: &Packed,
    geometry: &Geometry,
    epilogue: Epilogue<'_>,
) -> Vec<f32> {
    let pixels = geometry.out_height * geometry.out_width;
    let k = geometry.taps() * geometry.input;
    let shape = Shape::columns_first(microkernel, geometry.output, pixels, k);
    let mut output = Output::new(geometry.batch * geometry.output * pixels);
    let out = output.shared();
    for image in 0..geometry.batch {
        let windows = Windows { microkernel, x, image, geometry };
        let c = out.from(image * geometry.output * pixels);
        let epilogue = Epilogue {
            row_bias: epilogue.row_bias.map(|bias| geometry.bias_of(bias, image)),
            residual: epilogue.residual.map(|residual| &residual[image * geometry.output * pixels..]),
            ..epilogue
        };
        // SAFETY: the image's (out, pixels) block of the output; both operands were packed for `microkernel`.
        unsafe { gemm(microkernel, shape, weight, &windows, (c, pixels), epilogue) };
    }
    // SAFETY: every image's block was written whole.
    unsafe { output.finish() }
}

/// The windows of one image as columns: lanes are output pixels.
struct Windows<'a> {
    microkernel: &'a Microkernel,
    x: &'a Planes<'a>,
    image: usize,
    geometry: &'a Geometry,
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
        // Output columns whose source lies inside a row: padding ≤ x·stride + dx < width + padding.
        let inside_from = g.padding.saturating_sub(dx).div_ceil(g.stride);
        let inside_to = (g.width + g.padding).saturating_sub(dx).div_ceil(g.stride).min(g.out_width);
        let first = panel * self.microkernel.nr;
        let end = (first + self.microkernel.nr).min(g.out_height * g.out_width);
        let mut count: usize = 0;
        let mut at = first;
        // The part of the panel that lies in one output row after the other.
        while at < end {
            let (oy, from) = (at / g.out_width, at % g.out_width);
            let to = (from + end - at).min(g.out_width);
            let y = oy * g.stride + dy;
            let (left, right) = (from.max(inside_from), to.min(inside_to));
            if left < right && (g.padding..g.height + g.padding).contains(&y) {
                let (lane, len) = (at - first + left - from, right - left);
                let source = (y - g.padding) * g.width + left * g.stride + dx - g.padding;
                match count.checked_sub(1).map(|last| &mut runs[last]) {
                    Some(run) if run.lane + run.len == lane && run.source + run.len * g.stride == source => {
                        run.len += len;
                    }
                    _ => {
                        runs[count] = Run { lane, len, source };
                        count += 1;
                    }
                }
            }
            at += to - from;
        }
        count
    }

    /// Panels `panels` over `ks`. Channel by channel, so that a channel's pixels are read in one go: planes of a picture
    /// lie far apart.
    #[inline(always)]
    fn pack<const W: usize>(&self, panels: Range<usize>, ks: Range<usize>, into: &mut [f32]) {
        let stride = self.geometry.stride;
        let (into, _) = into.as_chunks_mut::<W>();
        let mut runs = vec![([Run::default(); LANES], 0); panels.len()];
        let mut k = ks.start;
        while k < ks.end {
            let step = Step::of(k, self.geometry);
            let len = step.run.min(ks.end - k);
            for ((runs, count), panel) in runs.iter_mut().zip(panels.clone()) {
                *count = self.runs(panel, step.tap, runs);
            }
            for i in 0..len {
                let source = self.x.plane(self.image, step.channel + i);
                let rows = into[k + i - ks.start..].iter_mut().step_by(ks.len());
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
            k += len;
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

versions! {
    /// [`Windows::pack`] for the panels of any microkernel.
    fn pack_windows(windows: &Windows<'_>, panels: Range<usize>, ks: Range<usize>, into: &mut [f32]) = pack_body
}

#[inline(always)]
fn pack_body<L: Lanes>(windows: &Windows<'_>, panels: Range<usize>, ks: Range<usize>, into: &mut [f32]) {
    match windows.microkernel.nr {
        8 => windows.pack::<8>(panels, ks, into),
        16 => windows.pack::<16>(panels, ks, into),
        32 => windows.pack::<32>(panels, ks, into),
        lanes => unreachable!("no microkernel has panels of {lanes} lanes"),
    }
}

impl Panels for Windows<'_> {
    fn block<'a>(&'a self, panels: Range<usize>, ks: Range<usize>, space: &'a mut Space) -> Block<'a> {
        let stride = ks.len() * self.microkernel.nr;
        let data = space.get(panels.len() * stride);
        pack_windows(self.microkernel, self, panels, ks, data);
        Block::ready(data, stride)
    }
}
