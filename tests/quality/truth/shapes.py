"""The subjects' shapes, each from a random generator: `SHAPES[name](rng)` puts parts into the scene and returns them.

A part is an object; where its mesh carries metric surface coordinates ("UVMap") a laid pattern follows them. `joined` makes one
body of about a metre, standing on z = 0, out of the parts.
"""

import math

import bpy
import numpy as np
from mathutils import Vector, noise
from stage import add, box, ellipsoid, grid_mesh, melt, smooth_through, tube


def laid(mesh, points):
    """Adds a grid mesh closed around its columns, with along the mean circle, and up the profile."""
    rows, columns = points.shape[:2]
    radius = np.hypot(points[..., 0], points[..., 1]).mean(1)
    up = np.r_[0, np.cumsum(np.hypot(np.diff(radius), np.diff(points[..., 2].mean(1))))]
    around = 2 * math.pi * np.percentile(radius, 75)
    layer = mesh.uv_layers.new(name="UVMap")
    for polygon in mesh.polygons:
        corners = [(v // columns, v % columns) for v in polygon.vertices]
        last = max(c for _, c in corners) == columns - 1 and min(c for _, c in corners) == 0
        for loop, (r, c) in zip(polygon.loop_indices, corners):
            layer.data[loop].uv = ((columns if last and c == 0 else c) / columns * around, up[r])
    made = add(mesh)
    made["laid"] = True
    return made


def turned(rng, profile, ribs=0.0, count=0, twist=0.0, columns=160, name="lathe"):
    """A lathe; `ribs` lets the radius swell `count` times around."""
    profile = np.array(profile, dtype=float)
    t = np.linspace(0, len(profile) - 1, 16 * len(profile))
    radius, height = (smooth_through(profile[:, i], t)[:, None] for i in (0, 1))
    angle = np.linspace(0, 2 * math.pi, columns, endpoint=False)[None]
    wave = 1 + ribs * np.cos(count * angle + twist * height) if count else np.ones_like(angle)
    r = np.maximum(radius, 0.0005) * wave
    points = np.stack([r * np.cos(angle), r * np.sin(angle), height + 0 * angle], 2)
    mesh = grid_mesh(name, points, around=True)
    return laid(mesh, points)


def vessel(rng):
    """A vase, bottle, bowl or jug: a wall with an inside."""
    waist = [(rng.uniform(0.16, 0.34), 0.0)]
    count = rng.integers(2, 5)
    for i in range(count):
        waist.append((rng.uniform(0.14, 0.42), (i + 0.7) / count * 0.95))
    mouth = rng.uniform(0.12, 0.36)
    outer = [(0.0, 0.0), (waist[0][0] * 0.8, 0.0)] + waist + [(mouth, 1.0)]
    inner = [(mouth - 0.03, 1.0)] + [(max(r - 0.035, 0.02), h) for r, h in reversed(waist)] + [(0.0, 0.05)]
    parts = [turned(rng, outer + inner, *((rng.uniform(0.02, 0.08), rng.integers(6, 18), rng.uniform(-4, 4)) if rng.random() < 0.35 else ()))]
    if rng.random() < 0.45:
        r = waist[-1][0]
        parts.append(tube("handle", [(-r * 0.9, 0, 0.8), (-r - 0.2, 0, 0.85), (-r - 0.24, 0, 0.5), (-r * 0.8, 0, 0.3)], [0.04] * 4, None))
    return parts


def mug(rng):
    r, h = rng.uniform(0.32, 0.42), rng.uniform(0.75, 1.0)
    lip = r * rng.uniform(0.9, 1.2)
    body = turned(rng, [(0, 0), (r * 0.9, 0), (r, 0.03), (r, 0.1), (lip, h), (lip - 0.02, h + 0.012), (lip - 0.05, h), (r - 0.05, 0.1), (0, 0.07)])
    handle = tube("handle", [(-r * 0.95, 0, 0.78 * h), (-r - 0.22, 0, 0.74 * h), (-r - 0.24, 0, 0.35 * h), (-r * 0.95, 0, 0.22 * h)], [0.05] * 4, None, 0.7)
    return [body, handle]


def pumpkin(rng):
    body = turned(rng, [(0.02, 0.12), (0.2, 0.02), (0.42, 0.08), (0.55, 0.34), (0.45, 0.62), (0.22, 0.72), (0.03, 0.62)],
                  rng.uniform(0.04, 0.09), rng.integers(8, 14), name="pumpkin")
    stem = tube("stem", [(0, 0, 0.6), (0.01, 0, 0.75), (0.07, 0.02, 0.88)], [0.06, 0.045, 0.05], None)
    return [body, stem]


def drape(rng):
    """A cloth over a round table, or a curtain: folds that grow downwards."""
    folds, deep, phase = rng.integers(7, 13), rng.uniform(0.10, 0.22), rng.uniform(0, 6)
    top, wide = rng.uniform(0.2, 0.42), rng.uniform(0.45, 0.6)
    v, angle = np.linspace(0, 1, 90)[:, None], np.linspace(0, 2 * math.pi, 240, endpoint=False)[None]
    edge = np.clip((v - 0.35) / 0.65, 0, 1)
    swing = np.cos(folds * angle + phase + 0.8 * np.sin(2 * angle + phase) + 0.6 * edge) + 0.35 * np.cos((2 * folds + 1) * angle - phase)
    r = np.where(v < 0.35, top * v / 0.35, top + (wide - top) * edge**1.5) * (1 + deep * edge * swing)
    height = np.where(v < 0.35, 1.0, 1 - edge) - 0.06 * np.clip(v / 0.35, 0, 1) ** 6
    points = np.stack([r * np.cos(angle), r * np.sin(angle), np.maximum(height, 0.004) + 0 * angle], 2)
    mesh = grid_mesh("drape", points, around=True)
    return [laid(mesh, points)]


def cushion(rng):
    """A pillow with creases that run from its corners."""
    u, v = np.meshgrid(np.linspace(-1, 1, 121), np.linspace(-1, 1, 121))
    puff = ((1 - u**4) * (1 - v**4)) ** 0.5
    crease = sum(0.025 * np.sin(rng.uniform(8, 16) * (a * u + b * v) + rng.uniform(0, 6)) * np.exp(-2.5 * ((abs(u) - 1) ** 2 + (abs(v) - 1) ** 2))
                 for a, b in rng.normal(0, 1, (6, 2)))
    pull = 1 - 0.08 * (1 - u**2) * v**2 - 0.08 * (1 - v**2) * u**2
    parts = []
    for side in (-1, 1):
        points = np.stack([0.5 * u * pull, side * (0.2 * puff + crease * puff), 0.5 * v * pull], 2)
        parts.append(add(grid_mesh("cushion", points if side < 0 else points[:, ::-1])))
    tilt = math.radians(rng.uniform(-20, -5))
    for part in parts:
        part.rotation_euler.x = tilt
    return parts


def boxes(rng):
    """A house, a radio, a cabinet: rounded boxes with smaller ones on them."""
    w, d, h = rng.uniform(0.5, 0.95), rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.9)
    parts = [box("body", (w, d, h), (0, 0, h / 2), None, rng.uniform(0.01, 0.06))]
    for _ in range(rng.integers(1, 5)):
        a, b = rng.uniform(0.08, 0.4) * w, rng.uniform(0.08, 0.4) * h
        x, z = rng.uniform(-0.5, 0.5) * (w - a), rng.uniform(0.15, 0.85) * (h - b) + b / 2
        parts.append(box("front", (a, 0.06, b), (x, -d / 2, z), None, 0.012))
    if rng.random() < 0.6:
        parts.append(box("top", (w * rng.uniform(0.3, 1.1), d * 0.9, 0.15), (0, 0, h + 0.06), None, 0.03))
    for part in parts:
        part.modifiers["round"].limit_method = "ANGLE"
    return parts


def car(rng):
    long, wide = 1.0, 0.44
    body = box("body", (long, wide, 0.2), (0, 0, 0.2), None, 0.07)
    cabin = box("cabin", (rng.uniform(0.45, 0.62), wide * 0.86, 0.2), (rng.uniform(-0.1, 0.02), 0, 0.37), None, 0.075)
    parts = [body, cabin]
    for side in (-1, 1):
        for x in (-0.29, 0.31):
            wheel = turned(rng, [(0.0, -0.02), (0.05, -0.03), (0.06, 0.0), (0.09, 0.0), (0.1, -0.04), (0.12, -0.03), (0.12, 0.05), (0.0, 0.05)], name="wheel")
            wheel.rotation_euler, wheel.location = (math.radians(90 * side), 0, 0), (x, side * (wide / 2 - 0.02), 0.12)
            parts.append(wheel)
        parts.append(ellipsoid("light", (-0.48, side * 0.15, 0.22), (0.03, 0.05, 0.035), None))
    return parts


def beast(rng):
    """An animal on four legs, melted from ellipsoids."""
    long, fat, leg = rng.uniform(0.3, 0.42), rng.uniform(0.14, 0.24), rng.uniform(0.2, 0.4)
    body = [ellipsoid("body", (0, 0, leg + fat * 0.7), (long, fat, fat), None)]
    neck = rng.uniform(0.05, 0.3)
    head = (-long - 0.1, 0, leg + fat + neck)
    body.append(ellipsoid("neck", (-long * 0.85, 0, leg + fat * 0.8 + neck / 2), (0.11, 0.09, 0.12 + neck / 2), None, (0, -25, 0)))
    body.append(ellipsoid("head", head, (0.17, 0.12, 0.13), None, (0, -15, 0)))
    body.append(ellipsoid("snout", (head[0] - 0.14, 0, head[2] - 0.05), (0.1, 0.06, 0.06), None))
    for side in (-1, 1):
        body.append(ellipsoid("ear", (head[0] + 0.06, side * 0.09, head[2] + 0.14), (0.03, 0.05, rng.uniform(0.07, 0.16)), None, (side * -15, 0, 0)))
        body.append(ellipsoid("eye", (head[0] - 0.11, side * 0.075, head[2] + 0.05), (0.025, 0.025, 0.025), None))
        for x in (-long * 0.6, long * 0.65):
            body.append(ellipsoid("leg", (x, side * fat * 0.6, leg / 2), (0.06, 0.06, leg / 2 + 0.08), None))
    body.append(ellipsoid("tail", (long + 0.05, 0, leg + fat), (0.16, 0.035, 0.035), None, (0, rng.uniform(-50, 30), 0)))
    made = melt(body, 0.012, 4)
    made.rotation_euler.z = math.radians(rng.uniform(10, 50))
    return [made]


def blob(rng):
    """A lump: a sphere pushed in and out by noise of three octaves."""
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=6, radius=0.5)
    lump = bpy.context.object
    seed, size, rough = Vector(rng.uniform(-50, 50, 3)), rng.uniform(1.2, 2.6), rng.uniform(0.25, 0.6)
    squash = Vector((rng.uniform(0.8, 1.3), rng.uniform(0.7, 1.1), rng.uniform(0.7, 1.2)))
    for vertex in lump.data.vertices:
        at = vertex.co.normalized()
        vertex.co = at * (0.45 + 0.22 * rough * noise.fractal(at * size + seed, 1.0, 2.0, 3)) * 1.0
        vertex.co = Vector(a * b for a, b in zip(vertex.co, squash))
    lump.data.shade_smooth()
    return [lump]


