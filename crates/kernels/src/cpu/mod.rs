//! Fast forms for f32 on the CPU. Everything else takes the plain form.
//!
//! * `micro`: the micro-kernel in every instruction set, chosen at run time;
//! * `lanes`, `math`: vectors and the functions on them;
//! * `pack`, `gemm`, `epilogue`: weights packed once, activations packed a block at a time, products blocked for the caches,
//!   and what ends in them;
//! * `int8`: products of integers, for linear maps that ask for them;
//! * `planes`: pictures where they lie, of one tensor or several as if concatenated;
//! * `implicit`, `winograd`: convolutions on these products;
//! * `attention`, `norm`, `pointwise`, `resize`: the rest.
//!
//! Threads are rayon's global pool; no function here starts another parallel region inside a task. How work is split over
//! threads never changes the order of a sum, so results do not depend on their number.

pub(crate) mod attention;
pub(crate) mod epilogue;
pub(crate) mod gemm;
pub(crate) mod implicit;
pub(crate) mod int8;
mod lanes;
pub(crate) mod math;
pub(crate) mod micro;
pub(crate) mod norm;
pub(crate) mod pack;
pub(crate) mod parallel;
pub(crate) mod planes;
pub(crate) mod pointwise;
pub(crate) mod resize;
pub(crate) mod scratch;
pub(crate) mod winograd;

use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Device, Layout, Result, Storage, Tensor};

/// Whether the fast forms take `x`.
pub(crate) fn takes(x: &Tensor) -> bool {
    takes_from(x.device()) && x.dtype() == DType::F32
}

/// Whether this device has them: not if `KERNELS_ISA=plain` asks for the plain forms, to compare whole networks.
pub(crate) fn takes_from(device: &Device) -> bool {
    static PLAIN: OnceLock<bool> = OnceLock::new();
    let plain = *PLAIN.get_or_init(|| std::env::var("KERNELS_ISA").is_ok_and(|isa| isa == "plain"));
    !plain && device.is_cpu()
}

/// Calls `f` with the values of `x` from its first one on, and its layout.
pub(crate) fn read<R>(x: &Tensor, f: impl FnOnce(&[f32], &Layout) -> Result<R>) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => match values.get(layout.start_offset()..) {
            Some(values) => f(values, layout),
            None => f(&[], layout),
        },
        _ => candle_core::bail!("expected f32 on the CPU, got {:?} on {:?}", x.dtype(), x.device()),
    }
}

/// Calls `f` with all values of a weight in order, in the form they are stored in.
pub(crate) fn read_stored<R>(x: &Tensor, f: impl FnOnce(pack::Values<'_>) -> R) -> Result<R> {
    let (x, count) = (x.contiguous()?, x.elem_count());
    let (storage, layout) = x.storage_and_layout();
    let from = layout.start_offset();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => Ok(f(pack::Values::F32(&values[from..][..count]))),
        Storage::Cpu(CpuStorage::F16(values)) => Ok(f(pack::Values::F16(&values[from..][..count]))),
        _ => candle_core::bail!("weights on the CPU are f32 or f16, not {:?} on {:?}", x.dtype(), x.device()),
    }
}

/// Calls `f` with all values of `x` in order, copying them first only if they do not lie so.
pub(crate) fn read_contiguous<R>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let count = x.elem_count();
    read(&x.contiguous()?, |values, _| f(&values[..count]))
}
