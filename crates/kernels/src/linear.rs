//! The linear map y = x·Wᵀ + b over the last dimension.

mod int8;

use candle_core::{D, Device, Layout, Result, Tensor};

use crate::Activation;
use crate::cpu;
use crate::cpu::epilogue::Epilogue;
use crate::cpu::gemm::{Shape, gemm};
use crate::cpu::micro::Micro;
use crate::cpu::micro::int8::Int8Micro;
use crate::cpu::pack::{Packed, Rows};
use crate::cpu::scratch::{Output, Shared};
use crate::gpu::Ending;
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
}

/// `x` (…, in) → (…, out), or (…, out/2) with GEGLU.
pub fn linear(x: &Tensor, map: &Linear) -> Result<Tensor> {
    sum(x, map, None)
}

/// `linear` plus `addend` (…, out) before the activation. Not together with GEGLU.
pub fn linear_add(x: &Tensor, map: &Linear, addend: &Tensor) -> Result<Tensor> {
    sum(x, map, Some(addend))
}

fn sum(x: &Tensor, map: &Linear, addend: Option<&Tensor>) -> Result<Tensor> {
    if map.gated && (addend.is_some() || map.activation.is_some()) {
        candle_core::bail!("GEGLU takes neither an addend nor an activation");
    }
    match map.weight.takes(x) {
        true if map.int8 => int8::fast(Int8Micro::best(), x, map, addend),
        true => fast(Micro::best(), x, map, addend),
        false => plain(x, map, addend),
    }
}

