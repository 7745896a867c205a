"""Random shapes as programs of signed-distance operations, for tracer.cpp.

A recipe imitates a kind of things: vessels, boxes and appliances, vehicles, animals, busts, cloth, fruit, furniture, tools,
mechanical parts, plants, piles, or anything at all. `draw` gives arrays for one shape from a seed.
"""

import math

import numpy as np

OP, GLOBAL, MOST = 48, 40, 26
ELLIPSOID, BOX, CONE, TORUS, CYLINDER, LATHE, SUPER, STAR, SHEET, LEAF = range(10)
UNION, CUT, INTERSECT, GROOVE, RELIEF = range(5)
AROUND, ROW, CORNERS, PAIR = 1, 2, 3, 4


def rotation(random, most=math.pi):
    """A random rotation by at most about `most`."""
    axis = random.normal(size=3)
    return turn(axis, random.uniform(-most, most))


def turn(axis, angle):
    k = np.asarray(axis, float)
    k = k / max(np.linalg.norm(k), 1e-9)
    K = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    return np.eye(3) + math.sin(angle) * K + (1 - math.cos(angle)) * K @ K


def towards(direction):
    """The rotation after which the primitive's y axis points along `direction` (rows are the primitive's axes)."""
    y = np.asarray(direction, float)
    y = y / max(np.linalg.norm(y), 1e-9)
    x = np.cross(y, [0, 0, 1.0] if abs(y[2]) < 0.9 else [1.0, 0, 0])
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)])


class Program:
    """Operations in the shape's frame: y down, as pictures are."""

    def __init__(self, random):
        self.random, self.ops = random, []
        self.mirror, self.twist, self.bend = 0.0, 0.0, 0.0
        self.layers, self.parts = [], 0

    def part(self):
        self.parts = (self.parts + 1) % 7
        return self.parts

    def add(self, kind, params, at=(0, 0, 0), turned=None, how=UNION, k=0.0, part=0, repeat=(0, 0, 0), amount=0.0):
        if len(self.ops) >= MOST:
            return
        o = np.zeros(OP, np.float32)
        o[0], o[1], o[2], o[3] = kind, how, k, part
        o[4:7] = at
        o[7:16] = (np.eye(3) if turned is None else turned).ravel()
        o[16:16 + len(params)] = params
        o[32:32 + len(repeat)] = repeat
        o[35] = amount
        self.ops.append(o)

    def limb(self, a, b, ra, rb, **more):
        """A round cone from a to b."""
        a, b = np.asarray(a, float), np.asarray(b, float)
        self.add(CONE, [ra, rb, max(np.linalg.norm(b - a), 0.02), more.pop("bent", 0.0)], a, towards(b - a), **more)

    def relief(self, kind, amplitude, frequency, warp=0.0, direction=None, part=-1):
        if len(self.layers) >= 3:
            return
        d = self.random.normal(size=3) if direction is None else np.asarray(direction, float)
        d = d / np.linalg.norm(d) * frequency
        self.layers.append([kind, amplitude, *d, self.random.uniform(0, 50), warp, part])


def u(random, low, high):
    return float(random.uniform(low, high))


