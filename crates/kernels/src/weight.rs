//! A layer's weight: the tensor it was made from (f32, or f16 for half the memory), until an optimised algorithm has packed it.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{DType, Result, Tensor};

use crate::cpu;
use crate::cpu::int8;
use crate::cpu::pack::{Packed, Stored};

/// A weight shared by the clones of a layer. Packing happens at first use, because networks are also built from tensors
/// nobody reads (zeros of full size without memory); the tensor is then let go, so that a weight is never held twice.
#[derive(Clone)]
pub(crate) struct Weight(Arc<Shared>);

struct Shared {
    dims: Vec<usize>,
    dtype: DType,
    tensor: Mutex<Option<Tensor>>,
    packed: OnceLock<Packed>,
    integers: OnceLock<int8::Packed>,
}

impl Weight {
    pub(crate) fn new(tensor: Tensor) -> Self {
        let (dims, dtype) = (tensor.dims().to_vec(), tensor.dtype());
        let tensor = Mutex::new(Some(tensor));
        Self(Arc::new(Shared { dims, dtype, tensor, packed: OnceLock::new(), integers: OnceLock::new() }))
    }

    pub(crate) fn dims(&self) -> &[usize] {
        &self.0.dims
    }

    /// The tensor itself in the dtype of activations `x`, for the reference; kept in that dtype from then on.
    pub(crate) fn tensor(&self, x: &Tensor) -> Result<Tensor> {
        match &mut *self.0.tensor.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(tensor) => {
                *tensor = tensor.to_dtype(x.dtype())?;
                Ok(tensor.clone())
            }
            None => candle_core::bail!("this weight serves f32 on the CPU only, having been packed for it"),
        }
    }

    /// [`Weight::tensor`] of a convolution (out, in, kh, kw), kept with its input channels side by side from then on.
    pub(crate) fn tensor_channels_last(&self, x: &Tensor) -> Result<Tensor> {
        self.tensor(x)?;
        match &mut *self.0.tensor.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(tensor) => {
                let rows = tensor.permute((0, 2, 3, 1))?;
                if !rows.is_contiguous() {
                    *tensor = rows.contiguous()?.permute((0, 3, 1, 2))?;
                }
                Ok(tensor.clone())
            }
            None => candle_core::bail!("this weight was lost"),
        }
    }

    /// Whether the optimised algorithms take this weight together with activations `x`.
    pub(crate) fn supports(&self, x: &Tensor) -> bool {
        cpu::supports(x) && self.stored()
    }

    /// Whether the optimised algorithms take this weight, with activations that suit it.
    pub(crate) fn packs(&self) -> bool {
        let tensor = self.0.tensor.lock().unwrap_or_else(PoisonError::into_inner);
        tensor.as_ref().is_none_or(|tensor| cpu::supports_device(tensor.device())) && self.stored()
    }

    fn stored(&self) -> bool {
        matches!(self.0.dtype, DType::F32 | DType::F16)
    }

    /// The packed form, made by `pack` at the first call.
    pub(crate) fn packed(&self, pack: impl FnOnce(Stored<'_>) -> Packed) -> Result<&Packed> {
        self.made(&self.0.packed, pack)
    }

    /// The form in 8-bit integers, made by `pack` at the first call.
    pub(crate) fn integers(&self, pack: impl FnOnce(Stored<'_>) -> int8::Packed) -> Result<&int8::Packed> {
        self.made(&self.0.integers, pack)
    }

    /// What `form` holds, made of the tensor, which is let go.
    fn made<'a, T>(&self, form: &'a OnceLock<T>, pack: impl FnOnce(Stored<'_>) -> T) -> Result<&'a T> {
        if let Some(packed) = form.get() {
            return Ok(packed);
        }
        let mut held = self.0.tensor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = held.as_ref() {
            let packed = cpu::read_stored(tensor, pack)?;
            *held = None;
            return Ok(form.get_or_init(|| packed));
        }
        match form.get() {
            Some(packed) => Ok(packed),
            None => candle_core::bail!(
                "a weight cannot be packed: it has been packed for another arithmetic, or was lost"
            ),
        }
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weight").field("dims", &self.0.dims).field("dtype", &self.0.dtype).finish()
    }
}
