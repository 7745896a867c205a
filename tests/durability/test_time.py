"""Pauses longer than a worker's lease (SIGSTOP, as `docker pause` and a sleeping laptop do it), and a wall clock that jumps by
two hours (libfaketime): nothing is begun again, nothing ends early, credits are right to the unit."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client import Api
from configurations import _key
from material_server import KEY, MaterialServer
from promises import Load, Promises
from work import CREDITS, OPEN, kinds

LEASE = 2.0
SETTINGS = f'lease = "{LEASE:.0f}s"\n' + _key("first", KEY, f"credits = {CREDITS}")
LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"


@contextmanager
def under_load(server: MaterialServer) -> Iterator[Promises]:
    """A server with work. In the end all of it is over, with its credits."""
    promises = Promises(ttl=3600)
    try:
        server.start()
        load = Load(Api(server.base, KEY, timeout=60), promises, kinds(), OPEN)
        load.start()
        yield promises
        load.stopping = True
        load.join(60)
        assert not load.is_alive()
        if load.error:
            raise load.error
        promises.completed(Api(server.base, KEY), CREDITS)
        print(f"{len(promises.all)} jobs, each completed at the first attempt")
    except BaseException:
        print(server.tail())
        raise
    finally:
        server.kill()


def test_pauses_longer_than_the_lease(tmp_path, request):
    dice = random.Random()
    server = MaterialServer(tmp_path / "server", keys=[], config=SETTINGS)
    with under_load(server):
        for _ in range(request.config.getoption("--pauses")):
            time.sleep(dice.uniform(0.1, 2.5))
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(LEASE + dice.uniform(0.3, 1.5))
            server.process.send_signal(signal.SIGCONT)
        time.sleep(1)


def test_a_clock_that_jumps(tmp_path, request, monkeypatch):
    found = sorted(Path("/").glob(LIBRARY[1:]))
    if not found and not os.environ.get("CI"):
        pytest.skip("there is no libfaketime (Debian: the package libfaketime)")
    assert found, f"{LIBRARY} is not there, and the gate wants it: install libfaketime"
    hands = tmp_path / "hands"
    hands.write_text("+0")
    for name, value in [
        ("LD_PRELOAD", str(found[0])),
        ("FAKETIME_TIMESTAMP_FILE", str(hands)),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ]:
        monkeypatch.setenv(name, value)
    server = MaterialServer(tmp_path / "server", keys=[], config=SETTINGS)
    with under_load(server) as promises:
        for number in range(request.config.getoption("--jumps")):
            time.sleep(2)
            hands.write_text(("+7200", "-7200", "+0", "-7200")[number % 4])
        time.sleep(2)
        assert "-7200" in hands.read_text() or number == 0, "the last jump is a jump back"
        assert jumped(server), "the server saw none of it"
        assert promises.all


def jumped(server: MaterialServer) -> bool:
    """Whether the log's own times show a jump: the library works."""
    hours = {line[11:13] for line in server.log.read_text(errors="replace").splitlines() if line[4:5] == "-"}
    return len(hours) > 1
