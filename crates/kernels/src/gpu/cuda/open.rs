//! A CUDA device as this crate wants it.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::{CudaDevice, Device, Result};

use super::{Source, compiled};

/// What a card is, in words and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Compute capability: ten times the major number plus the minor one.
    pub capability: i32,
    /// Bytes of its memory, and of those that are free.
    pub memory: usize,
    /// Bytes that nobody has taken.
    pub free: usize,
    /// The driver's newest CUDA: 1000 times the major number plus ten times the minor one.
    pub driver: i32,
}

/// Opens the CUDA device `ordinal` on a stream of its own, for one worker.
///
/// Everything on it is queued on that stream, whichever thread calls, so tensors need no events; and memory that is given back stays
/// with the process, ready for the next tensor (by default a synchronisation returns it to the driver).
///
/// # Errors
/// The driver's, where there is no such device or no driver.
#[allow(unsafe_code)]
pub fn open_cuda(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: one stream orders all uses of a tensor, and its release after them.
        unsafe { cuda.disable_event_tracking() };
        keep_memory(cuda, ordinal)?;
    }
    Ok(device)
}

/// Lets the device's pool keep what is given back.
#[allow(unsafe_code)]
fn keep_memory(device: &CudaDevice, ordinal: usize) -> Result<()> {
    let ordinal = i32::try_from(ordinal).map_err(candle_core::Error::wrap)?;
    let mut all = u64::MAX;
    device.cuda_stream().context().bind_to_thread().w()?;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the device is open; the attribute is a 64-bit number.
    unsafe {
        let pool = result::device::get_default_mem_pool(result::device::get(ordinal).w()?).w()?;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut all).cast()).result().w()
    }
}

/// Gives memory that no tensor holds back to the driver, for others, or before a second try with less.
///
/// # Errors
/// The driver's.
#[allow(unsafe_code)]
pub fn trim(device: &Device) -> Result<()> {
    let Device::Cuda(cuda) = device else { return Ok(()) };
    let context = cuda.cuda_stream().context().clone();
    device.synchronize()?;
    let ordinal = i32::try_from(context.ordinal()).map_err(candle_core::Error::wrap)?;
    // SAFETY: the device is open, and nothing is in flight.
    unsafe {
        let pool = result::device::get_default_mem_pool(result::device::get(ordinal).w()?).w()?;
        sys::cuMemPoolTrimTo(pool, 0).result().w()
    }
}

/// The most bytes that tensors have held at once.
///
/// # Errors
/// The driver's.
#[allow(unsafe_code)]
pub fn peak_memory(device: &Device) -> Result<u64> {
    let Device::Cuda(cuda) = device else { return Ok(0) };
    let ordinal = i32::try_from(cuda.cuda_stream().context().ordinal()).map_err(candle_core::Error::wrap)?;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    let mut bytes = 0u64;
    // SAFETY: the device is open; the attribute is a 64-bit number.
    unsafe {
        let pool = result::device::get_default_mem_pool(result::device::get(ordinal).w()?).w()?;
        sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()).result().w()?;
    }
    Ok(bytes)
}

/// What the card behind `device` is; none for others.
///
/// # Errors
/// The driver's.
#[allow(unsafe_code)]
pub fn card(device: &Device) -> Result<Option<Card>> {
    let Device::Cuda(cuda) = device else { return Ok(None) };
    let stream = cuda.cuda_stream();
    let context = stream.context();
    context.bind_to_thread().w()?;
    let (free, memory) = result::mem_get_info().w()?;
    let mut driver = 0;
    // SAFETY: a number is written.
    unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result().w()?;
    Ok(Some(Card { name: context.name().w()?, capability: super::capability(cuda)?, memory, free, driver }))
}

/// Why kernels of ours will not run on `device`, which then takes slower forms: NVRTC's or the driver's words. Compiles them.
#[must_use]
pub fn missing_kernels(device: &Device) -> Vec<String> {
    let Device::Cuda(cuda) = device else { return Vec::new() };
    let loads = |source: Source| match compiled(cuda, source) {
        Ok(_) => source.first(cuda).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    Source::ALL.into_iter().filter_map(loads).collect()
}
