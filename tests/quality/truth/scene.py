"""One scene: a subject on its ground under its light, before a camera; and the pictures that are taken of it.

All of it follows from (seed, number). x is right, y away from the camera, z up, in metres.
"""

import json
import math
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector
from PIL import Image, ImageDraw, ImageFont
from stage import Nodes, add, aim, ellipsoid, empty_scene, grid_mesh, hexa, lamp, material, plane, room_light, sky

import meshes
import shapes
import surfaces

SIZE = 320
SAMPLES = 8  # and then denoised
WORLDS = ("city", "courtyard", "forest", "interior", "studio", "sunrise", "sunset")


def start():
    scene = empty_scene()
    scene.cycles.samples, scene.cycles.adaptive_threshold = SAMPLES, 0.05
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.caustics_reflective = 3, 1, False
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    scene.cycles.denoising_prefilter, scene.cycles.denoising_quality = "FAST", "BALANCED"  # halves the time, looks the same
    scene.render.use_persistent_data = True
    scene.render.threads_mode, scene.render.threads = "FIXED", 2
    return scene


def subject(name, rng, mesh_folder):
    """The parts of a shape of SHAPES or MESHES, and their size in metres."""
    if name in meshes.MESHES:
        body = meshes.load(name, mesh_folder)
        body.rotation_euler.z = math.radians(rng.uniform(-35, 35))
        bpy.context.view_layer.update()
        return shapes.joined([body])
    return shapes.joined(shapes.SHAPES[name](rng))


def layout(part):
    return "uv" if "UVMap" in part.data.uv_layers else "box"


def dress(parts, make):
    """Gives every part the material that `make` returns for its layout."""
    ready = {}
    for part in parts:
        how = layout(part)
        ready[how] = ready.get(how) or make(how)
        part.data.materials.clear()
        part.data.materials.append(ready[how])


def world(name, turn, strength):
    folder = Path(bpy.utils.resource_path("LOCAL")) / "datafiles/studiolights/world"
    nodes = Nodes(bpy.context.scene.world)
    turned = nodes.add("ShaderNodeMapping", {"Vector": nodes.add("ShaderNodeTexCoord").node.outputs["Generated"], "Rotation": (0, 0, turn)})
    picture = nodes.add("ShaderNodeTexEnvironment", {"Vector": turned}, image=bpy.data.images.load(str(folder / f"{name}.exr")))
    nodes.end("ShaderNodeOutputWorld", nodes.add("ShaderNodeBackground", {"Color": picture, "Strength": strength}))


def light(rng, mirrors=False):
    """Sun and sky, a surrounding photograph, soft boxes, or a window; returns its name. With `mirrors` always a photograph: what is
    polished shows its surroundings."""
    kind = rng.choice(["sky", "world", "world", "studio", "studio", "window"])
    kind = "world" if mirrors else kind
    side = rng.choice([-1, 1])
    if kind == "sky":
        sky(rng.uniform(0.1, 0.2), rng.uniform(15, 60), rng.uniform(0, 360))
    elif kind == "world":
        kind = str(rng.choice(WORLDS))
        world(kind, rng.uniform(0, 2 * math.pi), rng.uniform(0.7, 1.2))
    elif kind == "studio":
        room_light(surfaces.hexed(rng.random(), 0.08, 0.85), rng.uniform(0.15, 0.5))
        lamp((side * rng.uniform(1.2, 3), rng.uniform(-2.5, 0), rng.uniform(1.5, 3)), (0, 0, 0.4), rng.uniform(0.4, 1.8), rng.uniform(80, 200), "#fff3e4")
        lamp((-side * 2.4, -1.0, 1.3), (0, 0, 0.4), 1.2, rng.uniform(10, 50), "#e2ecff")
        if rng.random() < 0.5:
            lamp((-side * 1.5, 2.0, 2.0), (0, 0, 0.5), 0.5, 70)
    else:
        room_light("#9fb2c8", 0.08)
        lamp((side * 2.6, rng.uniform(-0.8, 0.5), 1.2), (0, 0, 0.5), 2.0, 190, "#f4f7ff")
    return str(kind)


