//! Weight files of every format: those torch wrote (`tests/golden/weight_files.py`), an ONNX model, and damaged ones.

use std::path::Path;

use crate::golden;
use candle_core::{DType, Device, Tensor};
use networks::weights::{Source, WeightFile};
use networks::{Error, Result, Weights};

fn open(name: &str) -> Result<WeightFile> {
    WeightFile::open(&golden::path("weight_files").join(name))
}

fn values(file: &WeightFile, name: &str) -> Result<Vec<f64>> {
    Ok(file.read(name)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// start, start + 1/8, …, the values of `weight_files.py`.
fn ramp(count: usize, start: f64) -> Vec<f64> {
    (0..count).map(|i| i as f64 / 8.0 + start).collect()
}

#[test]
fn torch_files_in_both_formats() -> Result<()> {
    for name in ["zip.pth", "legacy.pth"] {
        let file = open(name)?;
        assert_eq!(file.names().len(), 9, "{name}");
        assert_eq!(values(&file, "plain")?, ramp(24, 0.0), "{name}");
        let transposed: Vec<f64> = (0..24).map(|i| ramp(24, 0.0)[i % 4 * 6 + i / 4]).collect();
        assert_eq!((file.shape("transposed"), values(&file, "transposed")?), (Some(vec![6, 4]), transposed));
        let slice: Vec<f64> = [8, 9, 10, 14, 15, 16].map(|i| f64::from(i) / 8.0).to_vec();
        assert_eq!((file.shape("slice"), values(&file, "slice")?), (Some(vec![2, 3]), slice));
        assert_eq!((file.read("half")?.dtype(), values(&file, "half")?), (DType::F16, ramp(6, 1.0)));
        assert_eq!((file.read("bfloat")?.dtype(), values(&file, "bfloat")?), (DType::BF16, ramp(5, -2.0)));
        assert_eq!((file.read("double")?.dtype(), values(&file, "double")?), (DType::F64, ramp(4, 0.0)));
        assert_eq!(values(&file, "parameter")?, ramp(3, 0.0));
        assert_eq!((file.shape("scalar"), values(&file, "scalar")?), (Some(vec![]), vec![1.5]));
        assert_eq!(values(&file, "counter")?, [7.0]);
    }
    Ok(())
}

#[test]
fn state_dictionaries_inside_others() -> Result<()> {
    assert_eq!(values(&open("nested.pth")?, "w")?, ramp(24, 0.0));
    let adapter = open("adapter.bin")?;
    assert_eq!(adapter.names(), ["image_proj.norm.weight", "ip_adapter.1.to_k_ip.weight"]);
    assert_eq!(values(&adapter, "ip_adapter.1.to_k_ip.weight")?, ramp(2, 0.0));
    Ok(())
}

#[test]
fn onnx_initialisers() -> Result<()> {
    let file = open("model.onnx")?;
    // Invented names are counted in the order of the convolutions; `axes` is no weight.
    let names =
        ["conv.0.bias", "conv.0.weight", "conv.1.bias", "conv.1.weight", "side1.bias", "side1.weight"];
    assert_eq!(file.names(), names);
    assert_eq!(
        (file.shape("conv.0.weight"), values(&file, "conv.0.weight")?),
        (Some(vec![2, 1, 1, 1]), vec![1.0, 2.0])
    );
    assert_eq!(values(&file, "conv.0.bias")?, [3.0, 4.0], "a typed field");
    assert_eq!(values(&file, "conv.1.weight")?, [0.5, -1.5], "half precision");
    assert_eq!(values(&file, "conv.1.bias")?, [7.0], "a file beside the model");
    Ok(())
}

/// Whatever a file is cut down to, reading it ends in an error that names the file, never in a panic.
#[test]
fn cut_off_files_are_refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let safetensors = folder.path().join("whole.safetensors");
    let tensors = std::collections::HashMap::from([("w", Tensor::zeros(64, DType::F32, &Device::Cpu)?)]);
    candle_core::safetensors::save(&tensors, &safetensors)?;
    let originals = ["zip.pth", "legacy.pth", "nested.pth", "model.onnx"];
    let originals = originals.map(|name| golden::path("weight_files").join(name));
    for original in originals.iter().chain([&safetensors]) {
        let bytes = std::fs::read(original).unwrap();
        for len in (0..bytes.len()).step_by(bytes.len() / 97 + 1).chain([bytes.len() - 1]) {
            let cut = folder.path().join("cut");
            std::fs::write(&cut, &bytes[..len]).unwrap();
            match WeightFile::open(&cut) {
                Err(error) => assert!(error.to_string().contains("cut"), "{error}"),
                // ONNX has no length: a graph that ends early may still be one, and what is there must be readable.
                Ok(file) => {
                    assert!(original.ends_with("model.onnx"), "{original:?} cut to {len} bytes");
                    for name in file.names() {
                        file.read(&name)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Nor does a flipped byte make it panic. Where it is one of values or of padding, the file is still read whole: of so many bytes
/// at least.
#[test]
fn damaged_files_do_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    for (name, harmless) in [("zip.pth", 2000), ("legacy.pth", 400), ("model.onnx", 8)] {
        let bytes = std::fs::read(golden::path("weight_files").join(name)).unwrap();
        let (mut whole, mut refused) = (0, 0);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xFF;
            let path = folder.path().join("damaged");
            std::fs::write(&path, damaged).unwrap();
            match WeightFile::open(&path) {
                Ok(file) => {
                    let readable = file.names().iter().filter(|name| file.read(name).is_ok()).count();
                    whole += usize::from(readable == file.names().len());
                }
                Err(_) => refused += 1,
            }
        }
        println!("{name}: of {} bytes, {whole} leave a whole file, {refused} none", bytes.len());
        assert!(whole >= harmless, "{name}: only {whole} of {} bytes are harmless", bytes.len());
        assert!(refused >= bytes.len() / 4, "{name}: only {refused} of {} bytes are noticed", bytes.len());
    }
}

#[test]
fn missing_misshapen_and_extra_tensors_are_named() -> Result<()> {
    let path = golden::path("weight_files").join("zip.pth");
    let weights = Weights::open(&path, DType::F32, &Device::Cpu)?;
    let error = weights.at("layer").get("weight", &[2]).unwrap_err();
    assert!(matches!(&error, Error::Missing { name, .. } if name == "layer.weight"), "{error}");
    let error = weights.get("half", &[2, 3]).unwrap_err();
    assert!(error.to_string().contains("`half` has shape [3, 2] but the network needs [2, 3]"), "{error}");
    for name in ["plain", "transposed", "slice", "bfloat", "double", "parameter", "counter", "scalar"] {
        let shape = weights.shape(name).unwrap();
        assert_eq!(weights.get(name, &shape)?.dtype(), DType::F32);
    }
    let error = Weights::open(&path, DType::F32, &Device::Cpu)?.finish().unwrap_err();
    assert!(matches!(&error, Error::Extra { count: 9, .. }), "{error}");
    weights.get("half", &[3, 2])?;
    weights.finish()
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = WeightFile::open(Path::new("/nowhere/model.safetensors")).err().unwrap();
    assert!(error.to_string().starts_with("/nowhere/model.safetensors: cannot be opened"), "{error}");
}

/// A safetensors file of tensors given by type, shape and bytes.
fn safetensors(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut values) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let from = values.len();
        values.extend_from_slice(bytes);
        let entry =
            serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [from, values.len()] });
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &values].concat()
}

/// Both kinds of 8 bits, by the values of the publication's table 1 and their neighbours.
#[test]
fn eight_bits() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("eight.safetensors");
    let e4m3 = vec![0x00, 0x01, 0x07, 0x08, 0x38, 0x39, 0x7E, 0x80, 0xB8, 0xFE];
    let e5m2 = vec![0x00, 0x01, 0x03, 0x04, 0x3C, 0x3D, 0x7B, 0x7C, 0xBC, 0xFB];
    let all = |from: u8| vec![from; 1];
    let file = safetensors(&[
        ("four", "F8_E4M3", &[2, 5], e4m3),
        ("five", "F8_E5M2", &[2, 5], e5m2),
        ("no number", "F8_E4M3", &[1], all(0x7F)),
    ]);
    std::fs::write(&path, file).unwrap();
    let file = WeightFile::open(&path)?;
    assert_eq!((file.shape("four"), file.read("four")?.dtype()), (Some(vec![2, 5]), DType::F16));
    let power = |exponent: i32| 2f64.powi(exponent);
    let four = vec![0.0, power(-9), 7.0 * power(-9), power(-6), 1.0, 1.125, 448.0, -0.0, -1.0, -448.0];
    assert_eq!(values(&file, "four")?, four);
    let five = vec![
        0.0,
        power(-16),
        3.0 * power(-16),
        power(-14),
        1.0,
        1.25,
        57_344.0,
        f64::INFINITY,
        -1.0,
        -57_344.0,
    ];
    assert_eq!(values(&file, "five")?, five);
    assert!(values(&file, "no number")?[0].is_nan());
    Ok(())
}

