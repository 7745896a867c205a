//! The cells of a small grid that lie inside a mask, and linear systems between neighbours on them.
//!
//! Form is smooth, so heights and unrolled coordinates are solved for on a grid of at most some hundred and fifty cells a
//! side. Both systems are discrete Laplacians, solved by conjugate gradients (Hestenes and Stiefel 1952) with the diagonal
//! as preconditioner. Sums run in one fixed order on one thread: the same mask gives the same bits everywhere.

use super::raster::Raster;

/// No cell there.
pub(crate) const NONE: usize = usize::MAX;

/// Cells of a `width` × `height` grid, numbered row by row.
#[derive(Debug, Clone)]
pub(crate) struct Lattice {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Column and row of every cell.
    pub(crate) cells: Vec<(usize, usize)>,
    /// Number of the cell at every place of the grid, or [`NONE`].
    pub(crate) ids: Vec<usize>,
    /// Right, lower, left and upper neighbour of every cell, or [`NONE`].
    pub(crate) neighbours: Vec<[usize; 4]>,
}

/// Steps to the neighbours in the order of [`Lattice::neighbours`].
pub(crate) const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

/// How the edge of the mask behaves in [`Lattice::solve`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Edge {
    /// The unknown is 0 just outside.
    Zero,
    /// Nothing flows over the edge; every cell is held to its start by this small weight, or the mean would be free.
    Free(f64),
}

impl Lattice {
    /// The cells where `mask` (one channel) exceeds `threshold`.
    pub(crate) fn of(mask: &Raster, threshold: f32) -> Self {
        let (width, height) = (mask.width, mask.height);
        let mut ids = vec![NONE; width * height];
        let mut cells = Vec::new();
        for (at, _) in mask.data.iter().enumerate().filter(|(_, m)| **m > threshold) {
            ids[at] = cells.len();
            cells.push((at % width, at / width));
        }
        let mut lattice = Self { width, height, cells, ids, neighbours: Vec::new() };
        lattice.neighbours =
            lattice.cells.iter().map(|(x, y)| STEPS.map(|(dx, dy)| lattice.beside(*x, *y, dx, dy))).collect();
        lattice
    }

    /// The cell a step away from (x, y), or [`NONE`].
    fn beside(&self, x: usize, y: usize, dx: isize, dy: isize) -> usize {
        match (x.checked_add_signed(dx), y.checked_add_signed(dy)) {
            (Some(x), Some(y)) if x < self.width && y < self.height => self.ids[y * self.width + x],
            _ => NONE,
        }
    }

    /// Values of the cells as a raster, and `outside` everywhere else.
    pub(crate) fn raster(&self, values: &[f64], outside: f32) -> Raster {
        let mut out = Raster::filled(self.width, self.height, 1, outside);
        for ((x, y), value) in self.cells.iter().zip(values) {
            out.data[y * self.width + x] = *value as f32;
        }
        out
    }

    /// Solves `L x = b` for the negative Laplacian `L` under `edge`, from the start that `x` holds, until the residual is
    /// `tolerance` of the right side's norm or after `most` rounds.
    pub(crate) fn solve(&self, edge: Edge, b: &[f64], x: &mut [f64], tolerance: f64, most: usize) {
        let diagonal: Vec<f64> = match edge {
            Edge::Zero => vec![4.0; self.cells.len()],
            Edge::Free(hold) => {
                let degree = |n: &[usize; 4]| n.iter().filter(|n| **n != NONE).count() as f64;
                self.neighbours.iter().map(|n| degree(n) + hold).collect()
            }
        };
        let apply = |v: &[f64], out: &mut [f64]| {
            for (i, (o, n)) in out.iter_mut().zip(&self.neighbours).enumerate() {
                let around: f64 = n.iter().map(|n| v.get(*n).copied().unwrap_or(0.0)).sum();
                *o = diagonal[i] * v[i] - around;
            }
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut product = vec![0.0; x.len()];
        apply(x, &mut product);
        let mut residual: Vec<f64> = b.iter().zip(&product).map(|(b, p)| b - p).collect();
        let goal = (tolerance * tolerance * dot(b, b)).max(1e-20);
        let mut conditioned: Vec<f64> = residual.iter().zip(&diagonal).map(|(r, d)| r / d).collect();
        let mut direction = conditioned.clone();
        let mut energy = dot(&residual, &conditioned);
        for _ in 0..most {
            if dot(&residual, &residual) <= goal {
                break;
            }
            apply(&direction, &mut product);
            let step = energy / dot(&direction, &product).max(f64::MIN_POSITIVE);
            x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            residual.iter_mut().zip(&product).for_each(|(r, p)| *r -= step * p);
            conditioned.iter_mut().zip(residual.iter().zip(&diagonal)).for_each(|(c, (r, d))| *c = r / d);
            let next = dot(&residual, &conditioned);
            let keep = next / energy.max(f64::MIN_POSITIVE);
            direction.iter_mut().zip(&conditioned).for_each(|(d, c)| *d = c + keep * *d);
            energy = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disc(side: usize) -> Raster {
        let mut mask = Raster::filled(side, side, 1, 0.0);
        let (c, r) = (side as f32 / 2.0, side as f32 / 2.0 - 2.0);
        for y in 0..side {
            for x in 0..side {
                let d = (x as f32 + 0.5 - c).hypot(y as f32 + 0.5 - c);
                mask.data[y * side + x] = f32::from(u8::from(d < r));
            }
        }
        mask
    }

    #[test]
    fn poisson_on_a_disc_is_a_paraboloid() {
        // -laplace(h) = 4 with h = 0 at radius r: h = r² − d².
        let lattice = Lattice::of(&disc(64), 0.5);
        let mut h = vec![0.0; lattice.cells.len()];
        lattice.solve(Edge::Zero, &vec![4.0; h.len()], &mut h, 1e-6, 1000);
        for ((x, y), h) in lattice.cells.iter().zip(&h) {
            let d = (*x as f64 + 0.5 - 32.0).hypot(*y as f64 + 0.5 - 32.0);
            assert!((h - (900.0 - d * d)).abs() < 0.06 * 900.0, "({x}, {y}): {h}");
        }
    }

    #[test]
    fn a_free_edge_finds_the_field_whose_differences_are_given() {
        let lattice = Lattice::of(&disc(40), 0.5);
        let truth: Vec<f64> =
            lattice.cells.iter().map(|(x, y)| 0.3 * *x as f64 + 0.1 * (*y * *y) as f64).collect();
        let mut b = vec![0.0; truth.len()];
        for (i, n) in lattice.neighbours.iter().enumerate() {
            b[i] =
                n.iter().filter(|n| **n != NONE).map(|n| truth[i] - truth[*n]).sum::<f64>() + 1e-6 * truth[i];
        }
        let mut x = vec![0.0; truth.len()];
        lattice.solve(Edge::Free(1e-6), &b, &mut x, 1e-9, 2000);
        // The mean hangs on the small weight alone; the differences do not.
        let shift = truth[0] - x[0];
        assert!(truth.iter().zip(&x).all(|(t, x)| (t - x - shift).abs() < 1e-3));
    }
}
