//! Linear maps on 8-bit integers: y ≈ x·Wᵀ with every row of x and of W rounded to 255 levels of its own.
//!
//! A row's scale is a 127th of its largest magnitude; a value is its nearest multiple (ties to the even one). The products of
//! these integers are summed exactly, and multiplied by the scale of x's row, then by that of W's, in f32. Bias, activation
//! and the rest follow in f32. Rows of x are rounded anew at every call ("dynamic"), those of W once.

use candle_core::{D, DType, Device, Result, Tensor};

use super::{Addends, Linear, Sizes, common_strides, strides};
use crate::cpu::Values;
use crate::cpu::int8::{LONGEST, Packed, product};
use crate::cpu::microkernel::int8::Int8Microkernel;
use crate::cpu::pack::Rows;
use crate::cpu::scratch::Output;

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
            packed(Int8Microkernel::best(), &map, n, k)?;
        }
        Ok(map)
    }

    /// Whether values and gates share the panels of this microkernel.
    fn gates_in(&self, kernel: &Int8Microkernel, n: usize) -> bool {
        self.gated && n.is_multiple_of(kernel.float.nr)
    }
}

fn packed<'a>(kernel: &Int8Microkernel, map: &'a Linear, n: usize, k: usize) -> Result<&'a Packed> {
    let panels = Linear { gated: map.gates_in(kernel, n), ..map.clone() };
    let row = |lane| panels.row(lane, kernel.float.nr, n) * k;
    map.weight.integers(|values| Packed::new(kernel, values, n, k, row))
}

/// The optimised map: `x` (…, in) of any layout → (…, out).
#[allow(unsafe_code)]
pub(super) fn optimised(
    kernel: &'static Int8Microkernel,
    x: &Tensor,
    map: &Linear,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let sizes = Sizes::of(x, map, residual)?;
    let Sizes { m, n, k, .. } = sizes;
    if map.gated && !map.gates_in(kernel, n) {
        return crate::geglu(&optimised(kernel, x, &Linear { gated: false, ..map.clone() }, None)?);
    }
    let packed = packed(kernel, map, n, k)?;
    let x = match strides(x.layout()) {
        Some((_, [_, _, 1])) => x.clone(),
        _ => x.contiguous()?,
    };
    let values = Values::of(&x)?;
    let (inner, steps) = common_strides(&x)?;
    let rows = Rows { microkernel: kernel.float, values: &values, rows: m, inner, steps, width: kernel.mr };
    let addends = Addends::of(map, residual)?;
    let addends = addends.values()?;
    let mut output = Output::new(m * sizes.width);
    let c = (output.shared(), sizes.width);
    // SAFETY: the weight is packed for this microkernel; `product` writes all of the output, m rows of `width` values, which
    // has room for it, from these threads only.
    let y = unsafe {
        product(kernel, &rows, packed, (n, k), c, addends.epilogue(map));
        output.finish()
    };
    Tensor::from_vec(y, sizes.dims, &Device::Cpu)
}

/// The definition of the product: `rows` (m, in), `weight` (out, in) → (m, out).
pub(super) fn reference_product(rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
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

    use super::optimised;
    use crate::compare::{assert_close, noise};
    use crate::cpu::microkernel::int8::Int8Microkernel;
    use crate::linear::reference;
    use crate::{Activation, Linear};

    /// On integers, and not yet packed: for any microkernel, once.
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
            for kernel in Int8Microkernel::all() {
                for weight in [weight.clone(), noise(&[n, k], 1).to_dtype(DType::F16)?] {
                    for bias in [None, Some(noise(&[n], 2))] {
                        let make = || unpacked(Linear::new(weight.clone(), bias.clone()));
                        let got = optimised(kernel, &x, &make(), None)?;
                        let what = format!("{}, {} rows: {m}x{n}x{k}", kernel.float.name, kernel.mr);
                        match m {
                            0 => assert_eq!(got.dims(), [0, n]),
                            _ => assert!(bits(&got)? == bits(&reference(&x, &make(), None)?)?, "{what}"),
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
        for kernel in Int8Microkernel::all() {
            for sign in [1.0, -1.0] {
                let map = unpacked(Linear::new((&ones * sign)?, None));
                let got = optimised(kernel, &ones, &map, None)?.flatten_all()?.to_vec1::<f32>()?;
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
        for kernel in Int8Microkernel::all() {
            let map = || {
                let map = Linear::new(noise(&[45, 12], 1), Some(noise(&[45], 2)));
                unpacked(map.activation(Activation::Silu))
            };
            let want = reference(&x, &map(), Some(&skip))?;
            assert_close(&optimised(kernel, &x, &map(), Some(&skip))?, &want, 2e-6, kernel.float.name);
            assert!(optimised(kernel, &x, &map(), Some(&x)).is_err(), "a residual of another shape");
            // The last widths are no multiples of a panel.
            for (m, n, k) in [(1, 64, 7), (77, 128, 640), (200, 2048, 333), (9, 100, 40), (3, 72, 8)] {
                let map = || unpacked(Linear::geglu(noise(&[n, k], 1), Some(noise(&[n], 2))));
                let x = noise(&[m, k], 3);
                let want = reference(&x, &map(), None)?;
                assert_close(&optimised(kernel, &x, &map(), None)?, &want, 5e-6, kernel.float.name);
            }
        }
        Ok(())
    }

    #[test]
    fn close_to_the_map_in_f32() -> Result<()> {
        let (weight, x) = (noise(&[320, 640], 1), noise(&[50, 640], 2));
        let want = Linear::new(weight.clone(), None).forward(&x)?;
        let map = Linear::new(weight, None).int8()?;
        let error = (map.forward(&x)? - &want)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
        let size = want.sqr()?.mean_all()?.to_scalar::<f32>()?;
        assert!((error / size).sqrt() < 0.01, "relative error {}", (error / size).sqrt());
        Ok(())
    }

    #[test]
    fn a_weight_serves_one_arithmetic() -> Result<()> {
        let (x, map) = (noise(&[3, 32], 1), Linear::new(noise(&[64, 32], 2), None));
        let int8 = map.clone().int8()?;
        assert_eq!(int8.forward(&x)?.dims(), [3, 64]);
        assert!(map.forward(&x).is_err(), "the tensor is let go once it is rounded");
        let used = Linear::new(noise(&[64, 32], 2), None);
        used.forward(&x)?;
        assert!(used.int8().is_err());
        Ok(())
    }

    #[test]
    fn a_row_that_is_not_finite_stays_so() -> Result<()> {
        for kernel in Int8Microkernel::all() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let x = Tensor::new(&[[1.0, bad, 2.0], [1.0, -1.0, 0.5], [0.0, 0.0, 0.0]], &Device::Cpu)?;
                let map = unpacked(Linear::new(Tensor::ones((4, 3), DType::F32, &Device::Cpu)?, None));
                let y = optimised(kernel, &x, &map, None)?.to_vec2::<f32>()?;
                assert!(y[0].iter().all(|y| y.is_nan()), "{y:?}");
                assert!(y[1].iter().all(|y| (y - 0.5).abs() < 0.01) && y[2] == [0.0; 4], "{y:?}");
            }
        }
        Ok(())
    }
}
