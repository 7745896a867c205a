//! Algorithms on every instruction set beside the definition.

use candle_core::{DType, Result, Tensor};

use super::reference::convolve as reference;
use super::{Algorithm, Conv2d, convolve_with, optimised};
use crate::compare::{assert_close, noise};
use crate::cpu::microkernel::Microkernel;
use crate::cpu::winograd::TileSize;
use crate::resampling::upsample_nearest;
use crate::{Activation, Input};

const TWO: Algorithm = Algorithm::Winograd { tile_size: TileSize::Two, upsampled: false };
const FOUR: Algorithm = Algorithm::Winograd { tile_size: TileSize::Four, upsampled: false };
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ImplicitGemm, TWO, FOUR];

/// The optimised convolution of concatenated pictures.
fn run(
    microkernel: &'static Microkernel,
    x: &[&Tensor],
    conv: &Conv2d,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    optimised::convolve(microkernel, Input::Concat(x), conv, residual)
}

#[test]
fn implicit_product_agrees_with_reference() -> Result<()> {
    for microkernel in Microkernel::all() {
        // batch, in, out, height, width, kernel, stride, padding, dilation
        for [b, i, o, h, w, k, s, p, d] in [
            [1, 1, 1, 1, 1, 1, 1, 0, 1],
            [2, 3, 5, 7, 6, 3, 2, 1, 1],
            [1, 4, 9, 33, 5, 3, 1, 1, 1],
            [2, 5, 7, 9, 40, 3, 1, 2, 2],
            [1, 3, 33, 16, 16, 7, 1, 3, 1],
            [1, 3, 20, 28, 42, 14, 14, 0, 1],
            [3, 37, 18, 5, 13, 1, 1, 0, 1],
            [1, 64, 48, 8, 8, 1, 2, 0, 1],
            [1, 70, 20, 9, 23, 3, 2, 1, 1],
            [1, 130, 10, 12, 11, 3, 1, 8, 8],
            [1, 2, 2, 3, 3, 3, 1, 1, 1],
            [1, 6, 4, 2, 70, 2, 1, 1, 1],
        ] {
            let make = || {
                let conv = Conv2d::new(noise(&[o, i, k, k], 1), Some(noise(&[o], 2))).exact();
                conv.stride(s).padding(p).dilation(d).activation(Activation::Relu)
            };
            let x = noise(&[b, i, h, w], 3);
            let what = format!("{} {b} {i}->{o} {h}x{w} k{k} s{s} p{p} d{d}", microkernel.name);
            assert_close(
                &run(microkernel, &[&x], &make(), None)?,
                &reference(&x, &make(), None)?,
                2e-6,
                &what,
            );
        }
    }
    Ok(())
}

