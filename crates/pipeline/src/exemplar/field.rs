//! The nearest-neighbour field: for every patch of the target, where its best patch of the material lies.
//!
//! Search after PatchMatch (Barnes et al. 2009): good matches spread to neighbours, random candidates find new ones. All
//! candidates of one round come from the field of the round before, so rows run in parallel and the result does not
//! depend on their order. Randomness is a hash of (seed, round, patch), not a stream. Coordinates are the patches'
//! top-left pixels ("origins").

use kernels::patch::{PatchMetric, PatchRows};
use rayon::prelude::*;

use super::raster::Raster;

/// The material at one level of the pyramid, ready to be searched.
#[derive(Debug)]
pub(crate) struct Exemplar {
    /// RGB and scaled guidance, interleaved.
    pub(crate) keys: Raster,
    /// Patch side in pixels.
    pub(crate) patch: usize,
    /// Origins of the patches that lie wholly inside the material, as (x, y).
    pub(crate) origins: Vec<(u16, u16)>,
    /// The same as a map over all origins.
    allowed: Vec<bool>,
}

/// Channels of a key: red, green, blue, guidance.
pub(crate) const KEY: usize = 4;

impl Exemplar {
    /// `keys` has [`KEY`] channels; `inside` says which pixels belong to the material. When no patch fits inside, all do.
    pub(crate) fn new(keys: Raster, inside: &[bool], patch: usize) -> Self {
        let (columns, rows) = (keys.width + 1 - patch, keys.height + 1 - patch);
        let whole = |x: usize, y: usize| {
            (y..y + patch).all(|v| inside[v * keys.width + x..][..patch].iter().all(|inside| *inside))
        };
        let mut allowed: Vec<bool> = (0..rows * columns).map(|i| whole(i % columns, i / columns)).collect();
        if !allowed.contains(&true) {
            allowed.fill(true);
        }
        let origins = (0..allowed.len())
            .filter(|i| allowed[*i])
            .map(|i| ((i % columns) as u16, (i / columns) as u16))
            .collect();
        Self { keys, patch, origins, allowed }
    }

    pub(crate) fn columns(&self) -> usize {
        self.keys.width + 1 - self.patch
    }

    pub(crate) fn rows(&self) -> usize {
        self.keys.height + 1 - self.patch
    }

    /// Does a square of `side` pixels at (x, y) lie inside the material? Its corners' patches are asked.
    pub(crate) fn holds(&self, x: usize, y: usize, side: usize) -> bool {
        let far = (side - self.patch.min(side)) as isize;
        let (x, y) = (x as isize, y as isize);
        [(0, 0), (far, 0), (0, far), (far, far)].iter().all(|(dx, dy)| self.allows(x + dx, y + dy))
    }

    pub(crate) fn allows(&self, x: isize, y: isize) -> bool {
        let (columns, rows) = (self.columns() as isize, self.rows() as isize);
        (0..columns).contains(&x) && (0..rows).contains(&y) && self.allowed[(y * columns + x) as usize]
    }

    fn patch_at(&self, x: u16, y: u16) -> PatchRows<'_> {
        let stride = self.keys.width * KEY;
        PatchRows { data: &self.keys.data[y as usize * stride + x as usize * KEY..], stride }
    }
}

/// A target patch's best material patch so far and its squared distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Match {
    pub(crate) x: u16,
    pub(crate) y: u16,
    pub(crate) distance: f32,
}

/// Matches for all origins of a target, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    /// Patch side the field was made with.
    pub(crate) patch: usize,
    pub(crate) matches: Vec<Match>,
}

/// How one search looks for better matches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    pub(crate) rounds: usize,
    /// Random candidates a patch and round.
    pub(crate) samples: usize,
    /// How much dearer a part of the material gets when it is used twice as often as on average.
    pub(crate) repetition: f32,
    pub(crate) seed: u64,
}

