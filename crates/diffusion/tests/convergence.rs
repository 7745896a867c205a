//! Samplers without a golden against exact solutions: data that is Gaussian has its denoiser, its ODE and its SDE in closed form.
//!
//! For data N(mu, c²): `D(x, s) = (c²x + s²mu)/(c² + s²)`; the ODE carries `x - mu` in proportion to `sqrt(c² + s²)`; under the SDE the
//! end regresses on the start with slope `(c² + s²)/(c² + s0²)`, as in the forward process run backwards.
#![allow(clippy::expect_used)] // a test fails by panicking

use candle_core::{Device, Tensor};
use diffusion::{
    BrownianTree, FnDenoiser, FreshNoise, Generator, NoNoise, NoiseSource, Result, Sampler, Schedule,
    Unobserved,
};

const MU: f64 = 0.3;
const C: f64 = 0.8;
const TOP: f64 = 10.0;

fn gaussian(x: &Tensor, s: f64) -> Result<Tensor> {
    Ok(((x * (C * C / (C * C + s * s)))? + MU * s * s / (C * C + s * s))?)
}

fn list(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("f32")
}

fn spread(s: f64) -> f64 {
    (C * C + s * s).sqrt()
}

/// Sigmas from `TOP` to `end` in geometric steps, without a final 0.
fn sigmas(steps: usize, end: f64) -> Vec<f64> {
    let mut all = Schedule::Exponential.between(steps + 1, end, TOP).expect("range");
    all.pop();
    all
}

/// Error of a deterministic sampler against the ODE's solution at sigma 0.02.
fn ode_error(sampler: Sampler, steps: usize) -> f64 {
    let end = 0.02;
    let x = Tensor::new(&[[[[TOP as f32 * 1.7]]]], &Device::Cpu).expect("tensor");
    let last = sampler
        .sample(&mut FnDenoiser(gaussian), x, &sigmas(steps, end), &mut NoNoise, &mut Unobserved)
        .expect("sample");
    let exact = MU + (1.7 * TOP - MU) * spread(end) / spread(TOP);
    (f64::from(list(&last)[0]) - exact).abs()
}

#[test]
fn deterministic_samplers_converge_at_their_order() {
    let orders = [
        (Sampler::Euler, 1.0),
        (Sampler::EulerAncestral { eta: 0.0 }, 1.0),
        (Sampler::Ddim { eta: 0.0 }, 1.0),
        (Sampler::Dpmpp2m, 2.0),
        (Sampler::Dpmpp2mSde { eta: 0.0 }, 2.0),
        (Sampler::DpmppSde { eta: 0.0, r: 0.5 }, 2.0),
        (Sampler::DpmppSde { eta: 0.0, r: 0.3 }, 2.0),
    ];
    for (sampler, order) in orders {
        let (coarse, fine) = (ode_error(sampler, 40), ode_error(sampler, 80));
        let measured = (coarse / fine).log2();
        assert!((measured - order).abs() < 0.25, "{sampler:?}: order {measured} ({coarse:e}, {fine:e})");
        assert!(fine < 0.05, "{sampler:?}: {fine}");
    }
}

#[test]
fn deterministic_samplers_are_exact_while_x0_stays_put() {
    for sampler in [Sampler::Euler, Sampler::Dpmpp2m, Sampler::DpmppSde { eta: 0.0, r: 0.5 }] {
        let x = Tensor::new(&[[[[5.5f32, -3.0]]]], &Device::Cpu).expect("tensor");
        let mut fixed = FnDenoiser(|x: &Tensor, _: f64| Ok((x.zeros_like()? + 0.5)?));
        let last = sampler.sample(&mut fixed, x, &[10.0, 4.0, 3.0, 0.5], &mut NoNoise, &mut Unobserved);
        let last = list(&last.expect("sample"));
        assert!((last[0] - 0.75).abs() < 1e-6 && (last[1] - 0.325).abs() < 1e-6, "{sampler:?} {last:?}");
    }
}

#[test]
fn two_m_sde_without_noise_is_two_m() {
    let x = || Tensor::new(&[[[[9.0f32, -4.0, 0.1]]]], &Device::Cpu).expect("tensor");
    let mut with_zero = sigmas(7, 0.05);
    with_zero.push(0.0);
    let run = |sampler: Sampler| {
        let out = sampler.sample(&mut FnDenoiser(gaussian), x(), &with_zero, &mut NoNoise, &mut Unobserved);
        list(&out.expect("sample"))
    };
    for (a, b) in run(Sampler::Dpmpp2m).into_iter().zip(run(Sampler::Dpmpp2mSde { eta: 0.0 })) {
        assert!((a - b).abs() < 2e-6, "{a} {b}");
    }
}

