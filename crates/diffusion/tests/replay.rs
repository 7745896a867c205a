//! The reference's end-to-end runs with its network's recorded answers: start, noise, guidance, blend and sampler together.
#![allow(clippy::expect_used)] // a test fails by panicking

mod golden;

use std::cell::RefCell;

use candle_core::{Device, Tensor};
use diffusion::{
    BrownianTree, Conditional, Denoiser, DifferentialMask, FnDenoiser, Generator, Guided, Inpainted, Result,
    Sampler, Schedule, SigmaTable, Unobserved, start,
};
use golden::{Golden, list, max_difference, number};

const RUNS: [&str; 4] = ["pub_a", "pub_b", "pub_c", "pub_d"];
/// The reference's `RescaleCFG` node.
const RESCALE: f64 = 0.9;
/// SDXL's latent scale.
const LATENT_SCALE: f64 = 0.130_25;

/// One recorded run.
struct Run {
    nodes: Golden,
    calls: Golden,
    sigmas: Vec<f64>,
    guidance: f64,
}

impl Run {
    fn open(name: &str) -> Self {
        let nodes = Golden::end_to_end(name, "nodes");
        let calls = Golden::end_to_end(name, "calls");
        let steps = golden::whole(nodes.params(), "steps") as usize;
        let sigmas = Schedule::Karras.sigmas(&SigmaTable::scaled_linear(), steps).expect("steps");
        let guidance = number(nodes.params(), "guidance");
        Self { nodes, calls, sigmas, guidance }
    }

    fn seed(&self) -> u64 {
        self.nodes.params()["seed"].as_str().and_then(|s| s.parse().ok()).expect("seed")
    }

    /// Row `k` of a recorded quantity, (1, 4, h, w).
    fn row(&self, key: &str, k: usize) -> Tensor {
        self.calls.tensor(key).narrow(0, k, 1).expect("row")
    }

    /// The whole denoiser of the workflow around the recorded answers; `asked` collects what the network is shown.
    fn denoiser<'a>(&'a self, asked: &'a RefCell<Vec<(usize, Tensor)>>) -> impl Denoiser + 'a {
        let answers = Answers { run: self, sigmas: self.calls.f64s("sigma"), asked };
        let guided = Guided { model: answers, scale: self.guidance, rescale: Some(RESCALE) };
        let strengths = self.nodes.tensor("s.latent_mask").clone();
        let mask =
            DifferentialMask::new(strengths, SigmaTable::scaled_linear(), &self.sigmas).expect("spans");
        let (known, noise) = (self.nodes.tensor("s.z0").clone(), self.nodes.tensor("s.noise").clone());
        Inpainted::differential(guided, mask, known, noise)
    }
}

/// The network's recorded answers, found by sigma.
struct Answers<'a> {
    run: &'a Run,
    sigmas: Vec<f64>,
    asked: &'a RefCell<Vec<(usize, Tensor)>>,
}

impl Answers<'_> {
    fn call(&self, x: &Tensor, sigma: f64) -> usize {
        let k = self.sigmas.iter().position(|s| (s / sigma - 1.0).abs() < 1e-6).expect("a recorded sigma");
        self.asked.borrow_mut().push((k, x.clone()));
        k
    }
}

impl Conditional for Answers<'_> {
    fn conditional(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let k = self.call(x, sigma);
        Ok(self.run.row("cond", k))
    }

    fn both(&mut self, x: &Tensor, sigma: f64) -> Result<(Tensor, Tensor)> {
        let k = self.call(x, sigma);
        Ok((self.run.row("cond", k), self.run.row("uncond", k)))
    }
}

fn peak(tensor: &Tensor) -> f64 {
    list(tensor).iter().fold(0.0, |m, v| m.max(f64::from(v.abs())))
}

#[test]
fn every_recorded_call() {
    for name in RUNS {
        let run = Run::open(name);
        let asked = RefCell::new(Vec::new());
        let mut denoiser = run.denoiser(&asked);
        let (mut out_error, mut scale) = (0f64, 0f64);
        let sigmas = run.calls.f64s("sigma");
        for (k, sigma) in sigmas.iter().enumerate() {
            let x = run.row("x", k);
            let out = denoiser.denoise(&x, *sigma).expect("recorded");
            let row_scale = peak(&x).max(1.0);
            scale = scale.max(row_scale);
            out_error = out_error.max(max_difference(&list(&out), &list(&run.row("out", k))) / row_scale);
        }
        run.calls.within("out of every call (of max|x|)", out_error, 1e-6);
        let asked = asked.borrow();
        let x_in = asked.iter().map(|(k, x)| {
            max_difference(&list(x), &list(&run.row("x_in", *k))) / peak(&run.row("x", *k)).max(1.0)
        });
        run.calls.within("x_in of every call made (of max|x|)", x_in.fold(0.0, f64::max), 1e-6);
        // The first call of these masks paints nothing, so the network is not asked.
        assert_eq!(asked.len(), sigmas.len() - 1, "{name}");
    }
}

#[test]
fn running_free() {
    for name in RUNS {
        let run = Run::open(name);
        let shape = run.nodes.tensor("s.noise").dims().to_vec();
        let sigmas = run.nodes.f64s("s.sigmas");
        run.nodes.within("sigmas", golden::max_relative(&run.sigmas, &sigmas), 2e-6);
        let noise = Generator::Mt19937.randn(run.seed(), shape.clone(), &Device::Cpu).expect("noise");
        run.nodes.within("noise", max_difference(&list(&noise), &run.nodes.f32s("s.noise")), 3e-7);

        let x = start(&noise, Some(run.nodes.tensor("s.z0")), sigmas[0], SigmaTable::scaled_linear().max())
            .expect("start");
        let mut tree = BrownianTree::for_sigmas(run.seed(), shape, &sigmas, &Device::Cpu).expect("tree");
        let asked = RefCell::new(Vec::new());
        let mut denoiser = run.denoiser(&asked);
        let mut states = Vec::new();
        let mut recording = FnDenoiser(|x: &Tensor, sigma: f64| {
            states.push(x.clone());
            denoiser.denoise(x, sigma)
        });
        let last = Sampler::DPMPP_SDE
            .sample(&mut recording, x, &sigmas, &mut tree, &mut Unobserved)
            .expect("sample");
        assert_eq!(states.len(), run.calls.f64s("sigma").len(), "{name}");
        let worst = states
            .iter()
            .enumerate()
            .map(|(k, x)| max_difference(&list(x), &list(&run.row("x", k))))
            .fold(0.0, f64::max);
        // The manifest grants 5e-3 where networks differ too; with the recorded answers only rounding is left.
        run.calls.within("x of every call, running free", worst, 5e-5);
        let latent = (last / LATENT_SCALE).expect("scale");
        run.nodes.within(
            "final latent",
            max_difference(&list(&latent), &run.nodes.f32s("n10.samples")),
            1e-3,
        );
    }
}
