//! Painting only where a mask says so: blending the sampler's state with a known picture at every noise level.
//!
//! A fixed mask blends by its own values. A differential mask (Levin and Fried 2023, arXiv:2306.00950) is compared with a
//! threshold that falls with the noise, so lighter areas join earlier (ComfyUI's `DifferentialDiffusion`). Masks are (1, 1, h, w), 1 = paint.

use candle_core::{DType, Device, Tensor};

use crate::{Denoiser, Error, Result, SigmaTable};

/// A soft mask that becomes a binary one at each noise level.
#[derive(Debug, Clone)]
pub struct DifferentialMask {
    /// Strengths (1, 1, h, w) in [0, 1].
    strengths: Tensor,
    table: SigmaTable,
    first: usize,
    last: usize,
    /// Pixels below this strength are never painted.
    floor: f32,
}

impl DifferentialMask {
    /// For a run over `sigmas` (descending, as a schedule makes them).
    ///
    /// # Errors
    /// [`Error::Invalid`] when the sigmas span fewer than two timesteps of `table`.
    pub fn new(strengths: Tensor, table: SigmaTable, sigmas: &[f64]) -> Result<Self> {
        let from = sigmas.first().copied().unwrap_or(0.0);
        let to = sigmas.last().copied().unwrap_or(0.0).max(table.min());
        let (first, last) = (table.timestep(from), table.timestep(to));
        if first <= last {
            return Err(Error::invalid(
                "a differential mask needs sigmas that span at least two timesteps of the model",
            ));
        }
        Ok(Self { strengths, table, first, last, floor: 0.0 })
    }

    /// Keeps pixels whose strength is below `floor` out of every call; the reference lets the last call paint everything.
    #[must_use]
    pub fn with_floor(self, floor: f32) -> Self {
        Self { floor, ..self }
    }

    /// Pixels at least this strong are painted at `sigma`: 1 at the first noise level, 0 at the last.
    #[must_use]
    pub fn threshold(&self, sigma: f64) -> f32 {
        let position = self.table.timestep(sigma) as f32 - self.last as f32;
        (position / (self.first - self.last) as f32).max(self.floor)
    }

    /// The binary mask at `sigma`, of the strengths' shape and type.
    ///
    /// # Errors
    /// Tensor errors.
    pub fn at(&self, sigma: f64) -> Result<Tensor> {
        Ok(self.strengths.ge(f64::from(self.threshold(sigma)))?.to_dtype(self.strengths.dtype())?)
    }
}

/// Where to paint.
#[derive(Debug, Clone)]
enum Mask {
    Fixed(Tensor),
    Differential(DifferentialMask),
}

/// A denoiser that paints inside a mask and knows the picture outside it.
///
/// Outside, the model sees `known + sigma·noise` and the sampler gets `known` for the clean value. The model is not asked at all
/// when nothing is painted at this noise level.
#[derive(Debug)]
pub struct Inpainted<D> {
    model: D,
    mask: Mask,
    known: Tensor,
    noise: Tensor,
}

impl<D: Denoiser> Inpainted<D> {
    /// With a differential mask. `known` is the clean picture and `noise` the unit noise of the run, both (b, c, h, w).
    #[must_use]
    pub fn differential(model: D, mask: DifferentialMask, known: Tensor, noise: Tensor) -> Self {
        Self { model, mask: Mask::Differential(mask), known, noise }
    }

    /// With one mask (1, 1, h, w) in [0, 1] for all noise levels.
    #[must_use]
    pub fn fixed(model: D, mask: Tensor, known: Tensor, noise: Tensor) -> Self {
        Self { model, mask: Mask::Fixed(mask), known, noise }
    }

    /// Gives the model back.
    pub fn into_inner(self) -> D {
        self.model
    }
}

impl<D: Denoiser> Denoiser for Inpainted<D> {
    fn denoise(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let mask = match &self.mask {
            Mask::Fixed(mask) => mask.clone(),
            Mask::Differential(mask) => mask.at(sigma)?,
        };
        if peak(&mask)? <= 0.0 {
            return Ok(self.known.clone());
        }
        let outside = (&self.known + (&self.noise * sigma)?)?;
        let painted = self.model.denoise(&blend(&mask, x, &outside)?, sigma)?;
        blend(&mask, &painted, &self.known)
    }
}

fn peak(mask: &Tensor) -> Result<f32> {
    Ok(mask.max_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?)
}

/// `mask·inside + (1-mask)·outside`.
fn blend(mask: &Tensor, inside: &Tensor, outside: &Tensor) -> Result<Tensor> {
    let rest = mask.affine(-1.0, 1.0)?;
    Ok((inside.broadcast_mul(mask)? + outside.broadcast_mul(&rest)?)?)
}

