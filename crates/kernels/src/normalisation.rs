//! Group, instance and layer normalisation: (x − mean)/√(variance + eps), then weight and bias.
//!
//! In the reference, mean and (biased) variance are taken in f32 in two passes; E[x²]−E[x]² would cancel where the mean is
//! large. Sums run over rows first and then over the row means, which keeps f32 exact enough for millions of elements.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::cpu::microkernel::Microkernel;
use crate::cpu::norm::Affine;
use crate::cpu::planes::{self, Planes};
use crate::cpu::{self, Values};
use crate::{Activation, Input};

/// Weight and bias (channels), and eps.
#[derive(Clone, Debug)]
struct Parameters {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Parameters {
    fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        // CUDA's kernels read them in f32: cast once, not at every call.
        let wide = |t: Tensor| {
            if t.device().is_cuda() { t.to_dtype(DType::F32).unwrap_or(t) } else { t }
        };
        Self { weight: wide(weight), bias: wide(bias), eps }
    }

    /// Fails unless they are for so many channels.
    fn check(&self, channels: usize) -> Result<()> {
        if self.weight.elem_count() != channels || self.bias.elem_count() != channels {
            candle_core::bail!("a norm of {} channels cannot take {channels}", self.weight.elem_count());
        }
        Ok(())
    }

    /// Weight and bias in f32, contiguous.
    fn in_f32(&self) -> Result<(Tensor, Tensor)> {
        let wide = |t: &Tensor| t.to_dtype(DType::F32)?.contiguous();
        Ok((wide(&self.weight)?, wide(&self.bias)?))
    }
}

/// Group normalisation (Wu and He 2018) of pictures (b, c, h, w): over each group of channels and all positions.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    parameters: Parameters,
    groups: usize,
    activation: Option<Activation>,
}

impl GroupNorm {
    /// `weight` and `bias`: (channels).
    ///
    /// # Errors
    /// If the channels cannot be cut into so many equal groups, or weight and bias are not of one length.
    pub fn new(weight: Tensor, bias: Tensor, groups: usize, eps: f64) -> Result<Self> {
        let channels = weight.elem_count();
        if groups == 0 || !channels.is_multiple_of(groups) {
            candle_core::bail!("{channels} channels cannot be cut into {groups} groups");
        }
        let parameters = Parameters::new(weight, bias, eps);
        parameters.check(channels)?;
        Ok(Self { parameters, groups, activation: None })
    }

    /// Function applied to the result.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = Some(activation);
        self
    }

    /// The normalised input, of its shape.
    ///
    /// # Errors
    /// Where the input has other channels, or the device fails.
    pub fn forward<'a>(&self, input: impl Into<Input<'a>>) -> Result<Tensor> {
        let input = input.into();
        self.parameters.check(input.channels()?)?;
        if matches!(input, Input::One(_) | Input::Concat(_))
            && input.tensors().iter().all(|x| cpu::supports(x))
        {
            return self.optimised(Microkernel::best(), input.tensors());
        }
        let x = input.materialise()?;
        if cpu::supports(&x) {
            return self.optimised(Microkernel::best(), &[&x]);
        }
        let Parameters { weight, bias, eps } = &self.parameters;
        if let Some(fused) = crate::gpu::group_norm(&x, weight, bias, self.groups, *eps, self.activation) {
            return fused;
        }
        let y = self.reference(&x)?;
        match self.activation {
            Some(activation) => activation.apply(&y),
            None => Ok(y),
        }
    }

    /// The definition, without the activation.
    fn reference(&self, x: &Tensor) -> Result<Tensor> {
        let Parameters { weight, bias, eps } = &self.parameters;
        let affine = |t: &Tensor| t.to_dtype(DType::F32)?.reshape((1, (), 1, 1));
        let y = standardise(x, self.groups, *eps)?;
        y.broadcast_mul(&affine(weight)?)?.broadcast_add(&affine(bias)?)?.to_dtype(x.dtype())
    }

    /// Of pictures concatenated along their channels.
    fn optimised(&self, microkernel: &Microkernel, x: &[&Tensor]) -> Result<Tensor> {
        let (weight, bias) = self.parameters.in_f32()?;
        let (weight, bias) = (Values::of(&weight)?, Values::of(&bias)?);
        let affine = Affine { weight: &weight, bias: &bias };
        grouped(microkernel, x, self.groups, self.parameters.eps, Some(affine), self.activation)
    }
}

/// Each of `groups` groups of channels at zero mean and unit variance, then `affine` and the activation.
fn grouped(
    microkernel: &Microkernel,
    x: &[&Tensor],
    groups: usize,
    eps: f64,
    affine: Option<Affine<'_>>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (images, channels, height, width) = planes::concat_dims(x)?;
    let sizes = [images, groups, channels / groups, height * width];
    let x = planes::in_order(x)?;
    let y = cpu::norm::group(microkernel, &Planes::of(&x)?, sizes, eps, affine, activation);
    Tensor::from_vec(y, (images, channels, height, width), &Device::Cpu)
}

/// Normalises `x` (b, c, h, w) over the positions of each channel, without weight and bias.
///
/// # Errors
/// Where `x` has other dimensions, or the device fails.
pub fn instance_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    if cpu::supports(x) && x.elem_count() > 0 {
        return grouped(Microkernel::best(), &[x], x.dim(1)?, eps, None, None);
    }
    standardise(x, x.dim(1)?, eps)?.to_dtype(x.dtype())
}

/// Layer normalisation (Ba et al. 2016) of `x` (…, channels), over its last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm(Parameters);

