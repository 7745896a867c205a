"""Measures the mask network against the real U²-Net on held-out photographs: IoU of the two masks at threshold one half.

Reads the picture files and the cached teacher masks (labels/ID.npz, 256x256), the network from a checkpoint (its average
weights) or from models/mask.safetensors. Any other picture is measured with --extra FILE.. and --teacher u2net.onnx.
IoU does not depend on the aspect, so both masks are compared at 256x256.
"""

import argparse
import json
import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from label import Teacher, open_rgb
from network import MaskNet, normalise, widths_of
from split import HELD_OUT, ordinary, split, theme, usable

COMPARE = 256


def load(*paths):
    """A checkpoint's average weights, or an exported file's widened from f16; of several their mean (Wortsman et al. 2022)."""
    states = [load_file(path) if path.endswith(".safetensors") else torch.load(path)["ema"] for path in paths]
    net = MaskNet(widths_of(states[0]))
    net.load_state_dict({key: sum(state[key].float() for state in states) / len(states) for key in states[0]})
    return net.eval()


@torch.no_grad()
def answer(net, im, size, box=None):
    """d0 of a picture, or of the part of it within `box`, stretched to a square."""
    rgb = np.asarray(im.resize((size, size), Image.Resampling.LANCZOS, box))
    return torch.sigmoid(net(normalise(torch.from_numpy(rgb.copy())[None]))[0])[0, 0].numpy()


def surroundings(d0):
    """Where the subject is in a map, with some space around: (left, top, right, bottom) in the map's pixels."""
    edges = []
    for axis in (0, 1):
        inside = np.flatnonzero((stretched(d0) > 0.5).any(axis))
        low, high = inside[0], inside[-1] + 1
        space = (high - low) * 3 // 20 + len(d0) // 40
        edges.append((max(low - space, 0), min(high + space, len(d0))))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def stretched(d0):
    return (d0 - d0.min()) / max(d0.max() - d0.min(), 1e-6)


def look(net, im, size, again):
    """The engine's coarse mask, size x size, stretched to 0..1: its answer to the picture; with `again`, the mean with that
    to the mirrored picture at this other size, and around what they find the mean of these two and a close look."""
    d0 = answer(net, im, size)
    if again:
        scaled = lambda a, w, h: np.asarray(Image.fromarray(a).resize((w, h), Image.Resampling.BILINEAR))
        mirrored = answer(net, im.transpose(Image.Transpose.FLIP_LEFT_RIGHT), again)
        d0 = (d0 + scaled(mirrored, size, size)[:, ::-1]) / 2
        left, top, right, bottom = surroundings(d0)
        if (right - left) * (bottom - top) < 0.9 * size * size:
            box = [v * s / size for v, s in zip((left, top, right, bottom), im.size * 2)]
            close = scaled(answer(net, im, again, box), right - left, bottom - top)
            d0[top:bottom, left:right] = (2 * d0[top:bottom, left:right] + close) / 3
    return stretched(d0)


def predict(net, im, size, again):
    """Reference post-processing of the engine's coarse mask: 8 bit, Lanczos back."""
    u8 = (look(net, im, size, again) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(u8).resize((COMPARE, COMPARE), Image.Resampling.LANCZOS))


def iou(a, b):
    a, b = a > 127, b > 127
    return (a & b).sum() / max((a | b).sum(), 1)


def cases(a):
    """(theme, name, picture, teacher mask 256x256) of the chosen group."""
    if a.extra:
        teacher = Teacher(a.teacher) if a.teacher else None
        for path in a.extra:
            im, known = open_rgb(path), path.replace("_input.png", "_u2net_mask.png")
            mask = Image.fromarray(teacher.mask(im)) if teacher else Image.open(known).convert("L")
            yield "extra", os.path.basename(path), im, np.asarray(mask.resize((COMPARE, COMPARE), Image.Resampling.BILINEAR))
        return
    for p in json.load(open(os.path.join(a.folder, "pictures.json"))):
        label = os.path.join(a.folder, "labels", p["id"] + ".npz")
        if usable(p) and split(p) == a.group and os.path.exists(label):
            yield theme(p), "/".join(p["path"].split("/")[-2:]), open_rgb(p["path"]), np.load(label)["mask"]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("weights", nargs="+", help="checkpoint or .safetensors; the mean of several")
    ap.add_argument("--group", default="validation", choices=["validation", *HELD_OUT])
    ap.add_argument("--sizes", default="320", help="input sizes to try, comma separated")
    ap.add_argument("--again", type=int, default=256, help="size of the second and the close look; 0 for one look")
    ap.add_argument("--extra", nargs="*")
    ap.add_argument("--teacher", help="u2net.onnx for --extra; without it NAME_u2net_mask.png beside NAME_input.png")
    ap.add_argument("--sheet", help="PNG: picture, teacher, network for every case, worst first")
    ap.add_argument("--brief", action="store_true")
    a = ap.parse_args()
    torch.set_num_threads(1)
    net, sizes = load(*a.weights), [int(s) for s in a.sizes.split(",")]
    rows, tiles = [], []
    for group, name, im, target in cases(a):
        masks = [predict(net, im, s, a.again) for s in sizes]
        plain = ordinary(target)
        rows.append((name, [iou(m, target) for m in masks], (target > 127).mean(), plain, group))
        tiles.append((rows[-1][1][-1], im, target, masks[-1]))
    if not a.brief:
        for name, scores, area, plain, _ in sorted(rows, key=lambda r: r[1][-1]):
            print(" ".join(f"{s:.3f}" for s in scores), f"subject {area:.2f}", "ordinary" if plain else "        ", name)
    for group in ["all", "ordinary"] + sorted({r[4] for r in rows}):
        for n, size in enumerate(sizes):
            v = np.array([r[1][n] for r in rows if group in ("all", r[4]) or group == "ordinary" and r[3]])
            print(f"{a.group}, {group}, size {size}: n {len(v)} mean {v.mean():.3f} median {np.median(v):.3f} "
                  f"min {v.min():.3f} below 0.6: {(v < 0.6).sum()}")
    if a.sheet:
        t, per = 110, 4
        sheet = Image.new("RGB", (per * (3 * t + 8), -(-len(tiles) // per) * t))
        for k, (_, im, target, mask) in enumerate(sorted(tiles, key=lambda x: x[0])):
            x, y = k % per * (3 * t + 8), k // per * t
            for i, part in enumerate((im, Image.fromarray(target), Image.fromarray(mask))):
                sheet.paste(part.resize((t, t)).convert("RGB"), (x + i * t, y))
        sheet.save(a.sheet)


if __name__ == "__main__":
    main()
