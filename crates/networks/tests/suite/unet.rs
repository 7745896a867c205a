//! The tiny UNet against the reference: plain, with T2I features, with image tokens, with both, at even and odd sizes.

use crate::golden::{self, Golden, weights};
use candle_core::{DType, Tensor};
use networks::clip::vision::{ClipVision, ImageStates};
use networks::ip_adapter::{IpAdapter, IpAdapterConfig};
use networks::t2i_adapter::T2iAdapter;
use networks::unet::{ImagePart, ImagePrompt, RegionMask, UNet, UNetConfig};
use networks::{Result, Weights};

/// Sigma and timestep of each case; the line-art adapter is active only at sigma ≥ 1.1629, its first 60 %.
const CASES: [(f64, f64); 3] = [(9.428068, 923.0), (1.2433521, 420.0), (0.0291671775, 0.0)];

/// The network's input of a case: x/√(sigma² + 1).
fn input(golden: &Golden, case: usize) -> Result<Tensor> {
    let sigma = CASES[case].0;
    Ok((golden.get(&format!("{case}.x")) / (sigma * sigma + 1.0).sqrt())?)
}

fn unet() -> Result<UNet> {
    unet_in(DType::F32)
}

fn unet_in(dtype: DType) -> Result<UNet> {
    let config = golden::tiny_unet();
    UNet::load(&config, &golden::tiny_checkpoint()?.unet(&config, dtype, &golden::device())?)
}

/// The hint scaled to 16·ceil(size/16) of the latent's picture: centre crop to the aspect ratio, nearest-exact
/// (ComfyUI's `T2IAdapter`).
fn scaled_hint(hint: &Tensor, latent: (usize, usize)) -> Result<Tensor> {
    let (_, _, h, w) = hint.dims4()?;
    let (to_h, to_w) = ((8 * latent.0).next_multiple_of(16), (8 * latent.1).next_multiple_of(16));
    let (old, new) = (w as f64 / h as f64, to_w as f64 / to_h as f64);
    let margin = |size: usize, ratio: f64| ((size as f64 * (1.0 - ratio)) / 2.0).round_ties_even() as usize;
    let (y, x) = if old > new { (0, margin(w, new / old)) } else { (margin(h, old / new), 0) };
    let index = |from: usize, input: usize, out: usize| {
        let scale = input as f32 / out as f32;
        let at = |i| (((i as f32 + 0.5) * scale) as usize).min(input - 1) + from;
        Tensor::from_vec((0..out).map(|i| at(i) as u32).collect::<Vec<_>>(), out, &golden::device())
    };
    let rows = hint.index_select(&index(y, h - 2 * y, to_h)?, 2)?;
    Ok(rows.index_select(&index(x, w - 2 * x, to_w)?, 3)?)
}

fn features(golden: &Golden, case: usize, line_art: bool) -> Result<Vec<Tensor>> {
    let (_, _, h, w) = golden.get(&format!("{case}.x")).dims4()?;
    let run = |model: &str, hint: &str, strength: f64| -> Result<Vec<Tensor>> {
        let adapter = T2iAdapter::load(&golden::tiny_t2i(), &weights(model)?)?;
        let hint = scaled_hint(&golden.picture(&format!("{case}.{hint}"))?, (h, w))?;
        adapter.forward(&hint)?.iter().map(|f| Ok((f * strength)?)).collect()
    };
    let depth = run("t2i_depth_tiny", "depth_hint_u8", 0.9)?;
    if !line_art {
        return Ok(depth);
    }
    let lines = run("t2i_lineart_tiny", "lineart_hint_u8", 0.35)?;
    depth.iter().zip(&lines).map(|(a, b)| Ok((a + b)?)).collect()
}

