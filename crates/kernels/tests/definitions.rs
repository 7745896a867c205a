//! Every operation against its textbook definition, written as plain loops in f64 over small tensors.

mod device;
#[path = "noise/mod.rs"]
mod shared;

use candle_core::{DType, Result, Tensor};
use device::device;
use kernels::{Activation, Conv2d, ConvTranspose2d, Corners, GroupNorm, LayerNorm, Linear, Rounding};

fn noise(shape: &[usize], seed: u32) -> Result<Tensor> {
    shared::noise(shape, seed)?.to_device(&device())
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

#[track_caller]
fn assert_close(got: &Tensor, want: &[f64], tolerance: f64) -> Result<()> {
    let got = values(got)?;
    assert_eq!(got.len(), want.len());
    let tolerance = tolerance * device::slack();
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= tolerance, "element {i}: {a} instead of {b}");
    }
    Ok(())
}

#[test]
fn convolution_is_a_sum_over_taps() -> Result<()> {
    let (h, w, stride, padding, dilation) = (7usize, 6usize, 2usize, 3usize, 2usize);
    let (x, weight, bias) = (noise(&[2, 3, h, w], 1)?, noise(&[4, 3, 3, 3], 2)?, noise(&[4], 3)?);
    let (out_h, out_w) = ((h + 2 * padding - 5) / stride + 1, (w + 2 * padding - 5) / stride + 1);
    let (xs, ws, bs) = (values(&x)?, values(&weight)?, values(&bias)?);
    let mut want = Vec::new();
    for b in 0..2 {
        for o in 0..4 {
            for (i, j) in (0..out_h).flat_map(|i| (0..out_w).map(move |j| (i, j))) {
                let mut sum = bs[o];
                for (c, dy, dx) in
                    (0..3).flat_map(|c| (0..3).flat_map(move |dy| (0..3).map(move |dx| (c, dy, dx))))
                {
                    let (y, x) = (i * stride + dy * dilation, j * stride + dx * dilation);
                    if (padding..h + padding).contains(&y) && (padding..w + padding).contains(&x) {
                        sum += xs[((b * 3 + c) * h + y - padding) * w + x - padding]
                            * ws[((o * 3 + c) * 3 + dy) * 3 + dx];
                    }
                }
                want.push(sum.max(0.0));
            }
        }
    }
    let conv = Conv2d::new(weight, Some(bias))
        .stride(stride)
        .padding(padding)
        .dilation(dilation)
        .activation(Activation::Relu);
    assert_close(&conv.forward(&x)?, &want, 2e-6)
}

#[test]
fn transposed_convolution_scatters_what_convolution_gathers() -> Result<()> {
    let (h, w, stride, padding, extra) = (4usize, 5usize, 2usize, 1usize, 1usize);
    let (x, weight, bias) = (noise(&[1, 3, h, w], 4)?, noise(&[3, 2, 3, 3], 5)?, noise(&[2], 6)?);
    let (out_h, out_w) =
        ((h - 1) * stride + 3 + extra - 2 * padding, (w - 1) * stride + 3 + extra - 2 * padding);
    let (xs, ws, bs) = (values(&x)?, values(&weight)?, values(&bias)?);
    let mut want: Vec<f64> = (0..2 * out_h * out_w).map(|i| bs[i / (out_h * out_w)]).collect();
    for (c, o) in (0..3).flat_map(|c| (0..2).map(move |o| (c, o))) {
        for (i, j) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
            for (dy, dx) in (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))) {
                let (y, x) = (i * stride + dy, j * stride + dx);
                if (padding..out_h + padding).contains(&y) && (padding..out_w + padding).contains(&x) {
                    want[(o * out_h + y - padding) * out_w + x - padding] +=
                        xs[(c * h + i) * w + j] * ws[((c * 2 + o) * 3 + dy) * 3 + dx];
                }
            }
        }
    }
    let conv = ConvTranspose2d::new(weight, Some(bias), stride, padding, extra);
    assert_close(&conv.forward(&x)?, &want, 2e-6)
}

#[test]
fn linear_keeps_leading_dimensions() -> Result<()> {
    let (x, weight, bias) = (noise(&[2, 3, 5], 7)?, noise(&[4, 5], 8)?, noise(&[4], 9)?);
    let (xs, ws, bs) = (values(&x)?, values(&weight)?, values(&bias)?);
    let want: Vec<f64> = (0..6)
        .flat_map(|r| (0..4).map(move |o| (r, o)))
        .map(|(r, o)| bs[o] + (0..5).map(|i| xs[r * 5 + i] * ws[o * 5 + i]).sum::<f64>())
        .collect();
    let y = Linear::new(weight, Some(bias)).forward(&x)?;
    assert_eq!(y.dims(), [2, 3, 4]);
    assert_close(&y, &want, 1e-6)
}

