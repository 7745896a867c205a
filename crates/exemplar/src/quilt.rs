//! Where the coarsest level sets out: whole pieces of the material laid side by side.
//!
//! After image quilting with its texture transfer (Efros and Freeman 2001): block by block, the piece of the material whose
//! overlap fits what is already laid and in which the material is as bright and as varied as
//! everywhere, or else a rare vein would never come over; among nearly equal ones the seed decides, and pieces already used
//! cost more. Large features survive this whole; the sampler then heals the seams.

use rayon::prelude::*;

use super::field::{Exemplar, Field, Match, hash};
use super::raster::Raster;

/// Lays blocks of `block` pixels, half overlapping by a third, over a canvas of (`width`, `height`) pixels.
pub(crate) fn quilt(
    exemplar: &Exemplar,
    (width, height): (usize, usize),
    block: usize,
    repetition: f32,
    seed: u64,
) -> Field {
    let block =
        block.min(width).min(height).min(exemplar.keys.width).min(exemplar.keys.height).max(exemplar.patch);
    let overlap = (block / 3).max(1);
    let oddity = oddity(exemplar, block);
    let mut cloth = Cloth {
        exemplar,
        block,
        overlap,
        laid: Raster::filled(width, height, 3, -1.0),
        source: vec![(0, 0); width * height],
        uses: vec![0.0; exemplar.keys.pixels()],
        repetition,
        oddity,
    };
    let mut random = hash(seed);
    for y in starts(height, block, overlap) {
        for x in starts(width, block, overlap) {
            random = hash(random);
            let piece = cloth.choose(x, y, random);
            cloth.lay(x, y, piece);
        }
    }
    cloth.field(seed)
}

/// Block positions along one axis: the last block ends with the canvas.
fn starts(length: usize, block: usize, overlap: usize) -> Vec<usize> {
    let step = (block - overlap).max(1);
    let mut starts: Vec<usize> = (0..).map(|i| i * step).take_while(|s| s + block < length).collect();
    starts.push(length - block);
    starts
}

struct Cloth<'a> {
    exemplar: &'a Exemplar,
    block: usize,
    overlap: usize,
    /// RGB, negative where nothing lies yet.
    laid: Raster,
    /// Which material pixel lies at each canvas pixel.
    source: Vec<(usize, usize)>,
    /// How often each material pixel has been laid.
    uses: Vec<f32>,
    repetition: f32,
    /// Of every piece, row by row.
    oddity: Vec<f32>,
}

/// How far the moments of every piece of `block` pixels lie from the whole material's.
fn oddity(exemplar: &Exemplar, block: usize) -> Vec<f32> {
    let keys = &exemplar.keys;
    let usual = Moments::of(exemplar.origins.iter().map(|(x, y)| keys.pixel(*x as usize, *y as usize)));
    let piece = |u: usize, v: usize| {
        let pixels = (v..v + block).flat_map(|y| (u..u + block).map(move |x| keys.pixel(x, y)));
        Moments::of(pixels).squared_distance(&usual)
    };
    let row = |v: usize| (0..=keys.width - block).map(move |u| piece(u, v));
    (0..=keys.height - block).into_par_iter().flat_map_iter(row).collect()
}

/// Mean and deviation of red, green and blue.
struct Moments {
    mean: [f32; 3],
    deviation: [f32; 3],
}

impl Moments {
    fn of<'a>(pixels: impl Iterator<Item = &'a [f32]>) -> Self {
        let (mut count, mut sum, mut squares) = (0.0f32, [0.0f32; 3], [0.0f32; 3]);
        for pixel in pixels {
            count += 1.0;
            for (channel, value) in pixel[..3].iter().enumerate() {
                sum[channel] += value;
                squares[channel] += value * value;
            }
        }
        let mean = sum.map(|sum| sum / count.max(1.0));
        let deviation =
            std::array::from_fn(|c| (squares[c] / count.max(1.0) - mean[c] * mean[c]).max(0.0).sqrt());
        Self { mean, deviation }
    }

    fn squared_distance(&self, other: &Self) -> f32 {
        let apart = |a: &[f32; 3], b: &[f32; 3]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        apart(&self.mean, &other.mean) + apart(&self.deviation, &other.deviation)
    }
}

