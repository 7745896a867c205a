//! What the tests of fast forms share.

use candle_core::{DType, Device, Tensor};

/// Values in [-1, 1) from a small linear congruential generator: the same on every run.
pub(crate) fn noise(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Fails where any value differs by more than `tolerance` of the largest one.
#[track_caller]
pub(crate) fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let values =
        |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (got, want) = (values(got), values(want));
    let scale = want.iter().fold(1e-30, |largest: f64, value| largest.max(value.abs()));
    for (i, (a, b)) in got.iter().zip(&want).enumerate() {
        let error = (a - b).abs() / scale;
        assert!(error <= tolerance, "{what}: element {i} is {a} instead of {b}, {error:.2e} of the largest");
    }
}
