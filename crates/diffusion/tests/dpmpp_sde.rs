//! DPM++ SDE with the Brownian tree against the reference, call by call, and against its recorded numbers.
#![allow(clippy::expect_used)] // a test fails by panicking

mod golden;

use candle_core::{Device, Tensor};
use diffusion::{
    BrownianTree, DifferentialMask, FnDenoiser, Generator, Inpainted, NoiseSource, Result, Sampler, Schedule,
    SigmaTable, Unobserved, start,
};
use golden::{Golden, list, max_difference, shape, whole};

/// Asks the tree at exactly the recorded sigmas. Ours may be off by an ulp: torch's `log` (MKL) is not correctly
/// rounded, and W is rough enough to show it.
struct AtRecorded {
    tree: BrownianTree,
    queries: Vec<(f64, f64)>,
    next: usize,
}

impl NoiseSource for AtRecorded {
    fn between(&mut self, from: f64, to: f64) -> Result<Tensor> {
        let (known_from, known_to) = self.queries[self.next];
        self.next += 1;
        for (ours, recorded) in [(from, known_from), (to, known_to)] {
            assert!((ours / recorded - 1.0).abs() < 2.5e-7, "query at {ours}, recorded {recorded}");
        }
        self.tree.between(known_from, known_to)
    }
}

/// The recorded queries of a run of so many steps, from the golden of the tree.
fn recorded(steps: u64) -> Option<Vec<(f64, f64)>> {
    let brownian = Golden::open("brownian");
    let case = brownian.cases().iter().position(|c| whole(c, "steps") == steps)?;
    let from = brownian.f64s(&format!("{case}.query_sigma_from"));
    Some(from.into_iter().zip(brownian.f64s(&format!("{case}.query_sigma_to"))).collect())
}

/// `D(x, s) = x/(1+s²) + sin(3x)/10`, recording every call.
fn toy<'a>(calls: &'a mut Vec<(Tensor, f64, Tensor)>) -> impl FnMut(&Tensor, f64) -> Result<Tensor> + 'a {
    |x, sigma| {
        let x0 = ((x / (1.0 + sigma * sigma))? + ((x * 3.0)?.sin()? * 0.1)?)?;
        calls.push((x.clone(), sigma, x0.clone()));
        Ok(x0)
    }
}

#[test]
fn sampler_golden() {
    let golden = Golden::open("sampler");
    let table = SigmaTable::scaled_linear();
    for (i, case) in golden.cases().iter().enumerate() {
        let (seed, steps, dims) = (whole(case, "seed"), whole(case, "steps"), shape(case));
        let sigmas = Schedule::Karras.sigmas(&table, steps as usize).expect("steps");
        let noise = Generator::Mt19937.randn(seed, dims.clone(), &Device::Cpu).expect("noise");
        golden.within(
            &format!("case {i} noise"),
            max_difference(&list(&noise), &golden.f32s(&format!("{i}.noise"))),
            2.5e-7,
        );
        let scale = golden.f32s(&format!("{i}.x_calls")).iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
        let tree = || BrownianTree::for_sigmas(seed, dims.clone(), &sigmas, &Device::Cpu).expect("tree");

        let run = |source: &mut dyn NoiseSource, how: &str, tolerance: f64| {
            let mut calls = Vec::new();
            let x = start(&noise, None, sigmas[0], table.max()).expect("start");
            let mut denoiser = FnDenoiser(toy(&mut calls));
            let last = Sampler::DPMPP_SDE
                .sample(&mut denoiser, x, &sigmas, source, &mut Unobserved)
                .expect("sample");
            drop(denoiser);
            let final_error = max_difference(&list(&last), &golden.f32s(&format!("{i}.final"))) / scale;
            golden.within(
                &format!("case {i} ({steps} steps) final, {how} (of max|x|)"),
                final_error,
                tolerance,
            );
            let (x_calls, d_calls) =
                (golden.tensor(&format!("{i}.x_calls")), golden.tensor(&format!("{i}.denoised_calls")));
            let sigma_calls = golden.f64s(&format!("{i}.sigma_calls"));
            assert_eq!(calls.len(), sigma_calls.len());
            let mut worst = 0f64;
            for (row, (x, sigma, x0)) in calls.iter().enumerate() {
                assert!((sigma / sigma_calls[row] - 1.0).abs() < 2.5e-7);
                worst = worst.max(max_difference(&list(x), &list(&x_calls.get(row).expect("row"))));
                worst = worst.max(max_difference(&list(x0), &list(&d_calls.get(row).expect("row"))));
            }
            golden.within(
                &format!("case {i} ({steps} steps) every call, {how} (of max|x|)"),
                worst / scale,
                tolerance,
            );
        };
        run(&mut tree(), "own queries", 1e-3);
        if let Some(queries) = recorded(steps) {
            run(&mut AtRecorded { tree: tree(), queries, next: 0 }, "recorded queries", 2e-5);
        } else {
            assert_eq!(steps, 1, "one step asks for no noise; every other case has recorded queries");
            run(&mut tree(), "no query made", 2e-5);
        }
    }
}

