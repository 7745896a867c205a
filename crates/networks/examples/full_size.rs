//! Runs one of SDXL's networks at its published dimensions, pass by pass: the Rust half of `tests/compare/networks.py`.
//!
//! `full_size WEIGHTS INPUTS.safetensors OUTPUTS.safetensors NETWORK`. WEIGHTS is the folder of the bench `full_size`.
//! Every line on standard input names a pass of the network; its seconds answer on standard output. At the end of input
//! the passes' last results are saved, and `peak BYTES` says how much memory the process used at most.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use networks::Weights;
use networks::checkpoint::Checkpoint;
use networks::clip::conditioning::vector_condition;
use networks::clip::text::{ClipText, ClipTextConfig};
use networks::clip::vision::{ClipVision, ClipVisionConfig};
use networks::depth::{DepthAnything, DepthConfig};
use networks::u2net::{U2Net, U2NetConfig};
use networks::unet::{UNet, UNetConfig};
use networks::vae::{Vae, VaeConfig};

#[path = "../../pipeline/benches/memory/mod.rs"]
mod memory;

#[global_allocator]
static ARENA: kernels::Arena = kernels::Arena::new();

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
type Tensors = HashMap<String, Tensor>;
/// A pass: its name, and its named results.
type Pass = (&'static str, Box<dyn Fn() -> Outcome<Vec<(&'static str, Tensor)>>>);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, inputs, outputs, network] = arguments.as_slice() else {
        return Err(
            "usage: full_size WEIGHTS INPUTS OUTPUTS unet|unet_int8|vae|clip_l|clip_g|vision|dinov2|u2net"
                .into(),
        );
    };
    let inputs = candle_core::safetensors::load(inputs, &Device::Cpu)?;
    memory::forget_peak();
    let passes = passes(network, Path::new(weights), inputs)?;
    let mut results = Tensors::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (_, pass) = passes.iter().find(|(name, _)| *name == line).ok_or(format!("no pass {line}"))?;
        let begin = Instant::now();
        let got = pass()?;
        println!("{:.4}", begin.elapsed().as_secs_f64());
        results.extend(got.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)));
    }
    println!("peak {}", memory::peak().unwrap_or(0));
    Ok(candle_core::safetensors::save(&results, outputs)?)
}

/// The passes of a network; whatever they share is made once.
fn passes(network: &str, folder: &Path, inputs: Tensors) -> Outcome<Vec<Pass>> {
    let input = |name: &str| inputs.get(name).cloned().ok_or(format!("no input {name}"));
    let (dtype, device) = (DType::F32, &Device::Cpu);
    let checkpoint = || Checkpoint::open(&folder.join("checkpoint"));
    let ids = || -> Outcome<Vec<Vec<u32>>> { Ok(input("ids")?.to_dtype(DType::U32)?.to_vec2()?) };
    Ok(match network {
        "clip_l" => {
            let net = ClipText::load(&ClipTextConfig::clip_l(), &checkpoint()?.clip_l(dtype, device)?)?;
            let ids = ids()?;
            vec![("clip_l", Box::new(move || Ok(vec![("clip_l", net.forward(&ids)?.penultimate)])))]
        }
        "clip_g" => {
            let net = ClipText::load(&ClipTextConfig::clip_g(), &checkpoint()?.clip_g(dtype, device)?)?;
            let ids = ids()?;
            let pass = move || {
                let states = net.forward(&ids)?;
                let pooled = states.pooled.ok_or("clip_g has a projection")?;
                Ok(vec![("clip_g", states.penultimate), ("clip_g.pooled", pooled)])
            };
            vec![("clip_g", Box::new(pass))]
        }
        "vision" => {
            let weights = Weights::open(&folder.join("clip_vision.safetensors"), dtype, device)?;
            let net = ClipVision::load(&ClipVisionConfig::vit_h(), &weights)?;
            let pixels = input("pixels")?;
            let pass = move || {
                let states = net.forward(&pixels)?;
                Ok(vec![("vision", states.penultimate), ("vision.embedding", states.embedding)])
            };
            vec![("vision", Box::new(pass))]
        }
        "dinov2" => {
            let weights = DepthAnything::weights(&folder.join("depth.safetensors"), dtype, device)?;
            let net = DepthAnything::load(&DepthConfig::large(), &weights)?;
            let picture = input("patches")?;
            let pass = move || {
                let last = net.backbone().features(&picture)?.pop().ok_or("no features")?;
                Ok(vec![("dinov2", last)])
            };
            vec![("dinov2", Box::new(pass))]
        }
        "u2net" => {
            let weights = U2Net::weights(&folder.join("background.safetensors"), dtype, device)?;
            let net = U2Net::load(&U2NetConfig::u2net(), &weights)?;
            let picture = input("mask_picture")?;
            vec![("u2net", Box::new(move || Ok(vec![("u2net", net.forward(&picture)?)])))]
        }
        "vae" => {
            let net = Vae::load(&VaeConfig::sdxl(), &checkpoint()?.vae(dtype, device)?)?;
            let (twin, picture, latent) = (net.clone(), input("picture")?, input("latent_64")?);
            let encode = move || Ok(vec![("vae_encode", net.encode(&picture)?.mean)]);
            let decode = move || Ok(vec![("vae_decode", twin.decode(&latent)?)]);
            vec![("vae_encode", Box::new(encode)), ("vae_decode", Box::new(decode))]
        }
        "unet" | "unet_int8" => {
            let config = UNetConfig::sdxl();
            let weights = checkpoint()?.unet(&config, dtype, device)?;
            let weights = if network == "unet_int8" { weights.int8() } else { weights };
            let net = UNet::load(&config, &weights)?;
            let (context, pooled) = (input("context")?, input("pooled")?);
            let timestep = f64::from(input("timestep")?.to_scalar::<f32>()?);
            let pass = |name, latent: &str, batch: usize| -> Outcome<Pass> {
                let (net, x) = (net.clone(), input(latent)?.repeat((batch, 1, 1, 1))?);
                let context = net.context(&context.repeat((batch, 1, 1))?, None)?;
                let (_, _, h, w) = x.dims4()?;
                let vector = vector_condition(&pooled, 8 * h, 8 * w)?.repeat((batch, 1))?;
                let run = move || Ok(vec![(name, net.forward(&x, timestep, &context, &vector, None)?)]);
                Ok((name, Box::new(run)))
            };
            vec![
                pass("unet_64", "latent_64", 1)?,
                pass("unet_64_batch_2", "latent_64", 2)?,
                pass("unet_128", "latent_128", 1)?,
            ]
        }
        other => return Err(format!("no network {other}").into()),
    })
}
