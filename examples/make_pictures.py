#!/usr/bin/env python3
"""Renders the example pictures: everything in them is made here, by formula.

    python3.11 -m venv .venv && .venv/bin/pip install bpy==4.5.0 && .venv/bin/python examples/make_pictures.py [NAME …]

Without names, all of them (about a minute each on a free core). Another version of Blender makes other bytes.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "render"))

from materials import MATERIALS  # noqa: E402
from stage import render  # noqa: E402
from subjects import SUBJECTS  # noqa: E402


def main():
    scenes = {**{("subjects", n): s for n, s in SUBJECTS.items()}, **{("materials", n): s for n, s in MATERIALS.items()}}
    wanted = set(sys.argv[1:]) or {name for _, name in scenes}
    unknown = wanted - {name for _, name in scenes}
    if unknown:
        sys.exit(f"there is no picture {', '.join(sorted(unknown))}")
    for (folder, name), scene in scenes.items():
        if name in wanted:
            scene()
            render(HERE / folder / f"{name}.jpg")


main()
