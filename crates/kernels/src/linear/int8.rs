//! Linear maps on 8-bit integers: y ≈ x·Wᵀ with every row of x and of W rounded to 255 levels of its own.
//!
//! A row's scale is a 127th of its largest magnitude; a value is its nearest multiple (ties to the even one). The products of
//! these integers are summed exactly, and multiplied by the scale of x's row, then by that of W's, in f32. Bias, activation
//! and the rest follow in f32. Rows of x are rounded anew at every call ("dynamic"), those of W once.

use candle_core::{D, DType, Result, Tensor};

use super::{Linear, Sizes, finished, strides};
use crate::cpu::int8::{LONGEST, Packed, product};
use crate::cpu::micro::int8::Int8Micro;
use crate::cpu::pack::Rows;

impl Linear {
    /// The same map on 8-bit integers: on the CPU in f32 1.4 to 4 times as fast, in a quarter of f32's memory, with a relative
    /// error of 1 to 2 % where the values of a row are alike, and more where few of them are far above the rest. The weight
    /// is rounded and packed at once. On other devices and dtypes the definition runs, which gains nothing.
    ///
    /// # Errors
    /// For a weight with more than 2¹⁷ values in a row, or one that an earlier call has packed for f32.
    pub fn int8(self) -> Result<Self> {
        let &[n, k] = self.weight.dims() else {
            candle_core::bail!("a linear map's weight has two dimensions, not {:?}", self.weight.dims())
        };
        if k > LONGEST {
            candle_core::bail!("rows of {k} values are too long for sums in 32 bits: at most {LONGEST}");
        }
        let map = Self { int8: true, ..self };
        if map.weight.packs() {
            packed(Int8Micro::best(), &map, n, k)?;
        }
        Ok(map)
    }

    /// Whether values and gates share the panels of this form.
    fn gates_in(&self, form: &Int8Micro, n: usize) -> bool {
        self.gated && n.is_multiple_of(form.float.nr)
    }
}

fn packed<'a>(form: &Int8Micro, map: &'a Linear, n: usize, k: usize) -> Result<&'a Packed> {
    let plain = Linear { gated: map.gates_in(form, n), ..map.clone() };
    let row = |lane| plain.row(lane, form.float.nr, n) * k;
    map.weight.integers(|values| Packed::new(form, values, n, k, row))
}

/// The fast form: `x` (…, in) of any layout → (…, out).
#[allow(unsafe_code)]
pub(super) fn fast(
    form: &'static Int8Micro,
    x: &Tensor,
    map: &Linear,
    addend: Option<&Tensor>,
) -> Result<Tensor> {
    let sizes = Sizes::of(x, map, addend)?;
    let Sizes { m, n, k, .. } = sizes;
    if map.gated && !map.gates_in(form, n) {
        return crate::geglu(&fast(form, x, &Linear { gated: false, ..map.clone() }, None)?);
    }
    let packed = packed(form, map, n, k)?;
    let x = match strides(x.layout()) {
        Some((_, [_, _, 1])) => x.clone(),
        _ => x.contiguous()?,
    };
    finished(&x, map, addend, &sizes, |values, (inner, steps), c, epilogue| {
        let rows = Rows { micro: form.float, values, rows: m, inner, steps, width: form.mr };
        // SAFETY: the weight is packed for this form; `product` writes all of the output, which has room for it, from
        // these threads only.
        unsafe { product(form, &rows, packed, (n, k), c, epilogue) };
    })
}

/// The definition of the product: `rows` (m, in), `weight` (out, in) → (m, out).
pub(super) fn plain_product(rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let dtype = rows.dtype();
    let ((rows, row_scales), (weight, scales)) = (quantised(rows)?, quantised(weight)?);
    // Integers below 2⁵³ are exact.
    let sums = rows.to_dtype(DType::F64)?.matmul(&weight.to_dtype(DType::F64)?.t()?)?;
    sums.to_dtype(DType::F32)?.broadcast_mul(&row_scales)?.broadcast_mul(&scales.t()?)?.to_dtype(dtype)
}

