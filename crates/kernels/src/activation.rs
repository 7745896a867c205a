//! Pointwise functions: ReLU, SiLU, the two GELUs in use, sigmoid, and the gated GEGLU.
//!
//! GELU is the exact form x·Φ(x) (error function); the tanh approximation is used by none of the reference's
//! networks. `quick_gelu` is x·σ(1.702x) (CLIP-L). All keep shape and dtype.

use candle_core::{D, Device, Result, Tensor};

use crate::cpu;
use crate::cpu::micro::Micro;

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
        match cpu::takes(x) {
            true => self.fast(Micro::best(), x),
            false => self.plain(x),
        }
    }

    /// The definition.
    fn plain(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Relu => x.relu(),
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Sigmoid => candle_nn::ops::sigmoid(x),
        }
    }

    fn fast(self, micro: &Micro, x: &Tensor) -> Result<Tensor> {
        let y = cpu::read_contiguous(x, |values| Ok(cpu::pointwise::activate(micro, values, self)))?;
        Tensor::from_vec(y, x.dims(), &Device::Cpu)
    }
}

/// x·σ(x) (SiLU, also called swish).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    Activation::Silu.apply(x)
}

/// x·Φ(x) with the error function.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    Activation::Gelu.apply(x)
}

/// x·σ(1.702x), the approximation OpenAI's CLIP was trained with.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    Activation::QuickGelu.apply(x)
}

/// 1/(1+e^-x).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Activation::Sigmoid.apply(x)
}

/// Halves the last dimension into (value, gate), value first, and returns value·gelu(gate) (Shazeer 2020, GEGLU).
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    match cpu::takes(x) {
        true => fast_geglu(Micro::best(), x),
        false => crate::gpu::geglu(x, None).unwrap_or_else(|| plain_geglu(x)),
    }
}

/// The definition.
fn plain_geglu(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let value = x.narrow(D::Minus1, 0, half)?;
    let gate = x.narrow(D::Minus1, half, half)?;
    value * Activation::Gelu.plain(&gate.contiguous()?)?
}

fn fast_geglu(micro: &Micro, x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if !width.is_multiple_of(2) {
        candle_core::bail!("value and gate need an even width, got {width}");
    }
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = width / 2;
    }
    let y = cpu::read_contiguous(x, |values| Ok(cpu::pointwise::geglu(micro, values, width / 2)))?;
    Tensor::from_vec(y, dims, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::{Activation, fast_geglu, plain_geglu};
    use crate::compare::{assert_close, noise};
    use crate::cpu::micro::Micro;

    #[test]
    fn fast_forms_agree_with_the_plain_ones() -> Result<()> {
        use Activation::{Gelu, QuickGelu, Relu, Sigmoid, Silu};
        for micro in Micro::all() {
            for activation in [Relu, Silu, Gelu, QuickGelu, Sigmoid] {
                for (count, factor) in [(1, 1.0), (7, 4.0), (70_000, 12.0), (1001, 100.0)] {
                    let x = (noise(&[count], 1) * factor)?;
                    let what = format!("{activation:?} {}", micro.name);
                    assert_close(&activation.fast(micro, &x)?, &activation.plain(&x)?, 1e-6, &what);
                }
                let x = noise(&[4, 9], 2).t()?;
                assert_close(&activation.fast(micro, &x)?, &activation.plain(&x)?, 1e-6, "transposed");
            }
            for dims in [vec![2], vec![3, 4, 26], vec![300, 640]] {
                let x = (noise(&dims, 3) * 5.0)?;
                assert_close(&fast_geglu(micro, &x)?, &plain_geglu(&x)?, 1e-6, micro.name);
            }
        }
        Ok(())
    }
}
