//! The reference pipeline's pixel stages against what the reference's own libraries made of the same pictures.
#![allow(clippy::expect_used)] // a test fails by panicking

#[path = "../../diffusion/tests/golden/mod.rs"]
mod golden;

use candle_core::Tensor;
use golden::{Golden, list, max_difference, whole};
use image::{GrayImage, RgbImage};
use sdxl::crop::Window;
use sdxl::{Plane, background, blur, depth, greyout, hint, lineart, material, resize, save, stretched};

/// A golden `height × width × 3` array as a picture.
fn rgb(golden: &Golden, key: &str) -> RgbImage {
    let (height, width, _) = golden.tensor(key).dims3().expect("height × width × 3");
    RgbImage::from_raw(width as u32, height as u32, golden.bytes(key)).expect("size fits")
}

fn grey(golden: &Golden, key: &str) -> GrayImage {
    let (height, width) = golden.tensor(key).dims2().expect("height × width");
    GrayImage::from_raw(width as u32, height as u32, golden.bytes(key)).expect("size fits")
}

fn plane(golden: &Golden, key: &str) -> Plane {
    let dims = golden.tensor(key).dims();
    let (height, width) = (dims[dims.len() - 2], dims[dims.len() - 1]);
    Plane::from_raw(width as u32, height as u32, golden.f32s(key)).expect("size fits")
}

fn png(name: &str) -> RgbImage {
    image::open(golden::root().join(name)).expect("golden picture").to_rgb8()
}

/// How many samples differ, and by how much at most.
fn differing(got: &[u8], want: &[u8]) -> (usize, u8) {
    assert_eq!(got.len(), want.len());
    let steps = got.iter().zip(want).map(|(g, w)| g.abs_diff(*w));
    (steps.clone().filter(|d| *d > 0).count(), steps.max().unwrap_or(0))
}

fn exact(golden: &Golden, what: &str, got: &[u8], want: &[u8]) {
    golden.within(&format!("{what} (differing samples)"), differing(got, want).0 as f64, 0.0);
}

#[test]
fn resize_golden() {
    let golden = Golden::open("resize");
    let pair = |case: &serde_json::Value, w: &str, h: &str| (whole(case, w) as u32, whole(case, h) as u32);
    let mut checked = 0;
    for case in golden.cases() {
        let size = pair(case, "in_w", "in_h");
        let limit = pair(case, "max_w", "max_h");
        let got = resize::capped_size(size, limit);
        if case.get("error").is_some() {
            // The reference fails on an empty picture.
            assert!(got.is_some_and(|(width, height)| width == 0 || height == 0), "{case}: {got:?}");
            continue;
        }
        assert_eq!(got.is_some(), case["resized"].as_bool().expect("flag"), "{case}");
        let out = pair(case, "out_w", "out_h");
        assert_eq!(got.unwrap_or(size), out, "{case}");
        let name = format!("{}x{}_to_{}x{}", size.0, size.1, limit.0, limit.1);
        if golden.names().any(|n| n == format!("src_x_{name}")) {
            let columns: Vec<i64> =
                (0..out.0).map(|x| resize::nearest_index(x, size.0, out.0).into()).collect();
            let rows: Vec<i64> = (0..out.1).map(|y| resize::nearest_index(y, size.1, out.1).into()).collect();
            assert_eq!(columns, golden.integers(&format!("src_x_{name}")), "{name}");
            assert_eq!(rows, golden.integers(&format!("src_y_{name}")), "{name}");
            checked += 1;
        }
    }
    assert_eq!(checked, 24, "every recorded index list is looked at");
    let image = rgb(&golden, "image_in");
    let size = resize::capped_size(image.dimensions(), (48, 64)).expect("shrinks");
    exact(&golden, "97×71 to 48×35", &resize::nearest(&image, size), &golden.bytes("image_out_48x64"));
}

#[test]
fn crop_golden() {
    let golden = Golden::open("crop");
    for case in golden.cases() {
        let get = |key| whole(case, key) as u32;
        let want = Window { x: get("x"), y: get("y"), width: get("out_w"), height: get("out_h") };
        assert_eq!(Window::material((get("in_w"), get("in_h"))), want);
    }
    golden.within(&format!("{} windows (differences)", golden.cases().len()), 0.0, 0.0);
}

#[test]
fn rembg_golden() {
    let golden = Golden::open("rembg");
    for case in 0..2 {
        let image = rgb(&golden, &format!("{case}.image_u8"));
        let want = golden.bytes(&format!("{case}.lanczos320_u8"));
        exact(&golden, &format!("case {case} LANCZOS to 320"), &background::squeezed(&image), &want);
        let input = list(&background::network_input(&image).expect("tensor"));
        let error = max_difference(&input, &golden.f32s(&format!("{case}.net_input")));
        golden.within(&format!("case {case} network input"), error, 1e-6);
    }
    let d0 = golden.f32s("post.d0");
    let (count, step) = differing(&stretched(&d0), &golden.bytes("post.mask320_u8"));
    golden.within(&format!("stretch to 8 bits ({count} samples; largest step)"), step.into(), 1.0);
    for size in [(160, 128), (320, 320), (501, 333)] {
        let want = grey(&golden, &format!("post.mask_u8_{}x{}", size.0, size.1));
        let (count, step) = differing(&background::mask(&d0, size), &want);
        golden.within(
            &format!("mask {}×{} ({count} samples; largest step)", size.0, size.1),
            step.into(),
            1.0,
        );
    }
}

