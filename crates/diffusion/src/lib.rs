//! Sigmas, samplers, noise, guidance and blending; knows no network.
//!
//! A model is a [`Denoiser`]: noisy `x` and `sigma` in, estimate of the clean sample out. A [`Schedule`] makes the
//! descending sigmas, a [`Sampler`] walks down them, a [`NoiseSource`] feeds those that are stochastic, and a
//! [`SamplingObserver`] is notified of each call and may stop the run:
//!
//! ```
//! use candle_core::Device;
//! use diffusion::{BrownianTree, FnDenoiser, Generator, Sampler, Schedule, SigmaTable, Unobserved};
//!
//! # fn main() -> diffusion::Result<()> {
//! let table = SigmaTable::scaled_linear();
//! let sigmas = Schedule::Karras.sigmas(&table, 6)?;
//! let shape = (1, 4, 8, 8);
//! let x = (Generator::Mt19937.randn(42, shape, &Device::Cpu)? * sigmas[0])?;
//! // Data that is standard normal has this exact denoiser.
//! let mut denoiser = FnDenoiser(|x: &candle_core::Tensor, s: f64| Ok((x / (1.0 + s * s))?));
//! let mut noise = BrownianTree::for_sigmas(42, shape, &sigmas, &Device::Cpu)?;
//! let x0 = Sampler::DPMPP_SDE.sample(&mut denoiser, x, &sigmas, &mut noise, &mut Unobserved)?;
//! assert_eq!(x0.dims(), [1, 4, 8, 8]);
//! # Ok(())
//! # }
//! ```
//!
//! Sigmas are `f64` in this interface; schedules return values that are exactly `f32`, as the reference has them.

#![warn(clippy::match_bool, clippy::missing_errors_doc)]

mod ahead;
mod brownian;
mod denoiser;
mod error;
mod guidance;
mod mask;
mod mt19937;
mod noise;
mod philox;
mod prediction;
mod sampler;
mod schedule;
mod seed_sequence;
mod sigma_table;

pub use ahead::NoiseAhead;
pub use brownian::BrownianTree;
pub use denoiser::{Denoiser, FnDenoiser, SamplingObserver, Unobserved};
pub use error::{Error, Result};
pub use guidance::{Conditional, Guided, cfg, is_unguided, rescale_cfg};
pub use mask::{DifferentialMask, Inpainted, latent_mask};
pub use mt19937::Mt19937;
pub use noise::{FreshNoise, Generator, NoNoise, NoiseSource, Seeded};
pub use philox::Philox;
pub use prediction::Prediction;
pub use sampler::{Sampler, start};
pub use schedule::Schedule;
pub use seed_sequence::SeedSequence;
pub use sigma_table::{SigmaRange, SigmaTable};
