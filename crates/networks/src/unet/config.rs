//! Dimensions of the UNet, and which layers follow from them.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Dimensions of the UNet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of the latent that comes in.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Width of the finest level; the embedding is four times as wide.
    pub model_channels: usize,
    /// Width of every level, in multiples of `model_channels`.
    pub channel_mult: Vec<usize>,
    /// Residual blocks of a level on the way down; one more on the way up.
    pub res_blocks: usize,
    /// Transformer blocks after each residual block of a level.
    pub transformer_depth: Vec<usize>,
    /// Transformer blocks in the middle.
    pub middle_depth: usize,
    /// Channels of an attention head.
    pub head_dim: usize,
    /// Width of a text token.
    pub context_dim: usize,
    /// Width of the vector condition.
    pub vector_dim: usize,
    /// Groups of the group normalisations.
    #[serde(default = "thirty_two")]
    pub groups: usize,
}

fn thirty_two() -> usize {
    32
}

/// One residual block with its transformer: input and output channels, and its cross-attention layers (none: no
/// transformer).
pub(super) struct BlockPlan {
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) layers: Vec<AdapterLayer>,
}

/// A cross-attention layer as IP-Adapter files number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterLayer {
    /// The number K in `ip_adapter.K.to_k_ip.weight`: 1, 3, 5, …, down blocks first, then up blocks, then the middle.
    pub index: usize,
    /// Width of the layer.
    pub channels: usize,
}

impl UNetConfig {
    /// SDXL base and everything fine-tuned from it.
    pub fn sdxl() -> Self {
        Self {
            in_channels: 4,
            out_channels: 4,
            model_channels: 320,
            channel_mult: vec![1, 2, 4],
            res_blocks: 2,
            transformer_depth: vec![0, 2, 10],
            middle_depth: 10,
            head_dim: 64,
            context_dim: 2048,
            vector_dim: 2816,
            groups: thirty_two(),
        }
    }

    /// The layers of "style transfer": the cross-attentions of `up_blocks.0.attentions.1`.
    pub fn style_layers(&self) -> Vec<AdapterLayer> {
        let level = self.channel_mult.len() - 1;
        self.up_blocks(level).into_iter().nth(1).map_or_else(Vec::new, |block| block.layers)
    }

    /// Those, and the layers that arrange the picture: the cross-attentions of `down_blocks.2.attentions.1` (InstantStyle, Wang et
    /// al. 2024).
    pub fn style_and_layout_layers(&self) -> Vec<AdapterLayer> {
        let level = self.channel_mult.len() - 1;
        let layout = self.down_blocks(level).into_iter().nth(1).map_or_else(Vec::new, |block| block.layers);
        layout.into_iter().chain(self.style_layers()).collect()
    }

    /// All cross-attention layers, in the order of their numbers.
    pub fn adapter_layers(&self) -> Vec<AdapterLayer> {
        let levels = self.channel_mult.len();
        let down = (0..levels).flat_map(|level| self.down_blocks(level));
        let up = (0..levels).rev().flat_map(|level| self.up_blocks(level));
        down.chain(up).flat_map(|block| block.layers).chain(self.middle_layers()).collect()
    }

    pub(super) fn channels(&self, level: usize) -> usize {
        self.model_channels * self.channel_mult[level]
    }

    pub(super) fn embedding(&self) -> usize {
        4 * self.model_channels
    }

    pub(super) fn check(&self) -> Result<()> {
        let fault = |reason: &str| Err(Error::Config { network: "unet", reason: reason.to_owned() });
        if self.channel_mult.is_empty() || self.channel_mult.len() != self.transformer_depth.len() {
            return fault("channel_mult and transformer_depth must have one entry per level");
        }
        let widths: Vec<usize> = (0..self.channel_mult.len()).map(|level| self.channels(level)).collect();
        if self.groups == 0 || widths.iter().any(|c| *c == 0 || c % self.groups != 0) {
            return fault("every level's channels must be a multiple of groups");
        }
        if self.head_dim == 0 || widths.iter().any(|c| c % self.head_dim != 0) {
            return fault("every level's channels must be a multiple of head_dim");
        }
        if self.res_blocks == 0 {
            return fault("res_blocks must be at least 1");
        }
        Ok(())
    }

    pub(super) fn down_blocks(&self, level: usize) -> Vec<BlockPlan> {
        let first: usize = (0..level).map(|l| self.res_blocks * self.transformer_depth[l]).sum();
        let output = self.channels(level);
        let before = if level == 0 { self.model_channels } else { self.channels(level - 1) };
        let block = |i| BlockPlan {
            input: if i == 0 { before } else { output },
            output,
            layers: self.layers(
                first + i * self.transformer_depth[level],
                self.transformer_depth[level],
                output,
            ),
        };
        (0..self.res_blocks).map(block).collect()
    }

    /// The blocks of `level` on the way up; each consumes one skip.
    pub(super) fn up_blocks(&self, level: usize) -> Vec<BlockPlan> {
        let levels = self.channel_mult.len();
        let down: usize = self.transformer_depth.iter().map(|depth| self.res_blocks * depth).sum();
        let coarser: usize =
            (level + 1..levels).map(|l| (self.res_blocks + 1) * self.transformer_depth[l]).sum();
        let output = self.channels(level);
        let block = |i| {
            let current = if i == 0 { self.channels((level + 1).min(levels - 1)) } else { output };
            // The last skip of a level is what came down from the finer one.
            let skip = match (i == self.res_blocks, level) {
                (false, _) => output,
                (true, 0) => self.model_channels,
                (true, level) => self.channels(level - 1),
            };
            let depth = self.transformer_depth[level];
            BlockPlan {
                input: current + skip,
                output,
                layers: self.layers(down + coarser + i * depth, depth, output),
            }
        };
        (0..=self.res_blocks).map(block).collect()
    }

    pub(super) fn middle_layers(&self) -> Vec<AdapterLayer> {
        let outside: usize =
            self.transformer_depth.iter().map(|depth| (2 * self.res_blocks + 1) * depth).sum();
        self.layers(outside, self.middle_depth, self.channels(self.channel_mult.len() - 1))
    }

    fn layers(&self, first: usize, depth: usize, channels: usize) -> Vec<AdapterLayer> {
        (first..first + depth).map(|i| AdapterLayer { index: 2 * i + 1, channels }).collect()
    }
}