def chair(rng):
    w, seat, back, thin = rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.5), rng.uniform(0.9, 1.05), rng.uniform(0.014, 0.024)
    parts = [box("seat", (w, w, 0.04), (0, 0, seat), None, 0.015)]
    for x in (-1, 1):
        parts.append(tube("leg", [(x * w * 0.45, -w * 0.45, seat), (x * w * 0.52, -w * 0.5, 0)], [thin, thin * 0.8], None))
        parts.append(tube("post", [(x * w * 0.52, w * 0.52, 0), (x * w * 0.45, w * 0.45, seat), (x * w * 0.46, w * 0.55, back)], [thin] * 3, None))
        parts.append(tube("rail", [(x * w * 0.49, -w * 0.47, seat * 0.45), (x * w * 0.49, w * 0.48, seat * 0.45)], [thin * 0.7] * 2, None))
    for z in np.linspace(seat + 0.15, back - 0.03, rng.integers(2, 5)):
        parts.append(tube("slat", [(-w * 0.46, w * 0.5, z), (0, w * 0.56, z), (w * 0.46, w * 0.5, z)], [thin * 1.1] * 3, None))
    return parts


def bicycle(rng):
    """Two wheels with spokes and a frame of tubes."""
    parts, r, thin = [], 0.24, 0.014
    for x in (-0.32, 0.32):
        bpy.ops.mesh.primitive_torus_add(major_radius=r, minor_radius=0.022, location=(x, 0, r + 0.02), rotation=(math.pi / 2, 0, 0), major_segments=96)
        bpy.context.object.data.shade_smooth()
        parts.append(bpy.context.object)
        for a in np.linspace(0, math.pi, 9)[:-1]:
            c, s = r * math.cos(a), r * math.sin(a)
            parts.append(tube("spoke", [(x - c, 0, r + 0.02 - s), (x + c, 0, r + 0.02 + s)], [0.005] * 2, None))
    crank, saddle, head, rear, front = (-0.03, 0, 0.24), (-0.12, 0, 0.6), (0.22, 0, 0.58), (-0.32, 0, 0.26), (0.32, 0, 0.26)
    for a, b in ((crank, saddle), (crank, head), (saddle, head), (rear, crank), (rear, saddle), (head, front)):
        parts.append(tube("frame", [a, b], [thin * 1.4] * 2, None))
    parts.append(ellipsoid("seat", (-0.14, 0, 0.65), (0.1, 0.05, 0.025), None))
    parts.append(tube("bar", [(0.16, -0.16, 0.7), (0.2, 0, 0.68), (0.16, 0.16, 0.7)], [thin] * 3, None))
    parts.append(tube("stem", [(0.22, 0, 0.58), (0.2, 0, 0.68)], [thin] * 2, None))
    for part in parts:
        part.name = "bicycle"
    return parts


