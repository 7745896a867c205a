//! What a network's output means: noise, or velocity, at a noise level.
//!
//! Networks are trained on `x / sqrt(sigma²+1)` (variance preserving); samplers here hold `x0 + sigma·n`. See Salimans
//! and Ho 2022 (arXiv:2202.00512) for v-prediction, and ComfyUI's `EPS` and `V_PREDICTION` (`model_sampling.py`).

use candle_core::Tensor;

use crate::Result;

/// The quantity a network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prediction {
    /// The noise `n`: `x0 = x - sigma·eps` (SDXL and its fine-tunes).
    #[default]
    Eps,
    /// The velocity: `x0 = x/(sigma²+1) - v·sigma/sqrt(sigma²+1)`.
    V,
}

impl Prediction {
    /// What the network is fed: `x / sqrt(sigma²+1)`.
    ///
    /// # Errors
    /// Tensor errors.
    pub fn model_input(x: &Tensor, sigma: f64) -> Result<Tensor> {
        Ok((x / (sigma * sigma + 1.0).sqrt())?)
    }

    /// The estimate of `x0` from the sampler's `x` and the network's `output`, both (b, c, h, w) f32.
    ///
    /// # Errors
    /// Tensor errors.
    pub fn to_x0(self, x: &Tensor, output: &Tensor, sigma: f64) -> Result<Tensor> {
        let variance = sigma * sigma + 1.0;
        Ok(match self {
            Self::Eps => (x - (output * sigma)?)?,
            Self::V => ((x / variance)? - (output * (sigma / variance.sqrt()))?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_perfect_prediction_gives_back_x0() {
        let device = Device::Cpu;
        let x0 = Tensor::new(&[0.7f32, -1.3], &device).expect("tensor");
        let n = Tensor::new(&[-0.2f32, 1.9], &device).expect("tensor");
        for sigma in [0.03, 1.0, 14.6] {
            let x = (&x0 + (&n * sigma).expect("scale")).expect("add");
            // v = alpha·n - s·x0 with alpha = 1/sqrt(1+sigma²), s = sigma·alpha
            let alpha = 1.0 / f64::sqrt(1.0 + sigma * sigma);
            let v =
                ((&n * alpha).expect("scale") - (&x0 * (sigma * alpha)).expect("scale")).expect("subtract");
            for (kind, output) in [(Prediction::Eps, &n), (Prediction::V, &v)] {
                let back = kind.to_x0(&x, output, sigma).expect("ok").to_vec1::<f32>().expect("f32");
                assert!(
                    (back[0] - 0.7).abs() < 1e-5 && (back[1] + 1.3).abs() < 1e-5,
                    "{kind:?} {sigma} {back:?}"
                );
            }
        }
    }
}
