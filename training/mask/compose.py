"""Training samples: teacher-labelled photographs, and composites of cut-outs over backgrounds with exact masks.

A sample is (rgb SxSx3 u8, mask SxS f32 in 0..1). Cut-outs: pictures with an alpha channel, and objects that the teacher
cut out of training photographs with confidence. Composites have shadows, blur, off-centre placement and free aspect,
because the deployed network sees pictures stretched to a square.
"""

import glob
import json
import os
import pickle
import random

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from split import split, usable


def confident(mask):
    """True for a mask that is nearly binary and of a middling area."""
    m = mask.astype(np.float32) / 255
    return ((m > 0.9) | (m < 0.1)).mean() > 0.94 and 0.03 < m.mean() < 0.6


def border_share(mask):
    m = mask > 127
    return (m[0].mean() + m[-1].mean() + m[:, 0].mean() + m[:, -1].mean()) / 4


class Pool:
    """Everything in memory: labelled photographs, cut-outs, backgrounds."""

    def __init__(self, folder):
        self.folder = folder
        self.pictures = json.load(open(os.path.join(folder, "pictures.json")))
        self.train = {p["id"] for p in self.pictures if usable(p) and split(p) == "train"}
        self.labelled, self.seen = [], set()
        self.cutouts, self.photos = self.cached()
        self.refresh()

    def cached(self):
        """(cut-outs, unlabelled backgrounds) of all packages, decoded once."""
        path = os.path.join(self.folder, "pool.pickle")
        if not os.path.exists(path):
            cutouts = [self.alpha_cutout(p["path"]) for p in self.pictures if p["kind"] == "cutout"]
            photos = []
            for p in self.pictures:
                if p["id"] in self.train and "gcompris" not in p["package"]:
                    with Image.open(p["path"]) as im:
                        im.draft("RGB", (512, 512))
                        photos.append(im.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR, reducing_gap=2))
            with open(path + ".part", "wb") as f:
                pickle.dump(([c for c in cutouts if c], photos), f)
            os.replace(path + ".part", path)
        return pickle.load(open(path, "rb"))

    @staticmethod
    def alpha_cutout(path):
        im = Image.open(path).convert("RGBA")
        box = im.getchannel("A").point(lambda v: 255 if v > 40 else 0).getbbox()
        if not box:
            return None
        im = im.crop(box)
        im.thumbnail((256, 256), Image.Resampling.LANCZOS)
        if min(im.size) < 24 or np.asarray(im.getchannel("A")).mean() < 50:
            return None
        return im

    def refresh(self):
        """Takes in the labels written since the last call."""
        for path in sorted(glob.glob(os.path.join(self.folder, "labels", "*.npz"))):
            name = os.path.basename(path)[:-4]
            if name in self.seen or name.split("-")[0] not in self.train:
                continue
            self.seen.add(name)
            z = np.load(path)
            rgb, mask = z["rgb"], z["mask"]
            if "-" in name or len(self.photos) < 400:
                self.photos.append(Image.fromarray(rgb))
            spread = ((mask > 40) & (mask < 215)).mean()
            if spread < 0.25 and (mask > 127).mean() > 0.01:
                self.labelled.append((Image.fromarray(rgb), Image.fromarray(mask)))
            if confident(mask) and border_share(mask) < 0.08:
                im = Image.merge("RGBA", (*Image.fromarray(rgb).split(), Image.fromarray(mask)))
                self.cutouts.append(im.crop(Image.fromarray(mask).point(lambda v: 255 if v > 40 else 0).getbbox()))


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


def photograph(pool, size, rnd):
    """A teacher-labelled photograph, cropped so that most of its subject stays."""
    rgb, mask = rnd.choice(pool.labelled)
    n = rgb.width
    box = (0, 0, n, n)
    if rnd.random() < 0.6:
        m = np.asarray(mask, np.float32)
        for _ in range(6):
            w, h = (int(n * rnd.uniform(0.55, 1)) for _ in range(2))
            x, y = rnd.randint(0, n - w), rnd.randint(0, n - h)
            if m[y:y + h, x:x + w].sum() > 0.85 * m.sum():
                box = (x, y, x + w, y + h)
                break
    rgb = rgb.resize((size, size), Image.Resampling.BICUBIC, box)
    mask = mask.resize((size, size), Image.Resampling.BILINEAR, box)
    if rnd.random() < 0.5:
        rgb, mask = rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT), mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return spoil(np.asarray(jitter(rgb, rnd, 0.8)), rnd), np.asarray(mask, np.float32) / 255


def background(pool, size, rnd):
    """A photograph (sharp, blurred or a small window of it), a gradient, or a studio sweep."""
    kind = rnd.random()
    if kind < 0.6 and pool.photos:
        im = rnd.choice(pool.photos)
        share = rnd.uniform(0.12, 0.45) if rnd.random() < 0.5 else rnd.uniform(0.45, 1)
        w = max(int(im.width * share), 16)
        x, y = rnd.randint(0, im.width - w), rnd.randint(0, im.height - w)
        im = im.resize((size, size), Image.Resampling.BICUBIC, (x, y, x + w, y + w))
        if share > 0.45 or rnd.random() < 0.4:
            im = im.filter(ImageFilter.GaussianBlur(size * rnd.uniform(0.01, 0.06)))
        return jitter(im.transpose(rnd.choice([Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180])), rnd)
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


def composite(pool, size, rnd):
    out = np.asarray(background(pool, size, rnd), np.float32)
    total = np.zeros((size, size), np.float32)
    for _ in range(2 if rnd.random() < 0.12 else 1):
        layer = place(rnd.choice(pool.cutouts), size, rnd)
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
        total = np.maximum(total, a)
    return spoil(np.clip(out, 0, 255).astype(np.uint8), rnd), total


def sample(pool, size, rnd, photo_share):
    if pool.labelled and rnd.random() < photo_share:
        return photograph(pool, size, rnd)
    return composite(pool, size, rnd)


if __name__ == "__main__":  # a sheet of samples, to look at: compose.py FOLDER OUT.png
    import sys

    pool, rnd, s = Pool(sys.argv[1]), random.Random(3), 128
    print(len(pool.photos), len(pool.labelled), len(pool.cutouts))
    sheet = Image.new("RGB", (10 * s, 8 * s))
    for k in range(40):
        rgb, mask = sample(pool, s, rnd, 0.4)
        sheet.paste(Image.fromarray(rgb), (k % 10 * s, k // 10 * 2 * s))
        sheet.paste(Image.fromarray((mask * 255).astype(np.uint8)), (k % 10 * s, (k // 10 * 2 + 1) * s))
    sheet.save(sys.argv[2])
