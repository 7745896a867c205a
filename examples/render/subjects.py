"""The subjects: a pumpkin, a teapot, a bath duck, an armchair, a bust and a skirt, each clearly one thing before a background."""

import math

import numpy as np

from stage import (Nodes, add, box, camera, ellipsoid, empty_scene, grid_mesh, hexa, lamp, lathe, material, melt, plain,
                   plane, room_light, sky, tube)


def planks(name, dark, light, width):
    """Boards along y with grain."""
    made = material(name)
    nodes = Nodes(made)
    place = nodes.coordinates()
    board = nodes.math("FLOOR", nodes.math("DIVIDE", nodes.add("ShaderNodeSeparateXYZ", {0: place}), width))
    shifted = nodes.vector("ADD", place, nodes.add("ShaderNodeCombineXYZ", {"Y": nodes.math("MULTIPLY", board, 7.31)}))
    grain = nodes.noise(nodes.vector("MULTIPLY", shifted, (26, 1.6, 1)), 1.4, 8, 0.6, 0.6)
    tone = nodes.math("FRACT", nodes.math("MULTIPLY", nodes.math("SINE", nodes.math("MULTIPLY", board, 12.9898)), 43758.5))
    colour = nodes.ramp(nodes.math("ADD", nodes.math("MULTIPLY", grain, 0.8), nodes.math("MULTIPLY", tone, 0.22)),
                        [(0.25, dark), (0.75, light)])
    across = nodes.math("FRACT", nodes.math("DIVIDE", nodes.add("ShaderNodeSeparateXYZ", {0: place}), width))
    seam = nodes.math("GREATER_THAN", nodes.math("ABSOLUTE", nodes.math("SUBTRACT", across, 0.5)), 0.488)
    nodes.surface(Base_Color=nodes.mix(seam, colour, hexa("#140d08")), Roughness=0.5,
                  Normal=nodes.bump(nodes.math("SUBTRACT", grain, seam), 0.25, 0.01))
    return made


def foliage():
    """Sunlit leaves, meant to be far out of focus."""
    made = material("foliage")
    nodes = Nodes(made)
    spots = nodes.noise(nodes.coordinates(), 1.1, 3, 0.7)
    colour = nodes.ramp(spots, [(0.30, "#0d1a0c"), (0.48, "#3c5a22"), (0.62, "#86994a"), (0.74, "#e9e2a8")])
    nodes.end("ShaderNodeOutputMaterial", nodes.add("ShaderNodeEmission", {"Color": colour, "Strength": 1.1}))
    return made


def pumpkin():
    empty_scene()
    u = np.linspace(0.02, math.pi - 0.02, 220)[:, None]
    v = np.linspace(0, 2 * math.pi, 440, endpoint=False)[None, :]
    rib = np.abs(np.sin(5 * v + 0.25 * np.sin(3 * v)))
    radius = 0.5 * (0.84 + 0.16 * rib**0.55) * (1 + 0.02 * np.sin(2 * v + 1))
    sink = 0.16 * (np.exp(-(u / 0.34) ** 2) - 0.6 * np.exp(-((math.pi - u) / 0.4) ** 2))
    x, y = radius * np.sin(u) ** 0.85 * np.cos(v), radius * np.sin(u) ** 0.85 * np.sin(v)
    z = 0.38 * np.cos(u) * np.ones_like(v) * (0.92 + 0.08 * rib) - sink
    skin = material("skin")
    nodes = Nodes(skin)
    place = nodes.coordinates()
    blotch = nodes.noise(place, 5, 6, 0.6)
    fine = nodes.noise(place, 60, 3)
    colour = nodes.ramp(nodes.math("ADD", blotch, nodes.math("MULTIPLY", fine, 0.12)),
                        [(0.35, "#8f3206"), (0.6, "#c25a0c"), (0.8, "#d98330")])
    nodes.surface(Base_Color=colour, Roughness=0.42, Coat_Weight=0.15, Normal=nodes.bump(fine, 0.12, 0.01))
    body = add(grid_mesh("pumpkin", np.stack([x, y, z], axis=2), around=True), skin, (0, 0, 0.36))
    body.rotation_euler = (math.radians(6), 0, math.radians(25))
    stem = plain("stem", "#5d5a30", Roughness=0.8)
    tube("stem", [(0, 0, 0.52), (0.01, 0, 0.66), (0.05, 0.02, 0.76), (0.14, 0.03, 0.82)],
         [0.085, 0.05, 0.042, 0.05], stem)
    plane(5, planks("table", "#4a3424", "#9a7a58", 0.42), turn=(0, 0, 78))
    plane(16, foliage(), (0, 6, 2.5), (90, 0, 0))
    sky(0.12)
    lamp((-1.8, -1.2, 2.4), (0, 0, 0.4), 1.2, 80, "#fff1de")
    lamp((2.2, 0.6, 1.2), (0, 0, 0.4), 1.0, 24, "#cfe0ff")
    camera((0.35, -2.5, 1.05), (0.02, 0, 0.4), 62, 2.2)


