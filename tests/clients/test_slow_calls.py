"""F-75 with the real clients: blocking calls that wait more than 35 s for their turn, all at once. The SDK, whose read
timeout is 30 s, has to be kept alive by interim answers; requests, Node's fetch and curl must not see any. The wait is
real work: jobs that were queued before them."""

import base64
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import pictures
import workload
from client import ok
from material_server import KEY

SLOWER_THAN = 35.0
SDKS = ("1.3.0", "1.1.0", "1.0.1")


def by_requests(base: str) -> dict:
    with requests.Session() as session:
        session.trust_env = False
        begun = time.monotonic()
        answer = session.post(f"{base}/v1/material-transfer", json=ok(), headers={"x-api-key": KEY})
        return {"status": answer.status_code, "picture": answer.content, "seconds": time.monotonic() - begun}


def by_curl(base: str) -> dict:
    command = ["curl", "-q", "-s", "-H", f"x-api-key: {KEY}", "-H", "Content-Type: application/json", "-d", "@-"]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "-w", "%{stderr}%{http_code}", f"{base}/v1/material-transfer"],
        input=json.dumps(ok()).encode(),
        capture_output=True,
        check=True,
    )
    return {"status": int(done.stderr), "picture": done.stdout, "seconds": time.monotonic() - begun}


@pytest.fixture(scope="module")
def slow(server, api, sdk, node):
    """What each client made of its slow call."""

    def by_sdk(version: str) -> dict:
        report = sdk(version, f"{server.base}/v1", KEY, "run_sync", ok())
        return report | {"status": report.get("status_code"), "picture": base64.b64decode(report.get("content", ""))}

    def by_node() -> dict:
        report = node("fetch-v1", server.base, KEY, given=ok())
        return {"status": report["status"], "picture": base64.b64decode(report["body"]), "seconds": report["seconds"]}

    # Starting an interpreter takes a while on a busy machine, hence a few seconds more than wanted.
    workload.fill_queue(api, SLOWER_THAN + 3)
    with ThreadPoolExecutor(8) as pool:
        calls = {f"segmind {version}": pool.submit(by_sdk, version) for version in SDKS}
        calls |= {
            "requests": pool.submit(by_requests, server.base),
            "curl": pool.submit(by_curl, server.base),
            "node fetch": pool.submit(by_node),
        }
        return {client: call.result() for client, call in calls.items()}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("client", [*[f"segmind {version}" for version in SDKS], "requests", "curl", "node fetch"])
def test_slow_call(slow, client):
    report = slow[client]
    assert report["status"] == 200, {name: value for name, value in report.items() if name != "picture"}
    assert report["seconds"] > SLOWER_THAN, "not slow enough to show anything"
    pictures.opened(report["picture"])
