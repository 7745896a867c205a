//! Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) and its rescale (Lin et al. 2023,
//! arXiv:2305.08891, section 3.4), in ComfyUI the node `RescaleCFG`.
//!
//! Both combine the conditional and the unconditional estimate of `x0`. At guidance 1 the unconditional pass cannot
//! change the result and is not made.

use candle_core::{D, DType, Tensor};

use crate::{Denoiser, Result};

/// Guidance this close to 1 counts as 1 (Python's `isclose`).
const ONE_TOLERANCE: f64 = 1e-9;

/// Whether guidance by `scale` leaves the conditional estimate as it is, so that nobody need ask for the other.
#[must_use]
pub fn is_unguided(scale: f64) -> bool {
    (scale - 1.0).abs() <= ONE_TOLERANCE * scale.abs().max(1.0)
}

/// A model that can be asked with and without its condition.
pub trait Conditional {
    /// The estimate of `x0` under the condition.
    ///
    /// # Errors
    /// As [`Denoiser::denoise`].
    fn conditional(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor>;

    /// The estimates under the condition and without it, in this order; one batched call if the model can.
    ///
    /// # Errors
    /// As [`Denoiser::denoise`].
    fn both(&mut self, x: &Tensor, sigma: f64) -> Result<(Tensor, Tensor)>;
}

/// A conditional model under guidance is a denoiser.
#[derive(Debug, Clone)]
pub struct Guided<M> {
    /// The model.
    pub model: M,
    /// The guidance scale; 1 asks the conditional model alone.
    pub scale: f64,
    /// The share of rescaled guidance, 0 to 1; `None` is plain guidance.
    pub rescale: Option<f64>,
}

impl<M: Conditional> Denoiser for Guided<M> {
    fn denoise(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        if is_unguided(self.scale) {
            return self.model.conditional(x, sigma);
        }
        let (conditional, unconditional) = self.model.both(x, sigma)?;
        match self.rescale {
            None => cfg(&conditional, &unconditional, self.scale),
            Some(share) => rescale_cfg(x, &conditional, &unconditional, sigma, self.scale, share),
        }
    }
}

/// Plain guidance: `u + scale·(c - u)`, tensors of one shape.
///
/// # Errors
/// Tensor errors.
pub fn cfg(conditional: &Tensor, unconditional: &Tensor, scale: f64) -> Result<Tensor> {
    Ok((unconditional + ((conditional - unconditional)? * scale)?)?)
}

/// Guidance on velocities, brought back to the conditional velocity's deviation by `share` (0 to 1).
///
/// `x`, `conditional` and `unconditional` are (b, c, h, w); the deviation is taken over (c, h, w) of each sample.
///
/// # Errors
/// Tensor errors.
pub fn rescale_cfg(
    x: &Tensor,
    conditional: &Tensor,
    unconditional: &Tensor,
    sigma: f64,
    scale: f64,
    share: f64,
) -> Result<Tensor> {
    let variance = sigma * sigma + 1.0;
    let x_scaled = (x / variance)?;
    let velocity = |x0: &Tensor| -> Result<Tensor> { Ok(((&x_scaled - x0)? * (variance.sqrt() / sigma))?) };
    let v_conditional = velocity(conditional)?;
    let v = cfg(&v_conditional, &velocity(unconditional)?, scale)?;
    let ratio = (deviation(&v_conditional)? / deviation(&v)?)?;
    // share·v·ratio + (1 - share)·v
    let v = v.broadcast_mul(&ratio.affine(share, 1.0 - share)?)?;
    Ok((x_scaled - (v * (sigma / variance.sqrt()))?)?)
}

/// Unbiased standard deviation of each sample, (b, 1, 1, …).
fn deviation(v: &Tensor) -> Result<Tensor> {
    let flat = v.to_dtype(DType::F32)?.flatten_from(1)?;
    let count = flat.dim(D::Minus1)?;
    let centred = flat.broadcast_sub(&flat.mean_keepdim(D::Minus1)?)?;
    let variance = (centred.sqr()?.sum(D::Minus1)? / (count.max(2) - 1) as f64)?;
    let mut shape = vec![1; v.rank()];
    shape[0] = v.dim(0)?;
    Ok(variance.sqrt()?.reshape(shape)?.to_dtype(v.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    struct Counting {
        conditional: usize,
        both: usize,
    }

    impl Conditional for Counting {
        fn conditional(&mut self, x: &Tensor, _sigma: f64) -> Result<Tensor> {
            self.conditional += 1;
            Ok((x * 0.5)?)
        }

        fn both(&mut self, x: &Tensor, _sigma: f64) -> Result<(Tensor, Tensor)> {
            self.both += 1;
            Ok(((x * 0.5)?, (x * 0.25)?))
        }
    }

    fn guided(scale: f64, rescale: Option<f64>) -> (Vec<f32>, Counting) {
        let x = Tensor::new(&[[[[1f32, -2.0, 3.0, 0.5]]]], &Device::Cpu).expect("tensor");
        let mut guided = Guided { model: Counting { conditional: 0, both: 0 }, scale, rescale };
        let out = guided.denoise(&x, 2.0).expect("ok").flatten_all().and_then(|t| t.to_vec1()).expect("f32");
        (out, guided.model)
    }

    #[test]
    fn guidance_one_never_asks_the_unconditional_model() {
        let (out, model) = guided(1.0, Some(0.9));
        assert_eq!((model.conditional, model.both), (1, 0));
        assert_eq!(out, [0.5, -1.0, 1.5, 0.25]);
    }

    #[test]
    fn skipping_at_guidance_one_changes_nothing() {
        let (skipped, _) = guided(1.0, Some(0.9));
        // Just off 1: both passes are made.
        let (whole, model) = guided(1.0 + 1e-8, Some(0.9));
        assert_eq!(model.both, 1);
        for (a, b) in skipped.iter().zip(whole) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }

    #[test]
    fn no_share_of_rescale_is_plain_guidance() {
        let (plain, _) = guided(3.0, None);
        let (rescaled, _) = guided(3.0, Some(0.0));
        for ((a, b), want) in plain.iter().zip(rescaled).zip([1.0, -2.0, 3.0, 0.5]) {
            // u + 3 (c - u) = (0.25 + 0.75) x
            assert!((a - want).abs() < 1e-6 && (b - want).abs() < 1e-5, "{a} {b}");
        }
    }
}
