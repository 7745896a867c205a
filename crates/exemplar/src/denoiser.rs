//! The denoiser of a data set that is one picture: the posterior mean over its patches.
//!
//! For clean patches `m_i`, all equally likely, and a noisy patch `q = m + sigma·n`, the minimum-mean-square estimate is
//! `sum_i w_i m_i` with `w_i ∝ exp(-|q - m_i|² / 2 sigma²)`. Overlapping patches then vote for their pixels. The
//! coarsest level's last calls sum over every patch ([`Posterior::Exact`]: two matrix products); all others keep the sum's
//! leading term, found by search ([`Posterior::Nearest`]).

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::field::{Exemplar, Field, KEY, Match, Search, hash};
use super::posterior::{complete, distances, least, posterior_means};
use super::raster::Raster;

/// How the sum over all patches is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Posterior {
    /// All patches. `completeness` is the alpha of GPNN (Granot et al. 2022), a mean squared difference a sample: the
    /// smaller it is, the harder every part of the material presses to be used. The first `after` calls search all the same.
    Exact { completeness: f64, after: u64 },
    /// The nearest patch found by search.
    Nearest,
}

/// A level's target and material, and the state of the search between calls.
#[derive(Debug)]
pub(crate) struct PatchDenoiser<'a> {
    pub(crate) exemplar: &'a Exemplar,
    /// Which origins' patches touch the subject.
    pub(crate) active: &'a [bool],
    pub(crate) posterior: Posterior,
    pub(crate) search: Search,
    pub(crate) field: Field,
    /// Below this sigma, votes count mostly near a patch's centre: averaging no longer has noise to remove, only sharpness.
    pub(crate) sharp_below: f64,
    /// Calls so far; part of the search's seed.
    pub(crate) calls: u64,
}

impl diffusion::Denoiser for PatchDenoiser<'_> {
    fn denoise(&mut self, x: &Tensor, sigma: f64) -> diffusion::Result<Tensor> {
        let picture = from_tensor(x)?;
        let target = padded(&picture);
        self.calls += 1;
        let x0 = match self.posterior {
            Posterior::Exact { completeness, after } if self.calls > after => {
                self.exact(&picture, &target, sigma, completeness)?
            }
            _ => {
                let search = Search { seed: hash(self.search.seed ^ self.calls), ..self.search };
                self.field.improve(self.exemplar, &target, self.active, &search);
                self.vote(&picture, sigma < self.sharp_below)
            }
        };
        Ok(to_tensor(&x0, x.device())?)
    }
}

/// (1, channels, h, w) to an interleaved raster, over all threads.
pub(crate) fn from_tensor(x: &Tensor) -> candle_core::Result<Raster> {
    let (_, channels, height, width) = x.dims4()?;
    let planes = x.flatten_all()?.to_vec1::<f32>()?;
    let mut out = Raster::filled(width, height, channels, 0.0);
    out.data.par_chunks_exact_mut(width * channels).enumerate().for_each(|(y, row)| {
        for channel in 0..channels {
            let from = &planes[(channel * height + y) * width..][..width];
            row[channel..].iter_mut().step_by(channels).zip(from).for_each(|(o, v)| *o = *v);
        }
    });
    Ok(out)
}

/// An interleaved raster to (1, channels, h, w), over all threads.
pub(crate) fn to_tensor(x: &Raster, device: &Device) -> candle_core::Result<Tensor> {
    let mut planes = vec![0.0f32; x.data.len()];
    planes.par_chunks_exact_mut(x.width).enumerate().for_each(|(row, to)| {
        let (channel, y) = (row / x.height, row % x.height);
        let from = &x.data[y * x.width * x.channels..][..x.width * x.channels];
        to.iter_mut().zip(from[channel..].iter().step_by(x.channels)).for_each(|(o, v)| *o = *v);
    });
    Tensor::from_vec(planes, (1, x.channels, x.height, x.width), device)
}