/// A pixel mask brought to latent resolution: bilinear, half-pixel centres, no antialiasing.
///
/// `values` is row-major of `height`×`width`; the answer is (1, 1, `latent.0`, `latent.1`).
///
/// # Errors
/// [`Error::Invalid`] when the sizes do not fit the values; tensor errors.
pub fn latent_mask(
    values: &[f32],
    (height, width): (usize, usize),
    latent: (usize, usize),
    device: &Device,
) -> Result<Tensor> {
    if values.is_empty() || values.len() != height * width || latent.0 == 0 || latent.1 == 0 {
        return Err(Error::invalid(format!(
            "a mask of {height}×{width} has {} values and shall become {}×{}",
            values.len(),
            latent.0,
            latent.1
        )));
    }
    let rows = taps(height, latent.0);
    let columns = taps(width, latent.1);
    let mut out = Vec::with_capacity(latent.0 * latent.1);
    for &(y0, y1, fy) in &rows {
        for &(x0, x1, fx) in &columns {
            let row = |y: usize| (1.0 - fx) * values[y * width + x0] + fx * values[y * width + x1];
            out.push((1.0 - fy) * row(y0) + fy * row(y1));
        }
    }
    Ok(Tensor::from_vec(out, (1, 1, latent.0, latent.1), device)?)
}

/// The two neighbours of each output position along one axis and the weight of the second.
fn taps(input: usize, output: usize) -> Vec<(usize, usize, f32)> {
    let scale = input as f32 / output as f32;
    (0..output)
        .map(|i| {
            let position = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
            let low = (position as usize).min(input - 1);
            (low, (low + 1).min(input - 1), position - low as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FnDenoiser, Schedule};

    fn row(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).and_then(|t| t.reshape((1, 1, 1, values.len()))).expect("tensor")
    }

    fn list(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().and_then(|t| t.to_vec1()).expect("f32")
    }

    fn differential(strengths: &[f32]) -> DifferentialMask {
        let table = SigmaTable::scaled_linear();
        let sigmas = Schedule::Karras.sigmas(&table, 6).expect("ok");
        DifferentialMask::new(row(strengths), table, &sigmas).expect("spans")
    }

    #[test]
    fn thresholds_of_six_steps() {
        // Of six Karras steps, from the definition.
        let mask = differential(&[0.0]);
        let known = [
            (14.614643, 1.0),
            (9.428068, 0.923_924),
            (3.684603, 0.725_726),
            (1.243352, 0.420_420),
            (0.169757, 0.030_030),
            (0.070366, 0.005_005),
            (0.029167, 0.0),
        ];
        for (sigma, threshold) in known {
            assert!((mask.threshold(sigma) - threshold).abs() < 1e-6, "{sigma}");
        }
        assert_eq!(
            list(&differential(&[1.0, 0.9, 0.45, 0.0]).at(1.243352).expect("ok")),
            [1.0, 1.0, 1.0, 0.0]
        );
        assert_eq!(
            list(&differential(&[1.0, 0.5, 0.0]).with_floor(0.01).at(0.029167).expect("ok")),
            [1.0, 1.0, 0.0]
        );
    }

    #[test]
    fn the_model_is_not_asked_when_nothing_is_painted() {
        let model = FnDenoiser(|_: &Tensor, _: f64| Err(Error::invalid("asked")));
        let known = row(&[0.3, 0.4]);
        let mut skipping =
            Inpainted::differential(model, differential(&[0.999, 0.2]), known.clone(), row(&[1.0, 2.0]));
        let out = skipping.denoise(&row(&[9.0, 9.0]), 14.614643).expect("skipped");
        // What the blend gives with an empty mask, whatever the model would have said.
        let zero = row(&[0.0, 0.0]);
        assert_eq!(list(&out), list(&blend(&zero, &row(&[5.0, -7.0]), &known).expect("ok")));
        assert!(skipping.denoise(&row(&[9.0, 9.0]), 0.03).is_err());
    }

    #[test]
    fn a_fixed_mask_shows_the_model_noisy_surroundings() {
        let mut seen = Vec::new();
        let model = FnDenoiser(|x: &Tensor, _: f64| {
            seen = list(x);
            Ok((x * 0.0)?)
        });
        let mut inpainted =
            Inpainted::fixed(model, row(&[1.0, 0.0, 0.5]), row(&[0.2, 0.2, 0.2]), row(&[1.0, 1.0, 1.0]));
        let out = inpainted.denoise(&row(&[7.0, 7.0, 7.0]), 2.0).expect("ok");
        assert_eq!(list(&out), [0.0, 0.2, 0.1]);
        drop(inpainted);
        assert_eq!(seen, [7.0, 2.2, 4.6]);
    }

    #[test]
    fn factor_eight_is_the_mean_of_the_four_middle_pixels() {
        let values: Vec<f32> = (0..16 * 8).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let latent = list(&latent_mask(&values, (16, 8), (2, 1), &Device::Cpu).expect("ok"));
        for (i, got) in latent.iter().enumerate() {
            let at = |y: usize, x: usize| values[(8 * i + y) * 8 + x];
            let want = (at(3, 3) + at(3, 4) + at(4, 3) + at(4, 4)) / 4.0;
            assert!((got - want).abs() < 1e-7);
        }
        assert!(latent_mask(&values, (16, 9), (2, 1), &Device::Cpu).is_err());
    }
}
