//! The noise levels a discrete-time model was trained on, and the ways between sigma, timestep and percent.
//!
//! `sigma = sqrt((1-abar)/abar)` for the cumulated product `abar` of the training betas (ComfyUI's `ModelSamplingDiscrete`). Tables and
//! interpolation are f32 as in the reference, so that timesteps agree exactly.

/// Sigma at percent 0: larger than any noise level, so that nothing is gated off at the start.
const BEFORE_EVERYTHING: f64 = 999_999_999.9;

/// Noise levels of a model, ascending, one per timestep.
#[derive(Debug, Clone, PartialEq)]
pub struct SigmaTable {
    sigmas: Vec<f32>,
    log_sigmas: Vec<f32>,
}

impl SigmaTable {
    /// The table of Stable Diffusion and SDXL: 1000 steps, `sqrt(beta)` linear from `sqrt(0.00085)` to `sqrt(0.012)`.
    #[must_use]
    pub fn scaled_linear() -> Self {
        let (first, last, count) = (0.000_85f64.sqrt(), 0.012f64.sqrt(), 1000);
        let step = (last - first) / f64::from(count - 1);
        Self::from_betas((0..count).map(|i| (first + step * f64::from(i)).powi(2)))
    }

    /// The table of any betas in (0, 1), in the order of training timesteps.
    #[must_use]
    pub fn from_betas(betas: impl IntoIterator<Item = f64>) -> Self {
        let mut alpha_bar = 1.0f64;
        let exact: Vec<f64> = betas
            .into_iter()
            .map(|beta| {
                alpha_bar *= 1.0 - beta;
                ((1.0 - alpha_bar) / alpha_bar).sqrt()
            })
            .collect();
        Self {
            sigmas: exact.iter().map(|s| *s as f32).collect(),
            log_sigmas: exact.iter().map(|s| s.ln() as f32).collect(),
        }
    }

    /// All sigmas, ascending.
    #[must_use]
    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// Their natural logarithms.
    #[must_use]
    pub fn log_sigmas(&self) -> &[f32] {
        &self.log_sigmas
    }

    /// The smallest sigma (0.029167 for SDXL).
    #[must_use]
    pub fn min(&self) -> f64 {
        self.sigmas.first().map_or(0.0, |s| f64::from(*s))
    }

    /// The largest sigma (14.6146 for SDXL).
    #[must_use]
    pub fn max(&self) -> f64 {
        self.sigmas.last().map_or(0.0, |s| f64::from(*s))
    }

    /// The timestep whose sigma is nearest in logarithm; the smaller one on ties.
    #[must_use]
    pub fn timestep(&self, sigma: f64) -> usize {
        let log = (sigma as f32).ln();
        let mut best = (f32::INFINITY, 0);
        for (i, known) in self.log_sigmas.iter().enumerate() {
            let distance = (log - known).abs();
            if distance < best.0 {
                best = (distance, i);
            }
        }
        best.1
    }

    /// The sigma of a timestep, also between whole ones (linear in the logarithm); clamped to the table.
    #[must_use]
    pub fn sigma(&self, timestep: f64) -> f64 {
        let last = self.log_sigmas.len().saturating_sub(1);
        let t = (timestep as f32).clamp(0.0, last as f32);
        let weight = t - t.floor();
        let at = |index: f32| self.log_sigmas.get(index as usize).copied().unwrap_or(0.0);
        let log = (1.0 - weight) * at(t.floor()) + weight * at(t.ceil());
        f64::from(log.exp())
    }

    /// The sigma at a share of the way from pure noise (0) to the finished picture (1).
    #[must_use]
    pub fn percent_to_sigma(&self, percent: f64) -> f64 {
        if percent <= 0.0 {
            BEFORE_EVERYTHING
        } else if percent >= 1.0 {
            0.0
        } else {
            self.sigma((1.0 - percent) * (self.sigmas.len().saturating_sub(1)) as f64)
        }
    }
}

/// The stretch of noise levels in which an adapter acts; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SigmaRange {
    /// It starts to act here, counted from the noisy side.
    pub from: f64,
    /// It stops acting below this.
    pub to: f64,
}

impl SigmaRange {
    /// From `start` to `end` of the way, each 0 (pure noise) to 1 (finished).
    #[must_use]
    pub fn from_percent(table: &SigmaTable, start: f64, end: f64) -> Self {
        Self { from: table.percent_to_sigma(start), to: table.percent_to_sigma(end) }
    }

    /// Does it act at this sigma?
    #[must_use]
    pub fn contains(&self, sigma: f64) -> bool {
        sigma <= self.from && sigma >= self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdxl_anchor_values() {
        // SDXL's ends: ComfyUI's `sigma_min` and `sigma_max`.
        let table = SigmaTable::scaled_linear();
        assert_eq!(table.min(), 0.029_167_158_529_162_407);
        assert_eq!(table.max(), 14.614_641_189_575_195);
        let known = [
            (1, 0.041_314_411_9),
            (10, 0.098_291_076_7),
            (100, 0.343_931_227_9),
            (399, 1.160_578_370_1),
            (400, 1.164_391_160_0),
            (500, 1.618_278_861_0),
        ];
        for (timestep, sigma) in known {
            assert!((f64::from(table.sigmas()[timestep]) / sigma - 1.0).abs() < 1e-7, "{timestep}");
            assert_eq!(table.timestep(sigma), timestep);
        }
    }

    #[test]
    fn line_art_of_the_reference_stops_at_sixty_percent() {
        // Where an adapter with `end_percent` 0.6 ends.
        let range = SigmaRange::from_percent(&SigmaTable::scaled_linear(), 0.0, 0.6);
        assert!((range.to - 1.162_864_565_8).abs() < 1e-6);
        assert!(range.contains(14.614_643) && range.contains(1.243_352));
        assert!(!range.contains(0.692_571));
        let always = SigmaRange::from_percent(&SigmaTable::scaled_linear(), 0.0, 1.0);
        assert!(always.contains(14.7) && always.contains(0.0));
    }
}
