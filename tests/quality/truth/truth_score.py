"""The truth score: how near a picture is to the true picture of the subject in the material, inside the subject.

A pattern may lie anywhere: only its size, direction and strength *here* count, never where a vein runs. So there are two true
pictures, with two patterns of the same material, and a distance counts only as far as it is larger than the distance between these two:
d² = max(0, (d(x, truth)² + d(x, truth2)²) / 2 - d(truth, truth2)²). Everything is measured on a perceptual scale (Lab / 100):

    light       low-passed lightness (sigma 4 % of the subject's size): correlation and amplitude, and a little its level
    pattern     energy of oriented bands (4 octaves x 4 directions), pooled over a neighbourhood of 8 %: is the pattern of the right
                size, direction and strength here? That is wrapping
    colour      low-passed chroma here, and the distribution of all colours (sliced Wasserstein)
    highlights  share, and place (pooled) of pixels that are brighter than what surrounds them and near the truth's brightest
    relief      what of the subject's form (its picture in plain clay) is in the lightness: slope and correlation in two bands

Each part is exp(-distance / scale): 1 for the truth, near 0 for what is plainly wrong. The score is their weighted geometric mean times
100, so that no part can be bought with the others. Scales and weights were chosen so that the order follows eye.txt.
"""

import numpy as np
from scipy import ndimage as ndi

WEIGHTS = {"light": 0.16, "pattern": 0.30, "colour": 0.32, "highlights": 0.06, "relief": 0.16}
# distances at which a part has fallen to 1/e
SCALES = {"light": 0.75, "pattern": 0.36, "colour": 0.13, "highlights": 0.9, "relief": 0.6}
FLOOR = 0.012  # lightness that no eye sees: added to every energy


