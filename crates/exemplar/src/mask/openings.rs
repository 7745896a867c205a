//! Openings in thin things before a plain ground: between the spokes of a wheel, in the bow of a pair of scissors.
//!
//! The network sees too coarsely to leave them out. Before a plain ground (a product's photograph) they give themselves away:
//! they show the ground's colour, flatly, and end at sharp edges. A bright spot on a pale thing shows it too, but fades.

use std::collections::{BTreeMap, HashSet};

use pixels::raster::{Raster, luma};

use super::flood::{Flood, beside};
use crate::object::median;

/// The ground is plain when this share of it lies within [`SAME`] of its middle colour, and it is this large a part of the picture.
const PLAIN: f32 = 0.9;
const LEAST_GROUND: f32 = 0.15;

/// Largest difference of any channel from the ground's colour that still is the ground: a sensor's noise and a slow gradient.
const SAME: f32 = 0.045;

/// An opening's edge is sharp where the difference passes this within [`REACH`] pixels of it, or where the ground comes back
/// within [`THIN`]: behind a spoke.
const STEP: f32 = 0.28;
const REACH: isize = 2;
const THIN: isize = 5;

/// The same where a shadow is counted in: what is darker than a soft shadow may still be its darkest part.
const SHADOW_REACH: isize = 6;

/// Share of an opening's outline that has to be sharp.
const SHARP: f32 = 0.6;

/// The least share of the ground's brightness that a soft shadow leaves, and the most that its tint may differ.
const DEEPEST_SHADOW: f32 = 0.6;
const SAME_TINT: f32 = 0.025;

/// Of an opening in shadow at least this share shows the bare ground (this near to its colour), which is brighter than elsewhere
/// by this at most; of islands in it there may be this share.
const BARE: f32 = 0.02;
const LEAST_LIT: f32 = 0.4;
const BRIGHTER: f32 = 0.012;
const MOST_ISLANDS: f32 = 0.03;

/// Of a large opening with a sharp edge (this share of the mask), islands may have this share: a clock's face has more figures.
const LARGE: f32 = 0.03;
const MOST_FIGURES: f32 = 0.06;

/// Openings smaller than this share of the mask are left alone.
const LEAST_OPENING: f32 = 0.004;

/// `mask` (one channel) without the openings that `picture` (RGB, the same size) shows in it.
pub(super) fn opened(picture: &Raster, mask: Raster) -> Raster {
    let Some(ground) = plain_ground(picture, &mask) else { return mask };
    let scene = Scene::of(picture, &mask, ground);
    let covered = mask.data.iter().filter(|m| **m > 0.5).count();
    let least = (LEAST_OPENING * covered as f32).max(8.0) as usize;
    let large = (LARGE * covered as f32) as usize;
    let mut flood = Flood::new(mask.width, mask.height);
    let mut out = mask.clone();
    for start in 0..mask.pixels() {
        if flood.visited(start) || !scene.shows_ground(start) {
            continue;
        }
        let part = flood.from(start, |at| scene.shows_ground(at));
        if part.len() < least {
            continue;
        }
        // A clock's white face has figures on it; what is behind a wheel shows nothing between the spokes.
        if scene.sharpness(&part, false) >= SHARP
            && (part.len() < large || islands(&part, mask.width) <= MOST_FIGURES)
        {
            part.iter().for_each(|at| out.data[*at] = 0.0);
        } else if let Some(part) = scene.with_shadow(&part) {
            part.iter().for_each(|at| out.data[*at] = 0.0);
        }
    }
    out
}

/// A picture before a plain ground.
struct Scene<'a> {
    mask: &'a Raster,
    /// How far each pixel is from the ground's colour: the largest difference of any channel.
    apart: Vec<f32>,
    /// Whether each is the ground's colour in a soft shadow.
    shaded: Vec<bool>,
    /// How much brighter than the ground each is.
    brighter: Vec<f32>,
}

impl<'a> Scene<'a> {
    fn of(picture: &Raster, mask: &'a Raster, ground: [f32; 3]) -> Self {
        let pixels = || picture.data.chunks_exact(3);
        let apart = |p: &[f32], share: f32| {
            p.iter().zip(ground).map(|(v, g)| (v - share * g).abs()).fold(0.0, f32::max)
        };
        let level = luma(&ground).max(0.05);
        let in_shadow = |p: &[f32]| {
            let share = luma(p) / level;
            (DEEPEST_SHADOW..=1.0).contains(&share) && apart(p, share) <= SAME_TINT
        };
        Self {
            mask,
            apart: pixels().map(|p| apart(p, 1.0)).collect(),
            shaded: pixels().map(in_shadow).collect(),
            brighter: pixels().map(|p| luma(p) - level).collect(),
        }
    }

    /// Whether a place of the mask has the ground's colour.
    fn shows_ground(&self, at: usize) -> bool {
        self.mask.data[at] > 0.02 && self.apart[at] <= SAME
    }

    /// An opening together with the shadow that the thing casts into it, if it is one: closed all round, sharp once the shadow
    /// is counted in, with nothing in the middle, and not brighter than the ground (the white face of a clock).
    fn with_shadow(&self, part: &[usize]) -> Option<Vec<usize>> {
        let (w, h) = (self.mask.width, self.mask.height);
        // The network may have left a part of it out already.
        let belongs = |at: usize| self.apart[at] <= SAME || self.shaded[at];
        let whole = Flood::new(w, h).from(*part.first()?, belongs);
        let brighter = median(part.iter().map(|at| self.brighter[*at]).collect())?;
        let lit = whole.iter().filter(|at| self.apart[**at] <= BARE).count();
        let closed = || whole.iter().all(|at| beside(*at, w, h).into_iter().all(|near| near.is_some()));
        let is_opening = brighter <= BRIGHTER
            && (lit as f32) >= LEAST_LIT * whole.len() as f32
            && closed()
            && self.sharpness(&whole, true) >= SHARP
            && islands(&whole, w) <= MOST_ISLANDS;
        is_opening.then_some(whole)
    }

