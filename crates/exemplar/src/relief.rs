//! The subject's own light on the new surface, and how much of the pattern gives way to it.
//!
//! All of it happens in the logarithm of luminance, where light is a sum. The picture's light is split into what is broad
//! (light and large bulges) and what is fine (a face, folds, a mane). To both comes the light of a lamp on the form: what the
//! picture tells by its colours, a statue has to tell by its shades. Where the pattern's own contrast would drown the relief,
//! the pattern's contrast gives way in that band and at that place; a soft shoulder instead of a cut keeps bright parts from
//! burning out.

use super::form::BLACK;
use super::raster::{Raster, luma};
use super::window::Window;

/// How much of the subject's light the result takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Light {
    /// Share of the broad light, 0 to 2.
    pub(crate) broad: f32,
    /// Share of the fine light, 0 to 2.
    pub(crate) fine: f32,
    /// Share of the fine light on the form, 0 to 2.
    pub(crate) carved: f32,
    /// How many times the relief's contrast the pattern's may be, in every band.
    pub(crate) budget: f32,
    /// The share of its contrast that the pattern keeps at least, or it would not be recognised.
    pub(crate) least_pattern: f32,
}

impl Light {
    /// The mean of several by their shares, which add up to one.
    pub(crate) fn mixed(lights: &[(Self, f32)]) -> Self {
        let mean = |of: fn(&Self) -> f32| lights.iter().map(|(light, share)| share * of(light)).sum();
        Self {
            broad: mean(|light| light.broad),
            fine: mean(|light| light.fine),
            carved: mean(|light| light.carved),
            budget: mean(|light| light.budget),
            least_pattern: mean(|light| light.least_pattern),
        }
    }
}

/// Logarithmic light of the subject, over a window.
#[derive(Debug)]
pub(crate) struct Relief {
    /// Low-passed, less its mean.
    pub(crate) broad: Raster,
    /// The rest.
    pub(crate) fine: Raster,
    /// What is fine of a lamp's light on the form.
    pub(crate) carved: Raster,
    /// Gaussian widths, in pixels, that part grain from fine, fine from coarse and coarse from broad.
    widths: [f32; 3],
}

/// The widths as shares of the diagonal: people tell faces and folds apart in the middle two bands.
const WIDTHS: [f32; 3] = [0.0015, 0.006, 0.024];

/// Width of the low pass that parts broad from fine light, as a share of the diagonal.
const BROAD: f32 = 0.03;

/// How much of the broad light is that of a lamp on the form; the rest is the picture's.
const BROAD_FORM: f32 = 0.45;

/// Contrasts of a pattern from which on it hides details (wood has 0.08, marble 0.06), and at which it hides most of them
/// (slate 0.24, houndstooth 0.35). There the form is lit this much more strongly.
const BOLD: (f32, f32) = (0.08, 0.26);
const BOLD_CARVED: f32 = 0.6;

/// The outermost ring of the mask, as a share of the diagonal, mixes subject and surroundings: its light is not the subject's.
const RIM: f32 = 0.0025;

/// Logarithmic contrast at which a relief is certainly seen: below it, there is nothing that a pattern could drown.
const SEEN: f32 = 0.03;

/// How much of its colour's contrast a pattern gives up for every share of its brightness's: form is seen in brightness, and in
/// its colours a pattern can stay.
const COLOUR: f32 = 0.4;

/// Root mean square over mean magnitude of a pattern that is as strong everywhere (Gaussian).
const DENSE_PATTERN: f32 = 1.25;

/// How much of the energy of a finer relief counts against a coarser pattern.
const SWALLOWED: f32 = 1.0;

/// Light that is gained or lost at most, as logarithms, approached softly.
const MOST_LIGHT: f32 = 0.9;
const MOST_SHADE: f32 = 1.2;

/// Above this value pixels are bent towards white instead of cut at it.
const SHOULDER: f32 = 0.8;

/// The brightest parts (one pixel in twenty) are brought to this value if they lie above it, by at most this factor.
const BRIGHTEST: f32 = 0.95;
const DIMMEST: f32 = 0.75;

