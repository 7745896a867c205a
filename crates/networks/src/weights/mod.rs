//! Weights: files of every published kind behind one view, [`Weights`], from which networks take tensors by name.
//!
//! A [`Source`] holds named tensors: a [`WeightFile`] (safetensors, `.pth`, ONNX; memory-mapped), several files as one, a
//! renaming of another source, tensors in memory. [`Weights`] adds a prefix, the wanted dtype and device, checks every
//! shape, and remembers what was asked for, so that [`Weights::finish`] can name the tensors nobody needed. A blank
//! `Weights` answers every request with zeros that take no memory: it lists a network's tensors at full size.

mod file;
mod float8;
mod index;
mod onnx;
mod pickle;
mod pth;
mod safetensors_index;
mod source;
mod zip;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

pub use file::WeightFile;
pub(crate) use float8::{open, scaled};
pub use source::{Change, Joined, Memory, Renamed, Source};

use crate::{Error, Result};

/// Names and shapes of tensors.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// A view of named tensors below a prefix, converted to one dtype on one device.
#[derive(Clone)]
pub struct Weights {
    shared: Arc<Shared>,
    prefix: String,
    int8: bool,
}

struct Shared {
    origin: String,
    /// None: blank weights.
    source: Option<Arc<dyn Source>>,
    /// False: tensors are checked but come back as zeros.
    read: bool,
    dtype: DType,
    device: Device,
    asked: Mutex<Shapes>,
}

impl Weights {
    /// The tensors of `source`. `origin` names it in errors: the file and the network.
    pub fn new(origin: impl Into<String>, source: Arc<dyn Source>, dtype: DType, device: &Device) -> Self {
        Self::over(origin.into(), Some(source), dtype, device)
    }

