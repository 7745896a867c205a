//! Sinusoidal embeddings of scalars: timesteps and picture sizes.

use candle_core::{DType, Result, Tensor};

/// Sinusoidal embedding of scalars: `values` (n) → (n, dim), cosines first, then sines, frequencies
/// exp(−ln(10000)·i/(dim/2)), f32 (Ho et al. 2020).
///
/// # Errors
/// Where the device fails.
pub fn sinusoid(values: &Tensor, dim: usize) -> Result<Tensor> {
    let half = dim / 2;
    let frequencies: Vec<f32> =
        (0..half).map(|i| (-(10000f64.ln()) * i as f64 / half as f64).exp() as f32).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, half), values.device())?;
    let angles = values.to_dtype(DType::F32)?.reshape(((), 1))?.broadcast_mul(&frequencies)?;
    Tensor::cat(&[angles.cos()?, angles.sin()?], 1)
}