def vessel(p):
    r = p.random
    n, h = 12, u(r, 0.45, 0.95)
    base = u(r, 0.25, 0.6)
    knots = np.abs(base * (1 + np.cumsum(r.normal(0, u(r, 0.03, 0.22), n))))
    if r.random() < 0.35:  # a bottle's or a vase's neck
        k = r.integers(1, 5)
        knots[:k] = base * u(r, 0.2, 0.5)
    if r.random() < 0.3:
        knots = base * np.linspace(u(r, 0.7, 1.5), u(r, 0.5, 1.2), n)
    knots = np.clip(knots, 0.1, 0.75)
    wall = u(r, 0.02, 0.05) if r.random() < 0.5 else 0
    lobes = (int(r.integers(4, 24)), u(r, 0.01, 0.08)) if r.random() < 0.2 else (0, 0)
    p.add(LATHE, [h, wall, *lobes, *knots], part=0)
    if r.random() < 0.45:
        for side in ([1] if r.random() < 0.7 else [1, -1]):
            p.add(TORUS, [u(r, 0.14, 0.3), u(r, 0.025, 0.07), u(r, 0, 0.1)], (side * knots[6] * 1.05, u(r, -0.2, 0.2), 0), turn([1, 0, 0], math.pi / 2), k=0.04)
    if r.random() < 0.2:
        p.limb((-knots[5], 0.1, 0), (-knots[5] - 0.4, -0.35, 0), 0.1, 0.045, k=0.08)  # a spout
    if r.random() < 0.35:
        y = -h - u(r, 0, 0.04)
        q = p.part() if r.random() < 0.5 else 0
        p.add(r.choice([CYLINDER, ELLIPSOID]), [knots[0] * u(r, 0.8, 1.1), u(r, 0.04, 0.12), knots[0] if False else 0.02, 0], (0, y, 0), part=q)
        p.add(ELLIPSOID, [0.06, 0.06, 0.06], (0, y - 0.14, 0), k=0.04, part=q)
    for _ in range(r.integers(0, 4)):
        p.add(CYLINDER, [knots[5] * 1.0, 0.012, 0.005, 0], (0, u(r, -h, h), 0), how=GROOVE, k=0.03, amount=u(r, -0.02, 0.02), part=-1)
    if r.random() < 0.4:
        q = p.part()
        p.add(BOX, [0.9, u(r, 0.1, 0.3), 0.9, 0.01], (0, u(r, -0.3, 0.4), 0), how=RELIEF, k=0.01, amount=u(r, 0, 0.006), part=q)


def boxes(p, most=6):
    r = p.random
    sides = [u(r, 0.25, 0.8) for _ in range(3)]
    p.add(BOX, [*sides, u(r, 0.005, 0.12), u(r, -0.25, 0.25) if r.random() < 0.35 else 0, 0], part=0)
    for _ in range(r.integers(0, most)):
        axis = int(r.integers(0, 3))
        at = [u(r, -0.8, 0.8) * s for s in sides]
        at[axis] = sides[axis] * r.choice([-1, 1])
        size = [u(r, 0.08, 0.55) * s for s in sides]
        size[axis] = u(r, 0.01, 0.12)
        what = r.random()
        q = p.part() if r.random() < 0.6 else 0
        if what < 0.45:
            p.add(BOX, [*size, min(0.02, min(size))], at, how=CUT, k=0.01, part=q)
        elif what < 0.75:
            p.add(BOX, [*size, min(0.03, min(size))], at, k=0.01, part=q)
        elif what < 0.9:
            p.add(CYLINDER, [u(r, 0.04, 0.2), u(r, 0.03, 0.12), 0.01, 0], at, towards(np.eye(3)[axis]), part=q, k=0.005)
        else:
            p.add(CYLINDER, [u(r, 0.05, 0.25), u(r, 0.1, 0.3), 0.01, 0], at, towards(np.eye(3)[axis]), how=CUT, part=q, k=0.01)
    for _ in range(r.integers(0, 3)):
        axis = int(r.integers(0, 3))
        at = [0, 0, 0]
        at[axis] = u(r, -0.7, 0.7) * sides[axis]
        size = [1.5, 1.5, 1.5]
        size[axis] = 0.001
        p.add(BOX, [*size, 0], at, how=GROOVE, k=u(r, 0.012, 0.03), amount=u(r, 0.008, 0.02), part=-1)