def teapot():
    empty_scene()
    glaze = plain("glaze", "#e8e3d8", Roughness=0.12, Coat_Weight=0.6)
    body = [(0.0, 0.0), (0.26, 0.0), (0.30, 0.02), (0.43, 0.16), (0.49, 0.34), (0.44, 0.52), (0.33, 0.64), (0.27, 0.68),
            (0.26, 0.70)]
    add(lathe("body", body), glaze)
    lid = [(0.275, 0.69), (0.25, 0.73), (0.14, 0.79), (0.05, 0.81), (0.045, 0.84), (0.075, 0.88), (0.06, 0.925), (0.0, 0.94)]
    add(lathe("lid", lid), glaze)
    tube("spout", [(0.40, 0, 0.24), (0.58, 0, 0.34), (0.66, 0, 0.52), (0.80, 0, 0.66)], [0.125, 0.085, 0.058, 0.045], glaze)
    tube("handle", [(-0.40, 0, 0.58), (-0.62, 0, 0.66), (-0.74, 0, 0.50), (-0.66, 0, 0.30), (-0.44, 0, 0.20)],
         [0.042, 0.040, 0.040, 0.038, 0.040], glaze)
    plane(6, planks("table", "#6d4526", "#b98a55", 0.55), turn=(0, 0, 90))
    plane(9, plain("wall", "#5c6f7d", Roughness=0.9), (0, 3.4, 2), (90, 0, 0))
    room_light("#b9c6d6", 0.25)
    lamp((-2.6, -1.0, 2.2), (0, 0, 0.4), 1.6, 170, "#fff3e2")
    lamp((1.9, 1.6, 1.5), (0, 0, 0.5), 0.8, 36, "#dbe7ff")
    camera((0.55, -3.0, 1.12), (0.03, 0, 0.42), 60, 2.8)


def duck():
    empty_scene()
    rubber = plain("rubber", "#f0b414", Roughness=0.28, Subsurface_Weight=0.12, Subsurface_Scale=0.05)
    melt([
        ellipsoid("body", (0, 0, 0.30), (0.50, 0.36, 0.29), rubber),
        ellipsoid("chest", (0.22, 0, 0.34), (0.28, 0.29, 0.27), rubber),
        ellipsoid("tail", (-0.47, 0, 0.46), (0.20, 0.14, 0.07), rubber, (0, 38, 0)),
        ellipsoid("neck", (0.27, 0, 0.56), (0.17, 0.17, 0.20), rubber),
        ellipsoid("head", (0.30, 0, 0.77), (0.235, 0.225, 0.22), rubber),
        ellipsoid("wing", (-0.06, -0.30, 0.38), (0.26, 0.10, 0.15), rubber, (0, 14, 6)),
        ellipsoid("wing", (-0.06, 0.30, 0.38), (0.26, 0.10, 0.15), rubber, (0, 14, -6)),
    ], 0.012, 6)
    beak = plain("beak", "#d2500c", Roughness=0.3)
    ellipsoid("upper", (0.54, 0, 0.765), (0.13, 0.105, 0.035), beak, (0, -8, 0))
    ellipsoid("lower", (0.52, 0, 0.725), (0.10, 0.085, 0.028), beak, (0, 8, 0))
    for side in (-1, 1):
        ellipsoid("white", (0.455, side * 0.115, 0.845), (0.038, 0.030, 0.048), plain("white", "#f4f2ec", Roughness=0.2))
        ellipsoid("eye", (0.478, side * 0.128, 0.848), (0.022, 0.018, 0.032), plain("eye", "#0a0a0c", Roughness=0.1))
    tiles = material("tiles")
    nodes = Nodes(tiles)
    brick = nodes.add("ShaderNodeTexBrick", {
        "Vector": nodes.coordinates(), "Color1": hexa("#7fa3ab"), "Color2": hexa("#8db0b6"), "Mortar": hexa("#d8d8d2"),
        "Scale": 1.0, "Mortar Size": 0.02, "Brick Width": 1.0, "Row Height": 1.0}, offset=0.0)
    nodes.surface(Base_Color=brick, Roughness=0.18)
    plane(12, tiles, (0.3, 2.4, 0), (90, 0, 0))
    plane(12, plain("ledge", "#d9d6cf", Roughness=0.35))
    room_light("#d6dde3", 0.35)
    lamp((-1.6, -2.0, 2.6), (0, 0, 0.4), 1.3, 120, "#fff6ea")
    lamp((2.4, -0.2, 1.4), (0.2, 0, 0.5), 0.9, 28, "#ffffff")
    camera((1.15, -2.75, 1.05), (0.02, 0, 0.44), 62, 2.8)


