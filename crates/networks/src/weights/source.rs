//! Where named tensors come from, and how one source becomes another: joining files, renaming and cutting tensors.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::Tensor;

use crate::{Error, Result};

/// Named tensors. Reading gives a CPU tensor in the stored dtype.
pub trait Source: Send + Sync {
    /// All names.
    fn names(&self) -> Vec<String>;
    /// The shape of a tensor, if it exists.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;
    /// The tensor's values.
    ///
    /// # Errors
    /// A tensor that is missing or unreadable.
    fn read(&self, name: &str) -> Result<Tensor>;
}

/// Tensors in memory.
pub struct Memory(pub HashMap<String, Tensor>);

impl Source for Memory {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.0.get(name)?.dims().to_vec())
    }

    fn read(&self, name: &str) -> Result<Tensor> {
        self.0.get(name).cloned().ok_or_else(|| missing("memory", name))
    }
}

/// Several sources as one, as for a model sharded over files. The first that has a name wins.
pub struct Joined(pub Vec<Arc<dyn Source>>);

impl Source for Joined {
    fn names(&self) -> Vec<String> {
        self.0.iter().flat_map(|part| part.names()).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.iter().find_map(|part| part.shape(name))
    }

    fn read(&self, name: &str) -> Result<Tensor> {
        let part = self.0.iter().find(|part| part.shape(name).is_some());
        part.ok_or_else(|| missing("joined files", name))?.read(name)
    }
}

/// What happens to a tensor on its way from one layout to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Keep,
    /// The `part`-th of `of` equal runs of rows: one of q, k, v out of a fused projection.
    Rows {
        /// Which run.
        part: usize,
        /// Of how many.
        of: usize,
    },
    /// A matrix and its transpose.
    Transpose,
    /// A 1×1 convolution's weight (out, in, 1, 1) as a linear map's (out, in); what already is one stays.
    Flatten,
}

impl Change {
    fn shape(self, shape: &[usize]) -> Option<Vec<usize>> {
        match (self, shape) {
            (Self::Keep, shape) => Some(shape.to_vec()),
            (Self::Rows { of, .. }, [rows, rest @ ..]) if rows % of == 0 => {
                Some([&[rows / of], rest].concat())
            }
            (Self::Transpose, &[rows, columns]) => Some(vec![columns, rows]),
            (Self::Flatten, &[out, input, 1, 1] | &[out, input]) => Some(vec![out, input]),
            _ => None,
        }
    }

    fn apply(self, tensor: Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Keep => tensor,
            Self::Rows { part, of } => {
                let rows = tensor.dim(0)? / of;
                // A copy, so that the fused tensor is not kept alive by its parts.
                tensor.narrow(0, part * rows, rows)?.copy()?
            }
            Self::Transpose => tensor.t()?.contiguous()?,
            Self::Flatten => tensor.reshape((tensor.dim(0)?, tensor.dim(1)?))?,
        })
    }
}

/// Another source under other names.
pub struct Renamed {
    inner: Arc<dyn Source>,
    /// New name → (old name, change).
    names: BTreeMap<String, (String, Change)>,
}

impl Renamed {
    /// Every tensor of `inner` under the names `translate` gives it: none (left out), one, or several (a fused tensor).
    pub fn new(inner: Arc<dyn Source>, translate: impl Fn(&str) -> Vec<(String, Change)>) -> Self {
        let mut names = BTreeMap::new();
        for old in inner.names() {
            for (new, change) in translate(&old) {
                names.insert(new, (old.clone(), change));
            }
        }
        Self { inner, names }
    }
}

impl Source for Renamed {
    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let (old, change) = self.names.get(name)?;
        let shape = self.inner.shape(old)?;
        // A tensor that cannot be changed as its name promises keeps its shape, and is reported as misshapen.
        Some(change.shape(&shape).unwrap_or(shape))
    }

    fn read(&self, name: &str) -> Result<Tensor> {
        let (old, change) = self.names.get(name).ok_or_else(|| missing("renamed tensors", name))?;
        change.apply(self.inner.read(old)?)
    }
}

pub(super) fn missing(origin: &str, name: &str) -> Error {
    Error::Missing { origin: origin.to_owned(), name: name.to_owned() }
}
