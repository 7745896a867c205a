//! One small transfer with the embedded engine, and what it must look like.
//!
//! Bytes may differ from machine to machine by a rounding, so the picture is compared by the means of a grid of fields.

use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use pipeline::{Cancel, Error, Opened, Outcome, Picture, Settings, Silent, Transfer, profile};

use super::Verdict;

/// Of the two pictures, in pixels.
const SIDE: u32 = 160;
/// Fields a side.
const FIELDS: u32 = 4;
/// How far a field's mean may be off, in grey levels.
const ALLOWED: f64 = 6.0;
/// Longer than this and pictures of usual size will take minutes.
const SLOW: Duration = Duration::from_secs(5);

/// The means of red, green and blue in each field, row by row, made on an x86-64 CPU; the test below writes them.
const GOLDEN: [[f64; 3]; 16] = include!("golden.in");

/// A grey ball on a light ground, and stripes of two browns.
fn pictures() -> (Picture, Picture) {
    let middle = f64::from(SIDE) / 2.0;
    let ball = image_of(|x, y| {
        let (dx, dy) = ((x - middle) / (middle * 0.7), (y - middle) / (middle * 0.7));
        let square = dx * dx + dy * dy;
        if square > 1.0 {
            return [235.0, 238.0, 240.0];
        }
        let light = 0.35 + 0.65 * (0.6 * (1.0 - square).sqrt() - 0.4 * dx - 0.4 * dy).max(0.0);
        [190.0 * light; 3]
    });
    let stripes = image_of(|x, y| {
        let wave = ((x + 6.0 * (y / 11.0).sin()) / 7.0).sin();
        if wave > 0.0 { [150.0, 92.0, 48.0] } else { [96.0, 54.0, 26.0] }
    });
    (ball, stripes)
}

fn image_of(colour: impl Fn(f64, f64) -> [f64; 3]) -> Picture {
    Picture::opaque(RgbImage::from_fn(SIDE, SIDE, |x, y| {
        Rgb(colour(f64::from(x), f64::from(y)).map(|channel| channel.round().clamp(0.0, 255.0) as u8))
    }))
}

fn make(opened: &Opened) -> Result<Outcome, Error> {
    let (subject, material) = pictures();
    let settings = Settings { seed: 1, steps: 2, ..Settings::default() };
    let engine = pipeline::engine(&profile::load("exemplar")?, &opened.device)?;
    engine.transfer(&Transfer::pair(subject, material, settings), &Silent, &Cancel::default())
}

/// Makes it, and says how long it took.
pub(super) fn transfer(opened: &Opened) -> Verdict {
    let began = Instant::now();
    let outcome = match make(opened) {
        Ok(outcome) => outcome,
        Err(error) => return Verdict::Bad(format!("a small one failed: {error}")),
    };
    let span = began.elapsed();
    let off = farthest(&means(&outcome.picture));
    if off > ALLOWED {
        return Verdict::Bad(format!(
            "a small one is {off:.0} grey levels away from what it should be; try --device cpu, and report this machine"
        ));
    }
    let seconds = span.as_secs_f64();
    if span > SLOW {
        return Verdict::Remark(format!(
            "a small one took {seconds:.1} s, which is slow; is the machine busy?"
        ));
    }
    Verdict::Good(format!("a small one took {seconds:.2} s, and is as it should be"))
}

fn means(picture: &Picture) -> Vec<[f64; 3]> {
    let field = SIDE / FIELDS;
    let mut sums = vec![[0.0; 3]; (FIELDS * FIELDS) as usize];
    for (x, y, pixel) in picture.rgb.enumerate_pixels() {
        let at = (y / field).min(FIELDS - 1) * FIELDS + (x / field).min(FIELDS - 1);
        for (sum, value) in sums[at as usize].iter_mut().zip(pixel.0) {
            *sum += f64::from(value) / f64::from(field * field);
        }
    }
    sums
}

/// The largest difference of any field and channel.
fn farthest(means: &[[f64; 3]]) -> f64 {
    let pairs = means.iter().zip(&GOLDEN);
    pairs.flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_DOCUMENTS=1 cargo test -p cli golden` writes the means anew, after a change of the engine on purpose.
    #[test]
    fn this_machine_makes_what_the_golden_one_made() {
        let opened = pipeline::open(pipeline::DeviceChoice::Cpu).expect("a CPU");
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            let rows = means(&make(&opened).expect("made").picture);
            let rows: String =
                rows.iter().map(|[r, g, b]| format!("    [{r:.1}, {g:.1}, {b:.1}],\n")).collect();
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/doctor/golden.in");
            return std::fs::write(path, format!("[\n{rows}]\n")).expect("written");
        }
        let verdict = transfer(&opened);
        assert!(!matches!(verdict, Verdict::Bad(_)), "{verdict}");
    }

    /// An engine that did nothing would be noticed.
    #[test]
    fn the_subject_itself_is_not_the_golden_picture() {
        assert!(farthest(&means(&pictures().0)) > 4.0 * ALLOWED);
    }
}
