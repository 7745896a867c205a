//! U²-Netp with synthetic weights against the reference network, and the full network's dimensions.

use crate::golden::{self, Golden, weights};
use candle_core::{DType, Tensor};
use networks::u2net::{U2Net, U2NetConfig};
use networks::{Error, Result, Weights};

/// rembg's normalisation of a 320×320 picture: division by its maximum, then ImageNet mean and deviation.
fn normalise(picture: &Tensor) -> Result<Tensor> {
    let x = (picture / f64::from(picture.max_all()?.to_scalar::<f32>()?))?;
    let channel = |values: [f32; 3]| Tensor::new(&values, &golden::device())?.reshape((1, 3, 1, 1));
    let x = x.broadcast_sub(&channel([0.485, 0.456, 0.406])?)?;
    Ok(x.broadcast_div(&channel([0.229, 0.224, 0.225])?)?)
}

#[test]
fn small_input_of_odd_size() -> Result<()> {
    let golden = Golden::open("u2netp")?;
    let net = U2Net::load(&U2NetConfig::u2netp(), &weights("u2netp_synth")?)?;
    let x = golden.get("small.x");
    golden.compare("small.d0", &net.forward(&x)?, 5e-5)?;
    let logits = net.side_logits(&net.stages(&x)?)?;
    golden.compare("small.d6", &kernels::sigmoid(&logits[5])?, 5e-6)
}

#[test]
fn every_stage_at_320() -> Result<()> {
    let golden = Golden::open("u2netp")?;
    // The picture of u2netp's golden is the first of rembg's; that file holds its 320×320 form.
    let rembg = Golden::open("rembg")?;
    assert_eq!(golden::largest_difference(&golden.get("image_u8"), &rembg.get("0.image_u8"))?, 0.0);
    let x = normalise(&rembg.picture("0.lanczos320_u8")?)?;
    rembg.compare("0.net_input", &x, 1e-6)?;

    let net = U2Net::load(&U2NetConfig::u2netp(), &weights("u2netp_synth")?)?;
    let stages = net.stages(&x)?;
    let encoder = (1..=6).map(|k| format!("stage{k}")).zip(&stages.encoder);
    let decoder = (1..=5).rev().map(|k| format!("stage{k}d")).zip(&stages.decoder);
    for (name, features) in encoder.chain(decoder) {
        let first = features.get(0)?.get(0)?;
        let (h, w) = first.dims2()?;
        let every = |n: usize| Tensor::arange_step(0u32, n as u32, (n as u32 / 40).max(1), &golden::device());
        let sample = first.index_select(&every(h)?, 0)?.index_select(&every(w)?, 1)?;
        golden.compare(&format!("act.{name}.ch0_sub"), &sample, 2e-5)?;
    }
    let logits = net.side_logits(&stages)?;
    golden.compare("d0", &net.fuse(&logits)?, 5e-5)?;
    golden.compare("d1", &kernels::sigmoid(&logits[0])?, 5e-6)?;
    golden.compare("d6", &kernels::sigmoid(&logits[5])?, 5e-6)
}

/// Folding the normalisation into the convolution by hand gives a file without `bn_s1`, and the same network.
#[test]
fn folded_weights_load_as_they_are() -> Result<()> {
    let unfolded = weights("u2netp_synth")?;
    let net = U2Net::load(&U2NetConfig::u2netp(), &unfolded)?;
    let mut folded = std::collections::HashMap::new();
    for (name, shape) in unfolded.asked().into_iter().filter(|(name, _)| !name.contains("bn_s1")) {
        let mut tensor = unfolded.get(&name, &shape)?;
        if let Some((block, role)) = name.split_once(".conv_s1.") {
            let bn = unfolded.at(block).at("bn_s1");
            let get = |name| bn.get(name, &shape[..1]);
            let scale = (get("weight")? / (get("running_var")? + 1e-5)?.sqrt()?)?;
            tensor = match role {
                "weight" => tensor.broadcast_mul(&scale.reshape((shape[0], 1, 1, 1))?)?,
                _ => (((tensor - get("running_mean")?)? * scale)? + get("bias")?)?,
            };
        }
        folded.insert(name, tensor);
    }
    let source = std::sync::Arc::new(networks::weights::Memory(folded));
    let folded = Weights::new("folded", source, DType::F32, &golden::device());
    let folded = U2Net::load(&U2NetConfig::u2netp(), &folded)?;
    let x = Golden::open("u2netp")?.get("small.x");
    assert!(golden::largest_difference(&net.forward(&x)?, &folded.forward(&x)?)? < 1e-6);
    Ok(())
}

/// Trained parameters: weights and biases, without the normalisation's running statistics.
#[test]
fn parameter_counts() -> Result<()> {
    for (config, parameters) in [(U2NetConfig::u2net(), 44_009_869), (U2NetConfig::u2netp(), 1_131_181)] {
        let blank = Weights::blank(DType::F32, &golden::device());
        U2Net::load(&config, &blank)?;
        let asked = blank.asked();
        assert_eq!(asked.len(), 686);
        let trained = asked.iter().filter(|(name, _)| !name.contains("running_"));
        assert_eq!(trained.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>(), parameters);
    }
    Ok(())
}

#[test]
fn wrong_dimensions_are_named() -> Result<()> {
    let error = U2Net::load(&U2NetConfig::u2net(), &weights("u2netp_synth")?).unwrap_err();
    let Error::Shape { name, .. } = &error else { panic!("{error}") };
    assert_eq!(name, "stage1.rebnconv1.conv_s1.weight");
    Ok(())
}

/// The published weights on a drawn picture (values by onnxruntime).
#[test]
#[ignore = "needs the published u2net.onnx (176 MB): U2NET_ONNX=path cargo test -- --ignored"]
fn published_weights() -> Result<()> {
    let file = std::env::var_os("U2NET_ONNX").expect("U2NET_ONNX names the file");
    let net =
        U2Net::load(&U2NetConfig::u2net(), &U2Net::weights(file.as_ref(), DType::F32, &golden::device())?)?;
    let pixel = |x: i32, y: i32| {
        let inside = (x - 160).pow(2) + (y - 150).pow(2) < 4900;
        if inside { [220, 180, 90] } else { [40 + 60 * x / 319, 50, 60 + 40 * y / 319] }
    };
    let values = (0..320).flat_map(|y| (0..320).flat_map(move |x| pixel(x, y))).map(|v| v as f32);
    let picture = Tensor::from_vec(values.collect::<Vec<_>>(), (320, 320, 3), &golden::device())?;
    let x = normalise(&picture.permute((2, 0, 1))?.contiguous()?.unsqueeze(0)?)?;
    let d0 = net.forward(&x)?.squeeze(0)?.squeeze(0)?;
    let mean = d0.mean_all()?.to_scalar::<f32>()?;
    assert!((mean - 0.1504844).abs() < 1e-4, "mean {mean}");
    let d0: Vec<Vec<f32>> = d0.to_vec2()?;
    for (row, column, want) in [
        (0, 0, 1.23139e-4),
        (80, 160, 0.2220235),
        (150, 90, 0.1377793),
        (219, 160, 0.9666716),
        (150, 231, 5.53725e-4),
        (300, 300, 1.0236e-8),
    ] {
        let got = d0[row][column];
        assert!((got - want).abs() < 1e-4, "d0[{row}, {column}] = {got} instead of {want}");
    }
    Ok(())
}
