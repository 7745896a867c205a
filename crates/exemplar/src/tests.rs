//! The engine as a whole, on pictures made here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Device;
use image::{GrayImage, Luma, Rgb, RgbImage};
use proptest::prelude::*;

use super::{Exemplar, ExemplarProfile, PROFILE, course};
use crate::{Cancel, Engine, Error, Outcome, Picture, Progress, Settings, Silent, Strength, Transfer};

fn engine() -> Exemplar {
    let profile = ExemplarProfile::parse(PROFILE).expect("the embedded profile");
    Exemplar::new(&profile, &Device::Cpu).expect("its engine")
}

fn settings() -> Settings {
    Settings { seed: 7, ..Settings::default() }
}

/// A lit ball on a gradient; its outline is the alpha channel.
fn ball(width: u32, height: u32) -> Picture {
    let place = |x: u32, y: u32| {
        let u = 2.4 * (f64::from(x) + 0.5) / f64::from(width) - 1.2;
        let v = 2.4 * (f64::from(y) + 0.5) / f64::from(height) - 1.2;
        (u, v, u * u + v * v <= 1.0)
    };
    let rgb = RgbImage::from_fn(width, height, |x, y| {
        let (u, v, inside) = place(x, y);
        let light = (120.0 - 60.0 * u - 50.0 * v).clamp(0.0, 255.0) as u8;
        if inside { Rgb([light, light / 2, 20]) } else { Rgb([(x % 251) as u8, (y % 241) as u8, 90]) }
    });
    let alpha = GrayImage::from_fn(width, height, |x, y| Luma([if place(x, y).2 { 255 } else { 0 }]));
    Picture { rgb, alpha: Some(alpha) }
}

/// Stripes and specks.
fn cloth(width: u32, height: u32) -> Picture {
    Picture::opaque(RgbImage::from_fn(width, height, |x, y| {
        let stripe = if (x + y / 3) % 11 < 5 { 200 } else { 90 };
        let speck = ((x * 7919 + y * 104_729) % 23) as u8;
        Rgb([stripe - speck, 60 + speck, stripe / 2])
    }))
}

fn run(subject: Picture, material: Picture, settings: Settings) -> Outcome {
    engine()
        .transfer(&Transfer::pair(subject, material, settings), &Silent, &Cancel::default())
        .expect("an outcome")
}

#[test]
fn one_seed_gives_one_picture_whatever_the_number_of_threads() {
    let once = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        pool.install(|| run(ball(150, 130), cloth(120, 110), Settings { seed, ..settings() }).picture.rgb)
    };
    let first = once(1, 7);
    assert!(first == once(1, 7), "the same run twice");
    assert!(first == once(3, 7), "one thread and three");
    assert!(first != once(2, 8), "another seed");
}

#[test]
fn outside_the_alpha_channel_no_byte_changes_and_inside_the_material_rules() {
    let subject = ball(160, 140);
    let (before, alpha) = (subject.rgb.clone(), subject.alpha.clone().expect("alpha"));
    let outcome = run(subject, cloth(128, 128), settings());
    assert_eq!(outcome.picture.alpha.as_ref(), Some(&alpha), "what is transparent stays transparent");
    let after = outcome.picture.rgb;
    let mut changed = 0;
    let mut inside = 0;
    for (x, y, a) in alpha.enumerate_pixels() {
        let same = before.get_pixel(x, y) == after.get_pixel(x, y);
        if a[0] == 0 {
            assert!(same, "({x}, {y}) lies outside");
        } else {
            inside += 1;
            changed += u32::from(!same);
        }
    }
    assert!(changed > inside * 9 / 10, "{changed} of {inside}");
}

#[test]
fn hidden_colours_do_not_surface_when_a_cut_out_is_shrunk() {
    // A ball on hidden pure magenta.
    let mut subject = ball(300, 300);
    let alpha = subject.alpha.clone().expect("alpha");
    for (x, y, pixel) in subject.rgb.enumerate_pixels_mut() {
        if alpha.get_pixel(x, y)[0] == 0 {
            *pixel = Rgb([255, 0, 255]);
        }
    }
    let asked = Settings { max_width: 97, max_height: 97, ..settings() };
    let shown = run(subject, cloth(128, 128), asked).picture;
    let alpha = shown.alpha.expect("alpha");
    let soft = alpha.enumerate_pixels().filter(|(_, _, a)| (20..236).contains(&a[0]));
    let mut count = 0;
    for (x, y, _) in soft {
        let Rgb([_, green, blue]) = *shown.rgb.get_pixel(x, y);
        count += 1;
        assert!(blue < green + 100, "({x}, {y}) is magenta");
    }
    assert!(count > 50);
}