def armchair():
    empty_scene()
    cloth = material("cloth")
    nodes = Nodes(cloth)
    fine = nodes.noise(nodes.coordinates(), 220, 2)
    soft = nodes.noise(nodes.coordinates(), 6, 4)
    colour = nodes.ramp(nodes.math("ADD", nodes.math("MULTIPLY", fine, 0.25), nodes.math("MULTIPLY", soft, 0.6)),
                        [(0.25, "#6f6d69"), (0.65, "#a5a29b")])
    nodes.surface(Base_Color=colour, Roughness=0.9, Sheen_Weight=0.3, Normal=nodes.bump(fine, 0.2, 0.003))
    wood = plain("wood", "#7a4d2b", Roughness=0.4)
    box("base", (0.86, 0.82, 0.22), (0, 0, 0.28), cloth, 0.05)
    box("seat", (0.60, 0.70, 0.19), (0, -0.06, 0.46), cloth, 0.08)
    back = box("back", (0.84, 0.22, 0.66), (0, 0.36, 0.66), cloth, 0.10)
    back.rotation_euler.x = math.radians(-9)
    for side in (-1, 1):
        box("arm", (0.17, 0.84, 0.46), (side * 0.39, -0.01, 0.42), cloth, 0.075)
        for depth in (-0.33, 0.33):
            tube("leg", [(side * 0.35, depth, 0.2), (side * 0.38, depth * 1.08, 0.0)], [0.032, 0.02], wood)
    pillow = box("pillow", (0.44, 0.13, 0.34), (0.04, 0.17, 0.70), cloth, 0.062)
    pillow.rotation_euler = (math.radians(-20), math.radians(4), 0)
    plane(9, planks("floor", "#7c5a3a", "#c39a6b", 0.19), turn=(0, 0, 0))
    plane(9, plain("wall", "#c8cfc4", Roughness=0.95), (0, 1.35, 2), (90, 0, 0))
    box("skirting", (9, 0.02, 0.11), (0, 1.33, 0.055), plain("skirting", "#e9e6df", Roughness=0.5), 0.004)
    room_light("#dfe4ea", 0.35)
    lamp((-2.8, -1.8, 2.6), (0, 0, 0.5), 1.8, 230, "#fff2df")
    lamp((2.4, -1.6, 2.0), (0, 0, 0.5), 1.4, 40, "#e6eeff")
    camera((1.05, -2.75, 1.3), (0.0, 0.05, 0.48), 62)