#[test]
fn winograd_agrees_with_reference() -> Result<()> {
    for microkernel in Microkernel::all() {
        let sizes =
            [(8, 8), (9, 8), (10, 17), (11, 7), (64, 1), (1, 65), (21, 34), (40, 41), (12, 150), (130, 9)];
        for (n, (h, w)) in sizes.into_iter().enumerate() {
            for (b, i, o) in [(1, 16, 16), (2, 17, 50), (1, 165, 30)] {
                let make = || {
                    let conv = Conv2d::new(noise(&[o, i, 3, 3], 1), Some(noise(&[o], 2))).padding(1);
                    if n % 2 == 0 { conv.activation(Activation::Silu) } else { conv }
                };
                let x = noise(&[b, i, h, w], 3);
                let want = reference(&x, &make(), None)?;
                let geometry = make().geometry(x.dims4()?)?;
                for (algorithm, bound) in [(FOUR, 1e-5), (TWO, 1.5e-6)] {
                    let what = format!("{algorithm:?} {} {b} {i}->{o} {h}x{w}", microkernel.name);
                    let got = convolve_with(algorithm, microkernel, &[&x], &make(), geometry, None)?;
                    assert_close(&got, &want, bound, &what);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn weights_in_f16_give_the_bits_of_the_same_weights_in_f32() -> Result<()> {
    for microkernel in Microkernel::all() {
        for [i, o, h, w] in [[37, 18, 9, 13], [165, 30, 12, 40], [333, 100, 8, 8]] {
            let half = noise(&[o, i, 3, 3], 1).to_dtype(DType::F16)?;
            let conv = |weight| Conv2d::new(weight, None).padding(1);
            let x = noise(&[1, i, h, w], 3);
            let geometry = conv(half.clone()).geometry(x.dims4()?)?;
            for algorithm in ALGORITHMS {
                let got = convolve_with(algorithm, microkernel, &[&x], &conv(half.clone()), geometry, None)?;
                let want = convolve_with(
                    algorithm,
                    microkernel,
                    &[&x],
                    &conv(half.to_dtype(DType::F32)?),
                    geometry,
                    None,
                )?;
                assert_close(&got, &want, 0.0, microkernel.name);
            }
        }
    }
    Ok(())
}

#[test]
fn sums_with_skips_and_with_channels() -> Result<()> {
    for microkernel in Microkernel::all() {
        for [b, i, o, h, w] in [[1, 5, 7, 9, 13], [3, 33, 18, 6, 40], [2, 16, 50, 8, 8]] {
            let make = || {
                let conv = Conv2d::new(noise(&[o, i, 3, 3], 1), Some(noise(&[o], 2))).padding(1);
                conv.activation(Activation::Silu)
            };
            let x = noise(&[b, i, h, w], 3);
            let geometry = make().geometry(x.dims4()?)?;
            for residual in [noise(&[b, o, h, w], 4), noise(&[b, o, 1, 1], 5)] {
                let want = reference(&x, &make(), Some(&residual))?;
                for algorithm in ALGORITHMS {
                    let got =
                        convolve_with(algorithm, microkernel, &[&x], &make(), geometry, Some(&residual))?;
                    assert_close(&got, &want, 1e-5, microkernel.name);
                }
            }
            let wrong = noise(&[b, o, 1, w], 6);
            assert!(run(microkernel, &[&x], &make(), Some(&wrong)).is_err(), "an residual of another shape");
        }
    }
    Ok(())
}

#[test]
fn joined_pictures_give_the_bits_of_the_concatenated_ones() -> Result<()> {
    for microkernel in Microkernel::all() {
        for (b, parts, o, [h, w]) in
            [(1, vec![3, 4], 9, [5, 7]), (2, vec![17, 40], 50, [8, 20]), (2, vec![5, 1, 30], 33, [12, 11])]
        {
            let x: Vec<Tensor> = parts.iter().map(|c| noise(&[b, *c, h, w], *c as u32)).collect();
            let (x, i): (Vec<&Tensor>, usize) = (x.iter().collect(), parts.iter().sum());
            let conv = Conv2d::new(noise(&[o, i, 3, 3], 1), None).padding(1);
            let geometry = conv.geometry((b, i, h, w))?;
            for algorithm in ALGORITHMS {
                let got = convolve_with(algorithm, microkernel, &x, &conv, geometry, None)?;
                let want =
                    convolve_with(algorithm, microkernel, &[&Tensor::cat(&x, 1)?], &conv, geometry, None)?;
                assert_close(&got, &want, 0.0, microkernel.name);
            }
        }
    }
    let conv = Conv2d::new(noise(&[2, 4, 1, 1], 1), None);
    let pair = [noise(&[1, 2, 3, 4], 1), noise(&[1, 2, 3, 5], 1)];
    assert!(run(Microkernel::best(), &[&pair[0], &pair[1]], &conv, None).is_err(), "of different sizes");
    assert!(run(Microkernel::best(), &[], &conv, None).is_err(), "nothing to join");
    Ok(())
}

#[test]
fn upsampling_in_the_cache_gives_the_bits_of_upsampling_first() -> Result<()> {
    for microkernel in Microkernel::all() {
        for [b, i, o, h, w] in [[1, 16, 16, 4, 4], [2, 17, 50, 5, 13], [1, 33, 30, 21, 6], [1, 3, 4, 1, 40]] {
            let conv = Conv2d::new(noise(&[o, i, 3, 3], 1), Some(noise(&[o], 2))).padding(1);
            let x = noise(&[b, i, h, w], 3);
            let large = upsample_nearest(&x, 2 * h, 2 * w)?;
            let geometry = conv.geometry(large.dims4()?)?;
            for tile_size in [TileSize::Two, TileSize::Four] {
                let run = |x, upsampled| {
                    let algorithm = Algorithm::Winograd { tile_size, upsampled };
                    convolve_with(algorithm, microkernel, &[x], &conv, geometry, None)
                };
                assert_close(&run(&x, true)?, &run(&large, false)?, 0.0, microkernel.name);
            }
        }
    }
    Ok(())
}

#[test]
fn upsampling_to_any_size_before_a_convolution() -> Result<()> {
    let make = || Conv2d::new(noise(&[40, 36, 3, 3], 1), None).padding(1);
    let x = noise(&[2, 36, 6, 7], 2);
    for (h, w) in [(12, 14), (13, 14), (6, 7), (24, 28)] {
        let want = reference(&x.upsample_nearest2d(h, w)?, &make(), None)?;
        assert_close(
            &make().forward(Input::Upsampled { picture: &x, height: h, width: w })?,
            &want,
            2e-6,
            &format!("{h}x{w}"),
        );
    }
    Ok(())
}

#[test]
fn zeros_at_the_end_only() -> Result<()> {
    let make = || Conv2d::new(noise(&[18, 5, 3, 3], 1), None).stride(2).padding_end(1);
    for (h, w) in [(8, 8), (9, 40), (70, 3)] {
        let x = noise(&[2, 5, h, w], 3);
        for microkernel in Microkernel::all() {
            let want = reference(&x, &make(), None)?;
            assert_close(&run(microkernel, &[&x], &make(), None)?, &want, 2e-6, microkernel.name);
        }
    }
    Ok(())
}

/// On both sides of every threshold of the choice: whatever is chosen is as accurate as was asked for, and Winograd's
/// algorithm is taken only where a window fits it.
#[test]
fn the_chosen_algorithm_keeps_the_accuracy_asked_for() -> Result<()> {
    let plain = |channels: usize| Conv2d::new(noise(&[channels, channels, 3, 3], 1), None).padding(1);
    let mut chosen = Vec::new();
    for (channels, [h, w]) in
        [(31, [8, 8]), (32, [8, 8]), (127, [8, 9]), (128, [7, 8]), (128, [8, 8]), (200, [16, 16])]
    {
        let x = noise(&[1, channels, h, w], 2);
        let want = reference(&x, &plain(channels), None)?;
        for (conv, bound) in [(plain(channels), 1e-5), (plain(channels).exact(), 1.5e-6)] {
            let algorithm = Algorithm::choose(&conv.geometry(x.dims4()?)?, conv.exact);
            let what = format!("{algorithm:?}, {channels} channels of {h}x{w}");
            assert_close(&run(Microkernel::best(), &[&x], &conv, None)?, &want, bound, &what);
            assert!(!conv.exact || algorithm != FOUR, "F(4x4) rounds too much: {what}");
            chosen.push(algorithm);
        }
    }
    assert!(ALGORITHMS.iter().all(|algorithm| chosen.contains(algorithm)), "{chosen:?}");
    for conv in [plain(128).stride(2), plain(128).padding_end(1), plain(128).padding(2).dilation(2)] {
        let geometry = conv.geometry((1, 128, 16, 16))?;
        assert_eq!(Algorithm::choose(&geometry, false), Algorithm::ImplicitGemm, "{geometry:?}");
    }
    Ok(())
}

#[test]
fn empty_and_impossible_shapes() -> Result<()> {
    let conv = Conv2d::new(noise(&[20, 16, 3, 3], 1), None).padding(1);
    let shaped = |dims: &[usize], conv| run(Microkernel::best(), &[&noise(dims, 1)], conv, None);
    assert_eq!(shaped(&[0, 16, 9, 9], &conv)?.dims(), [0, 20, 9, 9]);
    assert!(shaped(&[1, 15, 9, 9], &conv).is_err());
    let conv = Conv2d::new(noise(&[2, 2, 3, 3], 1), None);
    assert!(shaped(&[1, 2, 2, 2], &conv).is_err());
    Ok(())
}
