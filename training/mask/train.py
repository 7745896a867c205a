"""Trains the subject mask network; stops and goes on from its last checkpoint at any time.

Loss: binary cross entropy + soft IoU against the soft teacher (or exact) mask, on the fused output and all six sides.
AdamW; the rate warms up, then falls as a cosine over --budget seconds of training (as CPU throughput is not known
beforehand); an exponential average of the weights is what gets exported. Size plan: --sizes "0:96,0.45:128,0.85:160".
--workers processes of one thread each average their gradients once a step, which a busy machine disturbs less than
threads inside every operation.
"""

import argparse
import math
import os
import random
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from compose import Pool, sample
from network import MaskNet

MEAN = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
STD = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
SIDE_WEIGHTS = (1.0, 0.5, 0.4, 0.4, 0.3, 0.3, 0.3)


class Batches(torch.utils.data.IterableDataset):
    """Endless batches of (progress-dependent) size; the parent tells the size through a shared tensor."""

    def __init__(self, folder, batch, size, photo_share, seed):
        self.folder, self.batch, self.size, self.photo_share, self.seed = folder, batch, size, photo_share, seed

    def __iter__(self):
        torch.set_num_threads(1)
        rnd, pool, n = random.Random(self.seed), Pool(self.folder), 0
        while True:
            if n % 100 == 99:
                pool.refresh()
            n += 1
            s = int(self.size.item())
            pairs = [sample(pool, s, rnd, self.photo_share) for _ in range(self.batch)]
            yield (torch.from_numpy(np.stack([p[0] for p in pairs])), torch.from_numpy(np.stack([p[1] for p in pairs])))


def normalise(rgb):
    """u8 BxSxSx3 -> f32 Bx3xSxS, divided by each picture's maximum as the reference does."""
    x = rgb.permute(0, 3, 1, 2).float()
    x = x / x.amax((1, 2, 3), keepdim=True).clamp(min=1)
    return (x - MEAN) / STD


def loss_of(logits, mask):
    total = 0.0
    for weight, z in zip(SIDE_WEIGHTS, logits):
        p = torch.sigmoid(z)
        inter = (p * mask).sum((1, 2, 3))
        union = (p + mask - p * mask).sum((1, 2, 3))
        iou = 1 - (inter + 1) / (union + 1)
        total = total + weight * (F.binary_cross_entropy_with_logits(z, mask) + 0.5 * iou.mean())
    return total


def size_at(plan, progress):
    return [s for p, s in plan if progress >= p][-1]


def options():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("--run", default="run1")
    ap.add_argument("--budget", type=float, default=4500, help="seconds of training, over which the rate falls")
    ap.add_argument("--sizes", default="0:96,0.45:128,0.85:160")
    ap.add_argument("--batch", type=int, default=8, help="samples per worker and step")
    ap.add_argument("--rate", type=float, default=3e-3)
    ap.add_argument("--photos", type=float, default=0.5, help="share of photographs among the samples")
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--port", type=int, default=29511)
    ap.add_argument("--seed", type=int, default=20240501)
    ap.add_argument("--passed", type=float, default=0, help="begin as if this many seconds had passed")
    ap.add_argument("--start", help="weights of an earlier run of ours to go on from, with a fresh rate")
    return ap.parse_args()


