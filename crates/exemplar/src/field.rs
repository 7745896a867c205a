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
    /// RGB and a 0, interleaved.
    pub(crate) keys: Raster,
    /// Patch side in pixels.
    pub(crate) patch: usize,
    /// Origins of the patches that lie wholly inside the material, as (x, y).
    pub(crate) origins: Vec<(u16, u16)>,
    /// The same as a map over all origins.
    allowed: Vec<bool>,
}

/// Values of a pixel: red, green, blue and a 0.
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
        let (columns, rows) = (self.columns, self.rows);
        let mut earlier: Option<Vec<Match>> = None;
        for round in 0..search.rounds {
            let round = Round {
                metric: PatchMetric::detect(),
                exemplar,
                price: &Price::new(exemplar, self, active, search.repetition),
                target,
                active,
                before: &self.matches,
                earlier: earlier.as_deref(),
                columns,
                rows,
                samples: search.samples,
                seed: hash(search.seed ^ hash(round as u64)),
            };
            let mut after = self.matches.clone();
            after.par_chunks_exact_mut(columns).enumerate().for_each(|(row, out)| round.improve(row, out));
            earlier = Some(std::mem::replace(&mut self.matches, after));
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

/// One round of a search: every patch looks for its match among what its neighbours and chance propose.
struct Round<'a> {
    metric: PatchMetric,
    exemplar: &'a Exemplar,
    price: &'a Price,
    target: &'a Raster,
    active: &'a [bool],
    /// The matches that neighbours propose.
    before: &'a [Match],
    /// Those that they proposed in the round before, on the same target.
    earlier: Option<&'a [Match]>,
    columns: usize,
    rows: usize,
    samples: usize,
    seed: u64,
}

/// Neighbours whose matches a patch tries.
const NEIGHBOURS: [(isize, isize); 8] = [(-1, 0), (1, 0), (0, -1), (0, 1), (-3, 0), (3, 0), (0, -3), (0, 3)];

/// How many patches ahead the places that chance proposes are fetched into the cache: they lie anywhere in the material.
const AHEAD: usize = 2;

/// Rows of such a place that are fetched: most are given up within them.
const FETCHED: usize = 4;

impl Round<'_> {
    /// Better matches for a row of patches.
    fn improve(&self, row: usize, out: &mut [Match]) {
        for (column, m) in out.iter_mut().enumerate() {
            let at = row * self.columns + column;
            if column + AHEAD < self.columns && self.active[at + AHEAD] {
                for (x, y) in self.chances(at + AHEAD) {
                    self.exemplar.patch_at(x, y).prefetch(self.exemplar.patch * KEY, FETCHED);
                }
            }
            if self.active[at] {
                *m = self.best(row, column);
            }
        }
    }

    fn best(&self, row: usize, column: usize) -> Match {
        let (at, stride) = (row * self.columns + column, self.target.width * KEY);
        let own = self.before[at];
        let mut trial = Trial {
            round: self,
            patch: PatchRows { data: &self.target.data[row * stride + column * KEY..], stride },
            best: Match { distance: f32::INFINITY, ..own },
            cost: f32::INFINITY,
        };
        // What was measured in an earlier round was measured on this target.
        if self.earlier.is_some() {
            (trial.best, trial.cost) = (own, own.distance * self.price.at(own.x, own.y));
        } else {
            trial.consider(own.x, own.y);
        }
        let mut tried = [(own.x, own.y); NEIGHBOURS.len()];
        for (k, (dx, dy)) in NEIGHBOURS.into_iter().enumerate() {
            let Some((x, y)) = self.proposal(row, column, dx, dy) else { continue };
            if !tried.contains(&(x, y)) {
                tried[k] = (x, y);
                trial.consider(x, y);
            }
        }
        for (x, y) in self.chances(at) {
            trial.consider(x, y);
        }
        trial.best
    }

    /// Where the neighbour at (dx, dy) would have this patch: its own match, shifted back. Nothing when it said so before.
    fn proposal(&self, row: usize, column: usize, dx: isize, dy: isize) -> Option<(u16, u16)> {
        let (x, y) = (column as isize + dx, row as isize + dy);
        if !(0..self.columns as isize).contains(&x) || !(0..self.rows as isize).contains(&y) {
            return None;
        }
        let at = y as usize * self.columns + x as usize;
        let near = self.before[at];
        if self.earlier.is_some_and(|earlier| (earlier[at].x, earlier[at].y) == (near.x, near.y)) {
            return None;
        }
        let (x, y) = (near.x as isize - dx, near.y as isize - dy);
        self.exemplar.allows(x, y).then_some((x as u16, y as u16))
    }

    /// Where chance sends a patch: around its present match, nearer with every sample, then anywhere.
    fn chances(&self, at: usize) -> impl Iterator<Item = (u16, u16)> {
        let own = self.before[at];
        let mut random = hash(self.seed ^ hash(at as u64));
        let mut reach = self.exemplar.columns().max(self.exemplar.rows()) as u64 / 2;
        (0..self.samples).filter_map(move |_| {
            random = hash(random);
            if reach <= 2 {
                return Some(pick(self.exemplar, random));
            }
            let off =
                |random: u64| (((random & 0xffff_ffff) * (2 * reach + 1)) >> 32) as isize - reach as isize;
            let (x, y) = (own.x as isize + off(random), own.y as isize + off(random >> 32));
            reach /= 3;
            self.exemplar.allows(x, y).then_some((x as u16, y as u16))
        })
    }
}

/// A patch of the target and the best match found for it so far.
struct Trial<'a> {
    round: &'a Round<'a>,
    patch: PatchRows<'a>,
    best: Match,
    /// The best match's distance times its price.
    cost: f32,
}

impl Trial<'_> {
    fn consider(&mut self, x: u16, y: u16) {
        let Round { metric, exemplar, price, .. } = self.round;
        let (price, side) = (price.at(x, y), exemplar.patch);
        let distance =
            metric.squared(self.patch, exemplar.patch_at(x, y), side * KEY, side, self.cost / price);
        if distance * price < self.cost {
            self.best = Match { x, y, distance };
            self.cost = distance * price;
        }
    }
}
