//! Every operation in every numeric format that networks compute in, on the device under test, beside f32 on the CPU.

mod device;
mod noise;

use candle_core::{DType, Result, Tensor};
use device::device;
use kernels::{Activation, Conv2d, ConvTranspose2d, Corners, GroupNorm, Input, LayerNorm, Linear, Rounding};
use noise::noise;

/// Formats, and the root of the mean squared error each may cost, as a share of the result's.
const FORMATS: [(DType, f64); 3] = [(DType::F32, 3e-6), (DType::F16, F16), (DType::BF16, 2e-2)];
/// Where the CPU multiplies f16, candle sums in f16 too.
const F16: f64 = if cfg!(target_arch = "aarch64") { 8e-3 } else { 3e-3 };

/// Compares an operation's result in each format with that in f32 on the CPU.
///
/// `run` gets the tensors of these shapes with values in [-1, 1).
#[track_caller]
fn agrees(what: &str, shapes: &[&[usize]], run: impl Fn(&[Tensor]) -> Result<Tensor>) {
    agrees_in(&FORMATS, what, shapes, run);
}

#[track_caller]
fn agrees_in(
    formats: &[(DType, f64)],
    what: &str,
    shapes: &[&[usize]],
    run: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let check = || -> Result<Vec<String>> {
        let tensors = (1..).zip(shapes).map(|(seed, shape)| noise(shape, seed));
        let tensors: Vec<Tensor> = tensors.collect::<Result<_>>()?;
        let mut complaints = Vec::new();
        for (dtype, tolerance) in formats {
            // Both sides start from values that the format holds exactly.
            let stored = |t: &Tensor| t.to_dtype(*dtype);
            let on_device = |t: &Tensor| stored(t)?.to_device(&device());
            let exact = |t: &Tensor| stored(t)?.to_dtype(DType::F32);
            let got = run(&tensors.iter().map(on_device).collect::<Result<Vec<_>>>()?)?;
            let want = run(&tensors.iter().map(exact).collect::<Result<Vec<_>>>()?)?;
            assert_eq!((got.dtype(), got.dims()), (*dtype, want.dims()), "{what}");
            let error = relative_error(&got, &want)?;
            println!("{what}, {dtype:?}: {error:.1e} of {tolerance:.0e}");
            if !matches!(error.partial_cmp(tolerance), Some(std::cmp::Ordering::Less)) {
                complaints.push(format!("{what}, {dtype:?}: {error:e} above {tolerance:e}"));
            }
        }
        Ok(complaints)
    };
    let complaints = check().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// √(Σ(got − want)²/Σ want²).
fn relative_error(got: &Tensor, want: &Tensor) -> Result<f64> {
    let values = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (got, want) = (values(got)?, values(want)?);
    let squares: f64 = got.iter().zip(&want).map(|(g, w)| (g - w).powi(2)).sum();
    Ok((squares / want.iter().map(|w| w * w).sum::<f64>().max(1e-30)).sqrt())
}

#[test]
fn linear_maps() {
    let shapes: &[&[usize]] = &[&[2, 77, 640], &[96, 640], &[96], &[2, 77, 96]];
    agrees("linear", shapes, |t| {
        let map = Linear::new(t[1].clone(), Some(t[2].clone())).activation(Activation::Silu);
        map.forward(&t[0])
    });
    agrees("linear_add", shapes, |t| {
        Linear::new(t[1].clone(), Some(t[2].clone())).forward_with_residual(&t[0], &t[3])
    });
    agrees("linear of transposed rows", &[&[1, 64, 50], &[32, 64]], |t| {
        Linear::new(t[1].clone(), None).forward(&t[0].transpose(1, 2)?)
    });
    agrees("linear with GEGLU", shapes, |t| Linear::geglu(t[1].clone(), Some(t[2].clone())).forward(&t[0]));
}

#[test]
fn convolutions() {
    let shapes: &[&[usize]] = &[&[2, 160, 17, 24], &[48, 160, 3, 3], &[48], &[2, 48, 17, 24], &[2, 48, 1, 1]];
    let conv = |t: &[Tensor]| Conv2d::new(t[1].clone(), Some(t[2].clone())).padding(1);
    agrees("conv2d", shapes, |t| conv(t).forward(&t[0]));
    agrees("conv2d with a skip", shapes, |t| conv(t).forward_with_residual(&t[0], &t[3]));
    agrees("conv2d with channels", shapes, |t| conv(t).forward_with_residual(&t[0], &t[4]));
    agrees("conv2d of a window", shapes, |t| conv(t).forward(&t[0].narrow(2, 3, 9)?.narrow(3, 2, 20)?));
    agrees("conv2d at stride 2", shapes, |t| conv(t).stride(2).forward(&t[0]));
    agrees("conv2d, dilated", shapes, |t| conv(t).padding(4).dilation(4).forward(&t[0]));
    agrees("conv2d, exact, ReLU", shapes, |t| conv(t).exact().activation(Activation::Relu).forward(&t[0]));
    agrees("conv2d padded below", shapes, |t| {
        let conv = Conv2d::new(t[1].clone(), None).stride(2).padding_end(1);
        conv.forward(&t[0])
    });
    agrees("conv2d of concatenated pictures", shapes, |t| {
        let (a, b) = (t[0].narrow(1, 0, 50)?, t[0].narrow(1, 50, 110)?);
        conv(t).forward(&[&a, &b])
    });
    agrees("upsample_conv2d, doubled", shapes, |t| {
        conv(t).forward(Input::Upsampled { picture: &t[0], height: 34, width: 48 })
    });
    agrees("upsample_conv2d, odd", shapes, |t| {
        conv(t).forward(Input::Upsampled { picture: &t[0], height: 33, width: 47 })
    });
    agrees("conv2d of patches", &[&[1, 3, 42, 28], &[40, 3, 14, 14]], |t| {
        Conv2d::new(t[1].clone(), None).stride(14).forward(&t[0])
    });
    agrees("conv2d of one tap", &[&[2, 96, 9, 12], &[64, 96, 1, 1], &[64]], |t| {
        Conv2d::new(t[1].clone(), Some(t[2].clone())).forward(&t[0])
    });
    for (kernel, stride, padding, extra) in [(3, 2, 1, 1), (2, 2, 0, 0), (4, 4, 0, 0)] {
        agrees("conv_transpose2d", &[&[1, 32, 9, 7], &[32, 24, kernel, kernel], &[24]], |t| {
            let (weight, bias) = (t[1].clone(), Some(t[2].clone()));
            ConvTranspose2d::new(weight, bias, stride, padding, extra).forward(&t[0])
        });
    }
}

#[test]
fn attention() {
    // Heads, queries, keys and channels of a head as in UNet, ViT-H and autoencoder.
    for [heads, queries, keys, dim] in
        [[2, 300, 300, 64], [3, 100, 77, 64], [2, 257, 257, 80], [1, 200, 200, 512]]
    {
        let shapes: &[&[usize]] =
            &[&[2, queries, heads * dim], &[2, keys, heads * dim], &[2, keys, heads * dim]];
        agrees(&format!("attention of {heads} {queries} {keys} {dim}"), shapes, |t| {
            let heads = |t: &Tensor| kernels::split_heads(t, heads);
            // Scores near those of unit variance.
            let scale = 4.0 / (dim as f64).sqrt();
            kernels::merge_heads(&kernels::attention(
                &heads(&t[0])?,
                &heads(&t[1])?,
                &heads(&t[2])?,
                scale,
                None,
            )?)
        });
    }
    agrees("attention with a mask", &[&[2, 77, 128], &[2, 77, 128], &[2, 77, 128]], |t| {
        let heads = |t: &Tensor| kernels::split_heads(t, 2);
        let mask = kernels::causal_mask(77, t[0].device())?;
        kernels::attention(&heads(&t[0])?, &heads(&t[1])?, &heads(&t[2])?, 0.5, Some(&mask))
    });
}

#[test]
fn normalisations() {
    let shapes: &[&[usize]] = &[&[2, 64, 19, 21], &[64], &[64]];
    let norm = |t: &[Tensor], groups| GroupNorm::new(t[1].clone(), t[2].clone(), groups, 1e-5);
    agrees("group_norm", shapes, |t| norm(t, 32)?.forward(&t[0]));
    agrees("group_norm, SiLU", shapes, |t| norm(t, 32)?.activation(Activation::Silu).forward(&t[0]));
    agrees("group_norm, SiLU, of concatenated pictures", shapes, |t| {
        let (a, b) = (t[0].narrow(1, 0, 24)?, t[0].narrow(1, 24, 40)?);
        norm(t, 8)?.activation(Activation::Silu).forward(&[&a, &b])
    });
    let norm = |t: &[Tensor]| LayerNorm::new(t[1].clone(), t[2].clone(), 1e-5);
    agrees("instance_norm", shapes, |t| kernels::instance_norm(&t[0], 1e-5));
    for width in [640, 1280, 80] {
        agrees(&format!("layer_norm of {width}"), &[&[2, 50, width], &[width], &[width]], |t| {
            norm(t).forward(&(&t[0] + 0.5)?)
        });
    }
    agrees("layer_norm of transposed rows", &[&[2, 96, 30], &[96], &[96]], |t| {
        norm(t).forward(&t[0].transpose(1, 2)?)
    });
}

#[test]
fn pointwise_functions() {
    use Activation::{Gelu, QuickGelu, Relu, Sigmoid, Silu};
    for activation in [Relu, Silu, Gelu, QuickGelu, Sigmoid] {
        agrees(&format!("{activation:?}"), &[&[3, 50, 40]], |t| activation.apply(&(&t[0] * 6.0)?));
        agrees(&format!("{activation:?}, transposed"), &[&[3, 50, 40]], |t| activation.apply(&t[0].t()?));
    }
    agrees("geglu", &[&[3, 50, 80]], |t| kernels::geglu(&(&t[0] * 3.0)?));
}

#[test]
fn changes_of_resolution() {
    let shapes: &[&[usize]] = &[&[2, 5, 13, 18]];
    agrees("upsample_nearest", shapes, |t| kernels::upsample_nearest(&t[0], 26, 36));
    agrees("upsample_nearest, odd", shapes, |t| kernels::upsample_nearest(&t[0], 25, 35));
    for corners in [Corners::HalfPixel, Corners::Aligned] {
        agrees("upsample_bilinear", shapes, |t| kernels::upsample_bilinear(&t[0], 31, 40, corners));
        agrees("upsample_bilinear, down", shapes, |t| kernels::upsample_bilinear(&t[0], 6, 11, corners));
    }
    agrees("max_pool2d", shapes, |t| kernels::max_pool2d(&t[0], 2, Rounding::Ceil));
    agrees("max_pool2d, floor", shapes, |t| kernels::max_pool2d(&t[0], 2, Rounding::Floor));
    agrees("avg_pool2d_padded", shapes, |t| kernels::avg_pool2d_padded(&t[0]));
    agrees("pad_reflect", shapes, |t| kernels::pad_reflect(&t[0], 3));
    agrees("pixel_unshuffle", &[&[1, 3, 32, 48]], |t| kernels::pixel_unshuffle(&t[0], 8));
}

#[test]
fn embeddings_of_scalars() {
    agrees_in(&[(DType::F32, 2e-5)], "sinusoid", &[&[4]], |t| kernels::sinusoid(&(&t[0] * 999.0)?, 320));
}
