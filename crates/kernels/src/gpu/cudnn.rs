//! f16 convolutions through cuDNN with sums in f32: candle's own call sums in f16, which loses the UNet's widest layers
//! (11,520 products a sum). The algorithm is chosen once per shape, and the workspace is kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::cudnn::{ConvForward, Cudnn};
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::cuda_backend::{CudaStorage, DeviceId};
use candle_core::{CpuStorage, CustomOp2, DType, Error, Layout, Result, Shape, Tensor};
use half::f16;

/// Window of a convolution, equal along both axes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Geometry {
    pub(super) padding: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
}

/// See [`super::conv2d`].
pub(super) fn conv2d(x: &Tensor, weight: &Tensor, geometry: Geometry) -> Option<Result<Tensor>> {
    let fits = x.device().is_cuda() && x.dtype() == DType::F16 && weight.dtype() == DType::F16;
    let run = || x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &F32Sums(geometry));
    fits.then(run)
}

/// Shapes of input and weight, and the window: what the choice of an algorithm depends on.
type Case = ([usize; 4], [usize; 4], Geometry);

/// cuDNN on one device, for one thread: its handle may not be shared.
struct Engine {
    cudnn: Arc<Cudnn>,
    /// Algorithm and bytes of workspace by case.
    plans: HashMap<Case, (sys::cudnnConvolutionFwdAlgo_t, usize)>,
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
            engine.run(self.0, (x, x_layout), (weight, weight_layout))
        })
    }
}

impl Engine {
    #[allow(unsafe_code)]
    fn run(
        &mut self,
        geometry: Geometry,
        (x, x_layout): (&CudaStorage, &Layout),
        (weight, weight_layout): (&CudaStorage, &Layout),
    ) -> Result<(CudaStorage, Shape)> {
        let device = x.device.clone();
        let (b, c, h, w) = x_layout.shape().dims4()?;
        let (out, _, kh, kw) = weight_layout.shape().dims4()?;
        let case: Case = ([b, c, h, w], [out, c, kh, kw], geometry);
        let length = |side: usize, kernel: usize| {
            (side + 2 * geometry.padding - geometry.dilation * (kernel - 1) - 1) / geometry.stride + 1
        };
        let shape = [b, out, length(h, kh), length(w, kw)];

        let nchw = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let pair = |n: usize| [n as i32; 2];
        let four = |n: [usize; 4]| n.map(|n| n as i32);
        let conv = self
            .cudnn
            .create_conv2d::<f32>(
                pair(geometry.padding),
                pair(geometry.stride),
                pair(geometry.dilation),
                mode,
            )
            .map_err(Error::wrap)?;
        let x_shape = self.cudnn.create_4d_tensor::<f16>(nchw, four(case.0)).map_err(Error::wrap)?;
        let w_shape = self.cudnn.create_4d_filter::<f16>(nchw, four(case.1)).map_err(Error::wrap)?;
        let y_shape = self.cudnn.create_4d_tensor::<f16>(nchw, four(shape)).map_err(Error::wrap)?;
        let forward = ConvForward { conv: &conv, x: &x_shape, w: &w_shape, y: &y_shape };

        let (algorithm, bytes) = match self.plans.get(&case) {
            Some(plan) => *plan,
            None => {
                let algorithm = forward.pick_algorithm().map_err(Error::wrap)?;
                let bytes = forward.get_workspace_size(algorithm).map_err(Error::wrap)?;
                self.plans.insert(case, (algorithm, bytes));
                (algorithm, bytes)
            }
        };
        if self.workspace.as_ref().is_none_or(|held| held.len() < bytes) {
            // The old one goes first, so that both are never held.
            self.workspace = None;
            self.workspace = Some(device.alloc_zeros::<u8>(bytes.max(1))?);
        }
        // SAFETY: cuDNN writes every element before anything reads one.
        let mut y = unsafe { device.alloc::<f16>(shape.iter().product())? };
        let source = x.as_cuda_slice::<f16>()?.slice(x_layout.start_offset()..);
        let filter = weight.as_cuda_slice::<f16>()?.slice(weight_layout.start_offset()..);
        // SAFETY: the descriptors above state exactly these contiguous tensors' types and shapes.
        unsafe {
            forward
                .launch(algorithm, self.workspace.as_mut(), (f16::ONE, f16::ZERO), &source, &filter, &mut y)
                .map_err(Error::wrap)?;
        }
        Ok((CudaStorage::wrap_cuda_slice(y, device), Shape::from(shape.to_vec())))
    }
}