def bust():
    empty_scene()
    plaster = plain("plaster", "#d9d2c4", Roughness=0.75)
    parts = [
        ellipsoid("skull", (0, 0.03, 0.86), (0.185, 0.225, 0.225), plaster),
        ellipsoid("face", (0, -0.06, 0.75), (0.150, 0.165, 0.205), plaster),
        ellipsoid("chin", (0, -0.155, 0.60), (0.062, 0.055, 0.050), plaster),
        ellipsoid("brow", (0, -0.175, 0.845), (0.115, 0.045, 0.024), plaster),
        ellipsoid("bridge", (0, -0.215, 0.785), (0.020, 0.030, 0.070), plaster, (14, 0, 0)),
        ellipsoid("tip", (0, -0.250, 0.725), (0.030, 0.034, 0.026), plaster),
        ellipsoid("upper lip", (0, -0.212, 0.665), (0.050, 0.022, 0.011), plaster),
        ellipsoid("lower lip", (0, -0.206, 0.642), (0.042, 0.022, 0.013), plaster),
        ellipsoid("neck", (0, 0.03, 0.50), (0.098, 0.105, 0.240), plaster),
        ellipsoid("chest", (0, 0.04, 0.235), (0.260, 0.165, 0.165), plaster),
        ellipsoid("knot", (0, 0.255, 0.90), (0.085, 0.075, 0.080), plaster),
    ]
    for side in (-1, 1):
        parts += [
            ellipsoid("cheek", (side * 0.078, -0.125, 0.725), (0.062, 0.062, 0.060), plaster),
            ellipsoid("eye", (side * 0.066, -0.178, 0.797), (0.034, 0.026, 0.022), plaster),
            ellipsoid("nostril", (side * 0.022, -0.232, 0.715), (0.018, 0.020, 0.015), plaster),
            ellipsoid("ear", (side * 0.180, 0.02, 0.765), (0.018, 0.040, 0.066), plaster, (0, 0, side * 18)),
            ellipsoid("hair", (side * 0.075, 0.02, 0.945), (0.140, 0.215, 0.150), plaster, (0, side * 24, 0)),
            ellipsoid("shoulder", (side * 0.24, 0.06, 0.265), (0.130, 0.130, 0.105), plaster),
        ]
    melt(parts, 0.006, 18)
    add(lathe("foot", [(0.0, 0.0), (0.17, 0.0), (0.17, 0.03), (0.12, 0.06), (0.10, 0.10), (0.13, 0.15), (0.0, 0.16)]), plaster)
    plane(6, plain("ledge", "#7d6f63", Roughness=0.5))
    plane(9, plain("wall", "#3f4d4a", Roughness=0.95), (0, 2.2, 2), (90, 0, 0))
    room_light("#b9c4d4", 0.18)
    lamp((-1.9, -1.6, 2.2), (0, 0, 0.7), 0.9, 95, "#fff0dc")
    lamp((2.0, -0.4, 1.2), (0, 0, 0.7), 0.9, 14, "#cfe0ff")
    camera((0.75, -2.55, 0.95), (0.0, 0, 0.53), 66, 2.8)


def skirt():
    empty_scene()
    cloth = material("cloth")
    nodes = Nodes(cloth)
    fine = nodes.noise(nodes.coordinates(), 260, 2)
    nodes.surface(Base_Color=hexa("#7d2f3f"), Roughness=0.85, Sheen_Weight=0.4, Normal=nodes.bump(fine, 0.15, 0.002))
    down, around = np.linspace(0, 1, 160)[:, None], np.linspace(0, 2 * math.pi, 480, endpoint=False)[None, :]
    folds = 0.16 * np.sin(9 * around + 0.7 * np.sin(2 * around) + 0.8 * down) + 0.07 * np.sin(17 * around + 2.0 - 1.5 * down)
    radius = (0.13 + 0.40 * down**0.8) * (1 + folds * down**1.2)
    points = np.stack([radius * np.cos(around), radius * np.sin(around), (0.92 - 0.84 * down) * np.ones_like(around)], axis=2)
    add(grid_mesh("skirt", points, around=True), cloth)
    band = plain("band", "#5d1f2d", Roughness=0.7)
    add(lathe("band", [(0.0, 0.985), (0.128, 0.985), (0.135, 0.95), (0.135, 0.91), (0.128, 0.90), (0.0, 0.90)]), band)
    tube("post", [(0, 0, 0.95), (0, 0, 0.0)], [0.02, 0.02], plain("steel", "#c9ccd0", Metallic=1.0, Roughness=0.3))
    plane(9, planks("floor", "#8a7a66", "#cdbb9f", 0.22), turn=(0, 0, 12))
    plane(9, plain("wall", "#d3d6cf", Roughness=0.95), (0, 1.6, 2), (90, 0, 0))
    room_light("#dfe4ea", 0.25)
    lamp((-2.6, -1.4, 2.3), (0, 0, 0.5), 1.0, 190, "#fff2df")
    lamp((2.2, -1.8, 1.4), (0, 0, 0.5), 1.2, 26, "#e6eeff")
    camera((0.9, -2.9, 1.15), (0.0, 0, 0.46), 62)


SUBJECTS = {
    "pumpkin": pumpkin, "teapot": teapot, "duck": duck, "armchair": armchair, "bust": bust, "skirt": skirt,
}
