//! T2I adapters, depth and line art against the reference, and full-size dimensions.

use crate::golden::{self, Golden, weights};
use candle_core::{DType, Tensor};
use networks::depth::dinov2::DinoConfig;
use networks::depth::dpt::DptConfig;
use networks::depth::{DepthAnything, DepthConfig, transformers_names};
use networks::line_art::{LineArt, LineArtConfig};
use networks::t2i_adapter::{T2iAdapter, T2iConfig};
use networks::{Result, Weights};

#[test]
fn t2i_features() -> Result<()> {
    let golden = Golden::open("t2i")?;
    for adapter in ["depth", "lineart"] {
        let net = T2iAdapter::load(&golden::tiny_t2i(), &weights(&format!("t2i_{adapter}_tiny"))?)?;
        for case in 0..3 {
            let hint = golden.get(&format!("{case}.{adapter}.hint_scaled_u8")).to_dtype(DType::F32)?;
            let features = net.forward(&(hint / 255.0)?.unsqueeze(0)?)?;
            assert_eq!(features.len(), 4);
            for (i, feature) in features.iter().enumerate() {
                golden.compare(&format!("{case}.{adapter}.F{i}"), feature, 3e-5)?;
            }
        }
    }
    Ok(())
}

fn depth() -> Result<DepthAnything> {
    let config = DepthConfig {
        backbone: DinoConfig { width: 64, depth: 6, heads: 4, ..DinoConfig::large() },
        head: DptConfig { features: 32, out_channels: [24, 40, 48, 56] },
    };
    let source = transformers_names(golden::source("depth_tiny")?);
    DepthAnything::load(&config, &Weights::new("depth_tiny", source, DType::F32, &golden::device()))
}

/// Every seventh token, as the golden samples positions.
fn every_seventh(x: &Tensor) -> Result<Tensor> {
    let index = Tensor::arange_step(0u32, x.dim(1)? as u32, 7, &golden::device())?;
    Ok(x.index_select(&index, 1)?)
}

#[test]
fn depth_network() -> Result<()> {
    let (golden, net) = (Golden::open("depth")?, depth()?);
    golden.compare("net.pos_embed", &net.backbone().positions_for(5, 7)?, 2e-5)?;
    golden.compare("pos_embed_37x46", &every_seventh(&net.backbone().positions_for(37, 46)?)?, 2e-5)?;
    let x = golden.get("net.x");
    for (i, feature) in net.backbone().features(&x)?.iter().enumerate() {
        golden.compare(&format!("net.feat{i}"), feature, 3e-5)?;
    }
    golden.compare("net.depth", &net.forward(&x)?, 2e-5)?;
    assert!(net.forward(&x.narrow(3, 0, 97)?).is_err(), "97 is no multiple of 14");
    Ok(())
}

#[test]
fn line_art_network() -> Result<()> {
    let golden = Golden::open("lineart")?;
    let net = LineArt::load(&LineArtConfig::default(), &weights("lineart_full")?)?;
    golden.compare("net.y", &net.forward(&golden.get("net.x"))?, 1e-5)
}

/// The whole node from its padded input on: u8 picture, network, u8 drawing with white lines.
#[test]
fn line_art_picture() -> Result<()> {
    let open = |name: &str| image::open(golden::path(&format!("stages/{name}"))).unwrap();
    let (input, want) = (open("lineart_pre0_padded.png").to_rgb8(), open("lineart_full_512.png").to_luma8());
    let (w, h) = (input.width() as usize, input.height() as usize);
    let x = Tensor::from_vec(input.into_raw(), (h, w, 3), &golden::device())?.to_dtype(DType::F32)?;
    let x = (x.permute((2, 0, 1))?.contiguous()? / 255.0)?.unsqueeze(0)?;
    let net = LineArt::load(&LineArtConfig::default(), &weights("lineart_full")?)?;
    let drawing: Vec<f32> = net.forward(&x)?.flatten_all()?.to_vec1()?;
    let lines = drawing.iter().map(|v| 255 - (v * 255.0).clamp(0.0, 255.0) as i32);
    let differences: Vec<i32> = lines.zip(want.as_raw()).map(|(a, b)| (a - i32::from(*b)).abs()).collect();
    assert_eq!(differences.len(), want.as_raw().len());
    let off = differences.iter().filter(|d| **d > 0).count() as f64 / differences.len() as f64;
    println!("line art: {:.4} % of the pixels off by one", 100.0 * off);
    assert!(differences.iter().all(|d| *d <= 1) && off < 0.005);
    Ok(())
}

#[test]
fn full_size_parameters() -> Result<()> {
    let blank = || Weights::blank(DType::F32, &golden::device());
    let (t2i, depth, lines) = (blank(), blank(), blank());
    T2iAdapter::load(&T2iConfig::xl(), &t2i)?;
    assert_eq!(golden::parameters(&t2i.asked()), 79_028_160);
    DepthAnything::load(&DepthConfig::large(), &depth)?;
    assert_eq!(golden::parameters(&depth.asked()), 335_315_649);
    LineArt::load(&LineArtConfig::default(), &lines)?;
    assert_eq!(golden::parameters(&lines.asked()), 4_290_945);
    Ok(())
}