def lamp_stand(rng):
    """A table lamp: foot, thin stem, shade."""
    foot = turned(rng, [(0, 0), (0.2, 0), (0.2, 0.03), (0.05, 0.07), (0.03, 0.2)])
    stem = tube("stem", [(0, 0, 0.1), (rng.uniform(-0.1, 0.1), 0, 0.4), (0, 0, 0.72)], [0.022, 0.018, 0.02], None)
    shade = turned(rng, [(0.34, 0.62), (0.35, 0.62), (rng.uniform(0.14, 0.24), 1.0), (0.12, 1.0)])
    return [foot, stem, shade]


def heap(rng):
    """Several things: balls of different sizes in a dish."""
    parts = [turned(rng, [(0, 0), (0.2, 0), (0.22, 0.03), (0.5, 0.2), (0.49, 0.215), (0.2, 0.06), (0, 0.05)])]
    for i in range(6):
        a, r = i * 2 * math.pi / 5, rng.uniform(0.11, 0.17)
        at = (0.24 * math.cos(a), 0.24 * math.sin(a), 0.2 + r * 0.6) if i < 5 else (0, 0, 0.45)
        parts.append(ellipsoid("ball", at, (r, r, r * rng.uniform(0.85, 1.15)), None, (rng.uniform(0, 90), 0, 0)))
    return parts


