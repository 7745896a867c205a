//! The SDXL engine at its published dimensions with random weights: seconds per stage, peak memory, finite numbers.
//! `cargo bench -p pipeline --bench full_size -- FOLDER [SIDES [STEPS]]` writes 11 GB of weights into FOLDER once; SIDES is one side
//! or several, `512,1024`.
//!
//! * `--resident` keeps every network in memory and reports a second transfer, which reads no weights.
//! * `--device=cuda` (with `--features cudnn`) computes there, the UNet in half precision.
//! * `--vae=f32` or another format for the autoencoder.
//! * `--guidance=1` asks the UNet for the conditional half alone.
//! * `--without=attention+pointwise,` and so on: for each of these, separated by commas, the same transfers without these
//!   optimisations for GPUs; nothing between two commas turns none off.
//! * `--times=N` repeats each transfer.
//! * `--json=FILE` appends a line for each transfer.
//!
//! Stages are timed from one to the next, with the device waited for; the whole is that of another transfer, which is not waited for.
//!
//! The budget: 512 × 512 in 2 steps within 12 GB, unless resident.

#![allow(clippy::expect_used)] // a bench fails by panicking

#[path = "../memory/mod.rs"]
mod memory;
mod weights;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use candle_core::{DType, Device};
use image::{Rgb, RgbImage};
use kernels::Optimisation;
use pipeline::{
    Arena, Cancel, Engine, Picture, Progress, Settings, Silent, Strength, Transfer, View, profile,
};

#[global_allocator]
static ARENA: Arena = Arena::new();

type Failure = Box<dyn std::error::Error>;

/// Notes when each stage begins, and looks for numbers that are none.
struct Watch {
    device: Device,
    begins: Mutex<Vec<(&'static str, Instant)>>,
}

impl Watch {
    /// Seconds of each stage, in the order of their first steps.
    fn stages(&self) -> Vec<(&'static str, f64)> {
        let begins = self.begins.lock().expect("no panic while it was held");
        let mut stages: Vec<(&'static str, f64)> = Vec::new();
        for pair in begins.windows(2) {
            let seconds = (pair[1].1 - pair[0].1).as_secs_f64();
            match stages.iter_mut().find(|(name, _)| *name == pair[0].0) {
                Some((_, sum)) => *sum += seconds,
                None => stages.push((pair[0].0, seconds)),
            }
        }
        stages
    }
}

impl Progress for Watch {
    fn advance(&self, stage: &'static str, _: usize, _: usize) {
        self.device.synchronize().expect("the device is alive");
        self.begins.lock().expect("no panic while it was held").push((stage, Instant::now()));
    }

