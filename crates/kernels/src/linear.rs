//! The linear map y = x·Wᵀ + b over the last dimension.

mod int8;

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

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::{Linear, optimised, reference};
    use crate::Activation;
    use crate::compare::{assert_close, noise};
    use crate::cpu::microkernel::Microkernel;

    #[test]
    fn optimised_agrees_with_reference() -> Result<()> {
        for microkernel in Microkernel::all() {
            for (m, n, k) in [
                (1, 1, 1),
                (1, 33, 7),
                (5, 16, 321),
                (6, 32, 64),
                (7, 31, 640),
                (77, 100, 65),
                (193, 47, 333),
                (400, 1100, 30),
                (0, 4, 4),
            ] {
                let (weight, bias) = (noise(&[n, k], 1), noise(&[n], 2));
                for activation in [None, Some(Activation::Gelu)] {
                    let make = || {
                        let map = Linear::new(weight.clone(), Some(bias.clone()));
                        activation.map_or(map.clone(), |activation| map.activation(activation))
                    };
                    let x = noise(&[m, k], 3);
                    if m > 0 {
                        assert_close(
                            &optimised(microkernel, &x, &make(), None)?,
                            &reference(&x, &make(), None)?,
                            2e-6,
                            microkernel.name,
                        );
                    } else {
                        assert_eq!(optimised(microkernel, &x, &make(), None)?.dims(), [0, n]);
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn rows_of_any_layout() -> Result<()> {
        let map = || Linear::new(noise(&[20, 12], 1), None);
        let tokens = noise(&[2, 12, 35], 2).transpose(1, 2)?;
        let four = noise(&[2, 3, 5, 12], 3).transpose(1, 2)?;
        let some = noise(&[2, 40, 12], 4).narrow(1, 3, 30)?;
        for microkernel in Microkernel::all() {
            for x in [&tokens, &four, &some] {
                assert_close(
                    &optimised(microkernel, x, &map(), None)?,
                    &reference(x, &map(), None)?,
                    2e-6,
                    microkernel.name,
                );
            }
        }
        Ok(())
    }

    #[test]
    fn weights_in_f16_give_the_bits_of_the_same_weights_in_f32() -> Result<()> {
        for microkernel in Microkernel::all() {
            for (m, n, k) in [(1, 33, 7), (7, 31, 640), (77, 100, 65), (400, 1100, 333)] {
                let half = noise(&[n, k], 1).to_dtype(DType::F16)?;
                let x = noise(&[m, k], 3);
                let want = optimised(microkernel, &x, &Linear::new(half.to_dtype(DType::F32)?, None), None)?;
                assert_close(
                    &optimised(microkernel, &x, &Linear::new(half.clone(), None), None)?,
                    &want,
                    0.0,
                    microkernel.name,
                );
                assert_close(&reference(&x, &Linear::new(half, None), None)?, &want, 2e-6, microkernel.name);
            }
        }
        Ok(())
    }

    #[test]
    fn sums_with_skips() -> Result<()> {
        let map = || Linear::new(noise(&[45, 12], 1), Some(noise(&[45], 2))).activation(Activation::Silu);
        let (x, skip) = (noise(&[2, 37, 12], 3), noise(&[2, 45, 37], 4).transpose(1, 2)?);
        for microkernel in Microkernel::all() {
            let want = reference(&x, &map(), Some(&skip))?;
            assert_close(&optimised(microkernel, &x, &map(), Some(&skip))?, &want, 2e-6, microkernel.name);
            assert!(optimised(microkernel, &x, &map(), Some(&x)).is_err(), "a residual of another shape");
        }
        Ok(())
    }

    #[test]
    fn geglu_in_and_after_the_product() -> Result<()> {
        for microkernel in Microkernel::all() {
            // The last three widths are no multiples of a panel.
            for (m, n, k) in
                [(1, 64, 7), (77, 128, 640), (200, 2048, 333), (5, 6, 9), (9, 100, 40), (3, 72, 8)]
            {
                for bias in [None, Some(noise(&[n], 2))] {
                    let map = || Linear::geglu(noise(&[n, k], 1), bias.clone());
                    let x = noise(&[m, k], 3);
                    let what = format!("{} {m}x{n}x{k}", microkernel.name);
                    assert_close(
                        &optimised(microkernel, &x, &map(), None)?,
                        &reference(&x, &map(), None)?,
                        5e-6,
                        &what,
                    );
                }
            }
        }
        let map = Linear::geglu(noise(&[8, 4], 1), None).activation(Activation::Silu);
        assert!(map.forward(&noise(&[2, 4], 1)).is_err());
        Ok(())
    }

    #[test]
    fn blank_weights_and_clones() -> Result<()> {
        let blank = Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as((64, 32))?;
        let map = Linear::new(blank, None);
        let twin = map.clone();
        let x = noise(&[3, 32], 1);
        let y = optimised(Microkernel::best(), &x, &map, None)?;
        assert_eq!(y.sqr()?.sum_all()?.to_scalar::<f32>()?, 0.0);
        assert!(reference(&x, &twin, None).is_err(), "the tensor is let go once it is packed");
        assert_eq!(optimised(Microkernel::best(), &x, &twin, None)?.dims(), [3, 64]);
        assert!(
            optimised(Microkernel::best(), &noise(&[3, 31], 1), &map, None).is_err(),
            "a wrong width is an error"
        );
        Ok(())
    }
}
