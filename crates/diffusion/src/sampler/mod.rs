//! Walking a sample down a list of sigmas: one enum of samplers, one function that runs them.
//!
//! All of them solve the reverse diffusion of Karras et al. 2022 (arXiv:2206.00364) in the convention `x = x0 + sigma·n`:
//! [`first_order`] holds Euler, Euler ancestral, DDIM and LCM, [`dpm`] the DPM++ family (Lu et al. 2022, arXiv:2211.01095;
//! stochastic forms as in k-diffusion by K. Crowson). `x` is (b, c, h, w).

mod dpm;
mod first_order;
mod step;

use std::str::FromStr;

use candle_core::Tensor;

use crate::{Denoiser, Error, NoiseSource, Result, SamplingObserver};
use step::Run;

/// A way down the sigmas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampler {
    /// DPM-Solver++(2S) for the SDE, two calls a step; wants a [`BrownianTree`](crate::BrownianTree).
    DpmppSde {
        /// Stochasticity, 0 (ODE) to 1 (SDE).
        eta: f64,
        /// Where in log-sigma the step's second call sits, in (0, 1).
        r: f64,
    },
    /// DPM-Solver++(2M), deterministic, one call a step.
    Dpmpp2m,
    /// DPM-Solver++(2M) for the SDE (midpoint form), one call a step.
    Dpmpp2mSde {
        /// Stochasticity, 0 (the ODE: the same as 2M) to 1.
        eta: f64,
    },
    /// Euler on the probability-flow ODE.
    Euler,
    /// Euler with fresh noise after each step.
    EulerAncestral {
        /// Stochasticity, 0 (Euler) to 1.
        eta: f64,
    },
    /// DDIM (Song et al. 2021, arXiv:2010.02502). In these coordinates its step is Euler's (`eta` 0) or Euler ancestral's
    /// (`eta` 1, DDPM) exactly, which a test shows from the paper's formula.
    Ddim {
        /// Stochasticity, 0 to 1.
        eta: f64,
    },
    /// Latent consistency models (Luo et al. 2023, arXiv:2310.04378): jump to x0, add fresh noise of the next level.
    Lcm,
}

impl Sampler {
    /// The reference's sampler: eta 1, r 1/2.
    pub const DPMPP_SDE: Self = Self::DpmppSde { eta: 1.0, r: 0.5 };

    /// How many denoiser calls a run over `sigmas` makes.
    #[must_use]
    pub fn calls(&self, sigmas: &[f64]) -> usize {
        let steps = sigmas.len().saturating_sub(1);
        match self {
            Self::DpmppSde { .. } => steps + sigmas.iter().skip(1).filter(|s| **s > 0.0).count(),
            _ => steps,
        }
    }

    /// Does it ask its noise source for noise?
    #[must_use]
    pub fn is_stochastic(&self) -> bool {
        match self {
            Self::DpmppSde { eta, .. }
            | Self::Dpmpp2mSde { eta }
            | Self::EulerAncestral { eta }
            | Self::Ddim { eta } => *eta > 0.0,
            Self::Lcm => true,
            Self::Dpmpp2m | Self::Euler => false,
        }
    }

    /// Takes `x` from `sigmas[0]` down to the last sigma and returns it.
    ///
    /// `x` (b, c, h, w) holds `x0 + sigmas[0]·n`; `sigmas` descend strictly and may end in 0. A sampler that is not
    /// stochastic never touches `noise` ([`NoNoise`](crate::NoNoise) will do). `observer` is notified of every call.
    ///
    /// # Errors
    /// [`Error::Stopped`] when `observer` breaks off, [`Error::Invalid`] for unusable sigmas or parameters, and whatever the
    /// denoiser or the noise source returns.
    pub fn sample(
        &self,
        denoiser: &mut dyn Denoiser,
        x: Tensor,
        sigmas: &[f64],
        noise: &mut dyn NoiseSource,
        observer: &mut dyn SamplingObserver,
    ) -> Result<Tensor> {
        self.check(sigmas)?;
        let mut run = Run::begin(denoiser, noise, observer, self.calls(sigmas))?;
        match *self {
            Self::DpmppSde { eta, r } => dpm::two_calls(&mut run, x, sigmas, eta, r),
            Self::Dpmpp2m => dpm::multistep(&mut run, x, sigmas),
            Self::Dpmpp2mSde { eta } => dpm::multistep_sde(&mut run, x, sigmas, eta),
            Self::Euler => first_order::ancestral(&mut run, x, sigmas, 0.0),
            Self::EulerAncestral { eta } | Self::Ddim { eta } => {
                first_order::ancestral(&mut run, x, sigmas, eta)
            }
            Self::Lcm => first_order::consistency(&mut run, x, sigmas),
        }
    }

