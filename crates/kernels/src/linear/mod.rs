//! The linear map y = x·Wᵀ + b over the last dimension.

mod int8;
#[cfg(test)]
mod tests;

use candle_core::{D, Device, Layout, Result, Tensor};

use crate::Activation;
use crate::cpu::Values;
use crate::cpu::epilogue::Epilogue;
use crate::cpu::gemm::{Shape, gemm};
use crate::cpu::microkernel::Microkernel;
use crate::cpu::microkernel::int8::Int8Microkernel;
use crate::cpu::pack::{Packed, Rows};
use crate::cpu::scratch::Output;
use crate::gpu;
use crate::weight::Weight;

/// A linear map: weight (out, in), optional bias (out), optional activation after the bias.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    activation: Option<Activation>,
    gated: bool,
    int8: bool,
}

impl Linear {
    /// `weight`: (out, in); `bias`: (out).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight: Weight::new(weight), bias, activation: None, gated: false, int8: false }
    }

    /// A map with GEGLU after the bias (Shazeer 2020): the first half of its outputs times the GELU of the second, so that
    /// out/2 remain.
    pub fn geglu(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { gated: true, ..Self::new(weight, bias) }
    }

    /// Function applied after the bias.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = Some(activation);
        self
    }

    /// `x` (…, in) → (…, out), or (…, out/2) with GEGLU.
    ///
    /// # Errors
    /// Where the weight does not fit `x`, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, None)
    }

    /// [`Linear::forward`] plus `residual` (…, out) before the activation.
    ///
    /// # Errors
    /// Where the weight does not fit `x` or the residual the result, of a map with GEGLU, or where the device fails.
    pub fn forward_with_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.run(x, Some(residual))
    }

    fn run(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        if self.gated && (residual.is_some() || self.activation.is_some()) {
            candle_core::bail!("GEGLU takes neither a residual nor an activation");
        }
        if !self.weight.supports(x) {
            return reference(x, self, residual);
        }
        if self.int8 {
            return int8::optimised(Int8Microkernel::best(), x, self, residual);
        }
        optimised(Microkernel::best(), x, self, residual)
    }
}

/// The definition.
fn reference(x: &Tensor, map: &Linear, residual: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let width = x.dim(D::Minus1)?;
    // One matrix product whatever the leading dimensions: batched products re-pack the weight for each of them.
    let rows = x.contiguous()?.reshape(((), width))?;
    let weight = map.weight.tensor(x)?;
    let y = if map.int8 { int8::reference_product(&rows, &weight)? } else { rows.matmul(&weight.t()?)? };
    if let Some(last) = dims.last_mut() {
        *last = if map.gated { y.dim(1)? / 2 } else { y.dim(1)? };
    }
    if let Some(y) = finish(&y, map, residual)? {
        return y.reshape(dims);
    }
    let y = match &map.bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    if let Some(last) = dims.last_mut() {
        *last = y.dim(1)?;
    }
    let y = y.reshape(dims)?;
    let y = match residual {
        Some(residual) => (y + residual)?,
        None => y,
    };
    match map.activation {
        Some(activation) => activation.apply(&y),
        None if map.gated => crate::geglu(&y),
        None => Ok(y),
    }
}

/// The product `y` (rows, out) with all that follows it in one pass, where a GPU can: `y` itself or GEGLU's half of it.
fn finish(y: &Tensor, map: &Linear, residual: Option<&Tensor>) -> Result<Option<Tensor>> {
    if map.gated {
        return gpu::geglu(y, map.bias.as_ref()).transpose();
    }
    let residual = match residual {
        Some(residual) if y.device().is_cuda() => Some(residual.contiguous()?.reshape(y.shape())?),
        _ => None,
    };
    let epilogue = gpu::Epilogue {
        bias: map.bias.as_ref(),
        residual: residual.as_ref(),
        activation: map.activation,
        ..gpu::Epilogue::default()
    };
    match gpu::finish_rows(y, epilogue) {
        Some(finished) => finished.map(|()| Some(y.clone())),
        None => Ok(None),
    }
}

