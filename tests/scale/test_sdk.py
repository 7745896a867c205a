"""The Segmind SDK from PyPI, unmodified, through HAProxy, with nodes dying under it."""

import json
import os
import random
import subprocess
import time

from client import ok
from load import Load
from material_server import KEY, ROOT, clean_environment
from servers import haproxy


def drive(base: str, scenario: str, seconds: float = 120) -> dict:
    """Runs a scenario of the client tests in the SDK's own environment."""
    command = [os.environ["SDK_PYTHON"], str(ROOT / "tests/clients/sdk/drive.py"), f"{base}/v1", KEY, scenario]
    done = subprocess.run(
        command, input=json.dumps(ok()), capture_output=True, text=True, timeout=seconds, env=clean_environment(), check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_sdk_through_dying_nodes(cluster, tmp_path):
    """Workers die at random, API nodes one after the other while a proxy stands before them."""
    nodes = cluster(lease="3s")
    apis, workers = [nodes.api().start() for _ in range(2)], [nodes.worker().start() for _ in range(2)]
    proxy = haproxy(tmp_path, [node.port for node in apis])
    base, dice = f"http://127.0.0.1:{proxy.port}", random.Random(7)
    other = Load(base, 2)
    try:
        for number in range(4):
            running = subprocess.Popen(
                [os.environ["SDK_PYTHON"], str(ROOT / "tests/clients/sdk/drive.py"), f"{base}/v1", KEY, "run"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
            )
            running.stdin.write(json.dumps(ok(seed=number)))
            running.stdin.close()
            time.sleep(dice.uniform(0.3, 1.5))
            victim = workers[number % 2] if number < 2 else apis[number % 2]
            victim.kill()
            time.sleep(0.5)
            victim.start(wait=False)
            out, err = running.stdout.read(), running.stderr.read()
            assert running.wait(120) == 0, err[-2000:]
            report = json.loads(out.splitlines()[-1])
            print(f"\nthe SDK's job {number}: {report.get('status')}")
            assert report["status"] == "COMPLETED", report
            victim.ready()
        other.finish()
    finally:
        proxy.close()
