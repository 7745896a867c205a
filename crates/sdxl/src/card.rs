//! What a CUDA card has and can do.

use candle_core::Device;

/// Bytes of a CUDA device's memory, where that is one.
pub(crate) fn memory(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    return kernels::card(device).ok().flatten().map(|card| card.memory as u64);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        None
    }
}

/// Compute capability of a CUDA device, ten times the major number plus the minor one; none for others.
pub(crate) fn capability(device: &Device) -> Option<i32> {
    #[cfg(feature = "cuda")]
    return kernels::card(device).ok().flatten().map(|card| card.capability);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        None
    }
}
