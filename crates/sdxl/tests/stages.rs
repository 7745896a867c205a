//! The pixel stages chained as in the workflow, on the reference's four end-to-end runs; networks' outputs are the recorded ones.
#![allow(clippy::expect_used)] // a test fails by panicking

#[path = "../../diffusion/tests/golden/mod.rs"]
mod golden;

use candle_core::{D, Device};
use golden::{Golden, list, max_difference, whole};
use image::{GrayImage, RgbImage};
use sdxl::crop::Window;
use sdxl::{Plane, background, blur, greyout, inpaint, resize, save};

const RUNS: [&str; 4] = ["pub_a", "pub_b", "pub_c", "pub_d"];

fn png(run: &str, name: &str) -> RgbImage {
    image::open(golden::root().join(format!("e2e/{run}/{name}.png"))).expect("golden picture").to_rgb8()
}

fn steps(got: &[u8], want: &[u8]) -> (f64, f64) {
    assert_eq!(got.len(), want.len());
    let steps = got.iter().zip(want).map(|(g, w)| g.abs_diff(*w));
    let differing = steps.clone().filter(|d| *d > 0).count() as f64;
    (differing / got.len() as f64, steps.max().unwrap_or(0).into())
}

#[test]
fn from_the_subject_to_the_sampler() {
    for run in RUNS {
        let golden = Golden::end_to_end(run, "nodes");
        let params = golden.params();
        let subject = png(run, "subject");
        let limit = (whole(params, "max_width") as u32, whole(params, "max_height") as u32);
        let resized = match resize::capped_size(subject.dimensions(), limit) {
            Some(size) => resize::nearest(&subject, size),
            None => subject,
        };
        golden.within("resized subject (share off)", steps(&resized, &png(run, "n60_resized")).0, 0.0);
        let size = resized.dimensions();

        let input = list(&background::network_input(&resized).expect("tensor"));
        golden.within("U²-Net input", max_difference(&input, &golden.f32s("rembg.net_input")), 1e-6);
        let mask = background::mask(&golden.f32s("rembg.d0"), size);
        let want: Vec<u8> = golden.f32s("n12.alpha").iter().map(|v| (v * 255.0).round() as u8).collect();
        let (share, step) = steps(&mask, &want);
        assert!(step <= 1.0, "{run}: alpha off by {step}");
        golden.within("alpha (share off by one)", share, 1e-3);

        // From here on the recorded alpha, so that each stage is held to its own tolerance.
        let alpha = GrayImage::from_raw(size.0, size.1, want).expect("size fits");
        let soft = blur::blurred(&alpha).expect("large enough");
        golden.within("blurred mask", max_difference(&soft, &golden.f32s("n37.M")), 5e-6);
        let recorded = Plane::from_raw(size.0, size.1, golden.f32s("n37.M")).expect("size fits");
        let greyed = greyout::greyed(&resized, &recorded, 1.0);
        golden.within("greyed subject (share off)", steps(&greyed, &golden.bytes("n36.G_u8")).0, 0.0);
        golden.within("greyed preview (share off)", steps(&greyed, &png(run, "n40_gray_preview")).0, 0.0);
        golden.within(
            "mask preview (share off)",
            steps(&save::grey(&recorded), &png(run, "n39_mask_preview")).0,
            0.0,
        );

        let noise_mask = inpaint::noise_mask(&recorded);
        golden.within("noise mask", max_difference(&noise_mask, &golden.f32s("n41.noise_mask")), 0.0);
        let latent = (noise_mask.height() as usize / 8, noise_mask.width() as usize / 8);
        let full = (noise_mask.height() as usize, noise_mask.width() as usize);
        let made = diffusion::latent_mask(&noise_mask, full, latent, &Device::Cpu).expect("sizes fit");
        golden.within("latent mask", max_difference(&list(&made), &golden.f32s("s.latent_mask")), 2e-7);

        let encoder = inpaint::encoder_input(&greyed).expect("tensor");
        let window = Window::latent_grid(size).of(&greyed);
        let back = save::decoded(&encoder).expect("3 channels");
        assert_eq!(encoder.dims(), [1, 3, full.0, full.1]);
        let (_, step) = steps(&back, &window);
        assert!(step <= 1.0, "{run}: the encoder's input is the greyed subject");
    }
}

#[test]
fn from_the_decoder_to_the_file() {
    for run in RUNS {
        let golden = Golden::end_to_end(run, "nodes");
        // (1, h, w, 3) in [0, 1] as the decoder's raw output.
        let raw =
            golden.tensor("n10.image").permute((0, 3, 1, 2)).and_then(|t| t.affine(2.0, -1.0)).expect("NHWC");
        assert_eq!(raw.dim(D::Minus(3)).expect("channels"), 3);
        let (share, step) = steps(&save::decoded(&raw).expect("3 channels"), &png(run, "final"));
        assert!(step <= 1.0, "{run}: off by {step}");
        golden.within("saved picture (share off by one)", share, 1e-3);
    }
}