impl LayerNorm {
    /// `weight` and `bias`: (channels).
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self(Parameters::new(weight, bias, eps))
    }

    /// The normalised tensor, of `x`'s shape.
    ///
    /// # Errors
    /// Where `x` has other channels, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if cpu::supports(x) {
            return self.optimised(Microkernel::best(), x);
        }
        let Parameters { weight, bias, eps } = &self.0;
        crate::gpu::layer_norm(x, weight, bias, *eps).unwrap_or_else(|| self.reference(x))
    }

    fn optimised(&self, microkernel: &Microkernel, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        self.0.check(width)?;
        let (weight, bias) = self.0.in_f32()?;
        let (weight, bias) = (Values::of(&weight)?, Values::of(&bias)?);
        let x = x.contiguous()?;
        let affine = Affine { weight: &weight, bias: &bias };
        let y = cpu::norm::layer(microkernel, &Values::of(&x)?, width, self.0.eps, affine);
        Tensor::from_vec(y, x.dims(), &Device::Cpu)
    }

    /// The definition.
    fn reference(&self, x: &Tensor) -> Result<Tensor> {
        let Parameters { weight, bias, eps } = &self.0;
        let y = x.to_dtype(DType::F32)?;
        let y = y.broadcast_sub(&y.mean_keepdim(D::Minus1)?)?;
        let variance = y.sqr()?.mean_keepdim(D::Minus1)?;
        let y = y.broadcast_div(&(variance + *eps)?.sqrt()?)?;
        y.broadcast_mul(&weight.to_dtype(DType::F32)?)?
            .broadcast_add(&bias.to_dtype(DType::F32)?)?
            .to_dtype(x.dtype())
    }
}

/// Zero mean and unit variance within each group; (b, c, h, w) f32.
fn standardise(x: &Tensor, groups: usize, eps: f64) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let rows = x.to_dtype(DType::F32)?.reshape((batch, groups, channels / groups, height * width))?;
    let mean = |t: &Tensor| t.mean_keepdim(3)?.mean_keepdim(2);
    let rows = rows.broadcast_sub(&mean(&rows)?)?;
    let variance = mean(&rows.sqr()?)?;
    rows.broadcast_div(&(variance + eps)?.sqrt()?)?.reshape((batch, channels, height, width))
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::{GroupNorm, LayerNorm, grouped, standardise};
    use crate::Activation;
    use crate::compare::{assert_close, noise};
    use crate::cpu::microkernel::Microkernel;

    #[test]
    fn optimised_agrees_with_reference() -> Result<()> {
        for microkernel in Microkernel::all() {
            for ([b, c, h, w], groups) in [
                ([1, 1, 1, 2], 1),
                ([2, 6, 5, 7], 3),
                ([3, 32, 16, 16], 32),
                ([1, 64, 65, 67], 4),
                ([1, 8, 150, 90], 2),
            ] {
                let x = noise(&[b, c, h, w], 1);
                let norm = GroupNorm::new(noise(&[c], 2), noise(&[c], 3), groups, 1e-5)?;
                let silu = norm.clone().activation(Activation::Silu);
                let what = format!("{} {b} {c} {h}x{w}", microkernel.name);
                let want = norm.reference(&x)?;
                assert_close(&norm.optimised(microkernel, &[&x])?, &want, 3e-6, &what);
                assert_close(&silu.optimised(microkernel, &[&x])?, &want.silu()?, 3e-6, &what);
                let parts = [x.narrow(1, 0, c / 3)?, x.narrow(1, c / 3, c - c / 3)?];
                let got = silu.optimised(microkernel, &[&parts[0], &parts[1]])?;
                assert_close(&got, &want.silu()?, 3e-6, &format!("concatenated {what}"));
                let alone = grouped(microkernel, &[&x], c, 1e-5, None, None)?;
                assert_close(&alone, &standardise(&x, c, 1e-5)?, 3e-6, &what);
            }
            for dims in [vec![1, 3], vec![7, 33], vec![2, 50, 640], vec![100, 1280]] {
                let width = dims[dims.len() - 1];
                let x = (noise(&dims, 4) + 3.0)?;
                let norm = LayerNorm::new(noise(&[width], 5), noise(&[width], 6), 1e-5);
                let want = norm.reference(&x)?;
                assert_close(&norm.optimised(microkernel, &x)?, &want, 3e-6, microkernel.name);
            }
        }
        Ok(())
    }

    #[test]
    fn every_activation_follows() -> Result<()> {
        use Activation::{Gelu, QuickGelu, Relu, Sigmoid, Silu};
        let (x, norm) = (noise(&[2, 6, 5, 7], 1), GroupNorm::new(noise(&[6], 2), noise(&[6], 3), 3, 1e-5)?);
        for activation in [Relu, Silu, Gelu, QuickGelu, Sigmoid] {
            let got = norm.clone().activation(activation).forward(&x)?;
            assert_close(&got, &activation.apply(&norm.reference(&x)?)?, 3e-6, &format!("{activation:?}"));
        }
        Ok(())
    }

    #[test]
    fn channels_that_do_not_fit() -> Result<()> {
        let norm =
            |channels, groups| GroupNorm::new(noise(&[channels], 1), noise(&[channels], 2), groups, 1e-5);
        assert!(norm(6, 4).is_err() && norm(6, 0).is_err(), "no whole groups");
        assert!(GroupNorm::new(noise(&[6], 1), noise(&[5], 2), 1, 1e-5).is_err(), "a bias of another length");
        assert!(norm(6, 2)?.forward(&noise(&[1, 8, 2, 2], 1)).is_err(), "other channels");
        Ok(())
    }
}
