"""The pictures that the teacher is asked about: photographs, windows of them, and composites of cut-outs over backgrounds.

Cut-outs are pictures with an alpha channel, and what the teacher cut out of training photographs with confidence.
Composites have shadows, blur, off-centre placement and free aspect, because the network sees pictures stretched to a square.
"""

import json
import math
import os
import pickle
import random

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from label import open_rgb
from split import ordinary, split, usable

SIZE = 320  # the teacher's own
RICHER = 1882  # lessons from this number on are turned, warped and recoloured more, and prefer pictures of one clear subject


class Pool:
    """Training photographs (at most LARGEST pixels a side) and cut-outs, all in memory."""

    LARGEST = 640

    def __init__(self, folder):
        path = os.path.join(folder, "pool.pickle")
        pictures = json.load(open(os.path.join(folder, "pictures.json")))
        if not os.path.exists(path):
            photos = [self.photograph(p["path"]) for p in pictures if usable(p) and split(p) == "train"]
            cutouts = [self.cutout(p["path"]) for p in pictures if p["kind"] == "cutout"]
            with open(path + ".part", "wb") as f:
                pickle.dump((photos, [c for c in cutouts if c]), f)
            os.replace(path + ".part", path)
        self.photos, self.cutouts = pickle.load(open(path, "rb"))
        self.drawn = len(self.cutouts)  # cut-outs beyond these are subjects of photographs
        self.clear = []  # photographs of one clear subject

    def photograph(self, path):
        im = open_rgb(path)
        im.thumbnail((self.LARGEST, self.LARGEST), Image.Resampling.LANCZOS)
        return im

    def whole(self, number):
        """The photograph of lesson `number`: all of them once, in an order of no meaning."""
        return self.photos[random.Random(0).sample(range(len(self.photos)), len(self.photos))[number]]

    @staticmethod
    def cutout(path):
        im = Image.open(path).convert("RGBA")
        box = im.getchannel("A").point(lambda v: 255 if v > 40 else 0).getbbox()
        if not box:
            return None
        im = im.crop(box)
        im.thumbnail((384, 384), Image.Resampling.LANCZOS)
        if min(im.size) < 24 or np.asarray(im.getchannel("A")).mean() < 50:
            return None
        return im

    def take(self, number, im, mask):
        """Learns the mask of whole photograph `number`: whether it shows one clear subject, and that subject as a cut-out.

        A cut-out's mask must be nearly binary, of a middling area and inside the frame.
        """
        m = np.asarray(mask)
        if ordinary(m):
            self.clear.append(self.whole(number))
        sure = ((m > 230) | (m < 25)).mean() > 0.94 and 0.03 < (m > 127).mean() < 0.6
        edges = (m[0] > 127).mean() + (m[-1] > 127).mean() + (m[:, 0] > 127).mean() + (m[:, -1] > 127).mean()
        if sure and edges < 0.32:
            box = mask.point(lambda v: 255 if v > 40 else 0).getbbox()
            self.cutouts.append(Image.merge("RGBA", (*im.split(), mask)).crop(box))


