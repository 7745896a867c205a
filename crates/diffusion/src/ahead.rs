//! Noise drawn ahead, on a thread of its own, while something else computes: which stretches a sampler will ask for follows from its
//! noise levels alone. The numbers are those of the source itself.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use candle_core::{Device, Tensor};

use crate::{Error, FnDenoiser, NoiseSource, Result, Sampler, Unobserved};

/// A source that hands out what another one has drawn already.
#[derive(Debug)]
pub struct NoiseAhead {
    drawn: Receiver<Result<Tensor>>,
    /// The stretches to come, in the order they are drawn in.
    stretches: std::vec::IntoIter<(f64, f64)>,
    device: Device,
}

impl NoiseAhead {
    /// Starts drawing what `sampler` will ask for on its way along `sigmas` from the source that `make` makes, whose tensors are on
    /// the CPU; they are put on `device` when they are asked for. Dropping this ends the drawing.
    ///
    /// # Errors
    /// As [`Sampler::sample`]; [`Error::Invalid`] if the system gives no thread.
    pub fn start(
        sampler: &Sampler,
        sigmas: &[f64],
        device: &Device,
        make: impl FnOnce() -> Result<Box<dyn NoiseSource>> + Send + 'static,
    ) -> Result<Self> {
        let stretches = stretches(sampler, sigmas)?;
        let (sender, drawn) = sync_channel(stretches.len());
        let wanted = stretches.clone();
        let draw = move || {
            let mut source = match make() {
                Ok(source) => source,
                Err(error) => return drop(sender.send(Err(error))),
            };
            for (from, to) in wanted {
                if sender.send(source.between(from, to)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("noise".to_owned())
            .spawn(draw)
            .map_err(|error| Error::invalid(format!("no thread to draw noise on: {error}")))?;
        Ok(Self { drawn, stretches: stretches.into_iter(), device: device.clone() })
    }
}

impl NoiseSource for NoiseAhead {
    fn between(&mut self, from: f64, to: f64) -> Result<Tensor> {
        match self.stretches.next() {
            Some(next) if next == (from, to) => {}
            next => {
                return Err(Error::invalid(format!(
                    "noise from sigma {from} to {to} was asked for where {next:?} was drawn ahead"
                )));
            }
        }
        let drawn = self.drawn.recv();
        let drawn =
            drawn.map_err(|_| Error::invalid("the thread that draws noise ended early".to_owned()))?;
        Ok(drawn?.to_device(&self.device)?)
    }
}

/// The stretches that `sampler` asks noise for, in order: those of a walk with one number and no model.
fn stretches(sampler: &Sampler, sigmas: &[f64]) -> Result<Vec<(f64, f64)>> {
    struct Requests(Vec<(f64, f64)>);
    impl NoiseSource for Requests {
        fn between(&mut self, from: f64, to: f64) -> Result<Tensor> {
            self.0.push((from, to));
            Ok(Tensor::zeros((1, 1, 1, 1), candle_core::DType::F32, &Device::Cpu)?)
        }
    }
    let x = Tensor::zeros((1, 1, 1, 1), candle_core::DType::F32, &Device::Cpu)?;
    let mut requests = Requests(Vec::new());
    let mut still = FnDenoiser(|x: &Tensor, _: f64| Ok(x.clone()));
    sampler.sample(&mut still, x, sigmas, &mut requests, &mut Unobserved)?;
    Ok(requests.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BrownianTree, FreshNoise, Generator, Schedule, SigmaTable};

    fn walked(sampler: &Sampler, sigmas: &[f64], noise: &mut dyn NoiseSource) -> Vec<f32> {
        let x =
            (Generator::Mt19937.randn(5, (1, 4, 6, 5), &Device::Cpu).expect("noise") * sigmas[0]).expect("x");
        let mut denoiser = FnDenoiser(|x: &Tensor, s: f64| Ok((x / (1.0 + s * s))?));
        let x = sampler.sample(&mut denoiser, x, sigmas, noise, &mut Unobserved).expect("sampled");
        x.flatten_all().and_then(|x| x.to_vec1()).expect("numbers")
    }

    #[test]
    fn the_numbers_are_the_source_s_own() {
        let shape = (1, 4, 6, 5);
        for steps in [1, 2, 7] {
            let sigmas = Schedule::Karras.sigmas(&SigmaTable::scaled_linear(), steps).expect("sigmas");
            let tree = move |sigmas: Vec<f64>| BrownianTree::for_sigmas(9, shape, &sigmas, &Device::Cpu);
            let want = walked(&Sampler::DPMPP_SDE, &sigmas, &mut tree(sigmas.clone()).expect("a tree"));
            let own = sigmas.clone();
            let make = move || Ok(Box::new(tree(own)?) as Box<dyn NoiseSource>);
            let ahead = NoiseAhead::start(&Sampler::DPMPP_SDE, &sigmas, &Device::Cpu, make);
            assert_eq!(walked(&Sampler::DPMPP_SDE, &sigmas, &mut ahead.expect("a thread")), want);

            let ancestral: Sampler = "euler_ancestral".parse().expect("a sampler");
            let fresh = move || FreshNoise::new(Generator::Philox, 3, shape, &Device::Cpu);
            let want = walked(&ancestral, &sigmas, &mut fresh());
            let make = move || Ok(Box::new(fresh()) as Box<dyn NoiseSource>);
            let ahead = NoiseAhead::start(&ancestral, &sigmas, &Device::Cpu, make);
            assert_eq!(walked(&ancestral, &sigmas, &mut ahead.expect("a thread")), want);
        }
    }

    #[test]
    fn another_stretch_than_the_next_is_an_error() {
        let sigmas = Schedule::Karras.sigmas(&SigmaTable::scaled_linear(), 4).expect("sigmas");
        let own = sigmas.clone();
        let make = move || {
            let tree = BrownianTree::for_sigmas(9, (1, 1, 2, 2), &own, &Device::Cpu)?;
            Ok(Box::new(tree) as Box<dyn NoiseSource>)
        };
        let mut ahead =
            NoiseAhead::start(&Sampler::DPMPP_SDE, &sigmas, &Device::Cpu, make).expect("a thread");
        assert!(ahead.between(1.0, 0.5).is_err());
        let fails = || Err(Error::invalid("no source".to_owned()));
        let mut ahead =
            NoiseAhead::start(&Sampler::DPMPP_SDE, &sigmas, &Device::Cpu, fails).expect("a thread");
        let (from, to) = stretches(&Sampler::DPMPP_SDE, &sigmas).expect("stretches")[0];
        assert!(ahead.between(from, to).expect_err("no source").to_string().contains("no source"));
    }
}
