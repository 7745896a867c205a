//! Transposed convolution over (batch, channels, height, width): the adjoint of a convolution, which enlarges.

use std::sync::OnceLock;

use candle_core::{Device, Result, Tensor};

use crate::convolution::{Algorithm, Conv2d, biased, convolve_with};
use crate::cpu;
use crate::cpu::geometry::Geometry;
use crate::cpu::microkernel::Microkernel;
use crate::cpu::resize::interleave;

/// A transposed convolution: weight (in, out, kh, kw), optional bias (out).
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
    output_padding: usize,
    /// One convolution for every phase, row by row; made at first use.
    phases: OnceLock<Vec<Conv2d>>,
}

impl ConvTranspose2d {
    /// `padding` is taken off each side of the result, `output_padding` is added below and to the right.
    pub fn new(
        weight: Tensor,
        bias: Option<Tensor>,
        stride: usize,
        padding: usize,
        output_padding: usize,
    ) -> Self {
        Self { weight, bias, stride, padding, output_padding, phases: OnceLock::new() }
    }

    /// `x` (b, in, h, w) → (b, out, h', w') with h' = (h−1)·stride − 2·padding + kh + output_padding.
    ///
    /// # Errors
    /// Where the weight does not fit `x`, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if cpu::supports(x) { optimised(Microkernel::best(), x, self) } else { reference(x, self) }
    }

    /// Values of the result along an axis that has `input` values and a kernel of `kernel`.
    fn length(&self, input: usize, kernel: usize) -> Option<usize> {
        let whole = input.checked_sub(1)? * self.stride + kernel + self.output_padding;
        whole.checked_sub(2 * self.padding).filter(|n| *n >= self.stride)
    }

    /// For every phase, the taps (in the order of their sources) that make each of its values out of the source at the
    /// same place and its successors; `None` if a phase needs predecessors, or has no taps.
    ///
    /// Value stride·i + phase is the sum over taps t of w[t]·x[(stride·i + phase + padding − t)/stride].
    fn taps(&self, kernel: usize) -> Option<Vec<Vec<u32>>> {
        let phase = |phase: usize| {
            let (first, reach) = ((phase + self.padding) % self.stride, (phase + self.padding) / self.stride);
            let taps: Vec<u32> = (first..kernel).step_by(self.stride).rev().map(|t| t as u32).collect();
            (taps.len() == reach + 1).then_some(taps)
        };
        (0..self.stride).map(phase).collect()
    }
}

/// The definition.
fn reference(x: &Tensor, conv: &ConvTranspose2d) -> Result<Tensor> {
    let y =
        x.contiguous()?.conv_transpose2d(&conv.weight, conv.padding, conv.output_padding, conv.stride, 1)?;
    biased(y, conv.bias.as_ref())
}

/// A convolution of the small picture for each phase of the large one, where that is all there is to it.
fn optimised(microkernel: &'static Microkernel, x: &Tensor, conv: &ConvTranspose2d) -> Result<Tensor> {
    let ((batch, _, height, width), (_, output, kh, kw)) = (x.dims4()?, conv.weight.dims4()?);
    let (Some(rows), Some(columns)) = (conv.taps(kh), conv.taps(kw)) else { return reference(x, conv) };
    let (Some(out_height), Some(out_width)) = (conv.length(height, kh), conv.length(width, kw)) else {
        return reference(x, conv);
    };
    if conv.phases.get().is_none() {
        let made = phases(conv, &rows, &columns)?;
        let _ = conv.phases.set(made); // Another thread may have been faster.
    }
    let parts = conv.phases.get().map_or(&[][..], Vec::as_slice);
    let part = |phase: usize| {
        let along = |length: usize, phase: usize| (length - phase).div_ceil(conv.stride);
        let geometry = Geometry {
            out_height: along(out_height, phase / conv.stride),
            out_width: along(out_width, phase % conv.stride),
            ..parts[phase].geometry(x.dims4()?)?
        };
        convolve_with(Algorithm::ImplicitGemm, microkernel, &[x], &parts[phase], geometry, None)
    };
    let y = interleave(batch * output, conv.stride, (out_height, out_width), part)?;
    Tensor::from_vec(y, (batch, output, out_height, out_width), &Device::Cpu)
}

fn phases(conv: &ConvTranspose2d, rows: &[Vec<u32>], columns: &[Vec<u32>]) -> Result<Vec<Conv2d>> {
    let weight = conv.weight.transpose(0, 1)?.contiguous()?;
    let chosen = |taps: &Vec<u32>| Tensor::from_slice(taps, taps.len(), weight.device());
    let mut phases = Vec::with_capacity(rows.len() * columns.len());
    for row in rows {
        let weight = weight.index_select(&chosen(row)?, 2)?;
        for column in columns {
            let part = Conv2d::new(weight.index_select(&chosen(column)?, 3)?, conv.bias.clone());
            phases.push(part.padding_end(row.len().max(column.len()) - 1));
        }
    }
    Ok(phases)
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::{ConvTranspose2d, optimised, reference};
    use crate::compare::{assert_close, noise};
    use crate::cpu::microkernel::Microkernel;

    #[test]
    fn optimised_agrees_with_reference() -> Result<()> {
        for microkernel in Microkernel::all() {
            // batch, in, out, height, width, kernel, stride, padding, output padding; the last two need predecessors.
            for [b, i, o, h, w, k, s, p, extra] in [
                [1, 1, 1, 1, 1, 2, 2, 0, 0],
                [2, 5, 7, 9, 40, 3, 2, 1, 1],
                [1, 33, 18, 13, 6, 3, 2, 1, 0],
                [1, 6, 9, 11, 5, 4, 4, 0, 0],
                [2, 17, 3, 4, 7, 2, 2, 0, 0],
                [1, 3, 4, 8, 9, 1, 1, 0, 0],
                [1, 3, 4, 8, 9, 4, 2, 1, 0],
                [1, 2, 3, 5, 6, 3, 1, 1, 0],
            ] {
                let (weight, bias) = (noise(&[i, o, k, k], 1), noise(&[o], 2));
                let conv = ConvTranspose2d::new(weight, Some(bias), s, p, extra);
                let x = noise(&[b, i, h, w], 3);
                let what = format!("{} {b} {i}->{o} {h}x{w} k{k} s{s} p{p}+{extra}", microkernel.name);
                assert_close(&optimised(microkernel, &x, &conv)?, &reference(&x, &conv)?, 2e-6, &what);
            }
        }
        Ok(())
    }

    #[test]
    fn the_networks_own_shapes_are_optimised() {
        for (kernel, stride, padding) in [(3, 2, 1), (2, 2, 0), (4, 4, 0)] {
            let conv = ConvTranspose2d::new(noise(&[1, 1, kernel, kernel], 1), None, stride, padding, 0);
            assert!(conv.taps(kernel).is_some(), "{kernel} {stride} {padding}");
        }
    }
}