def monkey(rng):
    bpy.ops.mesh.primitive_monkey_add(size=1.0)
    head = bpy.context.object
    fine = head.modifiers.new("fine", "SUBSURF")
    fine.levels = fine.render_levels = 3
    head.data.shade_smooth()
    head.rotation_euler = (math.radians(rng.uniform(-25, 5)), 0, math.radians(rng.uniform(-25, 25)))
    return [head]


SHAPES = {shape.__name__: shape for shape in (vessel, mug, pumpkin, drape, cushion, boxes, car, beast, blob, chair, bicycle, lamp_stand, heap, monkey)}


def joined(parts, tall=1.0):
    """The parts, as meshes in world coordinates, scaled to `tall` metres (their largest extent) and set down on z = 0 at the middle."""
    graph = bpy.context.evaluated_depsgraph_get()
    out, low, high = [], np.full(3, 1e9), np.full(3, -1e9)
    for part in parts:
        mesh = bpy.data.meshes.new_from_object(part.evaluated_get(graph), depsgraph=graph)
        mesh.transform(part.matrix_world)
        mesh.materials.clear()
        if not part.get("laid"):
            while mesh.uv_layers:
                mesh.uv_layers.remove(mesh.uv_layers[0])
        bpy.data.objects.remove(part)
        at = np.empty(3 * len(mesh.vertices))
        mesh.vertices.foreach_get("co", at)
        low, high = np.minimum(low, at.reshape(-1, 3).min(0)), np.maximum(high, at.reshape(-1, 3).max(0))
        out.append(add(mesh, name="subject"))
    scale = tall / float((high - low).max())
    middle = (low + high) / 2
    for thing in out:
        if "UVMap" in thing.data.uv_layers:
            layer = thing.data.uv_layers["UVMap"].data
            uv = np.empty(2 * len(layer))
            layer.foreach_get("uv", uv)
            layer.foreach_set("uv", uv * scale)
        thing.location = tuple(-scale * np.array([middle[0], middle[1], low[2]]))
        thing.scale = (scale,) * 3
    bpy.context.view_layer.update()
    size = (high - low) * scale
    return out, size
