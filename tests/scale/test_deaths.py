"""Processes die at random: API nodes, workers, PostgreSQL itself."""

import random
import time

import httpx
import pytest

import pictures
from client import MODEL, Api, ok
from load import Load, look_again
from material_server import KEY
from servers import haproxy


def in_the_end(cluster, load, promises, kills: int) -> None:
    """Nothing lost, nothing doubled, nothing left behind."""
    failed = [promise for promise in promises if promise.status == "FAILED"]
    assert all(promise.status for promise in promises), "a job is not over"
    for promise in failed:
        assert b"interrupted twice" in promise.body and kills >= 2, promise.body
    jobs = int(cluster.sql("SELECT count(*) FROM @jobs"))
    doubled = jobs - len(promises) - load.unanswered()
    assert doubled <= 0, f"{jobs} jobs of {len(promises)} accepted and {load.unanswered()} unanswered"
    outputs = cluster.sql("SELECT count(*) FROM (SELECT job FROM @names WHERE is_output GROUP BY job HAVING count(*) > 1) x")
    assert outputs == "0", "a job has two results"
    again = int(cluster.sql("SELECT count(*) FROM @jobs WHERE retry_count > 0"))
    print(f"\n{kills} kills: {len(promises)} accepted, 0 lost, 0 doubled, {again} begun again, {len(failed)} interrupted twice")
    print(f"answers: {dict(load.answers())}, slowest job {max(promise.seconds for promise in promises):.1f} s")


def test_kills_lose_nothing(cluster, tmp_path, request):
    kills, seed = request.config.getoption("--kills"), random.randrange(1 << 32)
    dice = random.Random(seed)
    nodes = cluster(lease="3s", ttl="30m")
    apis, workers = [nodes.api().start() for _ in range(2)], [nodes.worker().start() for _ in range(2)]
    proxy = haproxy(tmp_path, [node.port for node in apis])
    base = f"http://127.0.0.1:{proxy.port}"
    begun = time.monotonic()
    first = Api(base, KEY).submit()["request_id"]
    wait_for(lambda: Api(base, KEY).get(f"/v2/requests/{first}").json()["status"] == "COMPLETED", 60)
    nodes.sql(f"DELETE FROM @names WHERE job = '{first}'; DELETE FROM @jobs WHERE id = '{first}'")
    # Most jobs are to live, so kills come at the pace of work.
    pause = min(10.0, max(1.0, time.monotonic() - begun))
    print(f"\n{kills} kills, one every {0.2 + 0.5 * pause:.1f} s or so, random seed {seed}")
    load = Load(base, 4)
    try:
        for number in range(kills):
            time.sleep(dice.uniform(0.2, pause))
            victim = dice.choice([*apis, *workers, *workers, nodes.postgres])
            victim.kill()
            time.sleep(dice.uniform(0, 0.5))
            victim.start() if victim is nodes.postgres else victim.start(wait=False)
            load.check()
        promises = load.finish()
        look_again(base, promises)
        in_the_end(nodes, load, promises, kills)
    except BaseException:
        for node in nodes.nodes:
            print(node.role, node.port, node.tail()[-1500:])
        raise
    finally:
        proxy.close()
    for node in workers:
        node.ready()
    left_behind(nodes)


def left_behind(nodes) -> None:
    """Every object is a named file, and every named file is there."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        named = sorted(nodes.sql("SELECT key FROM @files WHERE state = 'STORED'").split())
        if nodes.sql("SELECT count(*) FROM @files WHERE state = 'DOOMED'") == "0":
            break
        time.sleep(0.5)
    mine = [path for path in (nodes.store.folder / "pictures" / nodes.schema).iterdir() if path.name != "probe"]
    unknown = set(path.name for path in mine if not path.name.startswith(".")) - set(
        nodes.sql("SELECT key FROM @files").split()
    )
    assert not unknown, f"objects that nobody knows of: {unknown}"
    assert set(named) <= {path.name for path in mine}, "a named file is not there"


def test_a_dead_workers_job_is_taken_over(cluster):
    nodes = cluster(lease="3s")
    api, first = nodes.api().start(), nodes.worker().start()
    client = Api(api.base, KEY)
    job = client.submit(steps=150, max_width=1920, max_height=1920, subject_image=slow_subject())
    wait_for(lambda: client.get(f"/v2/requests/{job['request_id']}").json()["status"] == "PROCESSING")
    second = nodes.worker().start()
    first.kill()
    died = time.monotonic()
    wait_for(lambda: nodes.sql(f"SELECT count(*) FROM @jobs WHERE retry_count = 1 AND state <> 'QUEUED'") == "1", 30)
    taken = time.monotonic() - died
    print(f"\na dead worker's job was taken over after {taken:.1f} s (lease 3 s)")
    assert taken < 3 + 5 + 1 + 3, "lease, sweep, chance"
    client.get(f"/v2/requests/{job['request_id']}")
    assert second.process.poll() is None


def slow_subject(size: int = 1600) -> str:
    return pictures.data_uri(pictures.encoded(pictures.large_subject(size), "JPEG", quality=90))


def wait_for(true, seconds: float = 20.0) -> float:
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds, "it did not come true in time"
        time.sleep(0.02)
    return time.monotonic() - begun


def test_an_api_node_dies_between_submit_and_poll(cluster):
    nodes = cluster()
    first, second, _ = nodes.api().start(), nodes.api().start(), nodes.worker().start()
    job = Api(first.base, KEY).submit()
    first.kill()
    client = Api(second.base, KEY)
    wait_for(lambda: client.get(f"/v2/requests/{job['request_id']}").json()["status"] == "COMPLETED")
    output = client.get(f"/v2/requests/{job['request_id']}").json()["output"]
    assert output.startswith(second.base) and client.get(output, headers={}).status_code == 200


def test_cancelling_goes_across_hosts(cluster):
    """A v1 call whose client goes away is cancelled, wherever it runs."""
    nodes = cluster()
    api, _ = nodes.api().start(), nodes.worker().start()
    body = ok(steps=150, max_width=1920, max_height=1920, subject_image=slow_subject())
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{api.base}/v1/{MODEL}", json=body, headers={"x-api-key": KEY}, timeout=0.6, trust_env=False)
    wait_for(lambda: nodes.sql("SELECT count(*) FROM @jobs WHERE cancel_requested AND state = 'FAILED'") == "1")
