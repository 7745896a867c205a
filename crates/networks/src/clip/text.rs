//! CLIP's text encoder: CLIP-L and OpenCLIP bigG.
//!
//! Token ids (chunks, 77) become states (chunks, 77, width): the output of the last layer but one, without the final
//! normalisation, as SDXL uses them. bigG's pooled vector comes from the last layer, normalised, at the first end token.
//! Padding is attended to like any token. Tensor names are those of transformers (`text_model.…`).

use candle_core::{IndexOp, Tensor};
use kernels::{LayerNorm, Linear};
use serde::{Deserialize, Serialize};

use super::ClipActivation;
use super::layer::{ClipLayer, EPS, LayerDims};
use crate::{Error, Result, Weights};

/// Dimensions of a text encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipTextConfig {
    /// Entries of the token table.
    pub vocabulary: usize,
    /// Tokens of a chunk.
    pub positions: usize,
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
    /// Width of the pooled vector; absent: the encoder has no projection and gives none.
    #[serde(default)]
    pub projection: Option<usize>,
}

impl ClipTextConfig {
    /// CLIP ViT-L/14's text encoder.
    pub fn clip_l() -> Self {
        Self {
            vocabulary: 49408,
            positions: 77,
            width: 768,
            layers: 12,
            heads: 12,
            mlp: 3072,
            activation: ClipActivation::QuickGelu,
            projection: None,
        }
    }

    /// OpenCLIP ViT-bigG/14's text encoder.
    pub fn clip_g() -> Self {
        Self {
            vocabulary: 49408,
            positions: 77,
            width: 1280,
            layers: 32,
            heads: 20,
            mlp: 5120,
            activation: ClipActivation::Gelu,
            projection: Some(1280),
        }
    }
}

/// What the encoder makes of token ids.
#[derive(Clone, Debug)]
pub struct TextStates {
    /// Output of the last layer but one, (chunks, positions, width).
    pub penultimate: Tensor,
    /// Projected state of each chunk's first end token, (chunks, projection).
    pub pooled: Option<Tensor>,
}

/// The network.
#[derive(Clone, Debug)]
pub struct ClipText {
    positions: usize,
    token_embedding: Tensor,
    position_embedding: Tensor,
    layers: Vec<ClipLayer>,
    final_norm: LayerNorm,
    projection: Option<Linear>,
}

impl ClipText {
    /// Builds the encoder from tensors with transformers' names.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &ClipTextConfig, weights: &Weights) -> Result<Self> {
        let width = config.width;
        if config.layers < 2 || config.heads == 0 || !width.is_multiple_of(config.heads) {
            let reason = "at least 2 layers, and a width that is a multiple of heads, are needed".to_owned();
            return Err(Error::Config { network: "clip_text", reason });
        }
        let w = weights.at("text_model");
        let embeddings = w.at("embeddings");
        let dims = LayerDims { width, heads: config.heads, mlp: config.mlp, activation: config.activation };
        let projection = match config.projection {
            Some(out) => Some(weights.linear_no_bias("text_projection", width, out)?),
            None => None,
        };
        let encoder = Self {
            positions: config.positions,
            token_embedding: embeddings.get("token_embedding.weight", &[config.vocabulary, width])?,
            position_embedding: embeddings.get("position_embedding.weight", &[config.positions, width])?,
            layers: ClipLayer::stack(dims, config.layers, &w.at("encoder.layers"))?,
            final_norm: w.layer_norm("final_layer_norm", width, EPS)?,
            projection,
        };
        weights.ignore(&["position_ids", "logit_scale"]);
        weights.finish()?;
        Ok(encoder)
    }

    /// Tokens of a chunk.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Encodes chunks of exactly [`ClipText::positions`] ids each.
    ///
    /// # Errors
    /// Where a chunk has another length or an unknown token, or the device fails.
    pub fn forward(&self, chunks: &[Vec<u32>]) -> Result<TextStates> {
        let device = self.token_embedding.device();
        let ids = Tensor::new(chunks.concat(), device)?;
        let tokens = self.token_embedding.index_select(&ids, 0)?;
        let tokens = tokens.reshape((chunks.len(), self.positions, ()))?;
        let mut x = tokens.broadcast_add(&self.position_embedding)?;
        let mask = kernels::causal_mask(self.positions, device)?;
        let mut penultimate = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            if i + 1 == self.layers.len() {
                penultimate = x.clone();
                if self.projection.is_none() {
                    break; // Nobody looks at the last layer.
                }
            }
            x = layer.forward(&x, Some(&mask))?;
        }
        let pooled = match &self.projection {
            Some(projection) => Some(self.pool(&x, chunks, projection)?),
            None => None,
        };
        Ok(TextStates { penultimate, pooled })
    }

    fn pool(&self, x: &Tensor, chunks: &[Vec<u32>], projection: &Linear) -> Result<Tensor> {
        let row = |(chunk, ids): (usize, &Vec<u32>)| {
            // The end token has the largest id; of several, the first counts.
            let largest = ids.iter().max();
            let end = ids.iter().position(|id| Some(id) == largest).unwrap_or(0);
            x.i((chunk, end))
        };
        let rows = chunks.iter().enumerate().map(row).collect::<candle_core::Result<Vec<_>>>()?;
        let normed = self.final_norm.forward(&Tensor::stack(&rows, 0)?)?;
        Ok(projection.forward(&normed)?)
    }
}
