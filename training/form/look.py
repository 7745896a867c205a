"""How the engine looks at a picture: crates/exemplar/src/form/network.rs does the same."""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from network import STRIDE, Folded, read

INPUT, MARGIN, MEAN, DEVIATION = 256, 0.06, 0.5, 0.25
PRESENT = 0.1


def load(path):
    """The network of a weights.safetensors."""
    return Folded(load_file(path)).eval()


def view(mask):
    """(x, y, width, height, columns, rows) of what is seen of a picture: the mask's surroundings; None where it is empty."""
    ys, xs = torch.nonzero(mask > PRESENT, as_tuple=True)
    if len(ys) == 0:
        return None
    left, right, top, bottom = int(xs.min()), int(xs.max()) + 1, int(ys.min()), int(ys.max()) + 1
    w, h = right - left, bottom - top
    space = 2 * MARGIN * max(w, h)
    longer = max(w, h) + space
    steps = max(INPUT // STRIDE, 1)
    along = lambda length: min(max(math.ceil((length + space) / longer * steps - 1e-4), 1), steps)
    across, down = along(w), along(h)
    step = longer / steps
    rounded = lambda v: math.floor(v + 0.5) if v >= 0 else -math.floor(-v + 0.5)
    width, height = max(rounded(across * step), 1), max(rounded(down * step), 1)
    return (rounded((left + right) / 2 - width / 2), rounded((top + bottom) / 2 - height / 2), width, height, across * STRIDE, down * STRIDE)


def window(x, place):
    """The view of planes (c, h, w), border pixels repeated, brought to the input's size."""
    left, top, width, height, columns, rows = place
    ys = (torch.arange(height) + top).clamp(0, x.shape[1] - 1)
    xs = (torch.arange(width) + left).clamp(0, x.shape[2] - 1)
    return F.interpolate(x[:, ys][:, :, xs][None], (rows, columns), mode="bilinear", antialias=True, align_corners=False)[0]


@torch.no_grad()
def look(net, picture, mask):
    """picture (3, h, w) and mask (h, w) of 0..1: normals (3, h, w), shading, gloss and confidence (h, w)."""
    place = view(mask)
    h, w = mask.shape
    outside = torch.tensor([0.0, 0, 1, 0, 0, 0]).view(6, 1, 1).expand(6, h, w).clone()
    if place is None:
        return outside[:3], outside[3], outside[4], outside[5]
    x = torch.cat((window(picture, place), window(mask[None], place))).clamp(0, 1)
    seen = torch.cat([t[0] for t in read(net((x[None] - MEAN) / DEVIATION))])
    left, top, width, height = place[:4]
    seen = F.interpolate(seen[None], (height, width), mode="bilinear", antialias=True, align_corners=False)[0]
    y0, y1, x0, x1 = max(top, 0), min(top + height, h), max(left, 0), min(left + width, w)
    outside[:, y0:y1, x0:x1] = seen[:, y0 - top:y1 - top, x0 - left:x1 - left]
    normal = F.normalize(outside[:3], dim=0, eps=1e-6)
    shading = (outside[3] - (outside[3] * mask).sum() / mask.sum()) * (mask > 0)
    return normal, shading, outside[4], outside[5]
