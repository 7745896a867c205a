//! Normalisation: statistics in one pass over memory, application in a second.
//!
//! A run of [`RUN`] values gets its sum and its sum of squares about the mean of its first values; runs are joined in
//! f64 (Chan, Golub and LeVeque 1979). So a large mean costs no digits, and sums of millions of values keep theirs.

use super::lanes::{Lanes, versions};
use super::math::{Function, by_activation, map};
use super::microkernel::Microkernel;
use super::parallel;
use super::planes::Planes;
use super::scratch::Output;
use crate::Activation;

/// Values of a run: 16 KiB, half of the L1 cache.
const RUN: usize = 4096;

/// Mean and biased variance so far.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    /// Sum of squared deviations.
    squares: f64,
}

impl Moments {
    fn join(&mut self, other: Self) {
        let count = self.count + other.count;
        if count == 0.0 {
            return;
        }
        let delta = other.mean - self.mean;
        self.mean += delta * other.count / count;
        self.squares += other.squares + delta * delta * self.count * other.count / count;
        self.count = count;
    }

    /// (mean, 1/√(variance + eps)).
    fn scale(&self, eps: f64) -> (f64, f64) {
        (self.mean, (self.squares / self.count.max(1.0) + eps).sqrt().recip())
    }
}

fn moments<'a>(microkernel: &Microkernel, x: impl IntoIterator<Item = &'a [f32]>) -> Moments {
    let mut all = Moments::default();
    for run in x.into_iter().flat_map(|x| x.chunks(RUN)) {
        // Deviations from a value near the mean keep their digits; what they sum to corrects mean and squares.
        let near = &run[..run.len().min(64)];
        let near = near.iter().sum::<f32>() / near.len() as f32;
        let (mut rest, mut squares) = (0.0, 0.0);
        deviations(microkernel, run, near, &mut rest, &mut squares);
        let count = run.len() as f64;
        let off = rest / count;
        all.join(Moments { count, mean: f64::from(near) + off, squares: squares - off * rest });
    }
    all
}

versions! {
    /// Σ(x − mean) and Σ(x − mean)² of a short run.
    fn deviations(x: &[f32], mean: f32, sum: &mut f64, squares: &mut f64) = deviations_body
}

#[inline(always)]
#[allow(unsafe_code)]
fn deviations_body<L: Lanes>(x: &[f32], mean: f32, sum: &mut f64, squares: &mut f64) {
    let shift = L::splat(mean);
    let mut sums = [L::splat(0.0); 4];
    let mut all = [L::splat(0.0); 4];
    let mut at = 0;
    while at + 4 * L::N <= x.len() {
        for i in 0..4 {
            // SAFETY: 4·N values from `at` lie inside `x`.
            let d = unsafe { L::load(x.as_ptr().add(at + i * L::N)) }.sub(shift);
            sums[i] = sums[i].add(d);
            all[i] = d.mul_add(d, all[i]);
        }
        at += 4 * L::N;
    }
    for i in 0..4 {
        let mut lanes = [[0f32; 8]; 2];
        // SAFETY: each array holds 8 values, at least as many as a vector.
        unsafe {
            sums[i].store(lanes[0].as_mut_ptr());
            all[i].store(lanes[1].as_mut_ptr());
        }
        *sum += lanes[0].iter().map(|value| f64::from(*value)).sum::<f64>();
        *squares += lanes[1].iter().map(|value| f64::from(*value)).sum::<f64>();
    }
    for value in &x[at..] {
        let d = f64::from(value - mean);
        *sum += d;
        *squares += d * d;
    }
}

/// Which values share a factor and a shift.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
}

