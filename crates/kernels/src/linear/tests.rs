//! The map on every instruction set beside the definition.

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
        for (m, n, k) in [(1, 64, 7), (77, 128, 640), (200, 2048, 333), (5, 6, 9), (9, 100, 40), (3, 72, 8)] {
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
