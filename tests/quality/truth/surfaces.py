"""The materials: what the subjects are made of (A: `ordinary`) and what they shall be made of (B: `KINDS`).

Lengths are metres, a subject is about 1 m tall, so that a brick of 0.16 m is a sixth of it. A solid material (wood, marble, rust)
is a function of the place in space, a laid one (knit, weave, brick) of the place on the surface. `shift` moves the pattern and
nothing else: the same material with another pattern.
"""

import colorsys
import math

import bpy
from stage import Nodes, hexa, material


def rgb(h, s, v):
    """A colour of hue, saturation and value (0..1, as on a screen) as linear RGBA."""
    text = "#" + "".join(f"{round(255 * c):02x}" for c in colorsys.hsv_to_rgb(h % 1, min(max(s, 0), 1), min(max(v, 0), 1)))
    return hexa(text)


def hexed(h, s, v):
    return "#" + "".join(f"{round(255 * c):02x}" for c in colorsys.hsv_to_rgb(h % 1, min(max(s, 0), 1), min(max(v, 0), 1)))


def near(rng, h, s, v, by=1.0):
    """A hex colour near the one given."""
    return hexed(h + by * rng.normal(0, 0.02), s * (1 + by * rng.normal(0, 0.12)), v * (1 + by * rng.normal(0, 0.1)))


class Place:
    """The coordinates of a pattern."""

    def __init__(self, nodes, layout, shift):
        """`layout`: 'uv' where the mesh carries metric coordinates, else 'box': the plane that the normal faces most."""
        self.nodes, self.layout, self.shift = nodes, layout, shift
        self.position = nodes.add("ShaderNodeNewGeometry", output="Position")

    def solid(self, scale=(1, 1, 1)):
        moved = self.nodes.vector("ADD", self.position, tuple(self.shift))
        return self.nodes.add("ShaderNodeMapping", {"Vector": moved, "Scale": scale})

    def laid(self, scale=(1, 1, 1)):
        n = self.nodes
        if self.layout == "uv":
            flat = n.add("ShaderNodeUVMap", uv_map="UVMap")
        else:
            size = n.add("ShaderNodeSeparateXYZ", {0: n.vector("ABSOLUTE", n.add("ShaderNodeNewGeometry", output="Normal"), (0, 0, 0))})
            x, y, z = (size.node.outputs[i] for i in range(3))
            where = n.add("ShaderNodeSeparateXYZ", {0: self.position}).node.outputs
            to_x = n.math("MULTIPLY", n.math("GREATER_THAN", x, y), n.math("GREATER_THAN", x, z))
            to_z = n.math("MULTIPLY", n.math("GREATER_THAN", z, y), n.math("LESS_THAN", to_x, 0.5))
            faces = [n.add("ShaderNodeCombineXYZ", {0: where[i], 1: where[j]}) for i, j in ((0, 2), (1, 2), (0, 1))]
            pick = lambda f, a, b: n.add("ShaderNodeMix", {0: f, 4: a, 5: b}, 1, data_type="VECTOR")
            flat = pick(to_z, pick(to_x, faces[0], faces[1]), faces[2])
        moved = n.vector("ADD", flat, (self.shift[0], self.shift[1], 0))
        return n.add("ShaderNodeMapping", {"Vector": moved, "Scale": scale})


def wave(n, place, axis, pitch, phase=0.0):
    """0..1 along one axis of `place`, one period a `pitch`."""
    part = n.add("ShaderNodeSeparateXYZ", {0: place}).node.outputs[axis]
    turned = n.math("ADD", n.math("MULTIPLY", part, 2 * math.pi / pitch), phase)
    return n.math("ADD", n.math("MULTIPLY", n.math("SINE", turned), 0.5), 0.5)


def wood(n, p, rng):
    dark, light = [(near(rng, 0.06, 0.62, 0.30), near(rng, 0.075, 0.52, 0.60)), (near(rng, 0.085, 0.45, 0.55), near(rng, 0.1, 0.32, 0.86)),
                   (near(rng, 0.02, 0.6, 0.22), near(rng, 0.04, 0.6, 0.42))][rng.integers(3)]
    at = p.solid((1, 1, 0.16))
    bent = n.vector("ADD", at, n.vector("MULTIPLY", n.noise(at, 2.2, 4, output="Color"), (0.34, 0.34, 0.34)))
    rings = wave(n, bent, 0, rng.uniform(0.05, 0.09))
    fibre = n.noise(p.solid((1, 1, 0.03)), 90, 3, 0.6)
    level = n.math("ADD", n.math("MULTIPLY", n.math("POWER", rings, 1.6), 0.7), n.math("MULTIPLY", fibre, 0.4))
    colour = n.ramp(level, [(0.1, dark), (0.8, light)])
    return dict(Base_Color=colour, Roughness=rng.uniform(0.3, 0.6), Normal=n.bump(level, 0.25, 0.004))