/// An RGB picture with pixels of [`KEY`] values: a fourth that is always 0 lets distances be summed in whole registers.
pub(crate) fn padded(picture: &Raster) -> Raster {
    picture.map(KEY, |p, o| o[..3].copy_from_slice(p))
}

/// Patches as the rows of a matrix: (origins, patch² · `channels`), the leading channels of every pixel.
fn rows_of(picture: &Raster, origins: &[(u16, u16)], patch: usize, channels: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(origins.len() * patch * patch * channels);
    for (x, y) in origins {
        for v in 0..patch {
            for u in 0..patch {
                rows.extend_from_slice(&picture.pixel(*x as usize + u, *y as usize + v)[..channels]);
            }
        }
    }
    rows
}

impl PatchDenoiser<'_> {
    fn exact(
        &mut self,
        picture: &Raster,
        target: &Raster,
        sigma: f64,
        completeness: f64,
    ) -> candle_core::Result<Raster> {
        let columns = self.field.columns;
        let queries: Vec<usize> = (0..self.active.len()).filter(|i| self.active[*i]).collect();
        let origins: Vec<(u16, u16)> =
            queries.iter().map(|i| ((i % columns) as u16, (i / columns) as u16)).collect();
        let patch = self.exemplar.patch;
        let mut distances = distances(
            &rows_of(target, &origins, patch, KEY),
            &rows_of(&self.exemplar.keys, &self.exemplar.origins, patch, KEY),
            patch * patch * KEY,
        )?;
        let count = self.exemplar.origins.len();
        complete(&mut distances, count, completeness * (patch * patch * KEY) as f64);
        self.remember(&queries, &distances, count);
        let values = rows_of(&self.exemplar.keys, &self.exemplar.origins, patch, 3);
        let means = posterior_means(distances, &values, count, patch * patch * 3, sigma)?;
        Ok(fold(picture, &origins, &means, patch))
    }

    /// Keeps every query's nearest patch, from which the next level's search sets out.
    fn remember(&mut self, queries: &[usize], distances: &[f32], count: usize) {
        let nearest = |row: &[f32]| {
            let distance = least(row);
            let (x, y) = self.exemplar.origins[row.iter().position(|d| *d == distance).unwrap_or(0)];
            Match { x, y, distance }
        };
        let found: Vec<Match> = distances.par_chunks_exact(count).map(nearest).collect();
        queries.iter().zip(found).for_each(|(query, found)| self.field.matches[*query] = found);
    }

    /// Every pixel is the weighted mean of the patches over it; pixels no active patch covers stay as they are.
    pub(crate) fn vote(&self, picture: &Raster, sharp: bool) -> Raster {
        let patch = self.exemplar.patch;
        let weights = vote_weights(patch, if sharp { 0.14 } else { 0.3 });
        let across = self.exemplar.keys.width;
        let votes = self.votes();
        let (keys, _) = self.exemplar.keys.data.as_chunks::<KEY>();
        let mut out = picture.clone();
        let row_length = picture.width * 3;
        out.data.par_chunks_exact_mut(row_length).enumerate().for_each(|(y, row)| {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let mut sum = [0.0f32; KEY];
                let mut total = 0.0f32;
                let (first, last) = (x.saturating_sub(patch - 1), x.min(self.field.columns - 1));
                for oy in y.saturating_sub(patch - 1)..=y.min(self.field.rows - 1) {
                    let votes = &votes[oy * self.field.columns..][first..=last];
                    // From right to left the pixel lies ever further inside the patches.
                    let inside = (y - oy) * patch + x - last..;
                    let weights = &weights[inside][..votes.len()];
                    let keys = &keys[(y - oy) * across + x - last..];
                    for (u, (vote, weight)) in votes.iter().rev().zip(weights).enumerate() {
                        let weight = weight * vote.weight;
                        let value = keys[vote.first + u];
                        total += weight;
                        sum.iter_mut().zip(value).for_each(|(s, value)| *s += weight * value);
                    }
                }
                if total > 0.0 {
                    pixel.iter_mut().zip(sum).for_each(|(p, s)| *p = s / total);
                }
            }
        });
        out
    }

    /// Where each patch copies from, and how much its copy counts.
    fn votes(&self) -> Vec<Vote> {
        let typical = self.typical_distance();
        let across = self.exemplar.keys.width;
        let vote = |(m, active): (&Match, &bool)| Vote {
            first: m.y as usize * across + m.x as usize,
            weight: match active {
                // A match not measured yet counts like any other.
                true if m.distance.is_finite() => typical / (m.distance + typical),
                true => 1.0,
                false => 0.0,
            },
        };
        self.field.matches.par_iter().zip(self.active).map(vote).collect()
    }

    /// The mean distance of active patches: against which a patch's own is weighed. Before any search there is none.
    fn typical_distance(&self) -> f32 {
        let mut sum = 0.0f64;
        let mut count = 0.0f64;
        for (m, _) in self.field.matches.iter().zip(self.active).filter(|(_, active)| **active) {
            if m.distance.is_finite() {
                sum += f64::from(m.distance);
                count += 1.0;
            }
        }
        if count > 0.0 { (0.3 * sum / count).max(1e-6) as f32 } else { 1e-6 }
    }
}

