//! A transfer by a program of one's own, with any profile:
//! `cargo run --release -p pipeline --example transfer -- SUBJECT MATERIAL OUTPUT.png [PROFILE]`.

use std::path::Path;

use pipeline::{
    Cancel, DecodeLimits, DeviceChoice, OutputFormat, Picture, Progress, Settings, Transfer, profile,
};

/// Says on standard error how far a transfer is.
struct Steps;

impl Progress for Steps {
    fn advance(&self, stage: &'static str, done: usize, total: usize) {
        eprintln!("{done} of {total}: {stage}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [subject, material, output, profile @ ..] = arguments.as_slice() else {
        return Err("usage: transfer SUBJECT MATERIAL OUTPUT.png [PROFILE]".into());
    };
    let profile = profile::load(profile.first().map_or("exemplar", String::as_str))?;
    let opened = pipeline::open(DeviceChoice::Auto)?;
    let engine = pipeline::engine(&profile, &opened.device)?;

    let settings = Settings { seed: 1, ..Settings::default() };
    // Pictures are decoded no larger than the engine reads them.
    let enough = engine.enough(&settings);
    let picture = |path: &str, enough: Option<(u32, u32)>| -> Result<Picture, Box<dyn std::error::Error>> {
        let picture = Picture::decode(&std::fs::read(path)?, &DecodeLimits::default())?;
        Ok(match enough {
            Some((width, height)) => picture.shrunk_to_fit(width, height),
            None => picture,
        })
    };
    let (subject, material) = (picture(subject, enough.subject)?, picture(material, enough.material)?);
    let transfer = Transfer::pair(subject, material, settings);
    let outcome = engine.transfer(&transfer, &Steps, &Cancel::default())?;
    for note in &outcome.notes {
        eprintln!("note: {note}");
    }
    std::fs::write(Path::new(output), outcome.picture.encode(OutputFormat::Png, 100)?)?;
    Ok(())
}