def ground(rng):
    """A seamless backdrop, a table, or a corner full of things; returns its name."""
    kind = rng.choice(["backdrop", "table", "table", "busy"])
    if kind == "backdrop":
        t = np.linspace(0, 1, 60)
        bend = np.clip((t - 0.4) / 0.3, 0, 1) * math.pi / 2
        y = np.where(t < 0.4, -6 + 20 * t, 2 + 1.5 * np.sin(bend))
        z = np.where(t < 0.7, 1.5 * (1 - np.cos(bend)), 1.5 + 12 * (t - 0.7))
        x = np.array([-8, 8])
        points = np.stack([np.broadcast_to(x, (60, 2)), np.repeat(y[:, None], 2, 1), np.repeat(z[:, None], 2, 1)], 2)
        paper = material("paper")
        Nodes(paper).surface(Base_Color=surfaces.rgb(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.15, 0.95)), Roughness=rng.uniform(0.3, 0.9))
        add(grid_mesh("backdrop", points), paper)
        return "backdrop"
    top = rng.choice(["wood", "wood", "terrazzo", "granite", "weave", "marble", "brick"])
    plane(14 if kind == "busy" else rng.uniform(3, 14), surfaces.made_of(top, rng, "box", rng.uniform(-5, 5, 3), relief=False), turn=(0, 0, rng.uniform(0, 90)))
    if kind == "busy":
        wall = plane(14, surfaces.made_of(rng.choice(["brick", "wood", "cobble", "plastic", "velvet"]), rng, "box", rng.uniform(-5, 5, 3), relief=False),
                     (0, rng.uniform(1.2, 3), 3), (90, 0, rng.uniform(-20, 20)))
        wall.scale.y = 1
        for _ in range(rng.integers(3, 8)):
            r, x = rng.uniform(0.08, 0.35), rng.choice([-1, 1]) * rng.uniform(0.5, 1.8)
            made = material("thing")
            Nodes(made).surface(Base_Color=surfaces.rgb(rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9)), Roughness=rng.uniform(0.1, 0.9))
            ellipsoid("thing", (x, rng.uniform(0.8, 1.2), r), (r * rng.uniform(0.5, 1.2), r, r), made)
    return str(kind)


