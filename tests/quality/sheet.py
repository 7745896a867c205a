#!/usr/bin/env python3
"""Contact sheets: what was given, what came out, side by side (needs pillow).

    sheet.py pairs  FOLDER SHEET.png RESULTS [RESULTS …]     subject | material | a column for each folder of results
    sheet.py truth  FOLDER SHEET.png RESULTS [RESULTS …]     subject | material | the columns | the truth
    sheet.py blind  FOLDER OUT_DIR A B [--seed 5]            numbered sheets, A and B by turns left and right, and key.json

FOLDER is collect.py's (with pairs.txt) or render.py's; RESULTS are folders with SUBJECT-MATERIAL.png as evaluate.py writes them,
or SCENE-flat.png and SCENE-object.png as judge.py does. --from and --count take a part, --side sets the pictures' size. Of `blind`,
give only the sheets to whoever judges; key.json says for each row on which side A is.
"""

import argparse
import json
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

LINE = 13


def tile(path, side, text=""):
    """A picture within side x side, on checks where it is transparent, a line of text under it."""
    out = Image.new("RGB", (side, side + LINE), "white")
    if path is not None and path.exists():
        picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
        picture.thumbnail((side - 4, side - 4), Image.LANCZOS)
        ground = Image.new("RGBA", picture.size, "#dddddd")
        for x in range(0, picture.width, 16):
            for y in range(x // 16 % 2 * 8, picture.height, 16):
                ground.paste("#c2c2c2", (x, y, x + 8, y + 8))
        ground.alpha_composite(picture)
        out.paste(ground.convert("RGB"), ((side - picture.width) // 2, (side - picture.height) // 2))
    ImageDraw.Draw(out).text((3, side), text, fill="black")
    return out


def rows_of(folder, kind):
    """(name, subject, material, truth or None) of every pair or scene."""
    if kind == "truth" or not (folder / "pairs.txt").exists():
        for facts in sorted(folder.glob("s*/scene.json")):
            known, here = json.loads(facts.read_text()), facts.parent
            for given in ("flat", "object"):
                if (here / f"{given}.png").exists():
                    yield f"{here.name}-{given}", f"{known['shape']} {known['kind']}", here / "subject.png", here / f"{given}.png", here / "truth.png"
        return
    for line in (folder / "pairs.txt").read_text().split("\n"):
        if line.strip():
            subject, material = (folder / part for part in line.split()[:2])
            yield f"{subject.stem}-{material.stem}", "", subject, material, None


def sheet(rows, side, across):
    """Rows of tiles on one picture, `across` rows beside each other."""
    width = max(sum(t.width for t in row) for row in rows) + 12
    height = max(t.height for row in rows for t in row)
    out = Image.new("RGB", (width * min(across, len(rows)), height * -(-len(rows) // across)), "white")
    for i, row in enumerate(rows):
        x, y = i % across * width, i // across * height
        for part in row:
            out.paste(part, (x, y))
            x += part.width
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["pairs", "truth", "blind"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--side", type=int, default=230)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--across", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    rows = list(rows_of(options.folder, options.kind))
    if options.kind != "blind":
        drawn = []
        for name, title, subject, material, truth in rows[options.first : options.first + options.count]:
            tiles = [tile(subject, options.side, f"{name} {title}"), tile(material, options.side, material.stem)]
            tiles += [tile(results / f"{name}.png", options.side, results.name) for results in options.results]
            drawn.append(tiles + ([tile(truth, options.side, "truth")] if truth else []))
        sheet(drawn, options.side, options.across).save(options.out)
        return
    a, b = options.results
    options.out.mkdir(parents=True, exist_ok=True)
    draw = random.Random(options.seed)
    rows = [row for row in rows if all((r / f"{row[0]}.png").exists() for r in (a, b))]
    draw.shuffle(rows)
    key, drawn = {}, []
    for number, (name, _, subject, material, _) in enumerate(rows, 1):
        sides = [a, b] if draw.random() < 0.5 else [b, a]
        key[number] = {"pair": name, "left": "A" if sides[0] == a else "B"}
        drawn.append([tile(subject, options.side, f"{number}: subject"), tile(material, options.side, "material"),
                      *(tile(r / f"{name}.png", options.side, f"{number} {where}") for r, where in zip(sides, ("left", "right")))])
    for i in range(0, len(drawn), options.count):
        sheet(drawn[i : i + options.count], options.side, options.across).save(options.out / f"blind-{i // options.count + 1:02}.png")
    (options.out / "key.json").write_text(json.dumps({"A": str(a), "B": str(b), "rows": key}, indent=1) + "\n")


if __name__ == "__main__":
    main()
