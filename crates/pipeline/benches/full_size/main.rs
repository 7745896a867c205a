//! The SDXL engine at its published dimensions with random weights: seconds per stage, peak memory, finite numbers.
//! `cargo bench -p pipeline --bench full_size -- FOLDER [SIDE [STEPS]]` writes 11 GB of weights into FOLDER once.
//! `--resident` keeps every network in memory and reports a second transfer, which reads no weights. `--device=cuda` (with
//! `--features cudnn`) computes there, the UNet in f16; the peak is that of the computer's memory, not of the GPU's.
//!
//! The budget: 512 × 512 in 2 steps within 12 GB, unless resident.

#[path = "../memory/mod.rs"]
mod memory;
mod weights;

use std::path::PathBuf;
use std::time::Instant;

use candle_core::DType;
use image::{Rgb, RgbImage};
use pipeline::{Arena, Cancel, Picture, Progress, Settings, Strength, Transfer, View, profile};

#[global_allocator]
static ARENA: Arena = Arena::new();

/// Says what runs, and looks for numbers that are none.
struct Watch;

impl Progress for Watch {
    fn advance(&self, stage: &'static str, done: usize, total: usize) {
        println!("{stage} {done}/{total}");
    }

    fn observe(&self, what: &str, look: &dyn Fn() -> View) {
        if let View::Tensor(tensor) = look() {
            let peak = tensor
                .to_dtype(DType::F32)
                .and_then(|t| t.abs()?.max_all()?.to_scalar::<f32>())
                .unwrap_or(f32::NAN);
            println!("{what}: {:?}, largest {peak:.3}", tensor.dims());
            assert!(peak.is_finite(), "{what} is not finite");
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(folder) = arguments.first().map(PathBuf::from) else {
        println!(
            "say where the weights may go: cargo bench -p pipeline --bench full_size -- FOLDER [SIDE [STEPS]] [--resident] [--device=NAME]"
        );
        return Ok(());
    };
    let number = |at: usize, usual: u32| arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(usual);
    let (side, steps) = (number(1, 512), number(2, 2));
    let resident = std::env::args().any(|argument| argument == "--resident");
    let chosen = std::env::args().find_map(|argument| Some(argument.strip_prefix("--device=")?.to_owned()));
    let device = pipeline::device(chosen.as_deref().unwrap_or("cpu").parse()?)?;
    weights::write(&folder, if resident { "resident" } else { "staged" })?;
    let path = folder.join("profile.toml");
    let begin = Instant::now();
    let profile = profile::load(&path.to_string_lossy())?;
    let engine = profile::engine(&profile, &device)?;
    println!("checked in {:.2} s, {} threads", begin.elapsed().as_secs_f64(), rayon::current_num_threads());
    if resident {
        engine.transfer(&transfer(side, 1), &Watch, &Cancel::default())?;
    }
    memory::forget_peak();
    let begin = Instant::now();
    let outcome = engine.transfer(&transfer(side, steps), &Watch, &Cancel::default())?;
    println!("\n{side} × {side}, {steps} steps: {:.1} s", begin.elapsed().as_secs_f64());
    for (stage, time) in &outcome.timings {
        println!("{stage:10} {:8.2} s", time.as_secs_f64());
    }
    if let Some(peak) = memory::peak() {
        println!("peak memory {:.2} GB", peak as f64 / 1e9);
    }
    Ok(())
}

/// A ball on a plain ground, and stripes.
fn transfer(side: u32, steps: u32) -> Transfer {
    let subject = RgbImage::from_fn(side, side, |x, y| {
        let at = |v: u32| 2.5 * (f64::from(v) / f64::from(side) - 0.5);
        let (u, v) = (at(x), at(y));
        let light = if u * u + v * v <= 1.0 { 0.6 - 0.3 * u - 0.3 * v } else { 0.9 };
        Rgb([(light * 230.0) as u8, (light * 180.0) as u8, (light * 120.0) as u8])
    });
    let material =
        RgbImage::from_fn(512, 512, |x, y| Rgb([((x + y) % 64 * 4) as u8, (x % 128) as u8, (y % 96) as u8]));
    let settings = Settings {
        prompt: "marble sculpture".to_owned(),
        negative_prompt: String::new(),
        guidance_scale: 2.0,
        steps,
        strength: Strength::Strong,
        max_width: 1920,
        max_height: 1920,
        seed: 42,
        intermediates: false,
    };
    Transfer { subject: Picture::opaque(subject), material: Picture::opaque(material), settings }
}
