//! Seconds and peak memory of the exemplar engine: `cargo bench -p pipeline --bench exemplar [SIDE …]`.
//!
//! Pictures are made here: a lit, dappled ball on a plain ground as the subject, veined stone as the material. Every size
//! runs once with the ball's outline as the mask (an alpha channel) and once with the whole picture painted, the worst case.

mod memory;

use std::time::Instant;

use candle_core::Device;
use image::{GrayImage, Luma, Rgb, RgbImage};
use pipeline::{Arena, Cancel, Picture, Settings, Silent, Transfer, profile};

#[global_allocator]
static ARENA: Arena = Arena::new();

/// The sides that the budget names, in pixels, and its seconds on two cores.
const BUDGET: [(u32, f64); 3] = [(512, 5.0), (1024, 15.0), (1920, 40.0)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sides: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let engine = pipeline::engine(&profile::load("exemplar")?, &Device::Cpu)?;
    println!("{} threads", rayon::current_num_threads());
    for (side, budget) in BUDGET {
        if !sides.is_empty() && !sides.contains(&side) {
            continue;
        }
        for whole in [false, true] {
            let transfer = transfer(side, whole);
            memory::forget_peak();
            let begin = Instant::now();
            let outcome = engine.transfer(&transfer, &Silent, &Cancel::default())?;
            let seconds = begin.elapsed().as_secs_f64();
            let stages: Vec<String> = outcome
                .timings
                .iter()
                .map(|(name, time)| format!("{name} {:.2}", time.as_secs_f64()))
                .collect();
            println!(
                "{side}² {}: {seconds:.2} s of {budget} s, peak {} MiB ({})",
                if whole { "whole picture" } else { "ball (a half)" },
                memory::peak().map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string()),
                stages.join(", ")
            );
        }
    }
    Ok(())
}

fn transfer(side: u32, whole: bool) -> Transfer {
    let settings = Settings { seed: 1, ..Settings::default() };
    let from_centre = |x: u32, y: u32| {
        let at = |v: u32| 2.5 * (f64::from(v) / f64::from(side) - 0.5);
        (at(x), at(y))
    };
    let rgb = RgbImage::from_fn(side, side, |x, y| {
        let (u, v) = from_centre(x, y);
        let r2 = u * u + v * v;
        if r2 > 1.0 {
            return Rgb([150, 160, 170]);
        }
        let light = (0.3 - 0.4 * u - 0.5 * v + 0.5 * (1.0 - r2).sqrt()).clamp(0.05, 1.0);
        let dapple = 0.85 + 0.15 * (40.0 * u).sin() * (37.0 * v).sin();
        let shade = |c: f64| (c * light * dapple) as u8;
        Rgb([shade(230.0), shade(140.0), shade(60.0)])
    });
    let alpha = GrayImage::from_fn(side, side, |x, y| {
        let (u, v) = from_centre(x, y);
        Luma([if whole || u * u + v * v <= 1.0 { 255 } else { 0 }])
    });
    let material = RgbImage::from_fn(1024, 1024, |x, y| {
        let (u, v) = (f64::from(x) / 160.0, f64::from(y) / 160.0);
        let warp = (1.7 * u + (2.3 * v).sin()).sin() + 0.5 * (5.1 * v + (3.3 * u).cos()).sin();
        let vein = (-6.0 * (u + 0.6 * v + warp).sin().abs()).exp();
        let grain = f64::from((x * 7919 + y * 104_729 + (x * y) % 251) % 17) - 8.0;
        let stone = |c: f64| (c * (1.0 - 0.75 * vein) + grain).clamp(0.0, 255.0) as u8;
        Rgb([stone(225.0), stone(220.0), stone(205.0)])
    });
    Transfer::pair(Picture { rgb, alpha: Some(alpha) }, Picture::opaque(material), settings)
}
