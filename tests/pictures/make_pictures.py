#!/usr/bin/env python3
"""Writes the picture files of the decoder's tests and what an independent reader makes of them.

    python3 -m venv .venv && .venv/bin/pip install pillow==13.0.0 && .venv/bin/python make_pictures.py

`tiffcp` and `tiffset` (Debian: libtiff-tools) make the TIFF files that Pillow does not write.

Every file shows the same scene: 4 x 3 flat blocks of 24 pixels, each of its own colour, so that a turned, mirrored or
miscoloured picture cannot pass for a right one. `expected.json` holds, for each file, its upright size, the colour in the
middle of every block (sRGB, 8 bit) and the alpha there, read back by Pillow (libjpeg-turbo, libwebp, Little CMS), or known
by construction where Pillow cannot read the file in full depth.
"""

import json
import struct
import subprocess
import zlib
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageCms, ImageOps

HERE = Path(__file__).parent
BLOCK, COLUMNS, ROWS = 24, 4, 3
SCENE = [
    (200, 40, 30), (40, 160, 60), (40, 70, 190), (230, 200, 60),
    (20, 20, 24), (128, 128, 128), (235, 235, 230), (150, 60, 150),
    (60, 180, 190), (220, 130, 70), (90, 60, 40), (250, 180, 200),
]
ALPHA = [255, 0, 128, 255, 255, 200, 255, 64, 255, 255, 255, 255]
INKS = [
    (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255),
    (0, 0, 0, 0), (128, 64, 0, 0), (0, 191, 191, 64), (64, 64, 64, 128),
    (255, 255, 0, 0), (0, 255, 255, 0), (255, 0, 255, 0), (191, 128, 64, 0),
]
EXPECTED = {}


def blocks(mode, values):
    """A picture of flat blocks."""
    image = Image.new(mode, (BLOCK * COLUMNS, BLOCK * ROWS))
    for index, value in enumerate(values):
        x, y = index % COLUMNS * BLOCK, index // COLUMNS * BLOCK
        image.paste(value, (x, y, x + BLOCK, y + BLOCK))
    return image