def vehicle(p):
    r = p.random
    length, wide, high = u(r, 0.7, 0.95), u(r, 0.3, 0.42), u(r, 0.12, 0.22)
    n = u(r, 3, 7)
    p.mirror = 1
    # x: across, z: along
    p.add(SUPER, [wide, high, length, n], (0, 0.1, 0), part=0)
    p.add(BOX, [wide * u(r, 0.75, 0.95), u(r, 0.1, 0.2), length * u(r, 0.35, 0.65), u(r, 0.05, 0.12), u(r, 0.1, 0.45), 0],
          (0, 0.1 - high - 0.08, u(r, -0.25, 0.1)), k=u(r, 0.02, 0.12), part=0)
    glass = p.part()
    p.add(BOX, [wide * 1.2, u(r, 0.05, 0.1), length * u(r, 0.3, 0.55), 0.03, 0.3, 0], (0, 0.1 - high - 0.09, 0), how=RELIEF, k=0.01, amount=-0.012, part=glass)
    wheel, tyre = p.part(), p.part()
    for z in (length * u(r, 0.55, 0.68), -length * u(r, 0.55, 0.68)):
        rad = u(r, 0.13, 0.2)
        p.add(CYLINDER, [rad * 1.15, 0.2, 0.01, 0], (wide, 0.1 + high * 0.8, z), towards([1, 0, 0]), how=CUT, k=0.02, part=tyre)
        p.add(CYLINDER, [rad, 0.07, 0.03, 0], (wide - 0.06, 0.1 + high * 0.8, z), towards([1, 0, 0]), part=tyre)
        p.add(CYLINDER, [rad * 0.6, 0.02, 0.005, 0], (wide + 0.01, 0.1 + high * 0.8, z), towards([1, 0, 0]), how=UNION, part=wheel)
        p.add(CYLINDER, [rad * 0.14, 0.1, 0.005, 0], (wide + 0.02, 0.1 + high * 0.8, z), towards([1, 0, 0]), how=CUT, k=0.01, part=tyre, repeat=(0, 0, 0))
    light = p.part()
    p.add(ELLIPSOID, [0.07, 0.05, 0.05], (wide * 0.7, 0.05, length * 0.96), part=light)
    p.add(BOX, [wide * 0.5, 0.03, 0.05, 0.01], (0, 0.16, length), how=CUT, k=0.01, part=tyre)
    for z in (0.05, 0.35, -0.3):
        if r.random() < 0.6:
            p.add(BOX, [2, 2, 0.001, 0], (0, 0, z * length), how=GROOVE, k=0.014, amount=0.012, part=-1)
    p.add(BOX, [wide * 1.2, 0.02, length * 1.2, 0.01], (0, 0.1 + u(r, -0.1, 0.1), 0), how=GROOVE, k=0.03, amount=u(r, -0.012, 0.012), part=-1)


def animal(p):
    r = p.random
    p.mirror = float(r.random() < 0.8)
    long_, fat = u(r, 0.35, 0.65), u(r, 0.16, 0.32)
    k = u(r, 0.04, 0.14)
    p.limb((0, 0, -long_), (0, u(r, -0.1, 0.1), long_), fat * u(r, 0.8, 1.1), fat, k=k)
    neck = np.array([0, u(r, -0.5, 0.0), long_ + u(r, 0.05, 0.3)])
    p.limb((0, 0, long_ * 0.9), neck, fat * 0.8, fat * u(r, 0.35, 0.6), k=k)
    head = neck + [0, u(r, -0.12, 0.05), u(r, 0.05, 0.15)]
    p.add(ELLIPSOID, [u(r, 0.12, 0.2), u(r, 0.12, 0.2), u(r, 0.14, 0.26)], head, rotation(r, 0.3), k=k * 0.7)
    p.limb(head, head + [0, u(r, 0, 0.12), u(r, 0.15, 0.35)], u(r, 0.07, 0.13), u(r, 0.03, 0.08), k=0.05)
    eye = p.part()
    p.add(ELLIPSOID, [0.03, 0.03, 0.03], head + [0.11, -0.04, 0.12], k=0.01, part=eye)
    if r.random() < 0.6:
        p.add(LEAF, [u(r, 0.1, 0.25), u(r, 0.05, 0.12), 0.02, 0.05, 0.2], head + [0.1, -0.2, -0.02], rotation(r, 0.6), k=0.04)
    else:
        p.add(ELLIPSOID, [0.05, 0.09, 0.03], head + [0.1, -0.15, 0], rotation(r, 0.5), k=0.04)
    for z in (long_ * 0.8, -long_ * 0.85):
        foot = np.array([fat * u(r, 0.5, 0.9), u(r, 0.4, 0.75), z + u(r, -0.15, 0.15)])
        knee = foot * [1.1, 0.5, 1] + [0, 0, u(r, -0.1, 0.1)]
        p.limb((fat * 0.5, 0.05, z), knee, fat * u(r, 0.4, 0.65), 0.09, k=k)
        p.limb(knee, foot, 0.085, 0.05, k=0.04)
        p.add(ELLIPSOID, [0.07, 0.04, 0.1], foot + [0, 0.02, 0.04], k=0.03)
    if r.random() < 0.7:
        p.limb((0, -0.05, -long_), (0, u(r, -0.4, 0.3), -long_ - u(r, 0.15, 0.5)), u(r, 0.05, 0.12), u(r, 0.02, 0.1), k=0.05, bent=u(r, -0.15, 0.15))
    if r.random() < 0.6:
        p.relief(3 if r.random() < 0.6 else 6, u(r, 0.004, 0.014), u(r, 8, 30))


