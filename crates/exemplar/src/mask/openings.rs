//! Openings in thin things before a plain ground: between the spokes of a wheel, in the bow of a pair of scissors.
//!
//! The network sees too coarsely to leave them out. Before a plain ground (a product's photograph) they give themselves away:
//! they show the ground's colour, flatly, and end at sharp edges. A bright spot on a pale thing shows it too, but fades.

use pixels::raster::Raster;

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

/// Share of an opening's outline that has to be sharp.
const SHARP: f32 = 0.6;

/// Openings smaller than this share of the mask are left alone.
const LEAST_OPENING: f32 = 0.004;

/// `mask` (one channel) without the openings that `picture` (RGB, the same size) shows in it.
pub(super) fn opened(picture: &Raster, mask: Raster) -> Raster {
    let Some(ground) = plain_ground(picture, &mask) else { return mask };
    let differs = |at: usize| {
        picture.data[3 * at..][..3].iter().zip(ground).map(|(v, g)| (v - g).abs()).fold(0.0, f32::max)
    };
    let apart: Vec<f32> = (0..mask.pixels()).map(differs).collect();
    let (w, h) = (mask.width, mask.height);
    let covered = mask.data.iter().filter(|m| **m > 0.5).count();
    let least = (LEAST_OPENING * covered as f32).max(8.0) as usize;
    let mut seen = vec![false; w * h];
    let mut out = mask.clone();
    for start in 0..w * h {
        if seen[start] || mask.data[start] <= 0.02 || apart[start] > SAME {
            continue;
        }
        let part = connected(start, w, h, &mut seen, |at| mask.data[at] > 0.02 && apart[at] <= SAME);
        if part.len() >= least && sharpness(&part, w, h, &apart) >= SHARP {
            part.iter().for_each(|at| out.data[*at] = 0.0);
        }
    }
    out
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

/// The places connected with `start` (along rows and columns) that belong; marks them as seen.
fn connected(
    start: usize,
    w: usize,
    h: usize,
    seen: &mut [bool],
    belongs: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let (mut part, mut next) = (vec![start], 0);
    seen[start] = true;
    while let Some(at) = part.get(next).copied() {
        next += 1;
        let (x, y) = (at % w, at / w);
        let beside = [
            (x > 0, at.wrapping_sub(1)),
            (x + 1 < w, at + 1),
            (y > 0, at.wrapping_sub(w)),
            (y + 1 < h, at + w),
        ];
        for (_, near) in beside.into_iter().filter(|(inside, _)| *inside) {
            if !seen[near] && belongs(near) {
                seen[near] = true;
                part.push(near);
            }
        }
    }
    part
}

/// Share of a part's outline within [`REACH`] pixels of a place that plainly is not the ground.
fn sharpness(part: &[usize], w: usize, h: usize, apart: &[f32]) -> f32 {
    let (mut outline, mut sharp) = (0usize, 0usize);
    for at in part {
        let (x, y) = ((at % w) as isize, (at / w) as isize);
        let at = |dx: isize, dy: isize| {
            let (x, y) = (x + dx, y + dy);
            let inside = (0..w as isize).contains(&x) && (0..h as isize).contains(&y);
            inside.then(|| apart[y as usize * w + x as usize])
        };
        let ways = [(1, 0), (-1, 0), (0, 1), (0, -1)];
        for (dx, dy) in ways.into_iter().filter(|(dx, dy)| at(*dx, *dy).is_some_and(|d| d > SAME)) {
            outline += 1;
            let steep = (1..=REACH).any(|k| at(k * dx, k * dy).is_some_and(|d| d > STEP));
            let thin = || (2..=THIN).any(|k| at(k * dx, k * dy).is_some_and(|d| d <= SAME));
            sharp += usize::from(steep || thin());
        }
    }
    if outline == 0 { 0.0 } else { sharp as f32 / outline as f32 }
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
