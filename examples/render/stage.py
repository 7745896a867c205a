"""What every scene shares: an empty world, nodes in one line, meshes from formulas, light, camera, the final render.

Lengths are metres, colours linear unless written as hex, angles degrees.
"""

import math

import bpy
import numpy as np
from mathutils import Vector

SIZE = 640


def empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 32
    scene.cycles.adaptive_threshold = 0.04
    scene.cycles.use_denoising = True
    scene.cycles.seed = 1
    scene.cycles.max_bounces = 5
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    return scene


def hexa(text):
    """'#rrggbb' as linear RGBA."""
    values = [int(text[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return tuple(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values) + (1.0,)


class Nodes:
    """A material's (or the world's) node tree, grown from formulas: an input is a constant or another node's socket."""

    def __init__(self, owner):
        owner.use_nodes = True
        self.tree = owner.node_tree
        self.tree.nodes.clear()

    def add(self, kind, inputs=None, output=0, **properties):
        node = self.tree.nodes.new(kind)
        for name, value in properties.items():
            setattr(node, name, value)
        for key, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[key])
            else:
                node.inputs[key].default_value = value
        return node.outputs[output]

    def coordinates(self, scale=(1, 1, 1), kind="Object"):
        place = self.add("ShaderNodeTexCoord").node.outputs[kind]
        return self.add("ShaderNodeMapping", {"Vector": place, "Scale": scale})

    def noise(self, vector, scale, detail=6.0, rough=0.55, distortion=0.0, output="Fac"):
        inputs = {"Vector": vector, "Scale": scale, "Detail": detail, "Roughness": rough, "Distortion": distortion}
        return self.add("ShaderNodeTexNoise", inputs, output)

    def math(self, operation, first, second=0.0):
        return self.add("ShaderNodeMath", {0: first, 1: second}, operation=operation)

    def vector(self, operation, first, second):
        return self.add("ShaderNodeVectorMath", {0: first, 1: second}, operation=operation)

    def ramp(self, factor, stops, interpolation="LINEAR"):
        """A colour ramp; `stops` are (position, hex colour)."""
        out = self.add("ShaderNodeValToRGB", {"Fac": factor})
        ramp = out.node.color_ramp
        ramp.interpolation = interpolation
        while len(ramp.elements) < len(stops):
            ramp.elements.new(0.5)
        for element, (position, colour) in zip(ramp.elements, stops):
            element.position, element.color = position, hexa(colour)
        return out

    def mix(self, factor, first, second, blend="MIX"):
        return self.add("ShaderNodeMix", {0: factor, 6: first, 7: second}, 2, data_type="RGBA", blend_type=blend)

    def bump(self, height, strength=0.3, distance=0.02):
        return self.add("ShaderNodeBump", {"Height": height, "Strength": strength, "Distance": distance})

    def surface(self, **inputs):
        """The principled surface, ending the tree; underscores in names stand for blanks."""
        named = {name.replace("_", " "): value for name, value in inputs.items()}
        self.end("ShaderNodeOutputMaterial", self.add("ShaderNodeBsdfPrincipled", named))

    def end(self, kind, shader):
        self.tree.links.new(shader, self.tree.nodes.new(kind).inputs["Surface"])


def material(name):
    return bpy.data.materials.new(name)


def plain(name, colour, **inputs):
    made = material(name)
    Nodes(made).surface(Base_Color=hexa(colour), **inputs)
    return made


def add(data, surface=None, location=(0, 0, 0), name=None):
    thing = bpy.data.objects.new(name or data.name, data)
    bpy.context.scene.collection.objects.link(thing)
    thing.location = location
    if surface:
        data.materials.append(surface)
    return thing


def grid_mesh(name, points, around=False):
    """A smooth mesh from an array of points, rows x columns x 3; `around` closes the columns."""
    rows, columns = points.shape[:2]
    faces = []
    for r in range(rows - 1):
        for c in range(columns if around else columns - 1):
            d = (c + 1) % columns
            faces.append((r * columns + c, r * columns + d, (r + 1) * columns + d, (r + 1) * columns + c))
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points.reshape(-1, 3).tolist(), [], faces)
    mesh.shade_smooth()
    mesh.update()
    return mesh


def lathe(name, profile, columns=128):
    """A surface of revolution about z; `profile` lists (radius, height), smoothed to a curve through the points."""
    profile = np.array(profile, dtype=float)
    t = np.linspace(0, len(profile) - 1, 40 * len(profile))
    profile = np.stack([smooth_through(profile[:, i], t) for i in (0, 1)], axis=1)
    angle = np.linspace(0, 2 * math.pi, columns, endpoint=False)
    radius = np.maximum(profile[:, :1], 0)
    height = np.repeat(profile[:, 1:], columns, axis=1)
    return grid_mesh(name, np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=2), around=True)