/// Integers (n, k) and scales (n, 1) of rows (n, k), in f32.
fn quantised(rows: &Tensor) -> Result<(Tensor, Tensor)> {
    const ROUND: f64 = 12_582_912.0;
    let rows = rows.to_dtype(DType::F32)?;
    let largest = rows.abs()?.max_keepdim(D::Minus1)?;
    let nought = largest.lt(1e-30)?;
    let inverse =
        nought.where_cond(&largest.zeros_like()?, &(largest.ones_like()? * 127.0)?.div(&largest)?)?;
    let scales =
        nought.where_cond(&largest.zeros_like()?, &largest.div(&(largest.ones_like()? * 127.0)?)?)?;
    // 1.5·2²³ has no digits after the point: adding it rounds, ties to even.
    let integers = ((rows.broadcast_mul(&inverse)? + ROUND)? - ROUND)?;
    Ok((integers, scales))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::fast;
    use crate::compare::{assert_close, noise};
    use crate::cpu::micro::int8::Int8Micro;
    use crate::linear::plain;
    use crate::{Activation, Linear};

    /// On integers, and not yet packed: for any form, once.
    fn unpacked(map: Linear) -> Linear {
        Linear { int8: true, ..map }
    }

    fn bits(x: &Tensor) -> Result<Vec<u32>> {
        Ok(x.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
    }

    /// Values and gates of a row, of very different sizes and with exact ties and zeros among them.
    fn uneven(shape: &[usize], seed: u32) -> Result<Tensor> {
        let x = noise(shape, seed);
        let steps = ((&x * 200.0)?.round()? / 400.0)?;
        let &[rows, _] = shape else { candle_core::bail!("rows") };
        let sizes = noise(&[rows, 1], seed + 1).affine(20.0, 0.0)?.exp()?;
        steps.broadcast_mul(&sizes)
    }

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_definition() -> Result<()> {
        for (m, n, k) in [
            (1, 1, 1),
            (1, 33, 7),
            (5, 16, 321),
            (12, 32, 64),
            (13, 31, 640),
            (77, 100, 65),
            (193, 47, 333),
            (400, 1100, 30),
            (9, 40, 4099),
            (0, 4, 4),
        ] {
            let (weight, x) = (uneven(&[n, k], 1)?, uneven(&[m, k], 3)?);
            for form in Int8Micro::all() {
                for weight in [weight.clone(), noise(&[n, k], 1).to_dtype(DType::F16)?] {
                    for bias in [None, Some(noise(&[n], 2))] {
                        let make = || unpacked(Linear::new(weight.clone(), bias.clone()));
                        let got = fast(form, &x, &make(), None)?;
                        let what = format!("{}, {} rows: {m}x{n}x{k}", form.float.name, form.mr);
                        match m {
                            0 => assert_eq!(got.dims(), [0, n]),
                            _ => assert!(bits(&got)? == bits(&plain(&x, &make(), None)?)?, "{what}"),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_largest_sums_do_not_overflow() -> Result<()> {
        let (rows, k) = (2, super::LONGEST);
        let ones = Tensor::ones((rows, k), DType::F32, &Device::Cpu)?;
        for form in Int8Micro::all() {
            for sign in [1.0, -1.0] {
                let map = unpacked(Linear::new((&ones * sign)?, None));
                let got = fast(form, &ones, &map, None)?.flatten_all()?.to_vec1::<f32>()?;
                assert!(got.iter().all(|y| (y - sign as f32 * k as f32).abs() < 0.1), "{got:?}");
            }
        }
        let long = Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as((1, k + 1))?;
        assert!(Linear::new(long, None).int8().is_err());
        Ok(())
    }

    #[test]
    fn bias_skip_activation_and_geglu_follow_in_f32() -> Result<()> {
        let skip = noise(&[2, 45, 37], 4).transpose(1, 2)?;
        let x = noise(&[2, 12, 37], 3).transpose(1, 2)?;
        for form in Int8Micro::all() {
            let map = || {
                let map = Linear::new(noise(&[45, 12], 1), Some(noise(&[45], 2)));
                unpacked(map.activation(Activation::Silu))
            };
            let want = plain(&x, &map(), Some(&skip))?;
            assert_close(&fast(form, &x, &map(), Some(&skip))?, &want, 2e-6, form.float.name);
            assert!(fast(form, &x, &map(), Some(&x)).is_err(), "an addend of another shape");
            // The last widths are no multiples of a panel.
            for (m, n, k) in [(1, 64, 7), (77, 128, 640), (200, 2048, 333), (9, 100, 40), (3, 72, 8)] {
                let map = || unpacked(Linear::geglu(noise(&[n, k], 1), Some(noise(&[n], 2))));
                let x = noise(&[m, k], 3);
                let want = plain(&x, &map(), None)?;
                assert_close(&fast(form, &x, &map(), None)?, &want, 5e-6, form.float.name);
            }
        }
        Ok(())
    }

    #[test]
    fn close_to_the_map_in_f32() -> Result<()> {
        let (weight, x) = (noise(&[320, 640], 1), noise(&[50, 640], 2));
        let want = crate::linear(&x, &Linear::new(weight.clone(), None))?;
        let map = Linear::new(weight, None).int8()?;
        let error = (crate::linear(&x, &map)? - &want)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
        let size = want.sqr()?.mean_all()?.to_scalar::<f32>()?;
        assert!((error / size).sqrt() < 0.01, "relative error {}", (error / size).sqrt());
        Ok(())
    }

    #[test]
    fn a_weight_serves_one_arithmetic() -> Result<()> {
        let (x, map) = (noise(&[3, 32], 1), Linear::new(noise(&[64, 32], 2), None));
        let int8 = map.clone().int8()?;
        assert_eq!(crate::linear(&x, &int8)?.dims(), [3, 64]);
        assert!(crate::linear(&x, &map).is_err(), "the tensor is let go once it is rounded");
        let used = Linear::new(noise(&[64, 32], 2), None);
        crate::linear(&x, &used)?;
        assert!(used.int8().is_err());
        Ok(())
    }

    #[test]
    fn a_row_that_is_not_finite_stays_so() -> Result<()> {
        for form in Int8Micro::all() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let x = Tensor::new(&[[1.0, bad, 2.0], [1.0, -1.0, 0.5], [0.0, 0.0, 0.0]], &Device::Cpu)?;
                let map = unpacked(Linear::new(Tensor::ones((4, 3), DType::F32, &Device::Cpu)?, None));
                let y = fast(form, &x, &map, None)?.to_vec2::<f32>()?;
                assert!(y[0].iter().all(|y| y.is_nan()), "{y:?}");
                assert!(y[1].iter().all(|y| (y - 0.5).abs() < 0.01) && y[2] == [0.0; 4], "{y:?}");
            }
        }
        Ok(())
    }
}
