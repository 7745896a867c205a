//! Fast forms for f32 on the CPU. Everything else takes the plain form.
//!
//! * `microkernel`: the microkernel in every instruction set, chosen at run time;
//! * `lanes`, `math`: vectors and the functions on them;
//! * `pack`, `gemm`, `epilogue`: weights packed once, activations packed a block at a time, products blocked for the caches,
//!   and what ends in them;
//! * `int8`: products of integers, for linear maps that ask for them;
//! * `planes`: pictures where they lie, of one tensor or several as if concatenated;
//! * `geometry`, `implicit`, `winograd`: convolutions on these products;
//! * `attention`, `norm`, `pointwise`, `resize`: the rest.
//!
//! Sizes of blocks and tasks are named constants, chosen for the caches they name and then by `cargo bench -p kernels` at the
//! shapes of SDXL's networks on the machines of `docs/performance.md` (Zen 3, Zen 4, Emerald Rapids). Only sizes along k change
//! the order of a sum, and so the last bits of a result.
//!
//! Threads are rayon's global pool; no function here starts another parallel region inside a task. How work is split over
//! threads never changes the order of a sum, so results do not depend on their number.

pub(crate) mod attention;
pub(crate) mod epilogue;
pub(crate) mod gemm;
pub(crate) mod geometry;
pub(crate) mod implicit;
pub(crate) mod int8;
mod lanes;
pub(crate) mod math;
pub(crate) mod microkernel;
pub(crate) mod norm;
pub(crate) mod pack;
pub(crate) mod parallel;
pub(crate) mod planes;
pub(crate) mod pointwise;
pub(crate) mod resize;
pub(crate) mod scratch;
pub(crate) mod winograd;

use std::ops::{Deref, Range};
use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};

/// Whether the optimised algorithms take `x`.
pub(crate) fn supports(x: &Tensor) -> bool {
    supports_device(x.device()) && x.dtype() == DType::F32
}

/// Whether this device has them: not if `KERNELS_ISA=reference` asks for the reference, to compare whole networks.
pub(crate) fn supports_device(device: &Device) -> bool {
    static REFERENCE: OnceLock<bool> = OnceLock::new();
    let reference =
        *REFERENCE.get_or_init(|| std::env::var("KERNELS_ISA").is_ok_and(|isa| isa == "reference"));
    !reference && device.is_cpu()
}

/// The values of a tensor in f32 on the CPU, which cannot change while this is held.
pub(crate) struct Values<'a> {
    /// The lock's guard, whose type is candle's own affair.
    storage: Box<dyn Deref<Target = Storage> + Sync + 'a>,
    range: Range<usize>,
}

impl<'a> Values<'a> {
    /// All values of a contiguous tensor in order; of any other, the storage from its first value on.
    pub(crate) fn of(x: &'a Tensor) -> Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
            candle_core::bail!("expected f32 on the CPU, got {:?} on {:?}", x.dtype(), x.device())
        };
        let start = layout.start_offset().min(values.len());
        let end = if layout.is_contiguous() { start + x.elem_count() } else { values.len() };
        let range = start..end;
        Ok(Self { storage: Box::new(storage), range })
    }

    /// [`Values::of`] a tensor that need not be there.
    pub(crate) fn optional(x: Option<&'a Tensor>) -> Result<Option<Self>> {
        x.map(Self::of).transpose()
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &**self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => &[], // not so when this was made, and the storage has been locked since
        }
    }
}

/// Calls `f` with all values of a weight in order, as they are stored.
pub(crate) fn read_stored<R>(x: &Tensor, f: impl FnOnce(pack::Stored<'_>) -> R) -> Result<R> {
    let (x, count) = (x.contiguous()?, x.elem_count());
    let (storage, layout) = x.storage_and_layout();
    let from = layout.start_offset();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => Ok(f(pack::Stored::F32(&values[from..][..count]))),
        Storage::Cpu(CpuStorage::F16(values)) => Ok(f(pack::Stored::F16(&values[from..][..count]))),
        _ => candle_core::bail!("weights on the CPU are f32 or f16, not {:?} on {:?}", x.dtype(), x.device()),
    }
}
