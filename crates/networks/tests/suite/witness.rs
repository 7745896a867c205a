//! candle-transformers as an independent witness: its networks beside ours on the same synthetic weights, where it is right.
//!
//! Not called as witnesses: its OpenCLIP bigG (the tanh approximation where the model was trained with the exact GELU), its
//! DINOv2 and Depth Anything (positions and features resized by nearest neighbours, another epsilon). On the CPU only.

use std::collections::HashMap;
use std::sync::Arc;

use crate::golden;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::{text_model, vision_model};
use candle_transformers::models::stable_diffusion::unet_2d::{
    BlockConfig, UNet2DConditionModel, UNet2DConditionModelConfig,
};
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};
use networks::clip::ClipActivation;
use networks::clip::text::{ClipText, ClipTextConfig};
use networks::clip::vision::{ClipVision, ClipVisionConfig};
use networks::unet::{UNet, UNetConfig};
use networks::vae::{Vae, VaeConfig};
use networks::weights::{Memory, Shapes};
use networks::{Result, Weights, synthetic};

type Tensors = HashMap<String, Tensor>;

/// Synthetic tensors for all that `load` asks for.
fn tensors(load: impl FnOnce(&Weights) -> Result<()>) -> Result<Tensors> {
    let blank = Weights::blank(DType::F32, &Device::Cpu);
    load(&blank)?;
    let shapes: Shapes = blank.asked();
    let source = synthetic::source("witness", &shapes)?;
    shapes.into_keys().map(|name| Ok((name.clone(), source.read(&name)?))).collect()
}

fn ours(tensors: &Tensors) -> Weights {
    Weights::new("synthetic", Arc::new(Memory(tensors.clone())), DType::F32, &Device::Cpu)
}

fn theirs(tensors: &Tensors) -> VarBuilder<'static> {
    VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu)
}

/// Values in ±1, the same on every run.
fn noise(name: &str, shape: &[usize]) -> Result<Tensor> {
    let values = synthetic::values("witness inputs", &format!("{name}.latents"), shape);
    Ok((Tensor::from_vec(values, shape, &Device::Cpu)? * 2.0)?)
}

/// Fails where the two differ by more than this share of the largest value.
#[track_caller]
fn close(what: &str, got: &Tensor, want: &Tensor, share: f64) -> Result<()> {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let largest = f64::from(want.abs()?.max_all()?.to_scalar::<f32>()?);
    let error = golden::largest_difference(got, want)? / largest;
    println!("{what}: {error:.1e} of the largest value");
    assert!(error <= share, "{what}: {error:e} of the largest value, more than {share:e}");
    Ok(())
}

#[test]
fn autoencoder() -> Result<()> {
    let config = VaeConfig { channels: 32, ..VaeConfig::sdxl() };
    let mut tensors = tensors(|w| Vae::load(&config, w).map(drop))?;
    // Theirs gives samples only. Without variance, a sample is the mean.
    let means = tensors["quant_conv.bias"].narrow(0, 0, 4)?;
    let no_variance = Tensor::full(-80f32, 4, &Device::Cpu)?;
    tensors.insert("quant_conv.bias".to_owned(), Tensor::cat(&[&means, &no_variance], 0)?);
    let vae = Vae::load(&config, &ours(&tensors))?;
    let witness = AutoEncoderKLConfig {
        block_out_channels: vec![32, 64, 128, 128],
        layers_per_block: config.res_blocks,
        latent_channels: 4,
        norm_num_groups: config.groups,
        use_quant_conv: true,
        use_post_quant_conv: true,
    };
    let witness = AutoEncoderKL::new(theirs(&tensors), 3, 3, witness)?;
    let picture = noise("picture", &[1, 3, 72, 104])?;
    close("encode", &vae.encode(&picture)?.mean, &witness.encode(&picture)?.sample()?, 2e-5)?;
    let latents = noise("latent", &[2, 4, 9, 13])?;
    // One by one: the attention of its autoencoder is wrong for a batch.
    let one = |i: usize| witness.decode(&latents.narrow(0, i, 1)?.contiguous()?);
    let want = Tensor::cat(&[one(0)?, one(1)?], 0)?;
    let batch = witness.decode(&latents)?;
    println!("theirs as a batch: {:.1e}", golden::largest_difference(&batch, &want)?);
    close("decode", &vae.decode(&latents)?, &want, 2e-5)
}