/// Rows of any layout times the packed weight.
#[allow(unsafe_code)]
fn optimised(
    microkernel: &'static Microkernel,
    x: &Tensor,
    map: &Linear,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let sizes = Sizes::of(x, map, residual)?;
    let Sizes { m, n, k, .. } = sizes;
    if map.gated && !n.is_multiple_of(microkernel.nr) {
        // Values and gates do not share whole panels: GEGLU as a step of its own.
        return crate::geglu(&optimised(microkernel, x, &Linear { gated: false, ..map.clone() }, None)?);
    }
    let row = |lane| map.row(lane, microkernel.nr, n);
    let packed =
        map.weight.packed(|values| Packed::new(values, n, k, microkernel.nr, |lane, i| row(lane) * k + i))?;
    let x = match strides(x.layout()) {
        Some(_) => x.clone(),
        None => x.contiguous()?,
    };
    let values = Values::of(&x)?;
    let (inner, steps) = common_strides(&x)?;
    let rows = Rows { microkernel, values: &values, rows: m, inner, steps, width: microkernel.mr };
    let addends = Addends::of(map, residual)?;
    let addends = addends.values()?;
    let mut output = Output::new(m * sizes.width);
    let c = (output.shared(), sizes.width);
    // SAFETY: rows and weight are packed for this microkernel; `gemm` writes all of the output, m rows of `width` values,
    // which has room for it, from these threads only.
    let y = unsafe {
        gemm(microkernel, Shape::rows_first(microkernel, m, n, k), &rows, packed, c, addends.epilogue(map));
        output.finish()
    };
    Tensor::from_vec(y, sizes.dims, &Device::Cpu)
}

/// Sizes of one call.
struct Sizes {
    /// Rows of `x`, values and gates that come of each, values it has.
    m: usize,
    n: usize,
    k: usize,
    /// Dimensions of the result, and its last one.
    dims: Vec<usize>,
    width: usize,
}

impl Sizes {
    /// The sizes, where everything fits.
    fn of(x: &Tensor, map: &Linear, residual: Option<&Tensor>) -> Result<Self> {
        let &[n, k] = map.weight.dims() else {
            candle_core::bail!("a linear map's weight has two dimensions, not {:?}", map.weight.dims())
        };
        let width = if map.gated { n / 2 } else { n };
        let mut dims = x.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == k => *last = width,
            _ => candle_core::bail!("a linear map of {k} values cannot take {:?}", x.dims()),
        }
        if let Some(residual) = residual.filter(|residual| residual.dims() != dims) {
            candle_core::bail!("{:?} cannot be added to {dims:?}", residual.dims());
        }
        if let Some(bias) = map.bias.as_ref().filter(|bias| bias.dims() != [n]) {
            candle_core::bail!("a bias of {:?} where {n} values are needed", bias.dims());
        }
        Ok(Self { m: x.elem_count() / k.max(1), n, k, dims, width })
    }
}

impl Linear {
    /// The row of the weight that is lane `lane` of panels of `nr`, which with GEGLU hold values in their first half and
    /// the gates of these in their second.
    fn row(&self, lane: usize, nr: usize, n: usize) -> usize {
        let half = nr / 2;
        if self.gated {
            lane / nr * half + lane % half + if lane % nr < half { 0 } else { n / 2 }
        } else {
            lane
        }
    }
}

/// What is added to the products of a map, contiguous.
struct Addends {
    bias: Option<Tensor>,
    residual: Option<Tensor>,
}

/// The values of [`Addends`].
struct AddendValues<'a> {
    bias: Option<Values<'a>>,
    residual: Option<Values<'a>>,
}

impl Addends {
    fn of(map: &Linear, residual: Option<&Tensor>) -> Result<Self> {
        let in_order = |x: Option<&Tensor>| x.map(Tensor::contiguous).transpose();
        Ok(Self { bias: in_order(map.bias.as_ref())?, residual: in_order(residual)? })
    }

    fn values(&self) -> Result<AddendValues<'_>> {
        let bias = Values::optional(self.bias.as_ref())?;
        Ok(AddendValues { bias, residual: Values::optional(self.residual.as_ref())? })
    }
}

impl AddendValues<'_> {
    /// What ends in the products of `map`.
    fn epilogue(&self, map: &Linear) -> Epilogue<'_> {
        Epilogue {
            column_bias: self.bias.as_deref(),
            residual: self.residual.as_deref(),
            activation: map.activation,
            gated: map.gated,
            ..Epilogue::default()
        }
    }
}

/// [`strides`] of a tensor that has them.
fn common_strides(x: &Tensor) -> Result<(usize, [usize; 3])> {
    match strides(x.layout()) {
        Some(strides) => Ok(strides),
        None => candle_core::bail!("rows without a common stride: {:?}", x.layout()),
    }
}

/// Rows of a batch element, and steps from one batch element to the next, one row to the next, one value to the next; for
/// up to three dimensions, or any number of contiguous ones.
fn strides(layout: &Layout) -> Option<(usize, [usize; 3])> {
    let (dims, steps) = (layout.dims(), layout.stride());
    match (dims, steps) {
        (&[_, n, _], &[b, r, c]) => Some((n.max(1), [b, r, c])),
        (&[n, _], &[r, c]) => Some((n.max(1), [0, r, c])),
        _ if layout.is_contiguous() => {
            let width = dims.last().copied().unwrap_or(1);
            Some((usize::MAX, [0, width, 1]))
        }
        _ => None,
    }
}