def marble(n, p, rng):
    ground, vein = [("#efece6", "#5b5c62"), ("#1d1f22", "#cfcabf"), ("#3f6a55", "#d9e4d6"), ("#d9b7a4", "#7a3b2c")][rng.integers(4)]
    at = p.solid()
    bent = n.vector("ADD", at, n.vector("MULTIPLY", n.noise(at, 2.0, 6, output="Color"), (0.7, 0.7, 0.7)))
    thin = n.math("ABSOLUTE", n.math("SUBTRACT", n.noise(bent, 3.0, 5), 0.5))
    fine = n.math("ABSOLUTE", n.math("SUBTRACT", n.noise(bent, 7.0, 5), 0.5))
    cloud = n.math("MULTIPLY", n.math("SUBTRACT", n.noise(at, 3, 5), 0.5), 0.5)
    level = n.math("ADD", n.math("MINIMUM", n.math("DIVIDE", thin, 0.035), n.math("ADD", n.math("DIVIDE", fine, 0.025), 0.35)), cloud)
    return dict(Base_Color=n.ramp(level, [(0.0, vein), (0.9, ground)]), Roughness=0.12, Coat_Weight=0.3)


def granite(n, p, rng):
    cells = n.add("ShaderNodeTexVoronoi", {"Vector": p.solid(), "Scale": rng.uniform(30, 50)}, "Color")
    grey = n.math("ADD", n.math("MULTIPLY", n.add("ShaderNodeSeparateColor", {0: cells}), 0.8), n.math("MULTIPLY", n.noise(p.solid(), 8), 0.3))
    tone = rng.choice(["#b98f82", "#9aa0a6", "#c9bda8"])
    colour = n.ramp(grey, [(0.12, "#1b1b1e"), (0.3, "#5d5b5c"), (0.6, tone), (0.95, "#ece7e0")], "CONSTANT" if rng.random() < 0.4 else "LINEAR")
    return dict(Base_Color=colour, Roughness=0.25)


def malachite(n, p, rng):
    at = p.solid()
    bent = n.vector("ADD", at, n.vector("MULTIPLY", n.noise(at, 1.8, 3, output="Color"), (0.5, 0.5, 0.5)))
    field = n.add("ShaderNodeTexVoronoi", {"Vector": bent, "Scale": 3.0, "Smoothness": 0.6}, "Distance", feature="SMOOTH_F1")
    rings = n.math("ADD", n.math("MULTIPLY", n.math("SINE", n.math("MULTIPLY", field, rng.uniform(70, 110))), 0.5), 0.5)
    hue = rng.choice([0.42, 0.42, 0.09, 0.58])
    return dict(Base_Color=n.ramp(rings, [(0.0, hexed(hue, 0.9, 0.16)), (0.5, hexed(hue, 0.75, 0.42)), (1.0, hexed(hue - 0.02, 0.5, 0.72))]),
                Roughness=0.15)


def weave(n, p, rng):
    pitch = rng.uniform(0.045, 0.075)
    at = p.laid()
    x, y = (n.add("ShaderNodeSeparateXYZ", {0: at}).node.outputs[i] for i in (0, 1))
    u, v = (n.math("MULTIPLY", w, 1 / pitch) for w in (x, y))
    odd = n.math("PINGPONG", n.math("ADD", n.math("FLOOR", u), n.math("FLOOR", v)), 1.0)
    across = lambda w: n.math("SINE", n.math("MULTIPLY", n.math("FRACT", w), math.pi))
    warp = n.math("MULTIPLY", n.math("POWER", across(u), 0.6), n.math("ADD", n.math("MULTIPLY", across(v), 0.6), 0.4))
    weft = n.math("MULTIPLY", n.math("POWER", across(v), 0.6), n.math("ADD", n.math("MULTIPLY", across(u), 0.6), 0.4))
    height = n.add("ShaderNodeMix", {0: odd, 2: warp, 3: weft}, 0, data_type="FLOAT")
    hue, s = rng.choice([0.09, 0.1, 0.6, 0.98, 0.3]), rng.uniform(0.25, 0.6)
    colour = n.mix(odd, rgb(hue, s, 0.62), rgb(hue + 0.02, s * rng.uniform(0.4, 1), rng.uniform(0.45, 0.85)))
    fleck = n.noise(p.laid(), 60, 3)
    colour = n.mix(n.math("SUBTRACT", 1.0, height), n.mix(n.math("MULTIPLY", fleck, 0.5), colour, rgb(hue, s, 0.3)), rgb(hue, s, 0.08))
    return dict(Base_Color=colour, Roughness=0.85, Normal=n.bump(height, 0.8, 0.012))


