//! Convolutions through cuDNN with sums in f32. Candle's own call sums f16 in f16, which loses the UNet's widest layers
//! (11,520 products a sum), and lets cuDNN round f32 to the 11 bits of TF32. The algorithm is chosen once per shape, and the
//! workspace is kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::cudnn::{ConvForward, Cudnn, CudnnDataType, CudnnError};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr};
use candle_core::cuda_backend::{CudaDType, CudaStorage, DeviceId};
use candle_core::{CpuStorage, CustomOp2, DType, Error, Layout, Result, Shape, Tensor, WithDType};
use half::{bf16, f16};

/// Window of a convolution, equal along both axes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Geometry {
    pub(super) padding: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
}

/// See [`super::conv2d`].
pub(super) fn conv2d(x: &Tensor, weight: &Tensor, geometry: Geometry) -> Option<Result<Tensor>> {
    let known = matches!(x.dtype(), DType::F16 | DType::BF16 | DType::F32);
    let fits = x.device().is_cuda() && known && weight.dtype() == x.dtype();
    let run = || x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &F32Sums(geometry));
    fits.then(run)
}

/// Type of the values, shapes of input and weight, and the window: what the choice of an algorithm depends on.
type Case = (DType, [usize; 4], [usize; 4], Geometry);

/// An algorithm and the bytes of workspace it needs.
type Plan = (sys::cudnnConvolutionFwdAlgo_t, usize);

/// Largest workspace. Without a bound a transfer at 512² in three steps took 39 GiB of a GPU.
const WORKSPACE: usize = 512 << 20;

/// The algorithm that cuDNN expects to be the fastest, or one that fits into [`WORKSPACE`].
fn plan<T: CudnnDataType>(forward: &ConvForward<'_, T, f32, T>) -> std::result::Result<Plan, CudnnError> {
    use sys::cudnnConvolutionFwdAlgo_t::{
        CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
    };
    let fastest = forward.pick_algorithm()?;
    for algorithm in [fastest, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM] {
        match forward.get_workspace_size(algorithm) {
            Ok(bytes) if bytes <= WORKSPACE => return Ok((algorithm, bytes)),
            _ => {}
        }
    }
    // This one is there for every shape and needs next to nothing.
    let last = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM;
    Ok((last, forward.get_workspace_size(last)?))
}

/// cuDNN on one device, for one thread: its handle may not be shared.
struct Engine {
    cudnn: Arc<Cudnn>,
    plans: HashMap<Case, Plan>,
    workspace: Option<CudaSlice<u8>>,
}

thread_local! {
    static ENGINES: RefCell<HashMap<DeviceId, Engine>> = RefCell::default();
}

struct F32Sums(Geometry);

impl CustomOp2 for F32Sums {
    fn name(&self) -> &'static str {
        "conv2d-f32-sums"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Err(Error::Msg("cuDNN computes on CUDA devices only".to_owned()))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let device = x.device.clone();
        ENGINES.with_borrow_mut(|engines| {
            let engine = match engines.entry(device.id()) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    let cudnn = Cudnn::new(device.cuda_stream()).map_err(Error::wrap)?;
                    new.insert(Engine { cudnn, plans: HashMap::new(), workspace: None })
                }
            };
            let (geometry, x, weight) = (self.0, (x, x_layout), (weight, weight_layout));
            match x.0.dtype() {
                DType::F16 => engine.run::<f16>(geometry, x, weight),
                DType::BF16 => engine.run::<bf16>(geometry, x, weight),
                _ => engine.run::<f32>(geometry, x, weight),
            }
        })
    }
}

impl Engine {
    #[allow(unsafe_code)]
    fn run<T: CudaDType + CudnnDataType + DeviceRepr + WithDType>(
        &mut self,
        geometry: Geometry,
        (x, x_layout): (&CudaStorage, &Layout),
        (weight, weight_layout): (&CudaStorage, &Layout),
    ) -> Result<(CudaStorage, Shape)> {
        let device = x.device.clone();
        let (b, c, h, w) = x_layout.shape().dims4()?;
        let (out, _, kh, kw) = weight_layout.shape().dims4()?;
        let case: Case = (T::DTYPE, [b, c, h, w], [out, c, kh, kw], geometry);
        let length = |side: usize, kernel: usize| {
            (side + 2 * geometry.padding - geometry.dilation * (kernel - 1) - 1) / geometry.stride + 1
        };
        let shape = [b, out, length(h, kh), length(w, kw)];

        let nchw = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let pair = |n: usize| [n as i32; 2];
        let four = |n: [usize; 4]| n.map(|n| n as i32);
        let mut conv = self
            .cudnn
            .create_conv2d::<f32>(
                pair(geometry.padding),
                pair(geometry.stride),
                pair(geometry.dilation),
                mode,
            )
            .map_err(Error::wrap)?;
        if T::DTYPE == DType::F32 {
            conv.set_math_type(sys::cudnnMathType_t::CUDNN_FMA_MATH).map_err(Error::wrap)?;
        }
        let x_shape = self.cudnn.create_4d_tensor::<T>(nchw, four(case.1)).map_err(Error::wrap)?;
        let w_shape = self.cudnn.create_4d_filter::<T>(nchw, four(case.2)).map_err(Error::wrap)?;
        let y_shape = self.cudnn.create_4d_tensor::<T>(nchw, four(shape)).map_err(Error::wrap)?;
        let forward = ConvForward { conv: &conv, x: &x_shape, w: &w_shape, y: &y_shape };

        let (algorithm, bytes) = match self.plans.get(&case) {
            Some(plan) => *plan,
            None => {
                let plan = plan(&forward).map_err(Error::wrap)?;
                self.plans.insert(case, plan);
                plan
            }
        };
        if self.workspace.as_ref().is_none_or(|held| held.len() < bytes) {
            // The old one goes first, so that both are never held.
            self.workspace = None;
            self.workspace = Some(device.alloc_zeros::<u8>(bytes.max(1))?);
        }
        // SAFETY: cuDNN writes every element before anything reads one.
        let mut y = unsafe { device.alloc::<T>(shape.iter().product())? };
        let source = x.as_cuda_slice::<T>()?.slice(x_layout.start_offset()..);
        let filter = weight.as_cuda_slice::<T>()?.slice(weight_layout.start_offset()..);
        // SAFETY: the descriptors above state exactly these contiguous tensors' types and shapes.
        unsafe {
            forward
                .launch(algorithm, self.workspace.as_mut(), (T::one(), T::zero()), &source, &filter, &mut y)
                .map_err(Error::wrap)?;
        }
        Ok((CudaStorage::wrap_cuda_slice(y, device), Shape::from(shape.to_vec())))
    }
}
