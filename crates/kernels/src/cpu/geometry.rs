//! Sizes of a convolution on the CPU.

use candle_core::Result;

use crate::window::Window;

/// Sizes of a convolution of one input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) input: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) output: usize,
    pub(crate) kernel_height: usize,
    pub(crate) kernel_width: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

impl Geometry {
    /// For pictures of `dims` (b, in, h, w) and a weight of `weight` (out, in, kh, kw).
    ///
    /// # Errors
    /// If the weight does not fit these pictures.
    pub(crate) fn new(dims: (usize, usize, usize, usize), weight: &[usize], window: &Window) -> Result<Self> {
        let (batch, input, height, width) = dims;
        let &[output, channels, kernel_height, kernel_width] = weight else {
            candle_core::bail!("a convolution's weight has four dimensions, not {weight:?}")
        };
        let Window { stride, padding, dilation, .. } = *window;
        match (window.count(height, kernel_height), window.count(width, kernel_width)) {
            (Some(out_height), Some(out_width)) if channels == input && stride > 0 => Ok(Self {
                batch,
                input,
                height,
                width,
                output,
                kernel_height,
                kernel_width,
                stride,
                padding,
                dilation,
                out_height,
                out_width,
            }),
            _ => candle_core::bail!(
                "a convolution of {weight:?} (stride {stride}, padding {padding}, dilation {dilation}) cannot take {dims:?}"
            ),
        }
    }

    /// Taps of the window.
    pub(crate) fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// An image's share of a bias (out), which is for all images, or (b, out).
    pub(crate) fn bias_of<'a>(&self, bias: &'a [f32], image: usize) -> &'a [f32] {
        let own = if bias.len() > self.output { image * self.output } else { 0 };
        &bias[own..own + self.output]
    }

    /// Dimensions of the result: (b, out, h', w').
    pub(crate) fn out_dims(&self) -> [usize; 4] {
        [self.batch, self.output, self.out_height, self.out_width]
    }
}
