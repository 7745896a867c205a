//! The table of a weight file: what every format is read into.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::DType;

use super::float8::Float8;

/// Where a tensor lies in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) dtype: DType,
    /// What bytes (`U8`) stand for.
    pub(super) float8: Option<Float8>,
    pub(super) shape: Vec<usize>,
    /// In elements; None: row-major.
    pub(super) strides: Option<Vec<usize>>,
    /// Index of the mapped file (ONNX may keep values in files beside it).
    pub(super) file: usize,
    /// Bytes within the file, from the tensor's first element to behind its last.
    pub(super) bytes: Range<usize>,
}

impl Stored {
    /// Bytes from the first element to behind the last, or None if that overflows.
    pub(super) fn span(dtype: DType, shape: &[usize], strides: Option<&[usize]>) -> Option<usize> {
        let elements = match strides {
            None => shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?,
            Some(_) if shape.contains(&0) => 0,
            Some(strides) => shape
                .iter()
                .zip(strides)
                .try_fold(0usize, |n, (d, s)| n.checked_add((d - 1).checked_mul(*s)?))?
                .checked_add(1)?,
        };
        elements.checked_mul(dtype.size_in_bytes())
    }
}

/// Names and places of the tensors of a file.
pub(super) type Index = BTreeMap<String, Stored>;
