//! Schedules, timesteps, percent gating, guidance and masks against the reference's tensors.
#![allow(clippy::expect_used)] // a test fails by panicking

mod golden;

use candle_core::{Device, Tensor};
use diffusion::{DifferentialMask, Schedule, SigmaTable, latent_mask, rescale_cfg};
use golden::{Golden, list, max_difference, max_relative, number, whole};

#[test]
fn sigmas_golden() {
    let golden = Golden::open("sigmas");
    let table = SigmaTable::scaled_linear();
    let mut worst = 0f64;
    for name in golden.names().filter(|n| n.starts_with("karras_")) {
        let steps = name["karras_".len()..].parse().expect("steps");
        let got = Schedule::Karras.sigmas(&table, steps).expect("steps");
        worst = worst.max(max_relative(&got, &golden.f64s(name)));
    }
    golden.within("karras, 1 to 50 steps (relative)", worst, 2e-6);
    let widen = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let sigmas = max_relative(&widen(table.sigmas()), &golden.f64s("sigmas_table"));
    golden.within("table of sigmas (relative)", sigmas, 2e-6);
    let logs = max_difference(table.log_sigmas(), &golden.f32s("log_sigmas_table"));
    golden.within("table of logarithms", logs, 2e-6);
    let percent: Vec<f64> =
        golden.f64s("percent").iter().map(|p| table.percent_to_sigma((p * 1e6).round() / 1e6)).collect();
    golden.within(
        "percent to sigma (relative)",
        max_relative(&percent, &golden.f64s("percent_to_sigma_f64")),
        2e-6,
    );
    let timesteps: Vec<i64> = golden.f64s("ts.sigma").iter().map(|s| table.timestep(*s) as i64).collect();
    let wrong = timesteps.iter().zip(golden.integers("ts.timestep")).filter(|(g, w)| **g != *w).count();
    golden.within("sigma to timestep (differences in 257)", wrong as f64, 0.0);
}

#[test]
fn rescale_cfg_golden() {
    let golden = Golden::open("rescale_cfg");
    let mut worst = 0f64;
    for (i, case) in golden.cases().iter().enumerate() {
        let get = |name: &str| golden.tensor(&format!("{i}.{name}"));
        let (sigma, guidance) = (number(case, "sigma"), number(case, "guidance"));
        let want = golden.f32s(&format!("{i}.out"));
        let scale = list(get("x")).iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
        let got = rescale_cfg(get("x"), get("D_cond"), get("D_uncond"), sigma, guidance, 0.9).expect("ok");
        worst = worst.max(max_difference(&list(&got), &want) / scale);
        if guidance == 1.0 {
            // What `Guided` does instead: the conditional estimate alone.
            let skipped = max_difference(&list(get("D_cond")), &want) / scale;
            golden.within(&format!("case {i}, unconditional pass skipped (of max|x|)"), skipped, 1e-6);
        }
    }
    golden.within("6 cases (of max|x|)", worst, 1e-6);
}

#[test]
fn diffmask_golden() {
    let golden = Golden::open("diffmask");
    let table = SigmaTable::scaled_linear();
    let (mut latent_error, mut flipped) = (0f64, 0);
    for (i, case) in golden.cases().iter().enumerate() {
        let size = (whole(case, "h") as usize, whole(case, "w") as usize);
        let strengths = golden.tensor(&format!("{i}.latent_mask"));
        let (_, _, h, w) = strengths.dims4().expect("1x1xhxw");
        let noise_mask = golden.f32s(&format!("{i}.noise_mask"));
        let made = latent_mask(&noise_mask, size, (h, w), &Device::Cpu).expect("sizes fit");
        latent_error = latent_error.max(max_difference(&list(&made), &list(strengths)));

        let sigmas = Schedule::Karras.sigmas(&table, whole(case, "steps") as usize).expect("steps");
        let mask = DifferentialMask::new(strengths.clone(), table.clone(), &sigmas).expect("spans");
        let calls: Vec<Tensor> = golden
            .f64s(&format!("{i}.call_sigmas"))
            .iter()
            .map(|sigma| mask.at(*sigma).expect("mask"))
            .collect();
        let got = list(&Tensor::cat(&calls, 0).expect("same shapes"));
        let want = golden.f32s(&format!("{i}.call_masks"));
        flipped += got.iter().zip(&want).filter(|(g, w)| g != w).count();
    }
    golden.within("latent mask from noise mask", latent_error, 2e-7);
    golden.within("call masks (flipped pixels)", flipped as f64, 0.0);
}