#[test]
fn the_size_rule_holds_and_intermediates_come_in_order() {
    let settings = Settings { max_width: 90, max_height: 64, intermediates: true, ..settings() };
    let outcome = run(ball(200, 180), cloth(100, 100), settings);
    assert_eq!(outcome.picture.rgb.dimensions(), pixels::fit_within(200, 180, 90, 64));
    let names: Vec<&str> = outcome.intermediates.iter().map(|i| i.name).collect();
    assert_eq!(names, ["mask", "subject_grey", "lineart", "shading", "material"]);
    for shown in &outcome.intermediates[..4] {
        assert_eq!(shown.picture.rgb.dimensions(), outcome.picture.rgb.dimensions(), "{}", shown.name);
    }
}

#[test]
fn prompts_are_listed_as_ignored_only_when_given() {
    assert!(run(ball(64, 64), cloth(64, 64), settings()).ignored.is_empty());
    let asked = Settings { prompt: "marble".into(), negative_prompt: "dull".into(), ..settings() };
    assert_eq!(run(ball(64, 64), cloth(64, 64), asked).ignored, ["prompt", "negative_prompt"]);
}

#[test]
fn an_empty_alpha_channel_leaves_the_picture_alone_and_says_so() {
    let mut subject = ball(80, 80);
    subject.alpha = Some(GrayImage::new(80, 80));
    let before = subject.rgb.clone();
    let outcome = run(subject, cloth(64, 64), settings());
    assert!(outcome.picture.rgb == before);
    assert!(outcome.notes[0].contains("alpha"));
}

/// White inside a rectangle: left, top, right, bottom as shares.
fn rectangle(width: u32, height: u32, [left, top, right, bottom]: [f64; 4]) -> Picture {
    let share = |v: u32, side: u32| (f64::from(v) + 0.5) / f64::from(side);
    Picture::opaque(RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (share(x, width), share(y, height));
        Rgb([if u > left && u < right && v > top && v < bottom { 255 } else { 0 }; 3])
    }))
}

/// The outcome of a transfer onto an opaque ball.
fn asked(change: impl FnOnce(&mut Transfer)) -> Outcome {
    let mut transfer = Transfer::pair(Picture::opaque(ball(150, 130).rgb), cloth(90, 90), settings());
    change(&mut transfer);
    engine().transfer(&transfer, &Silent, &Cancel::default()).expect("an outcome")
}

/// Mean absolute difference in the part of two pictures where `inside` holds, in 8-bit steps.
fn apart(a: &RgbImage, b: &RgbImage, inside: impl Fn(u32, u32) -> bool) -> f64 {
    let places = a.enumerate_pixels().filter(|(x, y, _)| inside(*x, *y));
    let steps = places.flat_map(|(x, y, p)| {
        let q = b.get_pixel(x, y);
        (0..3).map(move |c| f64::from(p[c].abs_diff(q[c])))
    });
    let (sum, count) = steps.fold((0.0, 0), |(sum, count), step| (sum + step, count + 1));
    sum / f64::from(count.max(1))
}

#[test]
fn a_given_mask_wins_and_nothing_leaks_out_of_it() {
    let before = ball(150, 130).rgb;
    // Odd offsets, and a mask of another size.
    let outcome =
        asked(|t| t.pictures.subject_mask = Some(rectangle(300, 260, [0.107, 0.207, 0.493, 0.593])));
    let after = outcome.picture.rgb;
    let within = |x: u32, y: u32| (16..74).contains(&x) && (27..77).contains(&y);
    let near = |x: u32, y: u32| (8..82).contains(&x) && (19..85).contains(&y);
    assert!(apart(&before, &after, within) > 20.0);
    assert_eq!(apart(&before, &after, |x, y| !near(x, y)), 0.0);
}

#[test]
fn each_mask_gets_its_material_and_the_later_one_wins() {
    let (left, right) = ([0.1, 0.2, 0.6, 0.8], [0.4, 0.2, 0.9, 0.8]);
    let red = Picture::opaque(RgbImage::from_pixel(80, 80, Rgb([200, 20, 20])));
    let green = Picture::opaque(RgbImage::from_pixel(80, 80, Rgb([20, 180, 20])));
    let outcome = asked(|t| {
        t.pictures.masks = vec![rectangle(150, 130, left), rectangle(150, 130, right)];
        t.pictures.materials = vec![red, green];
        t.pictures.material_image = None;
        t.settings.intermediates = true;
    });
    let redness = |x: u32| {
        let Rgb([r, g, _]) = *outcome.picture.rgb.get_pixel(x, 65);
        i32::from(r) - i32::from(g)
    };
    assert!(redness(30) > 40 && redness(75) < -40 && redness(120) < -40, "{} {}", redness(30), redness(75));
    let names: Vec<&str> = outcome.intermediates.iter().map(|each| each.name).collect();
    assert_eq!(names, ["mask", "subject_grey", "lineart", "shading", "material", "material_2"]);
}

