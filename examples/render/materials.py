"""The materials: marble, hammered copper, malachite, wicker, walnut and cracked celadon fill their pictures; a bronze bowl is an object."""

import math
import random

import numpy as np

from stage import (Nodes, add, camera, empty_scene, grid_mesh, hexa, lamp, lathe, material, plain, plane, room_light, sky)


def slab(surface, relief=None, mirrored=False):
    """A surface seen from above under one large and one small light; `relief` gives heights for x and y in metres."""
    side = np.linspace(-1.2, 1.2, 360 if relief else 2)
    x, y = np.meshgrid(side, side)
    z = relief(x, y) if relief else np.zeros_like(x)
    add(grid_mesh("slab", np.stack([x, y, z], axis=2)), surface)
    over_the_shoulder(mirrored)


def over_the_shoulder(mirrored=False):
    room_light("#cfd6e0", 0.3)
    lamp((-1.6, 1.3, 1.7), (0, 0, 0), 1.4, 75, "#fff4e6", mirrored)
    lamp((1.8, -1.2, 2.2), (0, 0, 0), 1.0, 22, "#e3ecff", mirrored)
    camera((0, -0.5, 3.1), (0, 0, 0), 66)


def marble():
    empty_scene()
    stone = material("marble")
    nodes = Nodes(stone)
    place = nodes.coordinates()
    warp = nodes.add("ShaderNodeTexNoise", {"Vector": place, "Scale": 1.3, "Detail": 6.0}, "Color")
    bent = nodes.vector("ADD", place, nodes.vector("MULTIPLY", nodes.vector("SUBTRACT", warp, (0.5, 0.5, 0.5)), (1.1, 1.1, 1.1)))

    def veins(scale, width):
        """Thin lines where a noise passes through its middle."""
        level = nodes.math("ABSOLUTE", nodes.math("SUBTRACT", nodes.noise(bent, scale, 5, 0.5), 0.5))
        return nodes.ramp(nodes.math("DIVIDE", level, width), [(0.0, "#ffffff"), (1.0, "#000000")], "EASE")

    cloud = nodes.ramp(nodes.noise(bent, 1.6, 6, 0.6), [(0.3, "#f1efea"), (0.7, "#c9c8c6")])
    colour = nodes.mix(veins(2.4, 0.030), cloud, hexa("#55565c"))
    colour = nodes.mix(nodes.math("MULTIPLY", veins(4.6, 0.020), 0.75), colour, hexa("#8a6a3c"))
    nodes.surface(Base_Color=colour, Roughness=0.16, Coat_Weight=0.3)
    slab(stone)


def copper():
    empty_scene()
    metal = material("copper")
    nodes = Nodes(metal)
    place = nodes.coordinates()
    dents = nodes.add("ShaderNodeTexVoronoi", {"Vector": place, "Scale": 8.5, "Smoothness": 0.35, "Randomness": 0.9}, "Distance",
                      feature="SMOOTH_F1")
    tarnish = nodes.noise(place, 4, 6, 0.6)
    colour = nodes.ramp(tarnish, [(0.3, "#8a4a2c"), (0.55, "#c8744a"), (0.8, "#eeb08a")])
    nodes.surface(Base_Color=colour, Metallic=1.0, Roughness=0.24,
                  Normal=nodes.bump(nodes.math("POWER", dents, 2.0), 0.9, 0.06))
    slab(metal, mirrored=True)
    lamp((0.3, 2.2, 0.9), (0, 0, 0), 0.6, 30, "#fff0dc")
    lamp((-2.2, -0.6, 1.0), (0, 0, 0), 0.5, 20, "#ffffff")


def malachite():
    empty_scene()
    stone = material("malachite")
    nodes = Nodes(stone)
    place = nodes.coordinates()
    warp = nodes.add("ShaderNodeTexNoise", {"Vector": place, "Scale": 2.2, "Detail": 3.0}, "Color")
    bent = nodes.vector("ADD", place, nodes.vector("MULTIPLY", warp, (0.35, 0.35, 0.35)))
    eyes = nodes.add("ShaderNodeTexVoronoi", {"Vector": bent, "Scale": 2.3, "Smoothness": 0.5}, "Distance", feature="SMOOTH_F1")
    rings = nodes.math("MULTIPLY", eyes, 11.0)
    jitter = nodes.math("MULTIPLY", nodes.noise(bent, 3, 3), 2.0)
    band = nodes.math("FRACT", nodes.math("ADD", rings, jitter))
    thin = nodes.noise(nodes.add("ShaderNodeCombineXYZ", {"X": nodes.math("MULTIPLY", nodes.math("ADD", rings, jitter), 9.0)}), 1.0, 2)
    colour = nodes.ramp(nodes.math("ADD", nodes.math("MULTIPLY", band, 0.6), nodes.math("MULTIPLY", thin, 0.4)),
                        [(0.15, "#04291b"), (0.35, "#0b5a38"), (0.55, "#1c8a59"), (0.75, "#63bd8c"), (0.92, "#0a4a30")])
    nodes.surface(Base_Color=colour, Roughness=0.14, Coat_Weight=0.5)
    slab(stone)