/// Theirs ends in the final normalisation, ours before the last layer: with one layer more, the same layers ran.
#[test]
fn clip_l_text_encoder() -> Result<()> {
    let config = ClipTextConfig {
        vocabulary: 500,
        width: 64,
        layers: 5,
        heads: 4,
        mlp: 256,
        ..ClipTextConfig::clip_l()
    };
    let tensors = tensors(|w| ClipText::load(&config, w).map(drop))?;
    let encoder = ClipText::load(&config, &ours(&tensors))?;
    let witness = text_model::ClipTextConfig {
        vocab_size: config.vocabulary,
        embed_dim: config.width,
        activation: text_model::Activation::QuickGelu,
        intermediate_size: config.mlp,
        max_position_embeddings: config.positions,
        pad_with: None,
        num_hidden_layers: config.layers - 1,
        num_attention_heads: config.heads,
        projection_dim: config.width,
    };
    let vs = theirs(&tensors).pp("text_model");
    let witness = text_model::ClipTextTransformer::new(vs, &witness)?;
    let chunks: Vec<Vec<u32>> =
        (0..2).map(|chunk| (0..77).map(|i| (37 * i + 101 * chunk) % 500).collect()).collect();
    let want = witness.forward_with_mask(&Tensor::new(chunks.clone(), &Device::Cpu)?, usize::MAX)?;
    let tensor = |name: &str| tensors[&format!("text_model.final_layer_norm.{name}")].clone();
    let norm = candle_nn::LayerNorm::new(tensor("weight"), tensor("bias"), 1e-5);
    close("states", &norm.forward(&encoder.forward(&chunks)?.penultimate)?, &want, 2e-5)
}

#[test]
fn clip_image_encoder() -> Result<()> {
    let config = ClipVisionConfig {
        image_size: 56,
        width: 64,
        layers: 4,
        heads: 4,
        mlp: 256,
        activation: ClipActivation::QuickGelu,
        projection: 40,
        ..ClipVisionConfig::vit_h()
    };
    let tensors = tensors(|w| ClipVision::load(&config, w).map(drop))?;
    let encoder = ClipVision::load(&config, &ours(&tensors))?;
    let witness = vision_model::ClipVisionConfig {
        embed_dim: config.width,
        activation: text_model::Activation::QuickGelu,
        intermediate_size: config.mlp,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        projection_dim: config.projection,
        num_channels: 3,
        image_size: config.image_size,
        patch_size: config.patch_size,
    };
    let vs = theirs(&tensors).pp("vision_model");
    let witness = vision_model::ClipVisionTransformer::new(vs, &witness)?;
    let pixels = noise("pixels", &[2, 3, 56, 56])?;
    let states = encoder.forward(&pixels)?;
    let hidden = witness.output_hidden_states(&pixels)?;
    close("penultimate", &states.penultimate, &hidden[config.layers - 2], 2e-5)?;
    let projection = &tensors["visual_projection.weight"];
    let want = witness.forward(&pixels)?.matmul(&projection.t()?)?;
    close("embedding", &states.embedding, &want, 2e-5)
}

/// Theirs knows no added conditioning: with zeros for its last layer, ours adds nothing either. Their gates take the tanh
/// approximation of the GELU, which is within 5e-4 of ours; hence the tolerance.
#[test]
fn unet() -> Result<()> {
    let config = UNetConfig { transformer_depth: vec![0, 1, 2], middle_depth: 2, ..golden::tiny_unet() };
    let mut tensors = tensors(|w| UNet::load(&config, w).map(drop))?;
    for name in ["add_embedding.linear_2.weight", "add_embedding.linear_2.bias"] {
        let zeros = tensors[name].zeros_like()?;
        tensors.insert(name.to_owned(), zeros);
    }
    let unet = UNet::load(&config, &ours(&tensors))?;
    let block = |level: usize| BlockConfig {
        out_channels: config.model_channels * config.channel_mult[level],
        use_cross_attn: Some(config.transformer_depth[level]).filter(|depth| *depth > 0),
        // So it calls the number of heads.
        attention_head_dim: config.model_channels * config.channel_mult[level] / config.head_dim,
    };
    let witness = UNet2DConditionModelConfig {
        blocks: (0..3).map(block).collect(),
        cross_attention_dim: config.context_dim,
        use_linear_projection: true,
        ..UNet2DConditionModelConfig::default()
    };
    let witness = UNet2DConditionModel::new(theirs(&tensors), 4, 4, false, witness)?;
    let text = noise("text", &[2, 77, config.context_dim])?;
    let context = unet.context(&text, None)?;
    let vector = noise("vector", &[2, config.vector_dim])?;
    for (timestep, [h, w]) in [(923.0, [16, 24]), (0.0, [9, 14])] {
        let x = noise("x", &[2, 4, h, w])?;
        let got = unet.forward(&x, timestep, &context, &vector, None)?;
        let want = witness.forward(&x, timestep, &text)?;
        close(&format!("prediction at {timestep}"), &got, &want, 1e-3)?;
    }
    Ok(())
}
