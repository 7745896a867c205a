//! The subject's surface as a flat sheet: coordinates on which lengths are, as far as possible, lengths on the surface.
//!
//! A pattern painted on the sheet and looked up through the coordinates foreshortens and bends as the subject does. The
//! coordinates are as rigid as possible (Liu et al. 2008, "A local/global approach to mesh parameterization"): in turns,
//! every cell of a small grid says which rotation of its own metric fits the coordinates best, and one sparse system
//! finds the coordinates that fit all of them.

use super::lattice::{Edge, Lattice, NONE};
use super::raster::Raster;

/// Slope (rise over run) up to which a surface is unrolled: beyond it, near the outline, a pixel would hold more than two
/// periods of the pattern side by side.
const STEEPEST: f32 = 2.0;

/// Rounds of turning and solving; the coordinates move by less than a hundredth of a cell afterwards.
const ROUNDS: usize = 8;

/// Width, in cells, at which neighbouring rotations agree: what keeps folds out of the sheet.
const AGREEMENT: f32 = 2.0;

/// Weight that holds the sheet as a whole in its place.
const HOLD: f64 = 1e-5;

/// Coordinates of every cell of a small grid over the subject, in cells.
#[derive(Debug)]
pub(crate) struct Sheet {
    /// Two channels: across and down; smoothly continued outside the mask.
    pub(crate) place: Raster,
}

impl Sheet {
    /// Of a surface whose slopes (two channels: rise to the right and downwards, per cell) are given on the cells of
    /// `lattice`. A flat surface gives the cells' own columns and rows.
    pub(crate) fn unrolled(lattice: &Lattice, slopes: &Raster) -> Self {
        let metric: Vec<[f64; 3]> =
            lattice.cells.iter().map(|(x, y)| stretch(slopes.pixel(*x, *y))).collect();
        let start = |pick: fn(&(usize, usize)) -> usize| -> Vec<f64> {
            lattice.cells.iter().map(|cell| pick(cell) as f64).collect()
        };
        let (columns, rows) = (start(|c| c.0), start(|c| c.1));
        let (mut u, mut v) = (columns.clone(), rows.clone());
        for round in 0..ROUNDS {
            let turned = turned(lattice, &metric, &u, &v);
            let tolerance = if round + 1 < ROUNDS { 1e-3 } else { 1e-4 };
            let solve = |out: &mut Vec<f64>, held: &[f64], row: usize| {
                let b = divergence(lattice, &turned, held, row);
                lattice.solve(Edge::Free(HOLD), &b, out, tolerance, 400);
            };
            rayon::join(|| solve(&mut u, &columns, 0), || solve(&mut v, &rows, 1));
        }
        Self { place: continued(lattice, &u, &v) }
    }
}

/// The symmetric square root of the first fundamental form of a slope, as (across, mixed, down).
fn stretch(slope: &[f32]) -> [f64; 3] {
    let less = (STEEPEST / slope[0].hypot(slope[1]).max(1e-9)).min(1.0);
    let (p, q) = (f64::from(slope[0] * less), f64::from(slope[1] * less));
    let (a, b, d) = (1.0 + p * p, p * q, 1.0 + q * q);
    let root = (a * d - b * b).sqrt();
    let trace = (a + d + 2.0 * root).sqrt();
    [(a + root) / trace, b / trace, (d + root) / trace]
}