/// SplitMix64's finaliser: a hash of `state`.
pub(crate) fn hash(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Side of the cells, in pixels, in which the use of the material is counted.
const CELL: usize = 4;

impl Field {
    /// Random matches.
    pub(crate) fn random(exemplar: &Exemplar, columns: usize, rows: usize, seed: u64) -> Self {
        let matches = (0..columns * rows)
            .map(|i| {
                let (x, y) = pick(exemplar, hash(seed ^ hash(i as u64)));
                Match { x, y, distance: f32::INFINITY }
            })
            .collect();
        Self { columns, rows, patch: exemplar.patch, matches }
    }

    /// The field for a target and material twice as large: patches keep their centres.
    pub(crate) fn enlarged(&self, exemplar: &Exemplar, columns: usize, rows: usize, seed: u64) -> Self {
        let (coarse_half, half) = (self.patch as isize / 2, exemplar.patch as isize / 2);
        let mut matches = vec![Match { x: 0, y: 0, distance: f32::INFINITY }; columns * rows];
        matches.par_chunks_exact_mut(columns).enumerate().for_each(|(row, out)| {
            let cy = row as isize + half;
            let from_y = (cy / 2 - coarse_half).clamp(0, self.rows as isize - 1);
            for (column, m) in out.iter_mut().enumerate() {
                let cx = column as isize + half;
                let from_x = (cx / 2 - coarse_half).clamp(0, self.columns as isize - 1);
                let coarse = self.matches[from_y as usize * self.columns + from_x as usize];
                let x = 2 * (coarse.x as isize + coarse_half) + cx % 2 - half;
                let y = 2 * (coarse.y as isize + coarse_half) + cy % 2 - half;
                let x = x.clamp(0, exemplar.columns() as isize - 1);
                let y = y.clamp(0, exemplar.rows() as isize - 1);
                (m.x, m.y) = if exemplar.allows(x, y) {
                    (x as u16, y as u16)
                } else {
                    pick(exemplar, hash(seed ^ hash((row * columns + column) as u64)))
                };
            }
        });
        Self { columns, rows, patch: exemplar.patch, matches }
    }

    /// Better matches for the patches of `target` ([`KEY`] channels) whose origin is `active`.
    pub(crate) fn improve(&mut self, exemplar: &Exemplar, target: &Raster, active: &[bool], search: &Search) {
        let metric = PatchMetric::detect();
        for round in 0..search.rounds {
            let price = Price::new(exemplar, self, active, search.repetition);
            let before = &self.matches;
            let round_seed = hash(search.seed ^ hash(round as u64));
            let mut after = before.clone();
            after.par_chunks_exact_mut(self.columns).enumerate().for_each(|(row, out)| {
                for (column, m) in out.iter_mut().enumerate() {
                    if active[row * self.columns + column] {
                        let measured = round > 0;
                        let query = Query { metric, exemplar, price: &price, target, row, column, measured };
                        *m = query.best(before, (self.columns, self.rows), search.samples, round_seed);
                    }
                }
            });
            self.matches = after;
        }
    }
}

fn pick(exemplar: &Exemplar, random: u64) -> (u16, u16) {
    exemplar.origins[(random % exemplar.origins.len() as u64) as usize]
}

/// What using a part of the material costs: the squared distance is multiplied by it.
struct Price {
    across: usize,
    factor: Vec<f32>,
}

impl Price {
    fn new(exemplar: &Exemplar, field: &Field, active: &[bool], repetition: f32) -> Self {
        let across = exemplar.columns().div_ceil(CELL);
        let cells = across * exemplar.rows().div_ceil(CELL);
        if repetition <= 0.0 {
            return Self { across, factor: vec![1.0; cells] };
        }
        let cell = |x: u16, y: u16| (y as usize / CELL) * across + x as usize / CELL;
        let mut uses = vec![0u32; cells];
        let mut room = vec![0u32; cells];
        let mut total = 0u32;
        for (m, _) in field.matches.iter().zip(active).filter(|(_, active)| **active) {
            uses[cell(m.x, m.y)] += 1;
            total += 1;
        }
        exemplar.origins.iter().for_each(|(x, y)| room[cell(*x, *y)] += 1);
        let share = total as f32 / exemplar.origins.len() as f32;
        let factor = uses
            .iter()
            .zip(&room)
            .map(|(uses, room)| {
                let expected = (share * *room as f32).max(1e-3);
                1.0 + repetition * (*uses as f32 / expected - 1.0).clamp(0.0, 8.0)
            })
            .collect();
        Self { across, factor }
    }

    fn at(&self, x: u16, y: u16) -> f32 {
        self.factor[(y as usize / CELL) * self.across + x as usize / CELL]
    }
}

/// One target patch looking for its match.
struct Query<'a> {
    metric: PatchMetric,
    exemplar: &'a Exemplar,
    price: &'a Price,
    target: &'a Raster,
    row: usize,
    column: usize,
    /// Whether its present match was measured on this target.
    measured: bool,
}

impl Query<'_> {
    fn best(&self, before: &[Match], (columns, rows): (usize, usize), samples: usize, seed: u64) -> Match {
        let own = before[self.row * columns + self.column];
        let mut best = Match { distance: f32::INFINITY, ..own };
        let mut cost = f32::INFINITY;
        if self.measured {
            (best, cost) = (own, own.distance * self.price.at(own.x, own.y));
        } else {
            self.consider(own.x, own.y, &mut best, &mut cost);
        }
        for (dx, dy) in [(-1, 0), (1, 0), (0, -1), (0, 1), (-3, 0), (3, 0), (0, -3), (0, 3)] {
            let (x, y) = (self.column as isize + dx, self.row as isize + dy);
            if (0..columns as isize).contains(&x) && (0..rows as isize).contains(&y) {
                let near = before[y as usize * columns + x as usize];
                let (x, y) = (near.x as isize - dx, near.y as isize - dy);
                if (x, y) != (best.x as isize, best.y as isize) && self.exemplar.allows(x, y) {
                    self.consider(x as u16, y as u16, &mut best, &mut cost);
                }
            }
        }
        let mut random = hash(seed ^ hash((self.row * columns + self.column) as u64));
        let mut reach = self.exemplar.columns().max(self.exemplar.rows()) as isize / 2;
        for _ in 0..samples {
            random = hash(random);
            if reach > 2 {
                let x = best.x as isize + (random % (2 * reach as u64 + 1)) as isize - reach;
                let y = best.y as isize + ((random >> 32) % (2 * reach as u64 + 1)) as isize - reach;
                if self.exemplar.allows(x, y) {
                    self.consider(x as u16, y as u16, &mut best, &mut cost);
                }
                reach /= 3;
            } else {
                let (x, y) = pick(self.exemplar, random);
                self.consider(x, y, &mut best, &mut cost);
            }
        }
        best
    }

    fn consider(&self, x: u16, y: u16, best: &mut Match, cost: &mut f32) {
        let price = self.price.at(x, y);
        let patch = self.exemplar.patch;
        let stride = self.target.width * KEY;
        let query = PatchRows { data: &self.target.data[self.row * stride + self.column * KEY..], stride };
        let distance =
            self.metric.squared(query, self.exemplar.patch_at(x, y), patch * KEY, patch, *cost / price);
        if distance * price < *cost {
            *best = Match { x, y, distance };
            *cost = distance * price;
        }
    }
}
