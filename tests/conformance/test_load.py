"""F-68, F-69 and F-74: many at once. Traffic goes to loopback only, and every loop has an end."""

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

import pictures
from client import TERMINAL, Api, error_of, image_of

PARALLEL, IN_ORDER = 20, 6
# Nothing has ended for so many seconds: then nothing will. How long all of it takes is the machine's affair.
STUCK_AFTER = 90.0


@dataclass
class Burst:
    """What was seen while `PARALLEL` submits arrived at once and `IN_ORDER` more one after the other."""

    refused: list = field(default_factory=list)
    accepted: list[dict] = field(default_factory=list)
    in_order: list[dict] = field(default_factory=list)
    ended: dict[str, dict] = field(default_factory=dict)
    polls: list[tuple[int, float]] = field(default_factory=list)
    sweeps: list[list[str]] = field(default_factory=list)


def poll_all(api: Api, burst: Burst, ids: list[str], stop: threading.Event) -> None:
    """Status polls at 10/s, over and over through all jobs that have not ended."""
    waiting, due = list(ids), time.monotonic()
    while waiting and not stop.is_set():
        for ident in list(waiting):
            due = max(due + 0.1, time.monotonic())
            begun = time.monotonic()
            answer = api.get(f"/v2/requests/{ident}/status")
            burst.polls.append((answer.status_code, time.monotonic() - begun))
            if answer.status_code in (200, 422) and answer.json()["status"] in TERMINAL:
                burst.ended[ident] = answer.json()
                waiting.remove(ident)
            time.sleep(max(0.0, due - time.monotonic()))


def watch_order(api: Api, burst: Burst, stop: threading.Event) -> None:
    """Sweeps from the last submitted to the first, so an older job is always looked at after a newer one."""
    while not stop.is_set():
        sweep = [api.get(job["status_url"]).json()["status"] for job in reversed(burst.in_order)]
        burst.sweeps.append(sweep[::-1])
        if all(state in TERMINAL for state in sweep):
            return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def burst(servers, keys):
    api = Api(servers.base("default"), keys["key"])
    burst = Burst()
    with ThreadPoolExecutor(PARALLEL) as pool:
        for answer in pool.map(lambda seed: api.v2(seed=seed), range(PARALLEL)):
            (burst.accepted if answer.status_code == 200 else burst.refused).append(answer)
    burst.accepted = [answer.json() for answer in burst.accepted]
    burst.in_order = [
        answer.json() for answer in (api.v2(seed=100 + place) for place in range(IN_ORDER)) if answer.status_code == 200
    ]
    stop = threading.Event()
    ids = [job["request_id"] for job in burst.accepted + burst.in_order]
    threads = [
        threading.Thread(target=poll_all, args=(api, burst, ids, stop)),
        threading.Thread(target=watch_order, args=(api, burst, stop)),
    ]
    for thread in threads:
        thread.start()
    ended, since = 0, time.monotonic()
    while any(thread.is_alive() for thread in threads) and time.monotonic() - since < STUCK_AFTER:
        if len(burst.ended) > ended:
            ended, since = len(burst.ended), time.monotonic()
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    return burst


@pytest.mark.timeout(1200)
def test_f68_every_accepted_job_is_done(burst):
    for answer in burst.refused:
        error_of(answer, 429)
        assert int(answer.headers["retry-after"]) > 0
    ids = [job["request_id"] for job in burst.accepted + burst.in_order]
    assert ids and len(set(ids)) == len(ids)
    assert {burst.ended.get(ident, {}).get("status") for ident in ids} == {"COMPLETED"}


def test_f68_first_come_first_served(burst):
    assert burst.sweeps and len(burst.in_order) >= 2
    for states in burst.sweeps:
        begun = [state != "QUEUED" for state in states]
        assert begun == sorted(begun, reverse=True), f"a later job was begun before an earlier one: {states}"


def test_f69_polls_stay_quick_while_computing(burst):
    assert len(burst.polls) >= PARALLEL
    assert {code for code, _ in burst.polls} == {200}
    times = [seconds for _, seconds in burst.polls]
    p95 = statistics.quantiles(times, n=20)[-1]
    assert p95 < 0.25, f"p95 {p95 * 1000:.0f} ms of {len(times)} polls"


def test_f74_simultaneous_calls_are_kept_apart(api):
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda seed: api.v1(seed=seed, output_format="png"), (11, 12)))
    for seed, answer in zip((11, 12), together, strict=True):
        picture = image_of(answer, "png")
        assert answer.headers["x-seed-value"] == str(seed)
        assert pictures.pixels(picture) == pictures.pixels(image_of(api.v1(seed=seed, output_format="png"), "png"))
    assert together[0].headers["x-request-id"] != together[1].headers["x-request-id"]