/// Every cell's metric, turned as the coordinates are turned there: rows (du/dx, du/dy), (dv/dx, dv/dy).
fn turned(lattice: &Lattice, metric: &[[f64; 3]], u: &[f64], v: &[f64]) -> Vec<[f64; 4]> {
    let slope = |w: &[f64], i: usize, ahead: usize, behind: usize| {
        let n = lattice.neighbours[i];
        match (n[ahead], n[behind]) {
            (NONE, NONE) => None,
            (NONE, b) => Some(w[i] - w[b]),
            (a, NONE) => Some(w[a] - w[i]),
            (a, b) => Some(0.5 * (w[a] - w[b])),
        }
    };
    // The rotation nearest to J·M has the angle of (j21 − j12, j11 + j22) of that product.
    let (mut sines, mut cosines) = (vec![0.0; u.len()], vec![0.0; u.len()]);
    for (i, m) in metric.iter().enumerate() {
        let (ux, uy) = (slope(u, i, 0, 2).unwrap_or(1.0), slope(u, i, 1, 3).unwrap_or(0.0));
        let (vx, vy) = (slope(v, i, 0, 2).unwrap_or(0.0), slope(v, i, 1, 3).unwrap_or(1.0));
        let (a, b) = (ux * m[0] + uy * m[1], ux * m[1] + uy * m[2]);
        let (c, d) = (vx * m[0] + vy * m[1], vx * m[1] + vy * m[2]);
        let size = (c - b).hypot(a + d).max(1e-12);
        (sines[i], cosines[i]) = ((c - b) / size, (a + d) / size);
    }
    let inside = lattice.raster(&vec![1.0; u.len()], 0.0);
    let smooth = |values: &[f64]| lattice.raster(values, 0.0).blur_within(&inside, AGREEMENT);
    let (sines, cosines) = (smooth(&sines), smooth(&cosines));
    let turn = |((x, y), m): (&(usize, usize), &[f64; 3])| {
        let (s, c) = (f64::from(sines.pixel(*x, *y)[0]), f64::from(cosines.pixel(*x, *y)[0]));
        let size = s.hypot(c).max(1e-12);
        let (s, c) = (s / size, c / size);
        [c * m[0] - s * m[1], c * m[1] - s * m[2], s * m[0] + c * m[1], s * m[1] + c * m[2]]
    };
    lattice.cells.iter().zip(metric).map(turn).collect()
}

/// The right side of the system for one coordinate (`row` 0: across, 1: down): what its differences should add up to.
fn divergence(lattice: &Lattice, turned: &[[f64; 4]], held: &[f64], row: usize) -> Vec<f64> {
    let mut b: Vec<f64> = held.iter().map(|h| HOLD * h).collect();
    for (i, n) in lattice.neighbours.iter().enumerate() {
        for (axis, next) in [(0, n[0]), (1, n[1])] {
            if next != NONE {
                let wanted = 0.5 * (turned[i][2 * row + axis] + turned[next][2 * row + axis]);
                b[i] -= wanted;
                b[next] += wanted;
            }
        }
    }
    b
}

/// The coordinates as a raster, continued outside as if the surface went on flat.
fn continued(lattice: &Lattice, u: &[f64], v: &[f64]) -> Raster {
    let (w, h) = (lattice.width, lattice.height);
    let mut place = Raster::filled(w, h, 2, 0.0);
    let mut known = vec![false; w * h];
    for ((x, y), (u, v)) in lattice.cells.iter().zip(u.iter().zip(v)) {
        let at = y * w + x;
        (place.data[2 * at], place.data[2 * at + 1], known[at]) = (*u as f32, *v as f32, true);
    }
    // Ring by ring: the mean of what the known neighbours expect.
    let mut front: Vec<usize> = (0..w * h).filter(|at| known[*at]).collect();
    while !front.is_empty() {
        let mut ring: Vec<usize> = front.iter().flat_map(|at| around(*at, w, h)).map(|(at, ..)| at).collect();
        ring.retain(|at| !known[*at]);
        ring.sort_unstable();
        ring.dedup();
        let expected = |at: usize| {
            let (mut sum, mut count) = ([0.0f32; 2], 0.0f32);
            for (near, dx, dy) in around(at, w, h).filter(|(near, ..)| known[*near]) {
                sum[0] += place.data[2 * near] - dx;
                sum[1] += place.data[2 * near + 1] - dy;
                count += 1.0;
            }
            sum.map(|s| s / count)
        };
        let values: Vec<[f32; 2]> = ring.iter().map(|at| expected(*at)).collect();
        for (at, value) in ring.iter().zip(values) {
            place.data[2 * at..][..2].copy_from_slice(&value);
            known[*at] = true;
        }
        front = ring;
    }
    if lattice.cells.is_empty() {
        (0..w * h).for_each(|at| {
            (place.data[2 * at], place.data[2 * at + 1]) = ((at % w) as f32, (at / w) as f32);
        });
    }
    place
}

