"""A disk that is full at every step of a job, for real: the data folder is a small file system in memory, which is filled to the
last byte before a submit, while a job waits, while it computes, and before its picture is written. What was accepted is done
as soon as there is room; what was not is told so, and costs nothing."""

import os
import random
import subprocess
import time

import pytest

from client import Api
from configurations import _key
from material_server import KEY, MaterialServer
from promises import Promises
from work import CREDITS, kinds

SIZE = 24 << 20
# The reserve would refuse new work before the disk is full: it is switched off, to see what happens without.
SETTINGS = 'disk_reserve = 0\nlease = "5s"\n' + _key("first", KEY, f"credits = {CREDITS}")


@pytest.fixture
def small_disk(tmp_path):
    data = tmp_path / "server" / "data"
    data.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", data], capture_output=True, text=True)
    if mounted.returncode and not os.environ.get("DURABILITY_WITHOUT_MOUNT"):
        pytest.fail(f"no file system can be mounted here; DURABILITY_WITHOUT_MOUNT=1 leaves this out: {mounted.stderr}")
    if mounted.returncode:
        pytest.skip("left out knowingly: no file system can be mounted here")
    yield data
    subprocess.run(["umount", "-l", data], check=True)


def fill(data, spare: int):
    """Leaves `spare` bytes and no more."""
    filler = data / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - spare))
    return filler


def test_a_disk_that_is_full_at_every_step(tmp_path, request, small_disk):
    server = MaterialServer(tmp_path / "server", keys=[], config=SETTINGS)
    promises, refused = Promises(ttl=3600), 0
    dice = random.Random()
    try:
        server.start()
        api = Api(server.base, KEY, timeout=60)
        for _ in range(request.config.getoption("--fillings")):
            for spare in (0, 4 << 10, 64 << 10, 512 << 10):
                for delay in (None, 0.0, 0.05, dice.uniform(0.1, 1.0)):
                    refused += one_step(server, api, promises, spare, delay)
        promises.completed(api, CREDITS)
        assert refused, "the disk was never full enough to refuse anything"
        print(f"{len(promises.all)} accepted and completed, {refused} refused")
    except BaseException:
        print(server.tail())
        raise
    finally:
        server.kill()


def one_step(server: MaterialServer, api: Api, promises: Promises, spare: int, delay: float | None) -> int:
    """Fills the disk `delay` seconds after a submit (`None`: before it), looks round, and makes room again. Returns how many
    submits were refused."""
    name, changes = kinds()[len(promises.all) % len(kinds())]
    filler, refused = fill(server.data, spare) if delay is None else None, 0
    answer = api.v2(**changes)
    if answer.status_code == 200:
        promises.accept(answer.json(), name)
    else:
        assert filler is not None, f"{answer.status_code} though there was room: {answer.text[:200]}"
        assert answer.status_code == 503 and answer.headers["retry-after"], f"{answer.status_code}: {answer.text[:200]}"
        refused = 1
    if delay is not None:
        time.sleep(delay)
        filler = fill(server.data, spare)
    time.sleep(1.5)
    assert server.running(), "the server ended"
    promises.check(api)  # what is over is served from a full disk
    filler.unlink()
    ends = time.monotonic() + 60
    while api.http.get(f"{server.base}/health/ready").status_code != 200:
        assert time.monotonic() < ends, "there is room, and it is not ready"
        time.sleep(0.2)
    return refused