def jitter(im, rnd, strength=1.0):
    """Brightness, contrast, saturation and warmth."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if rnd.random() < 0.7:
            im = enhance(im).enhance(1 + strength * rnd.uniform(-0.35, 0.35))
    if rnd.random() < 0.3:
        gain = np.array([1 + strength * rnd.uniform(-0.12, 0.12) for _ in range(3)])
        im = Image.fromarray(np.clip(np.asarray(im) * gain, 0, 255).astype(np.uint8))
    return im


def spoil(a, rnd):
    """Grain, softness, grey: what cameras and encoders do."""
    if rnd.random() < 0.15:
        im = Image.fromarray(a).filter(ImageFilter.GaussianBlur(rnd.uniform(0.3, 1.2)))
        a = np.asarray(im)
    if rnd.random() < 0.2:
        noise = np.random.default_rng(rnd.getrandbits(32)).normal(0, rnd.uniform(2, 10), a.shape)
        a = np.clip(a + noise, 0, 255).astype(np.uint8)
    if rnd.random() < 0.04:
        a = np.repeat(a.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    return a


def window(im, size, rnd, smallest=0.4):
    """A random window of a photograph, stretched to a square, perhaps mirrored."""
    w, h = (s * rnd.uniform(smallest, 1) for s in im.size)
    x, y = rnd.uniform(0, im.width - w), rnd.uniform(0, im.height - h)
    im = im.resize((size, size), Image.Resampling.LANCZOS, (x, y, x + w, y + h))
    return im.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rnd.random() < 0.5 else im


def warped(im, size, rnd):
    """A window of a photograph, turned and seen askew: its corners lie inside a somewhat larger window's."""
    large = size * 5 // 4
    im, turn = window(im, large, rnd, 0.55), rnd.uniform(-0.4, 0.4) if rnd.random() < 0.5 else 0.0
    corners = []
    for x, y in ((-1, -1), (-1, 1), (1, 1), (1, -1)):
        x, y = (v * rnd.uniform(0.68, 1.0) for v in (x, y))
        x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        corners += [(min(max(v, -1), 1) + 1) / 2 * large for v in (x, y)]
    return im.transform((size, size), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)


def recolour(im, rnd):
    """Channels exchanged, another gamma: colours that the thing never had."""
    if rnd.random() < 0.25:
        im = Image.merge("RGB", rnd.sample(im.split(), 3))
    if rnd.random() < 0.3:
        gamma = math.exp(rnd.uniform(-0.5, 0.5))
        im = im.point([round(255 * (v / 255) ** gamma) for v in range(256)] * 3)
    return jitter(im, rnd)


def background(pool, size, rnd):
    """A photograph (sharp, blurred or a small window of it), a gradient, or a studio sweep."""
    kind = rnd.random()
    if kind < 0.6 and pool.photos:
        im = rnd.choice(pool.photos)
        near = rnd.random() < 0.5
        im = window(im, size, rnd, 0.15 if near else 0.5)
        if not near or rnd.random() < 0.4:
            im = im.filter(ImageFilter.GaussianBlur(size * rnd.uniform(0.01, 0.06)))
        return jitter(im, rnd)
    g = np.random.default_rng(rnd.getrandbits(32))
    if kind < 0.78:  # studio: light, nearly neutral, a floor line
        top = np.full(3, rnd.uniform(200, 255)) + g.uniform(-6, 6, 3)
        low = top - rnd.uniform(0, 40)
    else:
        top, low = g.uniform(0, 255, 3), g.uniform(0, 255, 3)
    y, x = np.mgrid[0:size, 0:size] / size
    t = np.clip(y * rnd.uniform(0.2, 1.5) + x * rnd.uniform(-0.6, 0.6) + rnd.uniform(-0.4, 0.4), 0, 1)
    if rnd.random() < 0.3:
        t = 1 / (1 + np.exp(-(y - rnd.uniform(0.4, 0.9)) * rnd.uniform(10, 80)))
    a = top * (1 - t[..., None]) + low * t[..., None]
    if rnd.random() < 0.3:
        coarse = Image.fromarray(g.integers(0, 255, (rnd.randint(4, 40),) * 2, dtype=np.uint8))
        a = a + (np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float64) / 255 - 0.5)[..., None] * 60
    return Image.fromarray(np.clip(a, 0, 255).astype(np.uint8))


