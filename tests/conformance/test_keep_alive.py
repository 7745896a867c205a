"""F-75: a v1 call that lasts longer than the SDK's 30 s read timeout (the wait is real work that lies before it), and
C.5: what becomes of a v1 call whose client goes away."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import workload
from client import MODEL, Api, by_hand, image_of, ok
from wire import Connection

SLOWER_THAN = 35.0
SDK = "segmind-python-sdk/1.3.0"
OTHERS = ("python-requests/2.34.2", "node", "curl/8.14.1", "my-segmind-python-sdk/1.3.0")


def slow_call(base: str, key: str, agent: str, read_timeout: float):
    with Connection(base, timeout=read_timeout) as connection:
        body = json.dumps(ok()).encode()
        headers = {
            "x-api-key": key,
            "User-Agent": agent,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
        connection.head("POST", f"/v1/{MODEL}", headers)
        connection.send(body)
        return connection.answer()


@pytest.fixture(scope="module")
def answers(servers, keys):
    api = Api(servers.base("default"), keys["key"])
    workload.fill_queue(api, SLOWER_THAN)
    with ThreadPoolExecutor() as pool:
        calls = {
            agent: pool.submit(slow_call, api.base, api.key, agent, 30 if agent == SDK else 200)
            for agent in (SDK, *OTHERS)
        }
        return {agent: call.result() for agent, call in calls.items()}


@pytest.mark.timeout(400)
def test_f75_the_sdk_is_kept_alive(answers):
    answer = answers[SDK]
    image_of(by_hand(answer))
    assert answer.seconds > SLOWER_THAN, "not slow enough to show anything"
    assert 102 in answer.interim and set(answer.interim) == {102}
    assert answer.longest_silence < 30


@pytest.mark.timeout(400)
@pytest.mark.parametrize("agent", OTHERS)
def test_f75_nobody_else_sees_it(answers, agent):
    answer = answers[agent]
    image_of(by_hand(answer))
    assert answer.interim == []
    assert answer.seconds > SLOWER_THAN


@pytest.mark.timeout(400)
def test_c5_a_client_that_hangs_up_frees_the_worker(api):
    """Nobody can fetch that picture, as the id was never told; C.5 says SHOULD, and this product does."""
    changes, took = workload.job_of_at_least(api, 6)
    with Connection(api.base) as connection:
        body = json.dumps(ok(**changes)).encode()
        connection.head(
            "POST",
            f"/v1/{MODEL}",
            api.headers() | {"Content-Type": "application/json", "Content-Length": str(len(body))},
        )
        connection.send(body)
        time.sleep(1)
    begun = time.monotonic()
    image_of(api.v1())
    assert time.monotonic() - begun < took - 2, "the next caller waited for a picture that nobody will fetch"