/// softmax(scale·q·kᵀ + mask)·v in f64 for one head.
fn dense_attention(q: &[f64], k: &[f64], v: &[f64], d: usize, scale: f64, causal: bool) -> Vec<f64> {
    let mut out = Vec::new();
    for (i, q) in q.chunks(d).enumerate() {
        let shares: Vec<f64> = k
            .chunks(d)
            .enumerate()
            .map(|(j, k)| {
                let score = scale * q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>();
                if causal && j > i { 0.0 } else { score.exp() }
            })
            .collect();
        let total: f64 = shares.iter().sum();
        for c in 0..d {
            out.push(shares.iter().zip(v.chunks(d)).map(|(s, v)| s * v[c]).sum::<f64>() / total);
        }
    }
    out
}

#[test]
fn attention_equals_the_dense_product_at_every_tile() -> Result<()> {
    let (n, m, d) = (11, 9, 4);
    let (q, k, v) = (noise(&[1, 2, n, d], 10)?, noise(&[1, 2, m, d], 11)?, noise(&[1, 2, m, d], 12)?);
    let (qs, ks, vs) = (values(&q)?, values(&k)?, values(&v)?);
    let want: Vec<f64> = (0..2)
        .flat_map(|h| {
            let (q, kv) = (h * n * d..(h + 1) * n * d, h * m * d..(h + 1) * m * d);
            dense_attention(&qs[q], &ks[kv.clone()], &vs[kv], d, 0.5, false)
        })
        .collect();
    assert_close(&kernels::attention(&q, &k, &v, 0.5, None)?, &want, 1e-6)?;
    for tile in [1, 3, 11, 64] {
        assert_close(&kernels::attention_in_tiles(&q, &k, &v, 0.5, None, tile)?, &want, 1e-6)?;
    }
    let mask = kernels::causal_mask(n, &device())?;
    let q1 = q.narrow(1, 0, 1)?;
    let want = dense_attention(&qs[..n * d], &qs[..n * d], &qs[..n * d], d, 1.0, true);
    assert_close(&kernels::attention_in_tiles(&q1, &q1, &q1, 1.0, Some(&mask), 4)?, &want, 1e-6)
}

#[test]
fn heads_split_and_merge() -> Result<()> {
    let x = noise(&[2, 3, 8], 13)?;
    let heads = kernels::split_heads(&x, 4)?;
    assert_eq!(heads.dims(), [2, 4, 3, 2]);
    assert_close(&kernels::merge_heads(&heads)?, &values(&x)?, 0.0)
}

/// (x − mean)/√(var + eps) of each run of `size` values.
fn standardised(x: &[f64], size: usize, eps: f64) -> Vec<f64> {
    x.chunks(size)
        .flat_map(|run| {
            let mean = run.iter().sum::<f64>() / size as f64;
            let variance = run.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / size as f64;
            run.iter().map(move |v| (v - mean) / (variance + eps).sqrt())
        })
        .collect()
}

#[test]
fn norms_survive_a_large_mean() -> Result<()> {
    // A mean of 1000 with unit noise: E[x²]−E[x]² in f32 would lose all digits of the variance.
    let x = (noise(&[2, 6, 5, 4], 14)? + 1000.0)?;
    let (weight, bias) = (noise(&[6], 15)?, noise(&[6], 16)?);
    let (ws, bs) = (values(&weight)?, values(&bias)?);
    let affine = |x: Vec<f64>| -> Vec<f64> {
        x.iter().enumerate().map(|(i, v)| v * ws[i / 20 % 6] + bs[i / 20 % 6]).collect()
    };
    let norm = GroupNorm::new(weight, bias, 2, 1e-5)?;
    let grouped = affine(standardised(&values(&x)?, 3 * 20, 1e-5));
    assert_close(&norm.forward(&x)?, &grouped, 1e-3)?;
    let silu: Vec<f64> = grouped.iter().map(|v| v / (1.0 + (-v).exp())).collect();
    assert_close(&norm.activation(Activation::Silu).forward(&x)?, &silu, 1e-3)?;
    let each = standardised(&values(&x)?, 20, 1e-5);
    assert_close(&kernels::instance_norm(&x, 1e-5)?, &each, 1e-3)?;

    let rows = (noise(&[3, 6], 17)? + 1000.0)?;
    let want: Vec<f64> = standardised(&values(&rows)?, 6, 1e-6)
        .iter()
        .enumerate()
        .map(|(i, v)| v * ws[i % 6] + bs[i % 6])
        .collect();
    let norm = LayerNorm::new(noise(&[6], 15)?, noise(&[6], 16)?, 1e-6);
    assert_close(&norm.forward(&rows)?, &want, 1e-3)
}