/// The definition.
fn plain(x: &Tensor, map: &Linear, addend: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let width = x.dim(D::Minus1)?;
    // One matrix product whatever the leading dimensions: batched products re-pack the weight for each of them.
    let rows = x.contiguous()?.reshape(((), width))?;
    let weight = map.weight.plain(x)?;
    let y = match map.int8 {
        true => int8::plain_product(&rows, &weight)?,
        false => rows.matmul(&weight.t()?)?,
    };
    if let Some(last) = dims.last_mut() {
        *last = if map.gated { y.dim(1)? / 2 } else { y.dim(1)? };
    }
    if let Some(y) = ended(&y, map, addend)? {
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
    let y = match addend {
        Some(addend) => (y + addend)?,
        None => y,
    };
    match map.activation {
        Some(activation) => activation.apply(&y),
        None if map.gated => crate::geglu(&y),
        None => Ok(y),
    }
}

/// The product `y` (rows, out) with all that follows it in one pass, where a GPU can: `y` itself or GEGLU's half of it.
fn ended(y: &Tensor, map: &Linear, addend: Option<&Tensor>) -> Result<Option<Tensor>> {
    if map.gated {
        return crate::gpu::geglu(y, map.bias.as_ref()).transpose();
    }
    let skip = match addend {
        Some(addend) if y.device().is_cuda() => Some(addend.contiguous()?.reshape(y.shape())?),
        _ => None,
    };
    let ending = Ending {
        bias: map.bias.as_ref(),
        skip: skip.as_ref(),
        activation: map.activation,
        ..Ending::default()
    };
    match crate::gpu::finish_rows(y, ending) {
        Some(finished) => finished.map(|()| Some(y.clone())),
        None => Ok(None),
    }
}

/// Rows of any layout times the packed weight.
#[allow(unsafe_code)]
fn fast(micro: &'static Micro, x: &Tensor, map: &Linear, addend: Option<&Tensor>) -> Result<Tensor> {
    let sizes = Sizes::of(x, map, addend)?;
    let Sizes { m, n, k, .. } = sizes;
    if map.gated && !n.is_multiple_of(micro.nr) {
        // Values and gates do not share whole panels: GEGLU as a step of its own.
        return crate::geglu(&fast(micro, x, &Linear { gated: false, ..map.clone() }, None)?);
    }
    let row = |lane| map.row(lane, micro.nr, n);
    let packed =
        map.weight.packed(|values| Packed::new(values, n, k, micro.nr, |lane, i| row(lane) * k + i))?;
    let x = match strides(x.layout()) {
        Some(_) => x.clone(),
        None => x.contiguous()?,
    };
    finished(&x, map, addend, &sizes, |values, (inner, steps), c, epilogue| {
        let rows = Rows { micro, values, rows: m, inner, steps, width: micro.mr };
        // SAFETY: rows and weight are packed for this micro-kernel; `gemm` writes all of the output, which has room for
        // it, from these threads only.
        unsafe { gemm(micro, Shape::rows_first(micro, m, n, k), &rows, packed, c, epilogue) };
    })
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
    fn of(x: &Tensor, map: &Linear, addend: Option<&Tensor>) -> Result<Self> {
        let &[n, k] = map.weight.dims() else {
            candle_core::bail!("a linear map's weight has two dimensions, not {:?}", map.weight.dims())
        };
        let width = if map.gated { n / 2 } else { n };
        let mut dims = x.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == k => *last = width,
            _ => candle_core::bail!("a linear map of {k} values cannot take {:?}", x.dims()),
        }
        if let Some(addend) = addend.filter(|addend| addend.dims() != dims) {
            candle_core::bail!("{:?} cannot be added to {dims:?}", addend.dims());
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
        match self.gated {
            true => lane / nr * half + lane % half + if lane % nr < half { 0 } else { n / 2 },
            false => lane,
        }
    }
}

/// The result that `work` writes whole: it gets the values of `x`, their [`strides`], the output with the distance between
/// its rows, and what ends in the product.
#[allow(unsafe_code)]
fn finished(
    x: &Tensor,
    map: &Linear,
    addend: Option<&Tensor>,
    sizes: &Sizes,
    work: impl FnOnce(&[f32], (usize, [usize; 3]), (Shared, usize), Epilogue<'_>),
) -> Result<Tensor> {
    let y = with_values(map.bias.as_ref(), |column_bias| {
        with_values(addend, |addend| {
            cpu::read(x, |values, layout| {
                let Some(strides) = strides(layout) else {
                    candle_core::bail!("rows without a common stride: {layout:?}")
                };
                let mut output = Output::new(sizes.m * sizes.width);
                let (activation, gated) = (map.activation, map.gated);
                let epilogue = Epilogue { column_bias, addend, activation, gated, ..Epilogue::default() };
                work(values, strides, (output.shared(), sizes.width), epilogue);
                // SAFETY: `work` has written m rows of `width` values.
                Ok(unsafe { output.finish() })
            })
        })
    })?;
    Tensor::from_vec(y, sizes.dims.clone(), &Device::Cpu)
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

/// Calls `f` with the values of a tensor that need not be there.
pub(crate) fn with_values<R>(x: Option<&Tensor>, f: impl FnOnce(Option<&[f32]>) -> Result<R>) -> Result<R> {
    match x {
        Some(x) => cpu::read_contiguous(x, |values| f(Some(values))),
        None => f(None),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::{Linear, fast, plain};
    use crate::Activation;
    use crate::compare::{assert_close, noise};
    use crate::cpu::micro::Micro;

    #[test]
    fn fast_form_agrees_with_the_plain_one() -> Result<()> {
        for micro in Micro::all() {
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
                            &fast(micro, &x, &make(), None)?,
                            &plain(&x, &make(), None)?,
                            2e-6,
                            micro.name,
                        );
                    } else {
                        assert_eq!(fast(micro, &x, &make(), None)?.dims(), [0, n]);
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
        for micro in Micro::all() {
            for x in [&tokens, &four, &some] {
                assert_close(&fast(micro, x, &map(), None)?, &plain(x, &map(), None)?, 2e-6, micro.name);
            }
        }
        Ok(())
    }

    #[test]
    fn weights_in_f16_give_the_bits_of_the_same_weights_in_f32() -> Result<()> {
        for micro in Micro::all() {
            for (m, n, k) in [(1, 33, 7), (7, 31, 640), (77, 100, 65), (400, 1100, 333)] {
                let half = noise(&[n, k], 1).to_dtype(DType::F16)?;
                let x = noise(&[m, k], 3);
                let want = fast(micro, &x, &Linear::new(half.to_dtype(DType::F32)?, None), None)?;
                assert_close(
                    &fast(micro, &x, &Linear::new(half.clone(), None), None)?,
                    &want,
                    0.0,
                    micro.name,
                );
                assert_close(&plain(&x, &Linear::new(half, None), None)?, &want, 2e-6, micro.name);
            }
        }
        Ok(())
    }

    #[test]
    fn sums_with_skips() -> Result<()> {
        let map = || Linear::new(noise(&[45, 12], 1), Some(noise(&[45], 2))).activation(Activation::Silu);
        let (x, skip) = (noise(&[2, 37, 12], 3), noise(&[2, 45, 37], 4).transpose(1, 2)?);
        for micro in Micro::all() {
            let want = plain(&x, &map(), Some(&skip))?;
            assert_close(&fast(micro, &x, &map(), Some(&skip))?, &want, 2e-6, micro.name);
            assert!(fast(micro, &x, &map(), Some(&x)).is_err(), "an addend of another shape");
        }
        Ok(())
    }

    #[test]
    fn geglu_in_and_after_the_product() -> Result<()> {
        for micro in Micro::all() {
            // The last three widths are no multiples of a panel.
            for (m, n, k) in
                [(1, 64, 7), (77, 128, 640), (200, 2048, 333), (5, 6, 9), (9, 100, 40), (3, 72, 8)]
            {
                for bias in [None, Some(noise(&[n], 2))] {
                    let map = || Linear::geglu(noise(&[n, k], 1), bias.clone());
                    let x = noise(&[m, k], 3);
                    let what = format!("{} {m}x{n}x{k}", micro.name);
                    assert_close(&fast(micro, &x, &map(), None)?, &plain(&x, &map(), None)?, 5e-6, &what);
                }
            }
        }
        let map = Linear::geglu(noise(&[8, 4], 1), None).activation(Activation::Silu);
        assert!(super::linear(&noise(&[2, 4], 1), &map).is_err());
        Ok(())
    }

    #[test]
    fn blank_weights_and_clones() -> Result<()> {
        let blank = Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as((64, 32))?;
        let map = Linear::new(blank, None);
        let twin = map.clone();
        let x = noise(&[3, 32], 1);
        let y = fast(Micro::best(), &x, &map, None)?;
        assert_eq!(y.sqr()?.sum_all()?.to_scalar::<f32>()?, 0.0);
        assert!(plain(&x, &twin, None).is_err(), "the tensor is let go once it is packed");
        assert_eq!(fast(Micro::best(), &x, &twin, None)?.dims(), [3, 64]);
        assert!(fast(Micro::best(), &noise(&[3, 31], 1), &map, None).is_err(), "a wrong width is an error");
        Ok(())
    }
}
