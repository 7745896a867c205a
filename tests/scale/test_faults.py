"""What surrounds the nodes misbehaves: the network, the object store, the clocks."""

import shutil
import time

import pytest

from client import Api
from load import Load, look_again
from material_server import KEY
from servers import Relay, need, pgbouncer
from test_deaths import in_the_end, slow_subject, wait_for


def submitted_and_running(nodes, api) -> str:
    client = Api(api.base, KEY)
    job = client.submit(steps=40, max_width=512, max_height=512, subject_image=slow_subject(512))["request_id"]
    wait_for(lambda: client.get(f"/v2/requests/{job}").json()["status"] == "PROCESSING")
    return job


def ended(api, job: str, seconds: float = 150) -> dict:
    client = Api(api.base, KEY)
    wait_for(lambda: client.get(f"/v2/requests/{job}").json()["status"] in ("COMPLETED", "FAILED"), seconds)
    return client.get(f"/v2/requests/{job}").json()


@pytest.mark.parametrize("seconds", [1.5, 9])
def test_a_worker_is_cut_off(cluster, postgres, seconds):
    """Shorter than the lease it keeps its job; longer, another one takes it and the first one's work is thrown away."""
    nodes = cluster(lease="3s")
    relay = Relay(postgres.port)
    api = nodes.api().start()
    nodes.worker(MATERIAL_TRANSFER_DATABASE=postgres.address(relay.port)).start()
    job = submitted_and_running(nodes, api)
    second = nodes.worker().start() if seconds > 3 else None
    relay.cut = True
    time.sleep(seconds)
    relay.cut = False
    body = ended(api, job)
    assert body["status"] == "COMPLETED", body
    if second is None:
        assert body["metrics"].get("retry_count", 0) == 0, "it was cut off for less than its lease"
    assert nodes.sql("SELECT count(*) FROM @jobs") == "1"
    relay.close()


@pytest.mark.parametrize("way", ["500", "503", "half", "slow"])
def test_the_object_store_misbehaves(cluster, store, way):
    nodes = cluster()
    api, _ = nodes.api().start(), nodes.worker().start()
    load = Load(api.base, 2)
    time.sleep(1.5)
    store.misbehave(way)
    time.sleep(4)
    store.misbehave("none")
    time.sleep(1.5)
    promises = load.finish()
    look_again(api.base, promises)
    assert promises and all(promise.status == "COMPLETED" for promise in promises)
    in_the_end(nodes, load, promises, 0)


def test_clocks_are_wrong(cluster):
    """Nobody's clock matters but the database's. (An object store refuses signatures that are 15 minutes off; a node that
    is further off says that it is not ready.)"""
    library = next(iter(__import__("glob").glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
    if not library:
        need("faketime", "faketime")
    nodes = cluster()
    wrong = {"LD_PRELOAD": library, "FAKETIME": "+600", "DONT_FAKE_MONOTONIC": "1"}
    early, _, late = nodes.api(**wrong).start(), nodes.worker(**wrong).start(), nodes.api().start()
    for submit, poll in ((early, late), (late, early)):
        job = Api(submit.base, KEY).submit()["request_id"]
        body = ended(poll, job)
        assert body["status"] == "COMPLETED" and 0 <= body["metrics"]["total_time"] < 30, body
        file = Api(poll.base).get(body["output"], headers={})
        assert 500 < int(file.headers["cache-control"].split("=")[1]) <= 600, "ten minutes, by any node"


def test_behind_pgbouncer_in_transaction_mode(cluster, postgres, tmp_path):
    bouncer = pgbouncer(tmp_path / "bouncer", postgres)
    try:
        nodes = cluster(database=postgres.address(bouncer.port))
        api, _ = nodes.api().start(), nodes.worker().start()
        load = Load(api.base, 3, most=5)
        promises = wait(load)
        assert len(promises) == 15 and all(promise.status == "COMPLETED" for promise in promises)
        slowest = max(promise.seconds for promise in promises)
        print(f"\nbehind PgBouncer: slowest of 15 jobs {slowest:.1f} s")
        in_the_end(nodes, load, promises, 0)
    finally:
        bouncer.close()


def wait(load: Load):
    for client in load.clients:
        client.join(60)
    return load.finish()


def test_the_database_is_full(cluster, tmp_path):
    """A disk that is full is an answer, not a loss. Needs a small file system, so root."""
    import os
    import subprocess

    from servers import Postgres

    small = tmp_path / "small"
    small.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=130m,mode=755", "tmpfs", small], check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        server = Postgres(small / "server", "max_wal_size=32MB", "min_wal_size=32MB")
        nodes = cluster(database=server.address())
        nodes.postgres = server
        api, _ = nodes.api().start(), nodes.worker().start()
        load = Load(api.base, 2)
        time.sleep(2)
        free = shutil.disk_usage(small).free
        with (small / "ballast").open("wb") as ballast:
            try:
                ballast.write(b"\0" * free)
                ballast.flush()
            except OSError:
                pass
        time.sleep(4)
        (small / "ballast").unlink(missing_ok=True)
        # PostgreSQL ends itself where it cannot write its log; an operator, or systemd, starts it again.
        try:
            server.ask("SELECT 1")
        except subprocess.CalledProcessError:
            server.kill()
            server.start()
        time.sleep(2)
        promises = load.finish()
        look_again(api.base, promises)
        in_the_end(nodes, load, promises, 2)
        server.close()
    finally:
        subprocess.run(["umount", "-l", small], check=False)