impl Relief {
    /// Of a window's subject, whose light without its own colours is `light` (one channel, natural logarithm); of the details
    /// of its dark and bright colours the share `kept` (0 to 1) stays. `carved` is a lamp's light on its form.
    pub(crate) fn of(window: &Window, light: Option<&Raster>, kept: f32, carved: &Raster) -> Self {
        let diagonal = window.diagonal();
        let logs = window.picture.map(1, |p, o| o[0] = log(luma(p)));
        let rim = ((RIM * diagonal).round() as usize).clamp(1, 4);
        let core = window.firm.shrunken(rim);
        let mut inner = logs.blur_within(&core, rim as f32);
        inner.data.iter_mut().zip(logs.data.iter().zip(&core.data)).for_each(|(o, (l, c))| {
            if *c > 0.5 {
                *o = *l;
            }
        });
        let light = light.map(|light| fitted(light, &inner, &window.firm, FIT * diagonal));
        let logs = match &light {
            Some(light) => {
                inner.zip(light, 1, |own, light, o| o[0] = kept * own[0] + (1.0 - kept) * light[0])
            }
            None => inner,
        };
        let parted = |logs: &Raster| {
            let logs = calmed(logs, &window.firm, diagonal);
            let low = logs.blur_within(&window.firm, BROAD * diagonal);
            (logs.zip(&low, 1, |l, c, o| o[0] = l[0] - c[0]), low)
        };
        let (fine, low) = parted(&logs);
        let (carved, form) = parted(carved);
        // Dark hair is no shadow: of colours nothing broad stays.
        let low = light.map_or(low, |light| light.blur_within(&window.firm, BROAD * diagonal));
        let broad = low.zip(&form, 1, |l, f, o| o[0] = (1.0 - BROAD_FORM) * l[0] + BROAD_FORM * f[0]);
        let mean = broad.mean_within(&window.firm)[0];
        Self {
            fine,
            carved,
            broad: broad.map(1, |b, o| o[0] = b[0] - mean),
            widths: WIDTHS.map(|w| w * diagonal),
        }
    }

    /// Puts the light onto `painted` (window, RGB).
    pub(crate) fn lay(&self, painted: &Raster, window: &Window, light: &Light) -> Raster {
        let carved = light.carved * (1.0 + BOLD_CARVED * self.boldness(painted, &window.firm));
        let fine = self.fine.zip(&self.carved, 1, |f, c, o| o[0] = light.fine * f[0] + carved * c[0]);
        // Either within its limits: no detail is lost where the light is broadly strong.
        let gain = self.broad.zip(&fine, 1, |b, f, o| o[0] = soft(light.broad * b[0]) + soft(f[0]));
        let calm = self.given_way(painted, &gain, window, light);
        let lit = calm.zip(&gain, 3, |p, g, o| o.iter_mut().zip(p).for_each(|(o, p)| *o = p * g[0].exp()));
        // The light adds none of its own: the whole stays as bright as the material is …
        let (before, after) = (painted.mean_within(&window.firm), lit.mean_within(&window.firm));
        let level = (luma(&before) / luma(&after).max(1e-3)).clamp(0.7, 1.4);
        // … but where it would burn out: relief on white shows in its shades alone, and needs room above.
        let level = level.min((BRIGHTEST / brightest(&lit, &window.firm)).max(DIMMEST));
        let glint = glint(luma(&before));
        lit.zip(&gain, 3, |p, g, o| {
            let mirrored = glint * ((GLINT_RISE * g[0]).exp() - GLINT_FLOOR).max(0.0);
            let p = [p[0] * level + mirrored, p[1] * level + mirrored, p[2] * level + mirrored];
            let most = p.iter().copied().fold(0.0, f32::max);
            let bent = shoulder(most) / most.max(1e-6);
            o.iter_mut().zip(p).for_each(|(o, v)| *o = v * bent);
        })
    }

    /// How much a pattern competes with details of the subject, 0 (not at all) to 1, by the mean magnitude of its logarithmic
    /// luminance in the two finer bands.
    fn boldness(&self, painted: &Raster, firm: &Raster) -> f32 {
        let grey = painted.map(1, |p, o| o[0] = log(luma(p)));
        let magnitude = |band: &Raster| band.map(1, |v, o| o[0] = v[0].abs()).mean_within(firm)[0];
        let contrast: f32 = self.bands(&grey, firm).iter().take(2).map(magnitude).sum();
        ((contrast - BOLD.0) / (BOLD.1 - BOLD.0)).clamp(0.0, 1.0)
    }

