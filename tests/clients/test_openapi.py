"""The OpenAPI document as programs use it: fuzzed by schemathesis, and turned into clients that then make a transfer."""

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest

import pictures
from client import Api
from conftest import CLIENTS, HERE, _server
from material_server import KEY, clean_environment

TOOLS = CLIENTS / "openapi" / "bin"


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    yield from _server(tmp_path_factory.mktemp("open"), "fuzzed-open")


@pytest.fixture(scope="module")
def keyed_server(tmp_path_factory):
    yield from _server(tmp_path_factory.mktemp("keyed"), "fuzzed")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, text in (("subject", pictures.SUBJECT), ("material", pictures.MATERIAL)):
        (folder / f"{name}.png").write_bytes(text)
    return [str(folder / "subject.png"), str(folder / "material.png")]


@pytest.fixture(scope="module")
def document(keyed_server, tmp_path_factory):
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_text(json.dumps(Api(keyed_server.base, None).get("/openapi.json").json()))
    return path


def _run(command: list, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def _fuzz(server, folder: Path, *more: str) -> str:
    command = [TOOLS / "st", "--config-file", HERE / "schemathesis.toml", "run", f"{server.base}/openapi.json"]
    # A job has to be there to be asked for, so these belong to the suites that make one.
    command += ["--max-examples", "12", "--seed", "1", "--phases", "examples,coverage,fuzzing", "--request-timeout", "60"]
    return _run([*command, *more], folder, SCHEMATHESIS_HOOKS="schemathesis_hooks", PYTHONPATH=str(HERE))


def _nothing_found(said: str) -> None:
    """Its exit status said so already; here, that it has done anything at all."""
    cases = re.search(r"(\d+) generated, (\d+) passed", said)
    assert cases and int(cases[2]) > 100, said[-2000:]


def test_schemathesis_finds_nothing_on_an_open_server(open_server, tmp_path):
    _nothing_found(_fuzz(open_server, tmp_path))


def test_schemathesis_finds_nothing_on_a_keyed_server(keyed_server, tmp_path):
    _nothing_found(_fuzz(keyed_server, tmp_path, "-H", f"x-api-key: {KEY}"))


def test_a_generated_python_client_makes_a_transfer(document, keyed_server, files, tmp_path):
    out = tmp_path / "client"
    # It remarks that it has no type for the pictures of /files, which are fetched by their URLs anyway.
    _run([TOOLS / "openapi-python-client", "generate", "--path", document, "--output-path", out], tmp_path)
    seen = json.loads(_run([TOOLS / "python", HERE / "generated_python.py", out, keyed_server.base, KEY, *files], tmp_path))
    assert (seen["status"], seen["seed"], seen["width"]) == ("COMPLETED", "7", 128)
    assert seen["v1"][:2] == [200, "application/json"] and seen["picture"] == "RIFF"


def test_a_generated_typescript_client_makes_a_transfer(document, keyed_server, files):
    node = CLIENTS / "node"
    tools = CLIENTS / "node_modules" / ".bin"
    _run([tools / "openapi-typescript", document, "-o", node / "schema.d.ts", "--default-non-nullable=false"], node)
    _run([tools / "tsc", "-p", node / "tsconfig.json"], node)
    texts = [base64.b64encode(Path(file).read_bytes()).decode() for file in files]
    seen = json.loads(_run(["node", node / "generated-client.js", keyed_server.base, KEY, *texts], node))
    assert (seen["seed"], seen["width"]) == ("7", 128)
    assert seen["output"].startswith(f"{keyed_server.base}/files/")
    assert seen["refused"].startswith("subject_image: ")