#[test]
fn a_mask_of_another_shape_is_refused_and_an_empty_one_changes_nothing() {
    let mut transfer = Transfer::pair(ball(150, 130), cloth(90, 90), settings());
    transfer.pictures.subject_mask = Some(rectangle(100, 100, [0.0, 0.0, 1.0, 1.0]));
    let refused = engine().transfer(&transfer, &Silent, &Cancel::default());
    assert!(matches!(refused, Err(Error::Unfit { field: "subject_mask", .. })), "{refused:?}");
    let outcome = asked(|t| t.pictures.subject_mask = Some(rectangle(150, 130, [0.0; 4])));
    assert!(
        outcome.picture.rgb == ball(150, 130).rgb
            && outcome.notes[0].starts_with("subject_mask shows nothing")
    );
}

#[test]
fn a_blend_ends_in_either_material_and_moves_steadily_between_them() {
    let stone = || Picture::opaque(RgbImage::from_fn(90, 90, |x, y| Rgb([(30 + (x * y) % 40) as u8; 3])));
    let mask = || Some(rectangle(150, 130, [0.15, 0.15, 0.85, 0.85]));
    let blended = |blend: f64| {
        let outcome = asked(|t| {
            t.pictures.subject_mask = mask();
            t.pictures.blend_image = Some(stone());
            t.settings.blend = blend;
        });
        outcome.picture.rgb
    };
    let first = asked(|t| t.pictures.subject_mask = mask()).picture.rgb;
    let second = asked(|t| {
        t.pictures.subject_mask = mask();
        t.pictures.material_image = Some(stone());
    });
    assert!(blended(0.0) == first && blended(1.0) == second.picture.rgb, "both ends to the byte");
    let away: Vec<f64> = [0.0, 0.25, 0.5, 0.75, 1.0].map(|t| apart(&blended(t), &first, |_, _| true)).into();
    assert!(away.windows(2).all(|pair| pair[1] > pair[0]), "{away:?}");
}

#[test]
fn weight_goes_from_nothing_past_strong() {
    let weighed = |weight: f64, strength: Strength| {
        asked(|t| {
            t.pictures.subject_mask = Some(rectangle(150, 130, [0.15, 0.15, 0.85, 0.85]));
            (t.settings.weight, t.settings.strength) = (weight, strength);
        })
        .picture
        .rgb
    };
    let medium = |weight: f64| weighed(weight, Strength::Medium);
    let before = ball(150, 130).rgb;
    assert!(medium(0.0) == before, "nothing at all");
    assert!(medium(1.5) == weighed(1.0, Strength::Strong), "strong is a point of it");
    let away: Vec<f64> =
        [0.0, 0.3, 0.6, 1.0].map(|weight| apart(&medium(weight), &before, |_, _| true)).into();
    assert!(away.windows(2).all(|pair| pair[1] > pair[0]), "{away:?}");
    assert!(medium(2.0) != medium(1.5) && medium(1.5) != medium(1.0));
}

/// Rows of changes from dark to light along the middle: the finer the pattern, the more.
fn changes(picture: &RgbImage) -> usize {
    let rows = [picture.height() / 2 - 6, picture.height() / 2, picture.height() / 2 + 6];
    let across = |y: u32| {
        let lights: Vec<i32> = (0..picture.width()).map(|x| i32::from(picture.get_pixel(x, y)[0])).collect();
        let mean = lights.iter().sum::<i32>() / lights.len() as i32;
        lights.windows(2).filter(|pair| pair[0] < mean && pair[1] >= mean).count()
    };
    rows.into_iter().map(across).sum()
}

#[test]
fn the_patterns_size_follows_its_scale() {
    let striped =
        Picture::opaque(RgbImage::from_fn(600, 600, |x, _| Rgb([if x % 50 < 25 { 210 } else { 60 }; 3])));
    let plain = Picture::opaque(RgbImage::from_pixel(200, 200, Rgb([128; 3])));
    let scaled = |scale: f64| {
        let mut transfer = Transfer::pair(plain.clone(), striped.clone(), Settings { scale, ..settings() });
        transfer.pictures.subject_mask = Some(rectangle(200, 200, [0.0, 0.0, 1.0, 1.0]));
        changes(&engine().transfer(&transfer, &Silent, &Cancel::default()).expect("an outcome").picture.rgb)
    };
    let (small, usual, large) = (scaled(0.5), scaled(1.0), scaled(3.0));
    assert!(10 * small > 14 * usual && 10 * usual > 14 * large, "{small} {usual} {large}");
}

