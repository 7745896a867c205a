//! Convolutions through cuDNN with sums in f32. Candle's own call sums f16 in f16, which loses the UNet's widest layers
//! (11,520 products a sum), and lets cuDNN round f32 to the 11 bits of TF32. Half precision runs on tensor cores, with channels
//! side by side where the input's are. An algorithm is chosen once per shape, together with its kind of arithmetic, and the
//! workspace is kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, DType, Error, Result, Tensor};

use super::{address, device, rows_of, unwritten};
use crate::gpu::channels_last;
use crate::gpu::optimisations::{self, Optimisation};
use crate::window::Window;

/// Order of a picture's values in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Order {
    ChannelsFirst,
    ChannelsLast,
}

/// Largest workspace. Without a bound a transfer at 512² in three steps took 39 GiB of a GPU.
const WORKSPACE: usize = 512 << 20;

/// Convolution with sums in f32: `x` (b, in, h, w), `weight` (out, in, kh, kw), no bias; `window` without padding at the end.
/// The result is held by nobody else. Half precision comes back with its channels last.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, window: Window) -> Option<Result<Tensor>> {
    let cuda = device(x)?;
    let known = matches!(x.dtype(), DType::F16 | DType::BF16 | DType::F32);
    let fits = known && weight.dtype() == x.dtype() && x.elem_count() > 0;
    let run = || {
        if !channels_last(x.device(), x.dtype()) {
            return compute(cuda, &x.contiguous()?, &weight.contiguous()?, window, Order::ChannelsFirst);
        }
        let last = |t: &Tensor| match rows_of(t) {
            Some(rows) => Ok(rows),
            None => t.permute((0, 2, 3, 1))?.contiguous(),
        };
        match compute(cuda, &last(x)?, &last(weight)?, window, Order::ChannelsLast) {
            Ok(y) => y.permute((0, 3, 1, 2)),
            // Some widths have no such form.
            Err(_) => {
                let (x, weight) = (x.contiguous()?, weight.contiguous()?);
                last(&compute(cuda, &x, &weight, window, Order::ChannelsFirst)?)?.permute((0, 3, 1, 2))
            }
        }
    };
    fits.then(run)
}

/// What the choice of an algorithm depends on: type, order, shapes of input and weight (in cuDNN's order: b, c, h, w), the window,
/// and whether tensor cores are asked for.
type Case = (DType, Order, [usize; 4], [usize; 4], Window, bool);

/// cuDNN on one device, for one thread: its handle may not be shared.
struct Engine {
    handle: sys::cudnnHandle_t,
    plans: HashMap<Case, std::result::Result<Plan, String>>,
    workspace: Option<CudaSlice<u8>>,
}

impl Drop for Engine {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by `Engine::new`, used nowhere else. Plans hold descriptors only, which outlive it.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

thread_local! {
    static ENGINES: RefCell<HashMap<DeviceId, Engine>> = RefCell::default();
}

/// A convolution that can be queued.
struct Plan {
    x: sys::cudnnTensorDescriptor_t,
    weight: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    conv: sys::cudnnConvolutionDescriptor_t,
    algorithm: sys::cudnnConvolutionFwdAlgo_t,
    workspace: usize,
    /// b, c, h, w of the result.
    shape: [usize; 4],
}

impl Drop for Plan {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by `Plan::new`, used nowhere else.
        let _ = unsafe { result::destroy_tensor_descriptor(self.x) };
        // SAFETY: as above.
        let _ = unsafe { result::destroy_filter_descriptor(self.weight) };
        // SAFETY: as above.
        let _ = unsafe { result::destroy_tensor_descriptor(self.y) };
        // SAFETY: as above.
        let _ = unsafe { result::destroy_convolution_descriptor(self.conv) };
    }
}

/// `x` and `weight` contiguous in this order of values; so is the result.
fn compute(cuda: &CudaDevice, x: &Tensor, weight: &Tensor, window: Window, order: Order) -> Result<Tensor> {
    let dims = |t: &Tensor| {
        let (a, b, c, d) = t.dims4()?;
        Ok::<_, Error>(match order {
            Order::ChannelsFirst => [a, b, c, d],
            Order::ChannelsLast => [a, d, b, c],
        })
    };
    let case: Case = (
        x.dtype(),
        order,
        dims(x)?,
        dims(weight)?,
        window,
        optimisations::enabled(Optimisation::TensorCores),
    );
    ENGINES.with_borrow_mut(|engines| {
        let engine = match engines.entry(cuda.id()) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(Engine::new(cuda)?),
        };
        engine.run(cuda, case, x, weight)
    })
}

impl Engine {
    #[allow(unsafe_code)]
    fn new(cuda: &CudaDevice) -> Result<Self> {
        cuda.cuda_stream().context().bind_to_thread().map_err(Error::wrap)?;
        let handle = result::create_handle().map_err(Error::wrap)?;
        let engine = Self { handle, plans: HashMap::new(), workspace: None };
        // SAFETY: handle and stream are alive; the device's stream lives as long as the device.
        unsafe { result::set_stream(handle, cuda.cuda_stream().cu_stream().cast()) }.map_err(Error::wrap)?;
        Ok(engine)
    }

