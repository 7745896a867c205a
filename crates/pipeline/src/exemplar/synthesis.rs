//! Coarse to fine: paints the material over the canvas, one sampler run a level of the pyramid.
//!
//! The coarsest levels start from pure noise and take the whole posterior; each finer one starts from the last level's
//! matches, enlarged, plus a little noise, and refines them. What a level hands on are matches, not pixels: copied from
//! the finer material they are sharp at once.

use std::ops::ControlFlow;

use candle_core::Device;
use diffusion::{Generator, NoNoise, Sampler, Schedule};

use super::denoiser::{PatchDenoiser, Posterior, from_tensor, to_tensor, with_guide};
use super::field::{Exemplar, Field, Search, hash};
use super::material::Material;
use super::quilt::quilt;
use super::raster::{Distribution, Kernel, Raster};
use super::subject::Subject;
use crate::profile::ExemplarTunables;
use crate::{Cancel, Error};

/// What one request changes about the sampling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Denoiser calls of every level, coarsest first.
    pub(crate) levels: usize,
    /// Multiplies the calls a level.
    pub(crate) effort: f64,
    /// Weight of the shading guidance against colour.
    pub(crate) guidance: f32,
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
    guide: Raster,
    active: Vec<bool>,
    columns: usize,
    rows: usize,
}

/// Most entries of a distance matrix for the exact posterior (32 MB).
const EXACT_ENTRIES: usize = 8 << 20;

impl Plan {
    /// As many levels as leave the canvas and the material a few patches wide at the coarsest.
    pub(crate) fn levels_for(subject: &Subject, material: &Material, tunables: &ExemplarTunables) -> usize {
        let canvas = subject.mask.width.max(subject.mask.height) as f64;
        let short = subject.mask.width.min(subject.mask.height) as f64;
        let exemplar = material.picture.width.min(material.picture.height) as f64;
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

    /// Denoiser calls of the whole run.
    pub(crate) fn calls(&self, tunables: &ExemplarTunables) -> usize {
        (0..self.levels).map(|level| self.calls_at(level, tunables)).sum()
    }
}

/// Paints the whole canvas and returns its RGB. `called` hears of every denoiser call.
pub(crate) fn synthesise(
    subject: &Subject,
    material: &Material,
    plan: &Plan,
    tunables: &ExemplarTunables,
    cancel: &Cancel,
    called: &mut dyn FnMut(Event<'_>),
) -> Result<Raster, Error> {
    let guide = matched_guide(subject, material);
    let mut last: Option<Field> = None;
    let mut painted = None;
    for level in (0..plan.levels).rev() {
        let shrink = 1usize << level;
        let patch = if level + 1 == plan.levels {
            tunables.coarse_patch
        } else if level == 0 {
            tunables.finest_patch
        } else {
            tunables.middle_patch
        };
        let exemplar = exemplar_at(material, shrink, patch, plan.guidance);
        let domain = domain_at(&subject.mask, &guide, shrink, patch, plan.guidance);
        let seed = hash(plan.seed ^ hash(level as u64));
        let search = Search {
            rounds: if level == 0 { tunables.finest_rounds } else { tunables.rounds },
            samples: tunables.samples,
            repetition: tunables.repetition * material.texturedness,
            seed,
        };
        let small = exemplar.origins.len() * domain.active.iter().filter(|a| **a).count() <= EXACT_ENTRIES;
        let posterior = if small && last.is_none() {
            Posterior::Exact { completeness: completeness(material.texturedness, tunables) }
        } else {
            Posterior::Nearest
        };
        let field = match &last {
            Some(field) => field.enlarged(&exemplar, domain.columns, domain.rows, seed),
            None => {
                let block = tunables.block_smooth + tunables.block_textured * material.texturedness;
                quilt(&exemplar, &domain.guide, block.round() as usize, tunables.repetition, seed)
            }
        };
        let first = last.is_none();
        let mut denoiser = PatchDenoiser {
            exemplar: &exemplar,
            guide: &domain.guide,
            active: &domain.active,
            posterior,
            search,
            field,
            sharp_below: if level == 0 { f64::from(material.contrast) * tunables.sharp_below } else { 0.0 },
            calls: 0,
        };
        let start = denoiser.vote(&domain.guide.map(3, |_, o| o.fill(0.5)), false);
        let top = f64::from(material.contrast) * if first { tunables.sigma_coarse } else { tunables.sigma_fine };
        let low = f64::from(material.contrast) * tunables.sigma_min;
        let sigmas = Schedule::Exponential
            .between(plan.calls_at(level, tunables).max(2), low, top)
            .map(|sigmas| sigmas[sigmas.len() - 1 - plan.calls_at(level, tunables)..].to_vec())
            .map_err(failed)?;
        let x = to_tensor(&start, &Device::Cpu)?;
        let noise = Generator::Mt19937.randn(seed, x.shape(), &Device::Cpu).map_err(failed)?;
        let x = (x + (noise * sigmas[0])?)?;
        let mut watch = |done: usize, _total: usize| {
            if done > 0 {
                called(Event::Call);
            }
            if cancel.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let x0 =
            Sampler::Euler.sample(&mut denoiser, x, &sigmas, &mut NoNoise, &mut watch).map_err(failed)?;
        let picture = from_tensor(&x0)?;
        called(Event::Level(level, &picture));
        painted = Some(picture);
        last = Some(denoiser.field);
    }
    painted.ok_or_else(|| Error::Profile("the exemplar engine needs at least one level".to_owned()))
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

/// The subject's shading given the distribution of the material's: dark parts ask for dark material.
fn matched_guide(subject: &Subject, material: &Material) -> Raster {
    let from = Distribution::of(&subject.shading, &subject.firm());
    let to = Distribution::of(&material.shading, &material.inside);
    subject.shading.map(1, |s, o| o[0] = to.value(from.rank(s[0])))
}

fn shrunk(raster: &Raster, shrink: usize) -> Raster {
    raster.resize(raster.width.div_ceil(shrink), raster.height.div_ceil(shrink), Kernel::Box)
}

fn exemplar_at(material: &Material, shrink: usize, patch: usize, guidance: f32) -> Exemplar {
    let guide = shrunk(&material.shading, shrink).map(1, |g, o| o[0] = guidance * g[0]);
    let keys = with_guide(&shrunk(&material.picture, shrink), &guide);
    let inside: Vec<bool> = shrunk(&material.inside, shrink).data.iter().map(|v| *v > 0.9).collect();
    Exemplar::new(keys, &inside, patch)
}

fn domain_at(mask: &Raster, guide: &Raster, shrink: usize, patch: usize, guidance: f32) -> Domain {
    let guide = shrunk(guide, shrink).map(1, |g, o| o[0] = guidance * g[0]);
    let mask = shrunk(mask, shrink);
    let (columns, rows) = (mask.width + 1 - patch, mask.height + 1 - patch);
    // A ring of one patch around the subject is painted too, so that its border sees material on both sides.
    let ring = patch as isize / 2;
    let reach = |mask: &[f32], from: isize, size: usize, stride: usize| {
        (from.max(0)..(from + patch as isize + 2 * ring).min(size as isize)).any(|i| mask[i as usize * stride] > 0.01)
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
    Domain { guide, active, columns, rows }
}
