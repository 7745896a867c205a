"""Views of shapes and meshes, traced by tracer.cpp, kept as a bank of G-buffers on the device.

A view: 13 planes of RES x RES as f16 (tracer.cpp lists them), its four lights, and which group it belongs to.
"""

import ctypes
import math
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F

import meshes
import shapes

RES, PLANES = 256, 13
HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES, MESHES, PEOPLE = range(3)


def compiled(cuda):
    """The tracer as a library: for the CPU, or for the GPU."""
    out = os.path.join(tempfile.mkdtemp(), "tracer.so")
    source = os.path.join(HERE, "tracer.cpp")
    if cuda:
        command = ["nvcc", "-O3", "--use_fast_math", "-arch=sm_90", "-shared", "-Xcompiler", "-fPIC", "-x", "cu", source, "-o", out]
    else:
        command = ["g++", "-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC", source, "-o", out]
    subprocess.run(command, check=True, timeout=150)
    return ctypes.CDLL(out)


def address(x):
    return ctypes.c_void_p(x.data_ptr() if torch.is_tensor(x) else x.ctypes.data)


class Tracer:
    """Traces on the device where its compiler works, otherwise on the CPU."""

    def __init__(self, device):
        self.device = torch.device(device)
        self.host = compiled(False)
        self.library, self.where = self.host, torch.device("cpu")
        if self.device.type == "cuda":
            try:
                self.library, self.where = compiled(True), self.device
            except Exception as error:  # traced more slowly, but traced
                print("nvcc:", error, flush=True)
                ready = os.path.join(HERE, "tracer-sm90.so")  # compiled elsewhere, if somebody left it here
                if os.path.exists(ready):
                    self.library, self.where = ctypes.CDLL(ready), self.device

    def on(self, x):
        return torch.from_numpy(np.ascontiguousarray(x)).to(self.where)

    def run(self, function, views, res, *args):
        out = torch.empty(views, PLANES, res, res, device=self.where)
        code = getattr(self.library, function)(ctypes.c_int(views), ctypes.c_int(res), *args[:-1], address(out), *args[-1])
        if code:
            raise RuntimeError(f"{function}: CUDA error {code}")
        return out

    def shapes(self, drawn, cam, lights, res=RES, quick=False):
        ops, counts, g = (self.on(np.stack(a)) for a in zip(*[(d[0], np.int32(d[1]), d[2]) for d in drawn]))
        cam, lights = self.on(cam), self.on(lights)
        return self.run("trace_sdf", len(drawn), res, ctypes.c_int(shapes.MOST), address(ops), address(counts), address(g),
                        address(cam), address(lights), (ctypes.c_int(int(quick)),))

    def meshes(self, pool, picked, turns, cam, lights, res=RES, quick=False, seed=0):
        first, turns = self.on(pool.first[picked]), self.on(turns)
        cam, lights = self.on(cam), self.on(lights)
        return self.run("trace_mesh", len(picked), res, address(pool.nodes), address(pool.triangles), address(first), address(turns),
                        address(cam), address(lights), (ctypes.c_int(int(quick)), ctypes.c_uint(seed)))


class Pool:
    """Meshes with their hierarchies, each in `copies` differently stretched copies."""

    def __init__(self, tracer, found, copies, seed):
        self.names = [name for name, *_ in found for _ in range(copies)]
        jobs = [(m, np.random.default_rng([seed, i, c]), c) for i, m in enumerate(found) for c in range(copies)]
        with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as threads:
            built = list(threads.map(lambda j: self.built(tracer.host, *j), jobs))
        counts = np.array([[len(n), len(t)] for n, t in built], np.int64)
        self.first = np.concatenate([[[0, 0]], counts.cumsum(0)[:-1]]).astype(np.int64)
        self.nodes = tracer.on(np.concatenate([n for n, _ in built]))
        self.triangles = tracer.on(np.concatenate([t for _, t in built]))
        person = np.array(["person-" in n for n in self.names])
        vehicle = np.array([any(w in n.lower() for w in ("/cars/", "sedan", "beetle", "chevrolet", "ford", "truck", "bus.obj")) for n in self.names])
        bone = np.array(["BONE" in n for n in self.names])
        weight = np.where(vehicle, 2.0, np.where(bone, 0.12, 1.0))
        weight[person] = 0.28 * weight[~person].sum() / max(person.sum(), 1) if (~person).any() else 1
        self.person, self.weight = person, weight / weight.sum()

    @staticmethod
    def built(host, mesh, random, copy):
        name, v, f, parts = mesh
        v = v.astype(np.float64)
        if copy:
            stretch = np.exp(random.normal(0, 0.16, 3))
            v = v * stretch
            angle = random.normal(0, 0.25) * v[:, 1] if random.random() < 0.4 and "person" not in name else 0 * v[:, 1]
            c, s = np.cos(angle), np.sin(angle)
            v = np.stack([c * v[:, 0] - s * v[:, 2], v[:, 1], s * v[:, 0] + c * v[:, 2]], 1)
            v = v - (v.min(0) + v.max(0)) / 2
            v /= np.linalg.norm(v.max(0) - v.min(0)) / 2
        v = np.ascontiguousarray(v, np.float32)
        triangles = np.empty((len(f), 19), np.float32)
        nodes = np.zeros((2 * len(f) + 1, 8), np.float32)
        sharp = math.cos(math.radians(75 if "person" in name else 42))
        parts = np.ascontiguousarray(parts)
        host.corners(ctypes.c_int(len(v)), ctypes.c_int(len(f)), address(v), address(f), address(parts), ctypes.c_float(sharp), address(triangles))
        used = host.build(address(triangles), ctypes.c_int(len(f)), address(nodes))
        return nodes[:used].copy(), triangles


