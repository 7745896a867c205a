//! The UNet as the sampler sees it: conditions made once per run, hints that act while their noise levels last.

use std::sync::Arc;

use candle_core::Tensor;
use diffusion::{Conditional, Error, Prediction, Result, SigmaRange, SigmaTable};
use networks::unet::{Context, UNet};

/// What one half of guidance knows, or both in one batch.
pub(super) struct Condition {
    /// Keys and values of text and image tokens.
    pub(super) context: Context,
    /// Pooled text and sizes, (1 or 2, vector width), in the UNet's numeric format.
    pub(super) vector: Tensor,
}

/// What the UNet is asked under.
pub(super) enum Conditions {
    /// Guidance is 1: nobody asks without the condition.
    Positive(Condition),
    /// With and without, one after the other: for the CPU, which one sample fills, and where memory is short.
    Each(Condition, Condition),
    /// With and without, in one batch of two.
    Together(Condition),
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
    pub(super) conditions: Conditions,
    pub(super) hints: Vec<Hint>,
    /// The last sum of features, and which hints are in it.
    pub(super) summed: Option<(Vec<bool>, Vec<Tensor>)>,
}

impl UNetDenoiser {
    /// Sums the features that act at `sigma`, where they differ from those of the call before.
    fn sum_features(&mut self, sigma: f64, vector: &Tensor) -> Result<()> {
        let active: Vec<bool> = self.hints.iter().map(|hint| hint.range.contains(sigma)).collect();
        if self.summed.as_ref().is_some_and(|(known, _)| *known == active) {
            return Ok(());
        }
        let mut sum: Vec<Tensor> = Vec::new();
        for (hint, _) in self.hints.iter().zip(&active).filter(|(_, active)| **active) {
            sum = match sum.is_empty() {
                true => hint.features.clone(),
                false => {
                    let pairs = sum.iter().zip(&hint.features);
                    pairs.map(|(a, b)| a + b).collect::<candle_core::Result<_>>()?
                }
            };
        }
        let laid_out = sum.iter().map(|feature| kernels::laid_out_for(vector.dtype(), feature));
        self.summed = Some((active, laid_out.collect::<candle_core::Result<_>>()?));
        Ok(())
    }

    /// The estimate of x0 (b, 4, h, w) under `condition`, for as many samples as it is made for.
    fn estimate(&self, x: &Tensor, sigma: f64, condition: &Condition) -> Result<Tensor> {
        let features = self.summed.as_ref().map(|(_, sum)| sum.as_slice()).filter(|sum| !sum.is_empty());
        let input = Prediction::model_input(x, sigma)?;
        let timestep = self.table.timestep(sigma) as f64;
        let output = self
            .unet
            .forward(&input, timestep, &condition.context, &condition.vector, features)
            .map_err(Error::denoiser)?;
        self.prediction.to_x0(x, &output, sigma)
    }
}

impl Conditions {
    /// The condition of the first call.
    fn first(&self) -> &Condition {
        match self {
            Self::Positive(first) | Self::Each(first, _) | Self::Together(first) => first,
        }
    }
}

impl Conditional for UNetDenoiser {
    fn conditional(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let vector = self.conditions.first().vector.clone();
        self.sum_features(sigma, &vector)?;
        match &self.conditions {
            Conditions::Positive(positive) | Conditions::Each(positive, _) => {
                self.estimate(x, sigma, positive)
            }
            Conditions::Together(_) => Ok(self.both(x, sigma)?.0),
        }
    }

    fn both(&mut self, x: &Tensor, sigma: f64) -> Result<(Tensor, Tensor)> {
        let vector = self.conditions.first().vector.clone();
        self.sum_features(sigma, &vector)?;
        match &self.conditions {
            Conditions::Positive(_) => {
                Err(Error::Invalid("guidance was switched off when the conditions were made".to_owned()))
            }
            Conditions::Each(positive, negative) => {
                Ok((self.estimate(x, sigma, positive)?, self.estimate(x, sigma, negative)?))
            }
            Conditions::Together(two) => {
                let estimates = self.estimate(&Tensor::cat(&[x, x], 0)?, sigma, two)?;
                Ok((estimates.narrow(0, 0, 1)?, estimates.narrow(0, 1, 1)?))
            }
        }
    }
}
