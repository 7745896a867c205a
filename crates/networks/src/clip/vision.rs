//! CLIP's image encoder (ViT-H/14 for IP-Adapter): pixels to one embedding and to the patches' states.
//!
//! Pixels are (b, 3, 224, 224), normalised with CLIP's mean and deviation; states (b, 257, width), class token first.
//! Nothing is L2-normalised. Tensor names are those of transformers (`vision_model.…`, with `pre_layrnorm` so spelled).

use candle_core::{IndexOp, Tensor};
use kernels::{Conv2d, LayerNorm, Linear};
use serde::{Deserialize, Serialize};

use super::ClipActivation;
use super::layer::{ClipLayer, EPS, LayerDims};
use crate::{Error, Result, Weights};

/// Dimensions of an image encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipVisionConfig {
    /// Side of the square picture, in pixels.
    pub image_size: usize,
    /// Side of a patch.
    pub patch_size: usize,
    /// Width of a state.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside a layer's MLP.
    pub mlp: usize,
    /// Function inside a layer's MLP.
    pub activation: ClipActivation,
    /// Width of the embedding.
    pub projection: usize,
}

impl ClipVisionConfig {
    /// OpenCLIP ViT-H/14, 632 million parameters.
    pub fn vit_h() -> Self {
        Self {
            image_size: 224,
            patch_size: 14,
            width: 1280,
            layers: 32,
            heads: 16,
            mlp: 5120,
            activation: ClipActivation::Gelu,
            projection: 1024,
        }
    }
}

/// What the encoder makes of a picture.
#[derive(Clone, Debug)]
pub struct ImageStates {
    /// The projected class token, (b, projection).
    pub embedding: Tensor,
    /// Output of the last layer but one, all tokens, (b, 1 + patches, width).
    pub penultimate: Tensor,
}

impl ImageStates {
    /// The mean of the states of several pictures under weights that add up to one; of a single one itself.
    ///
    /// # Errors
    /// Where there is none, or the device fails.
    pub fn mean(states: &[(Self, f64)]) -> Result<Self> {
        if let [(one, _)] = states {
            return Ok(one.clone());
        }
        let mean = |of: fn(&Self) -> &Tensor| -> Result<Tensor> {
            let parts = states.iter().map(|(states, weight)| of(states) * *weight);
            let sum = parts.reduce(|sum, part| sum? + part?);
            Ok(sum.unwrap_or_else(|| candle_core::bail!("a mean of nothing"))?)
        };
        Ok(Self {
            embedding: mean(|states| &states.embedding)?,
            penultimate: mean(|states| &states.penultimate)?,
        })
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct ClipVision {
    class: Tensor,
    patches: Conv2d,
    positions: Tensor,
    pre_norm: LayerNorm,
    layers: Vec<ClipLayer>,
    post_norm: LayerNorm,
    projection: Linear,
}

impl ClipVision {
    /// Builds the encoder from tensors with transformers' names.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &ClipVisionConfig, weights: &Weights) -> Result<Self> {
        let (width, patch) = (config.width, config.patch_size);
        if config.layers < 2 || config.heads == 0 || !width.is_multiple_of(config.heads) || patch == 0 {
            let reason = "at least 2 layers, and a width that is a multiple of heads, are needed".to_owned();
            return Err(Error::Config { network: "clip_vision", reason });
        }
        let w = weights.at("vision_model");
        let embeddings = w.at("embeddings");
        let side = config.image_size / patch;
        let dims = LayerDims { width, heads: config.heads, mlp: config.mlp, activation: config.activation };
        let patches = embeddings.get("patch_embedding.weight", &[width, 3, patch, patch])?;
        let encoder = Self {
            class: embeddings.get("class_embedding", &[width])?,
            patches: Conv2d::new(patches, None).stride(patch),
            positions: embeddings.get("position_embedding.weight", &[1 + side * side, width])?,
            pre_norm: w.layer_norm("pre_layrnorm", width, EPS)?,
            layers: ClipLayer::stack(dims, config.layers, &w.at("encoder.layers"))?,
            post_norm: w.layer_norm("post_layernorm", width, EPS)?,
            projection: weights.linear_no_bias("visual_projection", width, config.projection)?,
        };
        weights.ignore(&["position_ids"]);
        weights.finish()?;
        Ok(encoder)
    }

    /// `pixels` (b, 3, side, side), normalised.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn forward(&self, pixels: &Tensor) -> Result<ImageStates> {
        let patches = self.patches.forward(pixels)?.flatten_from(2)?.transpose(1, 2)?;
        let (batch, _, width) = patches.dims3()?;
        let class = self.class.reshape((1, 1, width))?.broadcast_as((batch, 1, width))?;
        let x = Tensor::cat(&[&class.contiguous()?, &patches.contiguous()?], 1)?;
        let mut x = self.pre_norm.forward(&x.broadcast_add(&self.positions)?)?;
        let mut penultimate = x.clone();
        for layer in &self.layers {
            penultimate = x;
            x = layer.forward(&penultimate, None)?;
        }
        let class = self.post_norm.forward(&x.i((.., 0))?.contiguous()?)?;
        Ok(ImageStates { embedding: self.projection.forward(&class)?, penultimate })
    }
}