#[test]
fn maskblur_golden() {
    let golden = Golden::open("maskblur");
    for case in ["0", "1", "2"] {
        let soft = blur::blurred(&grey(&golden, &format!("{case}.mask_u8"))).expect("large enough");
        let error = max_difference(&soft, &golden.f32s(&format!("{case}.out")));
        golden.within(&format!("case {case}"), error, 5e-6);
    }
    let soft = blur::blurred(&GrayImage::from_pixel(50, 45, image::Luma([255]))).expect("large enough");
    golden.within("solid mask", max_difference(&soft, &golden.f32s("ones.out")), 5e-6);
}

#[test]
fn grayout_golden() {
    let golden = Golden::open("grayout");
    let (image, mask) = (rgb(&golden, "image_u8"), plane(&golden, "mask_f32"));
    for (brightness, name) in [(1.0, "1.0"), (0.8, "0.8"), (1.3, "1.3")] {
        let want = golden.bytes(&format!("out_u8_brighter_{name}"));
        exact(&golden, &format!("brightness {name}"), &greyout::greyed(&image, &mask, brightness), &want);
    }
}

/// Every `step`-th row and column of (1, 3, h, w).
fn strided(tensor: &Tensor, step: usize) -> Vec<f32> {
    let (_, channels, height, width) = tensor.dims4().expect("1 × 3 × h × w");
    let values = list(tensor);
    let mut out = Vec::new();
    for c in 0..channels {
        for y in (0..height).step_by(step) {
            out.extend(values[(c * height + y) * width..][..width].iter().step_by(step));
        }
    }
    out
}

#[test]
fn depth_golden() {
    let golden = Golden::open("depth");
    let sizes = golden.params()["net_sizes"].as_array().expect("sizes");
    for case in sizes {
        let net: Vec<u64> =
            case["net"].as_array().expect("pair").iter().filter_map(serde_json::Value::as_u64).collect();
        let got = depth::network_size((whole(case, "w") as u32, whole(case, "h") as u32));
        assert_eq!((u64::from(got.1), u64::from(got.0)), (net[0], net[1]), "{case}");
    }
    golden.within(&format!("{} network sizes (differences)", sizes.len()), 0.0, 0.0);
    for case in 0..3 {
        let input = depth::network_input(&rgb(&golden, &format!("pre.{case}.image_u8"))).expect("tensor");
        let error = max_difference(&strided(&input, 9), &golden.f32s(&format!("pre.{case}.sub9")));
        golden.within(&format!("case {case} network input"), error, 2e-6);
    }
    let full = rgb(&golden, "full.image_u8");
    assert_eq!(depth::hint_size(full.dimensions()), png("stages/depth_full_1024.png").dimensions());
}

#[test]
fn lineart_golden() {
    let golden = Golden::open("lineart");
    let (mut off, mut samples) = (0, 0);
    for case in 0..5 {
        let image = match case {
            0 | 1 => rgb(&golden, &format!("pre.{case}.image_u8")),
            _ => png(&format!("stages/lineart_pre{case}_in.png")),
        };
        let want = png(&format!("stages/lineart_pre{case}_padded.png"));
        let got = lineart::padded(&image);
        assert_eq!(got.dimensions(), want.dimensions());
        let (count, step) = differing(&got, &want);
        assert!(step <= 1, "case {case}: off by {step}");
        off += count;
        samples += want.len();
    }
    // The golden README: all but 1e-5 of the samples, over all cases.
    golden.within("resized (share of samples off by one)", off as f64 / samples as f64, 1e-5);
    let full = rgb(&golden, "full.image_u8");
    assert_eq!(lineart::hint_size(full.dimensions()), png("stages/lineart_full_512.png").dimensions());
}

#[test]
fn clip_pixels_golden() {
    let golden = Golden::open("clip_vision");
    let whole_picture = material::network_input(&rgb(&golden, "0.image_u8")).expect("tensor");
    let mut pairs = vec![(list(&whole_picture), golden.f32s("0.pixels"))];
    for case in [1, 2] {
        let pixels = material::network_input(&rgb(&golden, &format!("{case}.image_u8"))).expect("tensor");
        pairs.push((strided(&pixels, 5), golden.f32s(&format!("{case}.pixels_sub"))));
    }
    for (case, (got, want)) in pairs.iter().enumerate() {
        // One 8-bit step of the channel with the smallest deviation: 1/255/0.2613 = 0.0150.
        let flipped = got.iter().zip(want).filter(|(g, w)| (**g - **w).abs() > 1e-5).count();
        println!("golden | clip_vision | case {case} pixels, flipped | {flipped} of {} |", got.len());
        assert!(flipped * 1000 <= got.len(), "isolated flips only, got {flipped} of {}", got.len());
        golden.within(&format!("case {case} pixels, largest"), max_difference(got, want), 0.0154);
    }
}

#[test]
fn hints_fit_the_latent() {
    let golden = Golden::open("t2i");
    for (case, params) in golden.cases().iter().enumerate() {
        let latent = (whole(params, "latent_w") as u32, whole(params, "latent_h") as u32);
        for kind in ["depth", "lineart"] {
            let fitted = hint::fitted(&rgb(&golden, &format!("{case}.{kind}_hint_u8")), latent);
            let planar: Vec<u8> = (0..3).flat_map(|c| fitted.iter().skip(c).step_by(3).copied()).collect();
            let want = golden.bytes(&format!("{case}.{kind}.hint_scaled_u8"));
            exact(&golden, &format!("case {case} {kind} hint"), &planar, &want);
        }
    }
}

#[test]
fn decoded_pixels() {
    let golden = Golden::open("vae");
    let got = save::decoded(golden.tensor("decode.raw")).expect("3 channels");
    let want: Vec<u8> = golden.f32s("decode.image").iter().map(|v| (v * 255.0) as u8).collect();
    let (count, step) = differing(&got, &want);
    golden.within(&format!("decoder output to 8 bits ({count} samples; largest step)"), step.into(), 1.0);
}
