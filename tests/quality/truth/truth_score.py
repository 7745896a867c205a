"""The truth score: how near a picture is to the true picture of the subject in the material, inside the subject.

A pattern may lie anywhere: only its size, direction and strength *here* count, never where a vein runs. Everything is measured on a
perceptual scale (Lab / 100) inside the mask, on pictures of a few hundred pixels, and every part is 1 for the truth and falls
towards 0:

    light       low-passed lightness, sigma 3 % of the diagonal of the subject's box: correlation, amplitude and level
    pattern     energy of oriented bands (4 octaves x 4 directions), pooled over a neighbourhood of 8 % of the box: is the pattern of
                the right size, direction and strength here? That is wrapping
    colour      low-passed chroma here (with the same sigma), and the distribution of all colours (sliced Wasserstein)
    highlights  share, and place (pooled) of pixels that are brighter than what surrounds them and near the truth's brightest
    relief      what of the subject's form (its picture in plain clay) is in the lightness: slope and share of variance in two bands

Each part is exp(-distance / scale), the scale being the part's distance between the truth and the untouched subject on average over
scenes. The score is their weighted geometric mean times 100, so that no part can be bought with the others.
"""

import numpy as np
from scipy import ndimage as ndi

WEIGHTS = {"light": 0.2, "pattern": 0.3, "colour": 0.2, "highlights": 0.1, "relief": 0.2}
# distances at which a part has fallen to 1/e
SCALES = {"light": 0.5, "pattern": 0.6, "colour": 0.12, "highlights": 0.6, "relief": 0.5}
FLOOR = 0.012  # lightness that no eye sees: added to every energy


def lab(rgb):
    """sRGB in 0..1 to CIE Lab / 100."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(np.maximum(xyz, 1e-9)), 7.787 * xyz + 16 / 116)
    return np.stack([1.16 * f[..., 1] - 0.16, 5 * (f[..., 0] - f[..., 1]), 2 * (f[..., 1] - f[..., 2])], -1)


class Scene:
    """What is measured in the truth once: the mask, the sizes, and the clay's bands."""

    def __init__(self, truth, clay, mask):
        """Pictures are float RGB in 0..1 of one size, the mask 0..1."""
        self.mask = (mask > 0.5).astype(float)
        self.core = ndi.binary_erosion(mask > 0.5, iterations=2)
        if self.core.sum() < 200:
            self.core = mask > 0.5
        ys, xs = np.nonzero(self.core)
        self.size = float(np.hypot(np.ptp(ys) + 1, np.ptp(xs) + 1))
        self.clay = self.bands(lab(clay)[..., 0])
        self.truth = self.features(truth)

    def low(self, values, sigma):
        """Blurred inside the mask only, `sigma` as a share of the subject's size."""
        s = max(sigma * self.size, 0.5)
        return ndi.gaussian_filter(values * self.mask, s) / np.maximum(ndi.gaussian_filter(self.mask, s), 1e-3)

    def bands(self, light):
        """Two bands of the lightness in which form lives: 1 to 4 % and 4 to 16 % of the size."""
        levels = [self.low(light, s) for s in (0.01, 0.04, 0.16)]
        return [levels[0] - levels[1], levels[1] - levels[2]]

    def energies(self, light):
        """Pooled amplitude in 4 octaves x 4 directions."""
        out, last = [], light * self.mask + (1 - self.mask) * light[self.core].mean()
        for octave in range(4):
            sigma = 0.7 * 2**octave * self.size / 250
            smooth = self.low(last, sigma / self.size)
            band = self.low(light, 0.5 * sigma / self.size) - smooth
            gy, gx = np.gradient(ndi.gaussian_filter(band * self.mask, 0.5 * sigma))
            gy, gx = gy * sigma, gx * sigma
            pool = max(0.08, 2.5 * sigma / self.size)
            xx, yy, xy = (self.low(v, pool) for v in (gx * gx, gy * gy, gx * gy))
            for angle in np.arange(4) * np.pi / 4:
                c, s = np.cos(angle), np.sin(angle)
                out.append(np.sqrt(np.maximum(c * c * xx + s * s * yy + 2 * c * s * xy, 0))[self.core])
        return np.array(out)

    def features(self, rgb):
        colour = lab(rgb)
        light = colour[..., 0]
        broad = self.low(light, 0.03)
        bright = light - self.low(light, 0.10)
        return {
            "lab": colour[self.core],
            "light": broad[self.core],
            "chroma": np.stack([self.low(colour[..., k], 0.03)[self.core] for k in (1, 2)], -1),
            "energy": self.energies(light),
            "bands": [b[self.core] for b in self.bands(light)],
            "lightness": light, "bright": bright,
        }

    def relief(self, bands):
        """Slope on the clay's bands, and correlation with them."""
        out = []
        for mine, clay in zip(bands, self.clay):
            a, b = clay[self.core] - clay[self.core].mean(), mine - mine.mean()
            out.append(((a * b).sum() / max((a * a).sum(), 1e-9), (a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9)))
        return out

    def distances(self, rgb):
        """The five distances of a picture from the truth."""
        f, t = self.features(rgb), self.truth
        a, b = f["light"], t["light"]
        spread = lambda v: v.std() + 0.02
        together = ((a - a.mean()) * (b - b.mean())).mean() / (spread(a) * spread(b))
        light = (1 - together) + 0.5 * abs(np.log(spread(a) / spread(b))) + 2 * abs(a.mean() - b.mean())
        ratio = np.log((f["energy"] + FLOOR) / (t["energy"] + FLOOR))
        # what is strong in either counts, faint bands do not
        weight = np.maximum(f["energy"], t["energy"]) + 0.3 * FLOOR
        pattern = float((np.abs(ratio) * weight).sum() / weight.sum())
        here = np.linalg.norm(f["chroma"] - t["chroma"], axis=-1).mean()
        way = np.random.default_rng(20261127).standard_normal((3, 24))
        way /= np.linalg.norm(way, axis=0)
        q = np.linspace(0.005, 0.995, 100)
        everywhere = np.abs(np.quantile(f["lab"] @ way, q, axis=0) - np.quantile(t["lab"] @ way, q, axis=0)).mean()
        relief = 0.0
        for (s, c), (s0, c0) in zip(self.relief(f["bands"]), self.relief(t["bands"])):
            relief += 0.5 * (abs(s - s0) / (abs(s0) + 0.25) * 0.5 + abs(c - c0))
        return {"light": light, "pattern": pattern, "colour": here + everywhere, "highlights": self.highlights(f), "relief": relief}

    def highlights(self, f):
        t = self.truth
        # bright for the truth: its 97th percentile, and clearly above what surrounds it
        level = max(np.quantile(t["lightness"][self.core], 0.97), t["lightness"][self.core].mean() + 0.12)
        marks = [np.clip((x["lightness"] - level + 0.05) / 0.1, 0, 1) * np.clip(x["bright"] / 0.1, 0, 1) for x in (f, t)]
        a, b = (self.low(m, 0.04)[self.core] for m in marks)
        return float(np.abs(a - b).sum() / (a.sum() + b.sum() + 0.01 * self.core.sum()))

    def score(self, rgb):
        """{'score': 0..100, and every part: 0..1}."""
        parts = {name: float(np.exp(-d / SCALES[name])) for name, d in self.distances(rgb).items()}
        total = np.exp(sum(w * np.log(max(parts[n], 1e-3)) for n, w in WEIGHTS.items()) / sum(WEIGHTS.values()))
        return {"score": 100 * float(total), **parts}