def lights(random, n):
    """n x 4 x (direction, hardness): a key from above, a fill from the front, one from behind, one from anywhere."""
    d = random.normal(size=(n, 4, 3)) * [1, 0.8, 0.7]
    d += np.array([[0, -0.7, 0.6], [0, -0.2, 1.2], [0, -0.5, -0.6], [0, 0, 0]])
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    return np.concatenate([d, np.exp(random.uniform(math.log(3), math.log(50), (n, 4, 1)))], -1).astype(np.float32)


def window(quick, cam, random, head=None):
    """Cameras that see just the shape, from a quick look at it; the heads of people where `head` says so. And which see anything."""
    hits = quick[:, 12].cpu().numpy() > 0.5
    res = hits.shape[-1]
    seen = np.zeros(len(hits), bool)
    cam = cam.copy()
    for i, h in enumerate(hits):
        ys, xs = np.nonzero(h)
        if len(ys) < 24:
            continue
        seen[i] = True
        y0, y1, x0, x1 = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
        centre, half = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), max(x1 - x0, y1 - y0) / 2
        if head is not None and head[i]:
            top = ys < y0 + 0.1 * (y1 - y0)
            tall = (y1 - y0) * math.exp(random.uniform(math.log(0.075), math.log(0.22)))
            centre, half = np.array([xs[top].mean(), y0 + tall * random.uniform(0.75, 1.0)]), tall
        at = (centre / res * 2 - 1) * cam[i, 3]
        cam[i, 1:3] += at
        cam[i, 3] = half / res * 2 * cam[i, 3] * random.uniform(1.03, 1.1)
    return cam, seen


def smoothed(x, planes):
    """The given planes averaged over 3 x 3 inside the shape: the meshes' light is sampled with few rays."""
    hit = x[:, 12:13]
    weight = F.avg_pool2d(hit, 3, 1, 1).clamp(min=1e-3)
    x[:, planes] = F.avg_pool2d(x[:, planes] * hit, 3, 1, 1) / weight * hit
    return x


class Bank:
    def __init__(self, tracer, room, device, res=RES):
        self.tracer, self.room, self.res, self.device = tracer, room, res, device
        self.views = torch.zeros(room, PLANES, res, res, dtype=torch.float16, device=device)
        self.lights = torch.zeros(room, 4, 4, device=device)
        self.groups = torch.zeros(room, dtype=torch.long, device=device)
        self.names = [""] * room
        self.filled, self.at = 0, 0

    def put(self, planes, lit, group, names):
        planes = planes.to(self.device)
        bad = ~torch.isfinite(planes).flatten(1).all(1)
        keep = (~bad).nonzero().flatten().cpu().tolist()
        for i in keep:
            self.views[self.at] = planes[i].half()
            self.lights[self.at] = torch.from_numpy(lit[i]).to(self.device)
            self.groups[self.at] = int(group[i])
            self.names[self.at] = names[i]
            self.at = (self.at + 1) % self.room
            self.filled = min(self.filled + 1, self.room)

    def add_shapes(self, drawn, random):
        n = len(drawn)
        lit = lights(random, n)
        cam = np.array([[d[3], 0, 0, 1.5] for d in drawn], np.float32)
        cam, seen = window(self.tracer.shapes(drawn, cam, lit, 64, True), cam, random)
        seen = np.nonzero(seen)[0]
        if len(seen):
            drawn = [drawn[i] for i in seen]
            out = self.tracer.shapes(drawn, cam[seen], lit[seen], self.res)
            self.put(out, lit[seen], [SHAPES] * len(seen), [shapes.NAMES[d[4]] for d in drawn])

    def add_meshes(self, pool, n, random):
        picked = random.choice(len(pool.names), n, p=pool.weight)
        lit, seed = lights(random, n), int(random.integers(1 << 30))
        person = pool.person[picked]
        turns = np.empty((n, 3, 3), np.float32)
        for i in range(n):
            yaw = random.normal(0, 0.6) if person[i] and random.random() < 0.75 else random.uniform(0, 2 * math.pi)
            pitch = random.normal(0.05, 0.2) if person[i] else random.normal(0.3, 0.3)
            turns[i] = shapes.turn([0, 1, 0], yaw) @ np.diag([1, -1, 1]) @ shapes.turn([1, 0, 0], pitch) @ shapes.turn([0, 0, 1], random.normal(0, 0.1))
        turns = turns.reshape(n, 9)
        cam = np.zeros((n, 4), np.float32)
        cam[:, 0] = np.exp(random.uniform(math.log(2.6), math.log(14), n))
        cam[:, 3] = 1.15
        head = person & (random.random(n) < 0.65)
        cam, seen = window(self.tracer.meshes(pool, picked, turns, cam, lit, 128, True), cam, random, head)
        s = np.nonzero(seen)[0]
        if len(s):
            out = smoothed(self.tracer.meshes(pool, picked[s], turns[s], cam[s], lit[s], self.res, seed=seed), slice(6, 11))
            self.put(out, lit[s], np.where(person[s], PEOPLE, MESHES), [pool.names[i] for i in picked[s]])


def split(path):
    """(training meshes, held-out meshes) of a packed file."""
    found = meshes.read(path)
    return [m for m in found if not meshes.held_out(m[0])], [m for m in found if meshes.held_out(m[0])]
