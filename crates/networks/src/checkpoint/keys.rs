//! Names of single-file SDXL checkpoints (Stability's generative-models, as Automatic1111 and ComfyUI use them) in the
//! words of diffusers and transformers. A name that is not understood gives None and is reported as extra.

use crate::weights::Change;

/// The UNet, without `model.diffusion_model.`; `res_blocks` is the number of residual blocks of a level on the way down.
pub(crate) fn unet(name: &str, res_blocks: usize) -> Option<String> {
    let whole = [
        ("input_blocks.0.0.", "conv_in."),
        ("out.0.", "conv_norm_out."),
        ("out.2.", "conv_out."),
        ("time_embed.0.", "time_embedding.linear_1."),
        ("time_embed.2.", "time_embedding.linear_2."),
        ("label_emb.0.0.", "add_embedding.linear_1."),
        ("label_emb.0.2.", "add_embedding.linear_2."),
    ];
    if let Some(found) = whole.iter().find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)))
    {
        return Some(found);
    }
    if let Some(rest) = name.strip_prefix("middle_block.") {
        let (part, rest) = rest.split_once('.')?;
        return match part {
            "0" => Some(format!("mid_block.resnets.0.{}", res_block(rest)?)),
            "1" => Some(format!("mid_block.attentions.0.{rest}")),
            "2" => Some(format!("mid_block.resnets.1.{}", res_block(rest)?)),
            _ => None,
        };
    }
    let (side, blocks, first) = match name.split_once('.')? {
        ("input_blocks", rest) => ("down", rest, 1),
        ("output_blocks", rest) => ("up", rest, 0),
        _ => return None,
    };
    let (number, rest) = blocks.split_once('.')?;
    let (part, rest) = rest.split_once('.')?;
    let number = number.parse::<usize>().ok()?.checked_sub(first)?;
    let (level, i) = (number / (res_blocks + 1), number % (res_blocks + 1));
    let block = format!("{side}_blocks.{level}");
    if let Some(rest) = rest.strip_prefix("op.").filter(|_| side == "down" && i == res_blocks) {
        return Some(format!("{block}.downsamplers.0.conv.{rest}"));
    }
    if let Some(rest) = rest.strip_prefix("conv.").filter(|_| side == "up" && i == res_blocks) {
        return Some(format!("{block}.upsamplers.0.conv.{rest}"));
    }
    match part {
        "0" => Some(format!("{block}.resnets.{i}.{}", res_block(rest)?)),
        "1" => Some(format!("{block}.attentions.{i}.{rest}")),
        _ => None,
    }
}

/// Inside a residual block of the UNet.
fn res_block(name: &str) -> Option<String> {
    let parts = [
        ("in_layers.0.", "norm1."),
        ("in_layers.2.", "conv1."),
        ("emb_layers.1.", "time_emb_proj."),
        ("out_layers.0.", "norm2."),
        ("out_layers.3.", "conv2."),
        ("skip_connection.", "conv_shortcut."),
    ];
    parts.iter().find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)))
}

/// The autoencoder, without `first_stage_model.`; `levels` is the number of levels.
pub(crate) fn vae(name: &str, levels: usize) -> Option<(String, Change)> {
    let name = name.replace("nin_shortcut", "conv_shortcut").replace(".norm_out.", ".conv_norm_out.");
    let (half, rest) = match name.split_once('.')? {
        (half @ ("encoder" | "decoder"), rest) => (half, rest),
        _ => return Some((name, Change::Keep)),
    };
    if let Some(rest) = rest.strip_prefix("mid.") {
        let (new, change) = middle(rest)?;
        return Some((format!("{half}.mid_block.{new}"), change));
    }
    let (number, rest) = match rest.strip_prefix("down.").or(rest.strip_prefix("up.")) {
        Some(rest) => rest.split_once('.')?,
        None => return Some((name, Change::Keep)),
    };
    let number = number.parse::<usize>().ok()?;
    let (side, number, sampler) = match half {
        "encoder" => ("down", number, "downsample"),
        _ => ("up", levels.checked_sub(1 + number)?, "upsample"),
    };
    let rest = match rest.strip_prefix("block.") {
        Some(rest) => format!("resnets.{rest}"),
        None => format!("{sampler}rs.0.{}", rest.strip_prefix(sampler)?.strip_prefix('.')?),
    };
    Some((format!("{half}.{side}_blocks.{number}.{rest}"), Change::Keep))
}

/// The autoencoder's middle: its attention is made of 1×1 convolutions here and of linear maps there.
fn middle(name: &str) -> Option<(String, Change)> {
    let (part, rest) = name.split_once('.')?;
    let resnet = |i: usize| Some((format!("resnets.{i}.{rest}"), Change::Keep));
    match part {
        "block_1" => resnet(0),
        "block_2" => resnet(1),
        "attn_1" => {
            let (layer, role) = rest.split_once('.')?;
            let layer = match layer {
                "norm" => "group_norm",
                "q" => "to_q",
                "k" => "to_k",
                "v" => "to_v",
                "proj_out" => "to_out.0",
                _ => return None,
            };
            let weight = layer.starts_with("to_") && role == "weight";
            let change = if weight { Change::Flatten } else { Change::Keep };
            Some((format!("attentions.0.{layer}.{role}"), change))
        }
        _ => None,
    }
}

/// The attention of autoencoders saved by diffusers before 0.15.
pub(crate) fn older_vae(name: &str) -> String {
    let renamed =
        [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];
    if !name.contains(".attentions.") {
        return name.to_owned();
    }
    renamed.iter().fold(name.to_owned(), |name, (old, new)| name.replace(old, new))
}

/// OpenCLIP's text encoder, without `conditioner.embedders.1.model.`: its fused projections give three tensors each.
pub(crate) fn open_clip(name: &str) -> Option<Vec<(String, Change)>> {
    let keep = |name: String| Some(vec![(name, Change::Keep)]);
    match name {
        "token_embedding.weight" => return keep("text_model.embeddings.token_embedding.weight".to_owned()),
        "positional_embedding" => return keep("text_model.embeddings.position_embedding.weight".to_owned()),
        "text_projection" => return Some(vec![("text_projection.weight".to_owned(), Change::Transpose)]),
        "logit_scale" => return keep("logit_scale".to_owned()),
        _ => {}
    }
    if let Some(role) = name.strip_prefix("ln_final.") {
        return keep(format!("text_model.final_layer_norm.{role}"));
    }
    let (layer, rest) = name.strip_prefix("transformer.resblocks.")?.split_once('.')?;
    let layer = format!("text_model.encoder.layers.{layer}");
    if let Some(role) = rest.strip_prefix("attn.in_proj_") {
        let part =
            |(part, which)| (format!("{layer}.self_attn.{which}_proj.{role}"), Change::Rows { part, of: 3 });
        return Some(["q", "k", "v"].into_iter().enumerate().map(part).collect());
    }
    let parts = [
        ("ln_1.", "layer_norm1."),
        ("ln_2.", "layer_norm2."),
        ("mlp.c_fc.", "mlp.fc1."),
        ("mlp.c_proj.", "mlp.fc2."),
        ("attn.out_proj.", "self_attn.out_proj."),
    ];
    let (old, new) = parts.iter().find(|(old, _)| rest.starts_with(old))?;
    keep(format!("{layer}.{new}{}", &rest[old.len()..]))
}
