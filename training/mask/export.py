"""Writes models/mask.safetensors, models/mask.toml and the golden of the Rust tests from a checkpoint.

BatchNorm is folded into each convolution (`s = gamma/sqrt(var + 1e-5)`, `W' = W*s`, `b' = (b - mean)*s + beta`), then
rounded to f16. The golden is computed with the rounded weights widened to f32. Every file is written aside and renamed.
"""

import argparse
import hashlib
import os

import numpy as np
import torch
from safetensors.torch import save_file

from network import WIDTHS, MaskNet

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GOLDEN_SIZE = 128


def fold(state):
    """State dict with `conv_s1.weight` and `conv_s1.bias` only (no `bn_s1`)."""
    out = {}
    for key, value in state.items():
        if ".bn_s1." in key:
            continue
        bn = key.replace(".conv_s1.weight", ".bn_s1.").replace(".conv_s1.bias", ".bn_s1.")
        if ".conv_s1." in key:
            s = state[bn + "weight"].double() / torch.sqrt(state[bn + "running_var"].double() + 1e-5)
            if key.endswith("weight"):
                value = value.double() * s[:, None, None, None]
            else:
                value = (value.double() - state[bn + "running_mean"].double()) * s + state[bn + "bias"].double()
        out[key] = value.to(torch.float16).contiguous()
    return out


def folded_network(folded, widths=WIDTHS):
    """The network with f16 weights widened to f32 and BatchNorm replaced by nothing."""
    net = MaskNet(widths)
    for module in net.modules():
        if hasattr(module, "bn_s1"):
            module.bn_s1 = torch.nn.Identity()
    net.load_state_dict({k: v.float() for k, v in folded.items()})
    return net.eval()


def synthetic_picture(size):
    """1x3xSxS normalised picture: a warm shaded ball with a cast shadow on a cool gradient."""
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
    rgb = np.round(rgb * 255) / 255
    rgb = rgb / rgb.max()
    rgb = (rgb - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    return torch.from_numpy(rgb.astype(np.float32))[None]


def write_aside(path, write):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path + ".part")
    os.chmod(path + ".part", 0o644)
    os.replace(path + ".part", path)


def toml(sha, size, params, note):
    rows = "\n".join(f'{n:8} = {{ kind = "{k}", mid = {m}, out = {o} }}' for n, k, m, o in WIDTHS)
    return f"""# The subject mask network (U²-Net topology, our own narrow weights), written by training/mask/export.py.
# Weights: f16, BatchNorm folded into conv_s1.weight and conv_s1.bias (there are no bn_s1 tensors).
# {note}
[mask]
file = "mask.safetensors"
licence = "MIT"
sha256 = "{sha}"
parameters = {params}
batch_norm = "folded"

# Stretch the picture to input x input (Lanczos, 8 bit), divide by its maximum, then (v - mean) / std, RGB.
# Output d0 (sigmoid) is stretched to its full range (min-max), then resized back.
input = {size}
divide_by = "max"
mean = [{", ".join(map(str, MEAN))}]
std = [{", ".join(map(str, STD))}]

# kind 7, 6, 5, 4: RSU-L; 4F: the dilated block. A stage's input width follows from the outputs of its sources.
[mask.stages]
{rows}
"""


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoint", help="a file of train.py, or 'random' for an untrained network")
    ap.add_argument("--repo", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    ap.add_argument("--size", type=int, default=192, help="deployed input size")
    a = ap.parse_args()
    repo = os.path.abspath(a.repo)
    if a.checkpoint == "random":
        torch.manual_seed(0)
        state, note = MaskNet().state_dict(), "UNTRAINED placeholder."
    else:
        ck = torch.load(a.checkpoint, map_location="cpu", weights_only=False)
        state, note = ck["ema"], f"Step {ck['step']} of training/mask/train.py; see training/README.md."
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    folded = fold(state)
    path = os.path.join(repo, "models", "mask.safetensors")
    write_aside(path, lambda p: save_file(folded, p))
    sha = hashlib.sha256(open(path, "rb").read()).hexdigest()
    params = sum(v.numel() for v in folded.values())
    text = toml(sha, a.size, params, note)
    write_aside(os.path.join(repo, "models", "mask.toml"), lambda p: open(p, "w").write(text))
    torch.set_num_threads(1)
    with torch.no_grad():
        x = synthetic_picture(GOLDEN_SIZE)
        d0 = torch.sigmoid(folded_network(folded)(x)[0])
    golden = {"input": x.contiguous(), "d0": d0.contiguous()}
    write_aside(os.path.join(repo, "tests", "golden", "mask", "mask_golden.safetensors"), lambda p: save_file(golden, p))
    print(f"{path}: {os.path.getsize(path)} bytes, {params} parameters, d0 {d0.min():.4f}..{d0.max():.4f}, sha256 {sha}")


if __name__ == "__main__":
    main()
