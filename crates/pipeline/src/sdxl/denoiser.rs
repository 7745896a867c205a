//! The UNet as the sampler sees it: conditions made once per run, hints that act while their noise levels last.

use std::sync::Arc;

use candle_core::Tensor;
use diffusion::{Conditional, Error, Prediction, Result, SigmaRange, SigmaTable};
use networks::unet::{Context, UNet};

/// What one half of guidance knows.
pub(super) struct Condition {
    /// Keys and values of text and image tokens.
    pub(super) context: Context,
    /// Pooled text and sizes, (1, vector width), in the UNet's numeric format.
    pub(super) vector: Tensor,
}

/// Features of a T2I-Adapter, multiplied by their strength, and the noise levels at which they act.
pub(super) struct Hint {
    pub(super) features: Vec<Tensor>,
    pub(super) range: SigmaRange,
}

/// The UNet under the conditions of one run.
pub(super) struct UNetDenoiser {
    pub(super) unet: Arc<UNet>,
    pub(super) prediction: Prediction,
    pub(super) table: SigmaTable,
    pub(super) positive: Condition,
    /// Absent where guidance is 1: then nobody asks for it.
    pub(super) negative: Option<Condition>,
    pub(super) hints: Vec<Hint>,
}

impl UNetDenoiser {
    /// The sum of the features that act at `sigma`.
    fn features(&self, sigma: f64) -> Result<Option<Vec<Tensor>>> {
        let mut sum: Option<Vec<Tensor>> = None;
        for hint in self.hints.iter().filter(|hint| hint.range.contains(sigma)) {
            sum = Some(match sum {
                None => hint.features.clone(),
                Some(sum) => {
                    let pairs = sum.iter().zip(&hint.features);
                    pairs.map(|(a, b)| a + b).collect::<candle_core::Result<_>>()?
                }
            });
        }
        Ok(sum)
    }

    /// The estimate of x0 under `condition`.
    fn estimate(
        &self,
        x: &Tensor,
        sigma: f64,
        condition: &Condition,
        features: Option<&[Tensor]>,
    ) -> Result<Tensor> {
        let input = Prediction::model_input(x, sigma)?;
        let timestep = self.table.timestep(sigma) as f64;
        let output = self
            .unet
            .forward(&input, timestep, &condition.context, &condition.vector, features)
            .map_err(Error::denoiser)?;
        self.prediction.to_x0(x, &output, sigma)
    }
}

impl Conditional for UNetDenoiser {
    fn conditional(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let features = self.features(sigma)?;
        self.estimate(x, sigma, &self.positive, features.as_deref())
    }

    /// One after the other: a batch of two needs twice the memory and is no faster on a device that one sample fills.
    fn both(&mut self, x: &Tensor, sigma: f64) -> Result<(Tensor, Tensor)> {
        let features = self.features(sigma)?;
        let negative = self.negative.as_ref().ok_or_else(|| {
            Error::Invalid("guidance was switched off when the conditions were made".to_owned())
        })?;
        let conditional = self.estimate(x, sigma, &self.positive, features.as_deref())?;
        Ok((conditional, self.estimate(x, sigma, negative, features.as_deref())?))
    }
}