impl Cloth<'_> {
    fn choose(&self, x: usize, y: usize, random: u64) -> (usize, usize) {
        let keys = &self.exemplar.keys;
        let pieces = |v: usize| {
            let held = move |u: &usize| self.exemplar.holds(*u, v, self.block);
            let columns = (0..=keys.width - self.block).filter(held);
            columns.map(move |u| ((u, v), self.cost((x, y), (u, v)))).collect::<Vec<_>>()
        };
        let costs: Vec<_> = (0..=keys.height - self.block).into_par_iter().flat_map_iter(pieces).collect();
        let least = costs.iter().map(|(_, cost)| *cost).fold(f32::INFINITY, f32::min);
        let good: Vec<(usize, usize)> =
            costs.iter().filter(|(_, c)| *c <= 1.1 * least).map(|(at, _)| *at).collect();
        match good.len() {
            0 => (
                (random % (keys.width - self.block + 1) as u64) as usize,
                ((random >> 32) % (keys.height - self.block + 1) as u64) as usize,
            ),
            count => good[(random % count as u64) as usize],
        }
    }

    /// Mean squared misfit of a piece: colour where something lies, its own moments; dearer with use.
    fn cost(&self, (x, y): (usize, usize), (u, v): (usize, usize)) -> f32 {
        let keys = &self.exemplar.keys;
        let (mut colour, mut overlaps, mut uses) = (0.0f32, 0.0f32, 0.0f32);
        for j in 0..self.block {
            for i in 0..self.block {
                let key = keys.pixel(u + i, v + j);
                uses += self.uses[(v + j) * keys.width + u + i];
                let lies = self.laid.pixel(x + i, y + j);
                if lies[0] >= 0.0 {
                    overlaps += 1.0;
                    colour += lies.iter().zip(key).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
                }
            }
        }
        let area = (self.block * self.block) as f32;
        let odd = self.oddity[v * (keys.width + 1 - self.block) + u];
        (colour / overlaps.max(1.0) + odd + 1e-4) * (1.0 + self.repetition * uses / area)
    }

    /// Lays a piece; where it overlaps, the older half stays.
    fn lay(&mut self, x: usize, y: usize, (u, v): (usize, usize)) {
        let half = self.overlap / 2;
        let keys = &self.exemplar.keys;
        for j in 0..self.block {
            for i in 0..self.block {
                let at = (y + j) * self.laid.width + x + i;
                self.uses[(v + j) * keys.width + u + i] += 1.0;
                let free = self.laid.data[at * 3] < 0.0;
                if free || ((x == 0 || i >= half) && (y == 0 || j >= half)) {
                    self.laid.data[at * 3..][..3].copy_from_slice(&keys.pixel(u + i, v + j)[..3]);
                    self.source[at] = (u + i, v + j);
                }
            }
        }
    }

    /// Every patch matches the piece that its centre lies on.
    fn field(&self, seed: u64) -> Field {
        let patch = self.exemplar.patch;
        let (columns, rows) = (self.laid.width + 1 - patch, self.laid.height + 1 - patch);
        let mut field = Field::random(self.exemplar, columns, rows, seed);
        let half = patch / 2;
        for (i, m) in field.matches.iter_mut().enumerate() {
            let (x, y) = (i % columns + half, i / columns + half);
            let (u, v) = self.source[y * self.laid.width + x];
            let (u, v) = (u as isize - half as isize, v as isize - half as isize);
            if self.exemplar.allows(u, v) {
                *m = Match { x: u as u16, y: v as u16, distance: f32::INFINITY };
            }
        }
        field
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::KEY;
    use super::*;

    #[test]
    fn a_rare_vein_comes_over_with_every_seed() {
        // Two bright columns of sixty: most pieces of twenty columns hold neither.
        let keys = Raster {
            width: 60,
            height: 40,
            channels: KEY,
            data: (0..60 * 40)
                .flat_map(|i| if i % 60 / 2 == 4 { [0.9, 0.9, 0.9, 0.0] } else { [0.1, 0.1, 0.1, 0.0] })
                .collect(),
        };
        let exemplar = Exemplar::new(keys, &[true; 60 * 40], 5);
        for seed in 0..20 {
            let field = quilt(&exemplar, (20, 20), 20, 1.0, seed);
            let veined = field.matches.iter().filter(|m| (4..10).contains(&m.x)).count();
            assert!(veined > 0, "seed {seed}");
        }
    }
}