def place(im, size, rnd):
    """The cut-out turned, stretched, and put somewhere on an SxS RGBA canvas."""
    if rnd.random() < 0.5:
        im = im.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rnd.random() < 0.3:
        im = im.rotate(rnd.uniform(-30, 30), Image.Resampling.BICUBIC, expand=True)
    side = size * rnd.uniform(0.35, 1.0)
    aspect = (im.width / im.height) ** 0.5 * rnd.uniform(0.75, 1.33)
    w, h = (min(max(int(v), 12), int(size * 1.05)) for v in (side * aspect, side / aspect))
    im = im.resize((w, h), Image.Resampling.LANCZOS)
    slack = 0.12 if rnd.random() < 0.2 else 0.0  # a fifth may leave the frame a little
    x = int(rnd.triangular(-slack * w, size - w + slack * w)) if w < size else (size - w) // 2
    y = int(rnd.triangular(-slack * h, size - h + slack * h)) if h < size else (size - h) // 2
    rgb = jitter(im.convert("RGB"), rnd)
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(Image.merge("RGBA", (*rgb.split(), im.getchannel("A"))), (x, y))
    return canvas


def composite(pool, size, rnd, cutouts):
    out = np.asarray(background(pool, size, rnd), np.float32)
    for _ in range(2 if rnd.random() < 0.12 else 1):
        layer = place(rnd.choice(cutouts), size, rnd)
        alpha = layer.getchannel("A")
        if rnd.random() < 0.5:  # a cast or contact shadow
            shadow = Image.new("L", (size, size))
            flat = alpha.resize((size, max(int(size * rnd.uniform(0.3, 1)), 1)))
            box = alpha.getbbox() or (0, 0, size, size)
            drop = int(box[3] * (1 - flat.height / size)) + rnd.randint(-2, 6)
            shadow.paste(flat, (rnd.randint(-size // 12, size // 12), drop))
            shadow = shadow.filter(ImageFilter.GaussianBlur(size * rnd.uniform(0.01, 0.05)))
            out = out * (1 - np.asarray(shadow, np.float32)[..., None] / 255 * rnd.uniform(0.15, 0.6))
        if rnd.random() < 0.5:
            alpha = alpha.filter(ImageFilter.GaussianBlur(rnd.uniform(0.3, 0.9)))
        a = np.asarray(alpha, np.float32) / 255
        out = out * (1 - a[..., None]) + np.asarray(layer.convert("RGB"), np.float32) * a[..., None]
    return spoil(np.clip(out, 0, 255).astype(np.uint8), rnd)


def lesson(pool, number):
    """u8 SIZExSIZEx3: the picture of lesson `number`. First every photograph whole, then windows and composites in turn."""
    rnd = random.Random(number)
    if number < len(pool.photos):
        return np.asarray(pool.whole(number).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    if number < RICHER:
        if number % 2:
            return spoil(np.asarray(jitter(window(rnd.choice(pool.photos), SIZE, rnd), rnd, 0.7)), rnd)
        return composite(pool, SIZE, rnd, pool.cutouts)
    if number % 2:
        photos = pool.clear if rnd.random() < 0.6 else pool.photos
        return spoil(np.asarray(recolour(warped(rnd.choice(photos), SIZE, rnd), rnd)), rnd)
    cutouts = pool.cutouts[pool.drawn:] if rnd.random() < 0.5 else pool.cutouts[:pool.drawn]
    return np.asarray(recolour(Image.fromarray(composite(pool, SIZE, rnd, cutouts)), rnd))


if __name__ == "__main__":  # a sheet of lessons, to look at: compose.py FOLDER OUT.png
    import sys

    pool, s = Pool(sys.argv[1]), 128
    for k in range(len(pool.photos)):  # what lessons.py has learnt of the photographs
        seen = np.load(os.path.join(sys.argv[1], "lessons", f"{k:05d}.npz"))
        pool.take(k, Image.fromarray(seen["rgb"]), Image.fromarray(seen["mask0"]))
    print(len(pool.photos), "photographs,", len(pool.cutouts), "cut-outs")
    sheet = Image.new("RGB", (12 * s, 7 * s))
    for k in range(84):
        sheet.paste(Image.fromarray(lesson(pool, 5000 + k)).resize((s, s)), (k % 12 * s, k // 12 * s))
    sheet.save(sys.argv[2])