class Flat:
    """All parameters, gradients and running statistics as three flat tensors that the network's own are views of.

    One tensor to average, clip, step and smooth instead of hundreds: a fifth of a step's time on a small CPU.
    """

    def __init__(self, net):
        params = list(net.parameters())
        stats = [b for b in net.buffers() if b.is_floating_point()]
        self.param = torch.nn.Parameter(torch.cat([p.detach().flatten() for p in params]))
        self.param.grad = torch.zeros_like(self.param)
        self.stats = torch.cat([b.flatten() for b in stats])
        at = 0
        for p in params:
            p.data = self.param.data[at:at + p.numel()].view(p.shape)
            p.grad = self.param.grad[at:at + p.numel()].view(p.shape)
            at += p.numel()
        at = 0
        for b in stats:
            b.data = self.stats[at:at + b.numel()].view(b.shape)
            at += b.numel()
        self.net, self.averages = net, None

    def smooth(self, decay):
        """Exponential averages of weights and statistics."""
        now = (self.param.detach(), self.stats)
        if self.averages is None:
            self.averages = [t.clone() for t in now]
        for average, t in zip(self.averages, now):
            average.lerp_(t, 1 - decay)

    def averaged_state(self):
        if self.averages is None:
            return {k: v.clone() for k, v in self.net.state_dict().items()}
        keep = [self.param.detach().clone(), self.stats.clone()]
        self.set(*self.averages)
        state = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.set(*keep)
        return state

    def set(self, param, stats):
        self.param.data.copy_(param)
        self.stats.copy_(stats)


def work(rank, a):
    torch.manual_seed(a.seed)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{a.port}", rank=rank, world_size=a.workers)
    plan = [(float(p), int(s)) for p, s in (x.split(":") for x in a.sizes.split(","))]
    run = os.path.join(a.folder, a.run)
    os.makedirs(run, exist_ok=True)
    last = os.path.join(run, "last.pt")

    net, step, before, spent, saved_opt, averages = MaskNet(), 0, 0.0, 0.0, None, None
    if os.path.exists(last):
        ck = torch.load(last, weights_only=False)
        net.load_state_dict(ck["net"])
        step, before, saved_opt, averages = ck["step"], ck["spent"], ck["opt"], ck["averages"]
    elif a.start:
        net.load_state_dict(torch.load(a.start, weights_only=False)["net"])
        before = a.passed
    flat = Flat(net)
    flat.averages = averages
    opt = torch.optim.AdamW([flat.param], lr=a.rate, weight_decay=1e-3, fused=True)
    if saved_opt:
        opt.load_state_dict(saved_opt)

    def save():
        ck = {"net": net.state_dict(), "opt": opt.state_dict(), "averages": flat.averages, "ema": flat.averaged_state(),
              "step": step, "spent": spent, "args": vars(a)}
        torch.save(ck, last + ".part")
        os.replace(last + ".part", last)

    size = torch.tensor([size_at(plan, before / a.budget)]).share_memory_()
    data = Batches(a.folder, a.batch, size, a.photos, a.seed + 1000 * rank + step)
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=3)
    net.train()
    mean_loss, saved, begun = 0.0, time.time(), time.time()
    for rgb, mask in loader:
        clock = torch.tensor([before + time.time() - begun], dtype=torch.float64)
        dist.broadcast(clock, 0)
        spent = clock.item()
        progress = spent / a.budget
        if progress >= 1:
            break
        rate = a.rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * progress))
        for group in opt.param_groups:
            group["lr"] = max(rate, a.rate * 0.005)
        size[0] = size_at(plan, progress)
        x = normalise(rgb).contiguous(memory_format=torch.channels_last)
        loss = loss_of(net(x), mask[:, None])
        flat.param.grad.zero_()
        loss.backward()
        dist.all_reduce(flat.param.grad)
        flat.param.grad /= a.workers
        torch.nn.utils.clip_grad_norm_([flat.param], 5.0)
        opt.step()
        step += 1
        if rank > 0:
            continue
        flat.smooth(min(0.995, (1 + step) / (20 + step)))
        mean_loss = loss.item() if mean_loss == 0 else 0.97 * mean_loss + 0.03 * loss.item()
        if step % 20 == 0:
            print(f"step {step} size {x.shape[2]} loss {mean_loss:.3f} rate {rate:.5f} spent {spent:.0f}s", flush=True)
        if time.time() - saved > 60:
            save()
            saved = time.time()
    if rank == 0:
        save()
        print("done", step, flush=True)
    os._exit(0)  # the endless loaders have nothing to finish


if __name__ == "__main__":
    a = options()
    torch.multiprocessing.spawn(work, (a,), nprocs=a.workers)
