"""Shows what the network says of photographs: picture, mask, normals, shading, gloss, confidence.

    python photographs.py weights.safetensors ../../models/mask.safetensors sheet.png PICTURE...
"""

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image, ImageDraw

from look import load, look

TILE, SIDE = 192, 512
# run beside the mask network's scripts, whose modules have the names of ours
FIND = """
import os, sys, numpy as np
from PIL import Image
import evaluate
net = evaluate.load(sys.argv[1])
for i, path in enumerate(sys.argv[3:]):
    if os.path.exists(f"{sys.argv[2]}/{i}.png"):
        continue
    mask = evaluate.look(net, Image.open(path).convert("RGB"), 320, 256)
    Image.fromarray((mask * 255).astype(np.uint8)).save(f"{sys.argv[2]}/{i}.png")
"""


def opened(path):
    im = Image.open(path)
    im.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return im


def masks(network, paths, kept):
    """For every picture its mask of 0..1: its alpha channel, or what the mask network finds, which is kept in `kept`."""
    with tempfile.TemporaryDirectory() as passing:
        out = os.path.abspath(kept or passing)
        os.makedirs(out, exist_ok=True)
        here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../mask")
        absolute = [os.path.abspath(p) for p in paths]
        subprocess.run([sys.executable, "-c", FIND, os.path.abspath(network), out, *absolute], cwd=here, check=True)
        for i, path in enumerate(paths):
            im = opened(path)
            alpha = im.convert("RGBA").getchannel("A")
            if alpha.getextrema()[0] < 250:
                yield np.asarray(alpha, np.float32) / 255
            else:
                found = Image.open(f"{out}/{i}.png").resize(im.size, Image.Resampling.BICUBIC)
                yield np.clip((np.asarray(found, np.float32) / 255 - 0.5) * 4 + 0.5, 0, 1)


def row(path, mask, net):
    picture, mask = torch.from_numpy(np.asarray(opened(path).convert("RGB")).copy()).permute(2, 0, 1).float() / 255, torch.from_numpy(mask)
    normal, shading, gloss, sure = look(net, picture, mask)
    inside = (mask > 0.5).float()
    grey = lambda v: v.expand(3, -1, -1)
    tiles = [picture, grey(mask[None]), (normal + 1) / 2 * inside, grey((shading / 3 + 0.55) * inside), grey(gloss * inside), grey(sure * inside)]
    out = Image.new("RGB", (TILE * len(tiles), TILE))
    for i, t in enumerate(tiles):
        im = Image.fromarray((t.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy())
        im.thumbnail((TILE, TILE))
        out.paste(im, (i * TILE, 0))
    ImageDraw.Draw(out).text((2, 2), os.path.basename(path)[:28], fill=(255, 0, 0))
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("weights", "masks", "sheet"):
        ap.add_argument(name)
    ap.add_argument("pictures", nargs="+")
    ap.add_argument("--kept", help="folder for the masks, so that a second sheet of the same pictures is quick")
    ap.add_argument("--columns", type=int, default=2)
    a = ap.parse_args()
    net = load(a.weights)
    rows = [row(p, m, net) for p, m in zip(a.pictures, masks(a.masks, a.pictures, a.kept))]
    w, h = rows[0].size
    down = -(-len(rows) // a.columns)
    sheet = Image.new("RGB", (w * a.columns, h * down))
    for i, r in enumerate(rows):
        sheet.paste(r, (i // down * w, i % down * h))
    sheet.save(a.sheet)


if __name__ == "__main__":
    main()
