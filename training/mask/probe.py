"""Says where a mask network loses what the teacher knows, on lessons that it was trained on (photographs, unspoilt).

For every network given: how well its fused mask and side 4 agree with the teacher's (one look, 320), the relative errors of the
stages that `lessons.py` keeps hints of, and how well a linear layer predicts what the teacher's stage 4 makes of its input from
what the network's stage 3 hands down: its first convolution and its output, relative errors on rows held out. The same from the
best of the teacher's own channels, for comparison. FOLDER must hold the lessons and the chosen.json of these networks.
"""

import argparse
import glob
import json
import os

import numpy as np
import torch
import torch.nn.functional as F

from distil import fit, patches
from evaluate import iou, load
from lessons import HINTS, greedy, importance, positions
from network import down, normalise
from teacher import load_teacher

BEST = (48, 80, 128)  # of the teacher's channels


def neighbourhoods(h, number):
    """rows x channels x 9 at a lesson's sampled positions, as a 3x3 convolution sees them."""
    conv = torch.nn.Conv2d(h.shape[1], 1, 3, padding=1)
    return patches(h, conv, number)[:, :-1].unflatten(1, (-1, 9)).half()


def held_out_error(rows, target, parts):
    """Relative errors of the parts of `target` as a linear layer predicts them, fitted to the first three quarters of the rows."""
    x = torch.cat((rows.float().flatten(1), torch.ones(len(rows), 1)), 1)
    cut = len(x) * 3 // 4
    wrong = x[cut:] @ fit(x[:cut], target[:cut], rectified=False) - target[cut:]
    return [(wrong[:, p].square().mean() / target[cut:, p].var(0).mean()).item() for p in parts]


def agreement(logits, mask):
    grown = F.interpolate(logits, mask.shape, mode="bilinear", align_corners=False)
    return iou(torch.sigmoid(grown)[0, 0].numpy() * 255, mask)


@torch.inference_mode()
def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder")
    ap.add_argument("weights", nargs="+", help="checkpoints or .safetensors files")
    ap.add_argument("--teacher", required=True, help="u2net.onnx")
    ap.add_argument("--photographs", type=int, default=1441, help="so many lessons show whole photographs")
    ap.add_argument("--every", type=int, default=13, help="which of them are looked at")
    a = ap.parse_args()
    chosen = json.load(open(os.path.join(a.folder, "chosen.json")))
    teacher, nets = load_teacher(a.teacher), [load(path) for path in a.weights]
    stand_for, width = chosen["stage4.rebnconvin.conv_s1"], nets[0].widths[3][3]
    taken = {}
    for net in nets:
        for name in ("stage3", *HINTS):
            getattr(net, name).register_forward_hook(lambda _, __, out, name=name: taken.__setitem__(name, out[0]))
    rows, target, theirs = [[] for _ in nets], [], []
    found, errors = ([{name: [] for name in ("d0", "d4")} for _ in nets], [{name: [] for name in HINTS} for _ in nets])
    lessons = sorted(glob.glob(os.path.join(a.folder, "lessons", "*.npz")))[:a.photographs:a.every]
    for number, path in enumerate(lessons):
        z = np.load(path)
        x = normalise(torch.from_numpy(z["rgb"])[None]).contiguous(memory_format=torch.channels_last)
        h = teacher.shallow(x)[0]
        at = positions(*h.shape[2:], number)
        made = teacher.stage4.rebnconvin(h)[0], teacher.stage4(h)[0]
        target.append(torch.cat([part.flatten(1)[:, at][stand_for] for part in made]).T)
        theirs.append(neighbourhoods(h, number))
        for k, net in enumerate(nets):
            logits = net(x)
            rows[k].append(neighbourhoods(down(taken["stage3"][None]), number))
            for name, side in (("d0", 0), ("d4", 4)):
                found[k][name].append(agreement(logits[side], z["mask0"]))
            for name in HINTS:
                hint = torch.from_numpy(z[name]).float()
                errors[k][name].append(((taken[name] - hint).square().mean(), hint.var((1, 2)).mean()))
    target = torch.cat(target)
    parts = slice(None, width), slice(width, None)
    print(f"{len(lessons)} photographs; relative errors of stage 4's first convolution and output by a linear layer")
    for k, path in enumerate(a.weights):
        stages = " ".join(f"{name} {sum(e for e, _ in v) / sum(s for _, s in v):.3f}" for name, v in errors[k].items())
        first, last = held_out_error(torch.cat(rows[k]), target, parts)
        print(f"{path}: IoU {np.mean(found[k]['d0']):.3f}, side 4 {np.mean(found[k]['d4']):.3f}; errors {stages}; "
              f"from its {rows[k][0].shape[1]} channels {first:.3f}, {last:.3f}", flush=True)
    theirs = torch.cat(theirs)
    weight = importance(teacher, "stage4.rebnconvin.conv_s1").sqrt()
    for count in BEST:
        picked, _ = greedy(theirs[: len(theirs) * 3 // 4, :, 4].float() * weight, count)
        first, last = held_out_error(theirs[:, picked], target, parts)
        print(f"the teacher's best {count}: {first:.3f}, {last:.3f}", flush=True)


if __name__ == "__main__":
    main()
