//! Where a stochastic sampler's noise comes from.
//!
//! A [`NoiseSource`] answers one question: standard normal noise for the stretch between two noise levels. The
//! [`BrownianTree`](crate::BrownianTree) answers it consistently for overlapping stretches (DPM++ SDE needs that);
//! [`FreshNoise`] draws anew each time, which suits ancestral samplers and LCM. A [`Generator`] names the stream of
//! numbers underneath; the same seed and shape give the same tensor on every machine.

use candle_core::{Device, Shape, Tensor};

use crate::{Error, Result, mt19937::Mt19937, philox::Philox};

/// Standard normal noise for the stretch from one sigma down to another.
pub trait NoiseSource {
    /// A standard normal tensor (the sampler scales it) for the way from `from` to `to`, `from > to`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a stretch the source cannot serve; tensor errors.
    fn between(&mut self, from: f64, to: f64) -> Result<Tensor>;
}

/// A source for samplers that add no noise; asking it for some is an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNoise;

impl NoiseSource for NoNoise {
    fn between(&mut self, from: f64, to: f64) -> Result<Tensor> {
        Err(Error::invalid(format!(
            "the sampler asked for noise between sigma {from} and {to}, but was given none: pass a seeded noise source"
        )))
    }
}

/// Which stream of random numbers a seed selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Generator {
    /// `torch.randn` on the CPU: MT19937, seeded with the low 32 bits.
    #[default]
    Mt19937,
    /// `torch.randn` on a CUDA device: Philox 4x32-10, all 64 bits of the seed; see [`crate::Philox`].
    Philox,
}

impl Generator {
    /// The first standard normal tensor that a freshly seeded generator yields.
    ///
    /// # Errors
    /// Tensor errors.
    pub fn randn(self, seed: u64, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        self.seeded(seed).randn(shape, device)
    }

    /// A generator at the start of its stream.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Seeded {
        match self {
            Self::Mt19937 => Seeded(Stream::Mt19937(Box::new(Mt19937::new(seed)))),
            Self::Philox => Seeded(Stream::Philox(Philox::new(seed))),
        }
    }
}

/// A seeded generator; each call of [`randn`](Self::randn) goes on where the last one stopped.
#[derive(Debug, Clone)]
pub struct Seeded(Stream);

#[derive(Debug, Clone)]
enum Stream {
    Mt19937(Box<Mt19937>),
    Philox(Philox),
}

impl Seeded {
    /// The next standard normal tensor of this stream, f32.
    ///
    /// # Errors
    /// Tensor errors.
    pub fn randn(&mut self, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        let values = match &mut self.0 {
            Stream::Mt19937(mt) => mt.normals(shape.elem_count()),
            Stream::Philox(philox) => philox.normals(shape.elem_count()),
        };
        Ok(Tensor::from_vec(values, shape, device)?)
    }
}

/// Independent noise for every question.
#[derive(Debug, Clone)]
pub struct FreshNoise {
    stream: Seeded,
    shape: Shape,
    device: Device,
}

impl FreshNoise {
    /// Noise of `shape`, drawn in order from `generator` seeded with `seed`.
    #[must_use]
    pub fn new(generator: Generator, seed: u64, shape: impl Into<Shape>, device: &Device) -> Self {
        Self::continuing(generator.seeded(seed), shape, device)
    }

    /// Noise of `shape`, drawn from where `stream` stopped: the reference's ancestral samplers go on with the stream that
    /// the first noise came from.
    #[must_use]
    pub fn continuing(stream: Seeded, shape: impl Into<Shape>, device: &Device) -> Self {
        Self { stream, shape: shape.into(), device: device.clone() }
    }
}

impl NoiseSource for FreshNoise {
    fn between(&mut self, _from: f64, _to: f64) -> Result<Tensor> {
        self.stream.randn(self.shape.clone(), &self.device)
    }
}
