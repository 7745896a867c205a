//! Reads `tests/golden/` of the repository: tensors that the reference code produced, and their parameters.
#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::expect_used)] // a test fails by panicking

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// One golden entry.
pub(crate) struct Golden {
    name: String,
    tensors: HashMap<String, Tensor>,
    params: Value,
}

/// The folder of the goldens.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

impl Golden {
    /// `stages/NAME` of the manifest.
    pub(crate) fn open(name: &str) -> Self {
        Self::entry(&format!("stages/{name}"))
    }

    /// `e2e/RUN/PART` of the manifest.
    pub(crate) fn end_to_end(run: &str, part: &str) -> Self {
        Self::entry(&format!("e2e/{run}/{part}"))
    }

    fn entry(name: &str) -> Self {
        let tensors =
            candle_core::safetensors::load(root().join(format!("{name}.safetensors")), &Device::Cpu)
                .expect("golden tensors");
        let manifest = std::fs::read_to_string(root().join("manifest.json")).expect("golden manifest");
        let manifest: Value = serde_json::from_str(&manifest).expect("manifest is JSON");
        let params = manifest["entries"][name]["params"].clone();
        Self { name: name.into(), tensors, params }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn tensor(&self, key: &str) -> &Tensor {
        self.tensors.get(key).unwrap_or_else(|| panic!("{}: no tensor {key}", self.name))
    }

    pub(crate) fn f32s(&self, key: &str) -> Vec<f32> {
        list(self.tensor(key))
    }

    pub(crate) fn f64s(&self, key: &str) -> Vec<f64> {
        let tensor = self.tensor(key).to_dtype(DType::F64).expect("number");
        tensor.flatten_all().and_then(|t| t.to_vec1()).expect("f64")
    }

    pub(crate) fn integers(&self, key: &str) -> Vec<i64> {
        let tensor = self.tensor(key).to_dtype(DType::I64).expect("number");
        tensor.flatten_all().and_then(|t| t.to_vec1()).expect("i64")
    }

    pub(crate) fn bytes(&self, key: &str) -> Vec<u8> {
        self.tensor(key).flatten_all().and_then(|t| t.to_vec1()).expect("u8")
    }

    pub(crate) fn params(&self) -> &Value {
        &self.params
    }

    /// The cases of `params`, in order.
    pub(crate) fn cases(&self) -> &[Value] {
        self.params["cases"].as_array().expect("cases")
    }

    /// Prints one line of the table of goldens and fails above the tolerance.
    pub(crate) fn within(&self, what: &str, error: f64, tolerance: f64) {
        println!("golden | {} | {what} | {error:.2e} | {tolerance:.1e}", self.name);
        assert!(error <= tolerance, "{} {what}: error {error:e} above {tolerance:e}", self.name);
    }
}

pub(crate) fn list(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1()).expect("f32")
}

/// Largest absolute difference; fails on different lengths or a NaN.
pub(crate) fn max_difference(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).fold(0.0, |worst, (g, w)| {
        let difference = (f64::from(*g) - f64::from(*w)).abs();
        assert!(!difference.is_nan(), "{g} against {w}");
        worst.max(difference)
    })
}

/// Largest relative difference; equal values, zeros included, differ by 0.
pub(crate) fn max_relative(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let relative = |g: f64, w: f64| if g == w { 0.0 } else { ((g - w) / w).abs() };
    got.iter().zip(want).map(|(g, w)| relative(*g, *w)).fold(0.0, f64::max)
}

pub(crate) fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number {key}"))
}

pub(crate) fn whole(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no integer {key}"))
}

pub(crate) fn shape(value: &Value) -> Vec<usize> {
    let dims = value["shape"].as_array().expect("shape");
    dims.iter().map(|d| d.as_u64().expect("dimension") as usize).collect()
}