def knit(n, p, rng):
    """Columns of V-shaped stitches."""
    wide, tall = 0.085, 0.065
    at = p.laid()
    x, y = (n.add("ShaderNodeSeparateXYZ", {0: at}).node.outputs[i] for i in (0, 1))
    u = n.math("MULTIPLY", x, 1 / wide)
    side = n.math("ABSOLUTE", n.math("SUBTRACT", n.math("FRACT", u), 0.5))
    v = n.math("ADD", n.math("MULTIPLY", y, 1 / tall), n.math("MULTIPLY", side, -1.5))
    along = n.math("SINE", n.math("MULTIPLY", n.math("FRACT", v), math.pi))
    thick = n.math("SINE", n.math("MULTIPLY", n.math("FRACT", n.math("MULTIPLY", u, 2.0)), math.pi))
    height = n.math("MULTIPLY", n.math("POWER", thick, 0.5), n.math("POWER", along, 0.7))
    hue, s = rng.random(), rng.uniform(0.15, 0.75)
    fuzz = n.noise(p.laid(), 70, 4)
    body = n.mix(fuzz, rgb(hue, s, rng.uniform(0.4, 0.6)), rgb(hue, s * 0.8, rng.uniform(0.7, 0.92)))
    return dict(Base_Color=n.mix(n.ramp(height, [(0.0, "#000000"), (0.45, "#ffffff")]), rgb(hue, s, 0.1), body), Roughness=0.95,
                Sheen_Weight=0.3, Normal=n.bump(n.math("ADD", height, n.math("MULTIPLY", fuzz, 0.15)), 0.9, 0.02))


def brick(n, p, rng):
    wide = rng.uniform(0.16, 0.24)
    at = p.laid()
    joint = n.add("ShaderNodeTexBrick", {"Vector": at, "Color1": hexa("#ffffff"), "Color2": hexa("#c0c0c0"), "Mortar": hexa("#000000"),
                                         "Scale": 1.0, "Mortar Size": 0.008, "Mortar Smooth": 0.3, "Brick Width": wide, "Row Height": wide * 0.42})
    rough = n.noise(p.laid(), 25, 6, 0.65)
    stone = n.mix(rough, hexa(near(rng, 0.02, 0.65, 0.40)), hexa(near(rng, 0.04, 0.55, 0.70)))
    tone = n.mix(1.0, stone, joint, "MULTIPLY")
    flat = n.add("ShaderNodeSeparateColor", {0: joint})
    colour = n.mix(n.ramp(flat, [(0.0, "#000000"), (0.4, "#ffffff")]), hexa(near(rng, 0.1, 0.08, 0.72)), tone)
    height = n.math("ADD", n.math("MINIMUM", n.math("MULTIPLY", flat, 3.0), 1.0), n.math("MULTIPLY", rough, 0.3))
    return dict(Base_Color=colour, Roughness=0.9, Normal=n.bump(height, 0.7, 0.012))


def cobble(n, p, rng):
    scale = rng.uniform(7, 11)
    at = n.vector("ADD", p.solid(), n.vector("MULTIPLY", n.noise(p.solid(), 8, 3, output="Color"), (0.03, 0.03, 0.03)))
    gap = n.add("ShaderNodeTexVoronoi", {"Vector": at, "Scale": scale}, "Distance", feature="DISTANCE_TO_EDGE")
    each = n.add("ShaderNodeTexVoronoi", {"Vector": at, "Scale": scale}, "Color")
    grain = n.noise(p.solid(), 40, 5, 0.6)
    tone = n.ramp(n.math("ADD", n.math("MULTIPLY", n.add("ShaderNodeSeparateColor", {0: each}), 0.7), n.math("MULTIPLY", grain, 0.4)),
                  [(0.1, near(rng, 0.1, 0.12, 0.38)), (0.9, near(rng, 0.09, 0.2, 0.78))])
    round_ = n.ramp(gap, [(0.02, "#000000"), (0.18, "#ffffff")], "EASE")
    height = n.math("ADD", n.add("ShaderNodeSeparateColor", {0: round_}), n.math("MULTIPLY", grain, 0.15))
    return dict(Base_Color=n.mix(round_, hexa("#2a2622"), tone), Roughness=0.85, Normal=n.bump(height, 0.9, 0.025))


