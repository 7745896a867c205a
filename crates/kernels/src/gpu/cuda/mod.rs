//! Kernels of our own on CUDA. NVRTC compiles their sources for the card at first use; no header and no compiler need be installed.
//!
//! Tensors are read and written by their addresses. That is sound because everything on a [`CudaDevice`] is queued on one stream:
//! memory is handed out, used and taken back in the order of the calls.

pub(super) mod attention;
#[cfg(feature = "cudnn")]
pub(super) mod cudnn;
mod norm;
pub(super) mod norms;
pub(super) mod open;
pub(super) mod pointwise;
mod rows;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc;
use candle_core::cuda_backend::{CudaDType, CudaStorageSlice, DeviceId, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Error, Result, Shape, Storage, Tensor};
use half::{bf16, f16};

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Attention,
    Norm,
    Pointwise,
    Rows,
}

impl Source {
    pub(super) const ALL: [Self; 4] = [Self::Attention, Self::Norm, Self::Pointwise, Self::Rows];

    fn text(self) -> [&'static str; 2] {
        let own = match self {
            Self::Attention => include_str!("attention.cu"),
            Self::Norm => include_str!("norm.cu"),
            Self::Pointwise => include_str!("pointwise.cu"),
            Self::Rows => include_str!("rows.cu"),
        };
        [include_str!("half.cuh"), own]
    }

    /// Loads one of its kernels.
    fn first(self, device: &CudaDevice) -> Result<()> {
        let (name, dtype) = match self {
            Self::Attention => ("attend_64", DType::F16),
            Self::Norm => ("measure", DType::F16),
            Self::Pointwise => ("finish", DType::F16),
            Self::Rows => ("layer", DType::F16),
        };
        function(device, self, name, Some(dtype)).map(drop)
    }

    fn module(self) -> &'static str {
        match self {
            Self::Attention => "material-transfer-attention",
            Self::Norm => "material-transfer-norm",
            Self::Pointwise => "material-transfer-pointwise",
            Self::Rows => "material-transfer-rows",
        }
    }
}