def lab(rgb):
    """sRGB in 0..1 to CIE Lab / 100."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(np.maximum(xyz, 1e-9)), 7.787 * xyz + 16 / 116)
    return np.stack([1.16 * f[..., 1] - 0.16, 5 * (f[..., 0] - f[..., 1]), 2 * (f[..., 1] - f[..., 2])], -1)


def tone(light):
    """Lightness such that a shade counts the same on a dark and on a light material."""
    return np.log(np.maximum(light, 0) + 0.1)


class Scene:
    """What is measured once: the mask, the sizes, the clay's bands, both truths."""

    def __init__(self, truths, clay, mask):
        """`truths` are two pictures; all pictures are float RGB in 0..1 of one size, the mask 0..1."""
        ys, xs = np.nonzero(mask > 0.5)
        # nothing outside the mask is looked at, so that all is cut to its box
        self.box = np.s_[max(ys.min() - 3, 0) : ys.max() + 4, max(xs.min() - 3, 0) : xs.max() + 4]
        mask = mask[self.box]
        self.mask = (mask > 0.5).astype(float)
        self.core = ndi.binary_erosion(mask > 0.5, iterations=2)
        if self.core.sum() < 200:
            self.core = mask > 0.5
        ys, xs = np.nonzero(self.core)
        self.size = float(np.hypot(np.ptp(ys) + 1, np.ptp(xs) + 1))
        self.blurred = {}
        self.clay = [band - band.mean() for band in self.bands(tone(lab(clay[self.box])[..., 0]))]
        self.truths = [self.features(truth) for truth in truths]
        self.apart = self.between(*self.truths)

    def low(self, values, share):
        """Blurred inside the mask only, `share` of the subject's size."""
        sigma = max(share * self.size, 0.5)
        if sigma not in self.blurred:
            self.blurred[sigma] = np.maximum(ndi.gaussian_filter(self.mask, sigma, truncate=3), 1e-3)
        return ndi.gaussian_filter(values * self.mask, sigma, truncate=3) / self.blurred[sigma]

    def bands(self, light):
        """Two bands of the lightness in which form lives: 1 to 4 % and 4 to 16 % of the size."""
        levels = [self.low(light, s) for s in (0.01, 0.04, 0.16)]
        return [(levels[0] - levels[1])[self.core], (levels[1] - levels[2])[self.core]]

    def energies(self, light):
        """Pooled amplitude in 4 octaves x 4 directions."""
        out = []
        for octave in range(4):
            share = 0.0028 * 2**octave
            band = self.low(light, 0.5 * share) - self.low(light, share)
            gy, gx = (g * share * self.size for g in np.gradient(self.low(band, 0.5 * share)))
            xx, yy, xy = (self.low(v, max(0.08, 2.5 * share)) for v in (gx * gx, gy * gy, gx * gy))
            for angle in np.arange(4) * np.pi / 4:
                c, s = np.cos(angle), np.sin(angle)
                out.append(np.sqrt(np.maximum(c * c * xx + s * s * yy + 2 * c * s * xy, 0))[self.core])
        return np.array(out)

    def features(self, rgb):
        """Everything that is compared of one picture."""
        colour = lab(rgb[self.box])
        light = colour[..., 0]
        way = np.random.default_rng(20261127).standard_normal((3, 24)) * [[0.35], [1.0], [1.0]]  # the level is hardly known: mostly chroma
        way /= np.linalg.norm(way, axis=0)
        bands = self.bands(tone(light))
        fits = [((clay * band).sum() / max((clay**2).sum(), 1e-9), (clay * band).sum() / max(np.sqrt((clay**2).sum() * ((band - band.mean()) ** 2).sum()), 1e-9))
                for band, clay in zip(bands, getattr(self, "clay", bands))]
        return {
            "quantiles": np.quantile(colour[self.core] @ way, np.linspace(0.005, 0.995, 100), axis=0),
            "light": self.low(tone(light), 0.04)[self.core],
            "chroma": np.stack([self.low(colour[..., k], 0.05)[self.core] for k in (1, 2)], -1),
            "energy": self.energies(light), "relief": fits,
            "lightness": light, "bright": light - self.low(light, 0.10),
        }

    def between(self, f, t):
        """The five distances of one picture's features from a true picture's."""
        a, b = f["light"], t["light"]
        spread = lambda v: v.std() + 0.06
        together = ((a - a.mean()) * (b - b.mean())).mean() / (spread(a) * spread(b))
        light = (1 - together) + 0.5 * abs(np.log(spread(a) / spread(b))) + 0.3 * abs(a.mean() - b.mean())
        # what is strong in either counts, faint bands do not
        weight = np.maximum(f["energy"], t["energy"]) + 0.3 * FLOOR
        pattern = (np.abs(np.log((f["energy"] + FLOOR) / (t["energy"] + FLOOR))) * weight).sum() / weight.sum()
        here = np.linalg.norm(f["chroma"] - t["chroma"], axis=-1).mean()
        colour = here + np.abs(f["quantiles"] - t["quantiles"]).mean()
        relief = 0.0
        for (slope, tie), (true_slope, true_tie) in zip(f["relief"], t["relief"]):
            steps = np.log((max(slope, 0) + 0.2) / (max(true_slope, 0) + 0.2))
            relief += 0.5 * (abs(tie - true_tie) + abs(steps) * (0.4 if steps > 0 else 0.8))  # too much form harms less than too little
        return {"light": light, "pattern": pattern, "colour": colour, "highlights": self.highlights(f, t), "relief": relief}

    def highlights(self, f, t):
        """Pixels near the brightest of the truth (its 97th percentile) that are brighter than what surrounds them: share and place."""
        inside = t["lightness"][self.core]
        level = max(np.quantile(inside, 0.97), inside.mean() + 0.12)
        marks = [np.clip((x["lightness"] - level + 0.05) / 0.1, 0, 1) * np.clip(x["bright"] / 0.1, 0, 1) for x in (f, t)]
        a, b = (self.low(m, 0.04)[self.core] for m in marks)
        return float(np.abs(a - b).sum() / (a.sum() + b.sum() + 0.01 * self.core.sum()))

    def distances(self, rgb):
        """The five distances of a picture from the truth, less what two true pictures are apart."""
        f = self.features(rgb)
        both = [self.between(f, t) for t in self.truths]
        return {n: float(np.sqrt(max(0.0, (both[0][n] ** 2 + both[1][n] ** 2) / 2 - self.apart[n] ** 2))) for n in WEIGHTS}

    def score(self, rgb):
        """{'score': 0..100, and every part: 0..1}."""
        parts = {name: float(np.exp(-d / SCALES[name])) for name, d in self.distances(rgb).items()}
        total = np.exp(sum(w * np.log(max(parts[n], 0.02)) for n, w in WEIGHTS.items()) / sum(WEIGHTS.values()))
        return {"score": 100 * float(total), **parts}