def leather(n, p, rng):
    cells = n.add("ShaderNodeTexVoronoi", {"Vector": p.solid(), "Scale": rng.uniform(38, 55)}, "Distance", feature="DISTANCE_TO_EDGE")
    grain = n.math("ADD", n.math("MINIMUM", n.math("MULTIPLY", cells, 5.0), 1.0), n.math("MULTIPLY", n.noise(p.solid(), 9, 6), 1.2))
    h, s, v = [(0.05, 0.7, 0.4), (0.99, 0.75, 0.35), (0.09, 0.5, 0.62), (0.6, 0.2, 0.13)][rng.integers(4)]
    worn = n.ramp(grain, [(0.4, hexed(h, s, v * 0.55)), (1.5, hexed(h, s, v))])
    return dict(Base_Color=worn, Roughness=0.42, Normal=n.bump(grain, 0.5, 0.01))


def rust(n, p, rng):
    patch = n.noise(p.solid(), rng.uniform(3, 5), 6, 0.68)
    fine = n.noise(p.solid(), 45, 6, 0.7)
    level = n.math("ADD", n.math("MULTIPLY", patch, 0.75), n.math("MULTIPLY", fine, 0.3))
    colour = n.ramp(level, [(0.36, "#3a1c12"), (0.47, "#7b3a1a"), (0.56, "#b5652d"), (0.64, "#7d7f80")])
    return dict(Base_Color=colour, Metallic=n.ramp(level, [(0.6, "#000000"), (0.64, "#cccccc")]), Roughness=0.75, Normal=n.bump(level, 0.7, 0.03))


def scales(n, p, rng):
    cells = n.add("ShaderNodeTexVoronoi", {"Vector": p.laid((1, 1.5, 1)), "Scale": rng.uniform(16, 22), "Randomness": 0.25}, "Distance")
    big = n.noise(p.laid(), 3.0, 3, 0.6)
    hue = rng.choice([0.1, 0.25, 0.45])
    tone = n.ramp(big, [(0.4, hexed(hue, 0.55, 0.25)), (0.5, hexed(hue, 0.45, 0.62)), (0.6, hexed(hue + 0.03, 0.3, 0.8))])
    height = n.math("SUBTRACT", 1.0, n.math("MULTIPLY", cells, 1.3))
    return dict(Base_Color=n.mix(n.ramp(cells, [(0.35, "#000000"), (0.7, "#ffffff")]), tone, rgb(hue, 0.5, 0.08)), Roughness=0.35,
                Normal=n.bump(height, 0.6, 0.012))


def terrazzo(n, p, rng):
    cells = n.add("ShaderNodeTexVoronoi", {"Vector": p.solid(), "Scale": 18.0}, "Color")
    edge = n.add("ShaderNodeTexVoronoi", {"Vector": p.solid(), "Scale": 18.0}, "Distance")
    chip = n.ramp(n.add("ShaderNodeSeparateColor", {0: cells}), [(0.0, "#d98c6a"), (0.25, "#4d6f6a"), (0.5, "#e3c9a0"), (0.7, "#6a5a55"),
                                                               (0.85, "#efe9df")], "CONSTANT")
    return dict(Base_Color=n.mix(n.ramp(edge, [(0.42, "#000000"), (0.45, "#ffffff")]), chip, hexa("#e9e4da")), Roughness=0.2)


def chrome(n, p, rng):
    return dict(Base_Color=hexa("#d6d8da"), Metallic=1.0, Roughness=rng.uniform(0.02, 0.14))


def gold(n, p, rng):
    return dict(Base_Color=hexa("#f0c060"), Metallic=1.0, Roughness=rng.uniform(0.08, 0.28))


def copper(n, p, rng):
    """Hammered."""
    dents = n.add("ShaderNodeTexVoronoi", {"Vector": p.solid(), "Scale": rng.uniform(9, 13), "Smoothness": 0.35}, "Distance", feature="SMOOTH_F1")
    colour = n.ramp(n.noise(p.solid(), 4, 6, 0.6), [(0.3, "#8a4a2c"), (0.55, "#c8744a"), (0.8, "#eeb08a")])
    return dict(Base_Color=colour, Metallic=1.0, Roughness=0.22, Normal=n.bump(n.math("POWER", dents, 2.0), 0.8, 0.04))


