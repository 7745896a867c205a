//! What a sampler asks of a model, and how the model may watch and stop the sampler.
//!
//! Everything here speaks the variance-exploding convention of Karras et al. 2022 (arXiv:2206.00364): a noisy sample is
//! `x = x0 + sigma·n` with `n` standard normal, and a denoiser estimates `x0 = E[x0 | x]`. A latent UNet and a
//! pixel-space patch model both fit: `x` is (b, c, h, w) in whatever unit the denoiser calls its own.

use std::ops::ControlFlow;

use candle_core::Tensor;

use crate::Result;

/// Estimates the clean sample behind a noisy one.
pub trait Denoiser {
    /// `x` (b, c, h, w) holds `x0 + sigma·n`; the answer is the estimate of `x0`, of the same shape and type.
    ///
    /// # Errors
    /// Tensor errors, or the model's own through [`Error::denoiser`](crate::Error::denoiser).
    fn denoise(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor>;
}

impl<D: Denoiser + ?Sized> Denoiser for &mut D {
    fn denoise(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        (**self).denoise(x, sigma)
    }
}

impl<D: Denoiser + ?Sized> Denoiser for Box<D> {
    fn denoise(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        (**self).denoise(x, sigma)
    }
}

/// Any closure `(x, sigma) -> x0` is a denoiser through this wrapper.
#[derive(Debug, Clone, Copy)]
pub struct FnDenoiser<F>(pub F);

impl<F: FnMut(&Tensor, f64) -> Result<Tensor>> Denoiser for FnDenoiser<F> {
    fn denoise(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        (self.0)(x, sigma)
    }
}

/// Is notified of every denoiser call, and may stop the run.
///
/// Called with `(0, total)` before the first denoiser call and with `(done, total)` after each; `total` is
/// [`Sampler::calls`](crate::Sampler::calls). [`ControlFlow::Break`] ends the run with
/// [`Error::Stopped`](crate::Error::Stopped) before another call is made.
pub trait SamplingObserver {
    /// `done` of `total` denoiser calls are finished.
    fn on_call(&mut self, done: usize, total: usize) -> ControlFlow<()>;
}

impl<F: FnMut(usize, usize) -> ControlFlow<()>> SamplingObserver for F {
    fn on_call(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        self(done, total)
    }
}

/// A [`SamplingObserver`] that does nothing and stops nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl SamplingObserver for Unobserved {
    fn on_call(&mut self, _done: usize, _total: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
