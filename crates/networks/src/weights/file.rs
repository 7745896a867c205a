//! One weight file, memory-mapped: a table of names, dtypes, shapes and byte ranges, whatever the format.
//!
//! The format follows from the content, not from the name: a zip archive or a bare pickle is a torch file, a length-prefixed
//! JSON header is safetensors, anything else is tried as ONNX. Values are copied out of the map only when asked for.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use kernels::MappedFile;

use super::index::{Index, Stored};
use super::source::{Source, missing};
use super::{onnx, pth, safetensors_index};
use crate::{Error, Result};

/// A memory-mapped weight file: `.safetensors`, `.pth`/`.pt`/`.ckpt`/`.bin` (zip or legacy), or `.onnx`.
pub struct WeightFile {
    path: PathBuf,
    maps: Vec<MappedFile>,
    index: Index,
}

impl WeightFile {
    /// Maps the file and reads its table of tensors.
    ///
    /// # Errors
    /// A file that cannot be opened, is damaged or cut off, or of no known format.
    pub fn open(path: &Path) -> Result<Self> {
        let map = map(path)?;
        let mut maps = Vec::new();
        let index = if map.starts_with(b"PK\x03\x04") {
            pth::index_zip(&map)
        } else if pth::is_legacy(&map) {
            pth::index_legacy(&map)
        } else if safetensors_index::looks_like(&map) {
            safetensors_index::index(&map)
        } else {
            onnx::index(&map).and_then(|(index, files)| {
                for file in files {
                    maps.push(map_beside(path, &file)?);
                }
                Ok(index)
            })
        };
        let index = index.map_err(|reason| Error::file(path, reason))?;
        maps.insert(0, map);
        let file = Self { path: path.to_path_buf(), maps, index };
        file.check_bounds()?;
        Ok(file)
    }

    fn check_bounds(&self) -> Result<()> {
        for (name, stored) in &self.index {
            let span = Stored::span(stored.dtype, &stored.shape, stored.strides.as_deref());
            let length = self.maps.get(stored.file).map_or(0, |map| map.len());
            // A tensor that repeats its elements could claim any size; weights do not.
            let dense = Stored::span(stored.dtype, &stored.shape, None);
            let repeats = dense.is_none_or(|dense| dense > stored.bytes.len());
            if stored.bytes.end > length || span != Some(stored.bytes.len()) || repeats {
                let reason =
                    format!("tensor `{name}` reaches beyond its data; the file is damaged or cut off");
                return Err(Error::file(&self.path, reason));
            }
        }
        Ok(())
    }
}

impl Source for WeightFile {
    fn names(&self) -> Vec<String> {
        self.index.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.index.get(name)?.shape.clone())
    }

    fn read(&self, name: &str) -> Result<Tensor> {
        let origin = || self.path.display().to_string();
        let stored = self.index.get(name).ok_or_else(|| missing(&origin(), name))?;
        let map = self.maps.get(stored.file).ok_or_else(|| missing(&origin(), name))?;
        let bytes = &map[stored.bytes.clone()];
        let tensor = match (&stored.strides, stored.float8) {
            (None, Some(float8)) => float8.tensor(bytes, &stored.shape)?,
            (None, None) => Tensor::from_raw_buffer(bytes, stored.dtype, &stored.shape, &Device::Cpu)?,
            (Some(strides), _) => {
                let size = stored.dtype.size_in_bytes();
                let gathered = gather(bytes, &stored.shape, strides, size);
                Tensor::from_raw_buffer(&gathered, stored.dtype, &stored.shape, &Device::Cpu)?
            }
        };
        // The tensor is a copy: the file's pages need not stay in memory beside it.
        map.release(stored.bytes.clone());
        Ok(tensor)
    }
}

/// The elements of a strided tensor in row-major order.
fn gather(bytes: &[u8], shape: &[usize], strides: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(shape.iter().product::<usize>() * size);
    let mut position = vec![0usize; shape.len()];
    for _ in 0..shape.iter().product() {
        let element: usize = position.iter().zip(strides).map(|(p, s)| p * s).sum();
        out.extend_from_slice(&bytes[element * size..(element + 1) * size]);
        for axis in (0..shape.len()).rev() {
            position[axis] += 1;
            if position[axis] < shape[axis] {
                break;
            }
            position[axis] = 0;
        }
    }
    out
}

fn map(path: &Path) -> Result<MappedFile> {
    MappedFile::open(path).map_err(|error| Error::file(path, format!("cannot be opened: {error}")))
}

/// Maps a file that lies in the same folder as `path`: its name must be a plain relative one.
fn map_beside(path: &Path, name: &str) -> std::result::Result<MappedFile, String> {
    let plain = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if name.is_empty() || !plain {
        return Err(format!("keeps values in `{name}`, which is not a file beside it"));
    }
    let beside = path.with_file_name("").join(name);
    MappedFile::open(&beside)
        .map_err(|error| format!("keeps values in {}, which cannot be opened: {error}", beside.display()))
}
