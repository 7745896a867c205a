"""Trains the whole mask network on the teacher's lessons, from the start that distil.py solved; stops and goes on at any time.

Loss: binary cross entropy + soft IoU against the teacher's soft masks, the fused one and all six sides at their own
resolution, and the relative error of the chosen channels of five stages. Some steps vary the lessons: mirrored, zoomed,
recoloured, smaller. Adam on whitened inputs; the rate warms up, then falls as a cosine over --budget seconds
of a worker's processor time (its throughput is not known beforehand, and it may be paused); an exponential average of the weights is what gets exported.
bfloat16 arithmetic where the processor has it, f32 weights. --deep trains only the stages at an eighth of the picture's size and below.
--workers processes of one thread each average their gradients once a step.
"""

import argparse
import math
import os
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from distil import patches
from evaluate import load
from lessons import HINTS, convolutions
from network import SIDE_WEIGHTS, MaskNet, arithmetic, mask_loss, normalise

DEEP = ("stage4", "stage5", "stage6", "side4", "side5", "side6")


class Lessons:
    """Random batches of what lessons.py has written so far."""

    def __init__(self, folder, seed, hints=HINTS):
        self.folder, self.hints = os.path.join(folder, "lessons"), hints
        self.random, self.queue = np.random.default_rng(seed), []

    def batch(self, size):
        """(pictures, the teacher's seven masks, stage -> chosen channels)."""
        if len(self.queue) < size:
            names = sorted(n for n in os.listdir(self.folder) if n.endswith(".npz"))
            self.queue = [names[k] for k in self.random.permutation(len(names))]
        loaded = [np.load(os.path.join(self.folder, self.queue.pop())) for _ in range(size)]
        stack = lambda key: torch.from_numpy(np.stack([z[key] for z in loaded]))
        masks = [stack(f"mask{k}")[:, None].float() / 255 for k in range(7)]
        return normalise(stack("rgb")), masks, {name: stack(name).float() for name in self.hints}