    /// The tensors of one file, under the names the file gives them.
    ///
    /// # Errors
    /// Those of [`WeightFile::open`].
    pub fn open(path: &Path, dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self::new(path.display().to_string(), open(path)?, dtype, device))
    }

    /// Zeros of whatever name and shape is asked for, without memory.
    pub fn blank(dtype: DType, device: &Device) -> Self {
        Self::over("blank weights".to_owned(), None, dtype, device)
    }

    /// The same tensors, checked by name and shape as ever but not read: zeros that take no memory come back. Building a
    /// network from it costs milliseconds and shows whether its file fits.
    #[must_use]
    pub fn unread(&self) -> Self {
        let shared = Shared {
            origin: self.shared.origin.clone(),
            source: self.shared.source.clone(),
            read: false,
            dtype: self.dtype(),
            device: self.device().clone(),
            asked: Mutex::default(),
        };
        Self { shared: Arc::new(shared), prefix: self.prefix.clone(), int8: self.int8 }
    }

    /// The same tensors, of which linear layers are made that compute on 8-bit integers, for f32 on the CPU
    /// ([`Linear::int8`](kernels::Linear::int8)); not those below a view that is [exact](Self::exact).
    #[must_use]
    pub fn int8(self) -> Self {
        Self { int8: true, ..self }
    }

    /// The same view for layers that must keep the dtype, or have too little to do to gain from another.
    #[must_use]
    pub fn exact(&self) -> Self {
        Self { int8: false, ..self.clone() }
    }

    /// Whether linear layers are to be made for 8-bit integers; never of tensors that nobody reads.
    pub(crate) fn makes_int8(&self) -> bool {
        self.int8 && self.shared.read && self.shared.source.is_some()
    }

    fn over(origin: String, source: Option<Arc<dyn Source>>, dtype: DType, device: &Device) -> Self {
        let shared =
            Shared { origin, source, read: true, dtype, device: device.clone(), asked: Mutex::default() };
        Self { shared: Arc::new(shared), prefix: String::new(), int8: false }
    }

    /// The view below `name`: `weights.at("encoder").at(3)` reads `encoder.3.…`.
    pub fn at(&self, name: impl Display) -> Self {
        let prefix = format!("{}{name}.", self.prefix);
        Self { shared: Arc::clone(&self.shared), prefix, int8: self.int8 }
    }

    /// The dtype tensors are converted to.
    pub fn dtype(&self) -> DType {
        self.shared.dtype
    }

    /// The device tensors are put on.
    pub fn device(&self) -> &Device {
        &self.shared.device
    }

    /// Whether `name` exists below this prefix (always, for blank weights).
    pub fn has(&self, name: &str) -> bool {
        let full = format!("{}{name}", self.prefix);
        self.shared.source.as_ref().is_none_or(|source| source.shape(&full).is_some())
    }

    /// The tensor `name` of exactly this shape.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or unreadable.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.read(name, shape, |_| false)
    }

    /// The same for the weight of a layer of `kernels`: f16 stays f16 where f32 is asked for on the CPU. It takes half the
    /// memory, and the kernels widen it, exactly, on its way into the cache.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or unreadable.
    pub fn get_compact(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let compact = self.dtype() == DType::F32 && self.device().is_cpu();
        self.read(name, shape, |stored| compact && stored == DType::F16)
    }

    /// The tensor `name`, in its stored dtype if `keep` says so.
    fn read(&self, name: &str, shape: &[usize], keep: impl Fn(DType) -> bool) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        self.asked_for(&name, shape);
        let zeros = || Ok(Tensor::zeros((), self.dtype(), self.device())?.broadcast_as(shape)?);
        let Some(source) = &self.shared.source else { return zeros() };
        let origin = || self.shared.origin.clone();
        let got =
            source.shape(&name).ok_or_else(|| Error::Missing { origin: origin(), name: name.clone() })?;
        if got != shape {
            return Err(Error::Shape { origin: origin(), name, got, want: shape.to_vec() });
        }
        if !self.shared.read {
            return zeros();
        }
        let tensor = source.read(&name)?;
        if keep(tensor.dtype()) {
            return Ok(tensor);
        }
        // Halves travel, and a GPU widens them in no time; f64 would travel for nothing.
        let narrower = tensor.dtype().size_in_bytes() <= self.dtype().size_in_bytes();
        if narrower && !self.device().is_cpu() {
            return Ok(tensor.to_device(self.device())?.to_dtype(self.dtype())?);
        }
        Ok(tensor.to_dtype(self.dtype())?.to_device(self.device())?)
    }

    /// The shape `name` has in the source, for networks whose dimensions follow from their file.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let full = format!("{}{name}", self.prefix);
        self.shared.source.as_ref()?.shape(&full)
    }

    /// Marks tensors below this prefix as known though unused: those whose last name component is in `names`.
    pub fn ignore(&self, names: &[&str]) {
        for name in self.shared.source.iter().flat_map(|source| source.names()) {
            let below = name.strip_prefix(&self.prefix).unwrap_or_default();
            if names.iter().any(|n| below == *n || below.ends_with(&format!(".{n}"))) {
                self.asked_for(&name, &[]);
            }
        }
    }

    /// Errs with the names of the tensors below this prefix that no network asked for.
    ///
    /// # Errors
    /// Tensors that are left over.
    pub fn finish(&self) -> Result<()> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.shared.source.iter().flat_map(|source| source.names());
        let extra: Vec<String> =
            names.filter(|name| name.starts_with(&self.prefix) && !asked.contains_key(name)).collect();
        match extra.as_slice() {
            [] => Ok(()),
            extra => Err(Error::Extra {
                origin: self.shared.origin.clone(),
                count: extra.len(),
                names: extra.iter().take(5).cloned().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Names and shapes asked for so far, over all views of these weights.
    pub fn asked(&self) -> Shapes {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn asked_for(&self, name: &str, shape: &[usize]) {
        let mut asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(name.to_owned(), shape.to_vec());
    }
}
