//! CLIP (Radford et al. 2021): the two text encoders of SDXL, the image encoder of IP-Adapter, and the way from a prompt to
//! their input.
//!
//! A prompt is parsed into weighted words ([`prompt`]), its words are repaired and split into byte-pair tokens
//! ([`tokenizer`]), tokens fill chunks of 77, the encoders turn chunks into states ([`text`]), and weights pull the states
//! away from those of the empty prompt ([`conditioning`]).

pub mod conditioning;
mod layer;
pub mod prompt;
mod repair;
pub mod text;
pub mod tokenizer;
pub mod vision;

use serde::{Deserialize, Serialize};

/// The function between the two linear maps of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipActivation {
    /// x·σ(1.702x): OpenAI's models (CLIP-L).
    QuickGelu,
    /// x·Φ(x): OpenCLIP's models (bigG, ViT-H).
    Gelu,
}

impl From<ClipActivation> for kernels::Activation {
    fn from(activation: ClipActivation) -> Self {
        match activation {
            ClipActivation::QuickGelu => Self::QuickGelu,
            ClipActivation::Gelu => Self::Gelu,
        }
    }
}
