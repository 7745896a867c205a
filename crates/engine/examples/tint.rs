//! The smallest engine: every pixel of the subject gets the material's mean colour, as bright as it was itself.
//! `docs/adding-an-engine.md` walks through it.
//!
//! `cargo run --release -p engine --example tint -- SUBJECT MATERIAL OUTPUT.png`

use engine::{Cancel, Clock, Engine, Error, Outcome, Progress, Settings, Silent, Transfer};
use pixels::{DecodeLimits, OutputFormat, Picture, fit_within};

/// Nothing to be made beforehand: no weights, no device.
struct Tint;

impl Engine for Tint {
    fn name(&self) -> &'static str {
        "tint"
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Outcome, Error> {
        let mut clock = Clock::start();
        let Settings { max_width, max_height, .. } = transfer.settings;
        let (width, height) = transfer.subject().rgb.dimensions();
        let (width, height) = fit_within(width, height, max_width, max_height);
        let mut picture = transfer.subject().clone().shrunk_to_fit(width, height);
        let tint = transfer.pictures.regions().first().map_or([0.0; 3], |region| mean(region.material));
        clock.lap("material");

        for (row, pixels) in picture.rgb.rows_mut().enumerate() {
            cancel.check()?;
            for pixel in pixels {
                let light = luminance(pixel.0.map(f64::from)) / luminance(tint).max(1.0);
                pixel.0 = tint.map(|channel| (channel * light).round().clamp(0.0, 255.0) as u8);
            }
            progress.advance("paint", row + 1, height as usize);
        }
        clock.lap("paint");
        Ok(Outcome {
            picture,
            composite: false,
            intermediates: Vec::new(),
            timings: clock.laps(),
            ignored: vec!["prompt", "guidance_scale", "steps", "material_strength"],
            notes: Vec::new(),
        })
    }
}

/// The mean colour of a picture, 0 to 255.
fn mean(picture: &Picture) -> [f64; 3] {
    let count = f64::from(picture.rgb.width()) * f64::from(picture.rgb.height());
    let sum = |channel: usize| picture.rgb.pixels().map(|pixel| f64::from(pixel.0[channel])).sum::<f64>();
    [0, 1, 2].map(|channel| sum(channel) / count)
}

/// Brightness as ITU-R BT.601 weighs the channels, 0 to 255.
fn luminance([r, g, b]: [f64; 3]) -> f64 {
    0.299 * r + 0.587 * g + 0.114 * b
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [subject, material, output] = arguments.as_slice() else {
        return Err("usage: tint SUBJECT MATERIAL OUTPUT.png".into());
    };
    let picture = |path: &str| -> Result<Picture, Box<dyn std::error::Error>> {
        Ok(Picture::decode(&std::fs::read(path)?, &DecodeLimits::default())?)
    };
    let transfer = Transfer::pair(picture(subject)?, picture(material)?, Settings::default());
    let outcome = Tint.transfer(&transfer, &Silent, &Cancel::default())?;
    std::fs::write(output, outcome.picture.encode(OutputFormat::Png, 100)?)?;
    Ok(())
}