def smooth_through(values, t):
    """Catmull-Rom interpolation of `values` at the fractional indices `t`."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    i = np.minimum(t.astype(int), len(values) - 2)
    f = t - i
    a, b, c, d = (padded[i + k] for k in range(4))
    return 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)


def tube(name, points, radii, surface, flat=1.0):
    """A tapering tube along a smooth curve through `points`."""
    curve = bpy.data.curves.new(name, "CURVE")
    curve.dimensions, curve.resolution_u, curve.use_fill_caps = "3D", 24, True
    curve.bevel_depth, curve.bevel_resolution = 1.0, 8
    spline = curve.splines.new("BEZIER")
    spline.bezier_points.add(len(points) - 1)
    for point, at, radius in zip(spline.bezier_points, points, radii):
        point.co, point.radius = at, radius
        point.handle_left_type = point.handle_right_type = "AUTO"
    thing = add(curve, surface)
    thing.scale.y = flat
    return thing


def ellipsoid(name, centre, radii, surface, turn=(0, 0, 0)):
    u = np.linspace(0, math.pi, 49)[:, None]
    v = np.linspace(0, 2 * math.pi, 96, endpoint=False)[None, :]
    points = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u) * np.ones_like(v)], axis=2)
    thing = add(grid_mesh(name, points * np.array(radii), around=True), surface, centre)
    thing.rotation_euler = [math.radians(a) for a in turn]
    return thing


def melt(things, voxel, rounds):
    """Joins overlapping bodies into one and rounds its seams."""
    for thing in things:
        thing.select_set(True)
    bpy.context.view_layer.objects.active = things[0]
    bpy.ops.object.join()
    body = things[0]
    remesh = body.modifiers.new("one", "REMESH")
    remesh.mode, remesh.voxel_size, remesh.use_smooth_shade = "VOXEL", voxel, True
    smooth = body.modifiers.new("round", "SMOOTH")
    smooth.factor, smooth.iterations = 0.5, rounds
    body.select_set(False)
    return body


def box(name, size, centre, surface, bevel):
    x, y, z = (s / 2 for s in size)
    corners = [(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(corners, [], faces)
    mesh.shade_smooth()
    thing = add(mesh, surface, centre)
    rounded = thing.modifiers.new("round", "BEVEL")
    rounded.width, rounded.segments, rounded.limit_method = bevel, 8, "NONE"
    return thing


def plane(size, surface, location=(0, 0, 0), turn=(0, 0, 0), name="plane"):
    thing = add(grid_mesh(name, np.array([[(-1, -1, 0), (1, -1, 0)], [(-1, 1, 0), (1, 1, 0)]], dtype=float) * size / 2),
                surface, location)
    thing.rotation_euler = [math.radians(a) for a in turn]
    return thing


def lamp(location, target, size, power, colour="#ffffff", mirrored=True):
    """A square light; one that is not mirrored leaves no reflection of itself on polished things."""
    data = bpy.data.lights.new("lamp", "AREA")
    data.size, data.energy, data.color = size, power, hexa(colour)[:3]
    thing = add(data, location=location)
    thing.visible_glossy = mirrored
    aim(thing, target)


def sky(strength, elevation=35, turn=140):
    nodes = Nodes(bpy.context.scene.world)
    light = nodes.add("ShaderNodeTexSky", sky_type="NISHITA", sun_elevation=math.radians(elevation),
                      sun_rotation=math.radians(turn), sun_size=math.radians(4), sun_intensity=0.35)
    shade = nodes.add("ShaderNodeBackground", {"Color": light, "Strength": strength})
    nodes.end("ShaderNodeOutputWorld", shade)


def room_light(colour, strength):
    nodes = Nodes(bpy.context.scene.world)
    shade = nodes.add("ShaderNodeBackground", {"Color": hexa(colour), "Strength": strength})
    nodes.end("ShaderNodeOutputWorld", shade)


def aim(thing, target):
    thing.rotation_euler = (Vector(target) - Vector(thing.location)).to_track_quat("-Z", "Y").to_euler()


def camera(location, target, lens, aperture=None):
    data = bpy.data.cameras.new("camera")
    data.lens = lens
    thing = add(data, location=location)
    aim(thing, target)
    if aperture:
        data.dof.use_dof = True
        data.dof.focus_distance = (Vector(target) - Vector(location)).length
        data.dof.aperture_fstop = aperture
    bpy.context.scene.camera = thing


def render(path, exposure=0.0, quality=90):
    scene = bpy.context.scene
    scene.view_settings.exposure = exposure
    scene.render.image_settings.file_format = "JPEG"
    scene.render.image_settings.quality = quality
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
