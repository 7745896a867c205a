//! Two-dimensional convolutions over (batch, channels, height, width).
//!
//! A [`Conv2d`] owns its weight, so that the optimised algorithms may keep it packed. "Convolution" is cross-correlation, as
//! in every deep-learning framework.

mod optimised;
mod reference;
#[cfg(test)]
mod tests;

use candle_core::{Result, Tensor};

use crate::cpu::microkernel::Microkernel;
use crate::weight::Weight;
use crate::window::Window;
use crate::{Activation, Input};

pub(crate) use optimised::{Algorithm, convolve_with};
pub(crate) use reference::biased;

/// A convolution: weight (out, in, kh, kw), optional bias (out), the window's steps, optional activation after the bias.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Weight,
    bias: Option<Tensor>,
    window: Window,
    activation: Option<Activation>,
    exact: bool,
}

impl Conv2d {
    /// Stride 1, no padding, no dilation, no activation. `weight`: (out, in, kh, kw); `bias`: (out).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        let weight = Weight::new(weight);
        Self { weight, bias, window: Window::default(), activation: None, exact: false }
    }

    /// Steps of the window along both axes.
    pub fn stride(mut self, stride: usize) -> Self {
        self.window.stride = stride;
        self
    }

    /// Zeros put around the input on all four sides.
    pub fn padding(mut self, padding: usize) -> Self {
        self.window.padding = padding;
        self
    }

    /// Further zeros put to the right and below only.
    pub fn padding_end(mut self, padding: usize) -> Self {
        self.window.padding_end = padding;
        self
    }

    /// Distance of neighbouring taps.
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.window.dilation = dilation;
        self
    }

    /// Function applied after the bias.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = Some(activation);
        self
    }

    /// Only algorithms that round as finely as a direct sum: by 3e-7 (relative, L2) instead of the 2e-6 of Winograd's
    /// F(4×4, 3×3) (the table in `cpu/winograd`).
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// `input` (b, in, h, w) → (b, out, h', w') with
    /// h' = (h + 2·padding + padding_end − dilation·(kh−1) − 1)/stride + 1.
    ///
    /// # Errors
    /// Where the weight does not fit the input, or the device fails.
    pub fn forward<'a>(&self, input: impl Into<Input<'a>>) -> Result<Tensor> {
        self.run(input.into(), None)
    }

    /// [`Conv2d::forward`] plus `residual` before the activation: a skip (b, out, h', w'), or one value for each channel
    /// (b, out, 1, 1).
    ///
    /// # Errors
    /// Where the weight does not fit the input, the residual not the result, or the device fails.
    pub fn forward_with_residual<'a>(
        &self,
        input: impl Into<Input<'a>>,
        residual: &Tensor,
    ) -> Result<Tensor> {
        self.run(input.into(), Some(residual))
    }

    fn run(&self, input: Input<'_>, residual: Option<&Tensor>) -> Result<Tensor> {
        if input.tensors().iter().all(|x| self.weight.supports(x)) {
            optimised::convolve(Microkernel::best(), input, self, residual)
        } else {
            reference::convolve(&input.materialise()?, self, residual)
        }
    }
}