    /// `painted` with its contrast reduced where it would drown the light that `gain` adds.
    fn given_way(&self, painted: &Raster, gain: &Raster, window: &Window, light_asked: &Light) -> Raster {
        let budget =
            light_asked.budget * (1.0 + DARK_BUDGET * darkness(luma(&painted.mean_within(&window.firm))));
        let firm = &window.firm;
        let colours = painted.map(3, |p, o| o.iter_mut().zip(p).for_each(|(o, p)| *o = log(*p)));
        let pattern = self.bands(&colours, firm);
        let light = self.bands(gain, firm);
        let mut out = colours;
        for (band, p) in pattern.iter().enumerate() {
            let reach = 2.0 * self.widths[(band + 1).min(self.widths.len() - 1)];
            let energy = |x: &Raster| {
                let mean = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>() / v.len() as f32;
                x.map(1, |v, o| o[0] = mean(v)).blur_within(firm, reach)
            };
            // A pattern drowns what is as fine as itself and what is one step coarser, but no broad light; and the dark parts
            // of a coarse one swallow what is one step finer.
            let mut relief = energy(&light[band]);
            if band + 2 < light.len() {
                relief = relief.zip(&energy(&light[band + 1]), 1, |a, b, o| o[0] = a[0] + b[0]);
            }
            if band > 0 {
                relief = relief.zip(&energy(&light[band - 1]), 1, |a, b, o| o[0] = a[0] + SWALLOWED * b[0]);
            }
            // By magnitude and over wider surroundings: a lone vein hides nothing, however bright it is.
            let magnitude = |v: &[f32]| v.iter().map(|v| v.abs()).sum::<f32>() / v.len() as f32;
            let pattern = p.map(1, |v, o| o[0] = DENSE_PATTERN * magnitude(v)).blur_within(firm, 2.0 * reach);
            let share = pattern.zip(&relief, 1, |p, g, o| {
                let (p, g) = (p[0], g[0].max(0.0).sqrt());
                let wanted = (budget * g / p.max(1e-4)).clamp(light_asked.least_pattern, 1.0);
                o[0] = (1.0 - wanted) * g / (g + SEEN);
            });
            let less = p.zip(&share, 3, |p, s, o| {
                let grey = (p[0] + p[1] + p[2]) / 3.0;
                o.iter_mut().zip(p).for_each(|(o, p)| *o = s[0] * (grey + COLOUR * (p - grey)));
            });
            out = out.zip(&less, 3, |a, b, o| {
                o.iter_mut().zip(a.iter().zip(b)).for_each(|(o, (a, b))| *o = a - b)
            });
        }
        out.map(3, |p, o| o.iter_mut().zip(p).for_each(|(o, p)| *o = (p.exp() - BLACK).max(0.0)))
    }

    /// A raster's bands, fine to broad; the grain, finer than all of them, is left out.
    fn bands(&self, x: &Raster, firm: &Raster) -> Vec<Raster> {
        let (mean, channels) = (x.mean_within(firm), x.channels);
        let mut levels: Vec<Raster> = self.widths.iter().map(|width| x.blur_within(firm, *width)).collect();
        levels.push(x.map(channels, |_, o| o.copy_from_slice(&mean)));
        let part = |pair: &[Raster]| {
            pair[0].zip(&pair[1], channels, |f, c, o| {
                o.iter_mut().zip(f.iter().zip(c)).for_each(|(o, (f, c))| *o = f - c);
            })
        };
        levels.windows(2).map(part).collect()
    }

    /// The light as a grey picture, for people to look at.
    pub(crate) fn shown(&self) -> Raster {
        let fine = self.fine.zip(&self.carved, 1, |f, c, o| o[0] = f[0] + c[0]);
        self.broad.zip(&fine, 1, |b, f, o| o[0] = (0.5 * (b[0] + f[0]).exp()).clamp(0.0, 1.0))
    }
}

/// `logs` with less of what is the subject's own texture: fur, a weave, grass. It is what is fine and as strong in one place as
/// in the next; an eye, a seam or an edge stands out from its surroundings and stays.
fn calmed(logs: &Raster, firm: &Raster, diagonal: f32) -> Raster {
    let reach = AROUND * diagonal;
    let mut out = logs.clone();
    let mut finer = logs.clone();
    for (width, most) in TEXTURE {
        let coarser = finer.blur_within(firm, width * diagonal);
        let band = finer.zip(&coarser, 1, |f, c, o| o[0] = f[0] - c[0]);
        let around =
            band.map(2, |b, o| o.copy_from_slice(&[b[0].abs(), b[0] * b[0]])).blur_within(firm, reach);
        let less = band.zip(&around, 1, |b, m, o| {
            let square = m[1].max(1e-8);
            let even = ((m[0] * m[0] / square - SPARSE) / (DENSE - SPARSE)).clamp(0.0, 1.0);
            let usual = 1.0 / (1.0 + (b[0] * b[0] / (OUTSTANDING * OUTSTANDING * square)).powi(2));
            o[0] = most * even * usual * b[0];
        });
        out.data.iter_mut().zip(&less.data).for_each(|(o, l)| *o -= l);
        finer = coarser;
    }
    out
}