def bust(p):
    r = p.random
    p.mirror = 1
    w, h, d = u(r, 0.3, 0.38), u(r, 0.4, 0.5), u(r, 0.34, 0.42)
    c = np.array([0, -0.15, 0])
    p.add(ELLIPSOID, [w, h * 0.9, d], c)
    p.add(ELLIPSOID, [w * u(r, 0.6, 0.85), h * 0.62, d * 0.75], c + [0, h * 0.42, d * 0.2], k=0.15)      # jaw
    p.add(ELLIPSOID, [w * 0.75, 0.05, 0.1], c + [0, -0.06, d * u(r, 0.78, 0.9)], k=0.09)               # brow
    p.add(ELLIPSOID, [0.1, u(r, 0.06, 0.09), 0.09], c + [w * 0.42, 0.035, d * 0.98], how=CUT, k=u(r, 0.05, 0.1), part=-1)   # sockets
    eye = p.part()
    p.add(ELLIPSOID, [0.065, u(r, 0.03, 0.055), 0.06], c + [w * 0.42, 0.04, d * 0.86], k=0.012, part=eye if r.random() < 0.7 else 0)
    nose = u(r, 0.08, 0.2)
    p.limb(c + [0, -0.02, d * 0.92], c + [0, 0.17, d * 0.98 + nose], 0.035, u(r, 0.045, 0.075), k=0.05)
    p.add(ELLIPSOID, [0.04, 0.035, 0.05], c + [0.055, 0.19, d * 0.98 + nose * 0.35], k=0.03)
    p.add(ELLIPSOID, [0.02, 0.015, 0.03], c + [0.03, 0.22, d * 0.98 + nose * 0.6], how=CUT, k=0.015, part=-1)
    lip = p.part() if r.random() < 0.6 else 0
    mouth = c + [0, 0.3, d * u(r, 0.95, 1.05)]
    p.add(ELLIPSOID, [u(r, 0.1, 0.15), 0.03, 0.05], mouth - [0, 0.022, 0], k=0.03, part=lip)
    p.add(ELLIPSOID, [u(r, 0.08, 0.12), 0.032, 0.05], mouth + [0, 0.028, 0], k=0.025, part=lip)
    p.add(ELLIPSOID, [u(r, 0.08, 0.14), u(r, 0.003, 0.04), 0.06], mouth + [0, 0.003, 0.04], how=CUT, k=0.02, part=-1)
    p.add(ELLIPSOID, [0.09, 0.07, 0.07], c + [0, 0.44, d * 0.85], k=0.06)                               # chin
    p.add(ELLIPSOID, [0.1, 0.08, 0.07], c + [w * 0.55, 0.15, d * 0.75], k=0.08)                         # cheek
    p.add(ELLIPSOID, [0.04, 0.1, 0.06], c + [w * 1.02, 0.1, -0.02], turn([0, 1, 0], 0.5), k=0.02)       # ear
    p.add(ELLIPSOID, [0.02, 0.06, 0.04], c + [w * 1.1, 0.1, 0.02], how=CUT, k=0.02, part=-1)
    p.limb(c + [0, h * 0.6, -0.05], c + [0, h + 0.4, -0.08], w * u(r, 0.5, 0.7), w * u(r, 0.55, 0.8), k=0.08)
    cloth = p.part()
    p.limb((0, c[1] + h + 0.38, -0.1), (u(r, 0.4, 0.7), c[1] + h + 0.55, -0.12), 0.24, 0.18, k=0.1, part=cloth)
    if r.random() < 0.85:
        hair = p.part()
        p.add(ELLIPSOID, [w * u(r, 1.05, 1.25), h * u(r, 0.8, 1.0), d * u(r, 1.0, 1.15)], c + [0, -u(r, 0.08, 0.16), -u(r, 0.06, 0.14)], k=0.02, part=hair)
        if r.random() < 0.4:
            p.add(ELLIPSOID, [w * 1.15, h * u(r, 0.8, 1.5), d * 0.6], c + [0, 0.25, -d * 0.55], k=0.05, part=hair)
        p.relief(r.choice([1, 2, 6]), u(r, 0.006, 0.03), u(r, 12, 45), u(r, 0, 4), part=hair)
    p.relief(2, u(r, 0.01, 0.04), u(r, 5, 14), u(r, 1, 4), part=cloth)
    if r.random() < 0.4:
        p.relief(3, u(r, 0.002, 0.008), u(r, 8, 25))


