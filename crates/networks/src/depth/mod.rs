//! Depth Anything v1 (Yang et al. 2024): a picture to its inverse depth, near is large.
//!
//! Input (b, 3, 14·r, 14·c), normalised with ImageNet's mean and deviation; output (b, 14·r, 14·c), never negative, of no
//! particular scale. A DINOv2 backbone ([`dinov2`]) and a DPT head ([`dpt`]). Tensor names are those of transformers; the
//! published `.pth` is renamed on the way in.

pub mod dinov2;
pub mod dpt;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::weights::{Change, Renamed, Source, WeightFile};
use crate::{Error, Result, Weights};
use dinov2::{DinoConfig, DinoV2};
use dpt::{DptConfig, DptHead};

/// Dimensions of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthConfig {
    /// The backbone.
    pub backbone: DinoConfig,
    /// The head.
    pub head: DptConfig,
}

impl DepthConfig {
    /// `depth-anything-large`, 335 million parameters.
    pub fn large() -> Self {
        Self { backbone: DinoConfig::large(), head: DptConfig::large() }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct DepthAnything {
    backbone: DinoV2,
    head: DptHead,
}

impl DepthAnything {
    /// Builds the network from tensors with transformers' names.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &DepthConfig, weights: &Weights) -> Result<Self> {
        let backbone = DinoV2::load(&config.backbone, &weights.at("backbone"))?;
        let head = DptHead::load(&config.head, config.backbone.width, weights)?;
        weights.finish()?;
        Ok(Self { backbone, head })
    }

    /// The tensors of a file in either naming, under transformers' names.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn weights(path: &Path, dtype: DType, device: &Device) -> Result<Weights> {
        let source = transformers_names(Arc::new(WeightFile::open(path)?));
        Ok(Weights::new(path.display().to_string(), source, dtype, device))
    }

    /// The backbone, whose features the head reads.
    pub fn backbone(&self) -> &DinoV2 {
        &self.backbone
    }

    /// Inverse depth (b, h, w) of `x` (b, 3, h, w), h and w multiples of the patch size.
    ///
    /// # Errors
    /// Where the picture does not divide into patches, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let patch = self.backbone.patch_size();
        if h % patch != 0 || w % patch != 0 || h == 0 || w == 0 {
            let reason = format!("a picture of {h} x {w} does not divide into patches of {patch}");
            return Err(Error::Config { network: "depth", reason });
        }
        let features = self.backbone.features(x)?;
        self.head.forward(&features, (h / patch, w / patch), patch)
    }
}

/// A source with transformers' names, whichever of the two namings `source` has.
pub fn transformers_names(source: Arc<dyn Source>) -> Arc<dyn Source> {
    match source.shape("pretrained.cls_token") {
        Some(_) => Arc::new(Renamed::new(source, transformers_name)),
        None => source,
    }
}

/// transformers' names for a name of `depth_anything_vitl14.pth`; an unknown name stays, to be reported.
fn transformers_name(name: &str) -> Vec<(String, Change)> {
    let keep = |name: String| vec![(name, Change::Keep)];
    if let Some(rest) = name.strip_prefix("pretrained.blocks.") {
        let (block, rest) = rest.split_once('.').unwrap_or((rest, ""));
        let layer = format!("backbone.encoder.layer.{block}");
        if let Some(role) = rest.strip_prefix("attn.qkv.") {
            let part = |(part, which)| {
                (format!("{layer}.attention.attention.{which}.{role}"), Change::Rows { part, of: 3 })
            };
            return ["query", "key", "value"].into_iter().enumerate().map(part).collect();
        }
        let rest = rest
            .replace("attn.proj", "attention.output.dense")
            .replace("ls1.gamma", "layer_scale1.lambda1")
            .replace("ls2.gamma", "layer_scale2.lambda1");
        return keep(format!("{layer}.{rest}"));
    }
    if let Some(rest) = name.strip_prefix("pretrained.") {
        let rest = rest
            .replace("pos_embed", "position_embeddings")
            .replace("patch_embed.proj", "patch_embeddings.projection");
        let embedding = !rest.starts_with("norm.");
        return keep(if embedding {
            format!("backbone.embeddings.{rest}")
        } else {
            rest.replacen("norm.", "backbone.layernorm.", 1)
        });
    }
    keep(name.strip_prefix("depth_head.").and_then(head_name).unwrap_or_else(|| name.to_owned()))
}

/// transformers' name for a name below `depth_head.`.
fn head_name(name: &str) -> Option<String> {
    if let Some((i, role)) = name.strip_prefix("projects.").and_then(|rest| rest.split_once('.')) {
        return Some(format!("neck.reassemble_stage.layers.{i}.projection.{role}"));
    }
    if let Some((i, role)) = name.strip_prefix("resize_layers.").and_then(|rest| rest.split_once('.')) {
        return Some(format!("neck.reassemble_stage.layers.{i}.resize.{role}"));
    }
    let scratch = name.strip_prefix("scratch.")?;
    if let Some((i, role)) = scratch.strip_prefix("layer").and_then(|rest| rest.split_once("_rn.")) {
        return Some(format!("neck.convs.{}.{role}", i.parse::<usize>().ok()?.checked_sub(1)?));
    }
    if let Some((i, rest)) = scratch.strip_prefix("refinenet").and_then(|rest| rest.split_once('.')) {
        // refinenet4, the coarsest, is layer 0.
        let layer = 4usize.checked_sub(i.parse().ok()?)?;
        let rest = rest
            .replace("out_conv", "projection")
            .replace("resConfUnit", "residual_layer")
            .replace("conv1", "convolution1")
            .replace("conv2", "convolution2");
        return Some(format!("neck.fusion_stage.layers.{layer}.{rest}"));
    }
    let tails = [("output_conv1.", "conv1"), ("output_conv2.0.", "conv2"), ("output_conv2.2.", "conv3")];
    tails.iter().find_map(|(old, new)| Some(format!("head.{new}.{}", scratch.strip_prefix(old)?)))
}