def glaze(n, p, rng):
    h, s, v = [(0.58, 0.8, 0.35), (0.45, 0.4, 0.6), (0.09, 0.6, 0.45), (0.0, 0.75, 0.4), (0.12, 0.15, 0.9)][rng.integers(5)]
    pool = n.ramp(n.noise(p.solid((1, 1, 0.5)), 4, 5), [(0.35, hexed(h, s, v * 0.6)), (0.65, hexed(h + 0.02, s * 0.85, v * 1.25))])
    return dict(Base_Color=pool, Roughness=0.06, Coat_Weight=1.0)


def plastic(n, p, rng):
    return dict(Base_Color=rgb(rng.random(), rng.uniform(0.6, 0.95), rng.uniform(0.4, 0.9)), Roughness=rng.uniform(0.15, 0.35))


def velvet(n, p, rng):
    h, s = rng.random(), rng.uniform(0.6, 0.95)
    pile = n.noise(p.solid(), 5, 5, 0.6)
    return dict(Base_Color=n.mix(pile, rgb(h, s, 0.18), rgb(h, s, 0.4)), Roughness=1.0, Sheen_Weight=1.0, Sheen_Roughness=0.3,
                Sheen_Tint=rgb(h, s * 0.6, 0.9), Normal=n.bump(pile, 0.3, 0.03))


# whose look is a pattern, so that a flat sample shows all of it
PATTERNED = [wood, marble, granite, malachite, weave, knit, brick, cobble, leather, rust, scales, terrazzo]
# whose look is a function of the normal: shown on an object, never as a flat sample
LOOKS = [chrome, gold, copper, glaze, plastic, velvet]
KINDS = {kind.__name__: kind for kind in PATTERNED + LOOKS}


def made_of(kind, rng, layout, shift, relief=True):
    """A new Blender material of one of KINDS, without its bumps (they cost the most) unless `relief`. The same state of `rng`
    gives the same material."""
    out = material(kind)
    nodes = Nodes(out)
    inputs = KINDS[kind](nodes, Place(nodes, layout, shift), rng)
    nodes.surface(**{name: value for name, value in inputs.items() if relief or name != "Normal"})
    return out


def clay(roughness=0.6):
    """Plain grey: what is left of a picture when the subject has no pattern and no colour."""
    out = material("clay")
    Nodes(out).surface(Base_Color=hexa("#a0a0a0"), Roughness=roughness)
    return out


def ordinary(rng, layout, label=None):
    """What the subject is made of before: plain, spotted, striped, checked, or lettered with the picture `label`."""
    out = material("before")
    n = Nodes(out)
    p = Place(n, layout, rng.uniform(-3, 3, 3))
    hue = rng.random()
    first, second = rgb(hue, rng.uniform(0, 0.7), rng.uniform(0.35, 0.9)), rgb(hue + rng.uniform(0.2, 0.8), rng.uniform(0, 0.8), rng.uniform(0.1, 0.95))
    style = rng.choice(["plain", "plain", "plain", "plain", "striped", "spotted", "checked", "lettered", "lettered"])
    if style == "striped":
        band = n.math("GREATER_THAN", wave(n, p.laid(), int(rng.integers(2)), rng.uniform(0.1, 0.3)), rng.uniform(0.4, 0.7))
        colour = n.mix(band, first, second)
    elif style == "spotted":
        colour = n.mix(n.math("GREATER_THAN", n.noise(p.solid(), rng.uniform(3, 9), 2), rng.uniform(0.5, 0.58)), first, second)
    elif style == "checked":
        colour = n.add("ShaderNodeTexChecker", {"Vector": p.laid(), "Color1": first, "Color2": second, "Scale": rng.uniform(4, 9)}, "Color")
    elif style == "lettered" and label:
        picture = n.add("ShaderNodeTexImage", {"Vector": p.laid((1.25, 1.25, 1))}, "Color", image=bpy.data.images.load(str(label)))
        colour = n.mix(n.add("ShaderNodeSeparateColor", {0: picture}), second, first)
    else:
        colour = n.mix(n.noise(p.solid(), 5), first, rgb(hue, rng.uniform(0, 0.7), rng.uniform(0.35, 0.9))) if rng.random() < 0.2 else first
    values = dict(Base_Color=colour, Roughness=rng.choice([0.12, 0.3, 0.5, 0.8]), Metallic=float(rng.random() < 0.08))
    if rng.random() < 0.25:
        values["Normal"] = n.bump(n.noise(p.solid(), rng.uniform(10, 60), 4), 0.3, 0.01)
    n.surface(**values)
    return out, str(style)