def cloth(p):
    r = p.random
    waves = []
    for k in range(3):
        f = u(r, 2, 7) * (1.8 ** k)
        a = r.uniform(0, 2 * math.pi)
        waves += [u(r, 0.1, 0.3) / f * 1.6, f * math.cos(a), f * math.sin(a), u(r, 0, 6)]
    p.add(SHEET, [u(r, 0.5, 0.9), u(r, 0.5, 0.9), u(r, 0.01, 0.05), *waves], turned=rotation(r, 0.8))
    if r.random() < 0.5:
        p.relief(2, u(r, 0.01, 0.04), u(r, 4, 12), u(r, 1, 5))


def garment(p):
    r = p.random
    p.mirror = float(r.random() < 0.5)
    h = u(r, 0.5, 0.8)
    knots = np.clip(u(r, 0.28, 0.42) * (1 + np.cumsum(r.normal(0, 0.07, 12))), 0.18, 0.65)
    p.add(LATHE, [h, 0, 0, 0, *knots], turned=np.diag([1, 1, 1.0]))
    if r.random() < 0.7:
        p.limb((knots[0] * 0.9, -h * 0.85, 0), (u(r, 0.45, 0.8), u(r, -0.3, 0.5), u(r, -0.2, 0.3)), 0.16, u(r, 0.08, 0.14), k=0.08)
    p.relief(r.choice([1, 2]), u(r, 0.02, 0.06), u(r, 5, 14), u(r, 1, 5), direction=[r.normal(), r.normal() * 0.4, r.normal()])
    p.relief(2, u(r, 0.008, 0.03), u(r, 8, 22), u(r, 1, 5))


def fruit(p):
    r = p.random
    n = int(r.integers(1, 6))
    for i in range(n):
        at = (0, 0, 0) if n == 1 else r.uniform(-0.5, 0.5, 3) * [1, 0.6, 1]
        size = u(r, 0.5, 0.8) if n == 1 else u(r, 0.2, 0.4)
        q = p.part() if r.random() < 0.4 else 0
        ribs = (int(r.integers(5, 14)), u(r, 0.05, 0.25)) if r.random() < 0.35 else (0, 0)
        p.add(ELLIPSOID, [size, size * u(r, 0.6, 1.3), size * u(r, 0.9, 1.1), *ribs], at, rotation(r, 0.5), k=0.01, part=q)
        stem = p.part()
        if r.random() < 0.6:
            p.limb(np.array(at) - [0, size * 0.75, 0], np.array(at) - [u(r, -0.1, 0.1), size + 0.15, 0], 0.05, 0.03, k=0.05, part=stem, bent=u(r, -0.05, 0.05))
    if r.random() < 0.5:
        p.relief(r.choice([3, 4, 6]), u(r, 0.003, 0.02), u(r, 6, 40))


