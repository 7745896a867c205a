//! Two-dimensional convolutions over (batch, channels, height, width).
//!
//! A [`Conv2d`] owns its weight, so that a faster form may keep it packed; [`conv2d`] and [`conv_transpose2d`]
//! apply it. "Convolution" is cross-correlation, as in every deep-learning framework.

use candle_core::{Result, Tensor};

use crate::Activation;

/// A convolution: weight (out, in, kh, kw), optional bias (out), geometry, optional activation after the bias.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
    dilation: usize,
    activation: Option<Activation>,
}

impl Conv2d {
    /// Stride 1, no padding, no dilation, no activation. `weight`: (out, in, kh, kw); `bias`: (out).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias, stride: 1, padding: 0, dilation: 1, activation: None }
    }

    /// Steps of the window along both axes.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Zeros put around the input on all four sides.
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// Distance of neighbouring taps.
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = dilation;
        self
    }

    /// Function applied after the bias.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = Some(activation);
        self
    }
}

/// `x` (b, in, h, w) → (b, out, h', w') with h' = (h + 2·padding − dilation·(kh−1) − 1)/stride + 1.
pub fn conv2d(x: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    let y = x.contiguous()?.conv2d(&conv.weight, conv.padding, conv.stride, conv.dilation, 1)?;
    finish(y, conv.bias.as_ref(), conv.activation)
}

/// A transposed convolution: weight (in, out, kh, kw), optional bias (out).
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
    output_padding: usize,
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
        Self { weight, bias, stride, padding, output_padding }
    }
}

/// `x` (b, in, h, w) → (b, out, h', w') with h' = (h−1)·stride − 2·padding + kh + output_padding.
pub fn conv_transpose2d(x: &Tensor, conv: &ConvTranspose2d) -> Result<Tensor> {
    let y =
        x.contiguous()?.conv_transpose2d(&conv.weight, conv.padding, conv.output_padding, conv.stride, 1)?;
    finish(y, conv.bias.as_ref(), None)
}

fn finish(y: Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Result<Tensor> {
    let y = match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?)?,
        None => y,
    };
    match activation {
        Some(activation) => activation.apply(&y),
        None => Ok(y),
    }
}
