//! The tiny image encoder and both IP-Adapters against the reference, and full-size dimensions.

use crate::golden::{self, Golden, weights};
use candle_core::{DType, Tensor};
use networks::clip::vision::{ClipVision, ClipVisionConfig};
use networks::ip_adapter::{IpAdapter, IpAdapterConfig};
use networks::unet::UNetConfig;
use networks::{Result, Weights};

fn vision() -> Result<ClipVision> {
    ClipVision::load(&golden::tiny_vision(), &weights("clip_vision_tiny")?)
}

/// Tokens 0, 16, 32, … as the golden samples them.
fn sample(penultimate: &Tensor) -> Result<Tensor> {
    Ok(penultimate.index_select(&Tensor::arange_step(0u32, 257, 16, &golden::device())?, 1)?)
}

#[test]
fn image_states() -> Result<()> {
    let (golden, vision) = (Golden::open("clip_vision")?, vision()?);
    let states = vision.forward(&golden.get("0.pixels"))?;
    golden.compare("0.image_embeds", &states.embedding, 1e-5)?;
    golden.compare("0.penultimate_sub", &sample(&states.penultimate)?, 1e-5)?;
    let black = vision.forward(&golden::black_pixels()?)?;
    golden.compare("black.penultimate_sub", &sample(&black.penultimate)?, 1e-5)
}

#[test]
fn tokens_keys_and_values() -> Result<()> {
    let (golden, vision) = (Golden::open("clip_vision")?, vision()?);
    let (material, black) =
        (vision.forward(&golden.get("0.pixels"))?, vision.forward(&golden::black_pixels()?)?);
    for (name, config) in [("standard", golden::tiny_standard()), ("plus", golden::tiny_plus())] {
        let layers = golden::tiny_unet().style_layers();
        let adapter = IpAdapter::load(&config, &layers, &weights(&format!("ipadapter_{name}_tiny"))?)?;
        let tokens = adapter.tokens(&material)?;
        golden.compare(&format!("0.{name}.cond_tokens"), &tokens, 1e-5)?;
        golden.compare(
            &format!("0.{name}.uncond_tokens"),
            &adapter.empty_tokens(|| Ok(black.clone()))?,
            1e-5,
        )?;
        let prompt = adapter.prompt(&tokens, 1.0, None)?;
        for index in [69, 87] {
            let (k, v) = &prompt.layers[&index];
            golden.compare(&format!("{name}.K_ip_{index}"), k, 1e-5)?;
            golden.compare(&format!("{name}.V_ip_{index}"), v, 1e-5)?;
        }
    }
    Ok(())
}

/// From the pictures themselves; where 8-bit rounding flips, pixels are off by one step and tokens by a little.
#[test]
fn tokens_from_pictures() -> Result<()> {
    let (golden, vision) = (Golden::open("clip_vision")?, vision()?);
    let layers = golden::tiny_unet().style_layers();
    let load = |config: IpAdapterConfig, model| IpAdapter::load(&config, &layers, &weights(model)?);
    let standard = load(golden::tiny_standard(), "ipadapter_standard_tiny")?;
    let plus = load(golden::tiny_plus(), "ipadapter_plus_tiny")?;
    for case in 0..3 {
        let pixels = golden::clip_pixels(&golden.picture(&format!("{case}.image_u8"))?)?;
        let states = vision.forward(&pixels)?;
        golden.compare(&format!("{case}.image_embeds"), &states.embedding, 2e-4)?;
        golden.compare(&format!("{case}.standard.cond_tokens"), &standard.tokens(&states)?, 2e-4)?;
        golden.compare(&format!("{case}.plus.cond_tokens"), &plus.tokens(&states)?, 2e-4)?;
    }
    Ok(())
}

#[test]
fn adapters_take_all_seventy_layers_too() -> Result<()> {
    let layers = golden::tiny_unet().adapter_layers();
    let w = weights("ipadapter_standard_tiny")?;
    let adapter = IpAdapter::load(&golden::tiny_standard(), &layers, &w)?;
    let tokens = Tensor::zeros((1, 4, 80), DType::F32, &golden::device())?;
    assert_eq!(adapter.prompt(&tokens, 1.0, None)?.layers.len(), 70);
    Ok(())
}

#[test]
fn full_size_parameters() -> Result<()> {
    let blank = || Weights::blank(DType::F16, &golden::device());
    let vision = blank();
    ClipVision::load(&ClipVisionConfig::vit_h(), &vision)?;
    assert_eq!(golden::parameters(&vision.asked()), 632_076_800);
    let all = UNetConfig::sdxl().adapter_layers();
    for (config, projection) in
        [(IpAdapterConfig::standard(), 8_400_896), (IpAdapterConfig::plus(), 82_961_664)]
    {
        let w = blank();
        IpAdapter::load(&config, &all, &w)?;
        let (layers, image): (golden::Shapes, golden::Shapes) =
            w.asked().into_iter().partition(|(name, _)| name.starts_with("ip_adapter."));
        assert_eq!(golden::parameters(&image), projection);
        assert_eq!((layers.len(), golden::parameters(&layers)), (140, 340_787_200));
    }
    Ok(())
}