    /// Share of a part's outline within [`REACH`] pixels of a place that plainly is not the ground, or not even in shadow.
    fn sharpness(&self, part: &[usize], with_shadow: bool) -> f32 {
        let (w, h) = (self.mask.width, self.mask.height);
        let reach = if with_shadow { SHADOW_REACH } else { REACH };
        let (mut outline, mut sharp) = (0usize, 0usize);
        for at in part {
            let (x, y) = ((at % w) as isize, (at / w) as isize);
            let at = |dx: isize, dy: isize| {
                let (x, y) = (x + dx, y + dy);
                let inside = (0..w as isize).contains(&x) && (0..h as isize).contains(&y);
                inside.then(|| y as usize * w + x as usize)
            };
            let apart = |dx: isize, dy: isize| at(dx, dy).map(|at| self.apart[at]);
            let leaves = |dx: isize, dy: isize| {
                at(dx, dy).is_some_and(|at| self.apart[at] > SAME && !(with_shadow && self.shaded[at]))
            };
            let ways = [(1, 0), (-1, 0), (0, 1), (0, -1)];
            for (dx, dy) in ways.into_iter().filter(|(dx, dy)| leaves(*dx, *dy)) {
                outline += 1;
                let steep = (1..=reach).any(|k| apart(k * dx, k * dy).is_some_and(|d| d > STEP));
                let thin = || (2..=THIN).any(|k| apart(k * dx, k * dy).is_some_and(|d| d <= SAME));
                sharp += usize::from(steep || thin());
            }
        }
        if outline == 0 { 0.0 } else { sharp as f32 / outline as f32 }
    }
}

/// How much of what is not its own a part surrounds, as a share of its own.
fn islands(part: &[usize], width: usize) -> f32 {
    let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let own: HashSet<usize> = part.iter().copied().collect();
    part.iter().for_each(|at| rows.entry(at / width).or_default().push(at % width));
    let (Some(top), Some(bottom)) = (rows.keys().next(), rows.keys().next_back()) else { return 0.0 };
    let left = rows.values().flatten().min().copied().unwrap_or(0);
    let right = rows.values().flatten().max().copied().unwrap_or(0);
    // Its surroundings, from a frame around it; what they do not reach lies within.
    let (w, h) = (right - left + 3, bottom - top + 3);
    let foreign = |at: usize| {
        let (x, y) = (at % w, at / w);
        let inner = x > 0 && y > 0 && x + 1 < w && y + 1 < h;
        !(inner && own.contains(&((top + y - 1) * width + left + x - 1)))
    };
    let around = Flood::new(w, h).from(0, foreign).len();
    (w * h - around - part.len()) as f32 / part.len().max(1) as f32
}

/// The ground's colour, when it is plain.
fn plain_ground(picture: &Raster, mask: &Raster) -> Option<[f32; 3]> {
    let ground: Vec<&[f32]> =
        picture.data.chunks_exact(3).zip(&mask.data).filter(|(_, m)| **m <= 0.02).map(|(p, _)| p).collect();
    if (ground.len() as f32) < LEAST_GROUND * mask.pixels() as f32 {
        return None;
    }
    let middle: [f32; 3] = std::array::from_fn(|c| {
        let mut values: Vec<f32> = ground.iter().map(|p| p[c]).collect();
        let at = values.len() / 2;
        *values.select_nth_unstable_by(at, f32::total_cmp).1
    });
    let same = ground.iter().filter(|p| p.iter().zip(middle).all(|(v, m)| (v - m).abs() <= SAME)).count();
    (same as f32 >= PLAIN * ground.len() as f32).then_some(middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disc of 30 pixels on white: red with a white middle, whose edge is sharp or fades over 20 pixels.
    fn ring(fades: bool) -> (Raster, Raster) {
        let mut picture = Raster::filled(100, 100, 3, 1.0);
        let mut mask = Raster::filled(100, 100, 1, 0.0);
        for at in 0..10_000 {
            let distance = ((at % 100) as f32 - 49.5).hypot((at / 100) as f32 - 49.5);
            if distance < 30.0 {
                mask.data[at] = 1.0;
                let pale = if fades {
                    ((26.0 - distance) / 20.0).clamp(0.0, 1.0)
                } else {
                    f32::from(u8::from(distance < 15.0))
                };
                picture.data[3 * at..][..3].copy_from_slice(&[1.0, pale, pale]);
            }
        }
        (picture, mask)
    }

    #[test]
    fn an_opening_with_a_sharp_edge_is_left_out_and_a_highlight_is_not() {
        let (picture, mask) = ring(false);
        let out = opened(&picture, mask);
        assert_eq!((out.pixel(50, 50)[0], out.pixel(70, 50)[0]), (0.0, 1.0));
        let (picture, mask) = ring(true);
        assert_eq!(opened(&picture, mask.clone()).data, mask.data);
    }

    #[test]
    fn before_a_busy_ground_nothing_is_opened() {
        let (mut picture, mask) = ring(false);
        (0..10_000)
            .filter(|at| mask.data[*at] == 0.0 && at % 3 == 0)
            .for_each(|at| picture.data[3 * at] = 0.5);
        assert_eq!(opened(&picture, mask.clone()).data, mask.data);
    }
}