/// Mean, deviation and slope on the start of a stochastic run from exact samples at the top.
fn statistics(sampler: Sampler, steps: usize, end: f64) -> (f64, f64, f64) {
    let shape = (1, 1, 200, 200);
    let device = Device::Cpu;
    let start = ((Generator::Mt19937.randn(1, shape, &device).expect("noise") * spread(TOP)).expect("scale")
        + MU)
        .expect("shift");
    let sigmas = sigmas(steps, end);
    let mut noise: Box<dyn NoiseSource> = match sampler {
        Sampler::DpmppSde { .. } | Sampler::Dpmpp2mSde { .. } => {
            Box::new(BrownianTree::for_sigmas(2, shape, &sigmas, &device).expect("tree"))
        }
        _ => Box::new(FreshNoise::new(Generator::Philox, 2, shape, &device)),
    };
    let last =
        sampler.sample(&mut FnDenoiser(gaussian), start.clone(), &sigmas, &mut *noise, &mut Unobserved);
    let (last, start) = (list(&last.expect("sample")), list(&start));
    let mean = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    let (m, m0) = (mean(&last), mean(&start));
    let moment = |a: &[f32], ma: f64, b: &[f32], mb: f64| {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - ma) * (f64::from(*b) - mb)).sum::<f64>()
            / a.len() as f64
    };
    (m, moment(&last, m, &last, m).sqrt(), moment(&last, m, &start, m0) / moment(&start, m0, &start, m0))
}

#[test]
fn stochastic_samplers_solve_the_sde() {
    let end = 0.5;
    let slope = spread(end).powi(2) / spread(TOP).powi(2);
    // (sampler, steps, tolerance of the deviation): first-order ones need more steps.
    let cases = [
        (Sampler::DPMPP_SDE, 20, 0.02),
        (Sampler::Dpmpp2mSde { eta: 1.0 }, 20, 0.03),
        (Sampler::EulerAncestral { eta: 1.0 }, 150, 0.02),
        (Sampler::Ddim { eta: 1.0 }, 150, 0.02),
    ];
    for (sampler, steps, tolerance) in cases {
        let (mean, deviation, measured) = statistics(sampler, steps, end);
        assert!((mean - MU).abs() < 0.02, "{sampler:?}: mean {mean}");
        assert!((deviation / spread(end) - 1.0).abs() < tolerance, "{sampler:?}: deviation {deviation}");
        assert!((measured - slope).abs() < 0.002, "{sampler:?}: slope {measured}, exact {slope}");
    }
    // Half the noise keeps the marginal but remembers more of the start: between the SDE's slope and the ODE's.
    let (_, deviation, measured) = statistics(Sampler::Dpmpp2mSde { eta: 0.5 }, 40, end);
    assert!((deviation / spread(end) - 1.0).abs() < 0.03, "{deviation}");
    assert!(measured > 2.0 * slope && measured < 0.9 * spread(end) / spread(TOP), "{measured}");
}

#[test]
fn lcm_is_exact_for_a_consistency_model() {
    // The consistency function jumps along the ODE to sigma 0; then any number of steps samples the data exactly.
    let shape = (1, 1, 200, 200);
    let mut consistent = FnDenoiser(|x: &Tensor, s: f64| Ok((((x - MU)? * (C / spread(s)))? + MU)?));
    for steps in [1, 4] {
        let mut all = sigmas(steps, 0.3);
        *all.last_mut().expect("sigmas") = 0.0;
        let noise = Generator::Mt19937.randn(5, shape, &Device::Cpu).expect("noise");
        let x = ((noise * spread(TOP)).expect("scale") + MU).expect("shift");
        let mut fresh = FreshNoise::new(Generator::Mt19937, 6, shape, &Device::Cpu);
        let last =
            Sampler::Lcm.sample(&mut consistent, x, &all, &mut fresh, &mut Unobserved).expect("sample");
        let values = list(&last);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let variance =
            values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(
            (mean - MU).abs() < 0.015 && (variance.sqrt() / C - 1.0).abs() < 0.015,
            "{steps}: {mean} {variance}"
        );
    }
}

/// Hands out a fixed list of noise.
struct Given(Vec<Tensor>);

impl NoiseSource for Given {
    fn between(&mut self, _from: f64, _to: f64) -> Result<Tensor> {
        Ok(self.0.remove(0))
    }
}

#[test]
fn ddim_is_the_papers_formula() {
    // Song et al. 2021, equations 12 and 16, on y = x·sqrt(abar) with abar = 1/(1+sigma²).
    let device = Device::Cpu;
    let sigmas = [10.0, 3.0, 1.0, 0.2, 0.0];
    let noise: Vec<f64> = vec![0.4, -1.1, 0.7, 0.2];
    for eta in [0.0, 0.6, 1.0] {
        let abar = |s: f64| 1.0 / (1.0 + s * s);
        let mut y = 12.0 * abar(sigmas[0]).sqrt();
        for (step, pair) in sigmas.windows(2).enumerate() {
            let (a, b) = (abar(pair[0]), abar(pair[1]));
            let x = y / a.sqrt();
            let x0 = (C * C * x + pair[0] * pair[0] * MU) / (C * C + pair[0] * pair[0]);
            let eps = (y - a.sqrt() * x0) / (1.0 - a).sqrt();
            let deviation = eta * ((1.0 - b) / (1.0 - a)).sqrt() * (1.0 - a / b).sqrt();
            y = b.sqrt() * x0
                + (1.0 - b - deviation * deviation).max(0.0).sqrt() * eps
                + deviation * noise[step];
        }
        let x = Tensor::new(&[[[[12f32]]]], &device).expect("tensor");
        let tensors =
            noise.iter().map(|n| Tensor::new(&[[[[*n as f32]]]], &device).expect("tensor")).collect();
        let last = Sampler::Ddim { eta }.sample(
            &mut FnDenoiser(gaussian),
            x,
            &sigmas,
            &mut Given(tensors),
            &mut Unobserved,
        );
        let got = f64::from(list(&last.expect("sample"))[0]);
        assert!((got - y).abs() < 2e-6, "eta {eta}: {got} {y}");
    }
}
