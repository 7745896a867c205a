//! What all samplers share: counted denoiser calls, and the split of a step into a deterministic part and fresh noise.

use std::ops::ControlFlow;

use candle_core::Tensor;

use crate::{Denoiser, Error, NoiseSource, Result, SamplingObserver};

/// One run of a sampler: the denoiser, its noise, and who is watching.
pub(super) struct Run<'a> {
    denoiser: &'a mut dyn Denoiser,
    noise: &'a mut dyn NoiseSource,
    observer: &'a mut dyn SamplingObserver,
    done: usize,
    total: usize,
}

impl<'a> Run<'a> {
    /// Tells `observer` that nothing is done yet, which is the first chance to stop.
    pub(super) fn begin(
        denoiser: &'a mut dyn Denoiser,
        noise: &'a mut dyn NoiseSource,
        observer: &'a mut dyn SamplingObserver,
        total: usize,
    ) -> Result<Self> {
        let mut run = Self { denoiser, noise, observer, done: 0, total };
        run.report()?;
        Ok(run)
    }

    pub(super) fn denoise(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let x0 = self.denoiser.denoise(x, sigma)?;
        self.done += 1;
        self.report()?;
        Ok(x0)
    }

    /// `x + scale·N(from, to)`; no noise is drawn when `scale` is 0.
    pub(super) fn add_noise(&mut self, x: Tensor, from: f64, to: f64, scale: f64) -> Result<Tensor> {
        if scale == 0.0 {
            return Ok(x);
        }
        let noise = self.noise.between(from, to)?.to_dtype(x.dtype())?;
        Ok((x + (noise * scale)?)?)
    }

    fn report(&mut self) -> Result<()> {
        match self.observer.on_call(self.done, self.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped),
        }
    }
}

/// `(down, up)`: step deterministically to `down`, then add noise of deviation `up`; `down² + up² = to²`.
///
/// `eta` 1 gives the posterior variance of DDPM, `to²·(from²-to²)/from²`.
pub(super) fn ancestral_split(from: f64, to: f64, eta: f64) -> (f64, f64) {
    let up = (eta * to * ((from * from - to * to).max(0.0)).sqrt() / from).min(to);
    ((to * to - up * up).max(0.0).sqrt(), up)
}

/// `ratio·x + (1-ratio)·x0`: the exact move along the ODE from sigma to `ratio·sigma` while `x0` stays put.
pub(super) fn toward(x: &Tensor, x0: &Tensor, ratio: f64) -> Result<Tensor> {
    if ratio == 0.0 {
        return Ok(x0.clone());
    }
    Ok(((x * ratio)? + (x0 * (1.0 - ratio))?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_of_six_karras_steps() {
        // Computed beforehand from the definition: sigma, midpoint, then down/sigma and up to the midpoint and to the next sigma.
        let table = [
            (14.614643, 9.428068, 0.416168, 7.203881, 6.082151, 0.173196, 5.530425),
            (6.082151, 3.684603, 0.367001, 2.931516, 2.232154, 0.134690, 2.076396),
            (2.232154, 1.243352, 0.310270, 1.032604, 0.692571, 0.096267, 0.658391),
            (0.692571, 0.342883, 0.245111, 0.297911, 0.169757, 0.060079, 0.164578),
            (0.169757, 0.070366, 0.171818, 0.064036, 0.029167, 0.029521, 0.028733),
        ];
        for (sigma, middle, middle_ratio, middle_up, next, ratio, up) in table {
            for (to, want_ratio, want_up) in [(middle, middle_ratio, middle_up), (next, ratio, up)] {
                let (down, got_up) = ancestral_split(sigma, to, 1.0);
                assert!((down / sigma - want_ratio).abs() < 2e-6, "{sigma} to {to}: {}", down / sigma);
                assert!((got_up - want_up).abs() < 3e-6, "{sigma} to {to}: {got_up}");
            }
        }
        assert_eq!(ancestral_split(2.0, 1.0, 0.0), (1.0, 0.0));
    }
}