def furniture(p):
    r = p.random
    top, wide, deep, legs = u(r, -0.25, 0.15), u(r, 0.4, 0.7), u(r, 0.35, 0.6), u(r, 0.35, 0.7)
    soft = r.random() < 0.4
    seat = p.part() if r.random() < 0.5 else 0
    p.add(BOX, [wide, u(r, 0.03, 0.2) if soft else 0.04, deep, u(r, 0.03, 0.08) if soft else 0.012], (0, top, 0), part=seat)
    t = u(r, 0.02, 0.07)
    if r.random() < 0.5:
        p.add(BOX, [t, legs / 2, t, 0.01, u(r, -0.4, 0.4), 0], (0, top + legs / 2, 0), repeat=(CORNERS, wide - t * 1.5, deep - t * 1.5), k=0.005)
    else:
        p.add(CYLINDER, [t, legs / 2, 0.01, 0], (0, top + legs / 2, 0), repeat=(CORNERS, wide - t * 1.5, deep - t * 1.5), k=0.005)
    if r.random() < 0.7:
        back = u(r, 0.3, 0.6)
        p.add(BOX, [wide, back / 2, u(r, 0.03, 0.12), 0.03 if soft else 0.01], (0, top - back / 2, -deep + 0.05), turn([1, 0, 0], u(r, -0.2, 0.2)), k=0.02, part=seat)
        if not soft and r.random() < 0.6:
            p.add(BOX, [0.03, back * 0.3, 0.3, 0.005], (0, top - back / 2, -deep), turn([0, 0, 1], math.pi / 2 if False else 0), how=CUT, repeat=(PAIR, u(r, 0.1, 0.3), 0), part=-1)
    if r.random() < 0.5:
        p.add(BOX, [0.06, u(r, 0.05, 0.15), deep * 0.9, 0.03], (0, top - u(r, 0.1, 0.25), 0), repeat=(PAIR, wide - 0.03, 0), k=0.01, part=seat)
    for _ in range(r.integers(0, 3)):
        p.add(SUPER, [u(r, 0.12, 0.22), 0.12, u(r, 0.12, 0.2), 3], (u(r, -0.4, 0.4), top - 0.15, u(r, -0.2, 0.2)), rotation(r, 0.5), part=p.part())
    if soft:
        p.relief(2, u(r, 0.004, 0.015), u(r, 6, 16), 3)


def tool(p):
    r = p.random
    q = p.part()
    p.limb((0, -0.1, 0), (u(r, -0.1, 0.1), u(r, 0.6, 0.9), 0), u(r, 0.05, 0.13), u(r, 0.05, 0.13), part=q, bent=u(r, -0.1, 0.1))
    kind = r.integers(0, 4)
    if kind == 0:
        p.add(BOX, [u(r, 0.2, 0.4), u(r, 0.08, 0.15), u(r, 0.08, 0.15), 0.03], (0, -0.2, 0), k=0.03)
    elif kind == 1:
        p.add(LEAF, [0.5, 0.2, 0.03, u(r, -0.2, 0.2), 0], (0, -0.5, 0), k=0.05)
    elif kind == 2:
        p.add(ELLIPSOID, [u(r, 0.2, 0.3), u(r, 0.25, 0.4), 0.12], (0, -0.4, 0), k=0.06)
        if r.random() < 0.7:
            p.add(ELLIPSOID, [0.18, 0.28, 0.1], (0, -0.4, 0.1), how=CUT, k=0.02)
    else:
        p.add(TORUS, [0.3, u(r, 0.03, 0.08), 0, 1], (0, -0.45, 0), turn([1, 0, 0], math.pi / 2), k=0.04)
    for _ in range(r.integers(0, 4)):
        p.add(CYLINDER, [0.14, 0.012, 0.004, 0], (0, u(r, 0.1, 0.8), 0), how=GROOVE, k=0.025, amount=u(r, -0.015, 0.02), part=-1)


def machine(p):
    r = p.random
    rad = u(r, 0.3, 0.6)
    p.add(CYLINDER, [rad, u(r, 0.08, 0.5), u(r, 0.005, 0.05), u(r, 0.05, 0.15) if r.random() < 0.4 else 0])
    for _ in range(r.integers(2, 6)):
        q = p.part() if r.random() < 0.5 else 0
        kind = r.integers(0, 5)
        n = int(r.integers(3, 16))
        if kind == 0:
            p.add(CYLINDER, [u(r, 0.03, 0.1), u(r, 0.1, 0.6), 0.01, 0], how=r.choice([UNION, CUT]), repeat=(AROUND, n, rad * u(r, 0.5, 1.1)), k=0.01, part=q)
        elif kind == 1:
            p.add(BOX, [u(r, 0.03, 0.15), u(r, 0.05, 0.4), u(r, 0.02, 0.08), 0.01], repeat=(AROUND, n, rad), k=0.01, part=q)
        elif kind == 2:
            p.add(CYLINDER, [rad * u(r, 0.2, 0.9), u(r, 0.1, 0.7), 0.02, 0], part=q, k=0.01)
        elif kind == 3:
            p.add(TORUS, [rad * u(r, 0.5, 1.2), u(r, 0.02, 0.08), 0, 1], (0, u(r, -0.4, 0.4), 0), k=0.02, part=q)
        else:
            p.add(CYLINDER, [rad * u(r, 0.2, 0.6), 0.6, 0.01, 0], (0, -0.5, 0), how=CUT, k=0.02, part=q)