    fn observe(&self, what: &str, look: &dyn Fn() -> View) {
        // The last tensor shows numbers that are none anywhere before it.
        if what == "decoded"
            && let View::Tensor(tensor) = look()
        {
            let peak = tensor.to_dtype(DType::F32).and_then(|t| t.abs()?.max_all()?.to_scalar::<f32>());
            let peak = peak.expect("a tensor's largest value");
            assert!(peak.is_finite(), "{what} is not finite");
        }
    }
}

fn main() -> Result<(), Failure> {
    let (flags, plain): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let Some(folder) = plain.first().map(PathBuf::from) else {
        println!(
            "say where the weights may go: cargo bench -p pipeline --bench full_size -- FOLDER [SIDES [STEPS]] [--resident] \
                  [--device=NAME] [--vae=FORMAT] [--guidance=G] [--without=FORMS] [--times=N] [--json=FILE]"
        );
        return Ok(());
    };
    let flag = |name: &str| {
        let prefix = format!("--{name}=");
        flags.iter().find_map(|flag| Some(flag.strip_prefix(&prefix)?.to_owned()))
    };
    let sides = plain.get(1).map_or("512", String::as_str).split(',').map(str::parse::<u32>);
    let sides = sides.collect::<Result<Vec<_>, _>>()?;
    let steps = plain.get(2).map_or(Ok(2), |steps| steps.parse())?;
    let times: usize = flag("times").map_or(Ok(1), |times| times.parse())?;
    let guidance: f64 = flag("guidance").map_or(Ok(2.0), |guidance| guidance.parse())?;
    let resident = flags.iter().any(|flag| flag == "--resident");
    let opened = pipeline::open(flag("device").as_deref().unwrap_or("cpu").parse()?)?;
    println!("{}; {:?}", opened.description, opened.warnings);
    let device = opened.device;
    weights::write(&folder, if resident { "resident" } else { "staged" }, flag("vae").as_deref())?;
    let path = folder.join("profile.toml");
    let begin = Instant::now();
    let profile = profile::load(&path.to_string_lossy())?;
    let engine = pipeline::engine(&profile, &device)?;
    println!("loaded in {:.2} s, {} threads", begin.elapsed().as_secs_f64(), rayon::current_num_threads());
    for without in flag("without").unwrap_or_default().split(',') {
        kernels::disable(&optimisations(without)?);
        for side in &sides {
            if resident {
                engine.transfer(&transfer(*side, 1, guidance), &Silent, &Cancel::default())?;
            }
            for _ in 0..times {
                let line = measure(&*engine, &device, &transfer(*side, steps, guidance), without)?;
                println!("{line}");
                if let Some(file) = flag("json") {
                    writeln!(std::fs::OpenOptions::new().create(true).append(true).open(file)?, "{line}")?;
                }
            }
        }
    }
    Ok(())
}

/// The optimisations of a list with plus signs between them.
fn optimisations(list: &str) -> Result<Vec<Optimisation>, Failure> {
    let known = |name: &str| {
        let found = Optimisation::NAMES.into_iter().find(|(each, _)| *each == name);
        found.map(|(_, each)| each).ok_or_else(|| Failure::from(format!("there is no optimisation {name:?}")))
    };
    list.split('+').filter(|name| !name.is_empty()).map(known).collect()
}

/// One transfer as it is, and one that is waited for at each stage, as JSON.
fn measure(
    engine: &dyn Engine,
    device: &Device,
    transfer: &Transfer,
    without: &str,
) -> Result<String, Failure> {
    memory::forget_peak();
    let begin = Instant::now();
    // On the CPU nothing is queued, and one transfer tells both.
    if !device.is_cpu() {
        engine.transfer(&again(transfer), &Silent, &Cancel::default())?;
    }
    let whole = begin.elapsed().as_secs_f64();
    let watch = Watch { device: device.clone(), begins: Mutex::default() };
    let begin = Instant::now();
    engine.transfer(&again(transfer), &watch, &Cancel::default())?;
    let watched = begin.elapsed().as_secs_f64();
    let whole = if device.is_cpu() { watched } else { whole };
    let (side, settings) = (transfer.subject().rgb.width(), &transfer.settings);
    let mut line = format!(
        "{{\"side\":{side},\"steps\":{},\"guidance\":{},\"without\":{without:?},\"seconds\":{whole:.4},\"watched\":{watched:.4},\"stages\":{{",
        settings.steps, settings.guidance_scale
    );
    for (i, (stage, seconds)) in watch.stages().into_iter().enumerate() {
        write!(line, "{}\"{stage}\":{seconds:.4}", if i > 0 { "," } else { "" })?;
    }
    line.push('}');
    if let Some(peak) = memory::peak() {
        write!(line, ",\"host_gb\":{:.2}", peak as f64 / 1e9)?;
    }
    #[cfg(feature = "cuda")]
    write!(line, ",\"device_gb\":{:.2}", kernels::peak_memory(device)? as f64 / 1e9)?;
    line.push('}');
    Ok(line)
}

/// The same with a prompt that nobody has asked for yet: texts are remembered.
fn again(transfer: &Transfer) -> Transfer {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut transfer = transfer.clone();
    transfer.settings.prompt = format!("{}, number {number}", transfer.settings.prompt);
    transfer
}

/// A ball on a plain ground, and stripes.
fn transfer(side: u32, steps: u32, guidance_scale: f64) -> Transfer {
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
        guidance_scale,
        steps,
        strength: Strength::Strong,
        seed: 42,
        ..Settings::default()
    };
    Transfer::pair(Picture::opaque(subject), Picture::opaque(material), settings)
}
