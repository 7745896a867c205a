"""Writes models/mask.safetensors, models/mask.toml and the golden of the Rust tests from a checkpoint, or the mean of several.

Weights are rounded to f16; there is no BatchNorm, so each convolution has a weight and a bias. The golden is computed with
the rounded weights widened to f32. Every file is written aside and renamed.
"""

import argparse
import hashlib
import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from evaluate import load, look
from network import MEAN, STD, WIDTHS, MaskNet, normalise

GOLDEN_SIZE = 128


def synthetic_picture(size):
    """u8 SxSx3: a warm shaded ball with a cast shadow on a cool gradient."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64) / size
    cx, cy, r = 0.45, 0.52, 0.26
    back = np.stack([0.55 + 0.2 * y, 0.65 + 0.1 * x, 0.75 - 0.1 * y])
    shadow = np.exp(-(((x - 0.52) / 0.3) ** 2 + ((y - 0.8) / 0.06) ** 2))
    back = back * (1 - 0.5 * shadow)
    nx, ny = (x - cx) / r, (y - cy) / r
    nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0, 1))
    light = 0.25 + 0.75 * np.clip(-0.5 * nx - 0.6 * ny + 0.62 * nz, 0, 1)
    ball = np.stack([0.9 * light, 0.45 * light, 0.15 * light])
    rgb = np.where((nx**2 + ny**2 <= 1)[None], ball, back)
    return np.round(rgb * 255).astype(np.uint8).transpose(1, 2, 0).copy()


def write_aside(path, write):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path + ".part")
    os.chmod(path + ".part", 0o644)
    os.replace(path + ".part", path)


def toml(sha, size, again, far, params):
    rows = "\n".join(f'{n:8} = {{ kind = "{k}", mid = {m}, out = {o} }}' for n, k, m, o in WIDTHS)
    return f"""# The subject mask network (U²-Net topology, narrow widths, our own weights), written by training/mask/export.py.
# Distilled from the public U²-Net (Qin et al. 2020, Apache-2.0), of whose weights it holds none; see training/README.md.
# Weights: f16; conv_s1.weight and conv_s1.bias stand for convolution and BatchNorm (there are no bn_s1 tensors).
[mask]
file = "mask.safetensors"
licence = "Apache-2.0"
sha256 = "{sha}"
parameters = {params}
batch_norm = "folded"

# Stretch the picture to input x input (Lanczos, 8 bit), divide by its maximum, then (v - mean) / std, RGB.
# Output d0 (sigmoid) is stretched to its full range (min-max), then resized back.
input = {size}
# Side of a second look, at the mirrored picture, and of a close one, at what these two find; without it there is one look.
again = {again}
# Side of a look from farther away, for what is missing of a subject that leaves the picture; without it there is none.
far = {far}
divide_by = "max"
mean = [{", ".join(map(str, MEAN))}]
std = [{", ".join(map(str, STD))}]

# kind 7, 6, 5, 4: RSU-L; 4F: the dilated block. A stage's input width follows from the outputs of its sources.
[mask.stages]
{rows}
"""


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("weights", nargs="+", help="files of train.py, distil.py or this script")
    ap.add_argument("--repo", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    ap.add_argument("--size", type=int, default=320, help="deployed input size")
    ap.add_argument("--again", type=int, default=256, help="size of the second and the close look")
    ap.add_argument("--far", type=int, default=192, help="size of the look from farther away")
    a = ap.parse_args()
    repo = os.path.abspath(a.repo)
    weights = {key: value.to(torch.float16).contiguous() for key, value in load(*a.weights).state_dict().items()}
    path = os.path.join(repo, "models", "mask.safetensors")
    write_aside(path, lambda p: save_file(weights, p))
    sha = hashlib.sha256(open(path, "rb").read()).hexdigest()
    params = sum(v.numel() for v in weights.values())
    text = toml(sha, a.size, a.again, a.far, params)
    write_aside(os.path.join(repo, "models", "mask.toml"), lambda p: open(p, "w").write(text))
    torch.set_num_threads(1)
    net = MaskNet()
    net.load_state_dict({key: value.float() for key, value in weights.items()})
    with torch.no_grad():
        x = normalise(torch.from_numpy(synthetic_picture(GOLDEN_SIZE))[None])
        d0 = torch.sigmoid(net(x)[0])
    picture = synthetic_picture(192)[24:168].copy()
    mask = np.round(look(net, Image.fromarray(picture), a.size, a.again) * 255).astype(np.uint8)
    golden = {"input": x.contiguous(), "d0": d0, "picture": torch.from_numpy(picture), "mask": torch.from_numpy(mask)}
    write_aside(os.path.join(repo, "tests", "golden", "mask", "mask_golden.safetensors"), lambda p: save_file(golden, p))
    print(f"{path}: {os.path.getsize(path)} bytes, {params} parameters, d0 {d0.min():.4f}..{d0.max():.4f}, sha256 {sha}")


if __name__ == "__main__":
    main()