def plant(p):
    r = p.random
    q = p.part()
    if r.random() < 0.5:
        p.add(LATHE, [0.25, 0, 0, 0, *np.linspace(u(r, 0.28, 0.4), u(r, 0.18, 0.3), 12)], (0, 0.6, 0), part=q)
    for _ in range(r.integers(5, 16)):
        a, up = u(r, 0, 2 * math.pi), u(r, 0.1, 1.1)
        d = np.array([math.cos(a) * math.cos(up), -math.sin(up), math.sin(a) * math.cos(up)])
        size = u(r, 0.25, 0.5)
        p.add(LEAF, [size, size * u(r, 0.15, 0.5), 0.015, u(r, 0, 0.25), u(r, 0, 0.3)], np.array([0, 0.3, 0]) + d * size, towards(d))


def anything(p):
    r = p.random
    k = r.choice([0, 0.01, 0.05, 0.15])
    p.mirror = float(r.random() < 0.3)
    for i in range(r.integers(2, 9)):
        kind = int(r.choice([ELLIPSOID, BOX, CONE, TORUS, CYLINDER, SUPER, STAR, LATHE]))
        s = u(r, 0.2, 0.6) if i else u(r, 0.4, 0.7)
        params = {ELLIPSOID: [s, s * u(r, 0.4, 1.2), s * u(r, 0.4, 1.2)],
                  BOX: [s, s * u(r, 0.3, 1.2), s * u(r, 0.3, 1.2), u(r, 0.005, 0.15) * s, u(r, -0.3, 0.3), 0],
                  CONE: [s * u(r, 0.2, 0.6), s * u(r, 0.1, 0.6), s * 1.5, u(r, -0.2, 0.2)],
                  TORUS: [s, s * u(r, 0.1, 0.4), 0, 1],
                  CYLINDER: [s * 0.7, s, u(r, 0.01, 0.1) * s, 0],
                  SUPER: [s, s * u(r, 0.5, 1), s * u(r, 0.5, 1), u(r, 2.2, 7)],
                  STAR: [s, s * u(r, 0.1, 0.5), u(r, 0.01, 0.06), *sum(([u(r, 0, 0.15), int(r.integers(2, 9)), u(r, 0, 6)] for _ in range(2)), [])],
                  LATHE: [s, 0, 0, 0, *np.clip(s * 0.6 * (1 + np.cumsum(r.normal(0, 0.15, 12))), 0.08, 0.7)]}[kind]
        how = UNION if i == 0 or r.random() < 0.72 else r.choice([CUT, GROOVE])
        p.add(kind, params, r.uniform(-0.5, 0.5, 3) * (i > 0), rotation(r), how=how, k=max(k, 0.02) if how else k,
              part=p.part() if r.random() < 0.5 else 0, amount=u(r, -0.03, 0.04))


def rock(p):
    r = p.random
    s = u(r, 0.5, 0.75)
    p.add(ELLIPSOID, [s, s * u(r, 0.6, 1), s * u(r, 0.6, 1)])
    for _ in range(r.integers(0, 8)):
        n = r.normal(size=3)
        n /= np.linalg.norm(n)
        p.add(BOX, [1, 1, 1, 0.02], n * (s * u(r, 0.65, 0.95) + 1), towards(n), how=CUT, k=u(r, 0, 0.1), part=-1)
    p.relief(3, u(r, 0.01, 0.08), u(r, 2, 8))
    p.relief(r.choice([3, 6]), u(r, 0.003, 0.02), u(r, 10, 35))


