"""Trains the form network by the clock, on a GPU in minutes: shapes are traced and pictures made of them on the spot.

    python train.py PACK --out OUT --seconds 440

OUT gets, once a minute: weights.safetensors (f16, BatchNorm folded), state.safetensors (f32 mean of the weights, to go on from),
log.jsonl (losses, and angles on held-out views), scenes.png (what it learns from), held-out.png (what it says).
"""

import argparse
import json
import math
import os
import sys
import time
from collections import deque
from multiprocessing import get_context

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

import shapes
from bank import Bank, Pool, Tracer, split
from losses import angle, loss
from network import FormNet, folded, read
from pack import unpack
from shade import SIDE, Studio

GROUPS = ("shapes", "meshes", "people")


def normalise(x):
    return ((x - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)


def picture(x):
    return (x.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def sheet(x, truth, out, path, columns=8):
    """Rows of picture, mask, true and found normals, true and found shading, found gloss and confidence."""
    w = truth["inside"]
    n, s, gloss, sure = read(out)
    s = s - (s * w).sum((2, 3), keepdim=True) / w.sum((2, 3), keepdim=True).clamp(min=1)
    grey = lambda v: v.expand(-1, 3, -1, -1)
    tiles = [x[:, :3], grey(x[:, 3:]), (truth["normal"] + 1) / 2 * w, (n + 1) / 2 * w, grey((truth["shading"] / 4 + 0.5) * w), grey((s / 4 + 0.5) * w),
             grey(truth["gloss"] * w), grey(gloss * w), grey(sure * w)]
    tiles = [picture(F.avg_pool2d(t, 2)) for t in tiles]
    rows = []
    for i in range(0, len(x), columns):
        for t in tiles:
            row = [t[j] if j < len(x) else np.zeros_like(t[0]) for j in range(i, i + columns)]
            rows.append(np.concatenate(row, 1))
    Image.fromarray(np.concatenate(rows, 0)).save(path)


@torch.no_grad()
def judged(net, held, autocast):
    """Angles, shading and gloss of the network on held-out pictures, by group."""
    net.eval()
    rows, out_first = [], None
    for x, truth, groups in held:
        with autocast():
            out = net(normalise(x))
        if out_first is None:
            out_first = out.float()
        n, s, gloss, sure = read(out)
        w = truth["inside"]
        a = angle(n, truth["normal"]) * 180 / math.pi
        area = w.sum((1, 2, 3)).clamp(min=1)
        off = s - truth["shading"]
        off = off - (off * w).sum((2, 3), keepdim=True) / area.view(-1, 1, 1, 1)
        spread = ((truth["shading"].square() * w).sum((1, 2, 3)) / area).sqrt()
        for i in range(len(x)):
            inside = w[i, 0] > 0
            v, c = a[i, 0][inside], sure[i, 0][inside]
            if len(v) < 50:
                continue
            half = c >= c.median()
            rows.append([int(groups[i]), v.mean(), v.median(), (v < 11.25).float().mean(), (v < 30).float().mean(), v[half].mean(),
                         ((off[i].square() * w[i]).sum() / area[i]).sqrt(), spread[i], ((gloss[i] - truth["gloss"][i]).abs() * w[i]).sum() / area[i]])
    net.train()
    table = torch.tensor([[float(v) for v in r] for r in rows])
    names = ("angle", "median", "below 11", "below 30", "surer half", "shading rms", "shading spread", "gloss off")
    result = {"all": {k: round(v, 3) for k, v in zip(names, table[:, 1:].mean(0).tolist())}}
    for g, name in enumerate(GROUPS):
        mine = table[table[:, 0] == g]
        if len(mine):
            result[name] = {k: round(v, 3) for k, v in zip(names, mine[:, 1:].mean(0).tolist())} | {"n": len(mine)}
    return result, out_first


def ahead(seed, parallel):
    """Endless programs of shapes from `seed` on; where it pays, drawn by other processes some thousands ahead."""
    if not parallel:
        while True:
            yield shapes.draw(seed)
            seed += 1
    workers, waiting = get_context("fork").Pool(max(1, min(8, (os.cpu_count() or 2) - 4))), deque()
    while True:
        while len(waiting) < 60:
            waiting.append(workers.map_async(shapes.draw, range(seed, seed + 64), chunksize=64))
            seed += 64
        yield from waiting.popleft().get()


def held_out(tracer, studio, pool, count, chunk):
    """Pictures of other seeds and other meshes than those that are trained on, drawn once: [(input, truth, groups)]."""
    fixed = np.random.default_rng(12345)
    away = Bank(tracer, count, "cpu")
    away.add_shapes([shapes.draw(900_000_000 + i) for i in range(count * 2 // 5)], fixed)
    while away.filled < count * 19 // 20:
        away.add_meshes(pool, min(chunk, max(1, count - away.filled)), fixed)
    keeper, studio.random = studio.random, torch.Generator(studio.device)
    studio.random.manual_seed(777)
    kept = []
    order = torch.randperm(away.filled, generator=torch.Generator().manual_seed(1))
    for i in range(0, away.filled, 32):
        pick = order[i:i + 32]
        x, truth = studio.batch(away.views[pick].to(studio.device), away.lights[pick].to(studio.device))
        kept.append((x, truth, away.groups[pick]))
    studio.random = keeper
    return kept


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("pack")
    ap.add_argument("--out", required=True)
    ap.add_argument("--seconds", type=float, default=440)
    ap.add_argument("--began", type=float, help="when the seconds began to count, if before now (seconds since 1970)")
    ap.add_argument("--batch", type=int, default=64)
    ap.add_argument("--room", type=int, default=10_000, help="views kept")
    ap.add_argument("--first", type=int, default=2500, help="views traced before the first step")
    ap.add_argument("--held", type=int, default=320, help="held-out pictures")
    ap.add_argument("--rate", type=float, default=2e-3)
    ap.add_argument("--start", help="a state.safetensors to go on from")
    ap.add_argument("--share", type=float, default=0.22, help="of the time that tracing may take while training")
    ap.add_argument("--copies", type=int, default=2)
    ap.add_argument("--meshes", type=int, help="no more than these, for a trial")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--checkpoint", type=float, default=55)
    a = ap.parse_args()
    begun = a.began or time.time()
    os.makedirs(a.out, exist_ok=True)
    log = open(os.path.join(a.out, "log.jsonl"), "a")

    def note(**facts):
        facts["seconds"] = round(time.time() - begun, 1)
        line = json.dumps(facts)
        print(line, flush=True)
        log.write(line + "\n")
        log.flush()

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    torch.manual_seed(a.seed)
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    autocast = lambda: torch.autocast(device.type, dtype=torch.bfloat16, enabled=cuda)
    drawn = ahead(a.seed * 1_000_000, cuda)
    next(drawn)  # the processes start before anything else does

    tracer = Tracer(device)
    note(step="tracer", on=str(tracer.where), device=torch.cuda.get_device_name() if cuda else "cpu")
    train, held = split(os.path.join(a.pack, "meshes.npz"))
    if a.meshes:
        train, held = (m[::max(1, len(m) // a.meshes)] for m in (train, held))
    pool, held_pool = Pool(tracer, train, a.copies, a.seed), Pool(tracer, held, 1, 99)
    note(step="meshes", train=len(train), held=len(held), triangles=len(pool.triangles))
    studio = Studio(unpack(os.path.join(a.pack, "photos.npz"), "RGB", None if cuda else 40),
                    unpack(os.path.join(a.pack, "prints.npz"), "RGBA", None if cuda else 40), device, a.seed, 384 if cuda else 8)
    note(step="studio")
    random, chunk = np.random.default_rng(a.seed), 64 if cuda else 8

    def grow(bank, n):
        half = max(1, n * 11 // 20)
        try:
            bank.add_shapes([next(drawn) for _ in range(half)], random)
            bank.add_meshes(pool, n - half, random)
        except (ValueError, ArithmeticError, LookupError) as error:  # one odd shape does not end a run
            print("shape:", error, flush=True)

    kept = held_out(tracer, studio, held_pool, a.held, chunk)
    note(step="held out", n=sum(len(x) for x, *_ in kept))

    bank = Bank(tracer, a.room, device)
    while bank.filled < a.first:
        grow(bank, chunk)
    note(step="bank", views=bank.filled)

    net = FormNet().to(device, memory_format=torch.channels_last)
    if a.start:
        net.load_state_dict(load_file(a.start), strict=False)
    mean = {k: v.detach().float().clone() for k, v in net.state_dict().items()}
    twin = FormNet().to(device, memory_format=torch.channels_last)
    plain = [p for p in net.parameters() if p.ndim > 1]
    slim = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": plain, "weight_decay": 0.02}, {"params": slim, "weight_decay": 0.0}], lr=a.rate, betas=(0.9, 0.98), fused=cuda)
    run = net
    if cuda:
        try:
            run = torch.compile(net)
            with autocast():
                run(normalise(torch.rand(a.batch, 4, SIDE, SIDE, device=device))).float().square().mean().backward()
            optimiser.zero_grad(set_to_none=True)
            note(step="compiled")
        except Exception as error:
            print("compile:", str(error)[:400], flush=True)
            run = net
            optimiser.zero_grad(set_to_none=True)
    note(step="parameters", n=sum(p.numel() for p in net.parameters()))
    pick = torch.randperm(bank.filled)[:32]
    x, truth = studio.batch(bank.views[pick], bank.lights[pick])
    sheet(x, truth, torch.zeros(len(x), 6, SIDE, SIDE, device=device), os.path.join(a.out, "scenes.png"))

    def save(step):
        twin.load_state_dict(mean)
        result, first = judged(twin, kept, autocast)
        note(step=step, views=bank.filled, **result)
        state = {k: v.contiguous().cpu() for k, v in mean.items() if "num_batches" not in k}
        for name, tensors in (("state", state), ("weights", {k: v.half().contiguous() for k, v in folded(state).items()})):
            save_file(tensors, os.path.join(a.out, name + ".part"))
            os.replace(os.path.join(a.out, name + ".part"), os.path.join(a.out, name + ".safetensors"))
        sheet(kept[0][0][:24], {k: v[:24] for k, v in kept[0][1].items()}, first[:24], os.path.join(a.out, "held-out.png"))

    start, step, traced, last, sums = time.time(), 0, 0.0, time.time(), {}
    end = begun + a.seconds - 12
    while time.time() < end:
        if step % 4 == 0:
            passed = time.time() - start
            if traced <= a.share * passed:
                if cuda:
                    torch.cuda.synchronize()
                t = time.time()
                grow(bank, chunk)
                if cuda:
                    torch.cuda.synchronize()
                traced += time.time() - t
        done = min(1.0, (time.time() - start) / max(end - start, 1))
        rate = min(1.0, done / 0.06 + 0.02) * (0.5 + 0.5 * math.cos(math.pi * max(0.0, (done - 0.06) / 0.94))) + 1e-3
        for group in optimiser.param_groups:
            group["lr"] = a.rate * rate
        pick = torch.randint(bank.filled, (a.batch,), device=device)
        with torch.no_grad():
            x, truth = studio.batch(bank.views[pick], bank.lights[pick])
        with autocast():
            out = run(normalise(x))
        total, parts = loss(out, truth)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            keep = min(0.999, (step + 1) / (step + 12)) if not a.start else 0.999
            now = [v for v in net.state_dict().values()]
            floats = [(m, v.float()) for m, v in zip(mean.values(), now) if v.dtype.is_floating_point]
            torch._foreach_lerp_([m for m, _ in floats], [v for _, v in floats], 1 - keep)
        for k, v in parts.items():
            sums[k] = sums.get(k, 0) + v
        if step % 100 == 0 or (not cuda and step % 2 == 0):
            every = 100 if cuda else 2
            note(step=step, views=bank.at, traced=round(traced, 1), **{k: round(float(v) / every, 4) for k, v in sums.items()})
            if not all(math.isfinite(float(v)) for v in sums.values()):
                raise SystemExit("not finite")
            sums = {}
        if time.time() - last > a.checkpoint:
            save(step)
            last = time.time()
    save(step)
    log.close()
    sys.stdout.flush()
    os._exit(0)  # the processes that draw shapes are waiting for nobody


if __name__ == "__main__":
    main()
