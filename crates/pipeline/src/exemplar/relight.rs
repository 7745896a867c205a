//! Gives the painted material the subject's light: its broad shading, as far as the form needs it, and its fine form, as
//! far as the material's own contrast allows.
//!
//! Both are multiplications. The broad one is solved for: the least strength at which the luminance of the result, seen at
//! the width of the subject's form, correlates with the subject's as strongly as asked.

use super::material::Material;
use super::raster::{Kernel, Raster, luma};
use super::subject::Subject;
use crate::profile::ExemplarTunables;

/// How much of the subject's light the result takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Light {
    /// Correlation with the subject's form that the broad shading must reach, 0 to 1.
    pub(crate) form: f32,
    /// The least strength of the broad shading, 0 to 1.
    pub(crate) least: f32,
    /// Strength of the fine form, 0 to 1.
    pub(crate) fine: f32,
}

/// Relights `painted` (canvas, RGB).
pub(crate) fn relight(
    painted: &Raster,
    subject: &Subject,
    material: &Material,
    light: &Light,
    tunables: &ExemplarTunables,
) -> Raster {
    let form = Form::of(subject);
    let wanted = form.wanted_shading(material, tunables);
    let lit_by = |gains: &Raster, strength| form.seen(&lit_luma(painted, gains, strength));
    // Luminance that is lost where a gain clips, or that uneven material leaves behind, is asked for again: only a form
    // that does not show at full strength yet needs it.
    let mut small = missing(&wanted, &form.seen(&painted.luma()));
    let mut gains = form.enlarged(&small);
    for _ in 0..CORRECTIONS {
        let full = lit_by(&gains, 1.0);
        if form.correlation(&full) >= light.form {
            break;
        }
        small = small.zip(&missing(&wanted, &full), 1, |g, m, o| o[0] = clamped(g[0] + m[0]));
        gains = form.enlarged(&small);
    }
    let broad = lit(painted, &gains, strength(light, |beta| form.correlation(&lit_by(&gains, beta))));
    let kappa = light.fine * fine_strength(&broad, subject, material, &form.firm, tunables);
    lit(&broad, &subject.fine, kappa)
}

/// The subject's form, and luminance as it is seen at its width: on a smaller copy, as what is left has no detail to lose.
struct Form {
    /// 1 where the subject is firm, at the canvas' size.
    firm: Raster,
    /// How many times smaller the rest is.
    factor: usize,
    inside: Raster,
    shading: Raster,
    sigma: f32,
}

impl Form {
    fn of(subject: &Subject) -> Self {
        let firm = subject.firm();
        let factor = firm.shrink_for(subject.form_sigma);
        let (inside, shading) = (firm.shrunk(factor), subject.shading.shrunk(factor));
        Self { firm, factor, inside, shading, sigma: subject.form_sigma / factor as f32 }
    }

    /// A luminance of the canvas, low-passed within the subject; small.
    fn seen(&self, luminance: &Raster) -> Raster {
        let within = luminance.zip(&self.firm, 1, |l, f, o| o[0] = l[0] * f[0]).shrunk(self.factor);
        // The mean over the firm part of each small pixel.
        within
            .zip(&self.inside, 1, |p, w, o| o[0] = if w[0] > 0.0 { p[0] / w[0] } else { 0.0 })
            .blur_within(&self.inside, self.sigma)
    }

    fn enlarged(&self, small: &Raster) -> Raster {
        small.resize(self.firm.width, self.firm.height, Kernel::Triangle)
    }

    /// How a small luminance correlates with the subject's.
    fn correlation(&self, seen: &Raster) -> f32 {
        correlation(seen, &self.shading, &self.inside)
    }

