//! DINOv2 (Oquab et al. 2023): a vision transformer with LayerScale, read at its last four layers.
//!
//! Input (b, 3, 14·r, 14·c); features (b, r·c, width), final normalisation applied, class token removed. Position
//! embeddings are learned for a square grid and resampled for any other with the bicubic kernel and the 0.1 offset of the
//! published code (later libraries dropped the offset; weights and reference have it).

use candle_core::{DType, Tensor};
use kernels::{Activation, Conv2d, LayerNorm, Linear};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Weights};

/// Epsilon of all layer normalisations.
const EPS: f64 = 1e-6;
/// Added to the patch counts when the scale of the position grid is computed.
const OFFSET: f64 = 0.1;
/// Layers whose output is a feature: the last four.
const FEATURES: usize = 4;

/// Dimensions of the backbone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DinoConfig {
    /// Width of a token.
    pub width: usize,
    /// Layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside a layer's MLP, in multiples of `width`.
    pub mlp_ratio: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Side of the pictures the position embeddings were learned for.
    pub image_size: usize,
}

impl DinoConfig {
    /// ViT-L/14.
    pub fn large() -> Self {
        Self { width: 1024, depth: 24, heads: 16, mlp_ratio: 4, patch_size: 14, image_size: 518 }
    }

    fn grid(&self) -> usize {
        self.image_size / self.patch_size.max(1)
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct DinoV2 {
    patch_size: usize,
    grid: usize,
    class: Tensor,
    positions: Tensor,
    patches: Conv2d,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl DinoV2 {
    /// Builds the backbone from tensors with transformers' names.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &DinoConfig, w: &Weights) -> Result<Self> {
        let (width, patch, grid) = (config.width, config.patch_size, config.grid());
        if config.depth < FEATURES || config.heads == 0 || !width.is_multiple_of(config.heads) || grid < 2 {
            let reason =
                "at least 4 layers, a width that is a multiple of heads, and a grid of patches are needed";
            return Err(Error::Config { network: "depth.backbone", reason: reason.to_owned() });
        }
        let embeddings = w.at("embeddings");
        let conv = embeddings.conv2d("patch_embeddings.projection", 3, width, patch)?;
        let backbone = Self {
            patch_size: patch,
            grid,
            class: embeddings.get("cls_token", &[1, 1, width])?,
            positions: embeddings.get("position_embeddings", &[1, 1 + grid * grid, width])?,
            patches: conv.stride(patch),
            blocks: (0..config.depth)
                .map(|i| Block::load(config, &w.at("encoder.layer").at(i)))
                .collect::<Result<_>>()?,
            norm: w.layer_norm("layernorm", width, EPS)?,
        };
        if embeddings.has("mask_token") {
            embeddings.get("mask_token", &[1, width])?; // Used in training only.
        }
        Ok(backbone)
    }

    /// Side of a patch, in pixels.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// The four features (b, rows·columns, width) of `x`, in the order of the layers.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn features(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let (batch, _, h, w) = x.dims4()?;
        let patches = self.patches.forward(x)?.flatten_from(2)?.transpose(1, 2)?;
        let (_, count, width) = patches.dims3()?;
        let class = self.class.broadcast_as((batch, 1, width))?.contiguous()?;
        let x = Tensor::cat(&[&class, &patches.contiguous()?], 1)?;
        let positions = self.positions_for(h / self.patch_size, w / self.patch_size)?;
        let mut x = x.broadcast_add(&positions)?;
        let mut features = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x)?;
            if i + FEATURES >= self.blocks.len() {
                let normed = self.norm.forward(&x)?;
                features.push(normed.narrow(1, 1, count)?.contiguous()?);
            }
        }
        Ok(features)
    }

    /// Position embeddings (1, 1 + rows·columns, width), class token first, for a grid of patches.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn positions_for(&self, rows: usize, columns: usize) -> Result<Tensor> {
        if (rows, columns) == (self.grid, self.grid) {
            return Ok(self.positions.clone());
        }
        let width = self.positions.dim(2)?;
        let class = self.positions.narrow(1, 0, 1)?;
        let learned = self.positions.narrow(1, 1, self.grid * self.grid)?.to_dtype(DType::F32)?;
        // Resampling an axis is a product with a sparse matrix: (rows, grid) from the left, then the same for columns.
        let matrix = |out: usize| Tensor::from_vec(bicubic(self.grid, out), (out, self.grid), class.device());
        let y = matrix(rows)?.matmul(&learned.reshape((self.grid, self.grid * width))?)?;
        let y = y.reshape((rows, self.grid, width))?.transpose(0, 1)?.contiguous()?;
        let y = matrix(columns)?.matmul(&y.reshape((self.grid, rows * width))?)?;
        let y = y.reshape((columns, rows, width))?.transpose(0, 1)?.contiguous()?;
        let grid = y.reshape((1, rows * columns, width))?.to_dtype(class.dtype())?;
        Ok(Tensor::cat(&[&class, &grid], 1)?)
    }
}

