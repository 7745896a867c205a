//! Arbitrary tensors that are the same on every run, for tests and benches.

use candle_core::{Device, Result, Tensor};

/// Values in [-1, 1) from a small linear congruential generator.
pub(crate) fn noise(shape: &[usize], seed: u32) -> Result<Tensor> {
    let mut state = seed;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}