def wicker():
    empty_scene()
    reed = material("reed")
    nodes = Nodes(reed)
    tone = nodes.add("ShaderNodeObjectInfo").node.outputs["Random"]
    fibre = nodes.noise(nodes.coordinates((90, 90, 90)), 1.0, 3)
    colour = nodes.ramp(nodes.math("ADD", nodes.math("MULTIPLY", tone, 0.5), nodes.math("MULTIPLY", fibre, 0.5)),
                        [(0.2, "#7c4a22"), (0.55, "#b98447"), (0.85, "#dcb679")])
    nodes.surface(Base_Color=colour, Roughness=0.5, Normal=nodes.bump(fibre, 0.15, 0.004))
    plane(4, plain("shade", "#1c120a", Roughness=1.0), (0, 0, -0.06))
    pitch, count = 0.105, 12
    run = np.linspace(-1.3, 1.3, 240)
    for index in range(-count, count + 1):
        for across in (False, True):
            phase = math.pi * (index + across)
            ribbon(f"{index} {across}", run, index * pitch, 0.017 * np.cos(math.pi * run / pitch + phase), across, pitch, reed)
    over_the_shoulder()


def ribbon(name, run, offset, height, across, pitch, surface):
    """One reed: a flat oval drawn along x (or y), wandering up and down."""
    angle = np.linspace(0, 2 * math.pi, 24, endpoint=False)[None, :]
    wobble = random.Random(name).uniform(-0.006, 0.006)
    side = offset + wobble + 0.43 * pitch * np.cos(angle) * np.ones_like(run)[:, None]
    along = run[:, None] * np.ones_like(angle)
    up = height[:, None] + 0.015 * np.sin(angle)
    points = np.stack([side, along, up] if across else [along, side, up], axis=2)
    add(grid_mesh(name, points, around=True), surface)


def walnut():
    empty_scene()
    wood = material("walnut")
    nodes = Nodes(wood)
    place = nodes.coordinates()
    warp = nodes.math("MULTIPLY", nodes.noise(nodes.vector("MULTIPLY", place, (1.0, 0.35, 1)), 1.6, 3), 1.5)
    split = nodes.add("ShaderNodeSeparateXYZ", {0: place}).node
    rings = nodes.math("SINE", nodes.math("MULTIPLY", nodes.math("ADD", split.outputs["X"], warp), 34.0))
    pores = nodes.noise(nodes.vector("MULTIPLY", place, (70, 3.5, 1)), 1.0, 4, 0.7)
    mixed = nodes.math("ADD", nodes.math("MULTIPLY", rings, 0.16), nodes.math("ADD", nodes.math("MULTIPLY", pores, 0.5), 0.22))
    colour = nodes.ramp(mixed, [(0.2, "#24130a"), (0.45, "#5a3319"), (0.65, "#8b5a32"), (0.85, "#b98a5a")])
    nodes.surface(Base_Color=colour, Roughness=0.36, Normal=nodes.bump(pores, 0.12, 0.005))
    slab(wood)


def celadon():
    empty_scene()
    glaze = material("celadon")
    nodes = Nodes(glaze)
    place = nodes.coordinates()
    pool = nodes.noise(place, 1.8, 4, 0.5)
    colour = nodes.ramp(pool, [(0.3, "#2f6f73"), (0.5, "#5fa09a"), (0.72, "#a7cfc0")])
    bent = nodes.vector("ADD", place, nodes.vector("MULTIPLY", nodes.add(
        "ShaderNodeTexNoise", {"Vector": place, "Scale": 5.0, "Detail": 3.0}, "Color"), (0.10, 0.10, 0.10)))
    cracks = nodes.add("ShaderNodeTexVoronoi", {"Vector": bent, "Scale": 6.0, "Randomness": 1.0}, "Distance",
                       feature="DISTANCE_TO_EDGE")
    line = nodes.ramp(nodes.math("DIVIDE", cracks, 0.045), [(0.0, "#ffffff"), (1.0, "#000000")], "EASE")
    colour = nodes.mix(nodes.math("MULTIPLY", line, 0.8), colour, hexa("#2a2118"))
    nodes.surface(Base_Color=colour, Roughness=0.08, Coat_Weight=1.0, Normal=nodes.bump(pool, 0.25, 0.06))
    slab(glaze, lambda x, y: 0.05 * np.sin(2.1 * x + 0.6) * np.cos(1.7 * y))


def bowl():
    empty_scene()
    bronze = plain("bronze", "#b5713a", Metallic=1.0, Roughness=0.16)
    profile = [(0.0, 0.02), (0.15, 0.0), (0.17, 0.03), (0.30, 0.12), (0.42, 0.28), (0.46, 0.44), (0.44, 0.45), (0.39, 0.29), (0.0, 0.10)]
    add(lathe("bowl", profile), bronze)
    plane(6, plain("table", "#d8d2c8", Roughness=0.6))
    plane(9, plain("wall", "#8d949b", Roughness=0.95), (0, 3.0, 2), (90, 0, 0))
    sky(0.10)
    lamp((-2.4, -1.4, 2.2), (0, 0, 0.3), 1.2, 120, "#fff3e2")
    lamp((2.2, -0.8, 1.3), (0, 0, 0.3), 0.7, 40, "#dbe7ff")
    camera((0.3, -2.6, 0.85), (0, 0, 0.22), 62)


MATERIALS = {
    "marble": marble, "copper": copper, "malachite": malachite, "wicker": wicker, "walnut": walnut, "celadon": celadon,
    "bowl": bowl,
}
