//! What is asked of an engine and what it gives back. Made once, moved on, never patched up later.

use std::time::Duration;

pub use api::MaterialStrength as Strength;
use pixels::Picture;

/// Decoded pictures and settled numbers: everything an engine needs.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// The picture whose subject gets the material.
    pub subject: Picture,
    /// The picture whose material is taken.
    pub material: Picture,
    /// The numbers.
    pub settings: Settings,
}

/// The numbers of one transfer, in range (docs/api-contract.md B.1).
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What to paint, for engines that read text.
    pub prompt: String,
    /// What to avoid, for engines that read text.
    pub negative_prompt: String,
    /// Classifier-free guidance, 1 to 10.
    pub guidance_scale: f64,
    /// Sampler steps, at least 1.
    pub steps: u32,
    /// How strongly the material replaces the subject's own surface.
    pub strength: Strength,
    /// The output is at most this wide, in pixels; a smaller subject is not enlarged.
    pub max_width: u32,
    /// The output is at most this high, in pixels.
    pub max_height: u32,
    /// Seeds all noise. Settled before this struct is made: whoever asked for a random one has drawn it.
    pub seed: u64,
    /// Should the outcome carry the intermediate pictures?
    pub intermediates: bool,
}

impl Default for Settings {
    /// The API's defaults, with no prompt and the seed 0.
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            guidance_scale: 2.0,
            steps: 6,
            strength: Strength::default(),
            max_width: 1920,
            max_height: 1920,
            seed: 0,
            intermediates: false,
        }
    }
}

/// What a random seed is drawn from: 32 bits, as the service this stands in for does; short enough to be typed again.
const RANDOM_SEEDS: std::ops::RangeInclusive<u64> = 0..=u32::MAX as u64;

impl Settings {
    /// The seed of a request: the given one, else one drawn now.
    #[must_use]
    pub fn seed_of(parameters: &api::Parameters) -> u64 {
        parameters.seed.unwrap_or_else(|| rand::random_range(RANDOM_SEEDS))
    }

    /// The numbers of a request, with its seed settled.
    #[must_use]
    pub fn of(parameters: &api::Parameters, seed: u64) -> Self {
        Self {
            prompt: parameters.prompt.clone(),
            negative_prompt: parameters.negative_prompt.clone(),
            guidance_scale: parameters.guidance_scale,
            steps: parameters.steps,
            strength: parameters.material_strength,
            max_width: parameters.max_width,
            max_height: parameters.max_height,
            seed,
            intermediates: parameters.return_intermediate_images,
        }
    }
}

/// The result of a transfer.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The subject, made of the material.
    pub picture: Picture,
    /// What the engine looked at on the way, in the order of the API (mask, `subject_grey`, depth, lineart, material);
    /// empty unless asked for.
    pub intermediates: Vec<Intermediate>,
    /// Seconds per stage, in the order they ran.
    pub timings: Vec<(&'static str, Duration)>,
    /// Names of given parameters that have no effect on this engine.
    pub ignored: Vec<&'static str>,
    /// Remarks for the person who asked, each one sentence (`no salient subject was found: …`).
    pub notes: Vec<String>,
}

/// One picture from inside a transfer.
#[derive(Debug, Clone)]
pub struct Intermediate {
    /// Its name on the wire: `mask`, `subject_grey`, `depth`, `lineart`, `material`, …
    pub name: &'static str,
    /// The picture.
    pub picture: Picture,
}

#[cfg(test)]
mod tests {
    use api::{FormValue, Schema};

    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_api() {
        let url = || FormValue::Text("http://host/picture.png".to_owned());
        let form = vec![("subject_image".to_owned(), url()), ("material_image".to_owned(), url())];
        let request = Schema::default().from_form(form).expect("nothing else is required");
        let of_the_api = Settings::of(&request.parameters, 0);
        assert_eq!(Settings { prompt: of_the_api.prompt.clone(), ..Settings::default() }, of_the_api);
    }
}
