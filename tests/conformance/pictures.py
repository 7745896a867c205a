"""Small pictures made here, byte for byte the same on every run: a veined material, a shaded ball as the subject,
and one file of each awkward kind (rotated, palette, CMYK, 16 bits, animated, truncated, a bomb)."""

import base64
import io
import math
import random
import struct
import zlib

from PIL import Image, ImageDraw

MAGIC = {"webp": b"RIFF", "jpg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n"}
MEDIA = {"webp": "image/webp", "jpg": "image/jpeg", "png": "image/png"}


def material_picture(width: int = 96, height: int = 128) -> Image.Image:
    """Greenish stone with pale veins: two frequencies, bent by a third."""
    picture = Image.new("RGB", (width, height))
    put = picture.load()
    for y in range(height):
        for x in range(width):
            bend = 4 * math.sin(x / 11) + 3 * math.cos(y / 7)
            vein = abs(math.sin((x + 2 * y + 6 * bend) / 19)) ** 0.4
            grain = 12 * math.sin(x * 1.7 + y * 0.9) * math.cos(y * 2.1)
            put[x, y] = tuple(int(max(0, min(255, tone + 110 * (1 - vein) + grain))) for tone in (40, 110, 80))
    return picture


def subject_picture(width: int = 160, height: int = 96) -> Image.Image:
    """A lit ball on a plain pale ground."""
    picture = Image.new("RGB", (width, height), (226, 228, 232))
    put = picture.load()
    radius = min(width, height) * 0.38
    for y in range(height):
        for x in range(width):
            dx, dy = (x - width / 2) / radius, (y - height / 2) / radius
            if dx * dx + dy * dy < 1:
                light = max(0.0, -0.5 * dx - 0.6 * dy + 0.62 * math.sqrt(1 - dx * dx - dy * dy))
                put[x, y] = tuple(int(40 + light * tone) for tone in (190, 120, 90))
    return picture


def large_subject(side: int) -> Image.Image:
    """The ball at a size that gives an engine something to do."""
    return subject_picture(160, 160).resize((side, side), Image.Resampling.BICUBIC)


def noise(width: int, height: int, seed: int = 1) -> Image.Image:
    """Pixels that no coder can make smaller."""
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(width * height * 3))


def encoded(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def data_uri(picture: bytes, media: str = "image/png") -> str:
    return f"data:{media};base64," + base64.b64encode(picture).decode()


def opened(body: bytes) -> Image.Image:
    """Decodes wholly, so a cut-off answer is an error here."""
    picture = Image.open(io.BytesIO(body))
    picture.load()
    return picture


def pixels(body: bytes) -> tuple[tuple[int, int], bytes]:
    picture = opened(body).convert("RGB")
    return picture.size, picture.tobytes()


MATERIAL = encoded(material_picture())
SUBJECT = encoded(subject_picture())
M, S = data_uri(MATERIAL), data_uri(SUBJECT)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_zeros(width: int, height: int) -> bytes:
    """A bi-level PNG of zeros: 30,000 by 30,000 of them take about 110 kB (a decompression bomb)."""
    deflate = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return MAGIC["png"] + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def sixteen_bit_png(width: int = 128, height: int = 96) -> bytes:
    """RGB with 16 bits a channel, which Pillow cannot write."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height * 0.38) ** 2
            rows += struct.pack(">HHH", *((x * 400, y * 500, 9000) if inside else (58000, 58000, 59000)))
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return MAGIC["png"] + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(bytes(rows))) + _chunk(b"IEND", b"")


def rotated_jpeg() -> bytes:
    """128 wide and 80 high as stored; EXIF orientation 6 says that it is to be shown 80 wide and 128 high."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(subject_picture(128, 80), "JPEG", quality=92, exif=exif)


def unusual_pictures() -> dict[str, bytes]:
    """One file of each kind that rows 45 and 47 of B.6 name."""
    ball = subject_picture(128, 96)
    other = material_picture(128, 96)
    alpha = ball.copy().convert("RGBA")
    cut = Image.new("L", ball.size, 0)
    ImageDraw.Draw(cut).ellipse((28, 12, 100, 84), fill=255)
    alpha.putalpha(cut)
    return {
        "gif": encoded(ball, "GIF"),
        "animated gif": encoded(ball, "GIF", save_all=True, append_images=[other], duration=100),
        "apng": encoded(ball, "PNG", save_all=True, append_images=[other], duration=100),
        "animated webp": encoded(ball, "WEBP", save_all=True, append_images=[other], duration=100),
        "rgba png": encoded(alpha, "PNG"),
        "rgba webp": encoded(alpha, "WEBP"),
        "grey png": encoded(ball.convert("L"), "PNG"),
        "grey and alpha png": encoded(alpha.convert("LA"), "PNG"),
        "palette png": encoded(ball.quantize(64), "PNG"),
        "palette with transparency": encoded(ball.quantize(64), "PNG", transparency=0),
        "bilevel png": encoded(ball.convert("1"), "PNG"),
        "cmyk jpeg": encoded(ball.convert("CMYK"), "JPEG", quality=90),
        "grey jpeg": encoded(ball.convert("L"), "JPEG", quality=90),
        "16-bit png": sixteen_bit_png(),
        "16-bit grey png": encoded(ball.convert("L").convert("I;16"), "PNG"),
    }