fn six_steps() -> (SigmaTable, Vec<f64>, Tensor, BrownianTree) {
    let table = SigmaTable::scaled_linear();
    let sigmas = Schedule::Karras.sigmas(&table, 6).expect("steps");
    let noise = Generator::Mt19937.randn(42, (1, 4, 2, 2), &Device::Cpu).expect("noise");
    let tree = BrownianTree::for_sigmas(42, (1, 4, 2, 2), &sigmas, &Device::Cpu).expect("tree");
    (table, sigmas, noise, tree)
}

#[test]
fn appendix_a4() {
    let (table, sigmas, noise, mut tree) = six_steps();
    let mut seen = Vec::new();
    let mut denoiser = FnDenoiser(|x: &Tensor, s: f64| {
        seen.push(s);
        Ok((x / (1.0 + s * s))?)
    });
    let x = start(&noise, None, sigmas[0], table.max()).expect("start");
    let last =
        Sampler::DPMPP_SDE.sample(&mut denoiser, x, &sigmas, &mut tree, &mut Unobserved).expect("sample");
    let want = [
        -0.565_437_3,
        -0.178_355_2,
        0.018_629_5,
        1.017_734_2,
        1.236_789_5,
        0.368_701,
        0.798_673_3,
        -1.291_493_8,
        0.272_199_6,
        -0.001_721,
        -0.879_132_6,
        -0.026_160_4,
        0.905_430_7,
        0.189_391_2,
        -1.387_561_3,
        0.188_995_1,
    ];
    assert!(max_difference(&list(&last), &want) < 2e-6);
    let sigma_sequence = [
        14.614643, 9.428068, 6.082151, 3.684603, 2.232154, 1.243352, 0.692571, 0.342883, 0.169757, 0.070366,
        0.029167,
    ];
    assert_eq!(seen.len(), sigma_sequence.len());
    assert!(seen.iter().zip(sigma_sequence).all(|(s, w)| (s - w).abs() < 1e-6));
}

#[test]
fn appendix_a5() {
    let (table, sigmas, noise, mut tree) = six_steps();
    let known = Tensor::full(0.5f32, (1, 4, 2, 2), &Device::Cpu).expect("tensor");
    let strengths = Tensor::new(&[[[[1.0f32, 0.9], [0.45, 0.0]]]], &Device::Cpu).expect("tensor");
    let mask = DifferentialMask::new(strengths, table.clone(), &sigmas).expect("spans");
    let model = FnDenoiser(|x: &Tensor, s: f64| Ok((x / (1.0 + s * s))?));
    let mut denoiser = Inpainted::differential(model, mask, known.clone(), noise.clone());
    let x = start(&noise, Some(&known), sigmas[0], table.max()).expect("start");
    let last =
        Sampler::DPMPP_SDE.sample(&mut denoiser, x, &sigmas, &mut tree, &mut Unobserved).expect("sample");
    let want = [
        -0.563_107_3,
        -0.168_861_1,
        0.156_318_4,
        0.519_27,
        1.239_119_5,
        0.381_830_5,
        0.899_497_1,
        0.512_238_7,
        0.274_529_6,
        0.007_879_5,
        -0.540_264,
        0.486_349_6,
        0.907_760_7,
        0.202_839_5,
        -1.188_048_7,
        0.504_283_8,
    ];
    assert!(max_difference(&list(&last), &want) < 2e-6);
}
