//! The relief on made-up subjects.

use super::*;

#[test]
fn soft_limits_are_near_the_identity_first_and_never_passed() {
    assert!((soft(0.1) - 0.1).abs() < 0.001 && (soft(-0.2) + 0.2).abs() < 0.002);
    assert!(soft(9.0) <= MOST_LIGHT && soft(-9.0) >= -MOST_SHADE);
    assert_eq!(shoulder(0.5), 0.5);
    assert!(shoulder(0.9) > 0.87 && shoulder(0.9) < 0.9 && shoulder(5.0) <= 1.0);
}

#[test]
fn a_face_under_a_strong_pattern_is_still_seen() {
    // A subject with a soft bump of light, painted with harsh stripes four times as contrasted.
    let (w, h) = (160, 160);
    let bump = |x: usize, y: usize| (-((x as f32 - 80.0).powi(2) + (y as f32 - 80.0).powi(2)) / 200.0).exp();
    let mut picture = Raster::filled(w, h, 3, 0.0);
    let mut painted = Raster::filled(w, h, 3, 0.0);
    for y in 0..h {
        for x in 0..w {
            picture.data[3 * (y * w + x)..][..3].fill(0.3 + 0.2 * bump(x, y));
            painted.data[3 * (y * w + x)..][..3].fill(if (x / 8) % 2 == 0 { 0.7 } else { 0.1 });
        }
    }
    let window = Window::around(&picture, &Raster::filled(w, h, 1, 1.0)).expect("a mask");
    let painted = painted.window(-12, -12, w + 24, h + 24);
    let relief = Relief::of(&window, None, 1.0, &Raster::filled(160, 160, 1, 0.0).window(-12, -12, 184, 184));
    let contrast = |budget: f32| {
        let lit = relief.lay(
            &painted,
            &window,
            &Light { broad: 0.9, fine: 0.9, carved: 0.0, budget, least_pattern: 0.4 },
        );
        let at = |x: usize| lit.pixel(x + 12, 92)[0];
        // Of the stripes, over the bump and at the border.
        (at(80) / at(88), at(16) / at(24))
    };
    let ((over, beside), (over_free, beside_free)) = (contrast(1.0), contrast(1e6));
    assert!(over < 0.75 * over_free, "{over} of {over_free}");
    assert!(beside > 0.9 * beside_free, "{beside} of {beside_free}");
}

/// A window that is all subject, of one grey, and the logarithmic light that a dent of 10 pixels in its middle takes away.
fn dented() -> (Window, Raster) {
    let (w, h) = (160, 160);
    let window =
        Window::around(&Raster::filled(w, h, 3, 0.4), &Raster::filled(w, h, 1, 1.0)).expect("a mask");
    let mut dent = window.mask.map(1, |_, o| o[0] = 0.0);
    let (width, middle) = (dent.width, (dent.width as f32 / 2.0, dent.height as f32 / 2.0));
    for (at, value) in dent.data.iter_mut().enumerate() {
        let (x, y) = ((at % width) as f32 - middle.0, (at / width) as f32 - middle.1);
        *value = -0.5 * (-(x * x + y * y) / 50.0).exp();
    }
    (window, dent)
}

const CARVED: Light = Light { broad: 0.75, fine: 1.0, carved: 0.9, budget: 0.5, least_pattern: 0.15 };

#[test]
fn what_the_subject_says_in_no_shade_is_carved() {
    let (window, dent) = dented();
    let painted = window.mask.map(3, |_, o| o.fill(0.5));
    let flat = dent.map(1, |_, o| o[0] = 0.0);
    let depth = |carved: &Raster| {
        let lit = Relief::of(&window, None, 1.0, carved).lay(&painted, &window, &CARVED);
        let (x, y) = (lit.width / 2, lit.height / 2);
        lit.pixel(x, y)[0] / lit.pixel(x + 40, y)[0]
    };
    assert!((depth(&flat) - 1.0).abs() < 0.01, "{}", depth(&flat));
    assert!(depth(&dent) < 0.8, "{}", depth(&dent));
}

#[test]
fn a_detail_is_seen_where_the_light_is_strong() {
    // The subject is broadly as bright as light may be, and the dent in it as deep as in usual light.
    let (window, dent) = dented();
    let painted = window.mask.map(3, |_, o| o.fill(0.2));
    let depth = |broad: f32| {
        let mut relief = Relief::of(&window, None, 1.0, &dent);
        relief.broad.data.fill(broad);
        let lit = relief.lay(&painted, &window, &CARVED);
        let (x, y) = (lit.width / 2, lit.height / 2);
        lit.pixel(x, y)[0] / lit.pixel(x + 40, y)[0]
    };
    assert!((depth(3.0) - depth(0.0)).abs() < 0.05, "{} {}", depth(3.0), depth(0.0));
}

#[test]
fn a_bold_pattern_is_carved_more_deeply() {
    let (window, dent) = dented();
    let relief = Relief::of(&window, None, 1.0, &dent);
    let mut painted = window.mask.map(3, |_, o| o.fill(0.5));
    assert_eq!(relief.boldness(&painted, &window.firm), 0.0);
    let width = painted.width;
    for (at, pixel) in painted.data.chunks_exact_mut(3).enumerate() {
        pixel.fill(if (at % width / 3) % 2 == 0 { 0.7 } else { 0.2 });
    }
    assert_eq!(relief.boldness(&painted, &window.firm), 1.0);
}
