//! What is asked of an engine and what it gives back. Made once, moved on, never patched up later.

use std::time::Duration;

pub use api::MaterialStrength as Strength;
pub use api::{Background, MOST_REGIONS, MaterialFit, Pictures, Region};
use pixels::Picture;

/// Decoded pictures and settled numbers: everything an engine needs.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// The subject, the materials, and the masks that were given.
    pub pictures: Pictures<Picture>,
    /// The numbers.
    pub settings: Settings,
}

impl Transfer {
    /// `subject`, made of `material`.
    #[must_use]
    pub fn pair(subject: Picture, material: Picture, settings: Settings) -> Self {
        Self { pictures: Pictures::pair(subject, material), settings }
    }

    /// The picture whose subject gets the material.
    #[must_use]
    pub fn subject(&self) -> &Picture {
        &self.pictures.subject_image
    }
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
    /// How much of the material is taken: 0 none, 1 as usual, up to 2.
    pub weight: f64,
    /// How much of the second material is mixed into the first, 0 to 1.
    pub blend: f64,
    /// How large the pattern is, times its usual size; 0.25 to 4.
    pub scale: f64,
    /// How an image encoder that sees squares sees the material.
    pub fit: MaterialFit,
    /// How soft the edges of given masks are made, in pixels of the output.
    pub feather: f64,
    /// Given masks say what stays.
    pub invert_masks: bool,
    /// What is outside the mask.
    pub background: Background,
    /// How the material's character is changed.
    pub edits: Edits,
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
            weight: 1.0,
            blend: 0.5,
            scale: 1.0,
            fit: MaterialFit::default(),
            feather: 1.5,
            invert_masks: false,
            background: Background::default(),
            edits: Edits::default(),
            max_width: 1920,
            max_height: 1920,
            seed: 0,
            intermediates: false,
        }
    }
}

/// Changes of a material's character: 0 leaves it as it is, 1 is as much as makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Edits {
    /// −1 (smoother) to 1 (rougher).
    pub roughness: f64,
    /// −1 (less of a metal) to 1 (more of one).
    pub metallic: f64,
    /// 0 to 1.
    pub transparency: f64,
    /// 0 to 1.
    pub glow: f64,
}

impl Edits {
    /// Those that change something, by the request's names for them.
    pub fn asked(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let Self { roughness, metallic, transparency, glow } = *self;
        let all = [
            ("roughness", roughness),
            ("metallic", metallic),
            ("transparency", transparency),
            ("glow", glow),
        ];
        all.into_iter().filter(|(_, amount)| *amount != 0.0)
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
            weight: parameters.material_weight,
            blend: parameters.material_blend,
            scale: parameters.material_scale,
            fit: parameters.material_fit,
            feather: parameters.mask_feather,
            invert_masks: parameters.mask_invert,
            background: parameters.background,
            edits: Edits {
                roughness: parameters.roughness,
                metallic: parameters.metallic,
                transparency: parameters.transparency,
                glow: parameters.glow,
            },
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
    /// A part of the picture is the subject picture's own pixels.
    pub composite: bool,
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

impl Intermediate {
    /// The names of the materials in the order of the regions; the two of a blend are two.
    pub const MATERIALS: [&str; MOST_REGIONS + 1] =
        ["material", "material_2", "material_3", "material_4", "material_5"];
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
