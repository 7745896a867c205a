"""What strangers send. Each attack is a function of a `Stranger` that makes one attempt; whatever it is answered is fine, as
long as somebody else is served."""

import base64
import itertools
import json
import random
import socket
import struct
import time
import zlib
from pathlib import Path

import pictures
from client import ok

PICTURES = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "pictures").iterdir()) if path.suffix not in (".py", ".json")]


class Stranger:
    """One address, with a dice of its own."""

    def __init__(self, port: int, address: str, seed: int):
        self.port, self.address, self.dice = port, address, random.Random(seed)

    def connect(self, patience: float = 20.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), patience, (self.address, 0))

    def post(self, path: str, body: bytes, kind: str = "application/json", wait: float = 20.0) -> bytes:
        """Sends a request and reads the beginning of what comes back within `wait` seconds."""
        with self.connect(wait) as line:
            line.sendall(self.head(path, len(body), kind) + body)
            return line.recv(4096) if wait else b""

    @staticmethod
    def head(path: str, length: int, kind: str = "application/json") -> bytes:
        return f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode()

    def submit(self, **changes) -> bytes:
        return self.post(f"/v{self.dice.choice((1, 2))}/material-transfer", json.dumps(ok(**changes)).encode(), wait=5)


def inline(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def nested_webp(levels: int) -> bytes:
    parts = [b"ANMF" + struct.pack("<I", 24 * inner + 16) + bytes(16) for inner in range(levels - 1, -1, -1)]
    body = b"WEBP" + chunk(b"VP8X", bytes([2, 0, 0, 0, 63, 0, 0, 63, 0, 0])) + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def png(width: int, height: int, kind: int, depth: int, pixel: int) -> bytes:
    """All zeros: as small as a picture of this size gets."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width * pixel)) for _ in range(height)) + packer.flush()

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")


def tiff(entries: list[tuple[int, int, int]]) -> bytes:
    directory = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, count, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(64)


SWOLLEN = {
    "nested WebP": nested_webp(40_000),
    "RGBA of 16 bits, 100 megapixels": png(10_000, 10_000, 6, 16, 8),
    "RGB, 100 megapixels": png(10_000, 10_000, 2, 8, 3),
    "GIF with a huge frame": b"GIF89a@\0@\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\xff" + bytes(300),
    "TIFF of a quarter of a gigabyte": tiff([(256, 1, 64), (257, 1, 64), (258, 1 << 26, 8), (262, 1, 1), (273, 1 << 26, 8), (279, 1 << 26, 8)]),
    "TIFF with a tile of two gigabytes": tiff([(256, 1, 64), (257, 1, 64), (258, 1, 8), (262, 1, 1), (322, 1, 1 << 27), (323, 1, 16), (324, 1, 8), (325, 1, 9)]),
    "JPEG of 65,500 pixels a side": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\x03\x01\x11\0\x02\x11\0\x03\x11\0" + b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0" + bytes(9999) + b"\xff\xd9",
    "BMP of four gigapixels": b"BM" + struct.pack("<IIIIiiHHIIiiII", 1000, 0, 54, 40, 65_500, 65_500, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(999),
}


def swollen(stranger: Stranger) -> None:
    stranger.submit(subject_image=inline(stranger.dice.choice(list(SWOLLEN.values()))))


def mutated(stranger: Stranger) -> None:
    picture = bytearray(stranger.dice.choice(PICTURES))
    for _ in range(stranger.dice.randrange(1, 9)):
        picture[stranger.dice.randrange(len(picture))] = stranger.dice.randrange(256)
    stranger.submit(material_image=inline(bytes(picture[: stranger.dice.randrange(20, len(picture) + 1)])))


def hang_up(stranger: Stranger) -> None:
    """Has a large picture decoded and is gone."""
    body = json.dumps(ok(subject_image=inline(SWOLLEN["RGB, 100 megapixels"]))).encode()
    with stranger.connect() as line:
        line.sendall(stranger.head("/v2/material-transfer", len(body)) + body)
        time.sleep(0.35)


def many_parts(stranger: Stranger) -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="f%d"; filename="f"\r\n\r\n\r\n'
    body = b"".join(part % number for number in range(60_000)) + b"--B--\r\n"
    stranger.post("/v1/material-transfer", body, "multipart/form-data; boundary=B")


def many_values(stranger: Stranger) -> None:
    stuffing = stranger.dice.choice(['[{"":0}' + ',{"":0}' * 900_000 + "]", "[" * 4_000_000 + "]" * 4_000_000])
    stranger.post("/v2/material-transfer", f'{{"x":{stuffing}}}'.encode())


def large_job(stranger: Stranger) -> None:
    picture = inline(pictures.encoded(pictures.large_subject(1024), "JPEG"))
    stranger.submit(subject_image=picture, max_width=2_000_000_000, max_height=2_000_000_000, steps=stranger.dice.choice((6, 150)))


def nowhere(stranger: Stranger) -> None:
    """Jobs whose pictures cannot be fetched, by the dozen, with long prompts and long addresses."""
    for number in range(20):
        where = stranger.dice.choice(["http://127.0.0.1:1/x", "http://10.255.255.1/x", "http://[::1]/x", "http://nowhere.invalid/" + "x" * 8000])
        stranger.submit(subject_image=where, prompt="x" * 40_000, seed=number)


def uploads(stranger: Stranger) -> None:
    picture = pictures.data_uri(pictures.encoded(pictures.noise(600, 600, stranger.dice.randrange(1 << 30))))
    stranger.post("/upload-asset", json.dumps({"data_urls": [picture] * 16}).encode())


def slow(stranger: Stranger) -> None:
    """Forty heads and bodies a byte at a time, for ten seconds."""
    lines = []
    try:
        for number in range(40):
            line = stranger.connect()
            lines.append(line)
            line.sendall(b"POST /v1/mat" if number % 2 else stranger.head("/v2/material-transfer", 60_000_000) + b"x" * 20_000)
        for _ in range(10):
            time.sleep(1)
            for line in lines:
                line.sendall(b"x")
    finally:
        for line in lines:
            line.close()


def unread(stranger: Stranger) -> None:
    """Twenty readers of one large upload who read nothing."""
    picture = pictures.data_uri(pictures.encoded(pictures.noise(1500, 1500)))
    answer = stranger.post("/upload-asset", json.dumps({"data_urls": [picture]}).encode())
    key = answer.split(b"/files/")[1].split(b'"')[0]
    lines = [stranger.connect() for _ in range(20)]
    for line in lines:
        line.sendall(b"GET /files/" + key + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    time.sleep(10)
    for line in lines:
        line.close()


def pipelined(stranger: Stranger) -> None:
    with stranger.connect() as line:
        line.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n" * 2000)
        line.recv(1 << 20)


# The name of each, and how many seconds pass between two attempts of one stranger.
ATTACKS = [
    (swollen, 0.5), (mutated, 0.1), (hang_up, 2.0), (many_parts, 2.0), (many_values, 2.0), (large_job, 3.0),
    (nowhere, 2.0), (uploads, 1.0), (slow, 1.0), (unread, 1.0), (pipelined, 1.0),
]


def attack_for_ever(stranger: Stranger, attack, pause: float, counts: dict, stopping) -> None:
    """One attempt after the other; a refused or broken connection is what an attempt may end with."""
    for _ in itertools.count():
        if stopping.wait(pause * stranger.dice.uniform(0.5, 1.5)):
            return
        try:
            attack(stranger)
        except (OSError, IndexError):
            counts[attack.__name__, "cut off"] = counts.get((attack.__name__, "cut off"), 0) + 1
        counts[attack.__name__, "attempts"] = counts.get((attack.__name__, "attempts"), 0) + 1