/// The up to eight places around one, and the steps (dx, dy) to them.
fn around(at: usize, w: usize, h: usize) -> impl Iterator<Item = (usize, f32, f32)> {
    let (x, y) = (at % w, at / w);
    (0..9).filter(|k| *k != 4).filter_map(move |k| {
        let (dx, dy) = (k % 3 - 1, k / 3 - 1);
        let (x, y) = (x.checked_add_signed(dx)?, y.checked_add_signed(dy)?);
        (x < w && y < h).then_some((y * w + x, dx as f32, dy as f32))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A surface over a whole grid of `side` cells whose slopes follow from its height.
    fn unrolled(
        side: usize,
        inside: impl Fn(f32, f32) -> bool,
        slope: impl Fn(f32, f32) -> [f32; 2],
    ) -> (Lattice, Sheet) {
        let mut mask = Raster::filled(side, side, 1, 0.0);
        let mut slopes = Raster::filled(side, side, 2, 0.0);
        for at in 0..side * side {
            let (x, y) = ((at % side) as f32 - side as f32 / 2.0, (at / side) as f32 - side as f32 / 2.0);
            mask.data[at] = f32::from(u8::from(inside(x, y)));
            slopes.data[2 * at..][..2].copy_from_slice(&slope(x, y));
        }
        let lattice = Lattice::of(&mask, 0.5);
        let sheet = Sheet::unrolled(&lattice, &slopes);
        (lattice, sheet)
    }

    #[test]
    fn a_flat_surface_stays_as_it_is() {
        let (_, sheet) = unrolled(30, |x, y| x.hypot(y) < 12.0, |_, _| [0.0, 0.0]);
        for at in 0..900 {
            assert!((sheet.place.data[2 * at] - (at % 30) as f32).abs() < 0.02, "{at}");
            assert!((sheet.place.data[2 * at + 1] - (at / 30) as f32).abs() < 0.02, "{at}");
        }
    }

    #[test]
    fn a_cylinder_unrolls_to_its_arc_length() {
        // z = sqrt(r² − x²): dz/dx = −x / z. From −24 to 24 on r = 30 the arc is 2 r asin(0.8) = 55.6 long.
        let slope = |x: f32, _: f32| [-x / (900.0 - x * x).sqrt(), 0.0];
        let (_, sheet) = unrolled(60, |x, y| x.abs() <= 24.0 && y.abs() < 20.0, slope);
        let across = |x: usize, y: usize| sheet.place.pixel(x, y)[0];
        for y in [15, 30, 45] {
            let arc = across(54, y) - across(6, y);
            assert!((arc - 55.6).abs() < 1.5, "row {y}: {arc}");
            let down = sheet.place.pixel(30, 48)[1] - sheet.place.pixel(30, 12)[1];
            assert!((down - 36.0).abs() < 1.0, "{down}");
        }
    }

    #[test]
    fn a_ball_gets_longer_towards_its_rim_and_nowhere_folds() {
        let slope = |x: f32, y: f32| {
            let z = (900.0 - x * x - y * y).max(25.0).sqrt();
            [-x / z, -y / z]
        };
        let (lattice, sheet) = unrolled(64, |x, y| x.hypot(y) < 29.0, slope);
        let place = |x: usize, y: usize| sheet.place.pixel(x, y);
        let middle = place(34, 32)[0] - place(30, 32)[0];
        let rim = place(59, 32)[0] - place(55, 32)[0];
        assert!(middle < 5.0 && rim > 1.3 * middle, "{middle} {rim}");
        for (x, y) in &lattice.cells {
            let (o, r, d) = (place(*x, *y), place(x + 1, *y), place(*x, y + 1));
            let turn = (r[0] - o[0]) * (d[1] - o[1]) - (r[1] - o[1]) * (d[0] - o[0]);
            assert!(turn > 0.0, "({x}, {y}) is folded");
        }
    }
}