    fn check(&self, sigmas: &[f64]) -> Result<()> {
        if sigmas.len() < 2 {
            return Err(Error::invalid("a sampler needs at least two sigmas; take them from a Schedule"));
        }
        let usable = sigmas.iter().all(|s| s.is_finite() && *s >= 0.0);
        if !usable || !sigmas.windows(2).all(|pair| pair[0] > pair[1]) {
            return Err(Error::invalid("sigmas must be finite, not negative, and descend strictly"));
        }
        match *self {
            Self::DpmppSde { eta, .. }
            | Self::Dpmpp2mSde { eta }
            | Self::EulerAncestral { eta }
            | Self::Ddim { eta }
                if !(0.0..=1.0).contains(&eta) =>
            {
                Err(Error::invalid(format!("eta is {eta}; it must lie between 0 and 1")))
            }
            Self::DpmppSde { r, .. } if !(r > 0.0 && r < 1.0) => {
                Err(Error::invalid(format!("r is {r}; it must lie between 0 and 1, exclusive")))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Sampler {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "dpmpp_sde" => Ok(Self::DPMPP_SDE),
            "dpmpp_2m" => Ok(Self::Dpmpp2m),
            "dpmpp_2m_sde" => Ok(Self::Dpmpp2mSde { eta: 1.0 }),
            "euler" => Ok(Self::Euler),
            "euler_ancestral" => Ok(Self::EulerAncestral { eta: 1.0 }),
            "ddim" => Ok(Self::Ddim { eta: 0.0 }),
            "lcm" => Ok(Self::Lcm),
            _ => Err(Error::invalid(format!(
                "unknown sampler {name:?}: choose dpmpp_sde, dpmpp_2m, dpmpp_2m_sde, euler, euler_ancestral, ddim or lcm"
            ))),
        }
    }
}

/// The noisy sample a run starts from: `known + noise·sigma`, all (b, c, h, w).
///
/// From the top of the model's range (`sigma` within 1e-5 of `sigma_max`) the noise is scaled by `sqrt(1+sigma²)` instead, as the
/// reference does (ComfyUI's `noise_scaling`, `max_denoise`): there `known` counts as lost in the noise, and `x` has the variance of training.
///
/// # Errors
/// Tensor errors.
pub fn start(noise: &Tensor, known: Option<&Tensor>, sigma: f64, sigma_max: f64) -> Result<Tensor> {
    let from_the_top =
        (sigma - sigma_max).abs() <= 1e-5 * sigma.abs().max(sigma_max.abs()) || sigma > sigma_max;
    let x = (noise * if from_the_top { (1.0 + sigma * sigma).sqrt() } else { sigma })?;
    Ok(match known {
        Some(known) => (x + known)?,
        None => x,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FnDenoiser, NoNoise};
    use candle_core::Device;
    use std::ops::ControlFlow;

    const ALL: [&str; 7] =
        ["dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "euler", "euler_ancestral", "ddim", "lcm"];

    fn zeros() -> Tensor {
        Tensor::zeros((1, 1, 2, 2), candle_core::DType::F32, &Device::Cpu).expect("tensor")
    }

    fn fresh() -> crate::FreshNoise {
        crate::FreshNoise::new(crate::Generator::Mt19937, 1, (1, 1, 2, 2), &Device::Cpu)
    }

    #[test]
    fn the_watch_counts_every_call_and_can_stop_before_any() {
        let sigmas = [4.0, 2.0, 1.0, 0.0];
        for name in ALL {
            let sampler: Sampler = name.parse().expect("known");
            for stop_at in 0..=sampler.calls(&sigmas) {
                let (mut made, mut events) = (0, Vec::new());
                let mut denoiser = FnDenoiser(|x: &Tensor, _: f64| {
                    made += 1;
                    Ok(x.clone())
                });
                let mut observer = |done: usize, total: usize| {
                    events.push((done, total));
                    if done == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                };
                let out = sampler.sample(&mut denoiser, zeros(), &sigmas, &mut fresh(), &mut observer);
                assert!(matches!(out, Err(Error::Stopped)), "{name}");
                assert_eq!(made, stop_at, "{name}");
                let total = sampler.calls(&sigmas);
                assert_eq!(events, (0..=stop_at).map(|done| (done, total)).collect::<Vec<_>>(), "{name}");
            }
        }
    }

    #[test]
    fn deterministic_samplers_ask_for_no_noise() {
        for name in ALL {
            let sampler: Sampler = name.parse().expect("known");
            let mut denoiser = FnDenoiser(|x: &Tensor, _: f64| Ok((x * 0.5)?));
            let mut unobserved = crate::Unobserved;
            let out = sampler.sample(&mut denoiser, zeros(), &[2.0, 1.0, 0.0], &mut NoNoise, &mut unobserved);
            assert_eq!(out.is_err(), sampler.is_stochastic(), "{name}");
        }
    }

    #[test]
    fn unusable_sigmas_and_parameters_are_refused() {
        let mut denoiser = FnDenoiser(|x: &Tensor, _: f64| Ok(x.clone()));
        let mut try_it = |sampler: Sampler, sigmas: &[f64]| {
            sampler.sample(&mut denoiser, zeros(), sigmas, &mut NoNoise, &mut crate::Unobserved).is_err()
        };
        assert!(try_it(Sampler::Euler, &[1.0]));
        assert!(try_it(Sampler::Euler, &[1.0, 1.0, 0.0]));
        assert!(try_it(Sampler::Euler, &[f64::NAN, 0.0]));
        assert!(try_it(Sampler::Euler, &[1.0, -1.0]));
        assert!(try_it(Sampler::EulerAncestral { eta: 1.5 }, &[1.0, 0.0]));
        assert!(try_it(Sampler::DpmppSde { eta: 1.0, r: 0.0 }, &[1.0, 0.0]));
        assert!(!try_it(Sampler::Euler, &[1.0, 0.0]));
    }

    #[test]
    fn starts() {
        let one = Tensor::new(&[1f32], &Device::Cpu).expect("tensor");
        let first = |t: Tensor| t.to_vec1::<f32>().expect("f32")[0];
        assert!((first(start(&one, Some(&one), 3.0, 3.0).expect("ok")) - (10f32.sqrt() + 1.0)).abs() < 1e-6);
        assert!((first(start(&one, None, 2.0, 3.0).expect("ok")) - 2.0).abs() < 1e-6);
    }
}