#[derive(Default)]
struct Reported(Mutex<Vec<(usize, usize)>>);

impl Progress for Reported {
    fn advance(&self, _stage: &'static str, done: usize, total: usize) {
        self.0.lock().expect("unpoisoned").push((done, total));
    }
}

#[test]
fn progress_counts_up_to_its_total_and_more_steps_are_more_calls() {
    let count = |steps: u32| {
        let reported = Reported::default();
        let transfer = Transfer::pair(ball(100, 90), cloth(80, 80), Settings { steps, ..settings() });
        engine().transfer(&transfer, &reported, &Cancel::default()).expect("an outcome");
        let reported = reported.0.into_inner().expect("unpoisoned");
        let counted: Vec<usize> = reported.iter().map(|(done, _)| *done).collect();
        assert_eq!((counted[0], counted[counted.len() - 1]), (0, course::WHOLE));
        assert!(counted.is_sorted(), "never back: {counted:?}");
        assert!(reported.iter().all(|(_, total)| *total == course::WHOLE));
        // Mask, material, form and surface each moved it before the first call.
        assert!(counted[..5].windows(2).all(|pair| pair[0] < pair[1]), "{counted:?}");
        counted.len()
    };
    assert!(count(1) < count(6) && count(6) < count(20));
}

/// Raises a flag after it was called a number of times.
struct Stopper {
    cancel: Cancel,
    after: usize,
    reported: AtomicUsize,
}

impl Progress for Stopper {
    fn advance(&self, _stage: &'static str, _done: usize, _total: usize) {
        let reported = self.reported.fetch_add(1, Ordering::Relaxed);
        assert!(reported <= self.after, "a stage or a call after the cancel");
        if reported == self.after {
            self.cancel.raise();
        }
    }
}

#[test]
fn a_cancel_stops_before_the_next_call() {
    // 0 to 4 are the stages before the sampler, 5 and 9 calls of it.
    for after in [0, 1, 4, 5, 9] {
        let cancel = Cancel::default();
        let stopper = Stopper { cancel: cancel.clone(), after, reported: AtomicUsize::new(0) };
        let transfer = Transfer::pair(ball(100, 90), cloth(80, 80), settings());
        let outcome = engine().transfer(&transfer, &stopper, &cancel);
        assert!(matches!(outcome, Err(Error::Cancelled)), "after {after}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any size from one pixel up, any shape, either picture: the result has the subject's size.
    #[test]
    fn every_size_works(
        long in 1u32..220, short in 1u32..24, upright: bool, square in 1u32..100, is_square: bool,
        material_width in 1u32..200, material_height in 1u32..60, steps in 1u32..4, guidance in 1.0f64..10.0, alpha: bool,
    ) {
        let (width, height) = match (is_square, upright) {
            (true, _) => (square, square + 1),
            (false, true) => (short, long),
            (false, false) => (long, short),
        };
        let mut subject = ball(width, height);
        if !alpha {
            subject.alpha = None;
        }
        let asked = Settings { steps, guidance_scale: guidance, ..settings() };
        let outcome = run(subject, cloth(material_width, material_height), asked);
        prop_assert_eq!(outcome.picture.rgb.dimensions(), (width, height));
    }
}

#[test]
fn roughness_takes_polish_away_or_gives_it_and_the_rest_is_told() {
    let with = |roughness: f64| asked(|t| t.settings.edits.roughness = roughness);
    let [smooth, usual, rough] = [-1.0, 0.0, 1.0].map(|roughness| with(roughness).picture.rgb);
    let bright = |picture: &RgbImage| picture.pixels().map(|p| u32::from(p[1])).max().unwrap_or(0);
    assert!(bright(&smooth) > bright(&rough) + 10, "{} {}", bright(&smooth), bright(&rough));
    assert_eq!(usual, rough, "cloth has no polish that could be taken away");
    let outcome = asked(|t| (t.settings.edits.glow, t.settings.edits.roughness) = (0.5, 0.1));
    assert!(outcome.ignored.contains(&"glow") && !outcome.ignored.contains(&"roughness"));
    assert!(outcome.notes.iter().any(|note| note.starts_with("glow:")), "{:?}", outcome.notes);
}
