"""The server under test, and the environments that `run` has made."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from client import Api
from configurations import CONFIGURATIONS
from material_server import KEY, MaterialServer, clean_environment
from picture_host import PictureHost

HERE = Path(__file__).parent
CLIENTS = Path(os.environ.get("CLIENTS_DIR", HERE.parents[1] / "target" / "clients"))


def _server(folder: Path, name: str):
    server = MaterialServer(folder, **CONFIGURATIONS[name]).start()
    yield server
    server.stop(patience=20)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The ordinary server: two keys, loopback pictures permitted."""
    yield from _server(tmp_path_factory.mktemp("default"), "default")


@pytest.fixture(scope="session")
def rate_limited(tmp_path_factory):
    yield from _server(tmp_path_factory.mktemp("rate"), "rate")


@pytest.fixture(scope="session")
def spent(tmp_path_factory):
    """A server whose key has one credit, which is used up here."""
    for server in _server(tmp_path_factory.mktemp("quota"), "quota"):
        assert Api(server.base, KEY).v1().status_code == 200
        yield server


@pytest.fixture(scope="session")
def prefixed(tmp_path_factory):
    yield from _server(tmp_path_factory.mktemp("prefixed"), "prefixed")


@pytest.fixture(scope="session")
def api(server):
    return Api(server.base, KEY)


@pytest.fixture(scope="session")
def host():
    host = PictureHost()
    yield host
    host.close()


def _report(command: list[str], given: object, seconds: float) -> dict:
    """Runs a client in its own environment; what it printed last, as JSON."""
    environment = clean_environment() | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, timeout=seconds, env=environment, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def sdk():
    """sdk(version, base_url, key, scenario, parameters) -> what the SDK of that version made of it."""

    def drive(version: str, base_url: str, key: str, scenario: str, given: object, seconds: float = 240) -> dict:
        script = HERE / "sdk" / ("drive_0_2_3.py" if version == "0.2.3" else "drive.py")
        python = CLIENTS / f"sdk-{version}" / "bin" / "python"
        return _report([str(python), str(script), base_url, key, scenario], given, seconds)

    return drive


@pytest.fixture(scope="session")
def node():
    """node(script, argument…) -> what the client in `node/SCRIPT.mjs` printed."""

    def drive(script: str, *arguments: str, given: object = None, seconds: float = 240) -> dict:
        return _report(["node", str(CLIENTS / "node" / f"{script}.mjs"), *arguments], given, seconds)

    return drive
