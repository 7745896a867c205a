//! What the tests of optimised algorithms share.

use candle_core::{DType, Tensor};

#[path = "../tests/noise/mod.rs"]
mod shared;

/// Values in [-1, 1), the same on every run.
pub(crate) fn noise(shape: &[usize], seed: u32) -> Tensor {
    shared::noise(shape, seed).unwrap()
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