/// Weights (out, input) of bicubic resampling (A = −0.75, borders repeated) at positions (i + ½)/s − ½, s = (out + 0.1)/input.
fn bicubic(input: usize, out: usize) -> Vec<f32> {
    const A: f64 = -0.75;
    let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    let mut weights = vec![0f32; out * input];
    let scale = (out as f64 + OFFSET) / input as f64;
    for i in 0..out {
        let position = (i as f64 + 0.5) / scale - 0.5;
        let first = position.floor();
        let t = position - first;
        for (k, weight) in [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)].into_iter().enumerate() {
            let source = (first + k as f64 - 1.0).clamp(0.0, (input - 1) as f64) as usize;
            weights[i * input + source] += weight as f32;
        }
    }
    weights
}

/// x += γ₁·attention(LN x); x += γ₂·mlp(LN x).
#[derive(Clone, Debug)]
struct Block {
    heads: usize,
    scale: f64,
    norm1: LayerNorm,
    qkv: [Linear; 3],
    out: Linear,
    gamma1: Tensor,
    norm2: LayerNorm,
    mlp: [Linear; 2],
    gamma2: Tensor,
}

impl Block {
    fn load(config: &DinoConfig, w: &Weights) -> Result<Self> {
        let (width, mlp) = (config.width, config.mlp_ratio * config.width);
        let attention = w.at("attention");
        let project = |name: &str| attention.at("attention").linear(name, width, width);
        Ok(Self {
            heads: config.heads,
            scale: ((width / config.heads) as f64).sqrt().recip(),
            norm1: w.layer_norm("norm1", width, EPS)?,
            qkv: [project("query")?, project("key")?, project("value")?],
            out: attention.linear("output.dense", width, width)?,
            gamma1: w.get("layer_scale1.lambda1", &[width])?,
            norm2: w.layer_norm("norm2", width, EPS)?,
            mlp: [
                w.linear("mlp.fc1", width, mlp)?.activation(Activation::Gelu),
                w.linear("mlp.fc2", mlp, width)?,
            ],
            gamma2: w.get("layer_scale2.lambda1", &[width])?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let heads = |map: &Linear| kernels::split_heads(&map.forward(&normed)?, self.heads);
        let [q, k, v] = &self.qkv;
        let y = kernels::attention(&heads(q)?, &heads(k)?, &heads(v)?, self.scale, None)?;
        let y = self.out.forward(&kernels::merge_heads(&y)?)?;
        let x = (x + y.broadcast_mul(&self.gamma1)?)?;
        let [first, second] = &self.mlp;
        let hidden = first.forward(&self.norm2.forward(&x)?)?;
        Ok((&x + second.forward(&hidden)?.broadcast_mul(&self.gamma2)?)?)
    }
}
