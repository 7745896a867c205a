//! The mask of the reference's background removal as a picture: the Rust half of `tests/compare/background.py`.
//!
//! `background WEIGHTS u2net|u2netp [PICTURE OUTPUT.png] …`: the 8-bit mask before it is blurred, 255 = subject.

use std::path::Path;

use candle_core::{DType, Device};
use networks::u2net::{U2Net, U2NetConfig};
use sdxl::background;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, kind, pictures @ ..] = arguments.as_slice() else {
        return Err("usage: background WEIGHTS u2net|u2netp [PICTURE OUTPUT.png] …".into());
    };
    let config = if kind == "u2netp" { U2NetConfig::u2netp() } else { U2NetConfig::u2net() };
    let net = U2Net::load(&config, &U2Net::weights(Path::new(weights), DType::F32, &Device::Cpu)?)?;
    for pair in pictures.chunks_exact(2) {
        let picture = image::open(&pair[0])?.to_rgb8();
        let saliency = net.forward(&background::network_input(&picture)?)?;
        let values: Vec<f32> = saliency.flatten_all()?.to_vec1()?;
        background::mask(&values, picture.dimensions()).save(&pair[1])?;
    }
    Ok(())
}