/// Compute capability, ten times the major number plus the minor one: 90 for Hopper.
pub(super) fn capability(device: &CudaDevice) -> Result<i32> {
    let stream = device.cuda_stream();
    let number = |which| stream.context().attribute(which).w();
    let major = number(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    Ok(10 * major + number(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?)
}

/// Outcomes of compiling, by source and capability.
type Compiled = HashMap<(Source, i32), std::result::Result<String, String>>;

/// The source in PTX for this card; an error where NVRTC cannot compile it.
fn compiled(device: &CudaDevice, source: Source) -> Result<String> {
    static ALL: Mutex<Option<Compiled>> = Mutex::new(None);
    let capability = capability(device)?;
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let made = all.get_or_insert_default().entry((source, capability)).or_insert_with(|| {
        let options = nvrtc::CompileOptions {
            options: vec![format!("--gpu-architecture=compute_{capability}"), "--std=c++17".to_owned()],
            ..Default::default()
        };
        match nvrtc::compile_ptx_with_opts(source.text().concat(), options) {
            Ok(ptx) => Ok(ptx.to_src()),
            Err(error) => Err(format!("{source:?} for compute capability {capability}: {error:?}")),
        }
    });
    made.clone().map_err(Error::Msg)
}

/// Kernels by device, name and type of the values.
type Functions = HashMap<(DeviceId, &'static str, Option<DType>), std::result::Result<CudaFunction, String>>;

thread_local! {
    static FUNCTIONS: RefCell<Functions> = RefCell::default();
}

/// The kernel `name`, with the type's name after it where there is one; an error where it cannot be compiled or loaded, which is
/// remembered too.
fn function(
    device: &CudaDevice,
    source: Source,
    name: &'static str,
    dtype: Option<DType>,
) -> Result<CudaFunction> {
    FUNCTIONS.with_borrow_mut(|functions| {
        let known = functions.entry((device.id(), name, dtype)).or_insert_with(|| {
            let full = match dtype {
                Some(dtype) => format!("{name}_{}", dtype.as_str()),
                None => name.to_owned(),
            };
            let load = || {
                let ptx = compiled(device, source)?;
                device.get_or_load_custom_func(&full, source.module(), &ptx)
            };
            load().map(|f| f.into_cuda_function()).map_err(|error| error.to_string())
        });
        known.clone().map_err(Error::Msg)
    })
}

/// Whether the kernels of `source` compile and load for this device, of which `name` is one.
fn there(device: &CudaDevice, source: Source, name: &'static str, dtype: Option<DType>) -> bool {
    function(device, source, name, dtype).is_ok()
}

/// One argument of a kernel.
#[derive(Clone, Copy, Debug)]
enum Arg {
    /// An address on the device; 0 for none.
    Address(u64),
    U64(u64),
    U32(u32),
    I32(i32),
    F32(f32),
}

/// Queues a kernel.
///
/// # Safety
/// The arguments must be those that the kernel declares, and the memory they point to hold what the kernel reads and writes with this
/// grid.
#[allow(unsafe_code)]
unsafe fn launch(
    device: &CudaDevice,
    (source, name, dtype): (Source, &'static str, Option<DType>),
    grid: (u32, u32, u32),
    block: (u32, u32, u32),
    arguments: &[Arg],
) -> Result<()> {
    let function = function(device, source, name, dtype)?;
    let stream = device.cuda_stream();
    let mut launch = stream.launch_builder(&function);
    for argument in arguments {
        match argument {
            Arg::Address(value) | Arg::U64(value) => launch.arg(value),
            Arg::U32(value) => launch.arg(value),
            Arg::I32(value) => launch.arg(value),
            Arg::F32(value) => launch.arg(value),
        };
    }
    // SAFETY: the caller's.
    unsafe { launch.launch(LaunchConfig { grid_dim: grid, block_dim: block, shared_mem_bytes: 0 }) }.w()?;
    Ok(())
}

/// The CUDA device of a tensor.
fn device(x: &Tensor) -> Option<&CudaDevice> {
    match x.device() {
        Device::Cuda(device) => Some(device),
        _ => None,
    }
}

/// The address of a tensor's first value.
fn address(x: &Tensor) -> Result<u64> {
    fn of<T: DeviceRepr>(slice: &impl DevicePtr<T>, device: &CudaDevice, start: usize) -> u64 {
        let stream = device.cuda_stream();
        let (address, _guard) = slice.device_ptr(&stream);
        address + (start * size_of::<T>()) as u64
    }
    let (storage, layout) = x.storage_and_layout();
    let start = layout.start_offset();
    let Storage::Cuda(storage) = &*storage else { candle_core::bail!("a CUDA tensor is needed") };
    Ok(match &storage.slice {
        CudaStorageSlice::F16(slice) => of(slice, &storage.device, start),
        CudaStorageSlice::BF16(slice) => of(slice, &storage.device, start),
        CudaStorageSlice::F32(slice) => of(slice, &storage.device, start),
        CudaStorageSlice::U8(slice) => of(slice, &storage.device, start),
        _ => candle_core::bail!("no kernel of ours takes {:?}", x.dtype()),
    })
}

/// The address of a tensor that need not be there.
fn address_or_none(x: Option<&Tensor>) -> Result<Arg> {
    x.map_or(Ok(0), address).map(Arg::Address)
}

/// A tensor whose values the next kernel writes, every one.
#[allow(unsafe_code)]
fn unwritten(device: &CudaDevice, dtype: DType, shape: impl Into<Shape>) -> Result<Tensor> {
    fn of<T: CudaDType + DeviceRepr>(device: &CudaDevice, count: usize) -> Result<CudaStorage> {
        // SAFETY: what is queued next on the stream writes it before anything reads it.
        let slice = unsafe { device.alloc::<T>(count)? };
        Ok(CudaStorage::wrap_cuda_slice(slice, device.clone()))
    }
    let shape = shape.into();
    let count = shape.elem_count();
    let storage = match dtype {
        DType::F16 => of::<f16>(device, count)?,
        DType::BF16 => of::<bf16>(device, count)?,
        DType::F32 => of::<f32>(device, count)?,
        DType::U8 => of::<u8>(device, count)?,
        _ => candle_core::bail!("no kernel of ours writes {dtype:?}"),
    };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

/// Whether values are in half precision.
fn half_precision(x: &Tensor) -> bool {
    matches!(x.dtype(), DType::F16 | DType::BF16)
}

/// Values of `dtype` in 16 bytes.
fn pack(dtype: DType) -> usize {
    16 / dtype.size_in_bytes()
}

/// Blocks of `threads` for `count` of them.
fn blocks(count: usize, threads: usize) -> Result<u32> {
    u32::try_from(count.div_ceil(threads)).map_err(Error::wrap)
}

/// A number that the kernels count in 32 bits.
fn narrow(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(Error::wrap)
}

/// A picture (b, c, h, w) whose channels lie side by side, as (b, h, w, c); none where they do not.
fn rows_of(x: &Tensor) -> Option<Tensor> {
    let rows = (x.rank() == 4).then(|| x.permute((0, 2, 3, 1)))?.ok()?;
    rows.is_contiguous().then_some(rows)
}
