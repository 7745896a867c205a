//! Runs SDXL's networks at their published dimensions on given inputs: the Rust half of `tests/compare/networks.py`.
//!
//! `full_size WEIGHTS INPUTS.safetensors OUTPUTS.safetensors [NETWORK …]`. WEIGHTS is the folder of the bench `full_size`.
//! Seconds of every forward pass go to standard output as `name seconds`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use networks::Weights;
use networks::checkpoint::Checkpoint;
use networks::clip::conditioning::vector_condition;
use networks::clip::text::{ClipText, ClipTextConfig};
use networks::clip::vision::{ClipVision, ClipVisionConfig};
use networks::unet::{UNet, UNetConfig};
use networks::vae::{Vae, VaeConfig};

#[global_allocator]
static ARENA: kernels::Arena = kernels::Arena::new();

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Inputs by name, and the outputs so far.
struct Run {
    inputs: HashMap<String, Tensor>,
    outputs: HashMap<String, Tensor>,
}

impl Run {
    fn input(&self, name: &str) -> Outcome<&Tensor> {
        Ok(self.inputs.get(name).ok_or_else(|| format!("no input {name}"))?)
    }

    /// Runs `forward` twice: the first pass may prepare weights, the second is timed.
    fn timed(
        &mut self,
        name: &str,
        forward: impl Fn(&Self) -> Outcome<Vec<(&'static str, Tensor)>>,
    ) -> Outcome<()> {
        forward(self)?;
        let begin = Instant::now();
        let outputs = forward(self)?;
        println!("{name} {:.3}", begin.elapsed().as_secs_f64());
        self.outputs.extend(outputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)));
        Ok(())
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, inputs, outputs, wanted @ ..] = arguments.as_slice() else {
        return Err("usage: full_size WEIGHTS INPUTS OUTPUTS [unet|vae|clip_l|clip_g|vision …]".into());
    };
    let inputs = candle_core::safetensors::load(inputs, &Device::Cpu)?;
    let mut run = Run { inputs, outputs: HashMap::new() };
    let folder = PathBuf::from(weights);
    let checkpoint = Checkpoint::open(&folder.join("checkpoint"))?;
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|each| each == name);
    for (name, network) in [
        ("clip_l", clip_l as fn(&mut Run, &Checkpoint, &Path) -> Outcome<()>),
        ("clip_g", clip_g),
        ("vision", vision),
        ("vae", vae),
        ("unet", unet),
    ] {
        if wants(name) {
            network(&mut run, &checkpoint, &folder)?;
        }
    }
    candle_core::safetensors::save(&run.outputs, outputs)?;
    Ok(())
}

fn clip_l(run: &mut Run, checkpoint: &Checkpoint, _: &Path) -> Outcome<()> {
    let net = ClipText::load(&ClipTextConfig::clip_l(), &checkpoint.clip_l(DType::F32, &Device::Cpu)?)?;
    run.timed("clip_l", |run| {
        let ids = run.input("ids")?.to_dtype(DType::U32)?.to_vec2()?;
        Ok(vec![("clip_l.penultimate", net.forward(&ids)?.penultimate)])
    })
}

fn clip_g(run: &mut Run, checkpoint: &Checkpoint, _: &Path) -> Outcome<()> {
    let net = ClipText::load(&ClipTextConfig::clip_g(), &checkpoint.clip_g(DType::F32, &Device::Cpu)?)?;
    run.timed("clip_g", |run| {
        let ids = run.input("ids")?.to_dtype(DType::U32)?.to_vec2()?;
        let states = net.forward(&ids)?;
        let pooled = states.pooled.ok_or("clip_g has a projection")?;
        Ok(vec![("clip_g.penultimate", states.penultimate), ("clip_g.pooled", pooled)])
    })
}

fn vision(run: &mut Run, _: &Checkpoint, folder: &Path) -> Outcome<()> {
    let weights = Weights::open(&folder.join("clip_vision.safetensors"), DType::F32, &Device::Cpu)?;
    let net = ClipVision::load(&ClipVisionConfig::vit_h(), &weights)?;
    run.timed("vision", |run| {
        let states = net.forward(run.input("pixels")?)?;
        Ok(vec![("vision.embedding", states.embedding), ("vision.penultimate", states.penultimate)])
    })
}

fn vae(run: &mut Run, checkpoint: &Checkpoint, _: &Path) -> Outcome<()> {
    let net = Vae::load(&VaeConfig::sdxl(), &checkpoint.vae(DType::F32, &Device::Cpu)?)?;
    run.timed("vae_encode", |run| Ok(vec![("vae.mean", net.encode(run.input("picture")?)?.mean)]))?;
    run.timed("vae_decode", |run| Ok(vec![("vae.picture", net.decode(run.input("latent")?)?)]))
}

fn unet(run: &mut Run, checkpoint: &Checkpoint, _: &Path) -> Outcome<()> {
    let config = UNetConfig::sdxl();
    let net = UNet::load(&config, &checkpoint.unet(&config, DType::F32, &Device::Cpu)?)?;
    let context = net.context(run.input("context")?, None)?;
    run.timed("unet", |run| {
        let x = run.input("latent")?;
        let (_, _, h, w) = x.dims4()?;
        let vector = vector_condition(run.input("pooled")?, 8 * h, 8 * w)?;
        let timestep = run.input("timestep")?.to_scalar::<f32>()?;
        Ok(vec![("unet.output", net.forward(x, f64::from(timestep), &context, &vector, None)?)])
    })
}
