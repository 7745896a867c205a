//! The size of the output: the subject's own, shrunk to fit a box, never enlarged.
//!
//! The rule is docs/api-contract.md B.2: `ratio = min(max_width / width, max_height / height)`, applied only when it is below one,
//! each side rounded to the nearest pixel, halves to even (as Python rounds, whose servers clients are used to).

/// The size of a `width` × `height` picture inside a `max_width` × `max_height` box: proportion kept, no side under one
/// pixel, nothing enlarged. All in pixels.
///
/// ```
/// assert_eq!(pixels::fit_within(4000, 3000, 1920, 1920), (1920, 1440));
/// assert_eq!(pixels::fit_within(640, 480, 1920, 1920), (640, 480));
/// ```
#[must_use]
pub fn fit_within(width: u32, height: u32, max_width: u32, max_height: u32) -> (u32, u32) {
    if width <= max_width && height <= max_height {
        return (width, height);
    }
    let ratio = (f64::from(max_width) / f64::from(width)).min(f64::from(max_height) / f64::from(height));
    // A rounded side fits its box: side · ratio ≤ box, which is whole. `as` saturates.
    let shrink = |side: u32| ((f64::from(side) * ratio).round_ties_even() as u32).max(1);
    (shrink(width), shrink(height))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fit_within;

    #[test]
    fn sizes_worked_out_by_hand() {
        // 5 · (1/2) = 2.5 and 7 · (1/2) = 3.5: halves go to the even neighbour.
        assert_eq!(fit_within(10, 5, 5, 5), (5, 2));
        assert_eq!(fit_within(10, 7, 5, 5), (5, 4));
        // The tighter side decides.
        assert_eq!(fit_within(3000, 2000, 1920, 640), (960, 640));
        // A hair stays a hair.
        assert_eq!(fit_within(60_000, 1, 1920, 1920), (1920, 1));
        assert_eq!(fit_within(u32::MAX, u32::MAX, 64, 64), (64, 64));
    }

    proptest! {
        #[test]
        fn fits_and_keeps_proportion(
            width in 1u32..70_000, height in 1u32..70_000, max_width in 1u32..70_000, max_height in 1u32..70_000,
        ) {
            let (w, h) = fit_within(width, height, max_width, max_height);
            prop_assert!(w >= 1 && h >= 1);
            prop_assert!(w <= max_width && h <= max_height, "{w}×{h} leaves the box");
            prop_assert!(w <= width && h <= height, "{w}×{h} is enlarged");
            // Both sides come from one ratio, each off by at most half a pixel (a whole one where a side was held at 1).
            let (rw, rh) = (f64::from(w) / f64::from(width), f64::from(h) / f64::from(height));
            let slack = |side: u32, kept: u32| if kept == 1 { 1.0 } else { 0.5 } / f64::from(side) + 1e-9;
            prop_assert!((rw - rh).abs() <= slack(width, w) + slack(height, h), "{width}×{height} became {w}×{h}");
        }

        #[test]
        fn a_picture_that_fits_is_left_alone(width in 1u32..70_000, height in 1u32..70_000, more in 0u32..70_000) {
            prop_assert_eq!(fit_within(width, height, width + more, height), (width, height));
        }

        #[test]
        fn as_large_as_the_box_allows(width in 1u32..70_000, height in 1u32..70_000, max in 1u32..70_000) {
            let (w, h) = fit_within(width, height, max, max);
            prop_assert!((w, h) == (width, height) || w == max || h == max);
        }

        #[test]
        fn fitting_twice_changes_nothing(width in 1u32..70_000, height in 1u32..70_000, max in 1u32..70_000) {
            let (w, h) = fit_within(width, height, max, max);
            prop_assert_eq!(fit_within(w, h, max, max), (w, h));
        }
    }
}