def points_of(parts):
    out = []
    for part in parts:
        at = np.empty(3 * len(part.data.vertices))
        part.data.vertices.foreach_get("co", at)
        matrix = np.array(part.matrix_world)
        out.append((at.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])[:: max(1, len(at) // 6000)])
    return np.concatenate(out)


def look_at(parts, rng):
    """Places the camera so that the subject fills 55 to 80 % of the frame; returns the side in metres of a square as large as its box."""
    points, low = points_of(parts), None
    middle = (points.min(0) + points.max(0)) / 2
    turn, up = math.radians(rng.uniform(-35, 35)), math.radians(rng.uniform(4, 35))
    away = np.array([math.sin(turn) * math.cos(up), -math.cos(turn) * math.cos(up), math.sin(up)])
    data = bpy.data.cameras.new("camera")
    data.lens = rng.uniform(45, 85)
    thing = add(data)
    fill, reach, half = rng.uniform(0.55, 0.8), 4.0, 18 / data.lens
    right = np.cross(away, [0, 0, 1.0]) * -1
    right /= np.linalg.norm(right)
    above = np.cross(away, right)
    for _ in range(8):
        seen = points - (middle + away * reach)
        depth = -(seen @ away)
        low = np.stack([seen @ right, seen @ above], 1) / depth[:, None]
        middle = middle + (right * (low[:, 0].max() + low[:, 0].min()) + above * (low[:, 1].max() + low[:, 1].min())) / 2 * reach
        reach *= np.ptp(low, axis=0).max() / 2 / (half * fill)
    # off the centre by a little, as photographs are
    middle = middle + (right * rng.uniform(-0.08, 0.08) + above * rng.uniform(-0.06, 0.06)) * half * reach
    thing.location = tuple(middle + away * reach)
    aim(thing, tuple(middle))
    data.dof.use_dof = True
    data.dof.focus_distance = reach - 0.15
    data.dof.aperture_fstop = rng.uniform(2.8, 9)
    bpy.context.scene.camera = thing
    width, height = np.ptp(low, axis=0) * reach
    return float(math.sqrt(width * height)), float(depth.min()), float(depth.max())


def label(path, rng):
    """A picture with printed words and lines, white on black, which `ordinary` prints in a colour."""
    words = ["COFFEE", "No. 7", "ALPINE", "fresh", "1924", "Modena", "EXTRA", "Lumen", "two & co", "HANDLE WITH CARE"]
    picture = Image.new("RGB", (512, 512))
    draw = ImageDraw.Draw(picture)
    y = int(rng.integers(10, 60))
    while y < 470:
        size = int(rng.integers(34, 110))
        draw.text((int(rng.integers(-20, 160)), y), str(rng.choice(words)), font=ImageFont.load_default(size), fill="white")
        y += size + int(rng.integers(10, 70))
        if rng.random() < 0.4:
            draw.rectangle((0, y - 12, 512, y - 6), fill="white")
    picture.save(path)


def shot(path, mode="RGB", view=None, samples=None, denoise=True, size=None):
    """Renders the scene to a PNG."""
    scene = bpy.context.scene
    look = scene.view_settings.view_transform
    scene.view_settings.view_transform = view or look
    scene.view_settings.look = "None" if view else scene.view_settings.look
    scene.cycles.samples, scene.cycles.use_denoising = samples or SAMPLES, denoise
    scene.render.resolution_x = scene.render.resolution_y = size or SIZE
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth, settings.compression = "PNG", mode, "16" if mode == "BW" else "8", 60
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    scene.view_settings.view_transform = look


def expose(folder, target):
    """Sets the exposure so that the picture's mean linear value is `target`."""
    view = bpy.context.scene.view_settings
    view.exposure = -3
    shot(folder / "metering.png", view="Standard", samples=8, denoise=False, size=96)
    value = np.asarray(Image.open(folder / "metering.png"), dtype=float) / 255
    (folder / "metering.png").unlink()
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    view.exposure = float(np.clip(-3 + math.log2(target / max(linear.mean(), 1e-4)), -6, 6))


def measured(parts, folder, near, far, prefix=""):
    """{prefix}mask.png, and without a prefix normals.png and depth.png of the parts. The scene is of no use afterwards."""
    scene, layer = bpy.context.scene, bpy.context.view_layer
    scene.render.film_transparent = True
    others = [thing for thing in scene.objects if thing.type in ("MESH", "CURVE") and thing not in parts]
    for thing in others:
        thing.is_holdout = True
    made = material("normal")
    n = Nodes(made)
    turned = n.add("ShaderNodeVectorTransform", {0: n.add("ShaderNodeNewGeometry", output="Normal")},
                   vector_type="NORMAL", convert_from="WORLD", convert_to="CAMERA")
    # Cycles looks along +z: turned so that x is right, y up, z towards the camera
    n.end("ShaderNodeOutputMaterial", n.add("ShaderNodeEmission", {"Color": n.vector("ADD", n.vector("MULTIPLY", turned, (0.5, 0.5, -0.5)), (0.5, 0.5, 0.5))}))
    layer.material_override = made
    scene.view_settings.exposure = 0
    shot(folder / f"{prefix}normals.png", "RGBA", "Raw", 16, False)
    normals = Image.open(folder / f"{prefix}normals.png")
    normals.getchannel("A").save(folder / f"{prefix}mask.png")
    normals.convert("RGB").save(folder / f"{prefix}normals.png")
    if prefix:
        (folder / f"{prefix}normals.png").unlink()
        return
    made = material("depth")
    n = Nodes(made)
    depth = n.math("DIVIDE", n.math("SUBTRACT", n.add("ShaderNodeCameraData", output="View Z Depth"), near), far - near)
    n.end("ShaderNodeOutputMaterial", n.add("ShaderNodeEmission", {"Color": depth}))
    layer.material_override = made
    shot(folder / "depth.png", "BW", "Raw", 4, False)


def flat_sample(kind, seed, shift, side, path, rng):
    """The material filling a picture of `side` metres, seen from the front under one large light."""
    start()
    points = np.array([[(-side, 0, -side), (side, 0, -side)], [(-side, 0, side), (side, 0, side)]])
    add(grid_mesh("sample", points), surfaces.made_of(kind, np.random.default_rng(seed), "box", shift))
    room_light("#dfe5ee", 0.5)
    way = rng.choice([-1, 1])
    lamp((way * 1.6, -2.0, 1.8), (0, 0, 0), 1.4, 90, "#fff6ea")
    data = bpy.data.cameras.new("camera")
    data.type, data.ortho_scale = "ORTHO", side
    thing = add(data, location=(0, -4, 0))
    aim(thing, (0, 0, 0))
    bpy.context.scene.camera = thing
    expose(path.parent, 0.28)
    shot(path)


def write(folder, facts):
    (folder / "scene.json").write_text(json.dumps(facts, indent=1) + "\n")