/// The bands of a subject's texture: the width that each ends at, as a share of the diagonal, and the most that is taken away.
const TEXTURE: [(f32, f32); 2] = [(0.0015, 0.75), (0.006, 0.65)];

/// Width of the surroundings that a detail is compared with, as a share of the diagonal.
const AROUND: f32 = 0.02;

/// Squared mean size over mean square of details: 0.64 for noise as even as can be (Gaussian), less the rarer they are.
const SPARSE: f32 = 0.40;
const DENSE: f32 = 0.56;

/// A detail this many times as strong as those around it is half spared.
const OUTSTANDING: f32 = 2.2;

/// A network's smooth light, given the fine form of the logarithmic luminance `own` where the two go together: a guided filter
/// (He et al. 2010). Where luminance changes and the light does not, it is a print, and nothing of it comes over.
fn fitted(light: &Raster, own: &Raster, firm: &Raster, sigma: f32) -> Raster {
    let light = light.map(1, |l, o| o[0] = TIMID * l[0] / GAMMA);
    let moments = own.zip(&light, 4, |a, b, o| o.copy_from_slice(&[a[0], b[0], a[0] * a[0], a[0] * b[0]]));
    let line = moments.blur_within(firm, sigma).map(2, |m, o| {
        let (variance, covariance) = (m[2] - m[0] * m[0], m[3] - m[0] * m[1]);
        let slope = (covariance / (variance.max(0.0) + FLAT)).clamp(0.0, 1.2);
        o.copy_from_slice(&[slope, m[1] - slope * m[0]]);
    });
    own.zip(&line.blur_within(firm, 0.5 * sigma), 1, |v, line, o| o[0] = line[0] * v[0] + line[1])
}

/// Width of the neighbourhood in which light and luminance are compared, as a share of the diagonal.
const FIT: f32 = 0.012;

/// Variance of logarithmic luminance below which there is nothing to compare.
const FLAT: f32 = 4e-4;

/// A network that is unsure says too little: its light deviates by 0.7 of the truth's on held-out renders.
const TIMID: f32 = 1.4;

/// Light is linear, pixels are not: the usual exponent between the two.
const GAMMA: f32 = 2.2;

/// What a surface mirrors of its surroundings whatever its colour is: nothing that is seen on a pale one, all that is seen of the
/// form of a black one. By the mean luminance of the material.
fn glint(luminance: f32) -> f32 {
    GLINT * darkness(luminance)
}

/// How dark a material of this mean luminance is: 1 for black, 0 from [`DARK_BELOW`] on.
fn darkness(luminance: f32) -> f32 {
    (1.0 - luminance / DARK_BELOW).max(0.0)
}

const DARK_BELOW: f32 = 0.22;

/// How much more contrast a black material's pattern may have, as a share: its bright veins are what is seen of it, and hide little.
const DARK_BUDGET: f32 = 6.0;

/// The glint of a black material where the light is as usual, before [`GLINT_FLOOR`] is taken off; it grows with this power of the
/// light.
const GLINT: f32 = 0.17;
const GLINT_RISE: f32 = 1.6;
const GLINT_FLOOR: f32 = 0.6;

/// Logarithmic luminance.
fn log(luminance: f32) -> f32 {
    (luminance.max(0.0) + BLACK).ln()
}

/// A logarithmic gain within what still looks like light.
fn soft(gain: f32) -> f32 {
    let most = if gain > 0.0 { MOST_LIGHT } else { MOST_SHADE };
    most * (gain / most).tanh()
}

/// The value that one pixel in twenty exceeds in its brightest channel.
fn brightest(picture: &Raster, firm: &Raster) -> f32 {
    let most = picture.data.chunks_exact(3).zip(&firm.data).filter(|(_, f)| **f > 0.0);
    let mut most: Vec<f32> = most.map(|(p, _)| p.iter().copied().fold(0.0, f32::max)).collect();
    let at = most.len() * 19 / 20;
    if most.is_empty() { 1.0 } else { most.select_nth_unstable_by(at, f32::total_cmp).1.max(1e-3) }
}

/// Values from 0 up, bent so that 1 is never passed.
fn shoulder(v: f32) -> f32 {
    if v <= SHOULDER {
        return v;
    }
    let room = 1.0 - SHOULDER;
    SHOULDER + room * ((v - SHOULDER) / room).tanh()
}

#[cfg(test)]
mod tests;
