//! The DPM-Solver++ family: exponential integrators in `t = -ln sigma`, exact while x0 stays put.
//!
//! Two-call SDE form (k-diffusion's `sample_dpmpp_sde`), two-step multistep form (Lu et al. 2022, arXiv:2211.01095, algorithm 2) and its SDE
//! form (midpoint correction).

use candle_core::Tensor;

use super::step::{Run, ancestral_split, toward};
use crate::Result;

/// DPM++ SDE: a first call at sigma, a second between sigma and the next, the step itself from the original `x`.
pub(super) fn two_calls(
    run: &mut Run<'_>,
    mut x: Tensor,
    sigmas: &[f64],
    eta: f64,
    r: f64,
) -> Result<Tensor> {
    for pair in sigmas.windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let first = run.denoise(&x, sigma)?;
        if next == 0.0 {
            x = first;
            continue;
        }
        // The reference passes through f32 logarithms; the tree of noise is sensitive to the last bit.
        let (log, log_next) = (log32(sigma), log32(next));
        let middle = exp32(log + (log_next - log) * r as f32);
        let (sigma, next) = (exp32(log), exp32(log_next));

        let (down, up) = ancestral_split(sigma, middle, eta);
        let x_middle = run.add_noise(toward(&x, &first, down / sigma)?, sigma, middle, up)?;
        let second = run.denoise(&x_middle, middle)?;

        // At r = 1/2 the mixture is the second estimate alone.
        let share = 1.0 / (2.0 * r);
        let x0 = toward(&first, &second, 1.0 - share)?;
        let (down, up) = ancestral_split(sigma, next, eta);
        x = run.add_noise(toward(&x, &x0, down / sigma)?, sigma, next, up)?;
    }
    Ok(x)
}

/// DPM++ 2M: x0 extrapolated from this call and the one before.
pub(super) fn multistep(run: &mut Run<'_>, mut x: Tensor, sigmas: &[f64]) -> Result<Tensor> {
    let mut before: Option<(Tensor, f64)> = None;
    for pair in sigmas.windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let x0 = run.denoise(&x, sigma)?;
        let h = (sigma / next).ln();
        let target = match &before {
            Some((old, h_last)) if next > 0.0 => {
                // x0 + (x0 - old)·h/(2 h_last)
                let weight = h / (2.0 * h_last);
                ((&x0 * (1.0 + weight))? - (old * weight)?)?
            }
            _ => x0.clone(),
        };
        x = toward(&x, &target, next / sigma)?;
        before = Some((x0, h));
    }
    Ok(x)
}

/// DPM++ 2M SDE: the multistep form with noise of its own variance in every step but the last.
pub(super) fn multistep_sde(run: &mut Run<'_>, mut x: Tensor, sigmas: &[f64], eta: f64) -> Result<Tensor> {
    let mut before: Option<(Tensor, f64)> = None;
    for pair in sigmas.windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let x0 = run.denoise(&x, sigma)?;
        if next == 0.0 {
            x = x0;
            continue;
        }
        let h = (sigma / next).ln();
        // Share of x that survives: (next/sigma)·exp(-eta·h).
        let ratio = (-(1.0 + eta) * h).exp();
        let mut moved = toward(&x, &x0, ratio)?;
        if let Some((old, h_last)) = &before {
            let correction = 0.5 * (1.0 - ratio) * h / h_last;
            moved = (moved + ((&x0 - old)? * correction)?)?;
        }
        let up = next * (-(-2.0 * eta * h).exp_m1()).sqrt();
        x = run.add_noise(moved, sigma, next, up)?;
        before = Some((x0, h));
    }
    Ok(x)
}

fn log32(sigma: f64) -> f32 {
    f64::from(sigma as f32).ln() as f32
}

fn exp32(log: f32) -> f64 {
    f64::from(f64::from(log).exp() as f32)
}
