//! The generator of synthetic weights against the values the reference's generator recorded.

use crate::golden;
use networks::{Result, synthetic};

#[derive(serde::Deserialize)]
struct Check {
    rows: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    model: String,
    tensor: String,
    shape: Vec<usize>,
    first8: Vec<f32>,
    last: f32,
    sum_f64: f64,
}

#[test]
fn values_are_the_recorded_ones() -> Result<()> {
    let text = std::fs::read(golden::path("stages/weights_check.json")).unwrap();
    let check: Check = serde_json::from_slice(&text).unwrap();
    assert!(check.rows.len() > 40);
    for row in check.rows {
        let values = synthetic::values(&row.model, &row.tensor, &row.shape);
        assert_eq!(values[..row.first8.len()], row.first8, "{}", row.tensor);
        assert_eq!(values.last(), Some(&row.last), "{}", row.tensor);
        let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
        let scale = row.sum_f64.abs().max(1.0);
        assert!(
            (sum - row.sum_f64).abs() <= 1e-9 * scale,
            "{}: {sum} instead of {}",
            row.tensor,
            row.sum_f64
        );
    }
    Ok(())
}

#[test]
fn a_written_file_reads_back() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lineart_full.safetensors");
    let shapes = &synthetic::read_manifest(&golden::path("weights_manifest.json"))?["lineart_full"];
    synthetic::write("lineart_full", shapes, &path)?;
    let weights = networks::Weights::open(&path, candle_core::DType::F32, &candle_core::Device::Cpu)?;
    for (name, shape) in shapes {
        let want = synthetic::values("lineart_full", name, shape);
        assert_eq!(weights.get(name, shape)?.flatten_all()?.to_vec1::<f32>()?, want, "{name}");
    }
    weights.finish()
}
