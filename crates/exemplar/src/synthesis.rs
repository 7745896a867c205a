//! Coarse to fine: paints the material over the canvas, one sampler run a level of the pyramid.
//!
//! The coarsest levels start from pure noise and take the whole posterior; each finer one starts from the last level's
//! matches, enlarged, plus a little noise, and refines them. What a level hands on are matches, not pixels: copied from
//! the finer material they are sharp at once.

use std::ops::ControlFlow;

use candle_core::Device;
use diffusion::{Generator, NoNoise, Sampler, Schedule};

use super::denoiser::{PatchDenoiser, Posterior, from_tensor, padded, to_tensor};
use super::field::{Exemplar, Field, Search, hash};
use super::material::Material;
use super::quilt::quilt;
use super::raster::Raster;
use crate::profile::ExemplarTunables;
use crate::{Cancel, Error};

/// What one request changes about the sampling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Levels of the pyramid, at least one.
    pub(crate) levels: usize,
    /// Multiplies the calls a level.
    pub(crate) effort: f64,
    pub(crate) seed: u64,
}

/// What happens on the way.
pub(crate) enum Event<'a> {
    /// A denoiser call is finished.
    Call,
    /// A level is painted; 0 is the finest.
    Level(usize, &'a Raster),
}

/// The canvas' pixels that are painted at one level, and the patches that touch them.
struct Domain {
    /// Canvas size.
    width: usize,
    height: usize,
    active: Vec<bool>,
    columns: usize,
    rows: usize,
}

/// Most entries of a distance matrix for the exact posterior (64 MB).
const EXACT_ENTRIES: usize = 16 << 20;
/// A level's last calls that take it: what they find is handed on.
const EXACT_CALLS: usize = 2;

impl Plan {
    /// As many levels as leave the canvas and the material a few patches wide at the coarsest.
    pub(crate) fn levels_for(canvas: &Raster, material: &Material, tunables: &ExemplarTunables) -> usize {
        let short = canvas.width.min(canvas.height) as f64;
        let canvas = canvas.width.max(canvas.height) as f64;
        let exemplar = material.pattern.width.min(material.pattern.height) as f64;
        let least = (tunables.coarse_patch * 2) as f64;
        let room = (canvas / 40.0).min(short / least).min(exemplar / least);
        1 + room.max(1.0).log2().floor() as usize
    }

    /// Denoiser calls at `level` (0 is the finest).
    pub(crate) fn calls_at(&self, level: usize, tunables: &ExemplarTunables) -> usize {
        let base = if level + 1 == self.levels {
            tunables.coarse_calls
        } else if level == 0 {
            tunables.finest_calls
        } else {
            tunables.middle_calls
        };
        ((base as f64 * self.effort).round() as usize).max(1)
    }

    /// Patch side at `level`.
    fn patch_at(&self, level: usize, tunables: &ExemplarTunables) -> usize {
        if level + 1 == self.levels {
            tunables.coarse_patch
        } else if level == 0 {
            tunables.finest_patch
        } else {
            tunables.middle_patch
        }
    }

    /// Denoiser calls of the whole run.
    pub(crate) fn calls(&self, tunables: &ExemplarTunables) -> usize {
        (0..self.levels).map(|level| self.calls_at(level, tunables)).sum()
    }
}

/// What all levels share.
pub(crate) struct Synthesis<'a> {
    /// 1 where the canvas is to be painted, one channel.
    pub(crate) canvas: &'a Raster,
    pub(crate) material: &'a Material,
    pub(crate) plan: &'a Plan,
    pub(crate) tunables: &'a ExemplarTunables,
    pub(crate) cancel: &'a Cancel,
}

