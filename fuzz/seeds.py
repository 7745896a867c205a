#!/usr/bin/env python3
"""Writes the seeds of every fuzz target into `corpus/TARGET/`: files that the repository has anyway, and small valid
requests. Running it again changes nothing that was found since."""

import base64
import io
import json
import pathlib
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
# Larger seeds make every mutation slow.
LARGEST = 64 << 10

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
FIELDS = {
    "subject_image": URI,
    "material_image": "https://example.com/a.jpg",
    "prompt": "ruby é \U0001f48e",
    "material_strength": "strong",
    "guidance_scale": "2.5",
    "steps": 6,
    "seed": -1,
    "return_intermediate_images": "true",
    "max_width": 2048.0,
    "output_quality": None,
    "stepz": [1, {"a": {}}],
}


def seed(target: str, name: str, data: bytes | str) -> None:
    data = data.encode() if isinstance(data, str) else data
    if len(data) <= LARGEST:
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seed-{name}").write_bytes(data)


def form(fields: dict, files: dict) -> bytes:
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts += [
        f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files.items()
    ]
    return b"".join(parts) + b"--x--\r\n"


def requests() -> None:
    whole = json.dumps(FIELDS)
    short = json.dumps({"subject_image": URI, "material_image": URI})
    upload = json.dumps({"data_urls": [URI, URI]})
    picture = (ROOT / "tests/pictures/rgb.png").read_bytes()
    texts = {name: value for name, value in FIELDS.items() if isinstance(value, str)}
    files = {"subject_image": picture, "material_image": picture}
    for name, body in (("whole", whole), ("short", short), ("escapes", whole.replace("a", "\\u0061"))):
        seed("request_json", name, body)
        seed("form", f"json-{name}", b"\x02" + body.encode())
    seed("upload", "two", upload)
    seed("form", "upload", b"\x03" + upload.encode())
    seed("form", "texts", b"\x00" + form(texts, {}))
    seed("form", "files", b"\x01" + form({"seed": "", "steps": 6}, files))
    for name, text in {
        "uri": URI,
        "bare": URI.split(",")[1],
        "parameters": "data:image/png;charset=utf-8;base64,iVBORw0KGgo=",
        "percent": "data:image/png,%89PNG%0D%0A%1A%0A",
        "url": "https://user@example.com:8080/a%20b/ä.png?x=[1]#y",
        "address": "http://[::ffff:10.0.0.1%25eth0]/",
    }.items():
        seed("image_source", name, text)


def files() -> None:
    for path in (ROOT / "tests/pictures").iterdir():
        if path.is_file() and path.suffix not in (".py", ".json"):
            seed("picture", path.name, path.read_bytes())
    for path in (ROOT / "tests/golden/weight_files").iterdir():
        if path.is_file():
            seed("onnx" if path.suffix == ".onnx" else "pth", path.name, path.read_bytes())
    header = json.dumps({"a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {"b": "c"}})
    header = header.ljust(-len(header) % 8 + len(header))
    seed("safetensors", "two-by-three", len(header).to_bytes(8, "little") + header.encode() + bytes(12))
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    seed("pth", "empty-dictionary", empty.getvalue())
    for path in (ROOT / "configs/profiles").glob("*.toml"):
        seed("profile", path.name, path.read_bytes())
    server = (ROOT / "configs/server.toml").read_text()
    seed("configuration", "commented", server)
    settings = [line[1:] for line in server.splitlines() if line.startswith("#") and " = " in line and line[1] != " "]
    seed("configuration", "all", "\n".join(settings) + "\n---\nMATERIAL_TRANSFER_QUEUE_LIMIT=7")
    for number, line in enumerate(settings):
        name, value = line.split(" = ", 1)
        variable = value.strip('"')
        seed("configuration", f"one-{number}", f"{line}\n---\nMATERIAL_TRANSFER_{name.upper()}={variable}")
    for name, text in {"v4": "10.0.0.0/8 10.1.2.3", "v6": "fc00::/7 fd00::1", "mapped": "::ffff:10.0.0.0/104 10.0.0.1"}.items():
        seed("address", name, text)


if __name__ == "__main__":
    requests()
    files()
