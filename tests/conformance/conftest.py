"""Options, and the servers that the groups of cases need.

Without `--base-url` each group gets the real binary with the configuration it needs. With `--base-url` the cases run
against that server, and a group that needs a special one is skipped, with the reason, unless its address is given too.
"""

from pathlib import Path

import pytest

from client import Api
from configurations import CONFIGURATIONS
from material_server import BAD_KEY, KEY, KEY2, MaterialServer
from picture_host import PictureHost

SPECIAL = {
    "ttl": "a result TTL of 5 s",
    "quota": "a quota of one call for the key",
    "rate": "a rate limit of a few calls a minute for the key",
    "deadline": "a v1 deadline of 1 s",
    "unchanged": "an unchanged configuration (fetch guard, no public URL, no trusted proxy)",
    "late": "late validation switched on",
    "open": "no keys",
    "restricted": "a key that may not use the model",
}


def pytest_addoption(parser):
    group = parser.getgroup("material-transfer")
    group.addoption("--base-url", help="test this server instead of starting the binary, e.g. http://host:8000")
    group.addoption("--key", default=KEY, help="a valid key of that server")
    group.addoption("--key2", default=KEY2, help="a second valid key of that server")
    group.addoption("--bad-key", default=BAD_KEY, help="a key that it does not know")
    group.addoption("--picture-host", help="name or address of this machine as that server sees it (default: loopback)")
    group.addoption("--no-private-pictures", action="store_true", help="its fetch guard may not reach this machine")
    group.addoption("--any-wording", action="store_true", help="error texts need only name the field, not match B.6")
    for name, what in SPECIAL.items():
        group.addoption(f"--{name}-url", help=f"a server with {what}")


class Servers:
    """Hands out base addresses by the name of a configuration; starts each at most once."""

    def __init__(self, config, folder: Path):
        self.config, self.folder = config, folder
        self.started: dict[str, MaterialServer] = {}

    @property
    def starts_its_own(self) -> bool:
        return not self.config.getoption("--base-url")

    def base(self, name: str) -> str:
        if self.starts_its_own:
            if name not in self.started:
                self.started[name] = self.new(name, self.folder / name).start()
            return self.started[name].base
        if name == "default":
            return self.config.getoption("--base-url").rstrip("/")
        url = self.config.getoption(f"--{name}-url", default=None)
        if not url:
            what = SPECIAL.get(name, f"the configuration '{name}'")
            pytest.skip(
                f"needs a server with {what}: let the suite start the binary"
                + (f", or give --{name}-url" if name in SPECIAL else "")
            )
        return url.rstrip("/")

    def new(self, name: str, folder: Path) -> MaterialServer:
        """A server of its own for one test, not yet started."""
        if not self.starts_its_own:
            pytest.skip("starts, stops and restarts the server: needs the binary")
        return MaterialServer(folder, **CONFIGURATIONS[name])

    def stop(self) -> None:
        for server in self.started.values():
            server.stop(patience=20)


@pytest.fixture(scope="session")
def servers(request, tmp_path_factory):
    servers = Servers(request.config, tmp_path_factory.mktemp("servers"))
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def keys(request):
    return {name: request.config.getoption(f"--{name}") for name in ("key", "key2", "bad-key")}


@pytest.fixture(scope="session")
def api(servers, keys):
    """The ordinary server, with the first key."""
    return Api(servers.base("default"), keys["key"])


@pytest.fixture(scope="session")
def api2(servers, keys):
    """The same server, with the second key."""
    return Api(servers.base("default"), keys["key2"])


@pytest.fixture(scope="session")
def stranger(servers):
    """The same server, without a key."""
    return Api(servers.base("default"), None)


@pytest.fixture(scope="session")
def special(servers, keys):
    """A client of the server with the named configuration."""
    return lambda name: Api(servers.base(name), keys["key"])


@pytest.fixture(scope="session")
def host(request):
    """The tester's picture site, where the server under test can reach it."""
    if request.config.getoption("--no-private-pictures"):
        pytest.skip("--no-private-pictures: the server may not fetch from this machine")
    name = request.config.getoption("--picture-host")
    host = PictureHost("0.0.0.0" if name else "127.0.0.1", name=name)
    yield host
    host.close()


@pytest.fixture(scope="session")
def any_wording(request):
    return request.config.getoption("--any-wording")