impl Synthesis<'_> {
    /// Paints the whole canvas and returns its RGB. `on_event` is called after every denoiser call and every level.
    pub(crate) fn paint(&self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Raster, Error> {
        let top = self.plan.levels - 1;
        let (mut painted, mut field) = self.level(top, None, on_event)?;
        for level in (0..top).rev() {
            (painted, field) = self.level(level, Some(&field), on_event)?;
        }
        Ok(painted)
    }

    /// One level: 0 is the finest, `coarser` the matches of the level above it.
    fn level(
        &self,
        level: usize,
        coarser: Option<&Field>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(Raster, Field), Error> {
        let patch = self.plan.patch_at(level, self.tunables);
        let exemplar = exemplar_at(self.material, 1 << level, patch);
        let domain = domain_at(self.canvas, 1 << level, patch);
        let seed = hash(self.plan.seed ^ hash(level as u64));
        let contrast = f64::from(self.material.contrast);
        let mut denoiser = PatchDenoiser {
            exemplar: &exemplar,
            active: &domain.active,
            posterior: self.posterior(level, &exemplar, &domain),
            search: self.search(level, seed),
            field: self.first_matches(coarser, &exemplar, &domain, seed),
            sharp_below: if level == 0 { contrast * self.tunables.sharp_below } else { 0.0 },
            calls: 0,
        };
        let start = denoiser.vote(&Raster::filled(domain.width, domain.height, 3, 0.5), false);
        let sigmas = self.sigmas(level, coarser.is_none())?;
        let x = to_tensor(&start, &Device::Cpu)?;
        let noise = Generator::Mt19937.randn(seed, x.shape(), &Device::Cpu).map_err(failed)?;
        let x = (x + (noise * sigmas[0])?)?;
        let mut watch = |done: usize, _total: usize| {
            if done > 0 {
                on_event(Event::Call);
            }
            if self.cancel.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let x0 =
            Sampler::Euler.sample(&mut denoiser, x, &sigmas, &mut NoNoise, &mut watch).map_err(failed)?;
        let painted = from_tensor(&x0)?;
        on_event(Event::Level(level, &painted));
        Ok((painted, denoiser.field))
    }

    fn posterior(&self, level: usize, exemplar: &Exemplar, domain: &Domain) -> Posterior {
        let coarsest = level + 1 == self.plan.levels;
        let queries = domain.active.iter().filter(|active| **active).count();
        if coarsest && exemplar.origins.len() * queries <= EXACT_ENTRIES {
            Posterior::Exact {
                completeness: completeness(self.material.texturedness, self.tunables),
                after: self.plan.calls_at(level, self.tunables).saturating_sub(EXACT_CALLS) as u64,
            }
        } else {
            Posterior::Nearest
        }
    }

    fn search(&self, level: usize, seed: u64) -> Search {
        Search {
            rounds: if level == 0 { self.tunables.finest_rounds } else { self.tunables.rounds },
            samples: self.tunables.samples,
            repetition: self.tunables.repetition * self.material.texturedness,
            seed,
        }
    }

    fn first_matches(
        &self,
        coarser: Option<&Field>,
        exemplar: &Exemplar,
        domain: &Domain,
        seed: u64,
    ) -> Field {
        match coarser {
            Some(field) => field.enlarged(exemplar, domain.columns, domain.rows, seed),
            None => {
                let block =
                    self.tunables.block_smooth + self.tunables.block_textured * self.material.texturedness;
                quilt(
                    exemplar,
                    (domain.width, domain.height),
                    block.round() as usize,
                    self.tunables.repetition,
                    seed,
                )
            }
        }
    }

    /// Descending noise levels in units of the pixels, ending in 0: one denoiser call each but the last.
    fn sigmas(&self, level: usize, coarsest: bool) -> Result<Vec<f64>, Error> {
        let contrast = f64::from(self.material.contrast);
        let first = if coarsest { self.tunables.sigma_coarse } else { self.tunables.sigma_fine };
        let calls = self.plan.calls_at(level, self.tunables);
        let sigmas = Schedule::Exponential
            .between(calls.max(2), contrast * self.tunables.sigma_min, contrast * first)
            .map_err(failed)?;
        // A single call is made at the last level of noise, not at the first.
        Ok(sigmas[sigmas.len() - 1 - calls..].to_vec())
    }
}

fn failed(error: diffusion::Error) -> Error {
    match error {
        diffusion::Error::Stopped => Error::Cancelled,
        diffusion::Error::Tensor(error) => Error::Compute(error),
        other => Error::Compute(candle_core::Error::wrap(other)),
    }
}

/// The alpha of completeness for a material: strongly textured ones press to be used whole.
fn completeness(texturedness: f32, tunables: &ExemplarTunables) -> f64 {
    let (smooth, textured) = (tunables.completeness_smooth, tunables.completeness_textured);
    let t = f64::from(texturedness.clamp(0.0, 1.0));
    smooth.powf(1.0 - t) * textured.powf(t)
}

fn exemplar_at(material: &Material, shrink: usize, patch: usize) -> Exemplar {
    let keys = padded(&material.pattern.shrunk(shrink));
    let inside: Vec<bool> = material.inside.shrunk(shrink).data.iter().map(|v| *v > 0.9).collect();
    Exemplar::new(keys, &inside, patch)
}

fn domain_at(mask: &Raster, shrink: usize, patch: usize) -> Domain {
    let mask = mask.shrunk(shrink);
    let (columns, rows) = (mask.width + 1 - patch, mask.height + 1 - patch);
    // A ring of one patch around the subject is painted too, so that its border sees material on both sides.
    let ring = patch as isize / 2;
    let reach = |mask: &[f32], from: isize, size: usize, stride: usize| {
        (from.max(0)..(from + patch as isize + 2 * ring).min(size as isize))
            .any(|i| mask[i as usize * stride] > 0.01)
    };
    let mut across = vec![0.0f32; mask.height * columns];
    for y in 0..mask.height {
        for x in 0..columns {
            let row = &mask.data[y * mask.width..][..mask.width];
            across[y * columns + x] = f32::from(u8::from(reach(row, x as isize - ring, mask.width, 1)));
        }
    }
    let active = (0..rows * columns)
        .map(|i| reach(&across[i % columns..], (i / columns) as isize - ring, mask.height, columns))
        .collect();
    Domain { width: mask.width, height: mask.height, active, columns, rows }
}
