//! Descending noise levels for a number of sampler steps, ending in 0.
//!
//! Karras et al. 2022 (arXiv:2206.00364, equation 5), geometric ("exponential"), uniform in the model's timesteps
//! ("normal" with both ends, "SGM uniform" without the last, "simple" by table lookup). Values are computed as the
//! reference does, in f32 where it does, and handed out as `f64`.

use std::str::FromStr;

use crate::{Error, Result, SigmaTable};

/// The curvature that Karras et al. recommend.
const KARRAS_RHO: f64 = 7.0;

/// How noise levels are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schedule {
    /// `sigma^(1/7)` linear: dense at small noise.
    #[default]
    Karras,
    /// `ln sigma` linear.
    Exponential,
    /// Timesteps linear from the last to the first.
    Normal,
    /// Timesteps linear from the last, stopping one step short of the first (few-step distilled models want this).
    SgmUniform,
    /// Every k-th entry of the model's table.
    Simple,
}

impl Schedule {
    /// `steps` descending sigmas from `table` and a final 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `steps` is 0 or, for table-bound schedules, more than the table holds.
    pub fn sigmas(self, table: &SigmaTable, steps: usize) -> Result<Vec<f64>> {
        if steps == 0 {
            return Err(Error::invalid("steps is 0: a sampler needs at least 1 step"));
        }
        if steps > table.sigmas().len() {
            let most = table.sigmas().len();
            return Err(Error::invalid(format!(
                "steps is {steps}: the model knows only {most} noise levels; use fewer"
            )));
        }
        Ok(match self {
            Self::Karras => karras(steps, table.min(), table.max(), KARRAS_RHO),
            Self::Exponential => exponential(steps, table.min(), table.max()),
            Self::Normal => uniform(table, steps, steps),
            Self::SgmUniform => uniform(table, steps, steps + 1),
            Self::Simple => simple(table, steps),
        })
    }

    /// The last `steps` of a longer way of which they are the share `denoise` (above 0, at most 1), and a final 0: for a run that
    /// sets out from a picture and not from noise alone. As the reference counts: `steps / denoise` in all, rounded down.
    ///
    /// # Errors
    /// Those of [`sigmas`](Self::sigmas) for the longer way, and [`Error::Invalid`] for a share outside its range.
    pub fn last_sigmas(self, table: &SigmaTable, steps: usize, denoise: f64) -> Result<Vec<f64>> {
        if !(denoise > 0.0 && denoise <= 1.0) {
            return Err(Error::invalid(format!(
                "denoise is {denoise}: it must lie above 0 and be at most 1"
            )));
        }
        let all = ((steps as f64 / denoise) as usize).min(table.sigmas().len()).max(steps);
        let sigmas = self.sigmas(table, all)?;
        Ok(sigmas[sigmas.len() - 1 - steps..].to_vec())
    }

    /// `steps` descending sigmas between any two levels and a final 0, for models without a table.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `steps` is 0, the levels are not `0 < min < max`, or the schedule needs a table.
    pub fn between(self, steps: usize, min: f64, max: f64) -> Result<Vec<f64>> {
        if steps == 0 {
            return Err(Error::invalid("steps is 0: a sampler needs at least 1 step"));
        }
        if !(min > 0.0 && min < max && max.is_finite()) {
            return Err(Error::invalid(format!("a schedule needs 0 < min < max, got {min} and {max}")));
        }
        match self {
            Self::Karras => Ok(karras(steps, min, max, KARRAS_RHO)),
            Self::Exponential => Ok(exponential(steps, min, max)),
            Self::Normal | Self::SgmUniform | Self::Simple => Err(Error::invalid(
                "this schedule follows a model's timesteps; without a table use karras or exponential",
            )),
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "karras" => Ok(Self::Karras),
            "exponential" => Ok(Self::Exponential),
            "normal" => Ok(Self::Normal),
            "sgm_uniform" => Ok(Self::SgmUniform),
            "simple" => Ok(Self::Simple),
            _ => Err(Error::invalid(format!(
                "unknown schedule {name:?}: choose karras, exponential, normal, sgm_uniform or simple"
            ))),
        }
    }
}

fn karras(steps: usize, min: f64, max: f64, rho: f64) -> Vec<f64> {
    let (low, high) = (min.powf(1.0 / rho), max.powf(1.0 / rho));
    let levels = linspace(0.0, 1.0, steps).map(|ramp| {
        let root = high as f32 + ramp * (low - high) as f32;
        f64::from(f64::from(root).powf(rho) as f32)
    });
    ended(levels)
}