def vary(rgb, masks, hints, random, size):
    """A normalised batch and the answers to it mirrored, turned, zoomed and recoloured, for pictures of `size`: the teacher
    would answer nearly so."""
    n = len(rgb)
    draw = lambda low, high, *shape: torch.tensor(random.uniform(low, high, (n, *shape)), dtype=torch.float32)
    zoom, turn = draw(0.65, 1, 2), draw(-0.25, 0.25) * (draw(0, 1) < 0.5)
    side = zoom[:, 0] * torch.tensor(random.choice((-1.0, 1.0), n), dtype=torch.float32)
    theta = torch.stack((side * turn.cos(), -zoom[:, 1] * turn.sin(), side * turn.sin(), zoom[:, 1] * turn.cos()), 1)
    theta = torch.cat((theta.view(n, 2, 2), ((1 - zoom) * draw(-1, 1, 2))[:, :, None]), 2)

    def cut(x, side):
        grid = F.affine_grid(theta, (n, 1, side, side), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    x, grey = cut(rgb, size), draw(-0.3, 0.8, 1, 1, 1).clamp(min=0)
    x = x.lerp(x.mean(1, keepdim=True), grey) * draw(0.7, 1.3, 1, 1, 1) * draw(0.9, 1.1, 3, 1, 1) + draw(-0.3, 0.3, 1, 1, 1)
    answers = [cut(m, m.shape[2] * size // rgb.shape[2]) for m in masks]
    return x, answers, {name: cut(h, h.shape[2] * size // rgb.shape[2]) for name, h in hints.items()}


def hint_loss(h, hint):
    return (h - hint).square().mean() / hint.var((0, 2, 3)).mean()


@torch.no_grad()
def input_bases(net, folder, count=160, damping=0.03):
    """For every convolution a matrix M: its weights and bias are V M, where V acts on whitened, uncorrelated inputs.

    From the second moments of the patches that the convolution saw in `count` lessons.
    """
    grams, size = {}, 8
    names = {conv: name for name, conv in convolutions(net).items()}

    def add(conv, inputs):
        x = patches(inputs[0], conv)
        grams[names[conv]] = grams.get(names[conv], 0) + x.T @ x / len(x)

    handles = [conv.register_forward_pre_hook(add) for conv in names]
    lessons = Lessons(folder, 1, hints=())
    for _ in range(count // size):
        net(lessons.batch(size)[0].contiguous(memory_format=torch.channels_last))
    for handle in handles:
        handle.remove()
    bases = {}
    for name, gram in grams.items():
        power, axes = torch.linalg.eigh(gram / (count // size))
        bases[name] = (power.clamp(min=0) + damping * power.mean()).rsqrt()[:, None] * axes.T
    return bases


class Whitened:
    """Adam on the weights as seen from whitened inputs.

    Activations after ReLUs are positive and correlated, and without BatchNorm a step that is harmless in one direction of a
    layer's input is ruinous in another. In the basis of `input_bases` all directions matter alike, so that one rate,
    relative to each layer's root mean square, fits all. Gradients are one flat tensor, so that workers average them at once.
    """

    def __init__(self, net, bases):
        self.layers = [(conv, bases[name]) for name, conv in convolutions(net).items() if name in bases]
        params = [p for conv, _ in self.layers for p in (conv.weight, conv.bias)]
        self.grad = torch.zeros(sum(p.numel() for p in params))
        at = 0
        for p in params:
            p.grad = self.grad[at:at + p.numel()].view(p.shape)
            at += p.numel()
        rows = lambda conv: torch.cat((conv.weight.detach().flatten(1), conv.bias.detach()[:, None]), 1)
        self.values = [torch.linalg.solve(m, rows(conv), left=False) for conv, m in self.layers]
        self.scale = [v.square().mean().sqrt() for v in self.values]
        self.first, self.second = ([torch.zeros_like(v) for v in self.values] for _ in range(2))
        self.average = [v.clone() for v in self.values]

    @torch.no_grad()
    def step(self, rate, step):
        keep = min(0.995, (1 + step) / (20 + step))
        for k, (conv, m) in enumerate(self.layers):
            grad = torch.cat((conv.weight.grad.flatten(1), conv.bias.grad[:, None]), 1) @ m.T
            self.first[k].lerp_(grad, 0.1)
            self.second[k].lerp_(grad.square(), 0.01)
            first, second = self.first[k] / (1 - 0.9 ** step), self.second[k] / (1 - 0.99 ** step)
            self.values[k] -= rate * self.scale[k] * first / (second.sqrt() + 1e-12)
            self.average[k].lerp_(self.values[k], 1 - keep)
            self.put(conv, self.values[k] @ m)

    @staticmethod
    def put(conv, rows):
        conv.weight.data.copy_(rows[:, :-1].view(conv.weight.shape))
        conv.bias.data.copy_(rows[:, -1])

    def state(self):
        return {key: getattr(self, key) for key in ("values", "scale", "first", "second", "average")}

    def load(self, state):
        for key, tensors in state.items():
            setattr(self, key, tensors)
        for (conv, m), value in zip(self.layers, self.values):
            self.put(conv, value @ m)

    def averaged(self, net):
        """State dict of the exponential average."""
        now = {key: value.clone() for key, value in net.state_dict().items()}
        for (conv, m), value in zip(self.layers, self.average):
            self.put(conv, value @ m)
        out = {key: value.clone() for key, value in net.state_dict().items()}
        net.load_state_dict(now)
        return out


def options():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("--run", default="run1")
    ap.add_argument("--start", help="weights to begin with: a checkpoint, or models/mask.safetensors")
    ap.add_argument("--budget", type=float, default=3600, help="seconds of a worker's processor time, over which the rate falls")
    ap.add_argument("--batch", type=int, default=4, help="lessons per worker and step")
    ap.add_argument("--rate", type=float, default=0.004, help="relative to each layer's size")
    ap.add_argument("--hints", type=float, default=1.0, help="weight of the stages' error; 0 does without")
    ap.add_argument("--deep", action="store_true", help="train only stages 4 to 4d")
    ap.add_argument("--varied", type=float, default=0.6, help="share of steps on varied lessons")
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--port", type=int, default=29511)
    ap.add_argument("--seed", type=int, default=20240501)
    return ap.parse_args()


def work(rank, a):
    torch.manual_seed(a.seed)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{a.port}", rank=rank, world_size=a.workers)
    run = os.path.join(a.folder, a.run)
    os.makedirs(run, exist_ok=True)
    last = os.path.join(run, "last.pt")
    net, step, before = MaskNet(), 0, 0.0
    if a.start:
        net = load(a.start).train()
    torch.set_flush_denormal(True)
    path = os.path.join(run, "bases.pt")
    if rank == 0 and not os.path.exists(path):
        torch.save(input_bases(net, a.folder), path)
    dist.barrier()
    bases = torch.load(path)
    optimiser = Whitened(net, {name: m for name, m in bases.items() if not a.deep or name.startswith(DEEP)})
    if os.path.exists(last):
        ck = torch.load(last)
        optimiser.load(ck["optimiser"])
        step, before = ck["step"], ck["spent"]
    sides = slice(4, None) if a.deep else slice(None)  # of the seven masks, those of the stages that are trained
    lessons = Lessons(a.folder, a.seed + 1000 * rank + step, HINTS if a.hints else ())
    stages, taken = dict(net.named_children()), {}
    for name in HINTS:
        stages[name].register_forward_hook(lambda _, __, out, name=name: taken.__setitem__(name, out))

    def save():
        ck = {"optimiser": optimiser.state(), "ema": optimiser.averaged(net), "step": step, "spent": spent, "args": vars(a)}
        torch.save(ck, last + ".part")
        os.replace(last + ".part", last)

    means, usual, saved, begun, first = np.zeros(3), None, time.time(), time.process_time(), step
    while True:
        clock = torch.tensor([before + time.process_time() - begun], dtype=torch.float64)
        dist.broadcast(clock, 0)
        spent = clock.item()
        if spent >= a.budget:
            break
        x, masks, hints = lessons.batch(a.batch)
        masks = masks[sides]
        if lessons.random.random() < a.varied:
            x, masks, hints = vary(x, masks, hints, lessons.random, int(lessons.random.choice((224, 256, 288))))
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, arithmetic() is torch.bfloat16):
            if a.deep:
                with torch.no_grad():
                    h = net.shallow(x)[0]
                logits = net.deep(h)[1]
            else:
                logits = net(x)
        each = [w * mask_loss(z.float(), m) for w, z, m in zip(SIDE_WEIGHTS[sides], logits, masks, strict=True)]
        hint = torch.zeros(())
        if hints:
            hint = sum(hint_loss(taken[name].float(), hints[name]) for name in HINTS) / len(HINTS)
        optimiser.grad.zero_()
        (sum(each) + a.hints * hint).backward()
        dist.all_reduce(optimiser.grad)
        norm = optimiser.grad.norm().item()
        usual = norm if usual is None else 0.95 * usual + 0.05 * min(norm, 2 * usual)
        optimiser.grad *= min(1, 2 * usual / norm)
        step += 1
        optimiser.step(a.rate * min(1, step / 100) * (0.5 + 0.5 * math.cos(math.pi * spent / a.budget)), step)
        if rank > 0:
            continue
        means += (np.array([each[0].item(), sum(each).item(), hint.item()]) - means) * max(0.03, 1 / (step - first))
        if step % 20 == 0:
            print(f"step {step} first {means[0]:.3f} masks {means[1]:.3f} hints {means[2]:.3f} spent {spent:.0f}s", flush=True)
        if time.time() - saved > 60:
            save()
            saved = time.time()
    if rank == 0:
        save()
        print("done", step, flush=True)


if __name__ == "__main__":
    a = options()
    if a.workers == 1:
        work(0, a)
    else:
        torch.multiprocessing.spawn(work, (a,), nprocs=a.workers)
