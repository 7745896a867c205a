//! Group normalisation on CUDA by our own kernel (`norm.cu`): candle's operations would pass over memory eleven times.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc;
use candle_core::cuda_backend::{CudaDType, CudaStorage, WrapErr};
use candle_core::{CpuStorage, CudaDevice, CustomOp3, DType, Device, Error, Layout, Result, Shape, Tensor};
use half::{bf16, f16};

use crate::normalisation::channels_of_group;

/// See [`super::group_norm`].
pub(super) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Option<Result<Tensor>> {
    let Device::Cuda(device) = x.device() else { return None };
    let known = matches!(x.dtype(), DType::F16 | DType::BF16 | DType::F32);
    if !known || x.rank() != 4 || x.elem_count() == 0 || kernel(device, "measure_f32").is_err() {
        return None;
    }
    let f32s = |t: &Tensor| t.to_dtype(DType::F32)?.contiguous();
    let run =
        || x.contiguous()?.apply_op3_no_bwd(&f32s(weight)?, &f32s(bias)?, &GroupNorm { groups, eps, silu });
    Some(run())
}

/// Threads of a block.
const THREADS: usize = 512;
/// Values that a block measures or writes at least, as long as a group is cut into no more than [`CHUNKS`].
const CHUNK: usize = 16 * THREADS;
/// Blocks of a group, at most [`THREADS`]: with 32 groups they fill every GPU.
const CHUNKS: usize = 64;

/// A kernel of `norm.cu`; an error where NVRTC cannot compile or the driver cannot load it.
fn kernel(device: &CudaDevice, name: &str) -> Result<CudaFunction> {
    static PTX: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compile = || match nvrtc::compile_ptx(include_str!("norm.cu")) {
        Ok(ptx) => Ok(ptx.to_src()),
        Err(error) => Err(error.to_string()),
    };
    let ptx = PTX.get_or_init(compile).as_ref().map_err(|error| Error::Msg(error.clone()))?;
    Ok(device.get_or_load_custom_func(name, "material-transfer-norm", ptx)?.into_cuda_function())
}

struct GroupNorm {
    groups: usize,
    eps: f64,
    silu: bool,
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group-norm"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Err(Error::Msg("this kernel computes on CUDA devices only".to_owned()))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (weight, bias) = ((weight, weight_layout), (bias, bias_layout));
        match x.dtype() {
            DType::F16 => self.run::<f16>("f16", (x, x_layout), weight, bias),
            DType::BF16 => self.run::<bf16>("bf16", (x, x_layout), weight, bias),
            _ => self.run::<f32>("f32", (x, x_layout), weight, bias),
        }
    }
}

impl GroupNorm {
    #[allow(unsafe_code)]
    fn run<T: CudaDType + DeviceRepr>(
        &self,
        form: &str,
        (x, x_layout): (&CudaStorage, &Layout),
        (weight, weight_layout): (&CudaStorage, &Layout),
        (bias, bias_layout): (&CudaStorage, &Layout),
    ) -> Result<(CudaStorage, Shape)> {
        let (images, channels, height, width) = x_layout.shape().dims4()?;
        if weight_layout.shape().elem_count() != channels || bias_layout.shape().elem_count() != channels {
            candle_core::bail!(
                "a norm of {} channels cannot take {channels}",
                weight_layout.shape().elem_count()
            );
        }
        let device = x.device.clone();
        let plane = height * width;
        let size = plane * channels_of_group(channels, self.groups)?;
        let chunks = size.div_ceil(CHUNK).clamp(1, CHUNKS);
        let source = x.as_cuda_slice::<T>()?.slice(x_layout.start_offset()..);
        let weight = weight.as_cuda_slice::<f32>()?.slice(weight_layout.start_offset()..);
        let bias = bias.as_cuda_slice::<f32>()?.slice(bias_layout.start_offset()..);
        let grid = |across: usize, down: usize| LaunchConfig {
            grid_dim: (across as u32, down as u32, 1),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: 0,
        };

        let mut parts = device.alloc_zeros::<f32>(3 * images * self.groups * chunks)?;
        let measure = kernel(&device, &format!("measure_{form}"))?;
        let stream = device.cuda_stream();
        let mut launch = stream.launch_builder(&measure);
        let size = size as u64;
        launch.arg(&source).arg(&mut parts).arg(&size);
        // SAFETY: the kernel's arguments are these; `x` holds images x groups x size values, `parts` three floats a block.
        unsafe { launch.launch(grid(chunks, images * self.groups)) }.w()?;

        // SAFETY: the kernel writes every element before anything reads one.
        let mut y = unsafe { device.alloc::<T>(x_layout.shape().elem_count())? };
        let apply = kernel(&device, &format!("apply_{form}"))?;
        let mut launch = stream.launch_builder(&apply);
        let (across, plane) = (plane.div_ceil(CHUNK), plane as u64);
        let numbers = [channels as i32, self.groups as i32, chunks as i32, i32::from(self.silu)];
        let eps = self.eps as f32;
        launch.arg(&source).arg(&parts).arg(&weight).arg(&bias).arg(&mut y).arg(&plane);
        launch.arg(&numbers[0]).arg(&numbers[1]).arg(&numbers[2]).arg(&eps).arg(&numbers[3]);
        // SAFETY: as above; `weight` and `bias` hold a float a channel, and a block has more threads than a group chunks.
        unsafe { launch.launch(grid(across, images * channels)) }.w()?;
        Ok((CudaStorage::wrap_cuda_slice(y, device), x_layout.shape().clone()))
    }
}
