"""Packs what the training machine needs: photographs, prints (letters, labels, stickers), meshes.

    python pack.py PHOTOS MESHES.npz OUT      # PHOTOS: the folder that training/mask/fetch.py filled
"""

import argparse
import io
import json
import math
import os
import shutil
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PHOTO, PRINT = 256, 192
WORDS = ("fresh new sale coffee tea milk organic pure classic 100 24 7 2026 No. 5 the and for original natural premium soft ultra max mini "
         "OPEN STOP exit north south made with love limited edition batch care instructions ingredients sugar salt water energy sport club team "
         "city radio music summer winter A B C X Y Z ab xy & % + # @ 42 365 1984").split()
FONTS = ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"]


def fonts():
    """Fonts of the system, or Pillow's own."""
    found = []
    for root, _, names in os.walk("/usr/share/fonts"):
        found += [os.path.join(root, n) for n in sorted(names) if n.lower().endswith((".ttf", ".otf"))]
    return sorted(found) or [None]


def lettered(random, faces):
    """A label: letters in lines, rules, frames, bars, dots; with a ground of its own or without."""
    im = Image.new("RGBA", (PRINT, PRINT), (0, 0, 0, 0))
    d = ImageDraw.Draw(im)
    colour = lambda a=255: tuple(int(v) for v in random.integers(0, 256, 3)) + (a,)
    ink = (0, 0, 0, 255) if random.random() < 0.3 else colour()
    if random.random() < 0.6:
        ground = (255, 255, 255, 255) if random.random() < 0.4 else colour()
        box = [int(random.integers(0, 40)), int(random.integers(0, 60)), PRINT - int(random.integers(0, 40)), PRINT - int(random.integers(0, 60))]
        how = random.integers(0, 3)
        (d.rectangle if how == 0 else d.ellipse if how == 1 else lambda b, fill: d.rounded_rectangle(b, 24, fill=fill))(box, fill=ground)
        if random.random() < 0.4:
            d.rectangle([box[0] + 6, box[1] + 6, box[2] - 6, box[3] - 6], outline=ink, width=int(random.integers(1, 6)))
    y = int(random.integers(5, 60))
    while y < PRINT - 20:
        size = int(math.exp(random.uniform(math.log(8), math.log(90))))
        face = faces[int(random.integers(len(faces)))]
        font = ImageFont.truetype(face, size) if face else ImageFont.load_default(size)
        text = " ".join(random.choice(WORDS, int(random.integers(1, 5 if size < 25 else 2))))
        d.text((int(random.integers(0, 40)), y), text.upper() if random.random() < 0.4 else text, fill=ink if random.random() < 0.8 else colour(), font=font)
        y += int(size * random.uniform(1.0, 1.7)) + 2
        if random.random() < 0.2:
            d.rectangle([10, y, PRINT - 10, y + int(random.integers(1, 12))], fill=colour())
            y += 14
        if random.random() < 0.15:
            break
    if random.random() < 0.25:  # bars
        x = 20
        while x < 120:
            w = int(random.integers(1, 5))
            d.rectangle([x, 140, x + w, 180], fill=(0, 0, 0, 255))
            x += w + int(random.integers(1, 5))
    if random.random() < 0.3:  # dots
        for _ in range(int(random.integers(3, 60))):
            x, yy, s = random.integers(0, PRINT), random.integers(0, PRINT), random.integers(2, 22)
            d.ellipse([x - s, yy - s, x + s, yy + s], fill=colour() if random.random() < 0.3 else ink)
    return im


def encoded(im, quality=84):
    file = io.BytesIO()
    im.save(file, "WEBP", quality=quality, method=3)
    return np.frombuffer(file.getvalue(), np.uint8)


def write(path, parts):
    np.savez(path, data=np.concatenate(parts), sizes=[len(p) for p in parts])


def unpack(path, mode, most=None):
    """u8 N x channels x H x W of a packed file."""
    import torch
    from concurrent.futures import ThreadPoolExecutor

    archive = np.load(path)
    data, ends = archive["data"], archive["sizes"].cumsum()[:most]

    def decoded(part):
        return np.asarray(Image.open(io.BytesIO(data[slice(*part)].tobytes())).convert(mode)).transpose(2, 0, 1)

    with ThreadPoolExecutor() as threads:
        return torch.from_numpy(np.stack(list(threads.map(decoded, zip([0, *ends[:-1]], ends)))))


def squared(path, random):
    """The middle of a photograph, PHOTO x PHOTO."""
    im = Image.open(path)
    im.draft("RGB", (PHOTO * 2, PHOTO * 2))
    im = im.convert("RGB")
    side = min(im.size)
    at = [int((n - side) * random.uniform(0.3, 0.7)) for n in im.size]
    return im.crop((*at, at[0] + side, at[1] + side)).resize((PHOTO, PHOTO), Image.Resampling.BOX if side > 3 * PHOTO else Image.Resampling.BICUBIC)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("photos")
    ap.add_argument("meshes")
    ap.add_argument("out")
    ap.add_argument("--most", type=int, default=1300)
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../mask"))
    from split import split, usable

    random = np.random.default_rng(7)
    pictures = json.load(open(os.path.join(a.photos, "pictures.json")))
    photos = [p["path"] for p in pictures if usable(p) and split(p) == "train"]
    photos = [photos[i] for i in random.permutation(len(photos))[:a.most]]
    stickers = [p["path"] for p in pictures if p["kind"] == "cutout" and "sweethome" not in p["package"]]
    stickers = [stickers[i] for i in random.permutation(len(stickers))[:200]]
    parts = []
    for path in photos:
        try:
            parts.append(encoded(squared(path, random)))
        except OSError:
            continue
    write(os.path.join(a.out, "photos.npz"), parts)
    print(len(parts), "photographs", sum(map(len, parts)))
    faces = fonts()
    parts = [encoded(lettered(random, faces)) for _ in range(300)]
    for path in stickers:
        try:
            im = Image.open(path).convert("RGBA")
        except OSError:
            continue
        im.thumbnail((PRINT, PRINT))
        whole = Image.new("RGBA", (PRINT, PRINT), (0, 0, 0, 0))
        whole.paste(im, ((PRINT - im.width) // 2, (PRINT - im.height) // 2))
        parts.append(encoded(whole))
    write(os.path.join(a.out, "prints.npz"), parts)
    print(len(parts), "prints", sum(map(len, parts)))
    shutil.copy(a.meshes, os.path.join(a.out, "meshes.npz"))


if __name__ == "__main__":
    main()
