//! An honest guess where nothing stands out: the most likely thing near the centre.

use pixels::Raster;

use super::flood::Flood;

/// How fast interest falls off from the centre: a Gaussian's width, as a share of each side.
const CENTRE: f32 = 0.3;

/// A weighted answer below this is no likelihood at all.
const LEAST_LIKELY: f32 = 0.02;

/// The thing reaches as far as answers are at least this share of the best.
const BELONGS: f32 = 0.5;

/// A guess that covers more than this is no thing in a picture, but the picture.
const MOST_SHARE: f64 = 0.9;

/// Of a network's faint answers (one channel, 0 to 1), the connected part around the likeliest place, as a mask of 0 and 1;
/// `None` when no place is likely or nearly all are.
pub(super) fn likeliest(faint: &Raster) -> Option<Raster> {
    let (w, h) = (faint.width, faint.height);
    let off = |at: usize, length: usize| ((at as f32 + 0.5) / length as f32 - 0.5) / CENTRE;
    let weighted: Vec<f32> = (0..w * h)
        .map(|at| {
            let (x, y) = (off(at % w, w), off(at / w, h));
            faint.data[at] * (-0.5 * (x * x + y * y)).exp()
        })
        .collect();
    let best = (0..w * h).max_by(|a, b| weighted[*a].total_cmp(&weighted[*b]))?;
    if weighted[best] < LEAST_LIKELY {
        return None;
    }
    let part = Flood::new(w, h).from(best, |at| weighted[at] >= BELONGS * weighted[best]);
    let mut mask = Raster::filled(w, h, 1, 0.0);
    part.iter().for_each(|at| mask.data[*at] = 1.0);
    let share = mask.data.iter().filter(|m| **m > 0.0).count() as f64 / mask.pixels() as f64;
    (share <= MOST_SHARE).then_some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two faint blots: a stronger one in the corner, a weaker one in the middle.
    #[test]
    fn the_middle_wins_over_a_somewhat_stronger_corner() {
        let mut faint = Raster::filled(100, 100, 1, 0.02);
        for y in 0..12 {
            faint.data[y * 100..][..12].fill(0.4);
            faint.data[(45 + y) * 100 + 45..][..12].fill(0.3);
        }
        let mask = likeliest(&faint).expect("a thing");
        assert_eq!(mask.pixel(50, 50)[0], 1.0);
        assert_eq!(mask.pixel(5, 5)[0], 0.0);
        assert_eq!(mask.data.iter().sum::<f32>(), 144.0);
    }

    #[test]
    fn nothing_is_likely_in_a_map_of_nothing() {
        assert!(likeliest(&Raster::filled(50, 40, 1, 0.0)).is_none());
    }
}
