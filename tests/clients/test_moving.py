"""docs/moving-from-segmind.md, run as it stands there: only the address, the key and the host of the pictures are put in. A block
is run if a comment before it says with what: the Segmind SDK's Python, a shell, Node."""

import os
import re
import subprocess
from pathlib import Path

import pytest

import pictures
from conftest import CLIENTS
from material_server import KEY, clean_environment

PAGE = Path(__file__).parents[2] / "docs" / "moving-from-segmind.md"
BLOCK = re.compile(r"<!-- (run|file): (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
BLOCKS = [(kind, how, text) for kind, how, text in BLOCK.findall(PAGE.read_text())]
SDK = CLIENTS / "sdk-1.3.0" / "bin"
# A program that knows nothing of another address, as the page's sitecustomize.py expects it.
UNMODIFIED = """
from urllib.request import urlopen
import segmind
pictures = {"subject_image": "http://pictures.example/subject.png", "material_image": "http://pictures.example/material.png"}
result = segmind.run("material-transfer", max_width=512, **pictures)
open("out.webp", "wb").write(urlopen(result["output"]).read())
result = segmind.SegmindClient().run("material-transfer", max_width=512, **pictures)
assert result["status"] == "COMPLETED"
"""
COMMANDS = {
    "sdk": [str(SDK / "python"), "-"],
    "shell": ["bash", "-eu"],
    "sdk-shell": ["bash", "-eu"],
    "node": ["node", "--input-type=module", "-"],
}


def test_the_page_has_blocks_to_run():
    assert [how for kind, how, _ in BLOCKS if kind == "run"] == ["sdk", "sdk", "sdk-shell", "sdk", "shell", "node", "shell"]


@pytest.mark.parametrize("number", [n for n, (kind, _, _) in enumerate(BLOCKS) if kind == "run"])
def test_a_block_makes_its_picture(number, server, host, tmp_path):
    def put_in(text: str) -> str:
        text = text.replace("http://pictures.example", host("")).replace("http://your-host:8000", server.base)
        return text.replace("your-key", KEY)

    _, how, text = BLOCKS[number]
    (tmp_path / "subject.png").write_bytes(pictures.SUBJECT)
    (tmp_path / "material.png").write_bytes(pictures.MATERIAL)
    if how == "sdk-shell":
        (tmp_path / "program.py").write_text(put_in(UNMODIFIED))
        for kind, name, content in BLOCKS:
            if kind == "file":
                (tmp_path / name).write_text(content)
    environment = clean_environment()
    if how.startswith("sdk"):
        environment["PATH"] = f"{SDK}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        COMMANDS[how], input=put_in(text), capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert pictures.opened((tmp_path / "out.webp").read_bytes()).format == "WEBP"