/// Conditional and unconditional image prompts of a material.
fn prompts(config: &IpAdapterConfig, model: &str, picture: &Tensor) -> Result<[ImagePrompt; 2]> {
    let vision = ClipVision::load(&golden::tiny_vision(), &weights("clip_vision_tiny")?)?;
    let adapter = IpAdapter::load(config, &golden::tiny_unet().style_layers(), &weights(model)?)?;
    let material: ImageStates = vision.forward(&golden::clip_pixels(picture)?)?;
    let black = vision.forward(&golden::black_pixels()?)?;
    let prompt = |tokens: Tensor| -> Result<ImagePrompt> {
        Ok(ImagePrompt { parts: vec![adapter.prompt(&tokens, 1.0, None)?] })
    };
    Ok([prompt(adapter.tokens(&material)?)?, prompt(adapter.empty_tokens(|| Ok(black))?)?])
}

#[test]
fn every_block_of_the_plain_network() -> Result<()> {
    let (golden, unet) = (Golden::open("unet")?, unet()?);
    let context = unet.context(&golden.get("context"), None)?;
    let mut seen = 0;
    let mut observe = |name: &str, x: &Tensor| -> Result<()> {
        let name = match name {
            "time" => "time_embed",
            "vector" => "label_emb",
            block => block,
        };
        seen += 1;
        golden.compare(&format!("0.plain.act.{name}"), x, 2e-4)
    };
    unet.forward_observed(&input(&golden, 0)?, CASES[0].1, &context, &golden.get("0.y"), None, &mut observe)?;
    assert_eq!(seen, 21);
    Ok(())
}

#[test]
fn predictions_of_every_combination() -> Result<()> {
    let (golden, unet) = (Golden::open("unet")?, unet()?);
    let text = golden.get("context");
    for (case, (sigma, timestep)) in CASES.into_iter().enumerate() {
        let (x, y) = (input(&golden, case)?, golden.get(&format!("{case}.y")));
        let features = features(&golden, case, sigma >= 1.1629)?;
        let material = golden.picture(&format!("{case}.material_u8"))?;
        let standard = prompts(&golden::tiny_standard(), "ipadapter_standard_tiny", &material)?;
        let plus = prompts(&golden::tiny_plus(), "ipadapter_plus_tiny", &material)?;
        let check = |name: &str, image: Option<&ImagePrompt>, features: Option<&[Tensor]>| {
            let context = unet.context(&text, image)?;
            let eps = unet.forward(&x, timestep, &context, &y, features)?;
            golden.compare(&format!("{case}.{name}.eps"), &eps, 3e-5)
        };
        check("plain", None, None)?;
        check("t2i", None, Some(&features))?;
        for (name, [cond, uncond]) in [("ip_standard", &standard), ("ip_plus", &plus)] {
            check(&format!("{name}.cond"), Some(cond), None)?;
            check(&format!("{name}.uncond"), Some(uncond), None)?;
            check(&format!("{name}_t2i.cond"), Some(cond), Some(&features))?;
        }
    }
    Ok(())
}

/// In the formats that GPUs compute in, with features left in f32.
#[test]
fn half_precision_stays_close() -> Result<()> {
    let golden = Golden::open("unet")?;
    let features = features(&golden, 0, true)?;
    let material = golden.picture("0.material_u8")?;
    let [cond, _] = prompts(&golden::tiny_plus(), "ipadapter_plus_tiny", &material)?;
    for (dtype, tolerance) in [(DType::F16, 1e-2), (DType::BF16, 1e-1)] {
        let unet = unet_in(dtype)?;
        let mut cond = cond.clone();
        for (k, v) in cond.parts.iter_mut().flat_map(|part| part.layers.values_mut()) {
            (*k, *v) = (k.to_dtype(dtype)?, v.to_dtype(dtype)?);
        }
        let context = unet.context(&golden.get("context").to_dtype(dtype)?, Some(&cond))?;
        let y = golden.get("0.y").to_dtype(dtype)?;
        let eps = unet.forward(&input(&golden, 0)?, CASES[0].1, &context, &y, Some(&features))?;
        golden.compare("0.ip_plus_t2i.cond.eps", &eps, tolerance)?;
    }
    Ok(())
}