    /// The luminance that the result should have at the width of the form: the material's mean, modulated as the subject
    /// is, within the contrast that still looks lit and not painted; small.
    fn wanted_shading(&self, material: &Material, tunables: &ExemplarTunables) -> Raster {
        let logs = self.shading.map(1, |s, o| o[0] = (s[0].max(0.0) + 0.03).ln());
        let mean = logs.mean_within(&self.inside)[0];
        let contrast = logs.deviation_within(&self.inside).max(1e-3);
        let target = contrast.clamp(tunables.least_contrast, tunables.most_contrast);
        let level = material.shading.mean_within(&material.inside)[0].max(0.02);
        logs.map(1, |l, o| o[0] = level * clamped(target / contrast * (l[0] - mean)).exp())
    }
}

/// Rounds in which the broad light is asked for what it lacks.
const CORRECTIONS: usize = 6;

/// An RGB picture multiplied by the exponential of `gains` (one channel) times `strength`, within 0 to 1.
fn lit(picture: &Raster, gains: &Raster, strength: f32) -> Raster {
    picture.zip(gains, 3, |p, g, o| o.copy_from_slice(&lit_pixel(p, strength * g[0])))
}

/// The luminance of [`lit`].
fn lit_luma(picture: &Raster, gains: &Raster, strength: f32) -> Raster {
    picture.zip(gains, 1, |p, g, o| o[0] = luma(&lit_pixel(p, strength * g[0])))
}

/// An RGB triple under a logarithmic gain.
fn lit_pixel(rgb: &[f32], gain: f32) -> [f32; 3] {
    let gain = gain.exp();
    [rgb[0], rgb[1], rgb[2]].map(|v| (gain * v).clamp(0.0, 1.0))
}

/// Logarithmic gains that take one luminance to another.
fn missing(wanted: &Raster, own: &Raster) -> Raster {
    wanted.zip(own, 1, |w, o, r| r[0] = clamped((w[0].max(0.01) / o[0].max(0.01)).ln()))
}

/// A logarithmic gain within what still looks like light.
fn clamped(gain: f32) -> f32 {
    gain.clamp(-1.6, 1.2)
}

/// The least strength of at least `light.least` whose correlation reaches `light.form`, by bisection.
fn strength(light: &Light, correlation: impl Fn(f32) -> f32) -> f32 {
    if correlation(light.least) >= light.form {
        return light.least;
    }
    let (mut low, mut high) = (light.least, 1.0);
    for _ in 0..5 {
        let middle = 0.5 * (low + high);
        if correlation(middle) >= light.form { high = middle } else { low = middle }
    }
    high
}

/// Pearson correlation of two one-channel rasters where `inside` exceeds one half.
fn correlation(a: &Raster, b: &Raster, inside: &Raster) -> f32 {
    let (mut n, mut sa, mut sb, mut saa, mut sbb, mut sab) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for ((a, b), _) in a.data.iter().zip(&b.data).zip(&inside.data).filter(|(_, i)| **i > 0.5) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        n += 1.0;
        sa += a;
        sb += b;
        saa += a * a;
        sbb += b * b;
        sab += a * b;
    }
    let spread = ((n * saa - sa * sa) * (n * sbb - sb * sb)).sqrt();
    if spread > 1e-9 { ((n * sab - sa * sb) / spread) as f32 } else { 1.0 }
}

/// How far the subject's fine form may go: its deviation is a share of the material's own, plus what the eye does not
/// mistake for texture on a smooth one.
fn fine_strength(
    broad: &Raster,
    subject: &Subject,
    material: &Material,
    firm: &Raster,
    tunables: &ExemplarTunables,
) -> f32 {
    let luminance = material.picture.luma();
    let local = luminance.blur_within(&material.inside, 3.0);
    let texture = luminance.zip(&local, 1, |l, s, o| o[0] = l[0] - s[0]).deviation_within(&material.inside);
    let modulation = broad.zip(&subject.fine, 1, |p, f, o| o[0] = luma(p) * f[0]);
    let fine = modulation.deviation_within(firm).max(1e-4);
    ((tunables.fine_floor + tunables.fine_share * texture) / fine).min(tunables.fine_most)
}