def centres(image):
    return [(x, y) for y in range(BLOCK // 2, image.height, BLOCK) for x in range(BLOCK // 2, image.width, BLOCK)]


def expect(name, rgba, tolerance):
    """Writes down what `name` must look like: `rgba` is the upright picture in sRGB."""
    rgba = rgba.convert("RGBA")
    EXPECTED[name] = {
        "width": rgba.width, "height": rgba.height, "tolerance": tolerance,
        "alpha": rgba.getextrema()[3][0] < 255,
        "blocks": [list(rgba.getpixel(xy)) for xy in centres(rgba)],
    }


def save(name, image, tolerance=2, **options):
    """Writes a file with Pillow and expects of it what Pillow reads back."""
    image.save(HERE / name, **options)
    read = Image.open(HERE / name)
    icc = read.info.get("icc_profile")
    upright = ImageOps.exif_transpose(read)
    if icc:
        alpha = upright.getchannel("A") if "A" in upright.getbands() else None
        colour = upright.convert("RGB") if alpha else upright
        upright = ImageCms.profileToProfile(
            colour, ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
        if alpha:
            upright.putalpha(alpha)
    expect(name, upright, tolerance)


# ---- ICC profiles, written here (ICC.1:2001-04), so that no foreign profile is carried along.

def profile(colour_space, kind, pcs, tags):
    """An ICC v2 profile from its tags."""
    tags = {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"cprt": b"text\0\0\0\0CC0\0", **tags}
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = at + len(body)
    header = struct.pack(">I4sI4s4s4s12s4s", size, b"none", 0x02400000, kind, colour_space, pcs, bytes(12), b"acsp")
    header += bytes(68 - len(header)) + struct.pack(">iii", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    return header + bytes(128 - len(header)) + struct.pack(">I", len(tags)) + table + body


def xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(v * 65536) for v in values))


def gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


SRGB_CURVE = b"para\0\0\0\0" + struct.pack(
    ">HHiiiii", 3, 0, *(round(v * 65536) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))


def matrix_profile(red, green, blue, curve):
    return profile(b"RGB ", b"mntr", b"XYZ ", {
        b"rXYZ": xyz(*red), b"gXYZ": xyz(*green), b"bXYZ": xyz(*blue),
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


# Primaries adapted to D50 (Adobe RGB (1998) specification; Display P3 = SMPTE RP 431-2 primaries at D65).
ADOBE_RGB = matrix_profile((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457),
                           gamma(2.19921875))
DISPLAY_P3 = matrix_profile((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407),
                            SRGB_CURVE)
SRGB = matrix_profile((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410), SRGB_CURVE)
GREY_18 = profile(b"GRAY", b"mntr", b"XYZ ", {b"kTRC": gamma(1.8)})


def press_profile(grid=5):
    """A four-ink press whose inks are duller than the naive ones: each lets a colour through, they multiply."""
    inks = ((0.10, 0.55, 0.80), (0.80, 0.12, 0.45), (0.98, 0.88, 0.10), (0.12, 0.12, 0.13))

    def lab(amounts):
        light = [1.0, 1.0, 1.0]
        for amount, through in zip(amounts, inks):
            light = [have * (1 - amount * (1 - let)) for have, let in zip(light, through)]
        m = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.71410))
        tristimulus = [sum(row[i] * light[i] for i in range(3)) for row in m]
        f = [t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116
             for t in (v / w for v, w in zip(tristimulus, (0.9642, 1.0, 0.8249)))]
        return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])

    levels = [i / (grid - 1) for i in range(grid)]
    table = b"".join(
        struct.pack(">HHH", round(l / 100 * 0xFF00), round((a + 128) * 256), round((b + 128) * 256))
        for c in levels for m in levels for y in levels for k in levels for l, a, b in [lab((c, m, y, k))])
    ramp = struct.pack(">HH", 0, 0xFFFF)
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    a2b = b"mft2\0\0\0\0" + struct.pack(">BBBx", 4, 3, grid) + identity + struct.pack(">HH", 2, 2)
    return profile(b"CMYK", b"prtr", b"Lab ", {b"A2B0": a2b + ramp * 4 + table + ramp * 3})


PRESS = press_profile()


