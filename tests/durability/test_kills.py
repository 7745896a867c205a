"""`kill -9` at random moments under load, again and again, on one data directory."""

import random
import time

from client import Api
from material_server import KEY, MaterialServer
from promises import MARGIN, Load, Promises
from work import OPEN, kinds

# The server tidies up every few seconds; its files are gone by then.
SWEPT = 8.0
# A round lasts up to so many jobs, so that most kills hit one, and not always the first.
JOBS_A_ROUND = 6


def folders_files(server: MaterialServer) -> list[str]:
    return sorted(file.name for file in (server.data / "blobs").iterdir())


def seconds_a_job(folder) -> float:
    """How long work takes here, on the average; the rounds are measured by it."""
    trial = MaterialServer(folder, keys=[KEY])
    try:
        trial.start()
        api = Api(trial.base, KEY)
        begun = time.monotonic()
        for _, changes in kinds():
            api.result(**changes)
        return (time.monotonic() - begun) / len(kinds())
    finally:
        trial.kill()


def test_kills_lose_nothing(tmp_path, request):
    rounds, seed = request.config.getoption("--rounds"), random.randrange(1 << 32)
    longest = min(30.0, max(1.5, JOBS_A_ROUND * seconds_a_job(tmp_path / "trial")))
    ttl = max(20, round(5 * longest))
    print(f"\n{rounds} rounds of up to {longest:.1f} s, results live {ttl} s, random seed {seed}")
    dice = random.Random(seed)
    server = MaterialServer(tmp_path / "server", keys=[KEY], flags=["--result-ttl", f"{ttl}s"])
    promises = Promises(ttl)
    begun = time.monotonic()
    try:
        for number in range(rounds):
            one_round(server, promises, dice.uniform(0, longest))
            over = sum(promise.ended is not None for promise in promises.all)
            print(f"round {number + 1}: {len(promises.all)} accepted, {over} over, {time.monotonic() - begun:.0f} s")
        in_the_end(server, promises)
    except BaseException:
        print(server.tail())
        raise
    finally:
        server.kill()


def one_round(server: MaterialServer, promises: Promises, seconds: float) -> None:
    server.start()
    api = Api(server.base, KEY, timeout=30)
    promises.check(api)
    load = Load(Api(server.base, KEY, timeout=30), promises, kinds(), OPEN)
    load.start()
    time.sleep(seconds)
    server.kill()
    load.stopping = True
    load.join(60)
    api.http.close()
    load.api.http.close()
    if load.error:
        raise load.error
    assert not load.is_alive()
    promises.killed()


def in_the_end(server: MaterialServer, promises: Promises) -> None:
    """Everything that was accepted is run to its end; then its time passes and nothing is left of it."""
    server.start()
    api = Api(server.base, KEY)
    promises.run_out(api, 10 * promises.ttl)
    last = max(promise.ended.at for promise in promises.all)
    failed = sum(promise.ended.status == "FAILED" for promise in promises.all)
    again = sum(b'"retry_count":1' in promise.ended.body for promise in promises.all)
    print(f"{len(promises.all)} jobs, {again} of them begun again, {failed} interrupted twice")
    assert again > 0, "no kill hit a running job"
    assert folders_files(server), "the pictures are there"
    time.sleep(max(0.0, last + promises.ttl + MARGIN + 0.1 - time.monotonic()))
    promises.check(api)
    time.sleep(max(0.0, last + promises.ttl + SWEPT - time.monotonic()))
    assert folders_files(server) == [], "no file outlives its hour"
    api.http.close()