/// One patch among those that lie over a pixel.
#[derive(Clone, Copy)]
struct Vote {
    /// Its match's first pixel, counted through the material's rows.
    first: usize,
    /// How much it counts, from 1 for a perfect match down; 0 for one that is not active.
    weight: f32,
}

/// A Gaussian over the patch, `width` in patch sides.
fn vote_weights(patch: usize, width: f32) -> Vec<f32> {
    let centre = (patch as f32 - 1.0) / 2.0;
    let scale = width * patch as f32;
    (0..patch * patch)
        .map(|i| {
            let (u, v) = ((i % patch) as f32 - centre, (i / patch) as f32 - centre);
            (-(u * u + v * v) / (2.0 * scale * scale)).exp()
        })
        .collect()
}

/// Averages overlapping RGB patches (rows of `patches`) into the picture; uncovered pixels stay.
fn fold(picture: &Raster, origins: &[(u16, u16)], patches: &[f32], patch: usize) -> Raster {
    let weights = vote_weights(patch, 0.3);
    let mut sums = Raster::filled(picture.width, picture.height, 4, 0.0);
    for ((x, y), values) in origins.iter().zip(patches.chunks_exact(patch * patch * 3)) {
        for (i, (value, weight)) in values.chunks_exact(3).zip(&weights).enumerate() {
            let at = (*y as usize + i / patch) * picture.width + *x as usize + i % patch;
            let sum = &mut sums.data[at * 4..][..4];
            sum.iter_mut().zip(value).for_each(|(s, v)| *s += weight * v);
            sum[3] += weight;
        }
    }
    picture.zip(&sums, 3, |p, s, o| {
        for (c, o) in o.iter_mut().enumerate() {
            *o = if s[3] > 0.0 { s[c] / s[3] } else { p[c] };
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Exemplar;

    fn noise(width: usize, height: usize, channels: usize, seed: u64) -> Raster {
        let data = (0..width * height * channels)
            .map(|i| (hash(seed ^ hash(i as u64)) >> 40) as f32 / (1u64 << 24) as f32)
            .collect();
        Raster { width, height, channels, data }
    }

    fn search() -> Search {
        Search { rounds: 6, samples: 8, repetition: 0.0, seed: 5 }
    }

    /// The definition, written out: softmax over all patches, overlapping estimates averaged with the vote's weights.
    fn by_hand(target: &Raster, exemplar: &Exemplar, sigma: f64) -> Vec<f64> {
        let p = exemplar.patch;
        let weights = vote_weights(p, 0.3);
        let mut sums = vec![[0.0f64; 4]; target.pixels()];
        for oy in 0..=target.height - p {
            for ox in 0..=target.width - p {
                let log_weights: Vec<f64> = exemplar
                    .origins
                    .iter()
                    .map(|(mx, my)| {
                        let mut d = 0.0;
                        for v in 0..p {
                            for u in 0..p {
                                let a = target.pixel(ox + u, oy + v);
                                let b = exemplar.keys.pixel(*mx as usize + u, *my as usize + v);
                                d += a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
                            }
                        }
                        -d / (2.0 * sigma * sigma)
                    })
                    .collect();
                let most = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = log_weights.iter().map(|w| (w - most).exp()).sum();
                for v in 0..p {
                    for u in 0..p {
                        let sum = &mut sums[(oy + v) * target.width + ox + u];
                        let vote = f64::from(weights[v * p + u]);
                        sum[3] += vote;
                        for (w, (mx, my)) in log_weights.iter().zip(&exemplar.origins) {
                            let m = exemplar.keys.pixel(*mx as usize + u, *my as usize + v);
                            for c in 0..3 {
                                sum[c] += vote * (w - most).exp() / total * f64::from(m[c]);
                            }
                        }
                    }
                }
            }
        }
        sums.iter().flat_map(|s| [s[0] / s[3], s[1] / s[3], s[2] / s[3]]).collect()
    }

    #[test]
    fn the_exact_posterior_mean_is_the_definitions() {
        let exemplar = Exemplar::new(padded(&noise(9, 8, 3, 1)), &[true; 72], 3);
        let x = noise(7, 6, 3, 3);
        for sigma in [0.2, 0.5, 2.0] {
            let mut denoiser = PatchDenoiser {
                exemplar: &exemplar,
                active: &[true; 20],
                posterior: Posterior::Exact { completeness: f64::INFINITY, after: 0 },
                search: search(),
                field: Field::random(&exemplar, 5, 4, 1),
                sharp_below: 0.0,
                calls: 0,
            };
            let tensor = to_tensor(&x, &Device::Cpu).expect("tensor");
            let x0 = diffusion::Denoiser::denoise(&mut denoiser, &tensor, sigma).expect("estimate");
            let got = from_tensor(&x0).expect("raster");
            let want = by_hand(&padded(&x), &exemplar, sigma);
            for (got, want) in got.data.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 1e-4, "sigma {sigma}: {got} and {want}");
            }
        }
    }

    #[test]
    fn at_little_noise_the_search_finds_what_the_exact_posterior_finds() {
        let exemplar = Exemplar::new(padded(&noise(20, 20, 3, 1)), &[true; 400], 5);
        // A piece of the material itself, barely disturbed.
        let piece = exemplar.keys.window(4, 6, 12, 11);
        let x = piece.map(3, |p, o| o.copy_from_slice(&p[..3]));
        let run = |posterior: Posterior| {
            let mut denoiser = PatchDenoiser {
                exemplar: &exemplar,
                active: &[true; 56],
                posterior,
                search: Search { rounds: 60, ..search() },
                field: Field::random(&exemplar, 8, 7, 1),
                sharp_below: 0.0,
                calls: 0,
            };
            let tensor = to_tensor(&x, &Device::Cpu).expect("tensor");
            let x0 = diffusion::Denoiser::denoise(&mut denoiser, &tensor, 0.02).expect("estimate");
            from_tensor(&x0).expect("raster")
        };
        let exact = run(Posterior::Exact { completeness: f64::INFINITY, after: 0 });
        let found = run(Posterior::Nearest);
        for ((x, exact), found) in x.data.iter().zip(&exact.data).zip(&found.data) {
            assert!((x - exact).abs() < 1e-4 && (x - found).abs() < 1e-4, "{x} {exact} {found}");
        }
    }

    #[test]
    fn completeness_turns_a_query_to_the_patch_that_all_neglect() {
        // Two queries (rows), two patches: both queries are nearer to the first; the second patch is far from all, and
        // relative to its best the second query is the nearer one.
        let plain = vec![1.0, 4.0, 1.5, 5.0];
        let mut distances = plain.clone();
        complete(&mut distances, 2, 0.1);
        assert!(distances[3] < distances[2], "{distances:?}");
        let mut untouched = plain.clone();
        complete(&mut untouched, 2, f64::INFINITY);
        assert_eq!(untouched, plain);
    }
}
