//! Pointwise functions: ReLU, SiLU, the two GELUs in use, sigmoid, and the gated GEGLU.
//!
//! GELU is the exact form x·Φ(x) (error function); the tanh approximation is used by none of the reference's
//! networks. `quick_gelu` is x·σ(1.702x) (CLIP-L). All keep shape and dtype.

use candle_core::{D, Result, Tensor};

/// A pointwise function that may follow a convolution or a linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x·σ(x).
    Silu,
    /// x·Φ(x), exact.
    Gelu,
    /// x·σ(1.702x).
    QuickGelu,
    /// 1/(1+e^-x).
    Sigmoid,
}

impl Activation {
    /// The function applied to every element of `x`.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Relu => x.relu(),
            Self::Silu => silu(x),
            Self::Gelu => gelu(x),
            Self::QuickGelu => quick_gelu(x),
            Self::Sigmoid => sigmoid(x),
        }
    }
}

/// x·σ(x) (SiLU, also called swish).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x.silu()
}

/// x·Φ(x) with the error function.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// x·σ(1.702x), the approximation OpenAI's CLIP was trained with.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x * sigmoid(&(x * 1.702)?)?
}

/// 1/(1+e^-x).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::sigmoid(x)
}

/// Halves the last dimension into (value, gate), value first, and returns value·gelu(gate) (Shazeer 2020, GEGLU).
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let value = x.narrow(D::Minus1, 0, half)?;
    let gate = x.narrow(D::Minus1, half, half)?;
    value * gelu(&gate.contiguous()?)?
}
