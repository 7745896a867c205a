//! Floating-point numbers of 8 bits (Micikevicius et al. 2022), and the factors that go with them in checkpoints.
//!
//! They are widened to f16, which holds every one of them exactly.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use half::f16;

use super::file::WeightFile;
use super::source::Source;
use crate::{Error, Result};

/// How the bits are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float8 {
    /// Four of exponent, three of mantissa; no infinities.
    E4M3,
    /// Five of exponent, two of mantissa: the upper half of an f16.
    E5M2,
}

impl Float8 {
    fn widen(self, byte: u8) -> f16 {
        if self == Self::E5M2 {
            return f16::from_bits(u16::from(byte) << 8);
        }
        let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
        let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
        let size = match (exponent, byte & 7) {
            (15, 7) => f32::NAN,
            (0, _) => mantissa * 2f32.powi(-9),
            _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
        };
        f16::from_f32(sign * size)
    }

    /// The numbers as a tensor of f16.
    pub(super) fn tensor(self, bytes: &[u8], shape: &[usize]) -> Result<Tensor> {
        let table: Vec<f16> = (0..=u8::MAX).map(|byte| self.widen(byte)).collect();
        let numbers: Vec<f16> = bytes.iter().map(|byte| table[usize::from(*byte)]).collect();
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    }
}

/// What the factor of `LAYER.weight` is called.
const FACTORS: [&str; 2] = ["scale_weight", "weight_scale"];
/// What stands beside it for those who compute in 8 bits.
const NOTES: [&str; 4] = ["scale_input", "input_scale", "comfy_quant", "scaled_fp8"];

/// A weight file, with each weight multiplied by its factor where the file holds one for it.
///
/// # Errors
/// Those of [`WeightFile::open`].
pub(crate) fn open(path: &Path) -> Result<Arc<dyn Source>> {
    let file = Arc::new(WeightFile::open(path)?);
    Ok(scaled(path.display().to_string(), file))
}

/// `source` with factors applied; itself where it has none.
pub(crate) fn scaled(origin: String, source: Arc<dyn Source>) -> Arc<dyn Source> {
    let mut factors = BTreeMap::new();
    for name in source.names() {
        let Some((layer, last)) = name.rsplit_once('.') else { continue };
        let weight = format!("{layer}.weight");
        if FACTORS.contains(&last) && source.shape(&weight).is_some() {
            factors.insert(weight, name);
        }
    }
    if factors.is_empty() { source } else { Arc::new(Scaled { origin, source, factors }) }
}

/// A source whose weights are multiplied by factors as they are read.
struct Scaled {
    origin: String,
    source: Arc<dyn Source>,
    /// Of each weight that has one.
    factors: BTreeMap<String, String>,
}

impl Scaled {
    fn is_note(&self, name: &str) -> bool {
        let (layer, last) = name.rsplit_once('.').unwrap_or(("", name));
        NOTES.contains(&last)
            || (FACTORS.contains(&last) && self.factors.contains_key(&format!("{layer}.weight")))
    }
}

impl Source for Scaled {
    fn names(&self) -> Vec<String> {
        self.source.names().into_iter().filter(|name| !self.is_note(name)).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(name).filter(|_| !self.is_note(name))
    }

    /// The weight in f32, as a product of two numbers needs more room than either.
    fn read(&self, name: &str) -> Result<Tensor> {
        let tensor = self.source.read(name)?;
        let Some(factor) = self.factors.get(name) else { return Ok(tensor) };
        let values = self.source.read(factor)?.to_dtype(DType::F32)?.flatten_all()?;
        // One for all, or one for each row.
        let (count, rows) = (values.elem_count(), tensor.dims().first().copied().unwrap_or(1));
        if count != 1 && count != rows {
            let (origin, name) = (self.origin.clone(), factor.clone());
            return Err(Error::Shape { origin, name, got: vec![count], want: vec![rows] });
        }
        let shape: Vec<usize> = (0..tensor.rank()).map(|axis| if axis == 0 { count } else { 1 }).collect();
        Ok(tensor.to_dtype(DType::F32)?.broadcast_mul(&values.reshape(shape)?)?)
    }
}