    #[allow(unsafe_code)]
    fn run(&mut self, cuda: &CudaDevice, case: Case, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let handle = self.handle;
        let made =
            self.plans.entry(case).or_insert_with(|| Plan::new(handle, case).map_err(|e| e.to_string()));
        let plan = made.as_ref().map_err(|error| Error::Msg(error.clone()))?;
        if self.workspace.as_ref().is_none_or(|held| held.len() < plan.workspace) {
            // The old one goes first, so that both are never held.
            self.workspace = None;
            // SAFETY: cuDNN asks nothing of what is in it.
            self.workspace = Some(unsafe { cuda.alloc::<u8>(plan.workspace.max(1))? });
        }
        let [b, c, h, w] = plan.shape;
        let y = match case.1 {
            Order::ChannelsFirst => unwritten(cuda, x.dtype(), (b, c, h, w))?,
            Order::ChannelsLast => unwritten(cuda, x.dtype(), (b, h, w, c))?,
        };
        let stream = cuda.cuda_stream();
        let space = self.workspace.as_ref().map_or(0, |space| space.device_ptr(&stream).0);
        let (one, zero) = (1f32, 0f32);
        let number = |n: &f32| std::ptr::from_ref(n).cast::<c_void>();
        let (x_at, weight_at, y_at) = (address(x)?, address(weight)?, address(&y)?);
        // SAFETY: the descriptors state exactly these contiguous tensors' types and shapes, and the workspace has room.
        unsafe {
            result::convolution_forward(
                handle,
                number(&one),
                plan.x,
                x_at as *const c_void,
                plan.weight,
                weight_at as *const c_void,
                plan.conv,
                plan.algorithm,
                space as *mut c_void,
                plan.workspace,
                number(&zero),
                plan.y,
                y_at as *mut c_void,
            )
        }
        .map_err(Error::wrap)?;
        Ok(y)
    }
}

impl Plan {
    #[allow(unsafe_code)]
    fn new(handle: sys::cudnnHandle_t, case: Case) -> std::result::Result<Self, CudnnError> {
        use sys::cudnnMathType_t::{CUDNN_DEFAULT_MATH, CUDNN_FMA_MATH, CUDNN_TENSOR_OP_MATH};
        let (dtype, order, x, weight, window, tensor_cores) = case;
        let length = |side: usize, kernel: usize| {
            (side + 2 * window.padding).saturating_sub(window.dilation * (kernel - 1) + 1) / window.stride + 1
        };
        let shape = [x[0], weight[0], length(x[2], weight[2]), length(x[3], weight[3])];
        let format = match order {
            Order::ChannelsFirst => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW,
            Order::ChannelsLast => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC,
        };
        let values = match dtype {
            DType::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
            DType::BF16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
            _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        };
        // f32 stays f32; the kind of arithmetic that half precision gets comes back with the algorithm.
        let math = match dtype {
            DType::F32 => CUDNN_FMA_MATH,
            _ if tensor_cores => CUDNN_TENSOR_OP_MATH,
            _ => CUDNN_DEFAULT_MATH,
        };
        let int = |n: usize| n as i32;
        let Window { padding, stride, dilation, .. } = window;
        let mut plan = Self {
            x: result::create_tensor_descriptor()?,
            weight: result::create_filter_descriptor()?,
            y: result::create_tensor_descriptor()?,
            conv: result::create_convolution_descriptor()?,
            algorithm: sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
            workspace: 0,
            shape,
        };
        // SAFETY: the descriptors have just been made, and are set to what the case says.
        unsafe {
            result::set_tensor4d_descriptor(plan.x, format, values, x.map(int))?;
            result::set_filter4d_descriptor(plan.weight, values, format, weight.map(int))?;
            result::set_tensor4d_descriptor(plan.y, format, values, shape.map(int))?;
            result::set_convolution2d_descriptor(
                plan.conv,
                int(padding),
                int(padding),
                int(stride),
                int(stride),
                int(dilation),
                int(dilation),
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )?;
            result::set_convolution_math_type(plan.conv, math)?;
        }
        plan.choose(handle, dtype)?;
        Ok(plan)
    }

    /// Takes the algorithm that cuDNN expects to be the fastest of those whose workspace fits, and its kind of arithmetic.
    #[allow(unsafe_code)]
    fn choose(&mut self, handle: sys::cudnnHandle_t, dtype: DType) -> std::result::Result<(), CudnnError> {
        const MOST: usize = 8;
        let mut count = 0;
        // SAFETY: plain numbers, for which zeros are a value.
        let mut found: [sys::cudnnConvolutionFwdAlgoPerf_t; MOST] = unsafe { std::mem::zeroed() };
        // SAFETY: handle and descriptors are alive, and there is room for as many as are asked for.
        unsafe {
            result::get_convolution_forward_algorithm(
                handle,
                self.x,
                self.weight,
                self.conv,
                self.y,
                MOST as i32,
                &raw mut count,
                found.as_mut_ptr(),
            )?;
        }
        for each in found.into_iter().take(count as usize) {
            let exact = dtype != DType::F32 || each.mathType == sys::cudnnMathType_t::CUDNN_FMA_MATH;
            if each.status.result().is_err() || each.memory > WORKSPACE || !exact {
                continue;
            }
            // SAFETY: the descriptor is alive.
            unsafe { result::set_convolution_math_type(self.conv, each.mathType)? };
            // What the arithmetic just set needs, which need not be what the list says.
            // SAFETY: handle and descriptors are alive.
            let bytes = unsafe {
                result::get_convolution_forward_workspace_size(
                    handle,
                    self.x,
                    self.weight,
                    self.conv,
                    self.y,
                    each.algo,
                )
            };
            if let Ok(bytes) = bytes
                && bytes <= WORKSPACE
            {
                (self.algorithm, self.workspace) = (each.algo, bytes);
                return Ok(());
            }
        }
        // SAFETY: handle and descriptors are alive.
        self.workspace = unsafe {
            result::get_convolution_forward_workspace_size(
                handle,
                self.x,
                self.weight,
                self.conv,
                self.y,
                self.algorithm,
            )?
        };
        Ok(())
    }
}
