//! First-order samplers: Euler, Euler ancestral and DDIM (one family), and LCM.

use candle_core::Tensor;

use super::step::{Run, ancestral_split, toward};
use crate::Result;

/// Euler to the lower part of each step, then noise up to its end; `eta` 0 is plain Euler.
pub(super) fn ancestral(run: &mut Run<'_>, mut x: Tensor, sigmas: &[f64], eta: f64) -> Result<Tensor> {
    for pair in sigmas.windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let x0 = run.denoise(&x, sigma)?;
        let (down, up) = ancestral_split(sigma, next, eta);
        // Euler: x + (x - x0)/sigma·(down - sigma)
        x = run.add_noise(toward(&x, &x0, down / sigma)?, sigma, next, up)?;
    }
    Ok(x)
}

/// Jump to the estimate of x0, then noise of the next level.
pub(super) fn consistency(run: &mut Run<'_>, mut x: Tensor, sigmas: &[f64]) -> Result<Tensor> {
    for pair in sigmas.windows(2) {
        let x0 = run.denoise(&x, pair[0])?;
        x = run.add_noise(x0, pair[0], pair[1], pair[1])?;
    }
    Ok(x)
}