def png16(name, channels, samples, icc=None):
    """A 16-bit PNG (Pillow writes no 16-bit colour): `samples` holds one tuple of 16-bit values a block."""
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    width, height = BLOCK * COLUMNS, BLOCK * ROWS
    rows = b""
    for y in range(height):
        pixels = (samples[y // BLOCK * COLUMNS + x // BLOCK] for x in range(width))
        rows += b"\0" + b"".join(struct.pack(f">{channels}H", *pixel) for pixel in pixels)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    chunks = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    if icc:
        chunks += chunk(b"iCCP", b"p\0\0" + zlib.compress(icc))
    chunks += chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    (HERE / name).write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def jpeg_files(rgb):
    save("rgb.jpg", rgb, quality=92)
    save("progressive_444.jpg", rgb, quality=92, progressive=True, subsampling=0)
    save("grey.jpg", rgb.convert("L"), quality=92)
    for orientation in range(1, 9):
        save(f"turned_{orientation}.jpg", rgb, tolerance=8, quality=80, exif=exif(orientation))
    save("adobe_rgb.jpg", rgb, tolerance=3, quality=92, subsampling=0, icc_profile=ADOBE_RGB)
    save("grey_with_rgb_profile.jpg", rgb.convert("L"), quality=92)
    add_jpeg_profile("grey_with_rgb_profile.jpg", ADOBE_RGB)
    cmyk = blocks("CMYK", INKS)
    save("cmyk.jpg", cmyk, tolerance=3, quality=95)
    save("cmyk_press.jpg", cmyk, tolerance=4, quality=95, icc_profile=PRESS)
    save("cmyk.tif", cmyk, compression="tiff_lzw")


def add_jpeg_profile(name, icc):
    """Puts an APP2 profile into a finished JPEG, and expects the profile to be applied to grey repeated three times."""
    data = (HERE / name).read_bytes()
    segment = b"ICC_PROFILE\0\x01\x01" + icc
    (HERE / name).write_bytes(data[:2] + b"\xff\xe2" + struct.pack(">H", len(segment) + 2) + segment + data[2:])
    read = Image.open(HERE / name).convert("RGB")
    expect(name, ImageCms.profileToProfile(read, ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB"),
                                           renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC), 3)


def png_files(rgb, rgba):
    save("rgb.png", rgb, tolerance=0)
    save("rgba.png", rgba, tolerance=0)
    opaque = rgb.copy()
    opaque.putalpha(255)
    save("opaque_rgba.png", opaque, tolerance=0)
    save("grey_alpha.png", rgba.convert("LA"), tolerance=0)
    palette = rgb.quantize(12)
    save("palette.png", palette, tolerance=0)
    save("palette_transparent.png", palette, tolerance=0, transparency=bytes(range(0, 240, 20)))
    save("bits_1.png", rgb.convert("L").point(lambda v: 255 * (v > 127)).convert("1", dither=Image.Dither.NONE), tolerance=0)
    save("turned.png", rgb, tolerance=0, exif=exif(6))
    save("srgb_profile.png", rgb, tolerance=0, icc_profile=SRGB)
    expect("srgb_profile.png", rgb, 0)  # a profile that says sRGB changes no byte
    save("display_p3.png", rgb, icc_profile=DISPLAY_P3)
    save("display_p3_alpha.png", rgba, icc_profile=DISPLAY_P3)
    save("grey_gamma_18.png", rgb.convert("L"), icc_profile=GREY_18)
    save("cmyk_profile_on_rgb.png", rgb, tolerance=0)
    add_png_profile("cmyk_profile_on_rgb.png", PRESS)
    save("animated.png", rgb, tolerance=0, save_all=True, append_images=[ImageOps.invert(rgb)], duration=100)
    expect("animated.png", rgb, 0)


def add_png_profile(name, icc):
    """A profile of another colour space than the pixels': to be ignored."""
    data = (HERE / name).read_bytes()
    body = b"iCCPp\0\0" + zlib.compress(icc)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (HERE / name).write_bytes(data[:33] + chunk + data[33:])


def png16_files(rgb):
    deep = [tuple(v * 257 for v in colour) for colour in SCENE]
    png16("rgb_16.png", 3, deep)
    expect("rgb_16.png", rgb, 0)
    png16("rgba_16_p3.png", 4, [colour + (alpha * 257,) for colour, alpha in zip(deep, ALPHA)], DISPLAY_P3)
    rgba = Image.open(HERE / "display_p3_alpha.png")
    managed = ImageCms.profileToProfile(rgba.convert("RGB"), ImageCms.ImageCmsProfile(BytesIO(DISPLAY_P3)),
                                        ImageCms.createProfile("sRGB"))
    managed.putalpha(rgba.getchannel("A"))
    expect("rgba_16_p3.png", managed, 2)
    grey = rgb.convert("L")
    png16("grey_16.png", 1, [(grey.getpixel(xy) * 257,) for xy in centres(grey)])
    expect("grey_16.png", grey, 0)


def other_files(rgb, rgba):
    save("lossy.webp", rgb, tolerance=3, quality=90)
    save("lossy_alpha.webp", rgba, tolerance=3, quality=90, exact=True)
    save("lossless_alpha.webp", rgba, tolerance=0, lossless=True, exact=True)
    save("turned.webp", rgb, tolerance=0, lossless=True, exif=exif(8))
    save("display_p3.webp", rgb, lossless=True, icc_profile=DISPLAY_P3)
    save("animated.webp", rgb, tolerance=3, quality=90, save_all=True, append_images=[ImageOps.invert(rgb)], duration=100)
    palette = rgb.quantize(12)
    save("plain.gif", palette, tolerance=0)
    save("animated.gif", palette, tolerance=0, save_all=True, append_images=[ImageOps.invert(rgb).quantize(12)], duration=100)
    save("transparent.gif", palette, tolerance=0, transparency=3)
    save("rgb.bmp", rgb, tolerance=0)
    save("palette.bmp", palette, tolerance=0)
    save("lzw.tif", rgb, tolerance=0, compression="tiff_lzw")
    save("turned.tif", rgb, tolerance=0, compression="tiff_deflate", exif=exif(3))


def copied(name, of, *options, tolerance=0):
    """The TIFF file `of` once more, as libtiff writes it with these options; it shows what that one shows."""
    subprocess.run(["tiffcp", *options, HERE / of, HERE / name], check=True)
    EXPECTED[name] = EXPECTED[of] | {"tolerance": max(tolerance, EXPECTED[of]["tolerance"])}


def tiff_files(rgb, rgba):
    cmyk = blocks("CMYK", INKS)
    save("press_lzw.tif", cmyk, tolerance=4, compression="tiff_lzw", icc_profile=PRESS)
    save("press_deflate.tif", cmyk, tolerance=4, compression="tiff_adobe_deflate", icc_profile=PRESS)
    save("press_jpeg.tif", cmyk, tolerance=4, compression="jpeg", quality=95, icc_profile=PRESS)
    copied("press_planes.tif", "press_lzw.tif", "-p", "separate", "-c", "packbits")
    copied("press_reversed.tif", "press_lzw.tif", "-f", "lsb2msb", "-c", "lzw")
    save("palette.tif", rgb.quantize(12), tolerance=0, compression="tiff_lzw")
    copied("palette_tiles.tif", "palette.tif", "-t", "-w", "32", "-l", "32", "-c", "zip")
    save("ycbcr.tif", rgb.convert("YCbCr"), compression="tiff_lzw")
    copied("ycbcr_jpeg.tif", "lzw.tif", "-r", "16", "-c", "jpeg:95", tolerance=3)
    copied("ycbcr_jpeg_tiles.tif", "lzw.tif", "-t", "-w", "48", "-l", "32", "-c", "jpeg:95", tolerance=3)
    copied("big.tif", "lzw.tif", "-8", "-B", "-c", "zip:2")
    copied("planes.tif", "lzw.tif", "-p", "separate", "-c", "lzw:2")
    grey = rgb.convert("L")
    save("grey_lzw.tif", grey, tolerance=0, compression="tiff_lzw")
    copied("grey_reversed.tif", "grey_lzw.tif", "-f", "lsb2msb", "-c", "none")
    save("grey_alpha.tif", rgba.convert("LA"), tolerance=0, compression="tiff_lzw")
    save("float.tif", grey.convert("F").point(lambda value: value / 255), compression="tiff_lzw")
    expect("float.tif", grey, 0)
    save("fax.tif", grey.point(lambda v: 255 * (v > 127)).convert("1", dither=Image.Dither.NONE), tolerance=0, compression="group4")
    copied("fax_reversed.tif", "fax.tif", "-f", "lsb2msb", "-c", "g4")
    multiplied = rgba.convert("RGBa")
    save("multiplied.tif", Image.frombytes("RGBA", rgba.size, multiplied.tobytes()), compression="tiff_lzw")
    subprocess.run(["tiffset", "-s", "338", "1", "1", HERE / "multiplied.tif"], check=True)
    expect("multiplied.tif", multiplied, 2)


def main():
    rgb, rgba = blocks("RGB", SCENE), blocks("RGBA", [c + (a,) for c, a in zip(SCENE, ALPHA)])
    jpeg_files(rgb)
    png_files(rgb, rgba)
    png16_files(rgb)
    other_files(rgb, rgba)
    tiff_files(rgb, rgba)
    lines = (f'  "{name}": {json.dumps(entry)}' for name, entry in sorted(EXPECTED.items()))
    (HERE / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
