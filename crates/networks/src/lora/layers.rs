//! Which network and which of its layers a key of a LoRA file means.
//!
//! Tools agree on the names of layers (a single file's or diffusers', with `.` or `_` between the words) and not on what they
//! put before them.

use super::LoraPart;
use crate::checkpoint::keys;

/// One of SDXL's networks that LoRAs change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    UNet,
    ClipL,
    ClipG,
}

impl Network {
    pub(super) fn is(self, part: LoraPart) -> bool {
        matches!(
            (self, part),
            (Self::UNet, LoraPart::UNet { .. })
                | (Self::ClipL, LoraPart::ClipL)
                | (Self::ClipG, LoraPart::ClipG)
        )
    }
}

/// What stands before the names: kohya's scripts, the same with dots, LyCORIS, diffusers, ComfyUI.
const PREFIXES: [(&str, Network); 16] = [
    ("lora_unet_", Network::UNet),
    ("lora_unet.", Network::UNet),
    ("lycoris_unet_", Network::UNet),
    ("unet.", Network::UNet),
    ("model.diffusion_model.", Network::UNet),
    ("diffusion_model.", Network::UNet),
    ("lora_te1_", Network::ClipL),
    ("lora_te1.", Network::ClipL),
    ("text_encoder.", Network::ClipL),
    ("text_encoders.clip_l.transformer.", Network::ClipL),
    ("clip_l.transformer.", Network::ClipL),
    ("lora_te2_", Network::ClipG),
    ("lora_te2.", Network::ClipG),
    ("text_encoder_2.", Network::ClipG),
    ("text_encoders.clip_g.transformer.", Network::ClipG),
    ("clip_g.transformer.", Network::ClipG),
];

/// What the UNet's own layers begin with: only one network has these, so that nothing need stand before them.
const UNET: [&str; 12] = [
    "conv_in",
    "conv_out",
    "time_embedding",
    "add_embedding",
    "down_blocks",
    "mid_block",
    "up_blocks",
    "input_blocks",
    "middle_block",
    "output_blocks",
    "time_embed",
    "label_emb",
];

/// The network that a layer belongs to and the layer's name there, with `_` for `.`; `None` if that cannot be told.
pub(super) fn place(layer: &str) -> Option<(Network, String)> {
    let layer = layer.strip_prefix("base_model.model.").unwrap_or(layer); // PEFT's wrapping
    let known = PREFIXES.iter().find_map(|(prefix, network)| Some((*network, layer.strip_prefix(prefix)?)));
    let (network, name) = match known {
        Some(known) => known,
        None => {
            let name = layer.strip_prefix("lycoris_").unwrap_or(layer);
            let begins =
                |first: &str| name.strip_prefix(first).is_some_and(|rest| rest.starts_with(['.', '_']));
            UNET.iter().any(|first| begins(first)).then_some((Network::UNet, name))?
        }
    };
    // Old diffusers files put the factors into attention processors, and leave out the number of the one output.
    let flat = name.replace(".processor.", ".").replace('.', "_");
    Some((network, if flat.ends_with("_to_out") { flat + "_0" } else { flat }))
}

/// A layer's name in diffusers' or transformers' words.
pub(super) fn in_diffusers(flat: &str, part: LoraPart) -> String {
    let renamed = match part {
        LoraPart::UNet { res_blocks } => from_single_file(flat, res_blocks),
        LoraPart::ClipL | LoraPart::ClipG => None,
    };
    renamed.unwrap_or_else(|| flat.to_owned())
}

/// A flattened single-file name (`input_blocks_4_1_proj_in`) as a flattened diffusers name.
fn from_single_file(flat: &str, res_blocks: usize) -> Option<String> {
    // The groups, and the numbers that follow each: input_blocks.4.1.proj_in.
    let groups = [
        ("input_blocks", 2),
        ("output_blocks", 2),
        ("middle_block", 1),
        ("time_embed", 1),
        ("label_emb", 1),
        ("out", 1),
    ];
    let (group, numbers, rest) = groups
        .into_iter()
        .find_map(|(group, numbers)| Some((group, numbers, flat.strip_prefix(group)?.strip_prefix('_')?)))?;
    let rest = rest.replacen('_', ".", numbers).replace("_layers_", "_layers.");
    let diffusers = keys::unet(&format!("{group}.{rest}."), res_blocks)?;
    Some(diffusers.trim_end_matches('.').replace('.', "_"))
}