/// Factors as ComfyUI writes them, old and new, for all of a weight and for each of its rows.
#[test]
fn weights_with_factors() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scaled.safetensors");
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let ones = || vec![0x38; 6];
    let tensors = [
        ("a.weight", "F8_E4M3", &[2, 3][..], ones()),
        ("a.scale_weight", "F32", &[1], floats(&[0.25])),
        ("a.scale_input", "F32", &[1], floats(&[9.0])),
        ("b.weight", "F8_E4M3", &[2, 3], ones()),
        ("b.weight_scale", "F32", &[2, 1], floats(&[0.5, 1e-6])),
        ("b.comfy_quant", "U8", &[2], b"{}".to_vec()),
        ("c.weight", "F16", &[2], vec![0, 0x3C, 0, 0x3C]),
        ("scaled_fp8", "F8_E4M3", &[0], Vec::new()),
    ];
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    let weights = Weights::open(&path, DType::F32, &Device::Cpu)?;
    let read = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
        Ok(weights.get_compact(name, shape)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    };
    assert_eq!(read("a.weight", &[2, 3])?, [0.25; 6]);
    assert_eq!(read("b.weight", &[2, 3])?, [0.5, 0.5, 0.5, 1e-6, 1e-6, 1e-6]);
    assert_eq!(read("c.weight", &[2])?, [1.0; 2]);
    weights.finish()?; // nothing else is a weight
    let mut wrong = tensors.to_vec();
    wrong[1] = ("a.scale_weight", "F32", &[3], floats(&[0.25; 3]));
    std::fs::write(&path, safetensors(&wrong)).unwrap();
    let error = Weights::open(&path, DType::F32, &Device::Cpu)?.get("a.weight", &[2, 3]).unwrap_err();
    assert!(error.to_string().contains("a.scale_weight"), "{error}");
    Ok(())
}