fn exponential(steps: usize, min: f64, max: f64) -> Vec<f64> {
    ended(linspace(max.ln() as f32, min.ln() as f32, steps).map(|log| f64::from(f64::from(log).exp() as f32)))
}

/// The first `steps` of `points` timesteps spread evenly from the noisiest to the cleanest.
fn uniform(table: &SigmaTable, steps: usize, points: usize) -> Vec<f64> {
    let (first, last) = (table.timestep(table.max()), table.timestep(table.min()));
    ended(linspace(first as f32, last as f32, points).take(steps).map(|t| table.sigma(f64::from(t))))
}

fn simple(table: &SigmaTable, steps: usize) -> Vec<f64> {
    let stride = table.sigmas().len() as f64 / steps as f64;
    let levels = table.sigmas();
    ended((0..steps).map(|i| f64::from(levels[levels.len() - 1 - (i as f64 * stride) as usize])))
}

fn ended(levels: impl Iterator<Item = f64>) -> Vec<f64> {
    levels.chain([0.0]).collect()
}

/// torch's `linspace`: counted from whichever end is nearer, so that both ends are exact.
fn linspace(start: f32, end: f32, count: usize) -> impl Iterator<Item = f32> {
    let step = if count > 1 { (end - start) / (count - 1) as f32 } else { 0.0 };
    (0..count).map(move |i| {
        if count == 1 || i < count / 2 {
            start + step * i as f32
        } else {
            end - step * (count - 1 - i) as f32
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_longer_way() {
        let table = SigmaTable::scaled_linear();
        let whole = Schedule::Karras.sigmas(&table, 13).expect("13 steps");
        let last = Schedule::Karras.last_sigmas(&table, 6, 0.45).expect("6 of 13");
        assert_eq!(last, whole[7..]);
        let whole = Schedule::Karras.sigmas(&table, 6).expect("6 steps");
        assert_eq!(Schedule::Karras.last_sigmas(&table, 6, 1.0).expect("all of them"), whole);
        assert_eq!(
            Schedule::Normal.last_sigmas(&table, 900, 0.1).expect("no more than there are").len(),
            901
        );
        for share in [0.0, -1.0, 1.1, f64::NAN] {
            assert!(Schedule::Karras.last_sigmas(&table, 6, share).is_err(), "{share}");
        }
    }

    #[test]
    fn every_schedule_descends_from_the_top_to_zero() {
        let table = SigmaTable::scaled_linear();
        for schedule in [
            Schedule::Karras,
            Schedule::Exponential,
            Schedule::Normal,
            Schedule::SgmUniform,
            Schedule::Simple,
        ] {
            for steps in [1, 2, 3, 6, 20, 50, 1000] {
                let sigmas = schedule.sigmas(&table, steps).expect("in range");
                assert_eq!(sigmas.len(), steps + 1);
                assert!((sigmas[0] / table.max() - 1.0).abs() < 1e-6, "{schedule:?} {steps}: {}", sigmas[0]);
                assert_eq!(sigmas[steps], 0.0);
                assert!(sigmas.windows(2).all(|w| w[0] > w[1]), "{schedule:?} {steps}");
            }
        }
    }

    #[test]
    fn exponential_is_geometric() {
        let sigmas = Schedule::Exponential.between(5, 0.01, 100.0).expect("in range");
        for (got, want) in sigmas.iter().zip([100.0, 10.0, 1.0, 0.1, 0.01, 0.0]) {
            assert!((got - want).abs() <= 1e-6 * want, "{got} {want}");
        }
    }

    #[test]
    fn timestep_schedules_visit_the_expected_timesteps() {
        let table = SigmaTable::scaled_linear();
        let timesteps = |schedule: Schedule, steps| -> Vec<usize> {
            let sigmas = schedule.sigmas(&table, steps).expect("in range");
            sigmas[..steps].iter().map(|s| table.timestep(*s)).collect()
        };
        assert_eq!(timesteps(Schedule::Normal, 4), [999, 666, 333, 0]);
        // SDXL-Lightning's four steps
        assert_eq!(timesteps(Schedule::SgmUniform, 4), [999, 749, 500, 250]);
        assert_eq!(timesteps(Schedule::Simple, 4), [999, 749, 499, 249]);
    }

    #[test]
    fn impossible_requests_are_refused() {
        let table = SigmaTable::scaled_linear();
        assert!(Schedule::Karras.sigmas(&table, 0).is_err());
        assert!(Schedule::Simple.sigmas(&table, 1001).is_err());
        assert!(Schedule::Normal.between(4, 0.1, 1.0).is_err());
        assert!(Schedule::Karras.between(4, 1.0, 0.1).is_err());
        assert!("karas".parse::<Schedule>().is_err());
    }
}