def shoe(p):
    r = p.random
    sole = p.part()
    p.add(SUPER, [0.26, 0.2, 0.75, u(r, 2.2, 3.2)], (0, 0.1, 0))
    p.add(SUPER, [0.23, u(r, 0.25, 0.6), 0.32, 2.6], (0, -0.15, -0.4), k=0.2)
    if r.random() < 0.8:
        p.add(SUPER, [0.15, 0.3, 0.2, 2.4], (0, -0.5, -0.45), how=CUT, k=0.03, part=p.part())
    p.add(SUPER, [0.29, u(r, 0.05, 0.1), 0.8, 3], (0, 0.3, 0), k=0.01, part=sole)
    p.add(BOX, [2, 0.001, 2, 0], (0, 0.22, 0), how=GROOVE, k=0.02, amount=0.012, part=-1)
    lace = p.part()
    for i in range(int(r.integers(0, 6))):
        p.limb((-0.14, -0.12 + 0.05 * i, -0.08 + 0.09 * i), (0.14, -0.13 + 0.05 * i, -0.05 + 0.09 * i), 0.022, 0.022, part=lace, bent=0.0)
    for _ in range(r.integers(0, 3)):
        p.add(ELLIPSOID, [0.5, 0.4, 0.3], (0, 0.1, u(r, -0.7, 0.7)), rotation(r, 0.4), how=RELIEF, k=0.015, amount=u(r, 0.005, 0.012), part=p.part())
    if r.random() < 0.5:
        p.relief(2, u(r, 0.004, 0.015), u(r, 8, 20), 3)


RECIPES = [(vessel, 1.3), (boxes, 1.6), (vehicle, 1.3), (animal, 1.3), (bust, 1.6), (cloth, 0.8), (garment, 0.9), (fruit, 0.8), (furniture, 0.9),
           (tool, 0.6), (machine, 0.7), (plant, 0.5), (anything, 1.7), (rock, 0.5), (shoe, 0.7)]
NAMES = [f.__name__ for f, _ in RECIPES]


def draw(seed):
    """(ops MOST x 48, count, global record 40, camera distance, recipe) of the shape of a seed."""
    r = np.random.default_rng(seed)
    weights = np.array([w for _, w in RECIPES])
    kind = int(r.choice(len(RECIPES), p=weights / weights.sum()))
    p = Program(r)
    RECIPES[kind][0](p)
    if r.random() < 0.12:
        p.twist = u(r, -1.2, 1.2)
    if r.random() < 0.12:
        p.bend = u(r, -0.35, 0.35)
    if len(p.layers) < 2 and r.random() < 0.3:
        how = int(r.choice([1, 2, 3, 4, 5, 6]))
        frequency = math.exp(u(r, math.log(4), math.log(45)))
        p.relief(how, u(r, 0.1, 0.6) / frequency * (0.35 if how in (3, 6) else 0.6), frequency, u(r, 0, 3) if r.random() < 0.5 else 0)
    # y up of the thing to the camera: looked at from any side, mostly from a little above
    yaw = u(r, 0, 2 * math.pi)
    if NAMES[kind] == "bust":
        yaw = r.normal(0, 0.7)
    pitch = r.normal(0.25, 0.3)
    tilt = rotation(r) if NAMES[kind] in ("anything", "rock", "tool", "machine") and r.random() < 0.6 else turn([0, 0, 1], r.normal(0, 0.12))
    if NAMES[kind] == "cloth":
        yaw, pitch = r.normal(0, 0.5), r.normal(0, 0.4)
    look = turn([0, 1, 0], yaw) @ turn([1, 0, 0], pitch) @ tilt
    g = np.zeros(GLOBAL, np.float32)
    steep = 1 + sum(l[1] * np.linalg.norm(l[2:5]) * (1.3 if l[0] in (3, 6) else 1.0) * (1 + 0.3 * l[6]) for l in p.layers)
    steep += 0.5 * abs(p.twist) + 0.6 * abs(p.bend)
    g[0] = min(0.85, 0.9 / steep)
    g[1:10] = look.ravel()
    g[10], g[11], g[12] = p.mirror, p.twist, p.bend
    for i, l in enumerate(p.layers):
        g[14 + 8 * i:22 + 8 * i] = l
    ops = np.zeros((MOST, OP), np.float32)
    ops[:len(p.ops)] = p.ops
    distance = math.exp(u(r, math.log(2.6), math.log(14)))
    return ops, len(p.ops), g, distance, kind