#[test]
fn activations_at_known_points() -> Result<()> {
    let x = Tensor::new(&[-1.0f32, 0.0, 2.0], &device())?;
    // x·Φ(x) with Φ(-1) = 0.158655254, Φ(2) = 0.977249868 (tables of the normal distribution).
    assert_close(&kernels::gelu(&x)?, &[-0.158655254, 0.0, 1.954499736], 1e-6)?;
    assert_close(&kernels::quick_gelu(&x)?, &[-0.154204, 0.0, 1.935659], 2e-6)?;
    assert_close(&kernels::silu(&x)?, &[-0.268941421, 0.0, 1.761594156], 1e-6)?;
    assert_close(&kernels::sigmoid(&x)?, &[0.268941421, 0.5, 0.880797078], 1e-6)?;
    assert_close(&Activation::Relu.apply(&x)?, &[0.0, 0.0, 2.0], 0.0)?;
    let pair = Tensor::new(&[[3.0f32, -1.0]], &device())?;
    assert_close(&kernels::geglu(&pair)?, &[3.0 * -0.158655254], 1e-6)
}

#[test]
fn resampling_conventions() -> Result<()> {
    let row = Tensor::new(&[[[[0.0f32, 1.0, 2.0]]]], &device())?;
    assert_close(&kernels::upsample_nearest(&row, 1, 5)?, &[0.0, 0.0, 1.0, 1.0, 2.0], 0.0)?;
    assert_close(
        &kernels::upsample_bilinear(&row, 1, 5, Corners::Aligned)?,
        &[0.0, 0.5, 1.0, 1.5, 2.0],
        1e-7,
    )?;
    // Half-pixel centres: (i + 0.5)·3/6 − 0.5 = −0.25, 0.25, 0.75, …, clamped at the ends.
    let want = [0.0, 0.25, 0.75, 1.25, 1.75, 2.0];
    assert_close(&kernels::upsample_bilinear(&row, 1, 6, Corners::HalfPixel)?, &want, 1e-7)?;
    assert_close(&kernels::max_pool2d(&row, 2, Rounding::Ceil)?, &[1.0, 2.0], 0.0)?;
    assert_close(&kernels::max_pool2d(&row.broadcast_as((1, 1, 2, 3))?, 2, Rounding::Floor)?, &[1.0], 0.0)?;

    let square = Tensor::arange(0f32, 16.0, &device())?.reshape((1, 1, 4, 4))?;
    let unshuffled = kernels::pixel_unshuffle(&square, 2)?;
    assert_eq!(unshuffled.dims(), [1, 4, 2, 2]);
    let want = [0., 2., 8., 10., 1., 3., 9., 11., 4., 6., 12., 14., 5., 7., 13., 15.];
    assert_close(&unshuffled, &want, 0.0)?;
    assert_close(
        &kernels::pad_reflect(&row.broadcast_as((1, 1, 3, 3))?, 2)?.narrow(2, 0, 1)?,
        &[2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0],
        0.0,
    )?;
    assert!(kernels::pad_reflect(&row, 1).is_err(), "one row cannot be mirrored");
    Ok(())
}

/// ComfyUI's T2I-Adapter pools so. A 5×5 map with rows 1..5 (its first row reads 0.25, 1.25, 2.25 where columns count up).
#[test]
fn average_pool_of_an_odd_axis_counts_the_zeros() -> Result<()> {
    let columns = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0], &device())?;
    let map = columns.reshape((1, 1, 1, 5))?.broadcast_as((1, 1, 5, 5))?;
    let y = kernels::avg_pool2d_padded(&map)?;
    assert_eq!(y.dims(), [1, 1, 3, 3]);
    assert_close(&y, &[0.25, 1.25, 2.25, 0.5, 2.5, 4.5, 0.5, 2.5, 4.5], 1e-7)
}
