//! The device that tests compute on, shared by the test programs of several crates.
#![allow(dead_code)] // each test program uses its part
#![allow(clippy::expect_used, clippy::panic)] // a test fails by panicking

use std::sync::LazyLock;

use candle_core::Device;

/// The CPU, or the GPU that `MATERIAL_TRANSFER_TEST_DEVICE` names: `cuda` or `metal`, in a build that has it.
pub(crate) fn device() -> Device {
    static DEVICE: LazyLock<Device> =
        LazyLock::new(|| match std::env::var("MATERIAL_TRANSFER_TEST_DEVICE").as_deref() {
            Err(_) | Ok("cpu") => Device::Cpu,
            // On a stream of its own: tests run on several threads, each of which has another default stream.
            Ok("cuda") => Device::new_cuda_with_stream(0).expect("a CUDA device"),
            Ok("metal") => Device::new_metal(0).expect("a Metal device"),
            Ok(other) => panic!("MATERIAL_TRANSFER_TEST_DEVICE is {other:?}; it may be cpu, cuda or metal"),
        });
    DEVICE.clone()
}

/// Factor on tolerances that were settled on the CPU: a GPU sums in another order and has other functions.
pub(crate) fn slack() -> f64 {
    if device().is_cpu() { 1.0 } else { 4.0 }
}
