//! The matrices of F(4×4, 3×3) and F(2×2, 3×3), along one axis (Lavin and Gray 2016).
//!
//! Either computes four results along an axis from a window of six values: F(4) as one tile, F(2) as two tiles whose
//! windows of four values overlap.

use crate::cpu::lanes::Lanes;

/// Transformations along one axis, of `TILES` tiles with `PRODUCTS` products and `RESULTS` results each.
pub(super) trait Matrices<const TILES: usize, const PRODUCTS: usize, const RESULTS: usize> {
    /// Bᵀ d for tile `tile` of a window.
    fn window<L: Lanes>(tile: usize, d: [L; 6]) -> [L; PRODUCTS];
    /// G g.
    fn weights<L: Lanes>(g: [L; 3]) -> [L; PRODUCTS];
    /// Aᵀ m.
    fn results<L: Lanes>(m: [L; PRODUCTS]) -> [L; RESULTS];
}

/// F(4, 3) at the points 0, ±1, ±2.
pub(super) struct Four;

impl Matrices<1, 6, 4> for Four {
    #[inline(always)]
    fn window<L: Lanes>(_: usize, d: [L; 6]) -> [L; 6] {
        let (two, four, minus5) = (L::splat(2.0), L::splat(4.0), L::splat(-5.0));
        let minus4 = L::splat(-4.0);
        let (a, b) = (d[2].mul_add(minus4, d[4]), d[1].mul_add(minus4, d[3]));
        let (c, e) = (d[4].sub(d[2]), two.mul(d[3].sub(d[1])));
        [
            d[0].mul_add(four, d[2].mul_add(minus5, d[4])),
            a.add(b),
            a.sub(b),
            c.add(e),
            c.sub(e),
            d[1].mul_add(four, d[3].mul_add(minus5, d[5])),
        ]
    }

    #[inline(always)]
    fn weights<L: Lanes>(g: [L; 3]) -> [L; 6] {
        let sum = g[0].add(g[2]).mul(L::splat(-1.0 / 6.0));
        let middle = g[1].mul(L::splat(1.0 / 6.0));
        let outer = g[0].mul_add(L::splat(1.0 / 24.0), g[2].mul(L::splat(1.0 / 6.0)));
        let half = g[1].mul(L::splat(1.0 / 12.0));
        [g[0].mul(L::splat(0.25)), sum.sub(middle), sum.add(middle), outer.add(half), outer.sub(half), g[2]]
    }

    #[inline(always)]
    fn results<L: Lanes>(m: [L; 6]) -> [L; 4] {
        let (two, four, eight) = (L::splat(2.0), L::splat(4.0), L::splat(8.0));
        let (a, b) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (c, d) = (m[3].add(m[4]), m[3].sub(m[4]));
        [m[0].add(a).add(c), d.mul_add(two, b), c.mul_add(four, a), d.mul_add(eight, b).add(m[5])]
    }
}

/// F(2, 3) at the points 0, ±1.
pub(super) struct Two;

impl Matrices<2, 4, 2> for Two {
    #[inline(always)]
    fn window<L: Lanes>(tile: usize, d: [L; 6]) -> [L; 4] {
        let [a, b, c, d] = if tile == 0 { [d[0], d[1], d[2], d[3]] } else { [d[2], d[3], d[4], d[5]] };
        [a.sub(c), b.add(c), c.sub(b), b.sub(d)]
    }

    #[inline(always)]
    fn weights<L: Lanes>(g: [L; 3]) -> [L; 4] {
        let half = L::splat(0.5);
        let (sum, middle) = (g[0].add(g[2]).mul(half), g[1].mul(half));
        [g[0], sum.add(middle), sum.sub(middle), g[2]]
    }

    #[inline(always)]
    fn results<L: Lanes>(m: [L; 4]) -> [L; 2] {
        [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])]
    }
}