/// A batch of two gives what two calls give.
#[test]
fn batches_are_independent() -> Result<()> {
    let (golden, unet) = (Golden::open("unet")?, unet()?);
    let (x, y, text) = (golden.get("2.x"), golden.get("2.y"), golden.get("context"));
    let other = (&x * 0.5)?;
    let call =
        |x: &Tensor, text: &Tensor, y: &Tensor| unet.forward(x, 100.0, &unet.context(text, None)?, y, None);
    let twice = |t: &Tensor| Tensor::cat(&[t, t], 0);
    let both = call(&Tensor::cat(&[&x, &other], 0)?, &twice(&text)?, &twice(&y)?)?;
    let apart = Tensor::cat(&[call(&x, &text, &y)?, call(&other, &text, &y)?], 0)?;
    assert!(golden::largest_difference(&both, &apart)? < 1e-5);
    Ok(())
}

#[test]
fn adapter_layers_are_numbered_down_up_middle() {
    let config = UNetConfig::sdxl();
    let layers = config.adapter_layers();
    assert_eq!(layers.len(), 70);
    assert!(layers.iter().enumerate().all(|(i, layer)| layer.index == 2 * i + 1));
    let narrow = |k: usize| matches!(k, 1..=7 | 109..=119);
    assert!(layers.iter().all(|l| l.channels == if narrow(l.index) { 640 } else { 1280 }));
    let style: Vec<usize> = config.style_layers().iter().map(|layer| layer.index).collect();
    assert_eq!(style, (69..=87).step_by(2).collect::<Vec<_>>());
}

#[test]
fn full_size_has_sdxl_s_parameters() -> Result<()> {
    let blank = Weights::blank(DType::F16, &golden::device());
    UNet::load(&UNetConfig::sdxl(), &blank)?;
    assert_eq!(blank.asked().len(), 1680);
    assert_eq!(golden::parameters(&blank.asked()), 2_567_463_684);
    Ok(())
}

/// A mask of ones changes nothing, of zeros leaves the plain network, and two halves add up where each counts.
#[test]
fn regions_of_image_prompts() -> Result<()> {
    let (golden, unet) = (Golden::open("unet")?, unet()?);
    let material = golden.picture("0.material_u8")?;
    let [cond, uncond] = prompts(&golden::tiny_plus(), "ipadapter_plus_tiny", &material)?;
    let x = input(&golden, 0)?;
    let (_, _, height, width) = x.dims4()?;
    let levels = |value: &dyn Fn(f64) -> f32| -> Result<RegionMask> {
        let (mut h, mut w, mut levels) = (height, width, Vec::new());
        for _ in 0..4 {
            let row: Vec<f32> = (0..w).map(|x| value((x as f64 + 0.5) / w as f64)).collect();
            levels.push(Tensor::from_vec(row, (1, w), x.device())?.repeat((h, 1))?);
            (h, w) = (h.div_ceil(2), w.div_ceil(2));
        }
        RegionMask::new(&levels)
    };
    let part =
        |prompt: &ImagePrompt, region: Option<RegionMask>| ImagePart { region, ..prompt.parts[0].clone() };
    let eps = |parts: Vec<ImagePart>| -> Result<Vec<f32>> {
        let context = unet.context(&golden.get("context"), Some(&ImagePrompt { parts }))?;
        let eps = unet.forward(&x, CASES[0].1, &context, &golden.get("0.y"), None)?;
        Ok(eps.flatten_all()?.to_vec1()?)
    };
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let plain = eps(Vec::new())?;
    let whole = eps(vec![part(&cond, None)])?;
    assert!(apart(&plain, &whole) > 1e-4);
    assert!(apart(&whole, &eps(vec![part(&cond, Some(levels(&|_| 1.0)?))])?) < 1e-5);
    assert!(apart(&plain, &eps(vec![part(&cond, Some(levels(&|_| 0.0)?))])?) < 1e-5);
    let left = || levels(&|at| f32::from(u8::from(at < 0.5)));
    let right = || levels(&|at| f32::from(u8::from(at >= 0.5)));
    let same = eps(vec![part(&cond, Some(left()?)), part(&cond, Some(right()?))])?;
    assert!(apart(&whole, &same) < 1e-5, "the same picture on both sides");
    let two = eps(vec![part(&cond, Some(left()?)), part(&uncond, Some(right()?))])?;
    assert!(apart(&whole, &two) > 1e-4 && apart(&two, &eps(vec![part(&uncond, None)])?) > 1e-4);
    Ok(())
}
