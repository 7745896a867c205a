"""Writes models/form.safetensors, models/form.toml and the golden of the Rust tests from the weights that train.py left.

    python export.py weights.safetensors
"""

import argparse
import hashlib
import os

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from look import DEVIATION, INPUT, MARGIN, MEAN, look
from network import BLOCKS, WIDTHS, Folded


def written(path, write):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path + ".part")
    os.chmod(path + ".part", 0o644)
    os.replace(path + ".part", path)


def scene(height, width):
    """u8: a warm shaded ball with a stripe on a cool gradient, and its mask."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    cx, cy, r = 0.46 * width, 0.52 * height, 0.36 * height
    nx, ny = (x - cx) / r, (y - cy) / r
    mask = np.clip((1 - np.hypot(nx, ny)) * r + 0.5, 0, 1)
    nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0, 1))
    light = 0.2 + 0.8 * np.clip(-0.5 * nx - 0.6 * ny + 0.62 * nz, 0, 1)
    stripe = np.where(np.abs(ny - 0.3 * nx) < 0.15, 0.35, 1.0)
    ball = np.stack([0.9 * light * stripe, 0.5 * light * stripe, 0.2 * light])
    back = np.stack([0.45 + 0.3 * y / height, 0.6 + 0.1 * x / width, 0.75 - 0.2 * y / height])
    rgb = back + (ball - back) * mask
    return np.round(rgb * 255).astype(np.uint8).transpose(1, 2, 0).copy(), np.round(mask * 255).astype(np.uint8)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("weights")
    ap.add_argument("--repo", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    a = ap.parse_args()
    repo = os.path.abspath(a.repo)
    weights = {k: v.half().contiguous() for k, v in load_file(a.weights).items()}
    path = os.path.join(repo, "models", "form.safetensors")
    written(path, lambda p: save_file(weights, p))
    sha, count = hashlib.sha256(open(path, "rb").read()).hexdigest(), sum(v.numel() for v in weights.values())
    text = f"""# The form network (a U-Net with residual blocks, our own weights), written by training/form/export.py; see training/README.md.
# Weights: f16, BatchNorm folded into the convolutions.
[form]
file = "form.safetensors"
licence = "Apache-2.0"
sha256 = "{sha}"
parameters = {count}

# The mask's surroundings are brought to this longer side (linear, area-aware), both sides multiples of 32; RGB and mask, each of
# 0..1, become (v - mean) / deviation. Output: normal (3; x right, y down, z towards the viewer), concentration, log shading, gloss.
input = {INPUT}
margin = {MARGIN}
mean = {MEAN}
deviation = {DEVIATION}

# Channels at full size and after each halving; residual blocks behind each halving.
widths = {list(WIDTHS)}
blocks = {list(BLOCKS[1:])}
"""
    written(os.path.join(repo, "models", "form.toml"), lambda p: open(p, "w").write(text))
    torch.set_num_threads(1)
    net = Folded(weights)
    picture, mask = scene(150, 190)
    with torch.no_grad():
        x = (torch.rand(1, 4, 64, 96, generator=torch.Generator().manual_seed(3)) - MEAN) / DEVIATION
        planes = net(x)
        normal, shading, gloss, sure = look(net, torch.from_numpy(picture).permute(2, 0, 1).float() / 255, torch.from_numpy(mask).float() / 255)
    golden = {"input": x, "planes": planes, "picture": torch.from_numpy(picture), "mask": torch.from_numpy(mask),
              "normals": normal.permute(1, 2, 0).half().contiguous(), "shading": shading.half().contiguous(),
              "gloss": gloss.half().contiguous(), "confidence": sure.half().contiguous()}
    written(os.path.join(repo, "tests", "golden", "form", "form_golden.safetensors"), lambda p: save_file(golden, p))
    print(f"{path}: {os.path.getsize(path)} bytes, {count} parameters, sha256 {sha}")


if __name__ == "__main__":
    main()