/// Group normalisation of `images` pictures of `groups` groups of `channels` channels of `pixels` values each, then
/// `activation`. Without `affine`, only the standardisation.
#[allow(unsafe_code, clippy::too_many_arguments)]
pub(crate) fn group(
    microkernel: &Microkernel,
    x: &Planes<'_>,
    [images, groups, channels, pixels]: [usize; 4],
    eps: f64,
    affine: Option<Affine<'_>>,
    activation: Option<Activation>,
) -> Vec<f32> {
    let mut output = Output::new(images * groups * channels * pixels);
    let out = output.shared();
    parallel::each(images * groups, |task| {
        let (image, group) = (task / groups, task % groups);
        let own = group * channels..(group + 1) * channels;
        let (mean, factor) = moments(microkernel, x.runs(image, own.clone())).scale(eps);
        for channel in own {
            let (weight, bias) =
                affine.map_or((1.0, 0.0), |affine| (affine.weight[channel], affine.bias[channel]));
            let scale = f64::from(weight) * factor;
            // SAFETY: each task writes its own group.
            let to = unsafe { out.slice((image * groups * channels + channel) * pixels, pixels) };
            // The mean is taken off first: folded into the shift it would cost digits where it is large.
            line(microkernel, x.plane(image, channel), to, [mean as f32, scale as f32, bias], activation);
        }
    });
    // SAFETY: the groups cover all values.
    unsafe { output.finish() }
}

versions! {
    /// (x − mean)·scale + shift, then the activation.
    fn line(x: &[f32], y: &mut [f32], by: [f32; 3], activation: Option<Activation>) = line_body
}

#[inline(always)]
fn line_body<L: Lanes>(x: &[f32], y: &mut [f32], by: [f32; 3], activation: Option<Activation>) {
    by_activation!(activation, then => map::<L>(x, y, Standardise { by, then }))
}

/// (x − mean)·scale + shift, then a function.
#[derive(Clone, Copy)]
struct Standardise<F> {
    by: [f32; 3],
    then: F,
}

impl<F: Function> Function for Standardise<F> {
    #[inline(always)]
    fn of<L: Lanes>(self, x: L) -> L {
        let [mean, scale, shift] = self.by;
        self.then.of(x.sub(L::splat(mean)).mul_add(L::splat(scale), L::splat(shift)))
    }
}

/// Layer normalisation of rows of `width` values.
#[allow(unsafe_code)]
pub(crate) fn layer(
    microkernel: &Microkernel,
    x: &[f32],
    width: usize,
    eps: f64,
    affine: Affine<'_>,
) -> Vec<f32> {
    /// Values of a task: 128 KiB in and out.
    const TASK: usize = 1 << 15;
    let rows = (TASK / width.max(1)).max(1);
    let mut output = Output::new(x.len());
    let out = output.shared();
    parallel::each(x.len().div_ceil((rows * width).max(1)), |task| {
        let start = task * rows * width;
        let values = &x[start..(start + rows * width).min(x.len())];
        // SAFETY: each task writes its own rows.
        let to = unsafe { out.slice(start, values.len()) };
        for (values, to) in values.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
            let (mean, factor) = moments(microkernel, [values]).scale(eps);
            columns(microkernel, values, to, [mean as f32, factor as f32], affine);
        }
    });
    // SAFETY: the tasks cover all rows.
    unsafe { output.finish() }
}

versions! {
    /// (x − mean)·factor·weight + bias, weight and bias by position.
    fn columns(x: &[f32], y: &mut [f32], by: [f32; 2], affine: Affine<'_>) = columns_body
}

#[inline(always)]
#[allow(unsafe_code)]
fn columns_body<L: Lanes>(x: &[f32], y: &mut [f32], by: [f32; 2], affine: Affine<'_>) {
    let len = x.len();
    assert!(y.len() == len && affine.weight.len() == len && affine.bias.len() == len);
    let (mean, factor) = (L::splat(by[0]), L::splat(by[1]));
    let mut at = 0;
    while at + L::N <= len {
        // SAFETY: N values from `at` lie inside all four slices.
        unsafe {
            let weight = L::load(affine.weight.as_ptr().add(at)).mul(factor);
            let bias = L::load(affine.bias.as_ptr().add(at));
            L::load(x.as_ptr().add(at)).sub(mean).mul_add(weight, bias).store(y.as_mut_ptr().add(at));
        }
        at += L::N;
    }
    for i in at..len {
        y[i] = (x[i] - by[0]) * (affine.weight[i] * by[1]) + affine.bias[i];
    }
}
