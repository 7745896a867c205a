//! Pointwise functions: ReLU, SiLU, the two GELUs in use, sigmoid, and the gated GEGLU.
//!
//! GELU is the exact form x·Φ(x) (error function); the tanh approximation is used by none of the reference's
//! networks. `quick_gelu` is x·σ(1.702x) (CLIP-L). All keep shape and dtype.

use candle_core::{D, Device, Result, Tensor};

use crate::cpu::microkernel::Microkernel;
use crate::cpu::{self, Values};

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
    ///
    /// # Errors
    /// Where the device fails.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        if cpu::supports(x) { self.optimised(Microkernel::best(), x) } else { self.reference(x) }
    }

    /// The definition.
    fn reference(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Relu => x.relu(),
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Sigmoid => candle_nn::ops::sigmoid(x),
        }
    }

    fn optimised(self, microkernel: &Microkernel, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        let y = cpu::pointwise::activate(microkernel, &Values::of(&x)?, self);
        Tensor::from_vec(y, x.dims(), &Device::Cpu)
    }
}

/// x·σ(x) (SiLU, also called swish).
///
/// # Errors
/// Where the device fails.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    Activation::Silu.apply(x)
}

/// x·Φ(x) with the error function.
///
/// # Errors
/// Where the device fails.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    Activation::Gelu.apply(x)
}

/// x·σ(1.702x), the approximation OpenAI's CLIP was trained with.
///
/// # Errors
/// Where the device fails.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    Activation::QuickGelu.apply(x)
}

/// 1/(1+e^-x).
///
/// # Errors
/// Where the device fails.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Activation::Sigmoid.apply(x)
}

/// Halves the last dimension into (value, gate), value first, and returns value·gelu(gate) (Shazeer 2020, GEGLU).
///
/// # Errors
/// Where the last dimension is odd, or the device fails.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    if cpu::supports(x) {
        return optimised_geglu(Microkernel::best(), x);
    }
    crate::gpu::geglu(x, None).unwrap_or_else(|| reference_geglu(x))
}

/// The definition.
fn reference_geglu(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let value = x.narrow(D::Minus1, 0, half)?;
    let gate = x.narrow(D::Minus1, half, half)?;
    value * Activation::Gelu.reference(&gate.contiguous()?)?
}

fn optimised_geglu(microkernel: &Microkernel, x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if !width.is_multiple_of(2) {
        candle_core::bail!("value and gate need an even width, got {width}");
    }
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = width / 2;
    }
    let x = x.contiguous()?;
    let y = cpu::pointwise::geglu(microkernel, &Values::of(&x)?, width / 2);
    Tensor::from_vec(y, dims, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::{Activation, optimised_geglu, reference_geglu};
    use crate::compare::{assert_close, noise};
    use crate::cpu::microkernel::Microkernel;

    #[test]
    fn optimised_agrees_with_reference() -> Result<()> {
        use Activation::{Gelu, QuickGelu, Relu, Sigmoid, Silu};
        for microkernel in Microkernel::all() {
            for activation in [Relu, Silu, Gelu, QuickGelu, Sigmoid] {
                for (count, factor) in [(1, 1.0), (7, 4.0), (70_000, 12.0), (1001, 100.0)] {
                    let x = (noise(&[count], 1) * factor)?;
                    let what = format!("{activation:?} {}", microkernel.name);
                    assert_close(
                        &activation.optimised(microkernel, &x)?,
                        &activation.reference(&x)?,
                        1e-6,
                        &what,
                    );
                }
                let x = noise(&[4, 9], 2).t()?;
                assert_close(
                    &activation.optimised(microkernel, &x)?,
                    &activation.reference(&x)?,
                    1e-6,
                    "transposed",
                );
            }
            for dims in [vec![2], vec![3, 4, 26], vec![300, 640]] {
                let x = (noise(&dims, 3) * 5.0)?;
                assert_close(
                    &optimised_geglu(microkernel, &x)?,
                    &reference_geglu(&x)?,
                    1e-6,
                    microkernel.name,
                );
            }
        }
        Ok(())
    }
}
